from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F

from unstatic.nn.causal import Convolution, Grow, MemoryBlock, Shrink, run

Block = TypeVar("Block", bound=torch.nn.Module)


def randomised(module: Block) -> Block:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module


def frames(t: int, channels: int = 4, size: int = 4) -> torch.Tensor:
    return torch.randn(2, t, size, size, channels, generator=torch.Generator().manual_seed(t))


def test_convolution_is_a_2d_convolution_of_every_frame():
    layer = Convolution(4, 6)
    x = frames(3)
    expected = [
        F.conv2d(x[:, i].movedim(-1, 1), layer.conv.weight[:, :, 0], layer.conv.bias, padding=1)
        for i in range(3)
    ]
    torch.testing.assert_close(layer(x), torch.stack(expected, dim=1).movedim(2, -1), atol=1e-5, rtol=0)


def test_memory_block_sees_current_and_previous_frame_stacked_in_channels():
    block = randomised(MemoryBlock(4, depth=1))
    x = frames(3)
    past = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:, :3]
    stacked = torch.cat([past, x], dim=-1).flatten(0, 1).movedim(-1, 1)
    weight = block.mix.conv.weight.transpose(1, 2).flatten(1, 2)
    branch = F.conv2d(stacked, weight, block.mix.conv.bias, padding=1).movedim(1, -1).unflatten(0, (2, 3))
    torch.testing.assert_close(block(x, None), F.relu(branch + x), atol=1e-5, rtol=0)


def test_memory_block_takes_the_past_it_is_given():
    block = randomised(MemoryBlock(4, depth=2))
    x = frames(3)
    torch.testing.assert_close(block(x, None)[:, 1:], block(x[:, 1:], x[:, :1]), atol=1e-5, rtol=0)
    assert not torch.allclose(block(x, None)[:, 1], block(x[:, 1:], None)[:, 0])


@pytest.mark.parametrize("merged", [1, 2, 4])
def test_shrink_reads_only_its_own_group(merged: int):
    layer = Shrink(4, 6, frames=merged)
    x = frames(2 * merged)
    y = layer(x)
    assert y.shape == (2, 2, 2, 2, 6)
    torch.testing.assert_close(y[:, 1:], layer(x[:, merged:]), atol=1e-5, rtol=0)


def test_shrink_and_grow_with_several_frames_fill_each_place_from_its_own_channels():
    layer = Grow(4, 3, frames=2)
    x = frames(2)
    y = layer(x)
    assert y.shape == (2, 4, 8, 8, 3)

    # The second frame's lower right pixels come from the last quarter of the second half of the channels
    split = layer.split(x)
    assert torch.equal(y[:, 1::2, 1::2, 1::2], split[..., -3:])
    assert torch.equal(y[:, ::2, ::2, ::2], split[..., :3])


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1, 1), (4, 2), (1, 4, 1), (6,)])
def test_pieces_of_a_stream_equal_the_whole(cuts: tuple[int, ...]):
    layers = [randomised(MemoryBlock(4, depth=2)), Grow(4, 4, frames=2), randomised(MemoryBlock(4, depth=3))]
    x = frames(6)
    whole, _ = run(layers, x, None)

    pieces, memory = [], None
    for piece in x.split(cuts, dim=1):
        y, memory = run(layers, piece, memory)
        pieces.append(y)

    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=0)


def test_memory_is_one_frame_per_block_however_long_the_stream():
    layers = [MemoryBlock(4, depth=2), Grow(4, 4, frames=2), MemoryBlock(4, depth=2)]
    _, short = run(layers, frames(1), None)
    _, long = run(layers, frames(9), None)
    assert [m.shape for m in short] == [m.shape for m in long] == [(2, 1, 4, 4, 4), (2, 1, 8, 8, 4)]
