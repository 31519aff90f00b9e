"""Frames as pixels: uint8 arrays `t h w c` in RGB, to and from the program's tensors, and as pictures.

A picture is a uint8 array `h w 3`, made by laying frames side by side.
"""

import math
import textwrap
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unstatic.core.shapes import Size
from unstatic.media.enlarge import resize

_MARGIN = 4
_LINE_HEIGHT = 14
_CHARACTER_WIDTH = 5.6


def to_tensor(frames: UInt8[np.ndarray, "... t h w c"]) -> Float[Tensor, "... c t h w"]:
    """Return frames in 0..255 as float32 in [-1, 1], channels first."""
    return rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "... t h w c -> ... c t h w")


def to_frames(video: Float[Tensor, "... c t h w"]) -> UInt8[np.ndarray, "... t h w c"]:
    """Return a video in [-1, 1] as frames in 0..255, rounded; what lies outside is clipped."""
    levels = ((video.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return rearrange(levels, "... c t h w -> ... t h w c").cpu().numpy()


def fit(
    frames: UInt8[np.ndarray, "t h w 3"], size: Size
) -> UInt8[np.ndarray, "t {size.height} {size.width} 3"]:
    """Fill `size` without distortion: what does not fit its shape is cut away around the centre."""
    box = _fitted(Size(frames.shape[2], frames.shape[1]), size)
    return resize(frames, size, Image.Resampling.LANCZOS, box=box)


def fit_mask(mask: Bool[np.ndarray, "h w"], size: Size) -> Bool[np.ndarray, "{size.height} {size.width}"]:
    """Fill `size` as `fit` does; a pixel is true that anything true touches, so that lines are not lost."""
    left, top, right, bottom = _fitted(Size(mask.shape[1], mask.shape[0]), size)
    above, below = _touched(top, bottom, size.height)
    before, after = _touched(left, right, size.width)
    counts = np.pad(mask, ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # of what is true above and to the left
    rows = counts[below] - counts[above]
    return rows[:, after] > rows[:, before]


def _fitted(given: Size, size: Size) -> tuple[float, float, float, float]:
    """Return the part (left, top, right, bottom) of a picture that fills `size`."""
    scale = max(size.width / given.width, size.height / given.height)
    left, top = (given.width - size.width / scale) / 2, (given.height - size.height / scale) / 2
    return left, top, given.width - left, given.height - top


def _touched(begin: float, end: float, count: int) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Return which whole pixels, from and until, `count` equal parts of a stretch of pixels touch."""
    edges = np.linspace(begin, end, count + 1).round(6)
    return np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)


def share_cut(picture: Size, size: Size) -> float:
    """Return which share of a picture `fit` cuts away, from 0 to almost 1."""
    ratios = size.width / picture.width, size.height / picture.height
    return 1 - min(ratios) / max(ratios)


def nearest_shape(picture: Size, sizes: Sequence[Size]) -> Size:
    """Return the first of `sizes` whose ratio of width to height is nearest to that of the picture."""
    return min(sizes, key=lambda size: share_cut(picture, size))


def retime(
    frames: UInt8[np.ndarray, "t h w c"], first: int, fps: Fraction | int, wanted_fps: Fraction | int
) -> UInt8[np.ndarray, "shown h w c"]:
    """Return what a player at `wanted_fps` shows of a stretch at `fps` that begins with frame number `first`.

    Frames are shown again or left out, never blended; stretches retimed one by one join without a gap.
    """
    shown = shown_numbers(first, len(frames), fps, wanted_fps)
    return frames[[number - first for number in shown]]


def shown_numbers(first: int, count: int, fps: Fraction | int, wanted_fps: Fraction | int) -> list[int]:
    """Return the numbers of the frames that `retime` shows of those from `first` to `first + count - 1`."""
    ratio = Fraction(fps) / Fraction(wanted_fps)
    begin, end = math.ceil(first / ratio), math.ceil((first + count) / ratio)
    return [math.floor(shown * ratio) for shown in range(begin, end)]


def pick_evenly(frames: UInt8[np.ndarray, "t h w 3"], count: int) -> UInt8[np.ndarray, "picked h w 3"]:
    """Pick `count` frames evenly, the first and the last among them; all of them if there are no more."""
    indices = np.linspace(0, len(frames) - 1, min(count, len(frames)))
    return frames[indices.round().astype(int)]


def grid(frames: UInt8[np.ndarray, "t h w 3"], columns: int) -> UInt8[np.ndarray, "y x 3"]:
    """Lay frames out in rows of `columns`, left to right; places that stay empty are black."""
    rows = math.ceil(len(frames) / columns)
    blank = np.zeros((rows * columns - len(frames), *frames.shape[1:]), np.uint8)
    return rearrange(np.concatenate([frames, blank]), "(r k) h w c -> (r h) (k w) c", k=columns)


def strip(frames: UInt8[np.ndarray, "t h w 3"], count: int = 8) -> UInt8[np.ndarray, "y x 3"]:
    """Lay `count` frames, picked evenly, side by side."""
    picked = pick_evenly(frames, count)
    return grid(picked, columns=len(picked))


def contact_sheet(
    clips: Sequence[UInt8[np.ndarray, "_ _ _ 3"]],
    captions: Sequence[str],
    *,
    columns: int = 2,
    frames_per_clip: int = 6,
) -> UInt8[np.ndarray, "y x 3"]:
    """Draw each clip as a strip with its caption below, `columns` clips a row, on white.

    Clips may differ in length and size. Captions are wrapped to the width of the widest strip.
    """
    assert len(clips) == len(captions), f"{len(clips)} clips but {len(captions)} captions"
    strips = [strip(clip, frames_per_clip) for clip in clips]
    width = max(picture.shape[1] for picture in strips)
    cells = [_captioned(*pair, width) for pair in zip(strips, captions, strict=True)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]

    # Paste row by row
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (columns * cells[0].width, sum(heights)), "white")
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * cell.width, sum(heights[:number])))
    return np.asarray(sheet)


def _captioned(picture: UInt8[np.ndarray, "h w 3"], caption: str, width: int) -> Image.Image:
    """Draw the picture with its caption below and a margin around, `width` plus two margins wide."""
    lines = textwrap.wrap(caption, max(12, int(width / _CHARACTER_WIDTH)))
    height = picture.shape[0] + len(lines) * _LINE_HEIGHT
    cell = Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), "white")
    cell.paste(Image.fromarray(picture), (_MARGIN, _MARGIN))
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(size=11)
    for number, line in enumerate(lines):
        top = _MARGIN + picture.shape[0] + number * _LINE_HEIGHT
        draw.text((_MARGIN, top), line, fill="black", font=font)
    return cell
