from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_autoencoder import SMALL_AUTOENCODER
from weights_difference import apply_difference, write_difference

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.weights import load_state, save_model

CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, width=24, depth=2, heads=2, ffn_width=48, text_width=8, chunk=2
)


def saved(folder: Path, *, moved: float = 0.0, config: TransformerConfig = CONFIG) -> Path:
    model = VideoTransformer(config, generator=generator("difference"))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            source = generator("moved", number)
            parameter.add_(torch.randn(parameter.shape, generator=source), alpha=moved)
    folder.mkdir(exist_ok=True)
    path = folder / "transformer.safetensors"
    save_model(path, model, config, "transformer")
    return path


@pytest.mark.parametrize("moved", [0.0, 1e-3, 100.0])
def test_what_was_written_comes_back_to_the_byte(tmp_path: Path, moved: float):
    old, new = saved(tmp_path / "old"), saved(tmp_path / "new", moved=moved)
    file, again = tmp_path / "difference.xz", tmp_path / "again" / "transformer.safetensors"
    again.parent.mkdir()
    write_difference(old, new, file)
    apply_difference(old, file, again)
    assert again.read_bytes() == new.read_bytes()
    assert file.stat().st_size < (0.7 if moved < 1 else 1.1) * new.stat().st_size


def test_autoencoders_come_back_to_the_byte(tmp_path: Path):
    config = SMALL_AUTOENCODER
    model = TinyAutoencoder(config, generator=generator("difference"))
    old, new, again = (tmp_path / f"{name}.safetensors" for name in ("old", "new", "again"))
    save_model(old, model, config, "tiny_autoencoder")
    with torch.no_grad():
        next(model.decoder[-1].parameters()).mul_(1.1)
    save_model(new, model, config, "tiny_autoencoder")
    write_difference(old, new, tmp_path / "difference.xz")
    apply_difference(old, tmp_path / "difference.xz", again)
    assert again.read_bytes() == new.read_bytes() != old.read_bytes()


def test_networks_of_other_kinds_are_refused(tmp_path: Path):
    save_model(tmp_path / "old.safetensors", torch.nn.Linear(3, 2), CONFIG, "upscaler")
    with pytest.raises(InputError, match="transformer and tiny_autoencoder"):
        write_difference(tmp_path / "old.safetensors", tmp_path / "old.safetensors", tmp_path / "difference")


def test_a_difference_is_refused_by_other_weights(tmp_path: Path):
    old, new = saved(tmp_path / "old"), saved(tmp_path / "new", moved=1e-3)
    write_difference(old, new, tmp_path / "difference.xz")
    with pytest.raises(InputError, match="begins at " + load_state(old)[0].digest):
        apply_difference(new, tmp_path / "difference.xz", tmp_path / "transformer.safetensors")


def test_what_is_no_difference_is_refused(tmp_path: Path):
    old = saved(tmp_path / "old")
    with pytest.raises(InputError, match="no difference"):
        apply_difference(old, old, tmp_path / "transformer.safetensors")


def test_a_damaged_difference_is_refused_and_nothing_is_written(tmp_path: Path):
    old, new = saved(tmp_path / "old"), saved(tmp_path / "new", moved=1e-3)
    file, again = tmp_path / "difference.xz", tmp_path / "transformer.safetensors"
    write_difference(old, new, file)
    whole = file.read_bytes()
    for broken in (whole[:-100], whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]):
        file.write_bytes(broken)
        with pytest.raises(InputError, match="damaged"):
            apply_difference(old, file, again)
        assert not again.exists()


def test_another_network_is_refused(tmp_path: Path):
    old, new = saved(tmp_path / "old"), saved(tmp_path / "new", config=replace(CONFIG, depth=3))
    with pytest.raises(InputError, match="another network"):
        write_difference(old, new, tmp_path / "difference.xz")


def test_a_network_that_only_acts_otherwise_is_another(tmp_path: Path):
    old, new = saved(tmp_path / "old"), saved(tmp_path / "new", config=replace(CONFIG, chunk=4))
    with pytest.raises(InputError, match="another network"):
        write_difference(old, new, tmp_path / "difference.xz")
