from pathlib import Path

import pytest
import tiny_wan
import torch

from unstatic.core.errors import InputError
from unstatic.models.experts import Experts
from unstatic.models.manifest import find_model, open_model
from unstatic.models.parts import load_parts, part_files


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
