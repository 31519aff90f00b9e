"""What others put into files of weights: prefixes, scales, marks, pickles."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unstatic.core.errors import InputError
from unstatic.models.weight_files import is_weight, read_weights, shapes, without_prefix


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("rows", [False, True])
def test_scales_of_fp8_are_multiplied_out(ending: str, rows: bool, tmp_path: Path) -> None:
    weight = random(8, 16) * 3
    scale = (weight.abs().amax(1, keepdim=True) if rows else weight.abs().max()) / 448
    state = {
        "model.diffusion_model.blocks.0.ffn.0.weight": (weight / scale).to(torch.float8_e4m3fn),
        f"model.diffusion_model.blocks.0.ffn.0.{ending}": scale,
        "model.diffusion_model.blocks.0.ffn.0.scale_input": torch.tensor(1.0),
        "model.diffusion_model.blocks.0.ffn.0.bias": random(8).half(),
        "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn),
    }
    save_file(state, tmp_path / "one.safetensors")
    found = read_weights([tmp_path / "one.safetensors"], torch.float32)
    assert found.keys() == {"blocks.0.ffn.0.weight", "blocks.0.ffn.0.bias"}
    error = (found["blocks.0.ffn.0.weight"] - weight).abs() / scale
    assert float(error.max()) <= 16.1, "half of the widest step of e4m3"
    assert float(error.mean()) > 0
    assert found["blocks.0.ffn.0.bias"].dtype == torch.float32
    assert shapes([tmp_path / "one.safetensors"]) == {
        "blocks.0.ffn.0.weight": (8, 16),
        "blocks.0.ffn.0.bias": (8,),
    }


def test_a_scale_may_lie_in_another_file(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2, 2).to(torch.float8_e4m3fn)}, tmp_path / "1.safetensors")
    save_file({"a.scale_weight": torch.tensor([0.5])}, tmp_path / "2.safetensors")
    found = read_weights([tmp_path / "1.safetensors", tmp_path / "2.safetensors"], torch.bfloat16)
    assert torch.equal(found["a.weight"], torch.full((2, 2), 0.5, dtype=torch.bfloat16))


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "Wan2.1_VAE.pth"
    file.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(
        InputError, match=r"Wan2\.1_VAE\.pth is a pickle, which may run code: take the same as"
    ):
        read_weights([file], torch.float32)
    assert not Path("owned").exists()


def test_of_a_distillation_the_averaged_student_counts(tmp_path: Path) -> None:
    state = {
        f"{part}.model.blocks.0.x": torch.full((1,), value)
        for part, value in (("critic", 1.0), ("generator", 2.0), ("generator_ema", 3.0))
    }
    for left, value in (("generator_ema", 3.0), ("generator", 2.0)):
        save_file(state, tmp_path / "one.safetensors")
        found = read_weights([tmp_path / "one.safetensors"], torch.float32)
        assert {name: float(tensor) for name, tensor in found.items()} == {"blocks.0.x": value}
        del state[f"{left}.model.blocks.0.x"]


def test_names() -> None:
    assert without_prefix("generator.model.blocks.0.x") == without_prefix("model.blocks.0.x") == "blocks.0.x"
    assert without_prefix("model.diffusion_model.blocks.0.x") == "blocks.0.x"
    assert without_prefix("blocks.0.x") == "blocks.0.x"
    assert is_weight("blocks.0.modulation")
    assert not is_weight("spiece_model")
    assert not is_weight("blocks.0.q.scale_weight")
