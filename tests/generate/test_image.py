"""Images that a video begins or ends with."""

from pathlib import Path

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.image import check_images, cut_warnings, nearest_size, open_image
from unstatic.media.write import write_picture
from unstatic.models.manifest import read_manifest


def blank(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_an_image_is_a_file_or_an_array(tmp_path: Path, make_frames):
    picture = make_frames(1)[0]
    write_picture(tmp_path / "picture.png", picture)
    for source in (tmp_path / "picture.png", str(tmp_path / "picture.png"), picture):
        assert np.array_equal(open_image(source), picture)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (np.zeros((64, 64, 3), np.float32), r"float32 \(64, 64, 3\)"),
        (np.zeros((64, 64), np.uint8), r"\(64, 64\)"),
        (np.zeros((64, 64, 4), np.uint8), r"\(64, 64, 4\)"),
        (np.zeros((1, 64, 64, 3), np.uint8), r"\(1, 64, 64, 3\)"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, value: str):
    with pytest.raises(InputError, match=f"{value}: give uint8"):
        open_image(array)


def test_an_image_must_show_something():
    with pytest.raises(InputError, match="the image is 1x1: give one of at least 16x16 pixels"):
        check_images({"image": blank(1, 1)}, 64)
    with pytest.raises(InputError, match="the last image is 640x15"):
        check_images({"image": blank(16, 16), "last_image": blank(640, 15)}, 64)


def test_a_video_must_go_on_after_its_first_frame():
    check_images({"image": blank(16, 16)}, 2)
    with pytest.raises(InputError, match="1 frame: make it longer"):
        check_images({"image": blank(16, 16)}, 1)
    check_images({}, 1)


def test_the_first_image_decides_the_size(tiny_model: Path):
    manifest = read_manifest(tiny_model)
    wide, square = blank(300, 200), blank(200, 200)
    assert nearest_size({"image": wide, "last_image": square}, manifest) == Size(96, 64)
    assert nearest_size({"last_image": square}, manifest) == Size(64, 64)
    assert nearest_size({}, manifest) == manifest.default_size


def test_only_a_cut_worth_mentioning_is_mentioned():
    images = {"image": blank(200, 100), "last_image": blank(100, 104)}
    assert cut_warnings(images, Size(64, 64)) == (
        "the image is 200x100: 50% of it, left and right, is cut away to fit 64x64",
    )
    assert cut_warnings({"last_image": blank(100, 200)}, Size(80, 40)) == (
        "the last image is 100x200: 75% of it, top and bottom, is cut away to fit 80x40",
    )
