"""Every task with a whole engine: what was given stays, what is new is new, and lengths are as asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from same_film import assert_same_film

from unstatic.core.errors import InputError
from unstatic.generate import edit
from unstatic.generate.engine import Frames
from unstatic.generate.finish import REPEAT
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.stream import Chunk
from unstatic.media.frames import to_frames, to_tensor

ASKED = Request(prompt="", seed=3)


def made(engine: NativeEngine, request: Request) -> np.ndarray:
    """Return what is shown."""
    events = engine.stream(plan(request, engine.manifest))
    return np.concatenate([event.frames for event in events if isinstance(event, Frames)])


def latents(engine: NativeEngine, planned: Plan) -> torch.Tensor:
    return torch.cat([event.latent for event in engine.denoise(planned) if isinstance(event, Chunk)], dim=2)


def encoded(engine: NativeEngine, frames: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return engine.autoencoder.encode(to_tensor(frames)[None]).float()


def copied(engine: NativeEngine, frames: np.ndarray) -> np.ndarray:
    """Return what the autoencoder makes of frames."""
    with torch.inference_mode():
        return to_frames(engine.autoencoder.decode(encoded(engine, frames)))[0]


@pytest.mark.parametrize("count", [17, 18, 20])
def test_an_extended_video_begins_with_what_was_given(engine: NativeEngine, make_frames, count: int):
    video = make_frames(count, 32, 32)
    asked = edit.extend(ASKED, video, engine.manifest, seconds=1)
    planned = plan(asked, engine.manifest)
    kept = np.concatenate([video[:1].repeat(planned.skip, 0), video])
    assert torch.equal(latents(engine, planned)[:, :, : (len(kept) - 1) // 4 + 1], encoded(engine, kept))
    shown = made(engine, asked)
    assert len(shown) == count + 16
    assert_same_film(shown[:count], copied(engine, kept)[planned.skip :])


@pytest.mark.parametrize("count", [16, 18])
def test_backward_ends_with_what_was_given(engine: NativeEngine, make_frames, count: int):
    video = make_frames(count, 32, 32)
    asked = edit.extend(ASKED, video, engine.manifest, seconds=1, backward=True)
    planned = plan(asked, engine.manifest)
    assert len(made(engine, asked)) == count + 16
    whole = -(-count // 4)  # the last frames stand still to fill their latent frame
    held = np.concatenate([video[:1].repeat(13, 0), video, video[-1:].repeat(4 * whole - count, 0)])
    first = (planned.footage[0].first - 1) // 4 + 1
    assert torch.equal(latents(engine, planned)[:, :, first : first + whole], encoded(engine, held)[:, :, 4:])


def test_a_loop_flows_into_its_beginning_and_shows_that_one(engine: NativeEngine, make_frames):
    video = make_frames(34, 32, 32)
    asked = replace(edit.loop(ASKED, video, engine.manifest, seconds=1), interpolator=REPEAT)
    planned = plan(asked, engine.manifest)
    latent, shown = latents(engine, planned), made(engine, asked)
    assert len(shown) == 34 + 16

    # The end is the beginning again, as it would be after a still of it
    again = encoded(engine, np.concatenate([video[:1].repeat(13, 0), video[: asked.lead]]))[:, :, 4:]
    end, groups = (planned.made - 1) // 4 + 1, asked.lead // 4
    assert torch.equal(latent[:, :, end - groups : end], again)
    with torch.inference_mode():
        whole = to_frames(engine.autoencoder.decode(latent))[0]
    assert_same_film(shown, whole[planned.skip : planned.made])
    assert planned.skip - asked.lead in range(4)


def jumping(*at: int, count: int = 34) -> np.ndarray:
    """Return a video that grows brighter by a level a frame, and by fifty more at some."""
    levels = np.cumsum(np.ones(count, int) + 50 * np.isin(np.arange(count), at))
    return np.broadcast_to(levels[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("video", "lead"),
    [
        (jumping(), 16),
        (jumping(16), 12),
        (jumping(15, 12), 8),
        (jumping(17, 8), 12),  # what happens in the first frame that is shown counts
        (jumping(18, 9), 16),
        (jumping(count=20), 8),  # no more than half of a video
        (jumping(4, count=9), 4),
    ],
)
def test_a_loop_begins_where_little_happens(engine: NativeEngine, video: np.ndarray, lead: int):
    asked = edit.loop(ASKED, video, engine.manifest, seconds=1)
    assert asked.lead == len(asked.footage[1].frames) == lead


def test_a_blend_begins_with_one_and_ends_with_the_other(engine: NativeEngine, make_frames):
    one, other = make_frames(17, 32, 32), make_frames(20, 32, 32)[:, ::-1].copy()
    asked = edit.blend(ASKED, one, other, engine.manifest, seconds=0.9)
    assert len(made(engine, asked)) == 17 + 16 + 20, "new parts between two joints are whole latent frames"
    latent = latents(engine, plan(asked, engine.manifest))
    assert torch.equal(latent[:, :, :5], encoded(engine, one))
    held = np.concatenate([other[:1].repeat(13, 0), other])
    assert torch.equal(latent[:, :, 9:14], encoded(engine, held)[:, :, 4:])


def test_a_recut_keeps_its_span_and_is_new_on_both_sides(engine: NativeEngine, make_frames):
    video = make_frames(32, 32, 32)
    asked = edit.recut(ASKED, video[8:24], engine.manifest, before=0.5, after=1)
    assert len(made(engine, asked)) == 8 + 16 + 16
    (footage,) = plan(asked, engine.manifest).footage
    assert np.array_equal(footage.frames, video[8:24])


@pytest.mark.parametrize(("length", "lost"), [(16, 0), (15, 3), (13, 1)])
def test_a_recut_says_what_of_its_span_it_makes_anew(
    engine: NativeEngine, make_frames, length: int, lost: int
):
    kept = make_frames(length, 32, 32)
    asked = edit.recut(ASKED, kept, engine.manifest, before=0.5, after=1)
    warnings = plan(asked, engine.manifest).warnings
    assert len(warnings) == bool(lost)
    told = f"the last {lost} frames of" if lost > 1 else f"the last frame of {length} that are kept"
    assert all(told in warning for warning in warnings)
    one_side = edit.recut(ASKED, kept, engine.manifest, after=1)
    assert plan(one_side, engine.manifest).warnings == ()


def test_a_remix_of_no_strength_is_the_copy_and_one_of_some_is_not(engine: NativeEngine, make_frames):
    video = make_frames(17, 32, 32)
    same, new = (made(engine, edit.remix(ASKED, video, engine.manifest, strength=s)) for s in (0, 0.9))
    assert_same_film(same, copied(engine, video))
    assert len(new) == 17
    assert not np.array_equal(new, same)


def test_repainting_keeps_every_cell_outside_the_mask(engine: NativeEngine, make_frames):
    video = make_frames(17, 32, 32)
    mask = np.zeros((32, 32), bool)
    mask[9:12, 20] = True  # touches one cell of 8 x 8
    asked = edit.repaint(ASKED, video, mask, engine.manifest)
    latent, given = latents(engine, plan(asked, engine.manifest)), encoded(engine, video)
    changed = (latent != given).any(1)[0]
    assert changed[:, 1, 2].all()
    changed[:, 1, 2] = False
    assert not changed.any()


def test_the_prompt_matters_to_what_is_new(engine: NativeEngine, make_frames):
    video = make_frames(17, 32, 32)
    asked = (Request(prompt=prompt, seed=3) for prompt in ("", "a red ball"))
    one, other = (made(engine, edit.extend(each, video, engine.manifest, seconds=1)) for each in asked)
    assert np.array_equal(one[:17], other[:17])
    assert not np.array_equal(one[17:], other[17:])


def test_bad_edits_name_the_value_and_the_fix(engine: NativeEngine, make_frames):
    video, manifest = make_frames(16, 32, 32), engine.manifest
    with pytest.raises(InputError, match=r"that makes 11\.0 seconds: tiny makes up to 10"):
        edit.extend(ASKED, video, manifest, seconds=10)
    with pytest.raises(InputError, match="seconds is 0: there must be at least one new frame"):
        edit.loop(ASKED, video, manifest, seconds=0)
    with pytest.raises(InputError, match="seconds is inf"):
        edit.extend(ASKED, video, manifest, seconds=float("inf"))
    with pytest.raises(InputError, match="a loop needs at least 8 frames"):
        edit.loop(ASKED, video[:7], manifest, seconds=1)
    with pytest.raises(InputError, match="strength is 2: it must be from 0"):
        edit.remix(ASKED, video, manifest, strength=2)
    with pytest.raises(InputError, match="the mask is 16x8 and the video 32x32"):
        edit.repaint(ASKED, video, np.ones((8, 16), bool), manifest)
    with pytest.raises(InputError, match="the mask is empty"):
        edit.repaint(ASKED, video, np.zeros((32, 32), bool), manifest)


@pytest.mark.parametrize("fps", [8, 12, 24])
def test_a_film_of_another_rate_can_be_edited(engine: NativeEngine, make_frames, fps: int):
    asked = replace(ASKED, fps=fps)
    for change in (
        edit.extend(asked, make_frames(20, 32, 32), engine.manifest, seconds=1, backward=True),
        edit.loop(asked, make_frames(20, 32, 32), engine.manifest, seconds=1),
    ):
        assert plan(change, engine.manifest).frames == 36


def test_a_span_just_after_the_beginning_is_kept(engine: NativeEngine, make_frames):
    asked = edit.recut(ASKED, make_frames(8, 32, 32), engine.manifest, before=0.25, after=2)
    assert len(made(engine, asked)) == 4 + 8 + 32
