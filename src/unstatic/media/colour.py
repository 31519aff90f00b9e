"""Frames and pictures of any colour system as RGB of BT.709 in 8 bits, as which the program takes them all.

What is brighter than a white sheet of paper (203 cd/m2 in BT.2408) has little room left above it: a shoulder
leads it to 255, so that paper itself comes within six levels of that.
"""

import io
from functools import cache

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image, ImageCms

from unstatic.core.shapes import Size

Matrix = tuple[tuple[float, float, float], ...]

PAPER_WHITE = 203.0  # cd/m2, BT.2408
DISPLAY_GAMMA = 2.4  # BT.1886

_UNSAID = 2  # in every table of H.273
_HD_WIDTH, _SD_HEIGHT = 1280, 576  # what is as wide, or higher, and does not say how it is coded, is BT.709
_KNEE = 0.92  # from this level on, of 1, highlights are led to white
_LEVELS = 1 << 16
_BAND = 64  # rows that are converted at a time: what they need stays in the cache

# From linear RGB of other primaries to that of BT.709, whose white they share (BT.2087)
_FROM_BT2020 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
_FROM_P3 = ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274))
_UNCHANGED = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_LUMINANCE = (0.2627, 0.6780, 0.0593)  # of BT.2020
_PRIMARIES: dict[int, Matrix] = {
    ColorPrimaries.BT2020: _FROM_BT2020,
    ColorPrimaries.SMPTE432: _FROM_P3,
}
_MATRICES_OF_BT2020 = (9, 10)  # of not constant and of constant luminance
# The brightest light of what has a high range, in cd/m2; HLG's where its gamma is 1.2 (BT.2100)
_PEAKS: dict[int, float] = {ColorTrc.SMPTE2084: 10_000.0, ColorTrc.ARIB_STD_B67: 1_000.0}

Frame = UInt8[np.ndarray, "h w 3"]


def to_rgb(
    frame: av.VideoFrame, size: Size | None = None, *, interpolation: Interpolation = Interpolation.BILINEAR
) -> Frame:
    """Return a frame as a player shows it on a screen of BT.709, in its own size or another; on white.

    PQ and HLG are brought to the range of that screen, and other primaries to its own. A frame that does not
    say its matrix has that of BT.709 if it is larger than SD, or else of BT.601, as players take it.
    """
    has_alpha = any(component.is_alpha for component in frame.format.components)
    primaries = _primaries(frame)
    is_wide = primaries != _UNCHANGED or frame.color_trc in _PEAKS
    kind = ("rgba64le" if has_alpha else "rgb48le") if is_wide else ("rgba" if has_alpha else "rgb24")
    pixels = frame.to_ndarray(
        format=kind,
        width=None if size is None else size.width,
        height=None if size is None else size.height,
        src_colorspace=_matrix(frame),
        interpolation=interpolation,
    )
    shown = _in_bt709(pixels[..., :3], frame.color_trc, primaries) if is_wide else pixels[..., :3]
    if not has_alpha:
        return shown
    alpha = pixels[..., 3]
    return _on_white(shown, (alpha // 257).astype(np.uint8) if is_wide else alpha)


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Return the matrix that a frame is coded with, if libav would guess another."""
    is_unsaid = frame.colorspace == _UNSAID and not frame.format.is_rgb
    is_hd = frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT
    return Colorspace.ITU709 if is_unsaid and is_hd else None


def _primaries(frame: av.VideoFrame) -> Matrix:
    """Return what leads from a frame's primaries to those of BT.709; HDR that says none has BT.2020's."""
    said = frame.color_primaries
    is_bt2020 = frame.color_trc in _PEAKS or frame.colorspace in _MATRICES_OF_BT2020
    return _FROM_BT2020 if said == _UNSAID and is_bt2020 else _PRIMARIES.get(said, _UNCHANGED)


def _on_white(pixels: Frame, alpha: UInt8[np.ndarray, "h w"]) -> Frame:
    """Lay pixels on white where they are transparent."""
    shown = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), _BAND):
        band, cover = pixels[top : top + _BAND].astype(np.uint16), alpha[top : top + _BAND, :, None]
        shown[top : top + _BAND] = 255 - (cover * (255 - band) + 127) // 255
    return shown


def _in_bt709(signal: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: Matrix) -> Frame:
    """Return a signal of 16 bits as RGB of BT.709: light of the display, other primaries, and back."""
    linear, levels = _linear(transfer), _levels(transfer)
    shown = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), _BAND):
        red, green, blue = (linear[signal[top : top + _BAND, :, channel]] for channel in range(3))
        if transfer == ColorTrc.ARIB_STD_B67:
            # What a scene emits becomes what a display does, BT.2100 table 5: gamma 1.2 of the luminance
            luminance = _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
            gain = luminance**0.2
            red, green, blue = red * gain, green * gain, blue * gain
        for channel, (r, g, b) in enumerate(primaries):
            light = (r * red + g * green + b * blue).clip(0, 1)
            indices = (np.sqrt(light) * (_LEVELS - 1)).astype(np.uint16)
            shown[top : top + _BAND, :, channel] = levels[indices]
    return shown


@cache
def _linear(transfer: int) -> Float32[np.ndarray, "levels"]:
    """Return the light of each level of a signal of 16 bits, 1 the brightest; for HLG that of the scene."""
    signal = np.linspace(0, 1, _LEVELS)
    if transfer == ColorTrc.SMPTE2084:  # BT.2100 table 4
        power = signal ** (32 / 2523)
        light = (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
    elif transfer == ColorTrc.ARIB_STD_B67:  # BT.2100 table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = signal**DISPLAY_GAMMA
    return light.astype(np.float32)


@cache
def _levels(transfer: int) -> UInt8[np.ndarray, "levels"]:
    """Return the level of 8 bits by the square root of the light of a display, 1 the brightest."""
    light = np.linspace(0, 1, _LEVELS) ** 2
    level = (light * _PEAKS.get(transfer, PAPER_WHITE) / PAPER_WHITE) ** (1 / DISPLAY_GAMMA)
    if transfer in _PEAKS:
        above = np.maximum(level - _KNEE, 0) / (1 - _KNEE)
        level = np.minimum(level, _KNEE) + (1 - _KNEE) * above / np.sqrt(1 + above**2)
    return (level * 255).round().astype(np.uint8)


def in_srgb(image: Image.Image) -> Image.Image:
    """Return a picture in sRGB if it carries a profile; one that is damaged or of other modes is as none."""
    profile: bytes | None = image.info.get("icc_profile")
    if not profile:
        return image
    if image.has_transparency_data:
        given = image.convert("RGBA")
    else:
        given = image if image.mode in ("RGB", "CMYK", "L") else image.convert("RGB")
    try:
        made = ImageCms.profileToProfile(
            given,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGBA" if given.mode == "RGBA" else "RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if made is None else made
