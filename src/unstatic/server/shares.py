"""What is under way at a moment: no account takes more than its share of it, and all together not too much.

Each process that answers counts what goes through it.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from unstatic.server.errors import BUSY_WAIT_S, ApiError


class Shares:
    """Something of which an account may have `most` at a time, and all accounts together `in_all`.

    `what` says it in the answer to who wants more.
    """

    def __init__(self, what: str, *, most: int, in_all: float | int = math.inf) -> None:
        self.what, self.most, self.in_all = what, most, in_all
        self._taken = Counter[str]()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, account_id: str, amount: int = 1) -> Generator[None]:
        """Take some until the block ends. Raises ApiError 429 if there is not as much: nobody waits."""
        with self._lock:
            own, every = self._taken[account_id] + amount, self._taken.total() + amount
            if own > self.most or every > self.in_all:
                message = f"{self.what} at the moment: ask again later"
                raise ApiError(429, message, code="busy", retry_after_s=BUSY_WAIT_S)
            self._taken[account_id] = own
        try:
            yield
        finally:
            with self._lock:
                self._taken[account_id] -= amount
                if not self._taken[account_id]:
                    del self._taken[account_id]

    @contextmanager
    def growing(self, account_id: str, *, free: int, block: int) -> Generator[Callable[[int], None]]:
        """Yield what takes as much as it is told beyond `free`, in blocks, until the `with` ends."""
        with ExitStack() as blocks:
            taken = free

            def grow(amount: int) -> None:
                nonlocal taken
                while taken < amount:
                    blocks.enter_context(self.of(account_id, block))
                    taken += block

            yield grow


class Turns:
    """So many turns at something, of which an account has one at a time; who comes too early waits."""

    def __init__(self, most: int) -> None:
        self._left, self._busy = most, set[str]()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, account_id: str) -> Generator[None]:
        """Take a turn until the block ends, as soon as there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._left and account_id not in self._busy)
            self._left -= 1
            self._busy.add(account_id)
        try:
            yield
        finally:
            with self._changed:
                self._left += 1
                self._busy.discard(account_id)
                self._changed.notify_all()
