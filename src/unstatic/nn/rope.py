"""Rotary positions in time, height and width (RoPE, 2104.09864), split over a head's channels as Wan does.

A rotation is kept as unit complex numbers, one per pair of channels (2i, 2i + 1), which turns by the angle
position * THETA ** (-2i / channels of its axis). Rotations compose: a key that was rotated for (time 0, row,
column) can be turned to any time later.
"""

import torch
from jaxtyping import Complex64, Float32, Float64
from torch import Tensor

THETA = 10_000.0


def axis_channels(head_width: int) -> tuple[int, int, int]:
    """Return how many channels of a head turn with time, row and column; time takes what is left over."""
    space = 2 * (head_width // 6)
    return head_width - 2 * space, space, space


def frequencies(channels: int) -> Float64[Tensor, "f"]:
    """Return the angle in radians by which one step of position turns each pair of channels."""
    return THETA ** -(torch.arange(0, channels, 2, dtype=torch.float64) / channels)


def grid_rotation(
    times: Float64[Tensor, "t"], height: int, width: int, head_width: int, device: torch.device
) -> Complex64[Tensor, "n f"]:
    """Rotate every token of a grid by its time, row and column; frames come first, then rows.

    `times` are on the CPU, where angles are formed in float64: at time 10,000 float32 is off by up to 5e-4.
    """
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in (height, width))
    per_axis = zip((times, rows, columns), axis_channels(head_width), strict=True)
    time, row, column = (
        unit(torch.outer(places, frequencies(channels))).to(device) for places, channels in per_axis
    )
    grid = (len(times), height, width, -1)
    parts = (time[:, None, None].expand(grid), row[None, :, None].expand(grid), column.expand(grid))
    return torch.cat(parts, -1).flatten(0, 2)


def time_rotation(
    times: Float64[Tensor, "b n"], head_width: int, device: torch.device
) -> Complex64[Tensor, "b n f"]:
    """Rotate tokens by a time alone; rows and columns stay as they are. `times` are on the CPU."""
    time = frequencies(axis_channels(head_width)[0])
    still = torch.zeros(head_width // 2 - len(time), dtype=torch.float64)
    return unit(times[..., None] * torch.cat((time, still))).to(device)


def unit(angle: Float64[Tensor, "*n"]) -> Complex64[Tensor, "*n"]:
    """Return exp(i angle)."""
    return torch.complex(angle.cos(), angle.sin()).to(torch.complex64)


def rotate(tokens: Float32[Tensor, "*n e"], rotation: Complex64[Tensor, "*#n f"]) -> Float32[Tensor, "*n e"]:
    """Turn queries or keys by their positions; a product of the two then sees only the difference."""
    if torch.compiler.is_compiling():
        return _rotate_real(tokens, rotation)
    pairs = torch.view_as_complex(tokens.view(*tokens.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation).flatten(-2)


def _rotate_real(
    tokens: Float32[Tensor, "*n e"], rotation: Complex64[Tensor, "*#n f"]
) -> Float32[Tensor, "*n e"]:
    """Compute `rotate` without complex products, which torch's compiler cannot fuse with anything."""
    cosine, sine = torch.view_as_real(rotation).unbind(-1)
    even, odd = tokens.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)
