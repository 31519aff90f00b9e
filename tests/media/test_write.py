import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from unstatic.core.errors import InputError, UnstaticError
from unstatic.media.probe import probe
from unstatic.media.read import read_picture, read_video
from unstatic.media.write import (
    MAX_EXIF_CHARACTERS,
    VideoWriter,
    write_animation,
    write_picture,
    write_video,
)

MakeFrames = Callable[..., np.ndarray]

ABOUT = {"title": "ein K\u00e4fer", "description": "a beetle\non sand", "comment": '{"seed": 3}'}


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize(("scale", "decibels"), [(1, 27), (2, 38), (4, 40)])
def test_what_is_read_is_what_was_written(
    tmp_path: Path, make_frames: MakeFrames, scale: int, decibels: float
):
    path, frames = tmp_path / "clip.mp4", make_frames(21, width=80, height=48)
    write_video(path, frames, fps=16, scale=scale)
    video = read_video(path)
    assert video.frames.shape == (21, 48 * scale, 80 * scale, 3)
    assert video.fps == 16
    assert psnr(video.frames[:, scale // 2 :: scale, scale // 2 :: scale], frames) > decibels


def test_the_same_frames_give_the_same_file(tmp_path: Path, make_frames: MakeFrames):
    path, frames = tmp_path / "clip.mp4", make_frames(24, width=48, height=80)
    files: set[bytes] = set()
    for _ in range(15):
        write_video(path, frames, fps=16)
        files.add(path.read_bytes())
        psnr(read_video(path).frames, frames)  # leaves memory behind that the next encoding may find
    assert len(files) == 1


def test_pure_colours_survive(tmp_path: Path):
    colours = np.array([(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    frames = np.repeat(colours, 8, axis=0)[None, None].repeat(2, axis=0).repeat(32, axis=1)
    write_video(tmp_path / "clip.mp4", frames, fps=16)
    shown = read_video(tmp_path / "clip.mp4").frames[1, 16, 4::8]
    assert np.abs(shown.astype(int) - colours).max() <= 4


def test_frames_may_come_in_pieces_of_any_length(tmp_path: Path, make_frames: MakeFrames):
    frames = make_frames(11)
    write_video(tmp_path / "whole.mp4", frames, fps=16)
    with VideoWriter(tmp_path / "pieces.mp4", fps=16) as writer:
        for piece in (frames[:1], frames[1:1], frames[1:8], frames[8:]):
            writer.write(piece)
    whole, pieces = (read_video(tmp_path / name).frames for name in ("whole.mp4", "pieces.mp4"))
    np.testing.assert_array_equal(whole, pieces)


@pytest.mark.parametrize("fps", [1, 24, Fraction(30000, 1001), 120])
def test_the_frame_rate_is_kept(tmp_path: Path, make_frames: MakeFrames, fps: Fraction | int):
    write_video(tmp_path / "clip.mp4", make_frames(6), fps=fps)
    assert probe(tmp_path / "clip.mp4").fps == fps
    assert probe(tmp_path / "clip.mp4").num_frames == 6


def test_browsers_can_play_it_while_it_loads(tmp_path: Path, make_frames: MakeFrames):
    write_video(tmp_path / "clip.mp4", make_frames(6), fps=16)
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_video_says_what_it_is_about(tmp_path: Path, make_frames: MakeFrames):
    for name in ("one.mp4", "two.mp4"):
        with VideoWriter(tmp_path / name, fps=16, about=ABOUT) as writer:
            writer.write(make_frames(3))
    with av.open(tmp_path / "one.mp4") as container:
        assert {name: container.metadata.get(name) for name in ABOUT} == ABOUT
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("num_frames", [0, 5])
def test_an_interrupted_video_leaves_nothing(
    tmp_path: Path, make_frames: MakeFrames, error: type[BaseException], num_frames: int
):
    def write_some() -> None:
        with VideoWriter(tmp_path / "clip.mp4", fps=16) as writer:
            writer.write(make_frames(5)[:num_frames])
            raise error

    with pytest.raises(error):
        write_some()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_video_leaves_the_old_one(tmp_path: Path, make_frames: MakeFrames):
    path = tmp_path / "clip.mp4"
    write_video(path, make_frames(2), fps=16)
    before = path.read_bytes()
    with pytest.raises(InputError), VideoWriter(path, fps=16) as writer:
        writer.write(make_frames(3, width=63))
    assert path.read_bytes() == before


def test_nothing_is_visible_before_the_end(tmp_path: Path, make_frames: MakeFrames):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, fps=16) as writer:
        writer.write(make_frames(40))
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_without_frames_is_a_failure(tmp_path: Path):
    with pytest.raises(UnstaticError, match="no frame"), VideoWriter(tmp_path / "clip.mp4", fps=16):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 63)])
def test_odd_sizes_are_refused_and_scaling_mends_them(
    tmp_path: Path, make_frames: MakeFrames, width: int, height: int
):
    frames = make_frames(2, width=width, height=height)
    with pytest.raises(InputError, match=f"{width}x{height} .* even"):
        write_video(tmp_path / "clip.mp4", frames, fps=16)
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "clip.mp4", frames, fps=16, scale=2)
    assert probe(tmp_path / "clip.mp4").size.width == 2 * width


@pytest.mark.parametrize(
    ("name", "fps", "scale", "message"),
    [
        ("clip.gif", 16, 1, "must end in .mp4"),
        ("clip", 16, 1, "must end in .mp4"),
        ("clip.mp4", 0, 1, "fps=0"),
        ("clip.mp4", -4, 1, "fps=-4"),
        ("clip.mp4", 1001, 1, "fps=1001"),
        ("clip.mp4", 16, 0, "scale=0"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, name: str, fps: int, scale: int, message: str):
    with pytest.raises(InputError, match=message):
        VideoWriter(tmp_path / name, fps=fps, scale=scale)


def test_pictures_are_written_by_their_suffix(tmp_path: Path, make_frames: MakeFrames):
    picture = make_frames(1)[0]
    for suffix, file_format in {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}.items():
        write_picture(tmp_path / f"picture{suffix}", picture)
        with Image.open(tmp_path / f"picture{suffix}") as image:
            assert image.format == file_format
    np.testing.assert_array_equal(read_picture(tmp_path / "picture.png")[0], picture)


def test_a_picture_says_what_it_is_about(tmp_path: Path, make_frames: MakeFrames):
    for suffix in (".png", ".jpg", ".webp"):
        write_picture(tmp_path / f"a{suffix}", make_frames(1)[0], about=ABOUT)
        write_picture(tmp_path / f"silent{suffix}", make_frames(1)[0])
    with Image.open(tmp_path / "a.png") as image:
        assert image.info == {name.capitalize(): text for name, text in ABOUT.items()}
    for suffix in (".jpg", ".webp"):
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert dict(image.getexif()) == {ExifTags.Base.ImageDescription: ABOUT["comment"]}
    for suffix in (".png", ".jpg", ".webp"):
        with Image.open(tmp_path / f"silent{suffix}") as image:
            assert not {"exif", "Title", "Comment"} & set(image.info)


def test_more_than_a_picture_can_say_is_left_out(tmp_path: Path, make_frames: MakeFrames):
    for length, held in ((MAX_EXIF_CHARACTERS - 1, True), (MAX_EXIF_CHARACTERS, False)):
        write_picture(tmp_path / "a.jpg", make_frames(1)[0], about={"comment": "x" * length})
        with Image.open(tmp_path / "a.jpg") as image:
            assert (ExifTags.Base.ImageDescription in image.getexif()) == held


def test_other_pictures_are_refused(tmp_path: Path, make_frames: MakeFrames):
    with pytest.raises(InputError, match=r"must end in \.png"):
        write_picture(tmp_path / "picture.mp4", make_frames(1)[0])
    assert list(tmp_path.iterdir()) == []


def test_an_animation_plays_all_frames_for_ever(tmp_path: Path) -> None:
    frames = np.zeros((6, 16, 24, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(0, 240, 40)[:, None, None]
    write_animation(tmp_path / "a.webp", frames, fps=16)
    with Image.open(tmp_path / "a.webp") as picture:
        assert (picture.size, picture.n_frames, picture.info["loop"]) == ((24, 16), 6, 0)
        picture.seek(5)
        assert abs(int(np.asarray(picture.convert("RGB"))[8, 8, 0]) - 200) < 20


def write_film(path: Path, frames: np.ndarray) -> None:
    write_video(path, frames, fps=16)


def write_still(path: Path, frames: np.ndarray) -> None:
    write_picture(path, frames[0])


def write_small(path: Path, frames: np.ndarray) -> None:
    write_animation(path, frames, fps=16)


@pytest.mark.parametrize(
    ("name", "write"), [("film.mp4", write_film), ("still.png", write_still), ("small.webp", write_small)]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, name: str, write: Callable[[Path, np.ndarray], None]
):
    path, frames = tmp_path / name, np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UnstaticError, match=rf"cannot write .*{name}: File too large, choose another"):
            write(path, frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
