import math
from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.condition import (
    Condition,
    Cue,
    FirstFrame,
    LastFrame,
    LatentState,
    Prefix,
    Region,
    Source,
    Suffix,
    apply_conditions,
    prompt_at,
)
from unstatic.diffusion.process import mix

exactly = partial(torch.testing.assert_close, rtol=0, atol=0)
FRAMES, SIDE = 5, 4


def latents(frames: int = FRAMES, *, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, frames, SIDE, SIDE, generator=generator("latents", seed))


def static() -> LatentState:
    return LatentState.static(latents(seed=99))


def levels(state: LatentState) -> list[float]:
    return state.sigma[0].flatten().tolist()


def check_is_start(state: LatentState) -> None:
    """Every start is its clean values noised by its static, and kept frames are clean."""
    exactly(
        state.latent, torch.where(state.sigma == 0, state.clean, mix(state.clean, state.noise, state.sigma))
    )
    exactly(state.estimate, state.clean)
    assert bool(
        (state.keep_mask.flatten(3).all(-1) == (state.sigma == 0).flatten(2)[:, :, :, None][..., 0]).all()
    )


# -------------------------------------------------------------------------------------------------- each one


def test_nothing_known_is_static() -> None:
    state = static()
    exactly(state.latent, state.noise)
    assert levels(state) == [1] * FRAMES
    assert not bool(state.keep_mask.any())
    check_is_start(state)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (FirstFrame(latent=latents(1)), [0]),
        (LastFrame(latent=latents(1)), [4]),
        (Prefix(latent=latents(3)), [0, 1, 2]),
        (Suffix(latent=latents(2)), [3, 4]),
        (Prefix(latent=latents(FRAMES)), [0, 1, 2, 3, 4]),
    ],
)
def test_kept_frames_are_clean_from_the_start(condition: Condition, kept: list[int]) -> None:
    state = condition.apply_to(static())
    exactly(state.latent[:, :, kept], condition.latent)
    assert levels(state) == [0.0 if frame in kept else 1.0 for frame in range(FRAMES)]
    exactly(state.keep_mask[0, 0, :, 0, 0].nonzero().flatten(), torch.tensor(kept))
    check_is_start(state)


def test_one_latent_serves_every_sample() -> None:
    still = latents(1, batch=1)
    state = FirstFrame(latent=still).apply_to(static())
    exactly(state.latent[:, :, :1], still.expand(2, -1, -1, -1, -1))


def test_a_region_is_known_but_as_noisy_as_its_frame() -> None:
    mask = torch.zeros(2, 1, FRAMES, SIDE, SIDE, dtype=torch.bool)
    mask[:, :, 1, :2] = True  # half of frame 1
    mask[:, :, 3] = True  # all of frame 3
    video = latents()
    state = Region(latent=video, keep_mask=mask).apply_to(static())
    assert levels(state) == [1, 1, 1, 0, 1]
    exactly(state.latent[:, :, :3], state.noise[:, :, :3])
    exactly(state.latent[:, :, 3], video[:, :, 3])
    exactly(state.clean, torch.where(mask, video, torch.zeros(())))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_a_source_starts_part_of_the_way(strength: float) -> None:
    video, state = latents(), static()
    started = Source(latent=video, strength=strength).apply_to(state)
    exactly(started.latent, torch.where(started.sigma == 0, video, mix(video, state.noise, started.sigma)))
    assert levels(started) == pytest.approx([strength] * FRAMES)
    assert not bool(started.keep_mask.any())


# ------------------------------------------------------------------------------------------------- together


def test_the_order_of_conditions_does_not_matter() -> None:
    mask = torch.zeros(2, 1, FRAMES, SIDE, SIDE, dtype=torch.bool)
    mask[:, :, 2, 1:3] = True
    conditions = [
        FirstFrame(latent=latents(1, seed=1)),
        Suffix(latent=latents(1, seed=2)),
        Source(latent=latents(seed=3), strength=0.6),
        Region(latent=latents(seed=4), keep_mask=mask),
    ]
    first, *others = (apply_conditions(static(), order) for order in permutations(conditions))
    for state in others:
        exactly(state.latent, first.latent)
        exactly(state.sigma, first.sigma)
        exactly(state.keep_mask, first.keep_mask)
    assert levels(first) == pytest.approx([0, 0.6, 0.6, 0.6, 0])


def test_the_later_of_two_keepers_wins() -> None:
    state = apply_conditions(static(), [Prefix(latent=latents(2, seed=1)), Prefix(latent=latents(1, seed=2))])
    exactly(state.latent[:, :, :1], latents(1, seed=2))
    exactly(state.latent[:, :, 1:2], latents(2, seed=1)[:, :, 1:])


@settings(deadline=None, database=None, derandomize=True, max_examples=25)
@given(
    kept=st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES), sigma=st.sampled_from([0.7, 0.25, 0.0])
)
def test_advancing_touches_neither_the_kept_nor_the_waiting(kept: list[bool], sigma: float) -> None:
    mask = torch.tensor(kept).reshape(1, 1, FRAMES, 1, 1).expand(2, 1, FRAMES, SIDE, SIDE).clone()
    mask[:, :, 0, 0, 0] = True  # a part of the first frame
    source = Source(latent=latents(seed=1), strength=0.5)
    region = Region(latent=latents(seed=2), keep_mask=mask)
    state = apply_conditions(static(), [source, region])
    level = torch.minimum(state.sigma, torch.tensor(sigma))
    solved = latents(seed=3)
    after = state.advance(solved, level, solved)

    moved = (level < state.sigma).expand_as(state.keep_mask) & ~state.keep_mask
    exactly(after.latent[:, :, moved[0, 0].any(2).any(1)].isfinite().all(), torch.tensor(True))
    exactly(torch.where(moved, after.latent, 0), torch.where(moved, solved, 0))
    waits = (level == state.sigma).expand_as(state.keep_mask)
    exactly(torch.where(waits, after.latent, 0), torch.where(waits, state.latent, 0))
    if sigma == 0:
        exactly(torch.where(state.keep_mask, after.latent, 0), torch.where(state.keep_mask, state.clean, 0))


def test_kept_latents_are_identical_down_to_the_sign_of_zero() -> None:
    still = torch.full((1, 3, 1, SIDE, SIDE), -0.0)
    state = FirstFrame(latent=still).apply_to(static())
    after = state.advance(latents(), torch.zeros_like(state.sigma), latents())
    assert bool(state.latent[:, :, 0].signbit().all())
    assert bool(after.latent[:, :, 0].signbit().all())


@pytest.mark.parametrize("condition", [LastFrame(latent=latents(1)), Suffix(latent=latents(2))])
def test_beyond_the_end_the_last_known_frame_stands_still(condition: Condition) -> None:
    state = apply_conditions(static(), [condition], end=3)
    known = condition.latent
    exactly(state.latent[:, :, 3 - known.shape[2] : 3], known)
    exactly(state.latent[:, :, 3:], known[:, :, -1:].expand(-1, -1, 2, -1, -1))
    assert levels(state) == [0.0 if frame >= 3 - known.shape[2] else 1.0 for frame in range(FRAMES)]
    check_is_start(state)


def test_beyond_the_end_everything_stands_still_that_is_known_in_part() -> None:
    mask = torch.zeros(2, 1, 3, SIDE, SIDE, dtype=torch.bool)
    mask[..., :2] = True
    video = latents(3)
    conditions = [Source(latent=video, strength=0.5), Region(latent=video, keep_mask=mask)]
    state = apply_conditions(static(), conditions, end=3)
    assert levels(state) == pytest.approx([0.5] * FRAMES)
    exactly(state.keep_mask, mask[:, :, :1].expand(-1, -1, FRAMES, -1, -1))
    exactly(state.clean[:, :, 3:], video[:, :, -1:].expand(-1, -1, 2, -1, -1))
    exactly(state.noise, static().noise)
    check_is_start(state)


@pytest.mark.parametrize("end", [1, 3, FRAMES, None])
def test_an_end_without_anything_known_changes_nothing(end: int | None) -> None:
    state = apply_conditions(static(), [], end=end)
    for field in ("latent", "sigma", "noise", "clean", "keep_mask", "estimate"):
        exactly(getattr(state, field), getattr(static(), field))


def test_a_window_is_the_state_of_some_frames() -> None:
    state = apply_conditions(
        static(), [FirstFrame(latent=latents(1)), Source(latent=latents(), strength=0.5)]
    )
    window = state.window(1, 4)
    for field in ("latent", "sigma", "noise", "clean", "keep_mask", "estimate"):
        exactly(getattr(window, field), getattr(state, field)[:, :, 1:4])


# ------------------------------------------------------------------------------------------------------ text


def test_cues_leave_the_latent_alone() -> None:
    state = static()
    assert Cue(at=1.0, prompt="a ball").apply_to(state) is state


def test_the_prompt_is_that_of_the_latest_cue() -> None:
    conditions = [
        Cue(at=2.0, prompt="it bounces"),
        FirstFrame(latent=latents(1)),
        Cue(at=0.5, prompt="it falls"),
        Cue(at=2.0, prompt="it rolls"),
    ]
    expected = {
        0.0: "a ball",
        0.49: "a ball",
        0.5: "it falls",
        1.99: "it falls",
        2.0: "it rolls",
        60.0: "it rolls",
    }
    assert {time: prompt_at(conditions, time, otherwise="a ball") for time in expected} == expected


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "condition",
    [
        Prefix(latent=latents(FRAMES + 1)),
        Suffix(latent=latents(FRAMES + 1)),
        Prefix(latent=latents(1, batch=3)),
        FirstFrame(latent=torch.zeros(1, 3, 1, SIDE, SIDE + 1)),
        Source(latent=latents(FRAMES - 1), strength=0.5),
        Region(
            latent=latents()[..., 1:], keep_mask=torch.ones(2, 1, FRAMES, SIDE, SIDE - 1, dtype=torch.bool)
        ),
    ],
)
def test_what_does_not_fit_is_refused(condition: Condition) -> None:
    with pytest.raises(InputError, match=r"latent frames|shape"):
        condition.apply_to(static())


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_strength_is_a_share(strength: float) -> None:
    with pytest.raises(InputError, match="strength"):
        Source(latent=latents(), strength=strength)


@pytest.mark.parametrize("at", [-1.0, math.nan, math.inf])
def test_a_cue_is_at_a_time(at: float) -> None:
    with pytest.raises(InputError, match="time"):
        Cue(at=at, prompt="a ball")
