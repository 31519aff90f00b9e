"""Read a clip: which colour and shape its hero has, what it does, and where it goes.

A small network that has only ever seen renders. It judges models and is never a loss of one.

Every shape, colour and event of the world is a class of its own: in the renders a fair judge can tell all of them
apart (a ball or a cone that spins is always checkered). A direction is read among four ways, whether or not
anything moves: it is only judged where the prompt names one.
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

# Pictures are brought to about this many pixels, both sides to multiples of the trunk's stride.
AREA, STRIDE = 64 * 64, 8
MASK_STRIDE = 4
# Of 16 frames a second every third is looked at, together with its change since the frame before.
FRAME_STEP = 3


class Reading(NamedTuple):
    """What was read in a clip, and the probability the parser gives each of it."""

    colour: str
    shape: str
    event: str
    direction: str
    confidences: dict[str, float]


class Answers(NamedTuple):
    """The network's logits: one row per clip for every atom, and where in each frame the hero is."""

    colour: Float[Tensor, "b colours"]
    shape: Float[Tensor, "b shapes"]
    event: Float[Tensor, "b events"]
    direction: Float[Tensor, "b directions"]
    mask: Float[Tensor, "b t rows columns"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserConfig:
    """Channels at 1/2, 1/4 and 1/8 of the resolution and of a frame's summary, and the spans in time."""

    widths: tuple[int, int, int] = (24, 48, 96)
    summary_width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8)


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a path that changes nothing."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.relu(features + self.second(F.relu(self.first(features))))


class Span(nn.Module):
    """A dilated convolution over time beside a path that changes nothing."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.out = nn.Linear(width, width)

    def forward(self, summaries: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        hidden = rearrange(self.norm(summaries), "b t d -> b d t")
        hidden = rearrange(F.relu(self.convolution(hidden)), "b d t -> b t d")
        return summaries + self.out(hidden)


class ParserNet(nn.Module):
    """Frames to features, features to a mask of the hero, what is under the mask to answers.

    A frame is seen together with its change since the one before. What lies under the mask, what the whole
    picture is like, and the place and spread of the mask make a frame's summary: shape and colour are read from
    summaries one by one, events and directions from how they follow one another.
    """

    def __init__(self, config: ParserConfig):
        super().__init__()
        half, quarter, eighth = config.widths
        self.stem = nn.Sequential(
            nn.Conv2d(6, half, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(half, quarter, 3, stride=2, padding=1),
            nn.ReLU(),
            Residual(quarter),
        )
        self.trunk = nn.Sequential(
            nn.Conv2d(quarter, eighth, 3, stride=2, padding=1), nn.ReLU(), Residual(eighth)
        )
        self.near, self.wide = nn.Conv2d(quarter, 1, 1), nn.Conv2d(eighth, 1, 1)

        learned = quarter + 2 * eighth
        seen = learned + 2 * 3 + 6
        self.norm = nn.LayerNorm(learned)
        self.looks = nn.Linear(seen, config.summary_width)
        self.motion = nn.Linear(seen, config.summary_width)
        self.spans = nn.ModuleList(Span(config.summary_width, dilation) for dilation in config.dilations)
        pooled = 2 * config.summary_width
        self.colour, self.shape = nn.Linear(pooled, len(COLOURS)), nn.Linear(pooled, len(SHAPES))
        self.event, self.direction = nn.Linear(pooled, len(EVENTS)), nn.Linear(pooled, len(DIRECTIONS))

    def forward(self, moments: Float[Tensor, "b 6 t h w"]) -> Answers:
        """Read what `to_moments` returns, both sides multiples of `STRIDE`."""
        clips = len(moments)
        pictures = rearrange(moments, "b c t h w -> (b t) c h w")
        near = self.stem(pictures.contiguous(memory_format=torch.channels_last))
        wide = self.trunk(near)
        mask = self.near(near) + F.interpolate(self.wide(wide), scale_factor=2.0, mode="bilinear")

        cover = mask.float().sigmoid()
        summary = torch.cat([self.norm(learned_facts(near, wide, cover)), plain_facts(pictures, cover)], dim=1)
        summary = rearrange(summary, "(b t) d -> b t d", b=clips)
        looks = over_time(F.relu(self.looks(summary)))
        hidden = self.motion(summary)
        for span in self.spans:
            hidden = span(hidden)
        motion = over_time(F.relu(hidden))
        return Answers(
            colour=self.colour(looks),
            shape=self.shape(looks),
            event=self.event(motion),
            direction=self.direction(motion),
            mask=rearrange(mask, "(b t) 1 h w -> b t h w", b=clips),
        )


def pair_numbers(frames: int) -> list[int]:
    """Return which frames of a clip are looked at: pairs of neighbours, one in every `FRAME_STEP` frames."""
    return [
        max(0, now - before) for now in range(min(1, frames - 1), frames, FRAME_STEP) for before in (1, 0)
    ]


def to_moments(pairs: Float[Tensor, "b 3 twice h w"]) -> Float[Tensor, "b 6 t h w"]:
    """Turn pairs of frames into the second one of each with its change since the first."""
    before, now = pairs[:, :, 0::2], pairs[:, :, 1::2]
    return torch.cat([now, now - before], dim=1)


def learned_facts(
    near: Float[Tensor, "n c rows columns"],
    wide: Float[Tensor, "n d _ _"],
    cover: Float[Tensor, "n 1 rows columns"],
) -> Float[Tensor, "n s"]:
    """Say what the network sees under the cover, near by and in the wide, and in the whole picture."""
    parts = [under(near, cover), under(wide, F.avg_pool2d(cover, 2)), reduce(wide, "n c h w -> n c", "mean")]
    return torch.cat([part.float() for part in parts], dim=1)


def plain_facts(
    pictures: Float[Tensor, "n 6 h w"], cover: Float[Tensor, "n 1 rows columns"]
) -> Float[Tensor, "n 12"]:
    """Say which colour is under the cover and in the whole picture, and where the cover is."""
    small = reduce(pictures[:, :3], "n c (h p) (w q) -> n c h w", "mean", p=MASK_STRIDE, q=MASK_STRIDE)
    parts = [under(small, cover), reduce(small, "n c h w -> n c", "mean"), place(cover)]
    return torch.cat([part.float() for part in parts], dim=1)


def under(features: Float[Tensor, "n c h w"], cover: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c"]:
    """Average features where the cover is."""
    weight = cover / (cover.sum((2, 3), keepdim=True) + 1e-3)
    return torch.einsum("nchw,nhw->nc", features, weight[:, 0].to(features.dtype))


def place(cover: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 6"]:
    """Return centre (x, y in [-1, 1]), logarithm of the area, and spread (xx, yy, xy) of a cover."""
    height, width = cover.shape[2:]
    weight = rearrange(cover, "n 1 h w -> n h w")
    total = weight.sum((1, 2)) + 1e-3
    y = torch.linspace(-1, 1, height, device=cover.device)[:, None]
    x = torch.linspace(-1, 1, width, device=cover.device)[None, :]

    def mean(values: Float[Tensor, "... h w"]) -> Float[Tensor, "n"]:
        return (weight * values).sum((1, 2)) / total

    centre_x, centre_y = mean(x), mean(y)
    away_x, away_y = x - centre_x[:, None, None], y - centre_y[:, None, None]
    area = (total / (height * width)).log() / 4
    spread = (4 * mean(away_x**2), 4 * mean(away_y**2), 4 * mean(away_x * away_y))
    return torch.stack([centre_x, centre_y, area, *spread], dim=1)


def over_time(summaries: Float[Tensor, "b t d"]) -> Float[Tensor, "b two_d"]:
    """Pool over time by mean and by maximum."""
    return torch.cat([summaries.mean(1), summaries.amax(1)], dim=1)


class Parser:
    """A trained network, ready to read clips: `load_parser().read(frames)`."""

    def __init__(self, network: ParserNet):
        self.network = network

    @torch.inference_mode()
    def read(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Reading:
        """Read a clip at 16 frames a second, of any size and of at least one frame."""
        answers = self.network(to_moments(fitted(frames[pair_numbers(len(frames))])[None]))
        chances = {atom: getattr(answers, atom)[0].softmax(0) for atom in VOCABULARY}
        best = {atom: int(chance.argmax()) for atom, chance in chances.items()}
        return Reading(
            **{atom: VOCABULARY[atom][index] for atom, index in best.items()},
            confidences={atom: round(float(chances[atom][index]), 4) for atom, index in best.items()},
        )


def fitted(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "3 t height width"]:
    """Return frames as a video in [-1, 1], at the size that the network reads."""
    height, width = frames.shape[1:3]
    scale = (AREA / (height * width)) ** 0.5
    size = [max(1, round(side * scale / STRIDE)) * STRIDE for side in (height, width)]
    pictures = rearrange(torch.from_numpy(frames).float(), "t h w c -> t c h w") / 127.5 - 1
    if size != [height, width]:
        pictures = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
    return rearrange(pictures, "t c h w -> c t h w")


def load_parser(path: Path = PARSER_WEIGHTS) -> Parser:
    """Load a parser on the CPU. Raises InputError when its file is missing, damaged or something else."""
    network = load_model(path, KIND, ParserConfig, ParserNet)
    return Parser(network.float().eval())
