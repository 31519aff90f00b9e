import math
import shutil
import struct
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from unstatic.core.errors import InputError
from unstatic.media.decode import deinterlaced
from unstatic.media.probe import probe
from unstatic.media.read import Film, Picture, Video, open_container, read_frames, read_picture, read_video
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


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda frame: frame),
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), lambda frame: frame[::-1]),
        ((-1, 0, 0, -1), lambda frame: frame[::-1, ::-1]),
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((0, -1, 1, 0), lambda frame: np.rot90(frame)),
        ((0, 1, 1, 0), lambda frame: np.swapaxes(frame, 0, 1)),
        ((0, -1, -1, 0), lambda frame: np.rot90(np.swapaxes(frame, 0, 1), 2)),
    ],
)
def test_a_mirrored_film_is_shown_as_players_do(
    tmp_path: Path, matrix: tuple[int, ...], shown: Callable[[np.ndarray], np.ndarray]
):
    """A point (x, y) of a frame goes to (a x + c y, b x + d y), and then into view."""
    path, frame = tmp_path / "film.mp4", np.zeros((32, 64, 3), np.uint8)
    frame[:8, :16], frame[24:, 48:] = 255, 128
    write_video(path, frame[None], fps=16)
    plain, content = read_video(path).frames[0], bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    numbers = np.zeros((3, 3), ">i4")
    numbers[:2, :2] = np.reshape(matrix, (2, 2)) * 65_536
    numbers[2, 2] = 1 << 30
    content[place : place + 36] = numbers.tobytes()
    path.write_bytes(content)
    np.testing.assert_array_equal(read_video(path).frames[0], shown(plain))


def test_grey_pictures_in_16_bits_keep_their_shades_and_floats_are_refused(tmp_path: Path):
    ramp = np.linspace(0, 65_535, 16).astype(np.uint16)[None].repeat(4, 0)
    (tmp_path / "grey.pgm").write_bytes(b"P5\n16 4\n65535\n" + ramp.astype(">u2").tobytes())
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    for name in ("grey.pgm", "grey.png"):
        np.testing.assert_array_equal(read_picture(tmp_path / name)[0, 0, :, 0], ramp[0] >> 8)
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "grey.tif")
    with pytest.raises(InputError, match="floating-point numbers"):
        read_picture(tmp_path / "grey.tif")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.99])
def test_a_truncated_video_is_refused(clip: Path, share: float):
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"clip\.mp4 (as a video: \w|has no video)"):
        read_video(clip)


@pytest.mark.parametrize(("container", "lasts"), [("mp4", Fraction(1, 16)), ("matroska", Fraction(62, 1000))])
def test_a_film_has_the_times_of_its_file(
    tmp_path: Path, make_frames: MakeFrames, container: str, lasts: Fraction
):
    with av.open(tmp_path / "clip", "w", format=container) as file:
        stream = file.add_stream("libx264", rate=16, width=64, height=64, pix_fmt="yuv420p")
        for frame in make_frames(12):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    with open_container(tmp_path / "clip") as opened:
        film = Film(tmp_path / "clip", opened)
        stamped = list(film.frames())
    assert (film.fps, film.has_sound, film.lack()) == (16, False, None)
    assert [float(each.time_s) for each in stamped] == pytest.approx(np.arange(12) / 16, abs=0.001)
    assert {each.lasts_s for each in stamped} == {lasts}
    frames = read_video(tmp_path / "clip").frames
    np.testing.assert_array_equal(np.stack([each.shown.pixels for each in stamped]), frames)


@pytest.mark.parametrize(
    ("ending", "coding", "is_searched"),
    [
        ("mp4", {}, True),
        ("mp4", {"x264-params": "open-gop=1:bframes=3:b-pyramid=2"}, True),
        ("mp4", {"x264-params": "interlaced=1"}, True),
        ("mp4", {"x264-params": "intra-refresh=1"}, True),
        ("mkv", {"x264-params": "open-gop=1"}, True),
        ("mov", {"bf": "0"}, True),
        ("ts", {}, True),
        ("ts", {"x264-params": "open-gop=1:bframes=3"}, True),
        ("flv", {}, False),
        ("avi", {"bf": "0"}, False),
    ],
)
def test_a_film_is_searched_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, coding: dict[str, str], is_searched: bool
):
    """What comes then is what came anyway, and little is decoded for it."""
    path = tmp_path / f"a.{ending}"
    frames = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), np.uint8)
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"g": "10", **coding})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    decoded: list[object] = []
    monkeypatch.setattr(
        "unstatic.media.read.deinterlaced", lambda given: deinterlaced(noting(given, decoded))
    )

    def read(begin_s: Fraction) -> list[Picture]:
        decoded.clear()
        with open_container(path) as opened:
            return [each.shown for each in Film(path, opened).frames(begin_s)]

    whole = read(Fraction(0))
    assert len(whole) == 120
    for second in (Fraction(1, 25), Fraction(2), Fraction(77, 25), Fraction(118, 25), Fraction(99)):
        rest, begin = read(second), min(math.floor(25 * second), 119)
        for shown, expected in zip(rest[begin - 120 :][:12], whole[begin:], strict=False):
            np.testing.assert_array_equal(shown.pixels, expected.pixels)
        assert len(rest) >= 120 - begin
        assert len(decoded) < (160 - begin if is_searched else 123)


def noting(frames: Iterator[av.VideoFrame], noted: list[object]) -> Iterator[av.VideoFrame]:
    for frame in frames:
        noted.append(frame)
        yield frame


def write_odd(path: Path, codec: str = "libx264", *, held_s: int = 0, subtitle_s: int = 0) -> Path:
    """Write 3 s whose last frame stays, which only the header says, or whose subtitle does."""
    with av.open(path, "w") as file:
        stream = file.add_stream(codec, rate=16, width=64, height=64, pix_fmt="yuv420p")
        texts = file.add_stream("ass") if subtitle_s else None
        stream.codec_context.time_base = Fraction(1, 1000)
        packets: list[av.Packet] = []
        for number, frame in enumerate(np.random.default_rng(0).integers(0, 256, (48, 64, 64, 3), np.uint8)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = round(number * 62.5), Fraction(1, 1000)
            packets += stream.encode(picture)
        packets += stream.encode()
        if held_s:
            max(packets, key=lambda packet: packet.pts or 0).duration = 1000 * held_s
        for packet in packets:
            file.mux(packet)
        if texts is not None:
            packet = av.Packet(b"0,0,Default,,0,0,0,,hello")
            packet.stream, packet.time_base = texts, Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = 500, 500, 1000 * subtitle_s
            file.mux(packet)
    if held_s:
        told = b"\x9b\x82" + (1000 * held_s).to_bytes(2)  # how long the frame's block lasts: void that
        assert path.read_bytes().count(told) == 1
        path.write_bytes(path.read_bytes().replace(told, b"\xec" + told[1:]))
    return path


def read_film(path: Path) -> tuple[list[float], str | None]:
    """Return when the frames and the last of them end, and what is missing."""
    with open_container(path) as opened:
        film = Film(path, opened)
        frames = list(film.frames())
        return [float((each.time_s or 0) + each.lasts_s) for each in frames], film.lack()


@pytest.mark.parametrize(
    ("ending", "codec"), [("webm", "libvpx"), ("webm", "libvpx-vp9"), ("mkv", "libx264")]
)
def test_a_last_frame_that_is_held_is_no_lack(tmp_path: Path, ending: str, codec: str):
    path = write_odd(tmp_path / f"a.{ending}", codec, held_s=4)
    ends, lack = read_film(path)
    assert (len(ends), lack) == (48, None)
    assert ends[-1] == pytest.approx(6.938, abs=0.01)
    assert ends[-2] == pytest.approx(2.938, abs=0.01)


@pytest.mark.parametrize("end", [b"", bytes(50_000), b"\x1f\x43\xb6\x75", b"\x1f\x43\xb6\x75\xff"])
def test_a_part_that_is_missing_is_not_held(tmp_path: Path, end: bytes):
    path = write_odd(tmp_path / "a.mkv", held_s=4)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + end)
    ends, lack = read_film(path)
    assert ends[-1] < 3
    assert "a.mkv says it lasts 6.9 s and holds" in str(lack)


def test_subtitles_that_last_longer_are_no_lack(tmp_path: Path):
    path = write_odd(tmp_path / "a.mkv", subtitle_s=5)
    ends, lack = read_film(path)
    assert (ends[-1], lack) == (pytest.approx(3, abs=0.01), None)
    path.write_bytes(path.read_bytes() + b"\0")  # so that nobody knows whether it is whole
    assert read_film(path)[1] is None


def test_a_damaged_film_says_how_far_it_can_be_read(tmp_path: Path):
    clip = tmp_path / "clip.mp4"
    write_video(clip, np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), np.uint8), fps=16)
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * 0.75)])  # its index lies in front
    with open_container(clip) as opened:
        film = Film(clip, opened)
        with pytest.raises(InputError, match=r"cannot read .*clip\.mp4 beyond 1\.\d s: .*; give a whole one"):
            list(film.frames())
    clip.write_bytes(data[:600])  # within the index
    with pytest.raises(InputError, match="as a video: it is damaged or not whole, give another file"):
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
        "text": "it is none, give one as mp4, mov",
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


LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile 'clip.mp4'\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
    "DASH": """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>
<AdaptationSet contentType="video"><Representation id="1" mimeType="video/mp4" codecs="avc1.42c00a">
<BaseURL>clip.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>""",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    "ASX": '<asx version="3.0"><entry><ref href="clip.mp4"/></entry></asx>',
    "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nclip.mp4\n",
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])  # of byte order
@pytest.mark.parametrize(
    "name", ["list.mp4", "list.ffconcat", "list.m3u8", "list.mpd", "list.sdp", "list%d.mp4"]
)
def test_what_names_other_files_is_no_video(clip: Path, kind: str, mark: str, name: str):
    """Else a text of two lines would show any film that the one who opens it may read."""
    path = clip.with_name(name)
    path.write_text(mark + LISTS[kind])
    for read in (read_video, probe, lambda path: next(read_frames(path))):
        with pytest.raises(
            InputError, match=r"cannot read .* as a video: it is none, give one as mp4, .* or y4m$"
        ):
            read(path)


def test_a_name_is_no_pattern(clip: Path, make_frames: MakeFrames):
    """By names alone, libav would read numbered pictures, other protocols and its own devices."""
    pattern = clip.with_name("still%d.png")
    for number in range(3):
        write_picture(clip.with_name(f"still{number}.png"), make_frames(1)[0])
    for missing in (pattern, clip.with_name("*.png")):
        with pytest.raises(InputError, match="No such file"):
            read_video(missing)
    shutil.copy(clip.with_name("still0.png"), pattern)
    with pytest.raises(InputError, match="it is none"):
        read_video(pattern)
    for name in ("clip%d.mp4", "concat:clip.mp4|clip.mp4"):
        shutil.copy(clip, clip.with_name(name))
        np.testing.assert_array_equal(read_video(clip.with_name(name)).frames, read_video(clip).frames)


def test_a_file_of_a_stranger_is_read_as_what_it_shall_be(clip: Path, tmp_path: Path):
    """A list for libav's concat would be followed to the files that it names."""
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    with av.open(tmp_path / "list.mp4") as followed:
        assert next(followed.decode(video=0)).width == next(read_frames(clip)).shape[1]
    for read in (probe, lambda *given, **how: next(read_frames(*given, **how))):
        for container in ("mp4", "concat"):
            with pytest.raises(InputError, match=r"cannot read .* as a video"):
                read(tmp_path / "list.mp4", container=container)
        read(clip, container="mp4")


def test_a_track_that_lies_in_another_file_is_not_read(tmp_path: Path, make_frames: MakeFrames):
    """QuickTime's tracks may; libav opens them if it is told to."""
    clip, film = tmp_path / "clip.mov", tmp_path / "film.mov"
    with av.open(clip, "w", format="mov") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width = stream.height = 64
        for frame in make_frames(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    film.write_bytes(pointing_to(clip))

    with av.open(film, options={"enable_drefs": "1"}) as followed:
        assert len(list(followed.decode(video=0))) == 4
    with pytest.raises(InputError, match=r"film\.mov"):
        read_video(film)
    assert len(read_video(clip).frames) == 4


def pointing_to(clip: Path) -> bytes:
    """Return a film without pictures, whose track lies in `clip` beside it, by an alias of Macintosh."""
    data = clip.read_bytes()
    moov = data[data.index(b"moov") - 4 :]
    path = f"/{clip.name}".encode()
    path += b"\0" * (len(path) % 2)
    record = bytes(10 + 28 + 12 + 64 + 16) + struct.pack(">HH", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(path)) + path + struct.pack(">hH", -1, 0)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    own = data[data.index(b"dref") + 12 :][:12]  # "in this file"
    assert own[4:8] in (b"url ", b"alis"), own
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = moov.index(box) - 4
        size = struct.unpack(">I", moov[at : at + 4])[0] + len(alias) - len(own)
        moov = moov[:at] + struct.pack(">I", size) + moov[at + 4 :]
    return data[: data.index(b"mdat") - 4] + moov.replace(own, alias)
