import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_wan
import torch
from safetensors.torch import save_file
from tiny_taehv import published, with_tiny_decoder

from unstatic.core.errors import InputError
from unstatic.models.experts import Experts
from unstatic.models.manifest import find_model, open_model
from unstatic.models.parts import load_parts, part_files
from unstatic.models.taehv_keys import TAEW2_1
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.models.wan_autoencoder import WanAutoencoder


def test_a_shipped_model_has_two_parts_in_files_of_ours() -> None:
    files = part_files(find_model("nano"))
    assert list(files) == ["transformer", "autoencoder"]
    assert all(file.is_file() for each in files.values() for file in each)


def test_open_weights_have_a_folder_for_every_part(tmp_path: Path) -> None:
    model = open_model(tiny_wan.saved("2.2-14b", tmp_path))
    assert list(part_files(model)) == ["transformer", "transformer_2", "vae", "text_encoder"]
    parts = load_parts(model, torch.float32)
    assert isinstance(parts.transformer, Experts)
    assert parts.transformer.boundary == 0.875
    assert parts.text_encoder.width == parts.transformer.config.text_width
    (model.folder / "transformer_2" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="transformer_2"):
        load_parts(model, torch.float32)


def test_a_tiny_decoder_is_a_part(tmp_path: Path) -> None:
    model = open_model(with_tiny_decoder(tiny_wan.saved("2.1", tmp_path)))
    assert [*part_files(model)] == ["transformer", "vae", "tiny_decoder", "text_encoder"]
    parts = load_parts(model, torch.bfloat16)
    assert isinstance(parts.autoencoder, WanAutoencoder)
    assert parts.sketcher is not None
    assert parts.sketcher.dtype == torch.bfloat16
    plain = load_parts(open_model(tiny_wan.saved("2.1", tmp_path / "plain")), torch.bfloat16)
    assert plain.sketcher is None


def test_a_tiny_decoder_may_stand_for_the_autoencoder(tmp_path: Path) -> None:
    model = open_model(with_tiny_decoder(tiny_wan.saved("2.1", tmp_path)))
    model = replace(model, manifest=replace(model.manifest, tiny="films"))
    shutil.rmtree(model.folder / "vae")
    assert [*part_files(model)] == ["transformer", "tiny_decoder", "text_encoder"]
    parts = load_parts(model, torch.float32)
    assert isinstance(parts.autoencoder, TinyAutoencoder)
    assert parts.sketcher is None
    shutil.rmtree(model.folder / "tiny_decoder")
    with pytest.raises(InputError, match=r"has no tiny_decoder: put taew2_1\.safetensors there"):
        load_parts(model, torch.float32)


def test_other_weights_are_no_tiny_decoder(tmp_path: Path) -> None:
    folder = with_tiny_decoder(tiny_wan.saved("2.1", tmp_path), replace(TAEW2_1, latent_channels=4))
    with pytest.raises(InputError, match="is no tiny autoencoder of Wan's latents: take taew2_1"):
        load_parts(open_model(folder), torch.float32)
    save_file(published(TAEW2_1) | {"more": torch.ones(1)}, folder / "tiny_decoder" / "taew2_1.safetensors")
    assert load_parts(open_model(folder), torch.float32).sketcher is not None, "what is not read does no harm"
