import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from unstatic.media.sheets import SheetMaker, thumbnail

MakeFrames = Callable[..., np.ndarray]


def grey(levels: list[int], width: int = 32, height: int = 16) -> np.ndarray:
    """Return one plain frame for each level."""
    frames = np.array(levels, np.uint8)[:, None, None, None]
    return np.broadcast_to(frames, (len(levels), height, width, 3)).copy()


def opened(data: bytes, kind: str) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == kind
    return np.asarray(picture.convert("RGB"))


def tiles(maker: SheetMaker) -> list[int]:
    """Return the level in the middle of every tile."""
    sheet = opened(maker.sheet(), "JPEG")
    height, width = (side // maker.side for side in sheet.shape[:2])
    return sheet[height // 2 :: height, width // 2 :: width, 0].ravel().tolist()


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [(64, 48, (64, 48)), (512, 512, (512, 512)), (1280, 720, (512, 288)), (720, 1280, (288, 512))],
)
def test_a_thumbnail_is_small_and_keeps_its_shape(width: int, height: int, shown: tuple[int, int]):
    picture = opened(thumbnail(np.full((height, width, 3), 120, np.uint8)), "WEBP")
    assert (picture.shape[1], picture.shape[0]) == shown
    assert np.abs(picture.astype(int) - 120).max() <= 2


def test_a_thumbnail_looks_like_the_frame(make_frames: MakeFrames):
    frame = make_frames(1, width=96, height=96)[0]
    assert np.abs(opened(thumbnail(frame), "WEBP").astype(int) - frame).mean() < 4


@pytest.mark.parametrize(
    ("num_frames", "side"), [(1, 1), (3, 1), (4, 2), (17, 4), (64, 8), (99, 9), (100, 10), (960, 10)]
)
@pytest.mark.parametrize("stretch", [1, 7, 1000])
def test_tiles_show_the_film_at_regular_times(num_frames: int, side: int, stretch: int):
    levels = [number * 250 // num_frames for number in range(num_frames)]
    maker = SheetMaker(num_frames)
    for start in range(0, num_frames, stretch):
        maker.add(grey(levels[start : start + stretch]))
    assert maker.side == side
    expected = [levels[tile * num_frames // side**2] for tile in range(side**2)]
    assert np.abs(np.subtract(tiles(maker), expected)).max() <= 2


@pytest.mark.parametrize(
    ("width", "height", "tile"),
    [(1280, 720, (160, 90)), (720, 1280, (160, 284)), (96, 64, (96, 64)), (160, 2, (160, 2))],
)
def test_a_tile_has_the_shape_of_the_film(width: int, height: int, tile: tuple[int, int]):
    maker = SheetMaker(4)
    maker.add(grey([0, 80, 160, 240], width, height))
    sheet = opened(maker.sheet(), "JPEG")
    assert (sheet.shape[1], sheet.shape[0]) == (2 * tile[0], 2 * tile[1])
    if tile[1] > 2:
        assert np.abs(np.subtract(tiles(maker), [0, 80, 160, 240])).max() <= 2


def test_the_thumbnail_is_from_the_middle():
    maker = SheetMaker(16)
    maker.add(grey([10 * number for number in range(16)]))
    assert opened(maker.thumbnail(), "WEBP")[0, 0, 0] == pytest.approx(80, abs=2)


def test_a_film_that_is_shorter_than_promised_ends_with_its_last_frame():
    maker = SheetMaker(16)
    maker.add(grey([50, 100, 150]))
    assert np.abs(np.subtract(tiles(maker), [50, 100] + [150] * 14)).max() <= 2
    assert opened(maker.thumbnail(), "WEBP")[0, 0, 0] == pytest.approx(150, abs=2)


def test_a_film_that_is_longer_than_promised_fills_no_more_than_the_sheet():
    maker = SheetMaker(4)
    maker.add(grey([0, 60, 120, 180, 240, 250]))
    maker.add(grey([255]))
    assert np.abs(np.subtract(tiles(maker), [0, 60, 120, 180])).max() <= 2


def test_frames_may_be_changed_after_they_were_added():
    maker = SheetMaker(1)
    frames = grey([200])
    maker.add(frames)
    frames[:] = 0
    assert tiles(maker) == [200]
    assert opened(maker.thumbnail(), "WEBP")[0, 0, 0] == pytest.approx(200, abs=2)


def test_the_memory_does_not_grow_with_the_film():
    maker, stretch = SheetMaker(2000), grey([0] * 20, 320, 180)
    tracemalloc.start()
    try:
        for number in range(100):
            maker.add(stretch)
            if number == 10:
                tracemalloc.reset_peak()
                early = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[1] < early + 2 * stretch[0].nbytes + 100_000
    finally:
        tracemalloc.stop()
