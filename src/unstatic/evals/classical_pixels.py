"""What every pixel of a clip shows, told by its colour and by how it differs from what is around it.

Nothing is convolved with anything learned: facts about a pixel are differences from medians of its row and of
its place over time, from the means of squares around it, how common its colour is and where else that lies.
Two shallow classifiers turn them into chances; the second also knows what the first said around the pixel
(auto-context: Tu and Bai, 2010, IEEE TPAMI 32, 1744-1757).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from unstatic.evals.readings import Frames
from unstatic.evals.shallow import Shallow
from unstatic.world.spec import COLOURS

# What a pixel may show, in the order of its chances
PIXELS = ("nothing", "prop", *COLOURS, "animal")
MOMENTS = 22
AREA = 64 * 64
LEVELS = 8  # of each colour channel, when it is asked how common a colour is
BORDER = 0.12  # of the picture's sides: what lies there is hardly an object

Video = Float[Tensor, "t 3 h w"]
Facts = Float[Tensor, "t facts h w"]
Chances = Float[Tensor, "t pixels h w"]


class Moments(NamedTuple):
    """Pictures of a clip, and the pictures one frame earlier, in [0, 1]."""

    before: Video
    now: Video


def moments(frames: Frames) -> Moments:
    """Return MOMENTS pictures spread evenly over a clip, scaled to about AREA pixels."""
    numbers = moment_numbers(len(frames))
    video = rearrange(torch.from_numpy(frames[numbers.numpy()]).float() / 255, "t h w c -> t c h w")
    size = reading_size(*frames.shape[1:3])
    if size != frames.shape[1:3]:
        video = F.interpolate(video, size=size, mode="bilinear", antialias=True)
    return Moments(video[:MOMENTS], video[MOMENTS:])


def moment_numbers(frames: int) -> Int[Tensor, "n"]:
    """Return the numbers of the frames that are looked at: those before the moments, then the moments."""
    now = torch.linspace(min(1, frames - 1), frames - 1, MOMENTS).round().long()
    return torch.cat([(now - 1).clamp(min=0), now])


def reading_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which pictures of this size are read: of about AREA pixels, both sides even."""
    scale = (AREA / (height * width)) ** 0.5
    return max(16, 2 * round(height * scale / 2)), max(16, 2 * round(width * scale / 2))


def chances_of(video: Video, first: Shallow, second: Shallow) -> Chances:
    """Return the chances of PIXELS at every pixel."""
    facts = pixel_facts(video)
    return judged(context_facts(video, facts, judged(facts, first)), second)


def judged(facts: Facts, classifier: Shallow) -> Chances:
    """Return what a classifier says of every pixel."""
    return classifier.per_pixel(facts).softmax(1)


def pixel_facts(video: Video) -> Facts:
    """Describe every pixel by numbers: its colour, its surroundings in space and time, and its place."""
    grey = video.mean(1, keepdim=True)
    row = video.median(3, keepdim=True).values
    always = video.median(0, keepdim=True).values
    small, large = box(video, 5), box(video, 17)
    change = (video - video.roll(1, 0)).abs().mean(1, keepdim=True)
    change = torch.minimum(change, change.roll(-1, 0))
    return torch.cat(
        [
            video,
            video[:, :1] - video[:, 1:2],
            video[:, :2].mean(1, keepdim=True) - video[:, 2:],
            video.amax(1, keepdim=True),
            video.amin(1, keepdim=True),
            video - row,
            (video - row).abs().mean((1, 3), keepdim=True).expand_as(grey),
            video - always,
            (video - always).abs().mean((0, 1), keepdim=True).expand_as(grey),
            small - large,
            (box(grey**2, 5) - box(grey, 5) ** 2).clamp(min=0).sqrt(),
            change,
            box(change, 7),
            *places(video),
            colour_habits(video),
            *surroundings(video),
        ],
        dim=1,
    )


def places(video: Video) -> list[Float[Tensor, "t 1 h w"]]:
    """Return x, y (both from -1 to 1) and the squared distance from the middle."""
    times, _, height, width = video.shape
    y = repeat(torch.linspace(-1, 1, height), "h -> t 1 h w", t=times, w=width)
    x = repeat(torch.linspace(-1, 1, width), "w -> t 1 h w", t=times, h=height)
    return [x, y, x**2 + y**2]


def surroundings(video: Video) -> list[Float[Tensor, "t 3 h w"]]:
    """Return the mean colours of the top, the bottom and the whole of each picture, at every pixel."""
    edge = max(1, round(BORDER * video.shape[2]))
    parts = (video[:, :, :edge], video[:, :, -edge:], video)
    return [part.mean((2, 3), keepdim=True).expand_as(video) for part in parts]


def colour_habits(video: Video) -> Float[Tensor, "t 4 h w"]:
    """Say how common each pixel's colour is in its picture, how much of it is at the border, and its spread.

    Spreads are standard deviations of x and y of all pixels of a like colour.
    """
    times, _, height, width = video.shape
    bins = colour_bins(video)
    x, y, _ = (each.flatten() for each in places(video))
    count = _binned(bins, torch.ones_like(x), times).clamp(min=1)
    border = ((x.abs() > 1 - 2 * BORDER) | (y.abs() > 1 - 2 * BORDER)).float()
    facts = [(count / (height * width)).log(), _binned(bins, border, times) / count]
    for place in (x, y):
        mean = _binned(bins, place, times) / count
        facts.append((_binned(bins, place**2, times) / count - mean**2).clamp(min=0).sqrt())
    return rearrange(torch.stack([fact[bins] for fact in facts]), "f (t h w) -> t f h w", t=times, h=height)


def colour_bins(video: Video) -> Int[Tensor, "n"]:
    """Return a number for the colour of every pixel, coarsely, and for the picture that it is in."""
    levels = (video * LEVELS).long().clamp(max=LEVELS - 1)
    colours = (levels[:, 0] * LEVELS + levels[:, 1]) * LEVELS + levels[:, 2]
    return (colours + LEVELS**3 * torch.arange(len(video))[:, None, None]).flatten()


def context_facts(video: Video, facts: Facts, chances: Chances) -> Float[Tensor, "t more_facts h w"]:
    """Add what a first classifier said of a pixel, near and far around it, of like colours, of the clip."""
    whole = chances.mean((0, 2, 3), keepdim=True).expand_as(chances)
    parts = [facts, chances, box(chances, 3), box(chances, 9), alike(video, chances), whole]
    return torch.cat(parts, dim=1)


def alike(video: Video, chances: Chances) -> Chances:
    """Return the mean chances of all pixels of a like colour in each picture."""
    bins, times = colour_bins(video), len(video)
    count = _binned(bins, torch.ones(len(bins)), times).clamp(min=1)
    means = [_binned(bins, each.flatten(), times) / count for each in chances.unbind(1)]
    return torch.stack([mean[bins].view_as(chances[:, 0]) for mean in means], dim=1)


def box(video: Float[Tensor, "t c h w"], side: int) -> Float[Tensor, "t c h w"]:
    """Return the mean of the square of `side` (odd) pixels around each pixel, inside the picture."""
    rows = F.avg_pool2d(video, (1, side), 1, (0, side // 2), count_include_pad=False)
    return F.avg_pool2d(rows, (side, 1), 1, (side // 2, 0), count_include_pad=False)


def _binned(bins: Int[Tensor, "n"], values: Float[Tensor, "n"], times: int) -> Float[Tensor, "m"]:
    return torch.bincount(bins, values, minlength=times * LEVELS**3).float()
