"""What a person sees while the program works: progress, always on stderr, never on stdout."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, runtime_checkable

PLAIN_INTERVAL_S = 5.0


@runtime_checkable
class Bar(Protocol):
    """Progress of one piece of work."""

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        """Report that `steps` more are done; `note` (a loss, say) stays until the next one."""
        ...

    def resize(self, total: int) -> None:
        """Say that there is more or less to do than was thought."""
        ...


@contextmanager
def progress(description: str, total: int, *, done: int = 0) -> Generator[Bar]:
    """Show the step and the time left on stderr while the block runs; `done` steps were made earlier.

    On a terminal a live bar; elsewhere (a log file, a pipe) one plain line every 5 s and one at the end.
    """
    if sys.stderr.isatty():
        with _live_bar(description, total, done) as bar:
            yield bar
    else:
        bar = PlainBar(description, total, _show, done=done)
        yield bar
        bar.finish()


class PlainBar:
    """Progress as lines of text, at most one every `PLAIN_INTERVAL_S` seconds of `clock`."""

    def __init__(
        self,
        description: str,
        total: int,
        show: Callable[[str], None],
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.total, self.show, self.clock = description, total, show, clock
        self.done, self.done_before, self.note = done, done, ""
        self.started_s = self.printed_s = clock()

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self.done += steps
        self.note = self.note if note is None else note
        if self.clock() - self.printed_s >= PLAIN_INTERVAL_S:
            self._print(self._time_left())

    def resize(self, total: int) -> None:
        self.total = total

    def finish(self) -> None:
        """Print the last line: what was done, and how long it took."""
        self._print(f"{_duration(self.clock() - self.started_s)} taken")

    def _time_left(self) -> str:
        elapsed_s = self.clock() - self.started_s
        made = self.done - self.done_before
        left_s = elapsed_s * (self.total - self.done) / made if made else None
        return "time left unknown" if left_s is None else f"{_duration(left_s)} left"

    def _print(self, time_text: str) -> None:
        self.printed_s = self.clock()
        parts = [
            f"{self.description} {self.done}/{self.total}",
            time_text,
            *([self.note] if self.note else []),
        ]
        self.show(", ".join(parts))


@contextmanager
def _live_bar(description: str, total: int, done: int) -> Generator[Bar]:
    # Imported here: rich costs a twentieth of a second, and `--help` and scripts do without it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as display:
        task = display.add_task(description, total=total, completed=done, note="")

        class LiveBar:
            def advance(self, steps: int = 1, *, note: str | None = None) -> None:
                display.update(task, advance=steps)
                if note is not None:
                    display.update(task, note=note)

            def resize(self, total: int) -> None:
                display.update(task, total=total)

        yield LiveBar()


def _show(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
