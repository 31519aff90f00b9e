"""The whole way from a prompt to frames gives what diffusers' WanPipeline gives, from the same files."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny_wan
import torch

from unstatic.core.shapes import Size
from unstatic.diffusion.condition import LatentState
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


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_a_film_is_that_of_diffusers(pair: Pair, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pipeline = load(pair.folder), pair.pipeline
    channels = engine.transformer.config.in_channels
    width, height = engine.manifest.compression.latent_size(SIZE.width, SIZE.height)
    static = torch.randn(1, channels, 3, height, width, generator=torch.Generator().manual_seed(1))
    ways = {
        "height": SIZE.height,
        "width": SIZE.width,
        "num_frames": FRAMES,
        "num_inference_steps": steps,
        "guidance_scale": 4.0,
        "latents": static.clone(),
    }
    late = engine.manifest.defaults.late_guidance
    if late is not None:
        ways["guidance_scale_2"] = late
    expected = pipeline(PROMPT, NEGATIVE, output_type="latent", **ways).frames
    pictures = pipeline(PROMPT, NEGATIVE, output_type="np", **ways).frames

    guidance = None if late is not None else 4.0
    request = Request(
        prompt=PROMPT, negative=NEGATIVE, seconds=FRAMES / engine.manifest.fps, steps=steps, guidance=guidance
    )
    monkeypatch.setattr(
        engine, "static", lambda plan: LatentState.static(static, float(engine.schedule(plan)[0]))
    )
    events = engine.denoise(plan(request, engine.manifest))
    (latent,) = [event.latent for event in events if isinstance(event, Chunk)]
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=1e-4)

    with torch.inference_mode():
        decoded = (engine.autoencoder.decode(latent) + 1) / 2
    found = decoded[0].permute(1, 2, 3, 0).numpy()
    assert pictures[0].std() > 0.01
    np.testing.assert_allclose(found, pictures[0], atol=1e-4)


def test_words_matter(pair: Pair) -> None:
    """The comparison says something: another prompt makes another film."""
    engine = load(pair.folder)
    states = engine.text_encoder.encode([PROMPT, NEGATIVE]).states
    assert not torch.allclose(states[0], states[1], atol=0.1)
    assert states.shape == (2, 512, 16)
