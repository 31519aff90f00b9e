"""The network of the parser: what is where in single pictures, and what happens in a clip, as logits.

A picture is looked at twice. As a whole, every cell of it is told to be nothing, an object of one of the
colours, or an animal of one of the kinds; closer, cut out around one of them, shapes and kinds are told.
Motion, direction and camera are read in how small pictures follow each other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.evals.readings import ACTIONS, CAMERA_MOVES, DIRECTIONS
from unstatic.world.spec import ANIMALS, COLOURS, SHAPES

# What a cell of a picture may show, in the order of its logits
LOOKS = ("nothing", *COLOURS, *ANIMALS)
# Motion is read in pictures of half the size; masks are a quarter of the size of what they were read in.
MOTION_SCALE, MASK_SCALE = 2, 4
# A moment is also compared to the one so many moments earlier: a camera moves slowly
LONG_SPAN = 2
# Slopes of half a step of 8-bit grey say nothing; what drifts from one frame to the next is shown larger
FAINT_SLOPE, LARGEST_DRIFT, FRAME_GAIN = 0.03, 2.0, 4.0
PLAIN_FACTS, GRID, CLOSE_GRID = 12, 3, 4
JOURNEY, CURRENT_GRID = 5, 4
CURRENT_FACTS = 2 * 2 * 3 * CURRENT_GRID**2
# A closer look shows an object with a quarter of its radius around it; radii are in pixels.
CLOSE_SIDE, CLOSE_MARGIN, SMALLEST_RADIUS = 32, 1.25, 4.0

Video = Float[Tensor, "b 3 t h w"]
Pictures = Float[Tensor, "n channels h w"]
Near = Float[Tensor, "n near near_h near_w"]
Wide = Float[Tensor, "n wide wide_h wide_w"]
Facts = Float[Tensor, "n facts"]
Cover = Float[Tensor, "n 1 rows columns"]
Looks = Float[Tensor, "n looks rows columns"]


class Close(NamedTuple):
    """Logits of what is cut out, as an object and as an animal."""

    shape: Float[Tensor, "b shapes"]
    animal: Float[Tensor, "b animals"]


class Motion(NamedTuple):
    """Logits of whole clips, and of a mask of the hero in every moment."""

    event: Float[Tensor, "b events"]
    direction: Float[Tensor, "b directions"]
    camera: Float[Tensor, "b moves"]
    mask: Float[Tensor, "b t rows columns"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserConfig:
    """Channels at 1/2, 1/4 and 1/8 of the resolution, and of a picture's summary; the spans in time.

    `close_widths` are for the closer look at a cut-out, at 1/1, 1/2 and 1/4 of its resolution.
    """

    widths: tuple[int, int, int] = (24, 40, 80)
    close_widths: tuple[int, int, int] = (24, 56, 112)
    motion_widths: tuple[int, int, int] = (24, 40, 80)
    summary_width: int = 128
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
    """Convolve pictures down by the first stride, and then twice by two: "near" features, and "wide" ones."""

    def __init__(self, channels: int, widths: tuple[int, int, int], stride: int = 2):
        super().__init__()
        first, second, third = widths
        self.near = nn.Sequential(
            nn.Conv2d(channels, first, 5, stride=stride, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            Residual(second),
        )
        self.wide = nn.Sequential(
            nn.Conv2d(second, third, 3, stride=2, padding=1), nn.ReLU(), Residual(third)
        )

    def forward(self, pictures: Pictures) -> tuple[Near, Wide]:
        near = self.near(pictures.contiguous(memory_format=torch.channels_last))
        return near, self.wide(near)


class FindingEye(nn.Module):
    """Say what every cell of a picture shows, by what is there, around it, and in the whole picture."""

    def __init__(self, config: ParserConfig):
        super().__init__()
        _, near, wide = config.widths
        self.features = Features(3, config.widths)
        self.near, self.wide, self.whole = (nn.Conv2d(width, wide, 1) for width in (near, wide, wide))
        self.looks = nn.Conv2d(wide, len(LOOKS), 1)

    def forward(self, pictures: Pictures) -> Looks:
        near, wide = self.features(pictures)
        around = self.wide(wide) + self.whole(wide.mean((2, 3), keepdim=True))
        around = F.interpolate(around, scale_factor=2.0, mode="bilinear")
        return self.looks(F.relu(self.near(near) + around))


class PartsEye(nn.Module):
    """Say in numbers what fills a picture, part by part."""

    def __init__(self, channels: int, widths: tuple[int, int, int], summary_width: int, stride: int = 2):
        super().__init__()
        width = (CLOSE_GRID**2 + 1) * widths[-1]
        self.features = Features(channels, widths, stride)
        self.norm = nn.LayerNorm(width)
        self.summary = nn.Linear(width, summary_width)

    def forward(self, pictures: Pictures) -> Facts:
        _, wide = self.features(pictures)
        parts = rearrange(F.adaptive_avg_pool2d(wide, CLOSE_GRID), "n c h w -> n (c h w)")
        seen = torch.cat([parts, reduce(wide, "n c h w -> n c", "max")], dim=1)
        return self.summary(self.norm(seen.float()))


class MotionEye(nn.Module):
    """Find the hero in moments, and say in numbers what it and all parts of the picture are like."""

    def __init__(self, config: ParserConfig):
        super().__init__()
        _, near, wide = config.motion_widths
        self.features = Features(13, config.motion_widths)
        self.near_mask, self.wide_mask = nn.Conv2d(near, 1, 1), nn.Conv2d(wide, 1, 1)
        self.norm = nn.LayerNorm(near + wide)
        self.summary = nn.Linear(near + wide + PLAIN_FACTS, config.summary_width)
        self.parts_norm = nn.LayerNorm(GRID * GRID * wide)
        self.parts = nn.Linear(GRID * GRID * wide, config.summary_width)

    def forward(self, moments: Float[Tensor, "n 13 h w"]) -> tuple[Facts, Cover]:
        """Return a summary of each moment and the logits of its mask; both sides are multiples of 8."""
        near, wide = self.features(moments)
        mask = self.near_mask(near) + F.interpolate(self.wide_mask(wide), scale_factor=2.0, mode="bilinear")

        cover = sharpened(mask.sigmoid())
        seen = torch.cat([under(near, cover), under(wide, F.avg_pool2d(cover, 2))], dim=1)
        facts = torch.cat([self.norm(seen.float()), plain_facts(moments[:, :3], cover)], dim=1)
        parts = rearrange(F.adaptive_avg_pool2d(wide, GRID), "n c h w -> n (c h w)")
        return self.summary(facts) + self.parts(self.parts_norm(parts.float())), mask


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
    """Five eyes: one finds, one looks closer, one watches motion, one the hero's stances, one the journey.

    What is cut out has its cover as fourth channel; the journey is a few pictures of a clip, one on another.
    """

    def __init__(self, config: ParserConfig):
        super().__init__()
        width = config.summary_width
        self.find_eye, self.motion_eye = FindingEye(config), MotionEye(config)
        self.close_eye = PartsEye(4, config.close_widths, width, stride=1)
        self.stance_eye = PartsEye(4, config.motion_widths, width)
        self.journey_eye = PartsEye(3 * JOURNEY, config.motion_widths, width)
        self.current = nn.Sequential(nn.Linear(CURRENT_FACTS, width), nn.ReLU(), nn.Linear(width, width))
        self.shape, self.animal = nn.Linear(2 * width, len(SHAPES)), nn.Linear(2 * width, len(ANIMALS))
        self.spans = nn.ModuleList(Span(width, dilation) for dilation in config.dilations)
        self.event, self.direction, self.camera = (
            nn.Linear(3 * width, len(words)) for words in (ACTIONS, DIRECTIONS, CAMERA_MOVES)
        )

    def find(self, pictures: Float[Tensor, "n 3 h w"]) -> Looks:
        """Return logits of LOOKS for every cell of single pictures in [-1, 1]."""
        return self.find_eye(pictures)

    def look(self, pictures: Float[Tensor, "n 3 h w"], cover: Cover) -> Float[Tensor, "n seen"]:
        """Look closely at what is covered in single pictures; `tell` says what it is."""
        return F.relu(self.close_eye(cut_out(pictures, cover)))

    def tell(self, seen: Float[Tensor, "b t seen"], weight: Float[Tensor, "b t"]) -> Close:
        """Return the logits of things that were seen in several pictures each; no weight, no say."""
        mean = torch.einsum("bt,btd->bd", weight / (weight.sum(1, keepdim=True) + 1e-4), seen)
        most = (seen * (weight > 0)[:, :, None]).amax(1)
        both = torch.cat([mean, most], dim=1)
        return Close(self.shape(both), self.animal(both))

    def watch(
        self, pairs: Float[Tensor, "b 3 twice small_h small_w"], pictures: Video, told: Cover | None = None
    ) -> Motion:
        """Read pairs of neighbouring frames, in [-1, 1] and `MOTION_SCALE` times smaller than for looks.

        `pictures` are the second frames of the pairs in full size, in which the hero is looked at closely,
        where it is found. With `told`, its place is told in the moments for which that has some.
        """
        moments = rearrange(with_change(pairs), "b c t h w -> (b t) c h w")
        summary, mask = self.motion_eye(moments)
        cover = sharpened(mask.detach().sigmoid())
        if told is not None:
            cover = torch.where(told.sum((1, 2, 3), keepdim=True) > 0, told, cover)
        stance = self.stance_eye(cut_out(rearrange(pictures, "b c t h w -> (b t) c h w"), cover))
        hidden = rearrange(summary + stance, "(b t) d -> b t d", b=len(pairs))
        for span in self.spans:
            hidden = span(hidden)
        hidden = F.relu(hidden)
        ground = 1 - rearrange(cover, "(b t) 1 h w -> b t h w", b=len(pairs))
        journey = F.relu(self.journey_eye(journey_of(pictures)) + self.current(currents(pairs, ground)))
        whole = torch.cat([hidden.mean(1), hidden.amax(1), journey], dim=1)
        return Motion(
            event=self.event(whole),
            direction=self.direction(whole),
            camera=self.camera(whole),
            mask=rearrange(mask, "(b t) 1 h w -> b t h w", b=len(pairs)),
        )


def journey_of(pictures: Video) -> Float[Tensor, "b channels h w"]:
    """Return JOURNEY pictures spread over clips, as channels: the middle one, and how the others differ."""
    numbers = torch.linspace(0, pictures.shape[2] - 1, JOURNEY, device=pictures.device).round().long()
    chosen = pictures[:, :, numbers]
    middle = chosen[:, :, JOURNEY // 2 : JOURNEY // 2 + 1]
    others = torch.cat([chosen[:, :, : JOURNEY // 2], chosen[:, :, JOURNEY // 2 + 1 :]], dim=2) - middle
    return rearrange(torch.cat([middle, others], dim=2), "b c t h w -> b (t c) h w")


def with_change(pairs: Float[Tensor, "b 3 twice h w"]) -> Float[Tensor, "b 13 t h w"]:
    """Turn pairs of frames into the second of each, its changes, and how its edges drifted.

    Changes and drifts are those since the first of the pair, and since the moment LONG_SPAN pairs earlier;
    before there is one, since the clip's first moment.
    """
    before, now = pairs[:, :, 0::2], pairs[:, :, 1::2]
    earlier = now[:, :, (torch.arange(now.shape[2], device=now.device) - LONG_SPAN).clamp(min=0)]
    drifts = [FRAME_GAIN * drift(before, now), drift(earlier, now)]
    return torch.cat([now, now - before, now - earlier, *drifts], dim=1)


def drift(before: Float[Tensor, "b 3 t h w"], now: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 2 t h w"]:
    """Return the normal flow in pixels: how far edges moved across themselves, to the right and down.

    It is the change over the slope (Horn and Schunck, 1981), and 0 where there is no slope to speak of.
    """
    across, down, change = slopes(before, now).unbind(1)
    flow = -change / (across**2 + down**2 + FAINT_SLOPE**2)
    return torch.stack([flow * across, flow * down], dim=1).clamp(-LARGEST_DRIFT, LARGEST_DRIFT)


def slopes(before: Float[Tensor, "b 3 t h w"], now: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t h w"]:
    """Return how grey values change a pixel to the right, a pixel down, and from before to now."""
    mean, change = (before + now).mean(1) / 2, (now - before).mean(1)
    across = F.pad(mean[..., 2:] - mean[..., :-2], (1, 1)) / 2
    down = F.pad(mean[..., 2:, :] - mean[..., :-2, :], (0, 0, 1, 1)) / 2
    return torch.stack([across, down, change], dim=1)


def currents(
    pairs: Float[Tensor, "b 3 twice h w"], ground: Float[Tensor, "b t rows columns"]
) -> Float[Tensor, "b facts"]:
    """Return how all that is not the hero drifts, part by part: means over time, and spreads."""
    before, now = pairs[:, :, 0::2], pairs[:, :, 1::2]
    earlier = now[:, :, (torch.arange(now.shape[2], device=now.device) - LONG_SPAN).clamp(min=0)]
    weight = F.interpolate(ground.float(), size=now.shape[3:], mode="bilinear")
    facts: list[Tensor] = []
    for since, gain in ((before, FRAME_GAIN), (earlier, 1.0)):
        across, down, change = slopes(since, now).unbind(1)
        products = torch.stack([across * change, down * change, across**2 + down**2], dim=2)
        x, y, marks = _parts(products * weight[:, :, None]).unbind(2)
        drifts = torch.stack(
            [-gain * x / (marks + 1e-4), -gain * y / (marks + 1e-4), (marks + 1e-4).log() / 4], dim=2
        )
        facts += [drifts.mean(1), drifts.std(1, correction=0)]
    return torch.cat([fact.flatten(1) for fact in facts], dim=1)


def _parts(maps: Float[Tensor, "b t maps h w"]) -> Float[Tensor, "b t maps rows columns"]:
    """Return means over parts of pictures."""
    return F.adaptive_avg_pool2d(maps.flatten(0, 1), CURRENT_GRID).unflatten(0, maps.shape[:2])


def smaller(video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t rows columns"]:
    """Make a video as small as motion is read in."""
    return reduce(video, "b c t (h p) (w q) -> b c t h w", "mean", p=MOTION_SCALE, q=MOTION_SCALE)


def sharpened(chances: Cover) -> Cover:
    """Square chances: else many doubtful places would outweigh a few sure ones."""
    return chances.float().square()


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
