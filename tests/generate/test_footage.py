"""Videos as an editor hands them over: of any size, rate and length, fitted; and bad ones refused."""

import os
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.generate.footage import (
    Clock,
    Footage,
    Span,
    check_footage,
    expected_frames,
    lasting,
    placed,
    read_beginning,
    read_mask,
    read_source,
    retimed,
    skipped,
)
from unstatic.media.frames import fit, retime
from unstatic.media.read import Stamped, read_frames
from unstatic.media.write import write_picture, write_video
from unstatic.models.manifest import Manifest, read_manifest

COMPRESSION = Compression(time=4, space=8)
GREY = 10
UNEVEN_MS = (0, 40, 80, 700, 740, 1500, 1540, 1580, 2600, 2640, 3000, 3033, 3066, 4000, 4900, 4960)


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return read_manifest(tiny_model)


def numbered(count: int, first: int = 0) -> np.ndarray:
    """Return frames of 32 x 32 that carry their number."""
    return np.broadcast_to(
        np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, 32, 32, 3)
    )


def noise(count: int) -> np.ndarray:
    """Return frames that no codec makes small, each brighter on its right than the one before."""
    frames = np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), np.uint8)
    frames[:, :, 48:] = (np.arange(count) * GREY % 250)[:, None, None, None]
    return frames


def write_film(
    path: Path,
    frames: np.ndarray,
    *,
    fps: Fraction | int = 16,
    times_ms: tuple[int, ...] = (),
    sound_s: float = 0,
    turned: int = 0,
    coded: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write a film as other programs do: in another container, uneven, with sound, or held sideways."""
    with av.open(path, "w", options=options) as container:
        codec = {".avi": "mpeg4", ".flv": "flv1", ".mpg": "mpeg1video", ".ogv": "libvpx"}.get(path.suffix)
        stream = container.add_stream(codec or "libx264", rate=fps, options=coded)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono") if sound_s else None
        if turned:
            stream.set_display_rotation(turned)
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times_ms:
                picture.pts, picture.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        for start in range(0, round(8000 * sound_s), 1024):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, start
            container.mux(sound.encode(samples))
        if sound:
            container.mux(sound.encode())
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    """Take the end of a file away."""
    os.truncate(path, int(path.stat().st_size * share))
    return path


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


def test_what_shrinks_is_said(tmp_path: Path, make_frames, manifest: Manifest):
    for width, height, is_said in ((96, 96, True), (64, 64, False), (60, 96, False), (32, 32, False)):
        path = tmp_path / f"{width}x{height}.mp4"
        write_video(path, make_frames(2, width, height), fps=16)
        said = f"{path} is {width}x{height}: what is kept of it is 32x32 here, enlarged"
        assert (said in read_source(path, manifest).warnings) == is_said


def test_a_source_longer_than_the_model_can_make_is_refused(tmp_path: Path, make_frames, manifest: Manifest):
    write_video(tmp_path / "long.mp4", make_frames(161, 32, 32), fps=16)
    with pytest.raises(InputError, match="longer than the 10 seconds of tiny: cut it"):
        read_source(tmp_path / "long.mp4", manifest)


def test_what_is_no_video_is_refused(tmp_path: Path, manifest: Manifest):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"cannot read .*a\.mp4 as a video"):
        read_source(tmp_path / "a.mp4", manifest)


# ------------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize("fps", [10, 16, 24, 25, Fraction(30000, 1001), 60])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts", "avi", "flv"])
def test_a_steady_source_is_retimed_exactly(
    tmp_path: Path, manifest: Manifest, ending: str, fps: Fraction | int
):
    """Whatever the container rounds times to, as mkv does to milliseconds."""
    path = write_film(tmp_path / f"a.{ending}", noise(40), fps=fps)
    source = read_source(path, manifest)
    shown = retime(np.stack(list(read_frames(path))), 0, fps, 16)
    assert np.array_equal(source.frames, fit(shown, Size(48, 32)))
    assert not any("uneven" in warning or "missing" in warning for warning in source.warnings)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts", "flv"])
def test_an_uneven_source_is_shown_as_a_player_does(tmp_path: Path, manifest: Manifest, ending: str):
    frames = numbered(len(UNEVEN_MS)) * GREY
    path = write_film(tmp_path / f"a.{ending}", frames, fps=25, times_ms=UNEVEN_MS)
    source = read_source(path, manifest)
    shown = [round(float(frame.mean()) / GREY) for frame in source.frames]
    ticks = [sum(time <= 62.5 * tick for time in UNEVEN_MS) - 1 for tick in range(len(shown))]
    assert shown == ticks
    assert source.seconds == pytest.approx(5, abs=0.1)
    assert "uneven times, tiny 16 a second: it is retimed" in source.warnings[0]


@pytest.mark.parametrize("ending", ["ogv", "mpg"])  # one says no rate, the other hardly any times
def test_a_source_need_not_say_everything(tmp_path: Path, manifest: Manifest, ending: str):
    path = write_film(tmp_path / f"a.{ending}", noise(80)[:, :32, :32], fps=24)
    source = read_source(path, manifest)
    assert len(source.frames) == 54
    assert "has 24 frames a second, tiny 16: it is retimed" in source.warnings[0]


@pytest.mark.parametrize(
    ("times_ms", "shown"),
    [
        ((0, 100, 200), [0, 1, 2]),
        ((5000, 5100, 5200), [0, 1, 2]),  # a clock that begins somewhere
        ((0, 101, 199, 301), [0, 1, 2, 3]),  # rounded
        ((None, None, None), [0, 1, 2]),
        ((0, None, 200, 500), [0, 1, 2, 2, 2, 3]),
        ((0, 100, 0, 100), [0, 1, 2, 3]),  # two films one after the other
        ((0, 0, 0), [0, 1, 2]),
        ((0, 20, 40, 300), [0, 2, 2, 3]),
    ],
)
def test_times_may_be_any(times_ms: tuple[int | None, ...], shown: list[int]):
    stamped = (
        Stamped(frame, None if time is None else Fraction(time, 1000), Fraction(0))
        for frame, time in zip(numbered(len(times_ms)), times_ms, strict=True)
    )
    assert [int(frame[0, 0, 0]) for frame in Clock(Fraction(10)).played(stamped, 10)] == shown


def test_the_last_frame_stays_as_long_as_its_file_says():
    hold = [Stamped(frame, None, Fraction(2)) for frame in numbered(2)]
    assert len(list(Clock(Fraction(10)).played(hold, 10))) == 21


@pytest.mark.parametrize(
    ("fps", "wanted"), [(16, 16), (24, 16), (10, 16), (Fraction(30000, 1001), 16), (16, 60)]
)
def test_one_by_one_is_as_all_at_once(fps: Fraction | int, wanted: int):
    frames = numbered(40)
    assert np.array_equal(np.stack(list(retimed(frames, fps, wanted))), retime(frames, 0, fps, wanted))


# ------------------------------------------------------------------------------------------- a span of a film

SPANS = (Span(5, 6), Span(0, 1), Span(0.1, 0.2), Span(3.33, 4.7), Span(8.5, None), Span(9, 10))


def same_as_whole(path: Path, manifest: Manifest, spans: Sequence[Span] = SPANS) -> bool:
    """Return whether each span has the frames that it has in the whole film."""
    whole = read_source(path, manifest).frames
    for keep in spans:
        first, end = round(keep.start_s * 16), None if keep.end_s is None else round(keep.end_s * 16)
        if not np.array_equal(read_source(path, manifest, keep=keep).frames, whole[first:end]):
            return False
    return True


@pytest.mark.parametrize(
    ("ending", "fps"), [("mp4", 24), ("mov", Fraction(30000, 1001)), ("ts", 16), ("avi", 25), ("mpg", 24)]
)
def test_a_span_has_the_frames_of_the_whole(
    tmp_path: Path, manifest: Manifest, ending: str, fps: Fraction | int
):
    path = write_film(tmp_path / f"a.{ending}", noise(int(10 * fps))[:, :32, :32], fps=fps, coded={"g": "30"})
    assert same_as_whole(path, manifest)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("begin_ms", [0, 3000])
def test_a_span_of_an_uneven_film_has_the_frames_of_the_whole(
    tmp_path: Path, manifest: Manifest, ending: str, begin_ms: int
):
    times = tuple(begin_ms + time for time in UNEVEN_MS)
    frames = numbered(len(times)) * GREY
    path = write_film(tmp_path / f"a.{ending}", frames, fps=25, times_ms=times, coded={"g": "3"})
    spans = Span(1, 3), Span(2.2, 2.4), Span(3.5, None), Span(0.9, 1)
    assert same_as_whole(path, manifest, spans)


def test_a_span_of_a_long_film_is_kept(tmp_path: Path, manifest: Manifest):
    path = write_film(tmp_path / "long.mp4", noise(480)[:, :16, :32], coded={"g": "16"}, sound_s=30)
    whole = read_source(path, replace(manifest, max_seconds=60.0)).frames
    source = read_source(path, manifest, keep=Span(20, 21))
    assert np.array_equal(source.frames, whole[320:336])
    assert source.warnings[0].endswith("has sound: films made here are silent")
    assert len(read_source(path, manifest, keep=Span(29, None)).frames) == 16


@pytest.mark.parametrize(
    ("keep", "complaint"),
    [
        (Span(1, 3), "keep 1:3 is no span of a video of 2 seconds"),
        (Span(5, None), "keep 5: is no span of a video of 2 seconds"),
        (Span(60, 61), "keep 60:61 is no span of a video of 2 seconds"),
        (Span(2, 1), "keep 2:1 is no span: it must end after it begins, for example 0.5:3"),
        (Span(-1, 1), "keep -1:1 is no span"),
        (Span(0, float("inf")), "keep 0:inf is no span"),
        (Span(float("nan"), None), "keep nan: is no span"),
        (Span(0, 11), "keep 0:11 is longer than the 10 seconds of tiny: keep less"),
    ],
)
def test_a_span_that_is_none_is_refused(tmp_path: Path, manifest: Manifest, keep: Span, complaint: str):
    for ending in ("mp4", "avi"):
        path = write_film(tmp_path / f"a.{ending}", noise(32))
        with pytest.raises(InputError, match=complaint):
            read_source(path, manifest, keep=keep)


def test_an_open_span_may_be_too_long(tmp_path: Path, manifest: Manifest):
    path = write_film(tmp_path / "a.mp4", numbered(200), coded={"g": "16"})
    with pytest.raises(InputError, match=r"keep 1: of .*a\.mp4 is longer than the 10 seconds of tiny"):
        read_source(path, manifest, keep=Span(1, None))
    assert len(read_source(path, manifest, keep=Span(2.5, None)).frames) == 160


@pytest.mark.parametrize(("keep", "expected"), [(None, 32), (Span(0.5, 1), 8), (Span(1.5, None), 8)])
def test_who_reads_can_be_followed(tmp_path: Path, manifest: Manifest, keep: Span | None, expected: int):
    path = write_film(tmp_path / "a.mp4", noise(32))
    told: list[None] = []
    read_source(path, manifest, keep=keep, on_frame=lambda: told.append(None))
    assert len(told) == expected_frames(path, manifest, keep) == expected


# ------------------------------------------------------------------------------------- what is not all there


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("mkv", r"cut\.mkv says it lasts 5 s and holds (2\.\d|3): the rest is missing"),
        ("flv", r"cut\.flv says it lasts 5 s and holds (2\.\d|3|3\.1): the rest is missing"),
        ("avi", r"cut\.avi says it lasts 5 s and holds (2\.\d|3|3\.1): the rest is missing"),
        ("ts", r"cut\.ts breaks off in the middle of a frame: the rest is missing"),
        ("m2ts", r"cut\.m2ts breaks off in the middle of a frame: the rest is missing"),
    ],
)
def test_a_source_that_ends_early_says_so(tmp_path: Path, manifest: Manifest, ending: str, said: str):
    path = write_film(tmp_path / f"cut.{ending}", noise(80))
    assert not any("missing" in warning for warning in read_source(path, manifest).warnings)
    source = read_source(cut(path), manifest)
    assert 32 < len(source.frames) < 56
    assert re.search(f"{said}$", source.warnings[0])


def test_a_source_that_ends_between_frames_but_within_a_packet_says_so(tmp_path: Path, manifest: Manifest):
    path = write_film(tmp_path / "a.ts", noise(8))
    path.write_bytes(path.read_bytes() + b"G" + bytes(99))
    assert "breaks off in the middle" in read_source(path, manifest).warnings[0]


def test_a_cut_source_with_sound_says_so(tmp_path: Path, manifest: Manifest):
    path = cut(write_film(tmp_path / "a.mkv", noise(48), sound_s=5))
    assert "says it lasts 5" in read_source(path, manifest).warnings[0]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_sound_that_lasts_longer_is_no_lack(tmp_path: Path, manifest: Manifest, ending: str):
    source = read_source(write_film(tmp_path / f"a.{ending}", noise(16), sound_s=3), manifest)
    assert len(source.frames) == 16
    assert source.warnings[0].endswith(f"a.{ending} has sound: films made here are silent")
    assert not any("missing" in warning for warning in source.warnings)


def test_what_does_not_say_how_long_it_is_lacks_nothing(tmp_path: Path, manifest: Manifest):
    path = write_film(tmp_path / "a.mkv", noise(80), live="1")
    assert not any("missing" in warning for warning in read_source(cut(path), manifest).warnings)


def test_frames_that_an_edit_hides_are_no_lack(tmp_path: Path, manifest: Manifest):
    """As telephones cut: the file keeps what is not shown."""
    path = write_film(tmp_path / "a.mp4", noise(48))
    data = path.read_bytes()
    at = data.index(b"elst") + 12  # behind version, flags and the count of edits
    path.write_bytes(data[:at] + struct.pack(">I", 1000) + data[at + 4 :])
    source = read_source(path, manifest)
    assert len(source.frames) == 16
    assert not any("missing" in warning for warning in source.warnings)


def test_a_clock_that_begins_late_is_no_lack(tmp_path: Path, manifest: Manifest):
    for ending in ("mkv", "mp4", "ts"):
        times = tuple(range(2000, 3000, 40))
        path = write_film(tmp_path / f"a.{ending}", noise(25), fps=25, times_ms=times)
        source = read_source(path, manifest)
        assert len(source.frames) == 16
        assert not any("missing" in warning for warning in source.warnings), ending


@pytest.mark.parametrize("ending", ["flv", "mkv", "mp4", "ts", "avi"])
def test_a_few_frames_lack_nothing(tmp_path: Path, manifest: Manifest, ending: str):
    path = write_film(tmp_path / f"a.{ending}", noise(4))
    assert not any("missing" in warning for warning in read_source(path, manifest).warnings)


@pytest.mark.parametrize("change", [cut, lambda path: path.write_bytes(bytes(100))])
def test_a_source_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, manifest: Manifest, change: Callable[[Path], object]
):
    path = write_film(tmp_path / "van.mp4", noise(80))
    seen = iter(range(80))

    def change_at_the_third() -> None:
        if next(seen) == 2:
            change(path)

    with pytest.raises(
        InputError,
        match=r"cannot read .*van\.mp4 beyond \d\.\d s: the file is damaged or was changed while it was read;"
        " give a whole one",
    ):
        read_source(path, manifest, on_frame=change_at_the_third)


@pytest.mark.parametrize(("ending", "begin_ms"), [("mkv", 0), ("ts", 0), ("ts", 9000)])
def test_a_source_that_is_cut_while_it_is_read_says_so(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, ending: str, begin_ms: int
):
    times_ms = tuple(range(begin_ms, begin_ms + 5000, 50))
    path = write_film(tmp_path / f"van.{ending}", noise(100), fps=20, times_ms=times_ms)
    done: list[object] = []

    def cutting_fit(frames: np.ndarray, size: Size) -> np.ndarray:
        done.append(done or cut(path))
        return fit(frames, size)

    monkeypatch.setattr("unstatic.generate.footage.fit", cutting_fit)
    source = read_source(path, manifest)
    assert 32 < len(source.frames) < 56
    assert "says it lasts 5 s and holds" in source.warnings[0]


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
    assert mask[:16].all()
    assert not mask[16:].any()
    line = np.random.default_rng(0).integers(0, 100, (64, 64, 3), np.uint8)  # no black as a JPEG has it
    line[21] = 255
    write_picture(tmp_path / "line.png", line)
    assert read_mask(tmp_path / "line.png", tmp_path / "a.mp4", frames).nonzero()[0].tolist() == [10] * 32
    write_picture(tmp_path / "small.png", white[:32])
    with pytest.raises(InputError, match=r"small\.png is 64x32 and .*a\.mp4 is 64x64: make them equal"):
        read_mask(tmp_path / "small.png", tmp_path / "a.mp4", frames)


@pytest.mark.parametrize("turned", [90, -90])
def test_a_mask_is_as_the_video_is_shown(tmp_path: Path, manifest: Manifest, turned: int):
    path = write_film(tmp_path / "phone.mp4", noise(2), turned=turned)
    for name, height, width in (("upright", 96, 64), ("sideways", 64, 96)):
        write_picture(tmp_path / f"{name}.png", np.zeros((height, width, 3), np.uint8))
    frames = read_source(path, manifest).frames
    assert read_mask(tmp_path / "upright.png", path, frames).shape == frames.shape[1:3]
    with pytest.raises(
        InputError, match=r"sideways\.png is 96x64 and .*phone\.mp4 is 64x96: make them equal"
    ):
        read_mask(tmp_path / "sideways.png", path, frames)


def test_of_a_film_its_beginning_is_read(tmp_path: Path, manifest: Manifest):
    for frames, read, more in ((32, 32, False), (65, 65, False), (80, 65, True)):
        write_video(tmp_path / "a.mp4", noise(frames), fps=16)
        source, goes_on = read_beginning(tmp_path / "a.mp4", manifest, 65)
        assert (len(source.frames), goes_on) == (read, more)
