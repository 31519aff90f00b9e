"""Transformers that are put together block by block are those that are loaded whole."""

import gc
from pathlib import Path

import deep_wan
import pytest
import tiny_wan
import torch
from peak import peak_bytes
from safetensors.torch import save_file

from unstatic.core.errors import InputError
from unstatic.models.experts import Experts, chosen
from unstatic.models.fitting import Fit, Fitting
from unstatic.models.lora import Lora, read_lora
from unstatic.models.manifest import find_model, open_model
from unstatic.models.open_weights import load_transformer
from unstatic.models.parts import load_parts
from unstatic.models.residence import Visiting, from_memory
from unstatic.models.weights import count_parameters

OFFLOAD = Fit(offload=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deep_wan.saved(tmp_path_factory.mktemp("deep"))


@pytest.fixture
def lora(tmp_path: Path) -> Lora:
    """Return one that changes something in two blocks, and something outside of them."""
    generator, state = torch.Generator().manual_seed(2), {}
    for name, wide in (("blocks.2.ffn.0", 1024), ("blocks.7.self_attn.v", 256), ("time_projection.1", 1536)):
        state[f"diffusion_model.{name}.lora_down.weight"] = torch.randn(3, 256, generator=generator)
        state[f"diffusion_model.{name}.lora_up.weight"] = torch.randn(wide, 3, generator=generator) / 10
    save_file(state, tmp_path / "style.safetensors")
    return read_lora(tmp_path / "style.safetensors")


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("with_lora", [False, True])
def test_blocks_from_files_are_the_blocks(folder: Path, lora: Lora, prepare: bool, with_lora: bool) -> None:
    loras = ((lora, 0.7),) if with_lora else ()
    stay = load_transformer(folder, torch.float32, Fitting(loras=loras, prepare=prepare))
    visit = load_transformer(folder, torch.float32, Fitting(fit=OFFLOAD, loras=loras, prepare=prepare))
    assert isinstance(visit.blocks, Visiting)
    assert torch.equal(deep_wan.predicted(visit), deep_wan.predicted(stay))
    plain = deep_wan.predicted(load_transformer(folder, torch.float32))
    assert torch.allclose(deep_wan.predicted(stay), plain, atol=1e-3) != with_lora


def test_a_pass_takes_the_memory_of_some_blocks(folder: Path) -> None:
    """The file is mapped: once for the model, or for the block that is being read."""
    (file,) = folder.glob("*.safetensors")
    mapped, whole = file.stat().st_size, 2 * count_parameters([file])

    def load_and_pass(fit: Fit) -> int:
        gc.collect()
        return peak_bytes(
            lambda: deep_wan.predicted(load_transformer(folder, torch.bfloat16, Fitting(fit=fit)))
        )

    stay, visit = load_and_pass(Fit()), load_and_pass(OFFLOAD)
    assert stay - mapped >= whole
    assert visit - mapped < 0.6 * whole


def test_blocks_from_memory_are_the_blocks(folder: Path) -> None:
    model = load_transformer(folder, torch.float32)
    expected = deep_wan.predicted(model)
    model.set_submodule("blocks", from_memory(model.blocks, torch.device("cpu")))
    assert torch.equal(deep_wan.predicted(model), expected)


def test_a_lora_of_another_model_is_refused_before_anything_is_read(folder: Path, lora: Lora) -> None:
    change = lora.changes["blocks.2.mlp.up"]
    other = Lora(name="other", path=lora.path, changes={"blocks.9.mlp.up": change})
    for each in (other, Lora(name="other", path=lora.path, changes={"blocks.2.mlp.down": change})):
        with pytest.raises(InputError, match="otherwise than fits: it is for another model"):
            load_transformer(folder, torch.float32, Fitting(loras=((each, 1.0),), fit=OFFLOAD))


def test_each_of_a_pair_is_put_together_its_own_way(tmp_path: Path) -> None:
    model = open_model(tiny_wan.saved("2.2-14b", tmp_path))
    parts = load_parts(model, torch.float32, Fitting(fit=OFFLOAD), Fitting())
    assert isinstance(parts.transformer, Experts)
    early, late = chosen(parts.transformer)
    assert isinstance(early.blocks, Visiting)
    assert not isinstance(late.blocks, Visiting)


def test_our_own_files_are_read_as_a_whole() -> None:
    with pytest.raises(InputError, match="nano is read as a whole: leave --offload out"):
        load_parts(find_model("nano"), torch.float32, Fitting(fit=OFFLOAD))
    assert [str(Fit()), str(OFFLOAD)] == ["", "--offload"]
    assert str(Fit(quantise="int8", offload=True)) == "--quantise int8 --offload"
