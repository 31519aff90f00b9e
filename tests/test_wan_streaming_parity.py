"""Causal students of Wan stream as their publishers' code does, from the same weights and static."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_wan
import torch
from self_forcing import Reference, saved, warped
from torch import Tensor

from unstatic.core.seeds import generator
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue
from unstatic.diffusion.process import draw_noise
from unstatic.generate.edit import extend
from unstatic.generate.engine import Frames
from unstatic.generate.native import NativeEngine, load_native
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.stream import Chunk, Denoised
from unstatic.models.manifest import open_model
from unstatic.models.open_weights import load_transformer

PROMPT, LATER = "a red ball&nbsp; bounces   on a mirror", "it snows"
SIZE = Size(64, 64)
LEVELS = warped([1000, 750, 500, 250], 5.0)


def load(folder: Path) -> NativeEngine:
    return load_native(open_model(folder), device="cpu", dtype=torch.float32)


def planned(engine: NativeEngine, request: Request) -> Plan:
    return plan(request, replace(engine.manifest, sizes=(SIZE,), max_seconds=9.0))


def film(engine: NativeEngine, made: Plan) -> list[Tensor]:
    return [event.latent for event in engine.denoise(made) if isinstance(event, Chunk)]


def fresh(chunks: Sequence[int], shape: torch.Size) -> list[list[Tensor]]:
    """Draw for every chunk the static that it gets between its steps."""
    found: list[list[Tensor]] = []
    for number, length in enumerate(chunks):
        like = torch.empty(1, shape[1], length, *shape[3:])
        drawn = [generator("solver", 0, sum(chunks[:number]))]
        found.append([draw_noise(drawn, like) for _ in LEVELS[1:]])
    return found


KINDS = {
    "as published": ({}, Reference(None, 3, 3, 21, 0)),
    "a window that rolls": ({"local_attn_size": 6}, Reference(None, 3, 3, 6, 0)),
    "sinks": ({"local_attn_size": 9, "sink_size": 3}, Reference(None, 3, 3, 9, 3)),
    "frame by frame": ({"num_frames_per_block": 1}, Reference(None, 1, 1, 21, 0)),
    "the first frame alone": (
        {"num_frames_per_block": 4, "independent_first_frame": True},
        Reference(None, 4, 1, 21, 0),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_after_a_ring_is_a_masked_pass_over_all(kind: str, tmp_path: Path) -> None:
    fields, reference = KINDS[kind]
    reference.pipeline = tiny_wan.pipeline("2.1")
    folder = saved(tmp_path, **fields)
    manifest = open_model(folder).manifest
    assert (manifest.chunk, manifest.given) == (reference.chunk, "beginning")
    model = load_transformer(
        folder / "transformer", torch.float32, chunk=manifest.chunk, window=manifest.window
    )
    draws = torch.Generator().manual_seed(3)
    states, frames = torch.randn(1, 7, 16, generator=draws), reference.first + 4 * reference.chunk
    latent = torch.randn(1, 16, frames, 4, 4, generator=draws)
    ring, start = None, 0
    with torch.inference_mode():
        text = model.encode_text(states)
        for length in reference.lengths(frames):
            chunk, level = latent[:, :, start : start + length], torch.full((1, length), LEVELS[2])
            found = model(chunk, level, text, start=start, history=ring).prediction
            expected = reference.velocity(latent[:, :, :start], chunk, LEVELS[2], [states] * 5)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
            clean = torch.zeros(1, length)
            ring = model(chunk, clean, text, start=start, history=ring, remember=True).ring
            start += length


def test_the_mask_matters() -> None:
    """The comparison says something: another window answers otherwise."""
    latent = torch.randn(1, 16, 9, 4, 4, generator=torch.Generator().manual_seed(3))
    states = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(4))
    answers = [
        Reference(tiny_wan.pipeline("2.1"), 3, 3, window, 0).velocity(
            latent[:, :, :6], latent[:, :, 6:], LEVELS[2], [states] * 3
        )
        for window in (6, 9)
    ]
    assert not torch.allclose(*answers, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_is_that_of_self_forcing(kind: str, tmp_path: Path) -> None:
    fields, reference = KINDS[kind]
    reference.pipeline = tiny_wan.pipeline("2.1")
    engine = load(saved(tmp_path, **fields))
    made = planned(engine, Request(prompt=PROMPT, seconds=33 / 16))
    defaults = engine.manifest.defaults
    assert (made.steps, made.guidance, defaults.shift, defaults.history_sigma) == (4, 1.0, 5.0, 0.0)
    static = engine.static(made).latent
    chunks = reference.lengths(static.shape[2])
    assert list(made.chunks) == chunks
    assert len(chunks) > 2

    text = reference.text(PROMPT)
    expected = reference.film([text] * len(chunks), static, fresh(chunks, static.shape), LEVELS)
    events = list(engine.denoise(made))
    assert [type(each) for each in events] == [*[Denoised] * 4, Chunk] * len(chunks)
    latent = torch.cat([event.latent for event in events if isinstance(event, Chunk)], 2)
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=1e-4)

    # Pictures come chunk by chunk, and are shown one latent frame after the other
    pictures, memory = [], None
    with torch.inference_mode():
        for piece in film(engine, made):
            video, memory = engine.autoencoder.decode_stream(piece, memory)
            pictures.append((video + 1) / 2)
    theirs = reference.decode(expected)
    assert theirs.std() > 0.01
    torch.testing.assert_close(torch.cat(pictures, 2), theirs, atol=1e-4, rtol=1e-4)
    shown = [event.frames for event in engine.stream(made) if isinstance(event, Frames)]
    assert [len(each) for each in shown] == [1, *[4] * (latent.shape[2] - 1)]
    ours = torch.from_numpy(np.concatenate(shown)).float()
    assert (ours - 255 * theirs[0].permute(1, 2, 3, 0)).abs().max() <= 1


def test_another_prompt_takes_effect_with_its_chunk(tmp_path: Path) -> None:
    engine, reference = load(saved(tmp_path)), Reference(tiny_wan.pipeline("2.1"), 3, 3, 21, 0)
    asked = Request(prompt=PROMPT, seconds=33 / 16, cues=(Cue(at=9 / 16, prompt=LATER),))
    made = planned(engine, asked)
    static = engine.static(made).latent
    one, other = reference.text(PROMPT), reference.text(LATER)
    expected = reference.film([one, other, other], static, fresh([3, 3, 3], static.shape), LEVELS)
    torch.testing.assert_close(torch.cat(film(engine, made), 2), expected, atol=1e-4, rtol=1e-4)
    same = reference.film([one] * 3, static, fresh([3, 3, 3], static.shape), LEVELS)
    assert not torch.allclose(same, expected, atol=1e-2)


@pytest.mark.parametrize("frames", [9, 14])
def test_a_film_goes_on_from_its_beginning(frames: int, tmp_path: Path, make_frames: Any) -> None:
    """What was given is remembered as if it had been made; it stands still until it fills whole chunks."""
    engine, reference = load(saved(tmp_path)), Reference(tiny_wan.pipeline("2.1"), 3, 3, 21, 0)
    video = make_frames(frames, 64, 64)
    manifest = replace(engine.manifest, sizes=(SIZE,), max_seconds=9.0)
    made = plan(extend(Request(prompt=PROMPT), video, manifest, seconds=1), manifest)
    known = 3 if frames == 9 else 6
    assert (made.skip, made.footage[0].stop) == ({9: 0, 14: 7}[frames], {9: 9, 14: 21}[frames])
    found = film(engine, made)
    begun = torch.cat(found, 2)[:, :, :known]
    static = engine.static(made).latent
    chunks = list(made.chunks)
    expected = reference.film(
        [reference.text(PROMPT)] * len(chunks), static, fresh(chunks, static.shape), LEVELS, begun
    )
    torch.testing.assert_close(torch.cat(found, 2), expected, atol=1e-4, rtol=1e-4)
    assert static.shape[2] > known


def test_a_picture_begins_a_film_that_is_made_frame_by_frame(tmp_path: Path, make_frames: Any) -> None:
    engine = load(saved(tmp_path, num_frames_per_block=1))
    reference = Reference(tiny_wan.pipeline("2.1"), 1, 1, 21, 0)
    (picture,) = make_frames(1, 64, 64)
    made = planned(engine, Request(prompt=PROMPT, seconds=9 / 16, image=picture))
    found = torch.cat(film(engine, made), 2)
    static = engine.static(made).latent
    text = [reference.text(PROMPT)] * 3
    expected = reference.film(text, static, fresh([1] * 3, static.shape), LEVELS, found[:, :, :1])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
