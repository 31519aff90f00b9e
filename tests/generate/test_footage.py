"""Videos as an editor hands them over: of any size, rate and length, fitted; and bad ones refused."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.generate.footage import (
    Footage,
    check_footage,
    fit_mask,
    lasting,
    placed,
    read_mask,
    read_source,
    retimed,
    skipped,
)
from unstatic.media.frames import retime
from unstatic.media.write import write_picture, write_video
from unstatic.models.manifest import Manifest, read_manifest

COMPRESSION = Compression(time=4, space=8)


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return read_manifest(tiny_model)


def numbered(count: int, first: int = 0) -> np.ndarray:
    """Return frames of 32 x 32 that carry their number."""
    return np.broadcast_to(
        np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, 32, 32, 3)
    )


@pytest.mark.parametrize("fps", [8, 16, 24, 25, 60, Fraction(30000, 1001)])
def test_a_source_has_the_models_rate_and_says_so(
    tmp_path: Path, make_frames, manifest: Manifest, fps: Fraction | int
):
    write_video(tmp_path / "a.mp4", make_frames(int(2 * fps), 32, 32), fps=fps)
    source = read_source(tmp_path / "a.mp4", manifest)
    assert abs(len(source.frames) - 32) <= 1
    assert source.seconds == pytest.approx(2, abs=0.1)
    assert bool(source.warnings) == (fps != 16)
    assert all("frames a second" in warning for warning in source.warnings)


def test_a_source_is_fitted_to_the_nearest_size_and_says_what_is_cut(
    tmp_path: Path, make_frames, manifest: Manifest
):
    write_video(tmp_path / "wide.mp4", make_frames(8, 96, 48), fps=16)
    source = read_source(tmp_path / "wide.mp4", manifest)
    assert source.frames.shape == (8, 32, 48, 3)
    assert "wide.mp4 is 96x48: 25% of it is cut away to fit the shape of 48x32" in source.warnings[0]
    assert read_source(tmp_path / "wide.mp4", manifest, size=Size(32, 32)).frames.shape == (8, 32, 32, 3)


def test_a_source_longer_than_the_model_can_make_is_refused(tmp_path: Path, make_frames, manifest: Manifest):
    write_video(tmp_path / "long.mp4", make_frames(161, 32, 32), fps=16)
    with pytest.raises(InputError, match="longer than the 10 seconds of tiny: cut it"):
        read_source(tmp_path / "long.mp4", manifest)


def test_what_is_no_video_is_refused(tmp_path: Path, manifest: Manifest):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"cannot read .*a\.mp4 as a video"):
        read_source(tmp_path / "a.mp4", manifest)


@pytest.mark.parametrize(
    ("fps", "wanted"), [(16, 16), (24, 16), (10, 16), (Fraction(30000, 1001), 16), (16, 60)]
)
def test_one_by_one_is_as_all_at_once(fps: Fraction | int, wanted: int):
    frames = numbered(40)
    assert np.array_equal(np.stack(list(retimed(frames, fps, wanted))), retime(frames, 0, fps, wanted))


def test_footage_must_fit_and_not_overlap():
    one, other = Footage(first=0, frames=numbered(8)), Footage(first=7, frames=numbered(8))
    check_footage([one], 8)
    with pytest.raises(
        InputError, match="footage of 8 frames at frame 0 does not fit in 7: make the video longer"
    ):
        check_footage([one], 7)
    with pytest.raises(InputError, match="footage overlaps at frame 7"):
        check_footage([other, one], 30)


@pytest.mark.parametrize("count", range(1, 9))
def test_footage_at_the_beginning_ends_with_a_latent_frame(count: int):
    footage = Footage(first=0, frames=numbered(count, first=10))
    skip = skipped([footage], COMPRESSION)
    moved = placed(footage, skip, Size(32, 32), end=99, compression=COMPRESSION)
    assert moved.first == 0
    assert (moved.stop - 1) % 4 == 0
    assert moved.frames[: skip + 1, 0, 0, 0].tolist() == [10] * (skip + 1)
    assert np.array_equal(moved.frames[skip:], footage.frames)


@pytest.mark.parametrize(("stop", "skip"), [(1, 8), (5, 4), (9, 0), (10, 11), (21, 0), (22, 11)])
def test_footage_may_have_to_end_with_a_chunk(stop: int, skip: int):
    footage = (Footage(first=0, frames=numbered(stop)),)
    assert skipped(footage, COMPRESSION, first=3, chunk=3) == skip


@pytest.mark.parametrize("first", range(1, 9))
def test_other_footage_begins_with_a_latent_frame(first: int):
    footage = Footage(first=first, frames=numbered(8))
    skip = skipped([footage], COMPRESSION)
    moved = placed(footage, skip, Size(32, 32), end=99, compression=COMPRESSION)
    assert (moved.first - 1) % 4 == 0
    assert moved.first - first < 4


def test_footage_at_the_end_stands_still_until_its_latent_frame_is_full():
    footage = Footage(first=9, frames=numbered(6))
    moved = placed(footage, 0, Size(32, 32), end=15, compression=COMPRESSION)
    assert moved.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 5, 5]


def test_footage_that_fills_no_latent_frame_is_refused():
    footage = Footage(first=10, frames=numbered(6))
    with pytest.raises(
        InputError, match="footage of 6 frames at frame 10 is too short to be kept there: give 8"
    ):
        placed(footage, 0, Size(32, 32), end=99, compression=COMPRESSION)


def test_a_source_that_is_too_short_stands_still():
    assert lasting(numbered(3), 5)[:, 0, 0, 0].tolist() == [0, 1, 2, 2, 2]
    assert lasting(numbered(3), 2)[:, 0, 0, 0].tolist() == [0, 1]
    assert lasting(numbered(3), 5, before=2)[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 2]


def test_a_mask_is_fitted_as_the_video_is(tmp_path: Path, make_frames, manifest: Manifest):
    write_video(tmp_path / "a.mp4", make_frames(4, 64, 64), fps=16)
    white = np.zeros((64, 64, 3), np.uint8)
    white[:32] = 255
    write_picture(tmp_path / "mask.png", white)
    frames = read_source(tmp_path / "a.mp4", manifest).frames
    mask = read_mask(tmp_path / "mask.png", tmp_path / "a.mp4", frames)
    assert mask.shape == (32, 32)
    assert mask[:15].all()
    assert not mask[17:].any()
    write_picture(tmp_path / "small.png", white[:32])
    with pytest.raises(InputError, match=r"small\.png is 64x32 and .*a\.mp4 is 64x64: make them equal"):
        read_mask(tmp_path / "small.png", tmp_path / "a.mp4", frames)


def test_a_mask_is_cut_where_the_video_is():
    mask = np.zeros((32, 64), bool)
    mask[:, :16] = True
    assert not fit_mask(mask, Size(32, 32)).any()
    assert fit_mask(~mask, Size(32, 32)).all()
