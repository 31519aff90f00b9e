"""The whole way from a prompt to frames gives what diffusers' WanPipeline gives, from the same files."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny_wan
import torch
from peak import peak_bytes
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.engine import Frames
from unstatic.generate.native import NativeEngine, load_native
from unstatic.generate.request import Request, plan
from unstatic.generate.stream import Chunk
from unstatic.models.manifest import open_model

PROMPT, NEGATIVE = "a red ball&nbsp; bounces   on a mirror", "grey and still"
SIZE, FRAMES = Size(64, 64), 9


class Pair(NamedTuple):
    """A small random pipeline, in memory and in a folder."""

    pipeline: Any
    folder: Path


@pytest.fixture(scope="module", params=tiny_wan.KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    kind = request.param
    return Pair(tiny_wan.pipeline(kind), tiny_wan.saved(kind, tmp_path_factory.mktemp("open")))


def load(folder: Path) -> NativeEngine:
    return load_native(open_model(folder), device="cpu", dtype=torch.float32)


def draw_static(engine: NativeEngine, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Draw static, and let the engine begin with it."""
    channels = engine.transformer.config.out_channels
    width, height = engine.manifest.compression.latent_size(SIZE.width, SIZE.height)
    static = torch.randn(1, channels, 3, height, width, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(engine, "static_of_chunk", lambda _plan, start, stop: static[:, :, start:stop])
    return static


def ways(engine: NativeEngine, steps: int, static: Tensor) -> dict[str, Any]:
    """Say for diffusers how to sample, with the guidance that is ours by default."""
    defaults = engine.manifest.defaults
    return {
        "height": SIZE.height,
        "width": SIZE.width,
        "num_frames": FRAMES,
        "num_inference_steps": steps,
        "guidance_scale": defaults.guidance,
        "latents": static.clone(),
    } | ({"guidance_scale_2": defaults.late_guidance} if defaults.late_guidance else {})


def film(engine: NativeEngine, **options: Any) -> Tensor:
    request = Request(prompt=PROMPT, negative=NEGATIVE, seconds=FRAMES / engine.manifest.fps, **options)
    made = plan(request, replace(engine.manifest, sizes=(SIZE,)))
    (latent,) = [event.latent for event in engine.denoise(made) if isinstance(event, Chunk)]
    return latent


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_a_film_is_that_of_diffusers(pair: Pair, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pipeline = load(pair.folder), pair.pipeline
    asked = ways(engine, steps, draw_static(engine, monkeypatch))
    latent = film(engine, steps=steps)
    expected = pipeline(PROMPT, NEGATIVE, output_type="latent", **asked).frames
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=1e-4)

    pictures = pipeline(PROMPT, NEGATIVE, output_type="np", **asked).frames
    with torch.inference_mode():
        decoded = (engine.autoencoder.decode(latent) + 1) / 2
    assert pictures[0].std() > 0.01
    np.testing.assert_allclose(decoded[0].permute(1, 2, 3, 0).numpy(), pictures[0], atol=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_a_picture_beside_the_latent_is_that_of_diffusers(
    last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_frames: Any
) -> None:
    engine = load(tiny_wan.saved(tiny_wan.PICTURES, tmp_path))
    first, end = make_frames(2, 64, 64)
    asked = ways(engine, 2, draw_static(engine, monkeypatch)) | {"image": Image.fromarray(first)}
    ours = {"image": first} | ({"last_image": end} if last else {})
    theirs = {"last_image": Image.fromarray(end)} if last else {}
    pipeline = tiny_wan.pipeline(tiny_wan.PICTURES)
    expected = pipeline(
        prompt=PROMPT, negative_prompt=NEGATIVE, output_type="latent", **asked, **theirs
    ).frames
    torch.testing.assert_close(film(engine, steps=2, **ours), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="begins with a picture"):
        film(engine, steps=2)


@pytest.mark.parametrize("kind", [tiny_wan.SEEN, tiny_wan.BOTH_SEEN])
def test_pictures_that_clip_sees_are_those_of_diffusers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_frames: Any
) -> None:
    """The first picture, or the first and the last."""
    engine = load(tiny_wan.saved(kind, tmp_path))
    assert engine.manifest.engine == "native"
    pictures = make_frames(2, 64, 64)
    names = ("image", "last_image") if kind == tiny_wan.BOTH_SEEN else ("image",)
    ours = dict(zip(names, pictures, strict=False))
    theirs = {name: Image.fromarray(each) for name, each in ours.items()}
    asked = ways(engine, 2, draw_static(engine, monkeypatch)) | theirs
    pipeline = tiny_wan.pipeline(kind)
    expected = pipeline(prompt=PROMPT, negative_prompt=NEGATIVE, output_type="latent", **asked).frames
    latent = film(engine, steps=2, **ours)
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=1e-4)
    frames = pipeline(prompt=PROMPT, negative_prompt=NEGATIVE, output_type="np", **asked).frames[0]
    with torch.inference_mode():
        decoded = (engine.autoencoder.decode(latent) + 1) / 2
    np.testing.assert_allclose(decoded[0].permute(1, 2, 3, 0).numpy(), frames, atol=1e-4)

    # What CLIP sees matters, beside what stands beside the latent
    seen = engine.seen
    monkeypatch.setattr(engine, "seen", lambda plan: seen(plan) * 0)
    assert not torch.allclose(film(engine, steps=2, **ours), expected, atol=1e-2)


def test_pictures_that_a_model_has_not_learned_are_refused(tmp_path: Path, make_frames: Any) -> None:
    first, last = make_frames(2, 64, 64)
    for kind, pictures, said in (
        (tiny_wan.SEEN, {}, "begins with a picture: give it an image"),
        (tiny_wan.SEEN, {"image": first, "last_image": last}, "has not learned to end with a picture: leave"),
        (tiny_wan.BOTH_SEEN, {"image": first}, "goes from one picture to another: give it a last image too"),
    ):
        manifest = open_model(tiny_wan.saved(kind, tmp_path)).manifest
        with pytest.raises(InputError, match=said):
            plan(Request(prompt=PROMPT, **pictures), manifest)


def test_a_first_frame_that_is_clean_is_that_of_diffusers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_frames: Any
) -> None:
    engine = load(tiny_wan.saved("2.2-5b", tmp_path))
    (first,) = make_frames(1, 64, 64)
    asked = ways(engine, 4, draw_static(engine, monkeypatch)) | {"image": Image.fromarray(first)}
    pipeline = tiny_wan.with_pictures("2.2-5b")
    expected = pipeline(prompt=PROMPT, negative_prompt=NEGATIVE, output_type="latent", **asked).frames
    torch.testing.assert_close(film(engine, steps=4, image=first), expected, atol=1e-4, rtol=1e-4)


def test_words_matter(pair: Pair) -> None:
    """The comparison says something: another prompt makes another film."""
    engine = load(pair.folder)
    states = engine.text_encoder.encode([PROMPT, NEGATIVE]).states
    assert not torch.allclose(states[0], states[1], atol=0.1)
    assert states.shape == (2, 512, 16)


@torch.no_grad()
def test_a_film_with_a_lora_is_that_of_changed_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused and attached, in the style of diffusers, at a weight."""
    pipeline, folder = tiny_wan.pipeline("2.1"), tiny_wan.saved("2.1", tmp_path)
    query = pipeline.transformer.blocks[1].attn1.to_q
    down, up = torch.randn(4, 256), torch.randn(256, 4)
    name = "transformer.blocks.1.attn1.to_q"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / "style.safetensors")
    loras = (f"{tmp_path / 'style.safetensors'}@0.5",)

    plain = load(folder)
    asked = ways(plain, 2, draw_static(plain, monkeypatch))
    before = query.weight.clone()
    try:
        query.weight.add_(0.5 * up @ down)
        expected = pipeline(PROMPT, NEGATIVE, output_type="latent", **asked).frames
    finally:
        query.weight.copy_(before)
    for adaptable in (False, True):
        engine = load_native(
            open_model(folder), device="cpu", dtype=torch.float32, loras=loras, adaptable=adaptable
        )
        draw_static(engine, monkeypatch)
        torch.testing.assert_close(film(engine, steps=2), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(film(plain, steps=2), expected, atol=1e-2)


def test_frames_come_while_they_are_decoded_in_memory_that_does_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load(tiny_wan.saved("2.1", tmp_path))
    channels = engine.transformer.config.out_channels
    came: list[int] = []

    def decode(latent: Tensor) -> None:
        monkeypatch.setattr(engine, "denoise", lambda _: iter([Chunk(0, latent)]))
        frames = engine.manifest.compression.frames(latent.shape[2])
        made = plan(Request(prompt=PROMPT, seconds=frames / engine.manifest.fps), engine.manifest)
        with torch.inference_mode():  # where shapes are checked, generators lose theirs
            came[:] = [len(event.frames) for event in engine.stream(made) if isinstance(event, Frames)]

    short, long = (torch.zeros(1, channels, frames, 8, 8) for frames in (3, 12))
    most = peak_bytes(partial(decode, short))
    assert came == [1, 4, 4]
    assert peak_bytes(partial(decode, long)) <= 1.01 * most
    assert came == [1, *[4] * 11]
