"""Which of several processes this is, before torch is imported; therefore this file does not import it.

`torchrun --nproc-per-node 4 -m unstatic ...` starts a command four times. The first process leads: it alone
prints, decides and writes. The others follow it, and say nothing.
"""

import os
import signal
import time
from threading import current_thread, main_thread
from types import FrameType
from typing import NamedTuple

ENDS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
ORDER_S = 5.0
_came: list[tuple[int, float]] = []  # signals, and when


class Place(NamedTuple):
    """The number of a process among all and among those of its machine, from 0, and how many there are."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def this_process() -> Place:
    """Return the place of this process: it is alone unless torchrun started it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    facts = [os.environ.get(name) for name in names]
    return Place(*(int(fact) for fact in facts[:4] if fact)) if all(facts) else Place()


def end_together(place: Place) -> None:
    """Let the leader stop in order at Ctrl-C and when torchrun ends it; followers end with it."""
    if place.size > 1:
        signal.signal(signal.SIGINT, signal.SIG_IGN if place.rank else _stop)
        signal.signal(signal.SIGTERM, signal.SIG_DFL if place.rank else _stop)


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP, the end of a terminal, stop this process as Ctrl-C does: nothing is left half.

    Those that somebody ignores (nohup) stay ignored, and `code_of_end` says what came. What comes while
    things are put in order changes nothing; if they are not after `ORDER_S`, it ends the process.
    """
    for number in ENDS if current_thread() is main_thread() else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def code_of_end() -> int:
    """Return the exit code of a process that a signal of `ENDS` stopped, 128 and its number, or else 0."""
    return 128 + _came[0][0] if _came else 0


def stop_already() -> None:
    """Ignore further signals: this process is ending, and shall leave nothing half done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end(number: int, _frame: FrameType | None) -> None:
    _came.append((number, time.monotonic()))
    if len(_came) == 1:
        signal.signal(signal.SIGINT, _end)
        raise KeyboardInterrupt
    if _came[-1][1] - _came[0][1] > ORDER_S:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _stop(_number: int, _frame: FrameType | None) -> None:
    stop_already()
    raise KeyboardInterrupt
