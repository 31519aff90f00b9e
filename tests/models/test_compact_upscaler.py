"""The compact upscaler: ncnn's files are read whole or refused; what learned nothing repeats pixels."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.models.compact_upscaler import CompactUpscaler, CompactUpscalerConfig, from_ncnn

CONFIG = CompactUpscalerConfig(factor=2, width=4, depth=3)


def a_network() -> CompactUpscaler:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CompactUpscaler(CONFIG).eval().requires_grad_(False)


def write_ncnn(folder: Path, network: CompactUpscaler, *, halves: bool) -> tuple[Path, Path]:
    """Write a network as ncnn does: lines of layers, and their numbers one after the other."""
    lines = ["7767517", "99 99", "Input data 0 1 data", "Split splitncnn_0 1 2 data a b"]
    blob = b""
    for layer in network.layers:
        if isinstance(layer, torch.nn.Conv2d):
            kernel = layer.weight.numpy().ravel()
            lines.append(
                f"Convolution Conv_1 1 1 a b 0={layer.out_channels} 1=3 11=3 2=1 4=1 5=1 6={kernel.size}"
            )
            numbers = kernel.astype(np.float16 if halves else np.float32).tobytes()
            blob += struct.pack("<I", 0x01306B47 if halves else 0) + numbers + b"\0" * (-len(numbers) % 4)
            blob += layer.bias.numpy().tobytes()
        else:
            lines.append(f"PReLU PRelu_2 1 1 b c 0={layer.weight.numel()}")
            blob += layer.weight.numpy().tobytes()
    lines += ["PixelShuffle DepthToSpace_3 1 1 c d 0=2", "Interp Resize_4 1 1 data e 0=1 1=2.0 2=2.0"]
    param, weights = folder / "net.param", folder / "net.bin"
    param.write_text("\n".join([*lines, "BinaryOp Add_5 2 1 d e out 0=0", ""]), encoding="ascii")
    weights.write_bytes(blob)
    return param, weights


@pytest.mark.parametrize("halves", [False, True])
def test_files_of_ncnn_come_back_as_the_network(tmp_path: Path, halves: bool):
    network = a_network()
    read = from_ncnn(*write_ncnn(tmp_path, network, halves=halves))
    assert read.config == CONFIG
    video = torch.rand((2, 3, 4, 9, 7)) * 2 - 1
    wanted = network(video)
    torch.testing.assert_close(read(video), wanted, atol=2e-3 if halves else 0, rtol=0)


def test_what_is_no_such_network_is_refused(tmp_path: Path):
    param, weights = write_ncnn(tmp_path, a_network(), halves=True)
    weights.write_bytes(weights.read_bytes() + b"more")
    with pytest.raises(InputError, match="is not a compact upscaler"):
        from_ncnn(param, weights)
    weights.write_bytes(struct.pack("<I", 7) + weights.read_bytes()[4:])
    with pytest.raises(InputError, match="of a kind 0x7"):
        from_ncnn(param, weights)


def test_frames_stand_for_themselves_and_a_network_that_adds_nothing_repeats_pixels():
    network, video = a_network(), torch.rand((1, 3, 3, 6, 5)) * 2 - 1
    whole = network(video)
    assert whole.shape == (1, 3, 3, 12, 10)
    for number in range(3):
        one = network(video[:, :, number : number + 1])
        torch.testing.assert_close(one[:, :, 0], whole[:, :, number], atol=1e-5, rtol=0)
    torch.nn.init.zeros_(network.layers[-1].weight)
    torch.nn.init.zeros_(network.layers[-1].bias)
    repeated = network(video)
    torch.testing.assert_close(repeated[..., ::2, 1::2], video, atol=1e-6, rtol=0)


def test_a_pixel_sees_no_farther_than_it_reaches():
    network, reach = a_network(), CONFIG.reach
    video = torch.zeros((1, 3, 1, 31, 31))
    spot = video.clone()
    spot[..., 15, 15] = 1
    changed = (network(spot) != network(video)).any(1)[0, 0].nonzero()
    assert changed.min() >= 2 * (15 - reach)
    assert changed.max() <= 2 * (15 + reach) + 1
