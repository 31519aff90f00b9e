"""Weights as they are published: one file or many, and what is refused."""

import json
from pathlib import Path

import deep_wan
import pytest
import tiny_wan
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from unstatic.core.errors import InputError
from unstatic.models.fitting import Fitting
from unstatic.models.open_weights import load_autoencoder, load_transformer, transformer_config
from unstatic.models.wan_keys import from_wan
from unstatic.models.weight_files import weight_files

ONLY = "diffusion_pytorch_model.safetensors"
INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_wan.saved("2.1", tmp_path)


def cut_in_two(part: Path) -> None:
    """Save the weights of a part as its publishers save large ones."""
    state = load_file(part / ONLY)
    (part / ONLY).unlink()
    names = sorted(state)
    where = {name: f"model-0000{1 + (number % 2)}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: state[name] for name in names if where[name] == file}, part / file)
    (part / INDEX).write_text(json.dumps({"weight_map": where}))


def test_two_files_are_as_good_as_one(folder: Path) -> None:
    whole = load_transformer(folder / "transformer", torch.float32).state_dict()
    cut_in_two(folder / "transformer")
    halves = load_transformer(folder / "transformer", torch.float32).state_dict()
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_weights_come_in_the_dtype_asked_for(folder: Path) -> None:
    assert load_autoencoder(folder / "vae", torch.bfloat16).dtype == torch.bfloat16
    published = {name: torch.empty(()) for name in tiny_wan.pipeline("2.1").transformer.state_dict()}
    small = from_wan({name: tensor for name, tensor in published.items() if tiny_wan.is_small(name)}).keys()
    for name, each in load_transformer(folder / "transformer", torch.float16).named_parameters():
        assert each.dtype == (torch.float32 if name in small else torch.float16)
    assert len(small) == 4 + 1 + 2 * (1 + 4 + 2), "how levels are told, the head's table, and of every block"


BETTER = 1.05  # times the error of diffusers; that was 1.16 when everything was in bfloat16


def in_bfloat16(model: WanTransformer3DModel) -> WanTransformer3DModel:
    """Keep in float32 what diffusers keeps when it loads a model (that needs the package accelerate)."""
    for name, parameter in model.named_parameters():
        if set(model._keep_in_fp32_modules).isdisjoint(name.split(".")):
            parameter.data = parameter.data.bfloat16()
    return model


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("sees", [False, True])
def test_bfloat16_is_as_near_to_float32_as_that_of_diffusers(
    sees: bool, prepare: bool, tmp_path: Path
) -> None:
    def draw(*shape: int, seed: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
        both = zip(found, exact, strict=True)
        return sum(float((one.float() - other).norm() / other.norm()) for one, other in both)

    made = deep_wan.made(seeing=10 if sees else None)
    made.save_pretrained(tmp_path)
    latent, words, seen = draw(2, 4, 5, 16, 16, seed=1), draw(2, 512, 16, seed=2), draw(1, 5, 10, seed=3)
    levels = (0.95, 0.5, 0.1)

    @torch.inference_mode()
    def ours(dtype: torch.dtype) -> list[torch.Tensor]:
        model = load_transformer(tmp_path, dtype, Fitting(prepare=prepare))
        text = model.encode_text(words, seen if sees else None)
        return [model(latent, torch.full((2, 5), level), text).prediction for level in levels]

    @torch.inference_mode()
    def theirs(dtype: torch.dtype) -> list[torch.Tensor]:
        shown = seen.expand(2, -1, -1).to(dtype) if sees else None
        given = latent.to(dtype), words.to(dtype), shown
        steps = [torch.full((2,), 1000 * level) for level in levels]
        return [made(given[0], step, given[1], given[2]).sample for step in steps]

    exact = theirs(torch.float32)
    in_bfloat16(made)
    assert 0 < error(ours(torch.bfloat16), exact) <= BETTER * error(theirs(torch.bfloat16), exact)


def test_a_norm_that_nothing_passes_through_is_passed_over(tmp_path: Path) -> None:
    """Published I2V models of 2.1 hold one in every block, which their code does not read."""
    part = tiny_wan.saved(tiny_wan.SEEN, tmp_path) / "transformer"
    expected = load_transformer(part, torch.float32).state_dict()
    state = load_file(part / ONLY) | {"blocks.0.attn2.norm_added_q.weight": torch.ones(256)}
    save_file(state, part / ONLY)
    found = load_transformer(part, torch.float32).state_dict()
    assert found.keys() == expected.keys()
    (part / "config.json").unlink()
    assert transformer_config(part).picture_width == tiny_wan.CLIP_WIDTH


def test_a_file_that_is_missing_or_lies_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    part = folder / "transformer"
    cut_in_two(part)
    index = json.loads((part / INDEX).read_text())
    (tmp_path / "outside.safetensors").write_bytes((part / "model-00001-of-00002.safetensors").read_bytes())
    elsewhere = {"weight_map": index["weight_map"] | {"patch_embedding.weight": "../../outside.safetensors"}}
    (part / INDEX).write_text(json.dumps(elsewhere))
    with pytest.raises(InputError, match=r"outside\.safetensors is missing"):
        weight_files(part)
    for wrong in (None, [], {"patch_embedding.weight": 3}):
        (part / INDEX).write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(InputError, match="names no files: pull the model again"):
            weight_files(part)
    (part / INDEX).write_text(json.dumps(index))
    (part / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002\.safetensors is missing: pull"):
        load_transformer(part, torch.float32)
    (part / INDEX).unlink()
    (part / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="there are no weights in"):
        weight_files(part)


def test_damaged_files_are_refused(folder: Path) -> None:
    file = folder / "vae" / ONLY
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_autoencoder(folder / "vae", torch.float32)
    file.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_autoencoder(folder / "vae", torch.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ffn_dim": 48}, "has another shape"),
        ({"num_layers": 3}, "see weight 'blocks.2"),
        ({"image_dim": 1280}, "see weight 'blocks.0.text_attention.pictures.key.bias'"),
        ({"qk_norm": "layer_norm"}, "normalised otherwise"),
        ({"attention_head_dim": 13}, "must be a multiple of twice the heads"),
    ],
)
def test_weights_that_do_not_fit_their_config_are_refused(
    folder: Path, change: dict[str, object], said: str
) -> None:
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said):
        load_transformer(folder / "transformer", torch.float32)


def test_a_config_that_says_too_little_is_refused(folder: Path) -> None:
    path = folder / "transformer" / "config.json"
    fields = json.loads(path.read_text())
    del fields["freq_dim"]
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match="does not say 'freq_dim'"):
        transformer_config(folder / "transformer")
    vae = folder / "vae" / "config.json"
    vae.write_text(json.dumps(json.loads(vae.read_text()) | {"attn_scales": [0.5]}))
    with pytest.raises(InputError, match="attention in its stages"):
        load_autoencoder(folder / "vae", torch.float32)
