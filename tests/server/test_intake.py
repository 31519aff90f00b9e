"""Files that strangers send. The numbers are those of the faults that the server has to survive."""

import json
import re
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.shapes import Size
from unstatic.media.probe import probe
from unstatic.media.read import read_picture, read_video
from unstatic.server import intake
from unstatic.server.intake import IntakeError, Limits, examine_picture, examine_video, kind_of, safe_name

LIMITS = Limits(max_seconds=2.0, max_pixels=1_000_000, kept_side=128)
GREY = 20  # how much brighter each frame is than the one before


def write_film(
    path: Path,
    times: range | list[int] = range(8),
    *,
    rate: int = 16,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: Size = Size(64, 48),  # noqa: B008
    options: dict[str, str] | None = None,
    rotation: int = 0,
) -> Path:
    """Write grey frames at `times`, in sixteenths of a second or what `rate` says."""
    with av.open(path, "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, pixels
        stream.codec_context.time_base = Fraction(1, rate)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(times):
            grey = np.full((size.height, size.width, 3), number % 12 * GREY, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> list[int]:
    """Return the numbers of the frames that `write_film` wrote."""
    return [round(float(frame.mean()) / GREY) for frame in read_video(path).frames]


def refused(
    examine: Callable[[Path, Limits], AbstractContextManager[object]],
    path: Path,
    limits: Limits = LIMITS,
) -> IntakeError:
    """Return why a file is refused: one line without a path of the machine."""
    with pytest.raises(IntakeError) as caught, examine(path, limits):
        pytest.fail("it was taken in")
    assert re.fullmatch(r"[^\n/]{10,200}", str(caught.value))
    return caught.value


# ------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../x", "x"),
        ("..\\..\\x.png", "x.png"),
        ("/etc/passwd", "passwd"),
        ("CON", "file-CON"),
        ("lpt1.mp4", "file-lpt1.mp4"),
        ("com\u00b9", "file-com1"),
        ("-rf.mp4", "rf.mp4"),
        (".htaccess", "htaccess"),
        ("..", "file"),
        ("", "file"),
        ("a\0b\x1b[2J.mp4", "a_b_2J.mp4"),
        ("\u2024\u2024/x", "x"),  # dots that are no dots until they are normalised
        ("\uff0e\uff0e\uff0fx", "x"),
        ("cod\u202egnp.exe", "cod_gnp.exe"),
        ('a"; filename="b.html', "a_filename_b.html"),
        ("a\r\nSet-Cookie: b", "a_Set-Cookie_b"),
        ("\u00dcber uns.mp4", "Uber_uns.mp4"),
        ("\u6620\u753b.mp4", "file.mp4"),
        ("\ud800.png", "file.png"),
        ("name. ", "name"),
    ],
)
def test_f36_a_name_is_one_that_every_disk_and_header_bears(name: str, safe: str):
    assert safe_name(name) == safe


def test_f36_a_name_of_four_thousand_characters_is_cut():
    assert safe_name("x" * 4096 + ".mp4") == "x" * 80
    assert safe_name("x" * 200 + ".mp4") == "x" * 80 + ".mp4"


# --------------------------------------------------------------------------------------------------- pictures


def test_a_picture_becomes_our_own(tmp_path: Path):
    for form in ("png", "jpeg", "webp"):
        source = tmp_path / "upload"
        Image.new("RGB", (40, 30), (200, 40, 40)).save(source, format=form)
        assert kind_of(source) == form
        with examine_picture(source, LIMITS) as picture:
            assert picture.size == Size(40, 30)
            assert picture.path.read_bytes().startswith(b"\x89PNG")
            np.testing.assert_array_equal(read_picture(picture.path), read_picture(source))
        assert not picture.path.exists()


@pytest.mark.parametrize("form", ["png", "webp"])
def test_f38_a_small_file_of_144_megapixels_is_refused_by_its_header(tmp_path: Path, form: str):
    bomb = tmp_path / "bomb"
    Image.new("1", (12_000, 12_000)).save(bomb, format="png")
    if form == "webp":  # only the header says so
        vp8x = b"VP8X" + struct.pack("<II", 10, 0) + (11_999).to_bytes(3, "little") * 2
        bomb.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x)
    assert bomb.stat().st_size < 20_000
    error = refused(examine_picture, bomb, Limits())
    assert error.code == ("image_too_large" if form == "png" else "invalid_image")


def test_f38_pillow_s_own_limit_is_below_what_an_operator_allows(tmp_path: Path):
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb", format="png")
    error = refused(examine_picture, tmp_path / "bomb", Limits(max_pixels=10**9))
    assert "million pixels" in str(error)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_f39_an_animated_picture_is_refused(tmp_path: Path, form: str):
    first, *others = (Image.new("RGB", (16, 16), (grey, 0, 0)) for grey in (0, 90, 250))
    first.save(tmp_path / "moving", format=form, save_all=True, append_images=others, duration=100)
    assert str(refused(examine_picture, tmp_path / "moving")) == "the picture moves, give a still one"


def test_f39_what_a_phone_adds_to_a_photo_is_left_out(tmp_path: Path):
    photo, depth = Image.new("RGB", (32, 24), (0, 90, 0)), Image.new("RGB", (16, 12))
    photo.save(tmp_path / "photo", format="mpo", save_all=True, append_images=[depth])
    with examine_picture(tmp_path / "photo", LIMITS) as picture:
        assert picture.size == Size(32, 24)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_f39_a_truncated_picture_is_refused(tmp_path: Path, form: str, share: float):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole", format=form)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "half").write_bytes(data[: int(len(data) * share)])
    assert refused(examine_picture, tmp_path / "half").code == "invalid_image"


def test_f39_cmyk_and_sixteen_bits_become_rgb(tmp_path: Path):
    sixteen = np.array([[[65_535, 0, 30_000]] * 8] * 8, np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in sixteen)
    files = {
        "cmyk": lambda path: Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path, format="jpeg"),
        "grey16": lambda path: Image.fromarray(sixteen[..., 0]).save(path, format="png"),
        "rgb16": lambda path: path.write_bytes(png(8, 8, bits=16, rows=rows)),
        "transparent": lambda path: Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(path, format="png"),
    }
    wanted = {
        "cmyk": (255, 0, 0),
        "grey16": (255, 255, 255),
        "rgb16": (255, 0, 117),
        "transparent": (255, 255, 255),
    }
    for name, write in files.items():
        write(tmp_path / name)
        with examine_picture(tmp_path / name, LIMITS) as picture, Image.open(picture.path) as image:
            assert image.mode == "RGB"
            assert np.abs(np.asarray(image).astype(int) - wanted[name]).max() <= 3, name


def png(width: int, height: int, *, bits: int, rows: bytes) -> bytes:
    """Return a PNG in RGB, of which Pillow writes 8 bits only."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_f39_a_photo_is_turned_and_says_nothing_more_of_its_place(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home"
    Image.new("RGB", (40, 20)).save(tmp_path / "photo", format="jpeg", exif=exif)
    with examine_picture(tmp_path / "photo", LIMITS) as picture, Image.open(picture.path) as image:
        assert image.size == (20, 40)
        assert dict(image.getexif()) == {}


def test_f39_what_a_picture_is_besides_is_left_out(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "both", format="png")
    page = b"<script>alert(1)</script>PK\x03\x04"
    (tmp_path / "both").write_bytes((tmp_path / "both").read_bytes() + page)
    with examine_picture(tmp_path / "both", LIMITS) as picture:
        assert page not in picture.path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(20), b"BM" + bytes(60)],
)
def test_f39_what_is_no_picture_of_ours_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "image.png").write_bytes(content)
    assert refused(examine_picture, tmp_path / "image.png").code == "invalid_image"


# ----------------------------------------------------------------------------------------------------- videos


def test_a_video_becomes_our_own(tmp_path: Path):
    for suffix, codec, pixels in (("mov", "libx264", "yuv420p"), ("webm", "libvpx", "yuv420p")):
        source = write_film(tmp_path / f"film.{suffix}", codec=codec, pixels=pixels)
        with examine_video(source, LIMITS) as video:
            assert (video.size, video.fps, video.num_frames) == (Size(64, 48), 16, 8)
            assert video.seconds == 0.5
            assert shown(video.path) == list(range(8))
            said = probe(video.path, container="mp4")
            assert (said.codec, said.num_frames, said.has_sound) == ("h264", 8, False)
        assert not video.path.exists()


def test_a_gif_is_a_video(tmp_path: Path):
    source = write_film(tmp_path / "film.gif", rate=10, codec="gif", pixels="rgb8")
    with examine_video(source, LIMITS) as video:
        assert (video.fps, video.num_frames) == (10, 8)


LISTS = {
    "concat": "ffconcat version 1.0\nfile 'secret.mp4'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>secret.mp4</BaseURL></Period></MPD>',
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("prefix", [b"", b"\0\0\0\x08free", b"\x1a\x45\xdf\xa3", b"GIF89a"])
def test_f40_a_list_that_names_a_neighbouring_file_is_no_video(tmp_path: Path, name: str, prefix: bytes):
    write_film(tmp_path / "secret.mp4")
    (tmp_path / "film.mp4").write_bytes(prefix + LISTS[name].encode())
    assert refused(examine_video, tmp_path / "film.mp4").code in ("invalid_video", "video_too_large")


def test_f40_every_upload_has_a_folder_that_nobody_else_may_enter(tmp_path: Path):
    source = write_film(tmp_path / "film.mp4")
    with examine_video(source, LIMITS) as one, examine_video(source, LIMITS) as other:
        assert one.path.parent != other.path.parent
        assert stat.S_IMODE(one.path.parent.stat().st_mode) == 0o700
        assert {path.name for path in one.path.parent.iterdir()} == {"upload", "video.mp4"}
    assert not one.path.parent.exists()


def test_f40_a_folder_is_left_behind_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "broken").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    refused(examine_picture, tmp_path / "broken")
    Image.new("RGB", (8, 8)).save(tmp_path / "whole", format="png")
    with pytest.raises(RuntimeError, match="later"), examine_picture(tmp_path / "whole", LIMITS):
        raise RuntimeError("later")
    assert list((tmp_path / "temporary").iterdir()) == []


def claim(path: Path, box: bytes, offset: int, *numbers: int) -> None:
    """Write numbers into a box of an mp4, behind its name."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(numbers)}I", data, data.index(box) + 4 + offset, *numbers)
    path.write_bytes(data)


def test_f41_a_billion_frames_that_are_not_there_cost_nothing(tmp_path: Path):
    path = write_film(tmp_path / "film.mp4")
    claim(path, b"stts", 4, 1, 10**9)
    claim(path, b"stsz", 4, 1, 10**9)
    assert refused(examine_video, path).code == "invalid_video"


def test_f41_a_video_that_says_it_is_long_is_refused_unread(tmp_path: Path):
    path = write_film(tmp_path / "film.mp4", [0, 1, 2, 1600])
    assert str(refused(examine_video, path)) == "the video is longer than 2 s"


@pytest.mark.parametrize("times", [range(60), [0, 1, 10**6]])
def test_f41_a_video_that_does_not_say_it_is_long_is_refused_while_it_is_read(
    tmp_path: Path, times: range | list[int]
):
    path = write_film(tmp_path / "film.webm", times, codec="libvpx", options={"live": "1"})
    assert probe(path, container="matroska").duration_s is None
    assert refused(examine_video, path).code == "video_too_long"


def test_f41_sixteen_thousand_pixels_a_side_are_refused(tmp_path: Path):
    large = write_film(tmp_path / "large.mkv", [0], codec="mjpeg", pixels="yuvj420p", size=Size(4112, 16))
    error = refused(examine_video, large)
    assert str(error) == "the video is 4112x16, give one with sides of at most 4096"
    lies = write_film(tmp_path / "film.gif", codec="gif", pixels="rgb8")
    data = bytearray(lies.read_bytes())
    struct.pack_into("<HH", data, 6, 16_384, 16_384)
    lies.write_bytes(data)
    assert refused(examine_video, lies).code == "invalid_video"


@pytest.mark.parametrize(("second", "taken"), [(Size(128, 96), True), (Size(8192, 2064), False)])
def test_f41_frames_that_change_their_size(tmp_path: Path, second: Size, taken: bool):
    parts = [Size(64, 48), second]
    files = [
        write_film(tmp_path / f"{part}.mkv", range(2), codec="mjpeg", pixels="yuvj420p", size=part)
        for part in parts
    ]
    with av.open(tmp_path / "both.mkv", "w") as output, av.open(files[0]) as first:
        stream = output.add_stream_from_template(first.streams.video[0])
        number = 0
        for file in files:
            with av.open(file) as part:
                for packet in part.demux(video=0):
                    if packet.size:
                        packet.stream, packet.time_base = stream, Fraction(1, 1000)
                        packet.pts = packet.dts = number * 63
                        output.mux(packet)
                        number += 1
    if not taken:
        assert refused(examine_video, tmp_path / "both.mkv").code == "invalid_video"
        return
    with examine_video(tmp_path / "both.mkv", LIMITS) as video:
        assert (video.size, video.num_frames) == (Size(64, 48), 4)


def test_f41_a_variable_rate_becomes_steady(tmp_path: Path):
    path = write_film(tmp_path / "film.mp4", [0, 1, 2, 6, 7])
    with examine_video(path, LIMITS) as video:
        assert video.fps == 16
        assert shown(video.path) == [0, 1, 2, 2, 2, 2, 3, 4]


def test_f41_times_before_zero_are_shown_as_a_player_would(tmp_path: Path):
    path = write_film(tmp_path / "film.mp4", range(-4, 4), options={"avoid_negative_ts": "disabled"})
    with examine_video(path, LIMITS) as video:
        assert shown(video.path)[-4:] == [4, 5, 6, 7]


def test_f41_a_fast_and_large_video_becomes_slower_and_smaller(tmp_path: Path):
    path = write_film(tmp_path / "film.mp4", range(12), rate=60, size=Size(320, 90))
    with examine_video(path, LIMITS) as video:
        assert (video.size, video.fps) == (Size(128, 36), 30)
        assert shown(video.path) == [0, 2, 4, 6, 8, 10]


def test_f41_sound_or_subtitles_alone_are_no_video(tmp_path: Path):
    with av.open(tmp_path / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with av.open(tmp_path / "text.mkv", "w") as container:
        packet = av.Packet(b"hello")
        packet.stream = container.add_mux_stream("subrip")
        packet.pts, packet.dts, packet.duration = 0, 0, 1000
        container.mux(packet)
    for name in ("sound.mp4", "text.mkv"):
        assert "no video in it" in str(refused(examine_video, tmp_path / name))


def test_f41_an_encrypted_video_is_refused(tmp_path: Path):
    key = {"encryption_key": "76a6c65c5ea762046bd749a2e632ccbb"}
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        **key,
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    assert refused(examine_video, write_film(tmp_path / "film.mp4", options=options)).code == "invalid_video"


def test_f41_odd_sides_ten_bits_and_phones_held_sideways(tmp_path: Path):
    odd = write_film(tmp_path / "odd.webm", codec="libvpx", size=Size(63, 47))
    deep = write_film(tmp_path / "deep.mkv", pixels="yuv420p10le")
    turned = write_film(tmp_path / "turned.mp4", rotation=90)
    for path, size in ((odd, Size(62, 46)), (deep, Size(64, 48)), (turned, Size(48, 64))):
        with examine_video(path, LIMITS) as video:
            assert video.size == size
            assert shown(video.path) == list(range(8))


def test_f41_decoders_that_nobody_needs_are_not_offered(tmp_path: Path):
    path = write_film(tmp_path / "film.mp4", rate=25, codec="mpeg2video")
    assert "it is coded as mpeg2video, give it as H.264" in str(refused(examine_video, path))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_f41_a_truncated_video_is_refused(tmp_path: Path, share: float):
    path = write_film(tmp_path / "film.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refused(examine_video, path).code == "invalid_video"


# ---------------------------------------------------------------------------------------- the limited process


def test_f41_too_little_memory_time_or_disk_refuses_the_file_and_nothing_else(tmp_path: Path):
    Image.effect_noise((2000, 2000), 50).convert("RGB").save(tmp_path / "picture", format="jpeg")
    memory = Limits(memory_bytes=350_000_000, max_pixels=200_000_000)
    for limits, reason in (
        (Limits(memory_bytes=100_000_000), "cannot be read|too much memory"),
        (Limits(written_bytes=1000), "cannot be read"),
        (Limits(time_s=0.01), r"takes more than 0\.01 s"),
    ):
        assert re.search(reason, str(refused(examine_picture, tmp_path / "picture", limits)))
    Image.new("RGB", (8000, 8000)).save(tmp_path / "large", format="png")
    assert refused(examine_picture, tmp_path / "large", memory).code == "invalid_image"


def test_f41_the_reader_is_restrained_before_it_reads():
    code = (
        "import json, resource as r; from unstatic.server import intake;"
        "intake._restrain(intake.Limits(time_s=7.5));"
        "names = ('CORE', 'AS', 'CPU', 'FSIZE', 'NOFILE');"
        "print(json.dumps([r.getrlimit(getattr(r, 'RLIMIT_' + name)) for name in names]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == [[n, n] for n in (0, 2**31, 16, 500_000_000, 64)]


def test_f41_the_reader_knows_no_secrets_and_loads_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNSTATIC_SERVE_DATABASE", "postgresql://user:secret@host/jobs")
    assert all("secret" not in value for value in intake._bare_environment().values())
    Image.new("RGB", (8, 8)).save(tmp_path / "upload", format="png")
    code = (
        "import os, sys; from unstatic.server import intake;"
        f"intake._main('picture', 'png', '{json.dumps({'max_pixels': 100})}');"
        "import unstatic.media.probe, unstatic.media.steady, unstatic.media.write;"
        "assert 'torch' not in sys.modules; assert not [n for n in os.environ if 'UNSTATIC' in n]"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=intake._bare_environment(), capture_output=True
    )
    assert done.returncode == 0, done.stderr
    begun, answer = done.stdout.decode().splitlines()
    assert (begun, json.loads(answer)) == ("reading", {"width": 8, "height": 8})


def test_a_reader_that_does_not_start_is_not_the_stranger_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture", format="png")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UnstaticError) as caught, examine_picture(tmp_path / "picture", LIMITS):
        pytest.fail("nothing read it")
    assert not isinstance(caught.value, InputError)


def test_a_file_is_read_when_it_has_its_turn(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture", format="png")
    turn = threading.Semaphore(1)
    with examine_picture(tmp_path / "picture", LIMITS, turn=turn):
        assert turn.acquire(blocking=False), "a turn ends when the file is read"
    finished = threading.Event()

    def wait() -> None:
        with examine_picture(tmp_path / "picture", LIMITS, turn=turn):
            finished.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not finished.wait(1.0)
    turn.release()
    waiting.join()
    assert finished.is_set()


def test_the_folder_of_an_upload_holds_no_module_that_the_reader_would_load(tmp_path: Path):
    """A file in the folder in which a process runs may not take the place of a library."""
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    command = [sys.executable, "-P", "-m", "unstatic.server.intake", "picture", "png", "{}"]
    done = subprocess.run(command, cwd=tmp_path, env=intake._bare_environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"refused" in done.stdout, "there is no upload"
