"""What a thing looks like in numbers: its outline, its shading and its edges, moment by moment.

A thing is given as its cover, the chance of every pixel to belong to it. All numbers but its size and place
are of a square cut out around it, so that they do not depend on these.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

SIDE, COARSE = 24, 12
MARGIN = 1.15  # of the larger half side of the box around a thing, which a cut-out shows
TRIMMED = 0.03  # of a thing's mass lies outside its box, on each side
ANGLES, RAY_STEPS = 24, 16
ORIENTATIONS, CELLS = 8, 4
SMALLEST_HALF = 3.0  # pixels
CLUTTER = 2.6  # half sides: what is farther from the middle of a thing is none of it

Cover = Float[Tensor, "t h w"]
Numbers = Float[Tensor, "t numbers"]


class Boxes(NamedTuple):
    """Where a thing is at each moment, in pixels: its box and centre of mass; and how many it covers."""

    left: Float[Tensor, "t"]
    right: Float[Tensor, "t"]
    top: Float[Tensor, "t"]
    bottom: Float[Tensor, "t"]
    x: Float[Tensor, "t"]
    y: Float[Tensor, "t"]
    area: Float[Tensor, "t"]


class Cuts(NamedTuple):
    """A thing cut out at each moment: its cover, and its colours."""

    cover: Float[Tensor, "t side side"]
    colours: Float[Tensor, "t 3 side side"]


def tidied(cover: Cover) -> Cover:
    """Leave out what is far from the middle of a thing, and doubtful."""
    cover = torch.where(cover > 0.2, cover, 0.0)
    for _ in range(2):
        boxes = boxes_of(cover)
        half = torch.maximum(boxes.right - boxes.left, boxes.bottom - boxes.top) / 2
        reach = (CLUTTER * half.clamp(min=SMALLEST_HALF))[:, None, None]
        rows, columns = torch.arange(cover.shape[1]), torch.arange(cover.shape[2])
        away = (columns[None, None] - boxes.x[:, None, None]) ** 2 + (
            rows[:, None] - boxes.y[:, None, None]
        ) ** 2
        cover = torch.where(away < reach**2, cover, 0.0)
    return cover


def boxes_of(cover: Cover) -> Boxes:
    """Return where a cover is; what covers nothing is in the middle of the picture."""
    area = cover.sum((1, 2))
    columns, rows = cover.sum(1) + 1e-4, cover.sum(2) + 1e-4
    left, right = (quantile(columns, share) for share in (TRIMMED, 1 - TRIMMED))
    top, bottom = (quantile(rows, share) for share in (TRIMMED, 1 - TRIMMED))
    x, y = (
        (marginal * torch.arange(marginal.shape[1])).sum(1) / marginal.sum(1) for marginal in (columns, rows)
    )
    return Boxes(left, right, top, bottom, x, y, area)


def quantile(marginal: Float[Tensor, "t n"], share: float) -> Float[Tensor, "t"]:
    """Return the place up to which `share` of a marginal lies, as a fraction of pixels."""
    total = marginal.cumsum(1) / marginal.sum(1, keepdim=True)
    after = (total < share).sum(1).clamp(max=marginal.shape[1] - 1)
    before = torch.where(after > 0, total.gather(1, (after - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    step = (total.gather(1, after[:, None])[:, 0] - before).clamp(min=1e-6)
    return after - 0.5 + (share - before) / step


def cut_out(video: Float[Tensor, "t 3 h w"], cover: Cover, boxes: Boxes) -> Cuts:
    """Cut a square of SIDE pixels out around a thing."""
    height, width = cover.shape[1:]
    half = torch.maximum(boxes.right - boxes.left, boxes.bottom - boxes.top) / 2
    reach = MARGIN * half.clamp(min=SMALLEST_HALF)
    steps = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    columns = ((boxes.left + boxes.right) / 2 + 0.5)[:, None] + reach[:, None] * steps
    rows = ((boxes.top + boxes.bottom) / 2 + 0.5)[:, None] + reach[:, None] * steps
    grid = torch.stack(
        [
            (columns / width * 2 - 1)[:, None, :].expand(-1, SIDE, -1),
            (rows / height * 2 - 1)[:, :, None].expand(-1, -1, SIDE),
        ],
        dim=3,
    )
    both = torch.cat([cover[:, None], video], dim=1)
    cut = F.grid_sample(both, grid, padding_mode="zeros", align_corners=False)
    return Cuts(cut[:, 0], cut[:, 1:])


def looks_of(cuts: Cuts, boxes: Boxes, size: tuple[int, int]) -> Numbers:
    """Describe a thing at each moment: raster, shading, edges, outline, moments, colours, size and place."""
    return torch.cat(
        [
            raster(cuts.cover),
            shading(cuts),
            edges(cuts),
            outline(cuts.cover),
            moments_of(cuts.cover),
            colour_grid(cuts),
            proportions(boxes, size),
        ],
        dim=1,
    )


def raster(cover: Float[Tensor, "t side side"], side: int = COARSE) -> Numbers:
    """Return a coarse picture of the cover, row by row."""
    return rearrange(F.adaptive_avg_pool2d(cover, side), "t h w -> t (h w)")


def shading(cuts: Cuts) -> Numbers:
    """Return a coarse picture of how much lighter than its mean a thing is, in standard deviations."""
    grey, weight = cuts.colours.mean(1), cuts.cover
    total = weight.sum((1, 2), keepdim=True) + 1e-3
    mean = (grey * weight).sum((1, 2), keepdim=True) / total
    spread = (((grey - mean) ** 2 * weight).sum((1, 2), keepdim=True) / total).sqrt() + 0.02
    return raster((grey - mean) / spread * weight)


def edges(cuts: Cuts) -> Numbers:
    """Return histograms of edge orientations, of the picture and the cover (Dalal and Triggs, 2005)."""
    grey = cuts.colours.mean(1)
    return torch.cat([orientations(picture, CELLS) for picture in (grey, cuts.cover)], dim=1)


def orientations(picture: Float[Tensor, "t side side"], cells: int) -> Numbers:
    """Return the strength of edges by cell and orientation, of unit length together."""
    across = F.pad(picture[:, :, 2:] - picture[:, :, :-2], (1, 1))
    down = F.pad(picture[:, 2:] - picture[:, :-2], (0, 0, 1, 1))
    strength = (across**2 + down**2).sqrt()
    turn = torch.atan2(down, across) % math.pi / math.pi * ORIENTATIONS

    # Each edge counts for the two orientations next to its own
    centres = torch.arange(ORIENTATIONS)[:, None, None]
    away = (turn[:, None] - centres).abs()
    share = (1 - torch.minimum(away, ORIENTATIONS - away)).clamp(min=0)
    histogram = F.adaptive_avg_pool2d(share * strength[:, None], cells)
    return F.normalize(rearrange(histogram, "t o h w -> t (o h w)"), dim=1)


def outline(cover: Float[Tensor, "t side side"]) -> Numbers:
    """Return how far a thing reaches from its centre in each direction, and the strength of its corners.

    The corners are the amplitudes of the waves that the outline is made of (a Fourier descriptor).
    """
    boxes = boxes_of(cover)
    angles = torch.arange(ANGLES) / ANGLES * 2 * math.pi
    radii = (torch.arange(RAY_STEPS) + 0.5) / RAY_STEPS * 1.4
    x = (boxes.x + 0.5)[:, None, None] / SIDE * 2 - 1 + angles.cos()[:, None] * radii
    y = (boxes.y + 0.5)[:, None, None] / SIDE * 2 - 1 + angles.sin()[:, None] * radii
    rays = F.grid_sample(cover[:, None], torch.stack([x, y], dim=3), align_corners=False)[:, 0]
    reach = rays.mean(2)
    reach = reach / (reach.mean(1, keepdim=True) + 1e-3)
    waves = torch.fft.rfft(reach).abs()[:, 1:9] / ANGLES
    profile = reduce(rays, "t a (r s) -> t r", "mean", r=8)  # a ring is empty in its middle
    return torch.cat([reach, waves, profile], dim=1)


def moments_of(cover: Float[Tensor, "t side side"]) -> Numbers:
    """Return Hu's first four invariant moments, the main axis and how much longer it is (Hu, 1962)."""
    place = torch.linspace(-1, 1, SIDE)
    area = cover.sum((1, 2)) + 1e-3
    boxes = boxes_of(cover)
    x = place[None, None] - (boxes.x / (SIDE - 1) * 2 - 1)[:, None, None]
    y = place[None, :, None] - (boxes.y / (SIDE - 1) * 2 - 1)[:, None, None]

    def moment(p: int, q: int) -> Float[Tensor, "t"]:
        scale = (area * (2 / SIDE) ** 2) ** ((p + q) / 2)
        return (cover * x**p * y**q).sum((1, 2)) / area / scale.clamp(min=1e-3)

    xx, yy, xy = moment(2, 0), moment(0, 2), moment(1, 1)
    xxx, yyy, xxy, xyy = moment(3, 0), moment(0, 3), moment(2, 1), moment(1, 2)
    lean = ((xx - yy) ** 2 + 4 * xy**2).sqrt()
    third = (xxx - 3 * xyy) ** 2 + (3 * xxy - yyy) ** 2
    fourth = (xxx + xyy) ** 2 + (xxy + yyy) ** 2
    invariant = [xx + yy, lean, third.clamp(min=1e-9).sqrt(), fourth.clamp(min=1e-9).sqrt()]
    return torch.stack([*invariant, xx - yy, 2 * xy, xxy, xyy, xxx, yyy, area / SIDE**2], dim=1)


def colour_grid(cuts: Cuts) -> Numbers:
    """Return the mean colour of a thing, and its colours in a grid of cells."""
    weight = cuts.cover[:, None]
    total = weight.mean((2, 3)) + 1e-3
    mean = (cuts.colours * weight).mean((2, 3)) / total
    cells = F.adaptive_avg_pool2d(cuts.colours * weight, CELLS) / (
        F.adaptive_avg_pool2d(weight, CELLS) + 0.05
    )
    return torch.cat([mean, rearrange(cells, "t c h w -> t (c h w)")], dim=1)


def proportions(boxes: Boxes, size: tuple[int, int]) -> Numbers:
    """Return size and place in the picture (`size` is its height and width), and height over width."""
    height, width = (boxes.bottom - boxes.top).clamp(min=1), (boxes.right - boxes.left).clamp(min=1)
    area = (size[0] * size[1]) ** 0.5
    return torch.stack(
        [
            (height / area).log(),
            (width / area).log(),
            (height / width).log(),
            boxes.area / (height * width),
            boxes.y / size[0],
            boxes.bottom / size[0],
        ],
        dim=1,
    )
