"""Causal layers for video that can stream: memory goes in, memory comes out, nothing is hidden in a module.

They compute what the 2-D blocks of TAEHV compute (github.com/madebyollin/taehv): a convolution over the
current and the previous frame stacked in channels is a convolution two frames long, and neighbouring linear
layers are one.

Activations are `b t h w c`: convolutions, sums and changes of frame rate all read contiguous channels. In
bf16 on a CPU, stacking two frames in `b c t h w` alone cost as much as the convolution that followed.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Memory = tuple[Tensor, ...]
"""The last input frame, `b 1 h w c`, of every memory block of a stack, in order: all that a stream keeps."""


class Convolution(nn.Module):
    """Convolve `b t h w c` with a window of `frames` x 3 x 3, padded with zeros in space and not in time."""

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        frames: int = 1,
        stride: tuple[int, int, int] = (1, 1, 1),
        bias: bool = True,
    ):
        super().__init__()
        kernel = (frames, 3, 3)
        self.conv = nn.Conv3d(channels, width, kernel, stride=stride, padding=(0, 1, 1), bias=bias)
        self.conv.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b frames height width d"]:
        return convolved(self.conv, x.movedim(-1, 1)).movedim(1, -1)


def convolved(conv: nn.Conv3d, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d frames height width"]:
    """Apply a convolution, by oneDNN's kernel where there is a choice.

    Left alone, torch writes out every window of small inputs in float32 on a CPU: 27 times the memory, and
    on a Zen 5 two thirds of the speed.
    """
    if not _is_for_onednn(x):
        return conv(x)
    weight, padding = conv.weight, [int(each) for each in conv.padding]
    return torch.mkldnn_convolution(x, weight, conv.bias, padding, conv.stride, conv.dilation, conv.groups)


def _is_for_onednn(x: Tensor) -> bool:
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    bfloat16 = x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.backends.mkldnn.is_available() and (x.dtype == torch.float32 or bfloat16)


class MemoryBlock(nn.Module):
    """Residual block of `depth` convolutions; the first also sees the frame before, zeros at the start."""

    def __init__(self, width: int, *, depth: int):
        super().__init__()
        self.mix = Convolution(width, width, frames=2)
        self.rest = nn.ModuleList(Convolution(width, width) for _ in range(depth - 1))

    def forward(
        self, x: Float[Tensor, "b t h w c"], past: Float[Tensor, "b 1 h w c"] | None
    ) -> Float[Tensor, "b t h w c"]:
        past = torch.zeros_like(x[:, :1]) if past is None else past
        branch = self.mix(torch.cat([past, x], dim=1))
        for convolution in self.rest:
            branch = convolution(F.relu(branch, inplace=True))
        return F.relu(branch + x, inplace=True)


class Shrink(nn.Module):
    """Merge every `frames` frames into one and halve height and width; t must be a multiple of `frames`."""

    def __init__(self, channels: int, width: int, *, frames: int):
        super().__init__()
        self.merge = Convolution(channels, width, frames=frames, stride=(frames, 2, 2), bias=False)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b frames height width d"]:
        return self.merge(x)


class Grow(nn.Module):
    """Turn every frame into `frames` frames of twice the height and width.

    All new pixels of a cell come from one convolution at the old size, which costs as many operations as
    enlarging by repetition and convolving afterwards, can do more, and spares the traffic of the enlarged
    activations.
    """

    def __init__(self, channels: int, width: int, *, frames: int):
        super().__init__()
        self.frames = frames
        self.split = Convolution(channels, frames * 4 * width, bias=False)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b frames height width d"]:
        return rearrange(self.split(x), "b t h w (s p q d) -> b (t s) (h p) (w q) d", s=self.frames, p=2, q=2)


def run(
    layers: Iterable[nn.Module], x: Float[Tensor, "b t h w c"], memory: Memory | None
) -> tuple[Float[Tensor, "b frames height width d"], Memory]:
    """Apply a stack of layers to the next frames of a stream and its memory; return output and new memory.

    `None` starts a stream. Cutting a video anywhere that the layers' changes of frame rate allow and running
    the pieces one after the other gives what running it whole gives.
    """
    before = None if memory is None else iter(memory)
    after: list[Tensor] = []
    for layer in layers:
        if isinstance(layer, MemoryBlock):
            after.append(x[:, -1:].clone())
            x = layer(x, None if before is None else next(before))
        else:
            x = layer(x)
    return x, tuple(after)
