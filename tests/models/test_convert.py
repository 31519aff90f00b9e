"""Weights as Wan and ComfyUI publish them make the films that diffusers' folder makes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import self_forcing
import tiny_wan
import torch
from safetensors.torch import load_file, save_file
from tiny_taehv import published

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.native import load_native
from unstatic.generate.request import Request, plan
from unstatic.generate.stream import Chunk
from unstatic.models.convert import Sources, convert, sources_of
from unstatic.models.manifest import Window, open_model
from unstatic.models.taehv_keys import TAEW2_1, TAEW2_2


def film(folder: Path) -> torch.Tensor:
    """Sample a still, or a short film of pictures, with the same settings for every model."""
    engine = load_native(open_model(folder), device="cpu", dtype=torch.float32)
    grey = np.full((64, 64, 3), 90, np.uint8)
    given = {"start": ("image",), "ends": ("image", "last_image")}.get(engine.manifest.given, ())
    pictures, seconds = dict.fromkeys(given, grey), 5 / 16 if given else 0  # a picture is a frame
    asked = Request(prompt="a red ball", seconds=seconds, steps=2, guidance=4.0, **pictures)
    made = plan(asked, replace(engine.manifest, sizes=(Size(64, 64),)))
    object.__setattr__(made, "finish", tiny_wan.small(made.finish))
    (latent,) = [event.latent for event in engine.denoise(made) if isinstance(event, Chunk)]
    return latent.detach()


@pytest.fixture
def named(tmp_path: Path) -> dict[str, Path]:
    """Return the single files of Wan's original names."""
    folder = tmp_path / "files"
    folder.mkdir()
    save_file(tiny_wan.original_autoencoder(), folder / "wan_2.1_vae.safetensors")
    save_file(tiny_wan.original_text_encoder(), folder / "umt5_xxl.safetensors")
    tiny_wan.pipeline("2.1").tokenizer.save_pretrained(folder)
    return {
        "autoencoder": folder / "wan_2.1_vae.safetensors",
        "text_encoder": folder / "umt5_xxl.safetensors",
        "tokenizer": folder,
    }


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_of_wans_own_layout(copy: bool, tmp_path: Path, named: dict[str, Path]) -> None:
    expected = film(tiny_wan.saved("2.1", tmp_path))
    folder = tiny_wan.saved_as_original("2.1", tmp_path / "Wan2.1-T2V")
    manifest = convert(sources_of(folder, **named), tmp_path / "mine", copy=copy)
    assert manifest == open_model(tmp_path / "mine").manifest
    assert (manifest.name, manifest.given, manifest.defaults.shift) == ("mine", "nothing", 8.0)
    where = tmp_path / "mine" / "vae" / "wan_2.1_vae.safetensors"
    assert where.is_symlink() is not copy
    torch.testing.assert_close(film(tmp_path / "mine"), expected, atol=1e-5, rtol=1e-5)


def test_a_pair_of_wans_own_layout(tmp_path: Path, named: dict[str, Path]) -> None:
    folder = tiny_wan.saved_as_original("2.2-14b", tmp_path / "Wan2.2-T2V-A14B")
    manifest = convert(sources_of(folder, **named), tmp_path / "pair")
    assert (manifest.boundary, manifest.defaults.shift) == (0.875, 12.0)
    assert film(tmp_path / "pair").isfinite().all()


@pytest.mark.parametrize(("kind", "given"), [(tiny_wan.SEEN, "start"), (tiny_wan.BOTH_SEEN, "ends")])
@pytest.mark.parametrize("single", [False, True])
def test_a_model_that_sees_pictures(
    kind: str, given: str, single: bool, tmp_path: Path, named: dict[str, Path]
) -> None:
    """Of Wan's own layout or in a single file, with CLIP as transformers has it."""
    theirs, others = tiny_wan.saved(kind, tmp_path), tiny_wan.saved("2.1", tmp_path)
    for part in ("vae", "text_encoder"):  # those that are named
        shutil.copytree(others / part, theirs / part, dirs_exist_ok=True)
    expected, encoder = film(theirs), theirs / "image_encoder"
    folder = tiny_wan.saved_as_original(kind, tmp_path / "Wan2.1-I2V")
    (folder / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth").write_bytes(b"\x80\x04.")
    file = tmp_path / "wan2.1_i2v.safetensors"
    save_file(tiny_wan.single_file(kind), file)

    def sources(image_encoder: Path | None) -> Sources:
        where = sources_of(transformer=file, **named) if single else sources_of(folder, **named)
        return replace(where, image_encoder=image_encoder)

    said = r"is missing: name a folder of transformers with --image-encoder \(models_clip_\*\.pth is a pickle"
    with pytest.raises(InputError, match=said):
        convert(sources(None), tmp_path / "mine")
    with pytest.raises(InputError, match="others may run code"):
        convert(
            sources(folder / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"), tmp_path / "mine"
        )
    manifest = convert(sources(encoder), tmp_path / "mine")
    assert manifest == open_model(tmp_path / "mine").manifest
    assert manifest.given == given
    torch.testing.assert_close(film(tmp_path / "mine"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fp8", [False, True])
def test_single_files_of_comfyui(fp8: bool, tmp_path: Path, named: dict[str, Path]) -> None:
    expected = film(tiny_wan.saved("2.1", tmp_path))
    file = tmp_path / "wan2.1_t2v.safetensors"
    save_file(tiny_wan.single_file("2.1", fp8=fp8), file)
    convert(sources_of(transformer=file, **named), tmp_path / "single")
    found = film(tmp_path / "single")
    if not fp8:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        return
    error = (found - expected).square().mean() / expected.var()
    assert 1e-8 < float(error) < 0.05, "rounded, and recognisable"


def as_wrapped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name weights as Self-Forcing's checkpoints do, which hold the critic and the last student too."""
    found = {f"generator_ema.model.{name}": tensor for name, tensor in state.items()}
    return found | {
        f"{part}.model.{name}": state[name] * 0 for part in ("generator", "critic") for name in state
    }


@pytest.mark.parametrize("layout", ["comfyui", "self-forcing", "plain", "folder"])
def test_a_student_that_streams(layout: str, tmp_path: Path, named: dict[str, Path]) -> None:
    """Which one it is no weight tells: somebody says so, or its config does."""
    expected = film(self_forcing.saved(tmp_path))
    file, plain = (
        tmp_path / "student.safetensors",
        tiny_wan.original_transformer(tiny_wan.pipeline("2.1").transformer),
    )
    if layout == "folder":
        folder = tiny_wan.saved_as_original("2.1", tmp_path / "Causal")
        fields = json.loads((folder / "config.json").read_text()) | {"_class_name": "CausalWanModel"}
        (folder / "config.json").write_text(json.dumps(fields | {"local_attn_size": -1, "sink_size": 0}))
        sources = sources_of(folder, **named)
    else:
        states = {"comfyui": tiny_wan.single_file("2.1"), "self-forcing": as_wrapped(plain), "plain": plain}
        save_file(states[layout], file)
        sources = sources_of(transformer=file, chunk=3, **named)
    manifest = convert(sources, tmp_path / "student")
    assert manifest == open_model(tmp_path / "student").manifest
    assert (manifest.chunk, manifest.window, manifest.defaults.solver) == (3, Window(first=3), "consistency")
    torch.testing.assert_close(film(tmp_path / "student"), expected, atol=1e-5, rtol=1e-5)
    assert expected.shape[2] == 3


@pytest.mark.parametrize("left_out", [False, True])
def test_a_tiny_decoder_makes_films_where_there_is_no_autoencoder(
    left_out: bool, tmp_path: Path, named: dict[str, Path]
) -> None:
    file, tiny = tmp_path / "wan2.1_t2v.safetensors", tmp_path / "taew2_1.safetensors"
    save_file(tiny_wan.single_file("2.1"), file)
    save_file(published(TAEW2_1), tiny)
    parts = named | ({"autoencoder": None} if left_out else {})
    manifest = convert(sources_of(transformer=file, tiny=tiny, **parts), tmp_path / "new")
    assert manifest == open_model(tmp_path / "new").manifest
    assert (manifest.tiny, manifest.compression.space) == ("films" if left_out else "previews", 8)
    assert film(tmp_path / "new").isfinite().all()
    save_file(published(TAEW2_2), tiny)
    with pytest.raises(InputError, match="latents of 16 channels, the autoencoder of 48"):
        convert(sources_of(transformer=file, tiny=tiny, **parts), tmp_path / "other")


def test_a_student_is_refused_in_one_line(tmp_path: Path, named: dict[str, Path]) -> None:
    pickled, file = tmp_path / "self_forcing_dmd.pt", tmp_path / "one.safetensors"
    pickled.write_bytes(b"\x80\x04.")
    save_file(tiny_wan.single_file("2.1"), file)
    wrong = {
        r"others may run code: take that instead, or make it so \(docs/reference/wan\.md\)": (pickled, 3),
        "cuts a chunk of 5 in two": (file, 5),
        "one frame in a chunk": (file, 0),
    }
    for said, (transformer, chunk) in wrong.items():
        with pytest.raises(InputError, match=said):
            convert(sources_of(transformer=transformer, chunk=chunk, **named), tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_what_is_missing_or_wrong_is_said_and_nothing_is_left(tmp_path: Path, named: dict[str, Path]) -> None:
    target = tmp_path / "new"
    with pytest.raises(InputError, match="the text encoder is missing: name it with --text-encoder"):
        sources_of(tmp_path, **(named | {"text_encoder": None}))
    pickled = tmp_path / "models_t5.pth"
    pickled.write_bytes(b"\x80\x04.")
    file = tmp_path / "one.safetensors"
    save_file(tiny_wan.single_file("2.1"), file)
    wrong = {
        "no safetensors file, and others may run code": named | {"text_encoder": pickled},
        "not the weights of a Wan autoencoder": named | {"autoencoder": named["text_encoder"]},
        "has no place in a UMT5 encoder": named | {"text_encoder": named["autoencoder"]},
        r"there is no .*tokenizer\.json": named | {"tokenizer": tmp_path},
        "there is no .*nowhere: check the name": named | {"autoencoder": tmp_path / "nowhere"},
    }
    for said, parts in wrong.items():
        with pytest.raises(InputError, match=said):
            convert(Sources(transformer=file, **parts), target)
        assert not target.exists()
        assert not [each for each in tmp_path.iterdir() if "unfinished" in each.name]
    other = tmp_path / "vae48.safetensors"
    save_file(tiny_wan.original_autoencoder("2.2-5b"), other)
    with pytest.raises(InputError, match="latents of 16 channels, the autoencoder of 48"):
        convert(Sources(transformer=file, **(named | {"autoencoder": other})), target)
    target.mkdir()
    with pytest.raises(InputError, match="exists: choose another name"):
        convert(Sources(transformer=file, **named), target)
    assert load_file(file), "sources stay"
