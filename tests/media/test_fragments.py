"""Videos that can be played while they grow."""

import io
import itertools
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unstatic.core.errors import InputError, UnstaticError
from unstatic.media.fragments import FragmentWriter, growing_file
from unstatic.media.read import read_video
from unstatic.media.write import write_video

MakeFrames = Callable[..., np.ndarray]


def written(frames: np.ndarray, lengths: list[int], *, fps: Fraction | int = 16) -> list[bytes]:
    """Return what is handed on when frames are written in stretches."""
    handed_on: list[bytes] = []
    writer = FragmentWriter(handed_on.append, fps=fps)
    for start, stop in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
        writer.write(frames[start:stop])
    return handed_on


def boxes(data: bytes) -> list[str]:
    """List the boxes of an mp4."""
    names: list[str] = []
    while data:
        size = int.from_bytes(data[:4], "big")
        names.append(data[4:8].decode())
        data = data[size:]
    return names


def times(data: bytes) -> list[Fraction]:
    """List when each frame is shown, in seconds, up to the first that cannot be decoded."""
    shown: list[Fraction] = []
    with av.open(io.BytesIO(data)) as container, suppress(av.error.InvalidDataError):
        shown.extend(frame.pts * frame.time_base for frame in container.decode(video=0))
    return shown


def test_every_stretch_is_handed_on_at_once_as_a_fragment(make_frames: MakeFrames):
    header, *others = (boxes(data) for data in written(make_frames(24), [1, 16, 7]))
    assert header == ["ftyp", "moov", "moof", "mdat"]
    assert others == [["moof", "mdat"]] * 2


def test_what_was_handed_on_so_far_is_a_video(make_frames: MakeFrames):
    handed_on = written(make_frames(24), [1, 16, 7])
    for count, frames in ((1, 1), (2, 17), (3, 24)):
        assert times(b"".join(handed_on[:count])) == [Fraction(n, 16) for n in range(frames)]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_still_shows_the_fragments_before(make_frames: MakeFrames, share: float):
    first, second, third = written(make_frames(24), [1, 16, 7])
    shown = times(first + second + third[: int(len(third) * share)])
    assert shown[:17] == [Fraction(n, 16) for n in range(17)]


def test_the_frames_are_those_of_an_ordinary_file(tmp_path: Path, make_frames: MakeFrames):
    frames = make_frames(24, width=128, height=128)
    (tmp_path / "grown.mp4").write_bytes(b"".join(written(frames, [1, 16, 7])))
    write_video(tmp_path / "whole.mp4", frames, fps=16)
    grown, whole = (read_video(tmp_path / name) for name in ("grown.mp4", "whole.mp4"))
    assert grown.frames.shape == whole.frames.shape
    assert np.abs(grown.frames.astype(int) - whole.frames).mean() < 1.5
    assert grown.fps == 16


@pytest.mark.parametrize("fps", [1, 24, Fraction(30000, 1001), 120])
def test_the_frame_rate_is_kept(make_frames: MakeFrames, fps: Fraction | int):
    data = b"".join(written(make_frames(9), [1, 4, 4], fps=fps))
    assert times(data) == pytest.approx([n / fps for n in range(9)], abs=1e-3)


def test_every_fragment_begins_with_a_key_frame_that_a_late_viewer_can_join(make_frames: MakeFrames):
    with av.open(io.BytesIO(b"".join(written(make_frames(24), [1, 16, 7])))) as container:
        keys = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.is_keyframe]
    assert keys == [0, Fraction(1, 16), Fraction(17, 16)]


def test_it_can_be_read_from_a_pipe(make_frames: MakeFrames):
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as sink:
        sink.writelines(written(make_frames(24), [1, 16, 7]))
    with os.fdopen(reader, "rb") as source, av.open(source) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24


def test_the_same_frames_give_the_same_bytes(make_frames: MakeFrames):
    assert len({b"".join(written(make_frames(17), [1, 16])) for _ in range(5)}) == 1


def test_its_beginning_says_what_it_is_about(make_frames: MakeFrames):
    about = {"title": "ein K\u00e4fer", "comment": '{"seed": 3}'}
    handed_on: list[bytes] = []
    writer = FragmentWriter(handed_on.append, fps=16, about=about)
    for frames in (make_frames(1), make_frames(4)):
        writer.write(frames)
    for data in (handed_on[0], b"".join(handed_on)):
        with av.open(io.BytesIO(data)) as container:
            assert {name: container.metadata.get(name) for name in about} == about
    assert [boxes(data) for data in handed_on] == [["ftyp", "moov", "moof", "mdat"], ["moof", "mdat"]]


def test_an_empty_stretch_is_no_fragment(make_frames: MakeFrames):
    assert written(make_frames(5), [0, 1, 0, 4]) == written(make_frames(5), [1, 4])


def test_impossible_videos_are_refused(make_frames: MakeFrames):
    with pytest.raises(InputError, match="fps=0"):
        FragmentWriter(print, fps=0)
    with pytest.raises(InputError, match=r"63x64 .* even"):
        written(make_frames(1, width=63), [1])


# --------------------------------------------------------------------------------------------------- the file


def test_a_growing_file_can_be_read_at_its_own_name(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    with growing_file(path) as append:
        append(b"one")
        assert path.read_bytes() == b"one"
        append(b"two")
        assert path.read_bytes() == b"onetwo"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, b"an older file"])
def test_after_an_interruption_everything_is_as_it_was(
    tmp_path: Path, error: type[BaseException], before: bytes | None
):
    path = tmp_path / "clip.mp4"
    if before is not None:
        path.write_bytes(before)

    def write_some() -> None:
        with growing_file(path) as append:
            append(b"half a video")
            raise error

    with pytest.raises(error):
        write_some()
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == ([(path, before)] if before else [])


def test_an_older_file_is_replaced(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"an older and longer file")
    with growing_file(path) as append:
        append(b"new")
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == [(path, b"new")]


def test_a_full_disk_is_one_line(tmp_path: Path):
    def fill() -> None:
        with growing_file(tmp_path / "clip.mp4") as append:
            append(bytes(900))
            append(bytes(900))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UnstaticError, match=r"cannot write .*clip\.mp4: File too large"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_frames_is_a_failure(tmp_path: Path):
    with pytest.raises(UnstaticError, match="no frame"), growing_file(tmp_path / "clip.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
