"""Weights as they are published: one file or many, and what is refused."""

import json
from pathlib import Path

import pytest
import tiny_wan
import torch
from safetensors.torch import load_file, save_file

from unstatic.core.errors import InputError
from unstatic.models.open_weights import load_autoencoder, load_transformer, transformer_config
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
    assert {each.dtype for each in load_transformer(folder / "transformer", torch.float16).parameters()} == {
        torch.float16
    }


def test_a_file_that_is_missing_or_lies_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    part = folder / "transformer"
    cut_in_two(part)
    index = json.loads((part / INDEX).read_text())
    (tmp_path / "outside.safetensors").write_bytes((part / "model-00001-of-00002.safetensors").read_bytes())
    elsewhere = {"weight_map": index["weight_map"] | {"patch_embedding.weight": "../../outside.safetensors"}}
    (part / INDEX).write_text(json.dumps(elsewhere))
    with pytest.raises(InputError, match=r"outside\.safetensors is missing"):
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
        ({"image_dim": 1280}, "reads pictures by CLIP"),
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
