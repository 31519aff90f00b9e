"""The preview, as a terminal gets it."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from unstatic.cli.preview import Filmstrip, can_draw, cell_size
from unstatic.core.shapes import Size

PIXELS = re.compile("\x1b\\[38;2;(\\d+);(\\d+);(\\d+);48;2;(\\d+);(\\d+);(\\d+)m\u2580")


def terminal(width: int = 80, height: int = 24, colours: str | None = "truecolor") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    return Console(
        file=file,
        force_terminal=True,
        color_system=colours,
        width=width,
        height=height,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def drawn(strip: Filmstrip) -> list[list[tuple[int, ...]]]:
    """Return the colours of each line that is drawn, upper and lower pixel together."""
    with strip.console.capture() as captured:
        strip.console.print(strip, end="")
    lines = captured.get().splitlines()
    assert all(len(re.sub("\x1b\\[[0-9;]*m", "", line)) <= strip.console.width for line in lines)
    return [[tuple(map(int, pixel)) for pixel in PIXELS.findall(line)] for line in lines]


def plain(count: int, colour: tuple[int, int, int], width: int = 64, height: int = 64) -> np.ndarray:
    return np.full((count, height, width, 3), colour, np.uint8)


def test_a_line_of_text_is_two_rows_of_pixels():
    frame = plain(1, (250, 0, 0))
    frame[:, 32:] = (0, 0, 250)
    strip = Filmstrip(terminal())
    strip.keep(frame)
    lines = drawn(strip)
    assert len(lines) == 13
    assert {len(line) for line in lines} == {26}
    assert set(lines[0]) == {(250, 0, 0, 250, 0, 0)}
    assert set(lines[-1]) == {(0, 0, 250, 0, 0, 250)}
    assert lines[6][0][0] > lines[6][0][3], "row 12 is above row 13"


def test_nothing_is_drawn_before_there_is_something():
    assert drawn(Filmstrip(terminal())) == []


def test_what_is_final_stays_and_what_is_not_is_replaced():
    red, green, blue = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    strip = Filmstrip(terminal())
    strip.keep(plain(1, red, 256, 256))  # final frames are larger
    colours: list[list[tuple[int, ...]]] = []
    for colour in (green, blue):
        strip.sketch(plain(16, colour))
        line = drawn(strip)[0]
        colours.append([line[0][:3], line[26][:3], line[-1][:3]])
    strip.keep(plain(16, green, 256, 256))
    line = drawn(strip)[0]
    colours.append([line[0][:3], line[26][:3], line[-1][:3]])
    assert colours == [[red, green, green], [red, blue, blue], [red, green, green]]


@pytest.mark.parametrize(
    ("width", "frames"), [(10, 1), (24, 1), (48, 1), (49, 2), (80, 3), (100, 4), (200, 8), (500, 8)]
)
@pytest.mark.parametrize("shape", [(64, 64), (80, 48), (48, 80)])
def test_as_many_frames_are_drawn_as_the_terminal_has_room_for(
    width: int, frames: int, shape: tuple[int, int]
):
    strip = Filmstrip(terminal(width))
    strip.keep(plain(32, (9, 9, 9), *shape))
    cell = cell_size(Size(*shape), strip.console)
    line = drawn(strip)[0]
    assert len(line) % cell.width == 0
    assert frames <= len(line) // cell.width <= 8


@pytest.mark.parametrize("shape", ["64x64", "80x48", "48x80", "1280x720", "16x16"])
@pytest.mark.parametrize("terminal_size", [(80, 24), (200, 60), (30, 10), (5, 2)])
def test_frames_keep_their_shape_within_the_terminal(shape: str, terminal_size: tuple[int, int]):
    frame, (width, height) = Size.parse(shape), terminal_size
    cell = cell_size(frame, terminal(width, height))
    assert cell.height % 2 == 0
    assert cell.width <= width
    assert cell.height / 2 <= max(1, height - 3)
    assert cell.height == pytest.approx(cell.width * frame.height / frame.width, abs=2)


def test_the_bar_stands_below_the_strip():
    strip = Filmstrip(terminal())
    with strip.above_bar("sampling", 4) as bar:
        strip.keep(plain(1, (1, 2, 3)))
        bar.advance(3)
    text = strip.console.file.buffer.getvalue().decode()
    assert text.rindex("\u2580") < text.rindex("sampling")
    assert "3/4" in text


def test_the_bar_shows_a_note():
    strip = Filmstrip(terminal())
    with strip.above_bar("sampling", 4) as bar:
        bar.advance(note="loss 0.1")
    assert "sampling, loss 0.1" in strip.console.file.buffer.getvalue().decode()


def test_only_a_terminal_with_colours_and_blocks_is_drawn_in():
    assert can_draw(terminal())
    assert not can_draw(terminal(colours=None))
    assert not can_draw(Console(file=io.StringIO()))
    assert not can_draw(Console(file=terminal().file, force_terminal=True, no_color=True))
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert not can_draw(Console(file=latin, force_terminal=True, color_system="truecolor"))
