"""`--preview`: the video as it takes shape, drawn in the terminal above the bar."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import UInt8
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.style import Style

from unstatic.core.log import Bar
from unstatic.core.shapes import Size
from unstatic.media.frames import fit, pick_evenly

MAX_FRAMES = 8

_UPPER_HALF_BLOCK = "\u2580"  # its upper half has the colour of text, its lower that of the background
_MIN_COLUMNS, _MAX_COLUMNS, _MAX_LINES = 24, 32, 16  # of one frame; a line of text is two rows of pixels
_OTHER_LINES = 3  # the bar, a warning, the prompt of the shell

Frames = UInt8[np.ndarray, "t h w 3"]
Cells = UInt8[np.ndarray, "_ rows columns 3"]


def can_draw(console: Console) -> bool:
    """Return whether this is a terminal that shows colours and blocks."""
    coloured = console.color_system is not None and not console.no_color
    return console.is_terminal and coloured and console.encoding.startswith("utf")


class Filmstrip:
    """Frames of the video so far, picked evenly, side by side, in half blocks; rich can draw it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._cell: Size | None = None
        self._final: list[Cells] = []
        self._shown: Cells | None = None

    def keep(self, frames: Frames) -> None:
        """Go on with frames that are final."""
        self._final.append(self._scaled(frames))
        self._show(self._final)

    def sketch(self, frames: Frames) -> None:
        """Show what comes next as it looks now."""
        self._show([*self._final, self._scaled(frames)])

    @contextmanager
    def above_bar(self, description: str, total: int) -> Generator[Bar]:
        """Show the strip, and below it the step and the time left, while the block runs."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        display = Progress(*columns, console=self.console)
        task = display.add_task(description, total=total)

        class LiveBar:
            def advance(self, steps: int = 1, *, note: str | None = None) -> None:
                noted = description if note is None else f"{description}, {note}"
                display.update(task, advance=steps, description=noted)

            def resize(self, total: int) -> None:
                display.update(task, total=total)

        both = Group(self, display)
        with Live(both, console=self.console, redirect_stdout=False):
            yield LiveBar()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Draw line by line."""
        if self._shown is None:
            return
        frames = self._shown
        for top in range(0, frames.shape[1], 2):
            for number, frame in enumerate(frames):
                if number:
                    yield Segment(" ")
                yield from _text_line(frame[top], frame[top + 1])
            yield Segment.line()

    def _scaled(self, frames: Frames) -> Cells:
        if self._cell is None:
            self._cell = cell_size(Size(frames.shape[2], frames.shape[1]), self.console)
        return fit(frames, self._cell)

    def _show(self, stretches: list[Cells]) -> None:
        frames = np.concatenate(stretches)
        fitting = (self.console.width + 1) // (frames.shape[2] + 1)
        self._shown = pick_evenly(frames, max(1, min(MAX_FRAMES, fitting)))


def cell_size(frame: Size, console: Console) -> Size:
    """Return the size, in pixels, at which a frame is drawn; a whole number of lines high."""
    side_by_side = max(1, min(MAX_FRAMES, (console.width + 1) // (_MIN_COLUMNS + 1)))
    columns = min(_MAX_COLUMNS, (console.width + 1) // side_by_side - 1)
    rows = 2 * min(_MAX_LINES, max(1, console.height - _OTHER_LINES))
    scale = min(columns / frame.width, rows / frame.height)
    return Size(max(1, round(frame.width * scale)), max(2, 2 * round(frame.height * scale / 2)))


def _text_line(upper: UInt8[np.ndarray, "w 3"], lower: UInt8[np.ndarray, "w 3"]) -> Iterator[Segment]:
    for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
        style = Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))
        yield Segment(_UPPER_HALF_BLOCK, style)
