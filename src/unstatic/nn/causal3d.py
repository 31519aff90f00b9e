"""Causal 3-D layers that can stream, of Wan's autoencoders: every convolution reads the two frames before.

A `Stream` hands what layers keep from one piece of a video to the next, so that pieces give what the whole
gives. The first frame of a video stands by itself: layers that halve or double the frame rate let it pass.
Activations are `b t h w c`, as in `causal.py`.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.nn.attention import KeyValue, attention
from unstatic.nn.causal import Convolution, Memory, convolved

PAST = 2  # frames that a convolution reads before the one it stands at
TINY = 1e-24  # keeps a cell of zeros zero, and changes no other


class Stream:
    """Hand the layers what they kept of the piece before, in order, and keep what they need of this one."""

    def __init__(self, memory: Memory | None) -> None:
        self.starts = memory is None
        self._before = iter(memory or ())
        self._after: list[Tensor] = []

    def prepend(self, x: Float[Tensor, "b t h w c"], frames: int) -> Float[Tensor, "b longer h w c"]:
        """Put the last `frames` frames of the piece before in front of `x`: zeros, where a video begins."""
        past = x.new_zeros(1).expand(len(x), frames, *x.shape[2:]) if self.starts else next(self._before)
        longer = torch.cat([past, x], 1)
        self._after.append(longer[:, longer.shape[1] - frames :].clone())
        return longer

    @property
    def memory(self) -> Memory:
        """What the layers need of this piece when the next comes."""
        return tuple(self._after)


class Norm(nn.Module):
    """Scale every cell to unit root mean square, then by a learned weight per channel (1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        return F.rms_norm(x, self.weight.shape, self.weight, TINY)


class CausalConvolution(nn.Module):
    """Convolve every frame together with the two before it, 3 x 3 x 3."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.window = Convolution(channels, width, frames=PAST + 1)

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b t h w d"]:
        return self.window(stream.prepend(x, PAST))


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, around a way past them."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm1 = Norm(channels)
        self.conv1 = CausalConvolution(channels, width)
        self.norm2 = Norm(width)
        self.conv2 = CausalConvolution(width, width)
        self.past = nn.Identity() if channels == width else nn.Linear(channels, width)

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b t h w d"]:
        branch = self.conv1(F.silu(self.norm1(x)), stream)
        branch = self.conv2(F.silu(self.norm2(branch)), stream)
        return branch + self.past(x)


class FrameAttention(nn.Module):
    """Let the cells of a frame read each other, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        cells = rearrange(self.norm(x), "b t h w c -> (b t) (h w) c")
        query, key, value = self.query_key_value(cells).chunk(3, -1)
        read = self.out(attention(query, KeyValue(key, value)))
        return x + read.view_as(x)


class HalveFrames(nn.Module):
    """Merge every two frames and the one before them into one; the first frame of a video passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b frames h w c"]:
        longer = stream.prepend(x, 1)
        pairs = longer[:, 1:] if stream.starts else longer
        merged = _over_time(self.conv, pairs)
        return torch.cat([x[:, :1], merged], 1) if stream.starts else merged


class DoubleFrames(nn.Module):
    """Turn every frame into two, seeing the two before it; the first of a video passes and is not seen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, 2 * width, (3, 1, 1))

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b frames h w c"]:
        first, rest = x.tensor_split([1 if stream.starts else 0], 1)
        doubled = _over_time(self.conv, stream.prepend(rest, PAST))
        return torch.cat([first, rearrange(doubled, "b t h w (s c) -> b (t s) h w c", s=2)], 1)


def _over_time(conv: nn.Conv3d, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b frames h w d"]:
    """Apply a convolution that needs three frames, to fewer too: then nothing comes out."""
    if x.shape[1] < conv.kernel_size[0]:
        return x.new_empty(*x.shape[:1], 0, *x.shape[2:4], conv.out_channels)
    return convolved(conv, x.movedim(-1, 1)).movedim(1, -1)


class HalveSize(nn.Module):
    """Halve height and width; below and to the right of the picture there are zeros."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t height width c"]:
        return _per_frame(self.conv, F.pad(x, (0, 0, 0, 1, 0, 1)))


class DoubleSize(nn.Module):
    """Repeat every pixel 2 x 2, then convolve 3 x 3.

    The nine taps of a pixel fall on four different ones of the small picture, so each of the four places in a
    cell is a convolution 2 x 2 of the small picture: the same numbers from less than half of the products.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t height width d"]:
        b, t, h, w, _ = x.shape
        padded = rearrange(F.pad(x, (0, 0, 1, 1, 1, 1)), "b t h w c -> (b t) c h w")
        rows = [_added_taps(self.conv.weight, 2, place) for place in range(2)]
        enlarged = x.new_empty(b * t, h, 2, w, 2, self.conv.out_channels)
        for p in range(2):
            for q in range(2):
                kernel = _added_taps(rows[p], 3, q).contiguous(memory_format=torch.channels_last)
                part = padded[:, :, p : p + h + 1, q : q + w + 1]
                enlarged[:, :, p, :, q] = F.conv2d(part, kernel, self.conv.bias).movedim(1, -1)
        return enlarged.view(b, t, 2 * h, 2 * w, -1)


def _added_taps(kernel: Float[Tensor, "d c y x"], axis: int, place: int) -> Float[Tensor, "d c yy xx"]:
    """Add the two of three taps along an axis that read the same pixel before it was repeated."""
    one, two, three = kernel.split(1, axis)
    return torch.cat([one, two + three] if place == 0 else [one + two, three], axis)


def _per_frame(conv: nn.Conv2d, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t height width d"]:
    pictures = conv(rearrange(x, "b t h w c -> (b t) c h w"))
    return rearrange(pictures, "(b t) d h w -> b t h w d", b=len(x))


def averaged(
    x: Float[Tensor, "b t h w c"], like: Float[Tensor, "b frames height width d"], *, frames: int
) -> Float[Tensor, "b frames height width d"]:
    """Fold cells of `x` into channels until it is as small as `like`, and average these to as many as it has.

    The first frame of a video is a group of `frames` frames by itself, the others are zeros.
    """
    side = x.shape[2] // like.shape[2]
    x = F.pad(x, (0, 0, 0, 0, 0, 0, like.shape[1] * frames - x.shape[1], 0))
    folded = rearrange(x, "b (t s) (h p) (w q) c -> b t h w (c s p q)", s=frames, p=side, q=side)
    return reduce(folded, "b t h w (d g) -> b t h w d", "mean", d=like.shape[-1])


def repeated(
    x: Float[Tensor, "b t h w c"],
    like: Float[Tensor, "b frames height width d"],
    *,
    frames: int,
    starts: bool,
) -> Float[Tensor, "b frames height width d"]:
    """Repeat channels of `x` until unfolding them gives the size of `like`.

    Of the `frames` frames that the first of a video becomes, the last stays.
    """
    side = like.shape[2] // x.shape[2]
    times = like.shape[-1] * frames * side * side // x.shape[-1]
    x = repeat(x, "b t h w c -> b t h w (c g)", g=times)
    unfolded = rearrange(x, "b t h w (d s p q) -> b (t s) (h p) (w q) d", s=frames, p=side, q=side)
    return unfolded[:, frames - 1 :] if starts else unfolded
