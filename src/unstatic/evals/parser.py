"""Read a clip: which colour and shape its hero has, what it does, and where it goes.

A small network that has only ever seen renders. It judges models and is never a loss of one.

Every shape, colour and event of the world is a class of its own: in the renders a fair judge can tell all of
them apart (a ball or a cone that spins is always checkered). A direction is read among four ways, whether or
not anything moves: it is only judged where the prompt names one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from unstatic.models.weights import load_model
from unstatic.world.spec import COLOURS, EVENTS, SHAPES

PARSER_WEIGHTS = Path(__file__).parent.parent / "weights" / "parser" / "parser.safetensors"
KIND = "parser"

DIRECTIONS = ("left", "right", "towards", "away")
VOCABULARY = {"colour": COLOURS, "shape": SHAPES, "event": EVENTS, "direction": DIRECTIONS}

# Pictures are brought to about this many pixels, both sides to multiples of SIDE_STEP.
AREA, SIDE_STEP = 64 * 64, 16
# Of 16 frames a second every third is looked at, together with its change since the frame before.
FRAME_STEP = 3
# Motion is read in pictures of half the size; masks are a quarter of the size of what they were read in.
MOTION_SCALE, MASK_SCALE = 2, 4
PLAIN_FACTS = 12
# A closer look shows an object with a quarter of its size around it.
CLOSE_SIDE, CLOSE_MARGIN = 32, 1.25

Pictures = Float[Tensor, "n channels h w"]
Facts = Float[Tensor, "n facts"]
Cover = Float[Tensor, "n 1 rows columns"]


class Reading(NamedTuple):
    """What was read in a clip, and the probability the parser gives each of it."""

    colour: str
    shape: str
    event: str
    direction: str
    confidences: dict[str, float]


class Looks(NamedTuple):
    """Logits of single pictures, and of a mask of the objects in them."""

    colour: Float[Tensor, "n colours"]
    shape: Float[Tensor, "n shapes"]
    mask: Cover


class Motion(NamedTuple):
    """Logits of whole clips, and of a mask of the hero in every moment."""

    event: Float[Tensor, "b events"]
    direction: Float[Tensor, "b directions"]
    mask: Float[Tensor, "b t rows columns"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserConfig:
    """Channels at 1/2, 1/4 and 1/8 of the resolution and of a picture's summary, and the spans in time."""

    widths: tuple[int, int, int] = (16, 32, 64)
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

    def __init__(self, channels: int, config: ParserConfig):
        super().__init__()
        half, quarter, eighth = config.widths
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

    def forward(self, pictures: Pictures) -> tuple[Pictures, Pictures]:
        near = self.near(pictures.contiguous(memory_format=torch.channels_last))
        return near, self.wide(near)


class Eye(nn.Module):
    """Find what matters in pictures, and say in numbers what it and the pictures are like."""

    def __init__(self, channels: int, config: ParserConfig):
        super().__init__()
        _, quarter, eighth = config.widths
        self.features = Features(channels, config)
        self.near_mask, self.wide_mask = nn.Conv2d(quarter, 1, 1), nn.Conv2d(eighth, 1, 1)
        self.norm = nn.LayerNorm(quarter + 2 * eighth)
        self.summary = nn.Linear(quarter + 2 * eighth + PLAIN_FACTS, config.summary_width)

    def forward(self, pictures: Pictures) -> tuple[Facts, Cover]:
        """Return a summary of each picture and the logits of its mask; both sides are multiples of 8."""
        near, wide = self.features(pictures)
        mask = self.near_mask(near) + F.interpolate(self.wide_mask(wide), scale_factor=2.0, mode="bilinear")

        cover = sure(mask)
        parts = [under(near, cover), under(wide, F.avg_pool2d(cover, 2)), reduce(wide, "n c h w -> n c", "mean")]
        seen = self.norm(torch.cat([part.float() for part in parts], dim=1))
        return self.summary(torch.cat([seen, plain_facts(pictures[:, :3], cover)], dim=1)), mask


class CloseEye(nn.Module):
    """Say in numbers what a thing is like that fills a picture of `CLOSE_SIDE` pixels a side: place by place."""

    def __init__(self, channels: int, config: ParserConfig):
        super().__init__()
        width = config.widths[-1] * (CLOSE_SIDE // 8) ** 2
        self.features = Features(channels, config)
        self.norm, self.summary = nn.LayerNorm(width), nn.Linear(width, config.summary_width)

    def forward(self, pictures: Pictures) -> Facts:
        _, wide = self.features(pictures)
        return self.summary(self.norm(wide.flatten(1).float()))


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
    """Read colour and shape in single pictures, event and direction in how small ones follow each other.

    A picture is looked at twice: as a whole to find the object, and closer, cut out around the object.
    """

    def __init__(self, config: ParserConfig):
        super().__init__()
        width = config.summary_width
        self.find_eye, self.close_eye, self.motion_eye = Eye(3, config), CloseEye(4, config), Eye(6, config)
        self.colour, self.shape = nn.Linear(2 * width, len(COLOURS)), nn.Linear(2 * width, len(SHAPES))
        self.spans = nn.ModuleList(Span(width, dilation) for dilation in config.dilations)
        self.event, self.direction = nn.Linear(2 * width, len(EVENTS)), nn.Linear(2 * width, len(DIRECTIONS))

    def look(self, pictures: Pictures) -> Looks:
        """Read single pictures in [-1, 1]."""
        whole, mask = self.find_eye(pictures)
        close = self.close_eye(cut_out(pictures, sure(mask.detach())))
        hidden = F.relu(torch.cat([whole, close], dim=1))
        return Looks(self.colour(hidden), self.shape(hidden), mask)

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


def pair_numbers(frames: int) -> list[int]:
    """Return which frames of a clip are looked at: pairs of neighbours, one in every `FRAME_STEP` frames."""
    seconds = range(min(1, frames - 1), frames, FRAME_STEP)
    return [max(0, second - before) for second in seconds for before in (1, 0)]


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
    """Cut a square out around what is covered, of `CLOSE_SIDE` pixels a side, with its cover as fourth channel."""
    height, width = pictures.shape[2:]
    x, y, _, spread_x, spread_y, _ = place(cover).unbind(1)

    # An even disc reaches two standard deviations from its centre; spreads are four variances
    reach = CLOSE_MARGIN * torch.maximum(spread_x.sqrt() * width, spread_y.sqrt() * height).clamp(min=CLOSE_SIDE / 4)
    steps = torch.linspace(-1, 1, CLOSE_SIDE, device=pictures.device)
    columns = x[:, None] + (reach / width)[:, None] * steps
    rows = y[:, None] + (reach / height)[:, None] * steps
    grid = torch.stack([columns[:, None, :].expand(-1, CLOSE_SIDE, -1), rows[:, :, None].expand(-1, -1, CLOSE_SIDE)], dim=3)
    parts = [
        F.grid_sample(part, grid, padding_mode="border", align_corners=False)
        for part in (pictures.float(), cover)
    ]
    return torch.cat(parts, dim=1)


class Parser:
    """A trained network, ready to read clips: `load_parser().read(frames)`."""

    def __init__(self, network: ParserNet):
        self.network = network

    @torch.inference_mode()
    def read(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Reading:
        """Read a clip at 16 frames a second, of any size and of at least one frame."""
        pairs = fitted(frames[pair_numbers(len(frames))])
        looks = self.network.look(rearrange(pairs[:, 1::2], "c t h w -> t c h w"))
        motion = self.network.watch(smaller(pairs[None]))
        chances = {
            "colour": looks.colour.mean(0).softmax(0),
            "shape": looks.shape.mean(0).softmax(0),
            "event": motion.event[0].softmax(0),
            "direction": motion.direction[0].softmax(0),
        }
        best = {atom: int(chance.argmax()) for atom, chance in chances.items()}
        return Reading(
            **{atom: VOCABULARY[atom][index] for atom, index in best.items()},
            confidences={atom: round(float(chances[atom][index]), 4) for atom, index in best.items()},
        )


def fitted(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "3 t height width"]:
    """Return frames as a video in [-1, 1], at the size that the network reads."""
    height, width = frames.shape[1:3]
    scale = (AREA / (height * width)) ** 0.5
    size = [max(1, round(side * scale / SIDE_STEP)) * SIDE_STEP for side in (height, width)]
    pictures = rearrange(torch.from_numpy(frames).float(), "t h w c -> t c h w") / 127.5 - 1
    if size != [height, width]:
        pictures = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
    return rearrange(pictures, "t c h w -> c t h w")


def load_parser(path: Path = PARSER_WEIGHTS) -> Parser:
    """Load a parser on the CPU. Raises InputError when its file is missing, damaged or something else."""
    network = load_model(path, KIND, ParserConfig, ParserNet)
    return Parser(network.float().eval())
