"""Bars of known colours, in whatever colour system a camera writes them: they come back as they were."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from unstatic.media.colour import PAPER_WHITE, in_srgb, to_rgb
from unstatic.media.read import read_frames, read_picture
from unstatic.media.steady import read_steadily

# White to black, colours, skin; none so dark in a channel that the ten bits of PQ or HLG cannot tell it
BARS = (
    *((255, 255, 255), (200, 200, 200), (128, 128, 128), (64, 64, 64), (0, 0, 0)),
    *((235, 50, 50), (50, 235, 50), (50, 50, 235), (235, 235, 50), (230, 190, 160), (60, 90, 140)),
)
WIDTH = 16  # of a bar
LEVELS = 6
BT709, UNSAID, BT2020, P3, PQ, HLG = 1, 2, 9, 12, 16, 18

XYZ_OF_BT709 = np.array(
    [[0.412391, 0.357584, 0.180481], [0.212639, 0.715169, 0.072192], [0.019331, 0.119195, 0.950532]]
)
XYZ_OF_BT2020 = np.array(
    [[0.636958, 0.144617, 0.168881], [0.262700, 0.677998, 0.059302], [0.0, 0.028073, 1.060985]]
)
XYZ_OF_P3 = np.array(
    [[0.486571, 0.265668, 0.198217], [0.228975, 0.691739, 0.079287], [0.0, 0.045113, 1.043944]]
)


def light(xyz: np.ndarray) -> np.ndarray:
    """Return the light of the bars, 1 for white, in the primaries that make this of XYZ."""
    linear = (np.array(BARS) / 255) ** 2.4
    return np.maximum(linear @ (np.linalg.inv(xyz) @ XYZ_OF_BT709).T, 0)


def in_pq(linear: np.ndarray) -> np.ndarray:
    power = (linear * PAPER_WHITE / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def in_hlg(linear: np.ndarray) -> np.ndarray:
    display = linear * PAPER_WHITE / 1000
    luminance = np.maximum(display @ XYZ_OF_BT2020[1], 1e-9)[:, None]
    scene = display * luminance ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def write_bars(
    path: Path,
    signal: np.ndarray,
    *,
    matrix: int = UNSAID,
    primaries: int = UNSAID,
    transfer: int = UNSAID,
    coded: str = "ITU709",
    pixels: str = "yuv420p10le",
    height: int = 32,
) -> Path:
    """Write three frames of bars whose signal is from 0 to 1, and what they say of themselves."""
    rows = np.repeat(np.repeat(signal[None], height, 0), WIDTH, 1)
    picture = av.VideoFrame.from_ndarray((rows * 65535).round().astype(np.uint16), format="rgb48le")
    frame = picture.reformat(format=pixels, dst_colorspace=coded)
    frame.colorspace, frame.color_primaries, frame.color_trc = matrix, primaries, transfer
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=8, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pixels
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_primaries, stream.codec_context.color_trc = primaries, transfer
        for number in range(3):
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def shown_by(path: Path) -> list[np.ndarray]:
    """Return the bars as each of the readers shows them."""
    steady = read_steadily(path, container="mp4", fps=Fraction(8), longest=4096)
    return [frame[len(frame) // 2, WIDTH // 2 :: WIDTH] for frame in (next(read_frames(path)), next(steady))]


def test_bars_of_high_range_come_back(tmp_path: Path):
    linear = light(XYZ_OF_BT2020)
    said = {"matrix": BT2020, "primaries": BT2020, "coded": "BT2020"}
    for transfer, signal in ((PQ, in_pq(linear)), (HLG, in_hlg(linear))):
        path = write_bars(tmp_path / f"{transfer}.mp4", signal, transfer=transfer, **said)
        for bars in shown_by(path):
            np.testing.assert_allclose(bars, BARS, atol=LEVELS)


@pytest.mark.parametrize(("primaries", "xyz"), [(BT2020, XYZ_OF_BT2020), (P3, XYZ_OF_P3)])
def test_bars_of_wide_colours_come_back(tmp_path: Path, primaries: int, xyz: np.ndarray):
    signal = light(xyz) ** (1 / 2.4)
    said = {"matrix": BT709, "primaries": primaries, "transfer": BT709}
    for bars in shown_by(write_bars(tmp_path / "a.mp4", signal, **said)):
        np.testing.assert_allclose(bars, BARS, atol=LEVELS)


@pytest.mark.parametrize(("height", "coded"), [(720, "ITU709"), (64, "ITU601")])
def test_what_says_nothing_is_taken_as_players_do(tmp_path: Path, height: int, coded: str):
    signal = np.array(BARS) / 255
    path = write_bars(tmp_path / "a.mp4", signal, coded=coded, pixels="yuv420p", height=height)
    for bars in shown_by(path):
        np.testing.assert_allclose(bars, BARS, atol=LEVELS)


def test_highlights_keep_their_order():
    levels = np.linspace(0, 1, 256)[None, :, None].repeat(3, 2).repeat(2, 0)
    for transfer in (PQ, HLG):
        frame = av.VideoFrame.from_ndarray((levels * 65535).astype(np.uint16), format="rgb48le")
        frame.color_trc = transfer
        grey = to_rgb(frame)[0].astype(int)
        assert (np.diff(grey, axis=0) >= 0).all()
        assert (np.ptp(grey, axis=1) <= 1).all()
        assert (grey[0].max(), grey[-1].min()) == (0, 255)


def test_transparent_light_of_high_range_lies_on_white():
    pixels = np.zeros((2, 4, 4), np.uint16)
    pixels[:, 2:, 3] = 65535
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba64le")
    frame.color_trc = PQ
    assert to_rgb(frame)[0, :, 0].tolist() == [255, 255, 0, 0]


def p3_profile() -> bytes:
    """Return a profile of Display P3: that of sRGB with other primaries, as ICC adapts them to D50."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        name, offset, _ = struct.unpack_from(">4sII", profile, entry)
        if name in primaries:
            fixed = [round(value * 65536) for value in primaries[name]]
            struct.pack_into(">3i", profile, offset + 8, *fixed)
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_picture_of_another_profile_comes_back(tmp_path: Path, mode: str):
    p3 = np.array([[[234, 51, 35], [117, 251, 76], [0, 0, 245], [255, 255, 255], [128, 128, 128]]], np.uint8)
    srgb = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [128, 128, 128]]
    picture = Image.fromarray(p3).convert(mode, palette=Image.Palette.ADAPTIVE, colors=8)
    picture.save(tmp_path / "p3.png", icc_profile=p3_profile())
    read = read_picture(tmp_path / "p3.png")[0, 0]
    np.testing.assert_allclose(read, srgb, atol=LEVELS)


@pytest.mark.parametrize(
    ("mode", "profile"), [("RGB", b"no profile"), ("L", p3_profile()), ("LA", p3_profile())]
)
def test_a_profile_that_does_not_fit_counts_as_none(mode: str, profile: bytes):
    file = io.BytesIO()
    Image.new(mode, (2, 2), "grey").save(file, "png", icc_profile=profile)
    with Image.open(file) as image:
        assert in_srgb(image).convert("RGB").getpixel((0, 0)) == (128, 128, 128)
