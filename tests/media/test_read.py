from collections.abc import Callable, Generator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from unstatic.core.errors import InputError
from unstatic.media.probe import probe
from unstatic.media.read import Video, read_frames, read_picture, read_video
from unstatic.media.write import write_picture, write_video

MakeFrames = Callable[..., np.ndarray]


@pytest.fixture
def clip(tmp_path: Path, make_frames: MakeFrames) -> Path:
    write_video(tmp_path / "clip.mp4", make_frames(12), fps=16, scale=2)
    return tmp_path / "clip.mp4"


def test_reading_stops_where_it_is_told_to(clip: Path):
    whole, start = read_video(clip).frames, read_video(clip, max_frames=5).frames
    assert len(start) == 5
    np.testing.assert_array_equal(whole[:5], start)


def test_frames_come_one_by_one(clip: Path):
    frames = read_frames(clip)
    assert isinstance(frames, Generator)
    first = next(frames)
    frames.close()
    np.testing.assert_array_equal(first, read_video(clip).frames[0])


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_a_phone_held_sideways_is_turned(tmp_path: Path, degrees: int, corner: tuple[int, int]):
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:16, :32] = 255
    with av.open(tmp_path / "phone.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())

    shown = read_video(tmp_path / "phone.mp4").frames[0]
    assert shown.shape == ((64, 32, 3) if degrees in (90, -90) else (32, 64, 3))
    middle_row, middle_column = shown.shape[0] // 2, shown.shape[1] // 2
    quarters = [[shown[:middle_row, :middle_column], shown[:middle_row, middle_column:]]]
    quarters += [[shown[middle_row:, :middle_column], shown[middle_row:, middle_column:]]]
    brightest = max(((r, c) for r in (0, 1) for c in (0, 1)), key=lambda rc: quarters[rc[0]][rc[1]].mean())
    assert brightest == corner


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.99])
def test_a_truncated_video_is_refused(clip: Path, share: float):
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"clip\.mp4 (as a video: \w|has no video)"):
        read_video(clip)


def test_what_is_no_video_is_refused(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("not a video at all")
    with av.open(tmp_path / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for name, reason in {
        "text": "Invalid data",
        "missing": "No such file",
        "sound": "no video in it",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_video(tmp_path / f"{name}.mp4")
    with pytest.raises(InputError, match="Is a directory"):
        read_video(tmp_path)


def test_a_video_saves_itself(tmp_path: Path, make_frames: MakeFrames):
    video = Video(frames=make_frames(8), fps=16)
    path = video.save(str(tmp_path / "again.mp4"), scale=2)
    again = read_video(path)
    assert again.frames.shape == (8, 128, 128, 3)
    assert again.fps == video.fps


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, make_frames: MakeFrames):
    frames = make_frames(1)
    write_picture(tmp_path / "picture.png", frames[0])
    np.testing.assert_array_equal(read_picture(tmp_path / "picture.png"), frames)


def test_a_photo_taken_sideways_is_turned(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation tag: turn 90 degrees clockwise to view
    Image.new("RGB", (4, 2)).save(tmp_path / "photo.jpg", exif=exif)
    assert read_picture(tmp_path / "photo.jpg").shape == (1, 4, 2, 3)


def test_grey_and_transparent_pictures_become_rgb(tmp_path: Path):
    for mode in ("L", "P", "RGBA", "1", "I;16"):
        Image.new(mode, (4, 2)).save(tmp_path / "picture.png")
        assert read_picture(tmp_path / "picture.png").shape == (1, 2, 4, 3)


def test_what_is_transparent_is_white(tmp_path: Path):
    pixels = np.array([[[9, 9, 9, 0], [200, 0, 0, 255], [0, 0, 0, 128]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "sticker.png")
    assert read_picture(tmp_path / "sticker.png")[0, 0].tolist() == [
        [255, 255, 255],
        [200, 0, 0],
        [127, 127, 127],
    ]


def test_sixteen_bits_of_grey_are_scaled_to_eight(tmp_path: Path):
    Image.fromarray(np.array([[0, 30_000, 65_535]], np.uint16)).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png")[0, 0, :, 0].tolist() == [0, 117, 255]


@pytest.mark.parametrize("height", [4_500, 9_500])  # where Pillow warns, and where it refuses
def test_a_small_file_that_unfolds_to_a_huge_picture_is_refused(tmp_path: Path, height: int):
    Image.new("1", (20_000, height)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"bomb\.png has more than 89 million pixels: give it smaller"):
        read_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_is_refused(tmp_path: Path, make_frames: MakeFrames):
    write_picture(tmp_path / "half.png", make_frames(1)[0])
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:200])
    (tmp_path / "text.png").write_text("not a picture at all")
    for name in ("half.png", "text.png", "missing.png", "."):
        with pytest.raises(InputError, match=r"as a picture: \w"):
            read_picture(tmp_path / name)


def test_a_picture_of_a_stranger_is_read_as_what_it_shall_be(tmp_path: Path, make_frames: MakeFrames):
    write_picture(tmp_path / "picture.png", make_frames(1)[0])
    read_picture(tmp_path / "picture.png", formats=("PNG",))
    with pytest.raises(InputError, match="it is none"):
        read_picture(tmp_path / "picture.png", formats=("JPEG", "WEBP"))


def test_a_file_of_a_stranger_has_few_decoders_and_small_frames(tmp_path: Path):
    for name, codec, pixels, width in (
        ("a.mkv", "ffv1", "yuv420p", 64),
        ("b.mkv", "mjpeg", "yuvj420p", 8192),
    ):
        with av.open(tmp_path / name, "w") as container:
            stream = container.add_stream(codec, rate=16)
            stream.width, stream.height, stream.pix_fmt = width, 2064, pixels
            container.mux(stream.encode(av.VideoFrame(width, 2064, pixels)))
            container.mux(stream.encode())
        assert next(read_frames(tmp_path / name)).shape == (2064, width, 3)
    with pytest.raises(InputError, match=r"it is coded as ffv1, give it as H\.264"):
        next(read_frames(tmp_path / "a.mkv", container="matroska"))
    with pytest.raises(InputError, match="Invalid argument"):
        next(read_frames(tmp_path / "b.mkv", container="matroska"))


def test_a_file_of_a_stranger_is_read_as_what_it_shall_be(clip: Path, tmp_path: Path):
    """A list for libav's concat would be followed to the files that it names."""
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    assert next(read_frames(tmp_path / "list.mp4")).shape == next(read_frames(clip)).shape
    for read in (probe, lambda *given, **how: next(read_frames(*given, **how))):
        with pytest.raises(InputError, match=r"cannot read .* as a video"):
            read(tmp_path / "list.mp4", container="mp4")
        read(clip, container="mp4")
