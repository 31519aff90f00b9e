"""Streaming: chunk by chunk, in a ring, and every way in which chunks must (not) depend on each other."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from streaming import CHUNKS, SAMPLING, SHAPE, final, script, static, stream
from tiny_transformer import CONFIG, build, texts
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.diffusion.condition import FirstFrame, LastFrame, LatentState, Region, Span, apply_conditions
from unstatic.diffusion.schedule import linear
from unstatic.diffusion.solver import ancestral, consistency, euler
from unstatic.diffusion.step_cache import StepCache
from unstatic.generate.anchors import FREE_CHUNKS, Anchors
from unstatic.generate.stream import (
    Chunk,
    Cut,
    Denoised,
    LateGuidance,
    Sampling,
    Script,
    SkipLayer,
    chunk_noise,
    noise_of_chunk,
    stream_latents,
)
from unstatic.models.transformer import Ring, TextMemory, VideoTransformer

LONG = (1, *[4] * (FREE_CHUNKS + 2))


@pytest.fixture(scope="module")
def model() -> VideoTransformer:
    return build(CONFIG)


# ----------------------------------------------------------------------------------------------------- static


def test_a_longer_video_begins_with_the_same_static():
    short, long = chunk_noise(SHAPE, CHUNKS[:2], [5]), chunk_noise(SHAPE, CHUNKS, [5])
    assert torch.equal(short, long[:, :, :5])
    assert not torch.equal(long[:, :, 1:5], long[:, :, 5:9]), "chunks share their static"


def test_static_may_be_drawn_chunk_by_chunk():
    whole = chunk_noise(SHAPE, CHUNKS, [5])
    assert torch.equal(noise_of_chunk(SHAPE, 0, 1, [5]), whole[:, :, :1])
    assert torch.equal(noise_of_chunk(SHAPE, 5, 9, [5]), whole[:, :, 5:9])


def test_a_video_whose_static_is_drawn_as_it_comes_up_is_the_same(model: VideoTransformer):
    asked: list[tuple[int, int]] = []

    def draw(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return noise_of_chunk(SHAPE, start, stop, [5])

    none = LatentState.static(torch.zeros(()).expand(1, 4, sum(LONG), 4, 4))
    lazy = stream_latents(model, none, script(model), SAMPLING, [5], static=draw, lazy=True)
    assert torch.equal(final(lazy), final(stream(model, static(LONG))))
    chunks = [(0, 1), *((start, start + 4) for start in range(1, sum(LONG), 4))]
    assert {*asked} == {*chunks}
    assert len(asked) < 1.5 * len(chunks), "it is drawn once for a chunk, and once for a waypoint"


def test_static_of_a_batch_is_that_of_its_seeds():
    both = chunk_noise(SHAPE, CHUNKS, [5, 6])
    assert torch.equal(both, torch.cat([chunk_noise(SHAPE, CHUNKS, [seed]) for seed in (5, 6)]))


# ----------------------------------------------------------------------------------------------------- events


def test_every_step_and_every_chunk_is_yielded_in_order(model: VideoTransformer):
    events = list(stream(model, static()))
    assert [type(event) for event in events] == [Denoised, Denoised, Denoised, Chunk] * len(CHUNKS)
    assert [event.start for event in events if isinstance(event, Chunk)] == [0, 1, 5, 9]
    assert final(iter(events)).shape == (1, 4, 13, 4, 4)


def test_a_chunk_is_where_its_last_step_led(model: VideoTransformer):
    *_, last_step, chunk = islice(stream(model, static()), 4)
    assert isinstance(last_step, Denoised)
    assert torch.equal(last_step.state.latent, chunk.latent)
    assert not last_step.state.sigma.any()


def test_nothing_is_computed_before_it_is_asked_for(model: VideoTransformer, passes: list[int]):
    events = stream(model, static())
    assert passes == []
    next(events)
    assert len(passes) == 1
    events.close()
    assert len(passes) == 1


def test_only_chunks_that_somebody_looks_back_at_are_read_again(model: VideoTransformer, passes: list[int]):
    list(stream(model, static()))
    steps, looks_back = 3 * len(CHUNKS), len(CHUNKS) - 1
    assert len(passes) == steps + looks_back


def test_guidance_costs_a_second_row_and_no_guidance_does_not(model: VideoTransformer, passes: list[int]):
    list(stream(model, static()))
    assert set(passes) == {2}
    passes.clear()
    list(stream(model, static(), replace(SAMPLING, guidance=1.0)))
    assert set(passes) == {1}


@pytest.mark.parametrize(
    "changes", [{}, {"late_guidance": LateGuidance(0.6, 1.0)}, {"skip_layer": SkipLayer(1, 0.5)}]
)
def test_a_large_film_is_asked_in_turn_and_is_the_same(
    model: VideoTransformer, passes: list[int], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """Two of its rows in one batch would take twice the memory, and be no faster."""
    sampling = replace(SAMPLING, guidance=3.0, **changes)
    expected = final(stream(model, static(), sampling))
    passes.clear()
    monkeypatch.setattr(
        "unstatic.generate.stream.MOST_IN_ONE_BATCH", 4 * 4 * 4 - 1
    )  # of a chunk, not of a still
    torch.testing.assert_close(final(stream(model, static(), sampling)), expected, rtol=0, atol=1e-5)
    still, last_chunk = passes[:3], passes[-3:]
    assert 2 in still
    assert set(last_chunk) == {1}


# Four levels are asked at: 1, 0.75, 0.5, 0.25
@pytest.mark.parametrize(
    ("interval", "rows"),
    [
        ((0.0, 1.0), [2, 2, 2, 2]),
        ((0.25, 0.75), [1, 2, 2, 1]),  # above the low level, up to the high one
        ((0.2, 0.8), [1, 2, 2, 2]),
        ((0.6, 1.0), [2, 2, 1, 1]),
        ((0.3, 0.4), [1, 1, 1, 1]),
    ],
)
def test_outside_the_interval_of_guidance_the_prompt_is_asked_alone(
    model: VideoTransformer, passes: list[int], interval: tuple[float, float], rows: list[int]
):
    sampling = replace(SAMPLING, sigmas=linear(4), guidance_interval=interval)
    list(stream(model, static(), sampling))
    assert passes == [*[*rows, 2] * (len(CHUNKS) - 1), *rows], "what is remembered has both"


def test_an_interval_of_all_levels_changes_nothing_and_one_of_none_is_no_guidance(model: VideoTransformer):
    first = FirstFrame(latent=0.3 * chunk_noise(SHAPE, (1,), [8]))
    state, sampling = apply_conditions(static(), [first]), replace(SAMPLING, sigmas=linear(4))
    guided, unguided = (final(stream(model, state, replace(sampling, guidance=x))) for x in (2.0, 1.0))
    films = [
        final(stream(model, state, replace(sampling, guidance_interval=interval)))
        for interval in ((0.0, 1.0), (0.01, 0.02), (0.25, 0.75))
    ]
    assert torch.equal(films[0], guided)
    torch.testing.assert_close(films[1], unguided, rtol=0, atol=1e-5)
    assert min((films[2] - other).abs().max() for other in (guided, unguided)) > 1e-2


def test_late_guidance_has_the_same_interval(model: VideoTransformer, passes: list[int]):
    late = replace(SAMPLING, sigmas=linear(4), late_guidance=LateGuidance(0.6, 3.0))
    list(stream(model, static((1,)), replace(late, guidance_interval=(0.3, 0.8))))
    assert passes == [1, 2, 2, 1]
    passes.clear()
    list(stream(model, static((1,)), replace(late, skip_layer=SkipLayer(1, 0.5))))
    assert passes == [2, 1] * 4


@pytest.mark.parametrize(("guidance", "rows"), [(2.0, [2, 1]), (1.0, [1, 1])])
def test_skip_layer_guidance_takes_a_pass_of_the_prompts_more(
    model: VideoTransformer, passes: list[int], guidance: float, rows: list[int]
):
    led = replace(SAMPLING, guidance=guidance, skip_layer=SkipLayer(1, 0.5))
    list(stream(model, static((1,)), led))
    assert passes == rows * 3
    passes.clear()
    list(stream(model, static((1, 4)), led))
    assert passes == [*rows * 3, rows[0], *rows * 3], "what is remembered has passed all blocks"


@torch.no_grad()
@pytest.mark.parametrize("interval", [None, (0.0, 1.0), (0.1, 0.2)])
@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 3.0])
def test_skip_layer_guidance_leads_by_the_difference_that_a_block_makes(
    model: VideoTransformer, guidance: float, interval: tuple[float, float] | None
):
    state, amount, sigma = static((1,)), 0.7, torch.ones(1, 1)
    one_step = replace(SAMPLING, sigmas=linear(1), guidance=guidance, guidance_interval=interval)
    film = final(stream(model, state, replace(one_step, skip_layer=SkipLayer(1, amount))))

    prompt, empty = (model.encode_text(texts(seed)) for seed in (0, 99))
    said, unsaid = (model(state.latent, sigma, text).prediction for text in (prompt, empty))
    weaker = model(state.latent, sigma, prompt, without=1).prediction
    weight = 1.0 if interval == (0.1, 0.2) else guidance
    expected = unsaid + weight * (said - unsaid) + amount * (said - weaker)
    torch.testing.assert_close(film, expected, atol=1e-4, rtol=1e-4)
    assert (expected - final(stream(model, state, one_step))).abs().max() > 1e-2


def test_the_weaker_network_sees_what_came_before_and_what_is_ahead(model: VideoTransformer):
    known = apply_conditions(static((1, 4)), [LastFrame(latent=0.3 * chunk_noise(SHAPE, (1,), [8]))])
    seen: list[dict[str, object]] = []
    handle = model.register_forward_pre_hook(lambda _, __, named: seen.append(named), with_kwargs=True)
    list(stream(model, known, replace(SAMPLING, sigmas=linear(1), skip_layer=SkipLayer(1, 0.7))))
    handle.remove()
    weaker = [each for each in seen if each.get("without") == 1]
    assert [isinstance(each["history"], Ring) for each in weaker] == [False, True]
    assert all(each["anchors"] is not None for each in weaker)


def test_a_distilled_model_is_told_the_same_without_a_block():
    told = build(replace(CONFIG, scalars=("sigma", "step", "guidance")))
    one_step = replace(SAMPLING, sigmas=linear(1), guidance=3.0, distilled=True)
    state = static((1,))
    full = final(stream(told, state, one_step))
    film = final(stream(told, state, replace(one_step, skip_layer=SkipLayer(1, 0.7))))
    scalars = {"step": torch.ones(1, 1), "guidance": torch.tensor([0.2])}
    weaker = told(
        state.latent, torch.ones(1, 1), told.encode_text(texts(0)), scalars=scalars, without=1
    ).prediction
    torch.testing.assert_close(film, full + 0.7 * (full - weaker), atol=1e-4, rtol=1e-4)


def test_a_step_cache_saves_passes_in_every_chunk(model: VideoTransformer, passes: list[int]):
    steps, every = 10, replace(SAMPLING, sigmas=linear(10))
    list(stream(model, static(), every))
    assert len(passes) == steps * len(CHUNKS) + len(CHUNKS) - 1
    passes.clear()
    list(stream(model, static(), replace(every, cache=StepCache(3))))
    asked = sum(StepCache(3).is_asked(step, steps) for step in range(steps))
    assert asked == 6
    assert len(passes) == asked * len(CHUNKS) + len(CHUNKS) - 1


def test_a_distilled_model_is_told_each_step_and_the_guidance_in_one_row():
    model = build(replace(CONFIG, scalars=("sigma", "step", "guidance")))
    told: dict[str, list[float]] = {"step": [], "guidance": []}
    rows: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    for name, values in told.items():
        model.scalar_embedding[name].register_forward_pre_hook(
            lambda _, inputs, values=values: values.append(float(inputs[0].flatten()[0]))
        )
    sampling = replace(SAMPLING, sigmas=torch.tensor([1.0, 0.6, 0.1, 0.0]), guidance=3.0, distilled=True)
    list(stream(model, static(), sampling))
    assert set(rows) == {1}
    # Chunks that are only read again are told nothing
    assert told["step"] == pytest.approx([0.4, 0.5, 0.1] * len(CHUNKS))
    assert told["guidance"] == pytest.approx([0.2] * 3 * len(CHUNKS))


# ------------------------------------------------------------------------------------------------- dependence


@pytest.mark.parametrize("solver", [euler, ancestral])
def test_a_longer_video_begins_with_the_shorter_one(model: VideoTransformer, solver: Callable[..., object]):
    sampling = replace(SAMPLING, solver=solver)
    short = final(stream(model, static(CHUNKS[:3]), sampling))
    long = final(stream(model, static(CHUNKS), sampling))
    assert torch.equal(short, long[:, :, :9])


def test_the_same_seed_gives_the_same_video_and_another_seed_another(model: VideoTransformer):
    sampling = replace(SAMPLING, solver=ancestral)
    first, again = (final(stream(model, static(), sampling)) for _ in range(2))
    assert torch.equal(first, again)
    other = final(stream(model, static(), sampling, seeds=(6,)))
    assert not torch.equal(first, other), "the solver does not read the seed"


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_batch_of_two_is_two_batches_of_one(model: VideoTransformer, guidance: float):
    sampling = replace(SAMPLING, guidance=guidance, solver=ancestral)
    together = final(stream(model, static(seeds=(5, 6)), sampling, seeds=(5, 6)))
    for row, seed in enumerate((5, 6)):
        state = static(seeds=(seed,))
        alone = final(stream_latents(model, state, script(model, sampling, [row]), sampling, [seed]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("changed", "seen_by"), [(0, [0, 1, 2, 3]), (2, [2, 3])])
def test_chunks_are_seen_by_later_ones_only(model: VideoTransformer, changed: int, seen_by: list[int]):
    noise = chunk_noise(SHAPE, CHUNKS, [5])
    other = noise.clone()
    starts = [0, 1, 5, 9, 13]
    other[:, :, starts[changed] : starts[changed + 1]] *= -1
    before, after = (final(stream(model, LatentState.static(each))) for each in (noise, other))
    spans = [slice(*starts[number : number + 2]) for number in range(len(CHUNKS))]
    differing = [n for n, span in enumerate(spans) if not torch.equal(before[:, :, span], after[:, :, span])]
    assert differing == seen_by


def test_history_is_looked_back_at_through_static(model: VideoTransformer):
    clean, noisy = (final(stream(model, static(), replace(SAMPLING, history_sigma=s))) for s in (0.0, 0.3))
    assert torch.equal(clean[:, :, :1], noisy[:, :, :1]), "the first chunk has no history"
    assert not torch.equal(clean[:, :, 1:], noisy[:, :, 1:])


def test_the_prediction_is_taken_for_what_the_model_was_trained_to_say(model: VideoTransformer):
    x0, velocity = (
        final(stream(model, static((1,)), replace(SAMPLING, prediction=each))) for each in ("x0", "velocity")
    )
    assert not torch.allclose(x0, velocity)


def test_guidance_moves_away_from_the_empty_prompt(model: VideoTransformer):
    weights = (0.0, 1.0, 2.0)
    one_step = replace(SAMPLING, sigmas=linear(1))
    empty, plain, strict = (
        final(stream(model, static((1,)), replace(one_step, guidance=weight))) for weight in weights
    )
    torch.testing.assert_close(strict, 2 * plain - empty, atol=1e-5, rtol=0)
    assert not torch.allclose(strict, plain)


# ------------------------------------------------------------------------------------------------- conditions


def test_a_kept_first_frame_is_bit_identical_and_costs_no_step(model: VideoTransformer, passes: list[int]):
    frame = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    state = apply_conditions(static(), [FirstFrame(latent=frame)])
    events = list(stream(model, state))
    assert isinstance(events[0], Chunk)
    assert torch.equal(final(iter(events))[:, :, :1], frame)
    assert len(passes) == 3 * 3 + 3


def test_a_first_frame_is_seen_by_every_chunk(model: VideoTransformer):
    first, other = (torch.full((1, 4, 1, 4, 4), value) for value in (1.0, -1.0))
    videos = [
        final(stream(model, apply_conditions(static(), [FirstFrame(latent=f)]))) for f in (first, other)
    ]
    assert all(not torch.equal(videos[0][:, :, t], videos[1][:, :, t]) for t in range(13))


def test_a_last_frame_is_seen_by_the_chunks_before_it(model: VideoTransformer):
    frames = [torch.full((1, 4, 1, 4, 4), value) for value in (1.0, -1.0)]
    videos = [final(stream(model, apply_conditions(static(), [LastFrame(latent=f)]))) for f in frames]
    assert torch.equal(videos[0][:, :, -1:], frames[0])
    assert not torch.equal(videos[0][:, :, :1], videos[1][:, :, :1]), "the future is not seen"


def test_a_region_is_kept_and_does_not_anchor(model: VideoTransformer):
    clean = torch.randn(1, 4, 13, 4, 4, generator=torch.Generator().manual_seed(1))
    keep_mask = torch.zeros(1, 1, 13, 4, 4, dtype=torch.bool)
    keep_mask[..., :2] = True
    state = apply_conditions(static(), [Region(latent=clean, keep_mask=keep_mask)])
    assert Anchors(model, state, SAMPLING.rows).known == []
    made = final(stream(model, state))
    assert torch.equal(made[..., :2], clean[..., :2])
    assert not torch.equal(made[..., 2:], clean[..., 2:])


def test_a_model_without_anchors_says_so():
    model = build(replace(CONFIG, anchors=False))
    frame = torch.zeros(1, 4, 1, 4, 4)
    with pytest.raises(InputError, match="no anchors"):
        list(stream(model, apply_conditions(static(), [FirstFrame(latent=frame)])))
    assert final(stream(model, static())).shape[2] == 13


def test_what_is_remembered_clean_may_be_given_in_whole_chunks_at_the_beginning():
    """Without anchors a model sees no difference to what it made itself."""
    student = build(replace(CONFIG, anchors=False, chunk=3, first_chunk=3, history_chunks=2))
    clean = torch.randn(1, 4, 12, 4, 4, generator=torch.Generator().manual_seed(1))
    sampling = replace(SAMPLING, solver=consistency, guidance=1.0, history_sigma=0.0, damped=False)

    def made(*spans: Span) -> Tensor:
        state = apply_conditions(static((3, 3, 3, 3)), spans)
        return final(stream_latents(student, state, script(student, sampling), sampling, [5]))

    plain = made()
    torch.testing.assert_close(made(Span(latent=plain[:, :, :6], start=0)), plain)
    assert torch.equal(made(Span(latent=clean[:, :, :3], start=0))[:, :, :3], clean[:, :, :3])
    with pytest.raises(InputError, match="4 latent frames are no whole chunks of 3"):
        made(Span(latent=clean[:, :, :4], start=0))
    with pytest.raises(InputError, match="goes forward only"):
        made(Span(latent=clean[:, :, :3], start=3))


# ------------------------------------------------------------------------------------------------------- text


def test_each_text_is_read_once_and_counts_from_its_start(model: VideoTransformer):
    asked: list[int] = []
    inner = script(model, starts=(0, 5, 9))

    def read(number: int) -> TextMemory:
        asked.append(number)
        return inner.read(number)

    changed = final(stream_latents(model, static(), Script(starts=(0, 5), read=read), SAMPLING, (5,)))
    plain = final(stream(model, static()))
    assert asked == [0, 1]
    assert torch.equal(changed[:, :, :5], plain[:, :, :5])
    assert not torch.equal(changed[:, :, 5:9], plain[:, :, 5:9])


# ------------------------------------------------------------------------------------------------------- cuts


def with_cut(
    model: VideoTransformer, state: LatentState, sampling: Sampling, starts: tuple[int, ...] = (0, 5)
):
    told = replace(script(model, sampling, starts=starts), cuts=frozenset({5}))
    return stream_latents(model, state, told, sampling, (5,))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_behind_a_cut_a_video_is_one_of_its_own(model: VideoTransformer, guidance: float):
    """Long enough that its second scene sees its still as an anchor, and waypoints."""
    sampling = replace(SAMPLING, history_sigma=0.0, guidance=guidance)
    chunks = (1, 4, *LONG[1:])
    whole = static(chunks)
    events = list(with_cut(model, whole, sampling))
    film = final(iter(events))
    assert torch.equal(film[:, :, :5], final(stream(model, whole, sampling))[:, :, :5])

    still = noise_of_chunk(SHAPE, 4, 5, [5])
    own = LatentState.static(torch.cat([still, whole.latent[:, :, 5:]], 2))
    second = Script(starts=(0,), read=lambda _: script(model, sampling, starts=(0, 5)).read(1))
    expected = final(stream_latents(model, own, second, sampling, (5,)))
    torch.testing.assert_close(film[:, :, 5:], expected[:, :, 1:])
    (cut,) = [event for event in events if isinstance(event, Cut)]
    assert cut.start == 5
    torch.testing.assert_close(cut.still, expected[:, :, :1])


def test_the_text_after_a_cut_goes_on_with_its_scene(model: VideoTransformer):
    told = replace(script(model, starts=(0, 5, 9)), cuts=frozenset({5}))
    first, other = (
        final(stream_latents(model, static(), told, SAMPLING, (5,))),
        final(stream(model, static())),
    )
    apart = replace(told, cuts=frozenset({5, 9}))
    again = final(stream_latents(model, static(), apart, SAMPLING, (5,)))
    assert torch.equal(first[:, :, :9], again[:, :, :9])
    assert not torch.allclose(first[:, :, 9:], again[:, :, 9:])
    assert not torch.allclose(first[:, :, 9:], other[:, :, 9:])


def test_there_is_no_cut_where_something_is_known(model: VideoTransformer):
    known = Span(latent=torch.ones(1, 4, 2, 4, 4), start=6)
    state = apply_conditions(static(), [known], end=13)
    kinds = [type(event) for event in with_cut(model, state, SAMPLING)]
    assert Cut not in kinds
    before = apply_conditions(static(), [replace(known, start=3)], end=13)
    events = list(with_cut(model, before, SAMPLING))
    assert Cut in [type(event) for event in events]
    assert torch.equal(final(iter(events))[:, :, 3:5], known.latent), "what was known just before it stays"


def test_a_new_scene_knows_nothing_of_what_was_given_before(model: VideoTransformer):
    sampling, chunks = replace(SAMPLING, history_sigma=0.0), (1, 4, *LONG[1:])
    given = apply_conditions(
        static(chunks), [Span(latent=torch.ones(1, 4, 2, 4, 4), start=3)], end=sum(chunks)
    )
    after = [final(with_cut(model, state, sampling))[:, :, 5:] for state in (given, static(chunks))]
    assert torch.equal(*after)


def test_a_text_at_the_beginning_is_no_cut(model: VideoTransformer):
    told = replace(script(model, starts=(0, 0)), cuts=frozenset({0}))
    events = list(stream_latents(model, static(), told, SAMPLING, (5,)))
    assert Cut not in [type(event) for event in events]


def test_stills_are_drawn_as_the_rest_is(model: VideoTransformer):
    asked: list[tuple[int, int]] = []

    def draw(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return noise_of_chunk(SHAPE, start, stop, [5])

    told = replace(script(model, starts=(0, 5)), cuts=frozenset({5}))
    list(stream_latents(model, static(), told, SAMPLING, (5,), static=draw))
    assert asked == [(4, 5)]


def test_a_model_that_begins_with_a_whole_chunk_forgets_at_a_cut():
    config = replace(CONFIG, first_chunk=4, anchors=False)
    model, chunks = build(config), (4, 4, 4)
    sampling = replace(SAMPLING, history_sigma=0.0)
    told = replace(script(model, starts=(0, 4)), cuts=frozenset({4}))
    film, goes_on = (
        list(stream_latents(model, static(chunks), each, sampling, (5,)))
        for each in (told, replace(told, cuts=frozenset()))
    )
    assert Cut not in [type(event) for event in film]
    assert not torch.allclose(final(iter(film))[:, :, 4:], final(iter(goes_on))[:, :, 4:])
