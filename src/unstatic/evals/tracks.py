"""Where the thing that acts is in every frame of a clip, and a few points of the picture followed by eye.

A thing is found by its colour, as the classical parser finds it. Points are corners (Shi and Tomasi, 1994),
followed from frame to frame by what is around them (Lucas and Kanade, 1981), coarse to fine.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unstatic.evals.classical import FIRST_COLOUR, Tables, colour_cover
from unstatic.evals.classical_outlines import Boxes, Cover, boxes_of, tidied
from unstatic.evals.classical_pixels import Video, box, chances_of, reading_size
from unstatic.evals.readings import Frames
from unstatic.world.spec import COLOURS

WINDOW, LEVELS, ROUNDS = 9, 3, 6
CORNERS, APART, BORDER = 60, 4, 6
LEAST_CORNER = 1e-4  # of grey values: less of a corner is noise
LEAST_LIKE = 0.9  # correlation of a point's surroundings at the end and at the beginning

Points = Float[Tensor, "points 2"]  # x and y, in pixels


class Track(NamedTuple):
    """A thing through a clip: pictures of about 64 x 64 pixels, what belongs to it, and its boxes."""

    video: Video
    cover: Cover
    boxes: Boxes

    @property
    def size(self) -> float:
        """The mean of its sides in pixels: the median over frames."""
        sides = (self.boxes.right - self.boxes.left + self.boxes.bottom - self.boxes.top) / 2
        return float(sides.median())


@torch.inference_mode()
def track_hero(frames: Frames, tables: Tables) -> Track:
    """Follow what has the colour that strikes the eye most."""
    video = small_video(frames)
    chances = chances_of(video, tables["pixel"], tables["context"])
    colours = chances[:, FIRST_COLOUR : FIRST_COLOUR + len(COLOURS)]
    colour = COLOURS[int(colours.square().sum((0, 2, 3)).argmax())]
    cover = tidied(colour_cover(colours, colour))
    return Track(video, cover, boxes_of(cover))


def small_video(frames: UInt8[np.ndarray, "t high wide 3"]) -> Video:
    """Return a clip in [0, 1], at the size at which clips are read."""
    video = rearrange(torch.from_numpy(frames).float() / 255, "t h w c -> t c h w")
    size = reading_size(*frames.shape[1:3])
    return (
        video
        if size == frames.shape[1:3]
        else F.interpolate(video, size=size, mode="bilinear", antialias=True)
    )


@torch.inference_mode()
def follow_points(frames: Frames, first: int, last: int) -> Float[Tensor, "steps points 2"]:
    """Follow corners of frame `first` to frame `last`, those that are still there and look alike."""
    grey = rearrange(torch.from_numpy(frames[first : last + 1]).float() / 255, "t h w c -> t 1 c h w").mean(2)
    places = [corners(grey[0, 0])]
    inside = torch.ones(len(places[0]), dtype=torch.bool)
    for before, now in pairwise(grey):
        moved, clear = _followed(before, now, places[-1])
        places.append(moved)
        inside &= clear
    start, end = (
        _around(picture[None], at) for picture, at in ((grey[0], places[0]), (grey[-1], places[-1]))
    )
    start, end = (each - each.mean(1, keepdim=True) for each in (start, end))
    like = (start * end).sum(1) / (start.norm(dim=1) * end.norm(dim=1) + 1e-6)
    return torch.stack(places)[:, inside & (like > LEAST_LIKE)]


def corners(grey: Float[Tensor, "h w"]) -> Points:
    """Return up to CORNERS places where a picture changes in both directions, the plainest first."""
    across, down = _slopes(grey[None, None])
    a, b, c = (box(each, 5)[0, 0] for each in (across**2, across * down, down**2))
    least = (a + c) / 2 - (((a - c) / 2) ** 2 + b**2).sqrt()  # the smaller eigenvalue
    highest = F.max_pool2d(least[None, None], 2 * APART + 1, 1, APART)[0, 0]
    height, width = grey.shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    inner = (rows >= BORDER) & (rows < height - BORDER) & (columns >= BORDER) & (columns < width - BORDER)
    strength = torch.where((least == highest) & inner & (least > LEAST_CORNER), least, 0.0).flatten()
    best = strength.topk(min(CORNERS, int((strength > 0).sum()))).indices
    return torch.stack([best % width, best // width], dim=1).float()


def _followed(
    before: Float[Tensor, "1 h w"], now: Float[Tensor, "1 h w"], places: Points
) -> tuple[Points, Bool[Tensor, "points"]]:
    """Return where points went, and whether they are still in the picture and well held."""
    pyramid = [(before[None], now[None])]
    for _ in range(LEVELS - 1):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    way = torch.zeros_like(places)
    for level in reversed(range(LEVELS)):
        scale = 2.0**-level
        at = (places + 0.5) * scale - 0.5
        one, other = pyramid[level]
        across, down = (_around(each, at) for each in _slopes(one))
        wanted = _around(one, at)
        square = torch.stack(
            [(across**2).sum(1), (across * down).sum(1), (across * down).sum(1), (down**2).sum(1)], dim=1
        ).view(-1, 2, 2) + 1e-6 * torch.eye(2)
        for _ in range(ROUNDS):
            missed = wanted - _around(other, at + way * scale)
            side = torch.stack([(across * missed).sum(1), (down * missed).sum(1)], dim=1)
            way = way + torch.linalg.solve(square, side) / scale
    height, width = before.shape[1:]
    moved = places + way
    limit = torch.tensor([width - 1.0 - BORDER / 2, height - 1.0 - BORDER / 2])
    return moved, ((moved > BORDER / 2) & (moved < limit)).all(1)


def _slopes(grey: Float[Tensor, "1 1 h w"]) -> tuple[Float[Tensor, "1 1 h w"], Float[Tensor, "1 1 h w"]]:
    across = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1)) / 2
    down = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1)) / 2
    return across, down


def _around(picture: Float[Tensor, "1 1 h w"], places: Points) -> Float[Tensor, "points window"]:
    """Read the square of WINDOW pixels a side around each point."""
    height, width = picture.shape[2:]
    offsets = torch.arange(WINDOW) - WINDOW // 2
    x = places[:, :1] + offsets.repeat(WINDOW)
    y = places[:, 1:] + offsets.repeat_interleave(WINDOW)
    grid = torch.stack([x * 2 / (width - 1) - 1, y * 2 / (height - 1) - 1], dim=2)
    return F.grid_sample(picture, grid[None], padding_mode="border", align_corners=True)[0, 0]
