"""Layers against the plain operations that they stand for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unstatic.nn.causal3d import (
    CausalConvolution,
    DoubleFrames,
    DoubleSize,
    HalveFrames,
    HalveSize,
    Norm,
    Stream,
    averaged,
    repeated,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def channels_first(x: Tensor) -> Tensor:
    return x.movedim(-1, 1)


def test_a_stream_hands_over_the_last_frames_and_begins_with_zeros() -> None:
    x, first = random(1, 3, 2, 2, 4), Stream(None)
    assert first.starts
    assert torch.equal(first.prepend(x, 2), torch.cat([torch.zeros(1, 2, 2, 2, 4), x], 1))
    second = Stream(first.memory)
    assert not second.starts
    assert torch.equal(second.prepend(x[:, :1], 2), torch.cat([x[:, 1:], x[:, :1]], 1))
    (kept,) = second.memory
    assert torch.equal(kept, torch.stack([x[:, 2], x[:, 0]], 1))


def test_a_norm_makes_cells_of_unit_root_mean_square_and_keeps_zeros() -> None:
    x = random(1, 1, 1, 2, 8)
    x[:, :, :, 1] = 0
    normed = Norm(8)(x).detach()
    assert normed[0, 0, 0, 0].square().mean().sqrt() == pytest.approx(1, abs=1e-5)
    assert torch.equal(normed[0, 0, 0, 1], torch.zeros(8))


def test_a_causal_convolution_pads_with_two_frames_before() -> None:
    layer, x = CausalConvolution(3, 5), random(2, 4, 5, 6, 3)
    padded = F.pad(channels_first(x), (1, 1, 1, 1, 2, 0))
    expected = F.conv3d(padded, layer.window.conv.weight, layer.window.conv.bias)
    torch.testing.assert_close(channels_first(layer(x, Stream(None))), expected)


def test_doubling_the_size_repeats_pixels_and_convolves() -> None:
    layer, x = DoubleSize(3, 5), random(2, 2, 4, 5, 3)
    pictures = channels_first(x.flatten(0, 1))
    expected = layer.conv(F.interpolate(pictures, scale_factor=2, mode="nearest-exact"))
    torch.testing.assert_close(channels_first(layer(x).flatten(0, 1)), expected)


def test_halving_the_size_sees_zeros_below_and_to_the_right() -> None:
    layer, x = HalveSize(3), random(1, 2, 4, 6, 3)
    expected = layer.conv(F.pad(channels_first(x.flatten(0, 1)), (0, 1, 0, 1)))
    assert expected.shape[-2:] == (2, 3)
    torch.testing.assert_close(channels_first(layer(x).flatten(0, 1)), expected)


@pytest.mark.parametrize("cuts", [(7,), (1, 6), (1, 2, 4), (3, 4)])
def test_halving_the_rate_keeps_the_first_frame(cuts: tuple[int, ...]) -> None:
    layer, x = HalveFrames(3), random(1, 7, 2, 2, 3)
    merged = layer.conv(channels_first(x)).movedim(1, -1)
    memory, found = None, []
    for piece in x.split(cuts, 1):
        stream = Stream(memory)
        found.append(layer(piece, stream))
        memory = stream.memory
    torch.testing.assert_close(torch.cat(found, 1), torch.cat([x[:, :1], merged], 1))


@pytest.mark.parametrize("cuts", [(4,), (1, 3), (1, 1, 1, 1), (2, 2)])
def test_doubling_the_rate_keeps_the_first_frame_and_does_not_see_it(cuts: tuple[int, ...]) -> None:
    layer, x = DoubleFrames(3), random(1, 4, 2, 2, 3)
    both = layer.conv(F.pad(channels_first(x[:, 1:]), (0, 0, 0, 0, 2, 0))).movedim(1, -1)
    doubled = both.unflatten(-1, (2, 3)).transpose(-2, -3).transpose(-3, -4).flatten(1, 2)
    memory, found = None, []
    for piece in x.split(cuts, 1):
        stream = Stream(memory)
        found.append(layer(piece, stream))
        memory = stream.memory
    torch.testing.assert_close(torch.cat(found, 1), torch.cat([x[:, :1], doubled], 1))


def test_shortcuts_average_and_repeat() -> None:
    """Of the frames of a group the first is filled up: zeros before it, only its last repetition after it."""
    x = random(1, 3, 4, 4, 2)
    small = averaged(x, torch.empty(1, 2, 2, 2, 16), frames=2)
    assert small.shape == (1, 2, 2, 2, 16)
    assert torch.equal(small[:, 0, ..., :4], torch.zeros(1, 2, 2, 4))
    assert small[0, 1, 0, 0, 0] == x[0, 1, 0, 0, 0]
    pooled = averaged(x, torch.empty(1, 3, 2, 2, 2), frames=1)
    torch.testing.assert_close(pooled, F.avg_pool3d(channels_first(x), (1, 2, 2)).movedim(1, -1))
    large = repeated(x, torch.empty(1, 5, 8, 8, 2), frames=2, starts=True)
    expected = x.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, 1:]
    assert torch.equal(large, expected)
    assert repeated(x, torch.empty(1, 6, 8, 8, 2), frames=2, starts=False).shape[1] == 6
