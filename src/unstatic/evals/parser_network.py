"""The network of the parser: looks and motion of the hero of a clip, as logits.

Colour and shape are read in single pictures, event and direction in how small pictures follow each other. A
picture is looked at twice: as a whole to find the object, and closer, cut out around the object.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.evals.readings import DIRECTIONS
from unstatic.world.spec import COLOURS, EVENTS, SHAPES

# The shipped network was trained when the world had these events.
READ_EVENTS = EVENTS[:12]

# Motion is read in pictures of half the size; masks are a quarter of the size of what they were read in.
MOTION_SCALE, MASK_SCALE = 2, 4
PLAIN_FACTS = 12
# A closer look shows an object with a quarter of its radius around it; radii are in pixels.
CLOSE_SIDE, CLOSE_MARGIN, SMALLEST_RADIUS = 32, 1.25, 4.0

Pictures = Float[Tensor, "n channels h w"]
Near = Float[Tensor, "n near near_h near_w"]
Wide = Float[Tensor, "n wide wide_h wide_w"]
Facts = Float[Tensor, "n facts"]
Cover = Float[Tensor, "n 1 rows columns"]


class Found(NamedTuple):
    """Logits of the colour of what is in a picture, and of a mask of it."""

    colour: Float[Tensor, "n colours"]
    mask: Cover


class Motion(NamedTuple):
    """Logits of whole clips, and of a mask of the hero in every moment."""

    event: Float[Tensor, "b events"]
    direction: Float[Tensor, "b directions"]
    mask: Float[Tensor, "b t rows columns"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserConfig:
    """Channels at 1/2, 1/4 and 1/8 of the resolution, and of a picture's summary; the spans in time.

    `close_widths` are for the closer look at a cut-out, which tells shapes.
    """

    widths: tuple[int, int, int] = (16, 32, 64)
    close_widths: tuple[int, int, int] = (24, 48, 96)
    summary_width: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8)


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a path that changes nothing."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Pictures) -> Pictures:
        return F.relu(features + self.last(F.relu(self.first(features))))


class Features(nn.Module):
    """Convolve pictures down to a quarter ("near") and to an eighth ("wide") of their size."""

    def __init__(self, channels: int, widths: tuple[int, int, int]):
        super().__init__()
        half, quarter, eighth = widths
        self.near = nn.Sequential(
            nn.Conv2d(channels, half, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(half, quarter, 3, stride=2, padding=1),
            nn.ReLU(),
            Residual(quarter),
        )
        self.wide = nn.Sequential(
            nn.Conv2d(quarter, eighth, 3, stride=2, padding=1), nn.ReLU(), Residual(eighth)
        )

    def forward(self, pictures: Pictures) -> tuple[Near, Wide]:
        near = self.near(pictures.contiguous(memory_format=torch.channels_last))
        return near, self.wide(near)


class Eye(nn.Module):
    """Find what matters in pictures, and say in numbers what it and the pictures are like."""

    def __init__(self, channels: int, config: ParserConfig):
        super().__init__()
        _, quarter, eighth = config.widths
        self.features = Features(channels, config.widths)
        self.near_mask, self.wide_mask = nn.Conv2d(quarter, 1, 1), nn.Conv2d(eighth, 1, 1)
        self.norm = nn.LayerNorm(quarter + 2 * eighth)
        self.summary = nn.Linear(quarter + 2 * eighth + PLAIN_FACTS, config.summary_width)

    def forward(self, pictures: Pictures) -> tuple[Facts, Cover]:
        """Return a summary of each picture and the logits of its mask; both sides are multiples of 8."""
        near, wide = self.features(pictures)
        mask = self.near_mask(near) + F.interpolate(self.wide_mask(wide), scale_factor=2.0, mode="bilinear")

        cover = sure(mask)
        parts = [
            under(near, cover),
            under(wide, F.avg_pool2d(cover, 2)),
            reduce(wide, "n c h w -> n c", "mean"),
        ]
        seen = self.norm(torch.cat([part.float() for part in parts], dim=1))
        return self.summary(torch.cat([seen, plain_facts(pictures[:, :3], cover)], dim=1)), mask


class CloseEye(nn.Module):
    """Say in numbers what fills a picture, with the cover of it as fourth channel."""

    def __init__(self, config: ParserConfig):
        super().__init__()
        self.features = Features(4, config.close_widths)
        self.norm = nn.LayerNorm(2 * config.close_widths[-1])
        self.summary = nn.Linear(2 * config.close_widths[-1], config.summary_width)

    def forward(self, pictures: Float[Tensor, "n 4 h w"]) -> Facts:
        _, wide = self.features(pictures)
        pooled = torch.cat([reduce(wide, "n c h w -> n c", how) for how in ("mean", "max")], dim=1)
        return self.summary(self.norm(pooled.float()))


class Span(nn.Module):
    """A dilated convolution over time beside a path that changes nothing."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.last = nn.Linear(width, width)

    def forward(self, summaries: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        hidden = rearrange(self.norm(summaries), "b t d -> b d t")
        hidden = rearrange(F.relu(self.first(hidden)), "b d t -> b t d")
        return summaries + self.last(hidden)


class ParserNet(nn.Module):
    """Three eyes: one finds, one looks closer, one watches motion."""

    def __init__(self, config: ParserConfig):
        super().__init__()
        width = config.summary_width
        self.find_eye, self.close_eye, self.motion_eye = Eye(3, config), CloseEye(config), Eye(6, config)
        self.colour, self.shape = nn.Linear(width, len(COLOURS)), nn.Linear(width, len(SHAPES))
        self.spans = nn.ModuleList(Span(width, dilation) for dilation in config.dilations)
        self.event, self.direction = (
            nn.Linear(2 * width, len(READ_EVENTS)),
            nn.Linear(2 * width, len(DIRECTIONS)),
        )

    def find(self, pictures: Float[Tensor, "n 3 h w"]) -> Found:
        """Find the objects of single pictures in [-1, 1], and their colour."""
        summary, mask = self.find_eye(pictures)
        return Found(self.colour(F.relu(summary)), mask)

    def look(self, pictures: Float[Tensor, "n 3 h w"], cover: Cover) -> Float[Tensor, "n shapes"]:
        """Return the logits of the shape of what is covered."""
        return self.shape(F.relu(self.close_eye(cut_out(pictures, cover))))

    def watch(self, pairs: Float[Tensor, "b 3 twice h w"]) -> Motion:
        """Read pairs of neighbouring frames, in [-1, 1] and `MOTION_SCALE` times smaller than for looks."""
        moments = rearrange(with_change(pairs), "b c t h w -> (b t) c h w")
        summary, mask = self.motion_eye(moments)
        hidden = rearrange(summary, "(b t) d -> b t d", b=len(pairs))
        for span in self.spans:
            hidden = span(hidden)
        hidden = F.relu(hidden)
        whole = torch.cat([hidden.mean(1), hidden.amax(1)], dim=1)
        mask = rearrange(mask, "(b t) 1 h w -> b t h w", b=len(pairs))
        return Motion(self.event(whole), self.direction(whole), mask)


def with_change(pairs: Float[Tensor, "b 3 twice h w"]) -> Float[Tensor, "b 6 t h w"]:
    """Turn pairs of frames into the second of each, with its change since the first."""
    before, now = pairs[:, :, 0::2], pairs[:, :, 1::2]
    return torch.cat([now, now - before], dim=1)


def smaller(video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t rows columns"]:
    """Make a video as small as motion is read in."""
    return reduce(video, "b c t (h p) (w q) -> b c t h w", "mean", p=MOTION_SCALE, q=MOTION_SCALE)


def sure(mask: Cover) -> Cover:
    """Turn a mask's logits into squared chances: else many doubtful places would outweigh a few sure ones."""
    return mask.float().sigmoid().square()


def under(features: Pictures, cover: Cover) -> Facts:
    """Average features where the cover is."""
    weight = cover / (cover.sum((2, 3), keepdim=True) + 1e-3)
    return torch.einsum("nchw,nhw->nc", features, weight[:, 0].to(features.dtype))


def plain_facts(pictures: Pictures, cover: Cover) -> Facts:
    """Return the colour under the cover and that of the whole picture, and where the cover is."""
    small = F.avg_pool2d(pictures, MASK_SCALE)
    parts = [under(small, cover), reduce(small, "n c h w -> n c", "mean"), place(cover)]
    return torch.cat([part.float() for part in parts], dim=1)


def place(cover: Cover) -> Float[Tensor, "n 6"]:
    """Return centre (x, y in [-1, 1]), logarithmic size, and spread (four variances: xx, yy, xy)."""
    height, width = cover.shape[2:]
    weight = rearrange(cover, "n 1 h w -> n h w")
    total = weight.sum((1, 2)) + 1e-3
    y = torch.linspace(-1, 1, height, device=cover.device)[:, None]
    x = torch.linspace(-1, 1, width, device=cover.device)[None, :]

    def mean(values: Float[Tensor, "... h w"]) -> Float[Tensor, "n"]:
        return (weight * values).sum((1, 2)) / total

    centre_x, centre_y = mean(x), mean(y)
    away_x, away_y = x - centre_x[:, None, None], y - centre_y[:, None, None]
    size = (total / (height * width)).log() / 2 + 2  # from about -1 (a dot) to 2 (everything)
    spread = (4 * mean(away_x**2), 4 * mean(away_y**2), 4 * mean(away_x * away_y))
    return torch.stack([centre_x, centre_y, size, *spread], dim=1)


def cut_out(pictures: Float[Tensor, "n 3 h w"], cover: Cover) -> Float[Tensor, "n 4 side side"]:
    """Cut out a square around what is covered, `CLOSE_SIDE` pixels a side, its cover as fourth channel."""
    height, width = pictures.shape[2:]
    x, y, _, spread_x, spread_y, _ = place(cover).unbind(1)

    # An even disc reaches two standard deviations from its centre; spreads are four variances
    radius = torch.maximum(spread_x.sqrt() * width, spread_y.sqrt() * height) / 2
    reach = CLOSE_MARGIN * radius.clamp(min=SMALLEST_RADIUS)

    # Sampled by hand, since autocast would compute the grid too coarsely
    steps = torch.linspace(-1, 1, CLOSE_SIDE, device=pictures.device)
    columns = x[:, None] + (2 * reach / width)[:, None] * steps
    rows = y[:, None] + (2 * reach / height)[:, None] * steps
    grid = torch.stack(
        [repeat(columns, "n w -> n h w", h=CLOSE_SIDE), repeat(rows, "n h -> n h w", w=CLOSE_SIDE)], dim=3
    )
    parts = [
        F.grid_sample(part, grid, padding_mode="border", align_corners=False)
        for part in (pictures.float(), cover)
    ]
    return torch.cat(parts, dim=1)
