"""What keeps a job with its worker while that works: a thread that beats as long as the work gets on.

Three ends are told apart. A dead process is silent at once, and its job is given on after `lease` seconds.
Work that gets on may take long between two steps, up to `patience`: then it hangs, and beats no more. A job
that somebody took away, or that must be given back as the worker leaves, stops the work at its next step.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from unstatic.core.errors import UnstaticError
from unstatic.server import jobs
from unstatic.server.database import Database
from unstatic.server.jobs import Lease, LostLeaseError
from unstatic.server.settings import Settings

LOOKS_PER_S = 5
BEATS_A_LEASE = 6
log = logging.getLogger(__name__)


class ReturnedError(UnstaticError):
    """The worker was told to stop, and the job goes to another."""


class Pulse:
    """Beats for one lease from `with` on; the work calls `tell` after every step.

    `drained_s` returns for how long the worker has been over its time to drain, less than 0 while it is not.
    `hangs` is called once if nothing is told for `settings.patience`.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        settings: Settings,
        *,
        drained_s: Callable[[], float],
        hangs: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database, self.lease, self.settings = database, lease, settings
        self.drained_s, self.hangs, self.monotonic = drained_s, hangs, monotonic
        self.percent, self.told_s = 0, monotonic()
        self.beat_s = self.told_s
        self.ended: UnstaticError | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> "Pulse":
        """Begin to beat."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Beat no more."""
        self.over.set()
        self.thread.join()

    def tell(self, percent: int) -> None:
        """Say that the work gets on. Raises LostLeaseError or ReturnedError if it shall stop."""
        self.percent, self.told_s = max(percent, self.percent), self.monotonic()
        if self.ended is not None:
            raise self.ended

    def _run(self) -> None:
        shown, every_s = -1, self.settings.lease / BEATS_A_LEASE
        while self.ended is None and not self.over.wait(min(1 / LOOKS_PER_S, every_s)):
            now_s = self.monotonic()
            if now_s - self.told_s > self.settings.patience:
                log.error("%s hangs: no step in %g s", self.lease.job_id, self.settings.patience)
                self.hangs()
                return
            try:
                if self.drained_s() >= 0:
                    self._give_back()
                elif self.percent != shown or now_s - self.beat_s >= every_s:
                    shown = self.percent
                    self._beat(shown)
                    self.beat_s = now_s
                else:
                    self._look()
            except LostLeaseError as error:
                self.ended = error
            except SQLAlchemyError as error:  # the reaper cannot look either, or sees the next beat
                log.warning("the database does not take a beat: %s", type(error).__name__)

    def _beat(self, percent: int) -> None:
        with self.database.writing() as session:
            jobs.beat(session, self.lease, percent)

    def _look(self) -> None:
        with self.database.glancing() as session:
            jobs.check(session, self.lease)

    def _give_back(self) -> None:
        with self.database.writing() as session:
            jobs.give_back(session, self.lease)
        self.ended = ReturnedError(self.lease.job_id)
