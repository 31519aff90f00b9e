"""Anchors: which clean frames each chunk sees, known ones first, and the waypoints of a long video."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from streaming import SAMPLING, SHAPE, final, static, stream
from tiny_transformer import CONFIG, build, texts
from torch import Tensor

from unstatic.core.processes import Place
from unstatic.diffusion.condition import (
    Condition,
    FirstFrame,
    LastFrame,
    LatentState,
    Region,
    Source,
    Span,
    apply_conditions,
)
from unstatic.diffusion.process import Latent
from unstatic.diffusion.schedule import linear
from unstatic.diffusion.solver import euler
from unstatic.generate.anchors import FREE_CHUNKS, Anchors, Draw, goes_on
from unstatic.generate.stream import Sampling, Script, chunk_noise, stream_latents
from unstatic.models.transformer import AnchorMemory, VideoTransformer

LONG, ENOUGH = (1, *[4] * 12), (1, *[4] * (FREE_CHUNKS + 2))


@pytest.fixture(scope="module")
def model() -> VideoTransformer:
    return build(CONFIG)


def seen(
    model: VideoTransformer,
    state: LatentState,
    chunks: Sequence[int],
    begins: Sequence[int] = (0,),
    draw: Draw | None = None,
) -> list[list[int]]:
    """Return the times of the anchors that each chunk of a video sees; `draw` makes waypoints."""
    anchors, start, times = Anchors(model, state, lambda rows: rows, draw=draw), 0, []
    for length in chunks:
        if start in begins:
            later = [each for each in begins if each > start]
            anchors.begin(model.encode_text(texts(start)), start, later[0] if later else None)
        memory = anchors.at(start, start + length)
        times.append([] if memory is None else memory.times[0].tolist())
        anchors.keep(start, state.window(start, start + length).latent)
        start += length
    return times


def test_the_first_frame_anchors_as_soon_as_the_ring_has_passed_it(model: VideoTransformer):
    chunks = (1, 4, 4, 4, 4)
    assert seen(model, static(chunks), chunks) == [[], [], [], [0], [0]]


def test_a_new_text_lets_go_of_the_frames_before_it(model: VideoTransformer):
    chunks = (1, 4, 4, 4, 4, 4, 4)
    assert seen(model, static(chunks), chunks, begins=(0, 9)) == [[], [], [], [], [], [], [9]]


def test_behind_a_known_frame_there_may_be_nothing_to_see(model: VideoTransformer):
    chunks = (1, 4, 4, 4)
    state = apply_conditions(static(chunks), [Span(latent=torch.randn(1, 4, 1, 4, 4), start=2)])
    assert seen(model, state, chunks) == [[2], [2], [], [0]]


def test_the_chunk_that_arrives_sees_how_it_goes_on(model: VideoTransformer):
    chunks = (1, 4, 4, 4, 4, 4)
    state = apply_conditions(static(chunks), [Span(latent=torch.randn(1, 4, 4, 4, 4), start=17)])
    assert seen(model, state, chunks) == [[17], [17], [17], [0, 17], [17, 18], [0, 17]]
    alone = apply_conditions(static(chunks), [Span(latent=torch.randn(1, 4, 1, 4, 4), start=17)])
    assert seen(model, alone, chunks) == [[17], [17], [17], [0, 17], [0, 17], [0, 17]]


def test_what_comes_under_another_text_is_not_seen(model: VideoTransformer):
    chunks = (1, 4, 4, 4)
    state = apply_conditions(static(chunks), [Span(latent=torch.randn(1, 4, 2, 4, 4), start=9)])
    assert seen(model, state, chunks) == [[9], [9], [9, 10], [0, 9]]
    assert seen(model, state, chunks, begins=(0, 5)) == [[], [], [9, 10], [9]]


def test_a_chunk_sees_the_first_frame_and_the_next_known_one(model: VideoTransformer):
    chunks = (1, 4, 4, 4)
    given = torch.randn(1, 4, 2, 4, 4)
    state = apply_conditions(
        static(chunks), [FirstFrame(latent=given[:, :, :1]), Span(latent=given, start=7)]
    )
    # The third chunk has them inside; behind the last known frame there is nothing to arrive at
    assert seen(model, state, chunks) == [[7], [0, 7], [0, 7], [0]]


def test_memory_of_anchors_does_not_grow_with_what_is_known(model: VideoTransformer):
    chunks = (1, 4, 4, 4)
    state = apply_conditions(static(chunks), [Span(latent=torch.randn(1, 4, 13, 4, 4), start=0)])
    assert max(map(len, seen(model, state, chunks))) == 2


# -------------------------------------------------------------------------------------------------- waypoints


class Drawn:
    """Notes what is to be drawn, and of what; beginnings differ from each other, by 1."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.known: list[list[int] | None] = []

    def __call__(self, start: int, stop: int, known: AnchorMemory | None) -> Latent:
        self.asked.append((start, stop))
        self.known.append(None if known is None else known.times.tolist()[0])
        return torch.arange(start, stop)[:, None, None].float().expand(1, 4, -1, 4, 4)

    @property
    def waypoints(self) -> list[int]:
        """Where they are; before the first a beginning is drawn again."""
        return sorted({start for start, _ in self.asked[1:]})


def moving(chunks: Sequence[int], speed: float | int) -> LatentState:
    """Return a video that goes on, or hardly so; in the sixth chunk it is where beginnings are."""
    state = static(chunks)
    frames = (torch.arange(sum(chunks))[:, None, None].float() - 18.5) * speed + 24.5
    return replace(state, latent=frames.expand_as(state.latent))


def test_a_short_video_has_no_waypoint(model: VideoTransformer):
    drawn, chunks = Drawn(), (1, *[4] * FREE_CHUNKS)
    assert seen(model, static(chunks), chunks, draw=drawn) == seen(model, static(chunks), chunks)
    assert drawn.asked == []


def test_a_long_video_that_goes_on_goes_from_waypoint_to_waypoint(model: VideoTransformer):
    drawn = Drawn()
    times = seen(model, moving(LONG, 1), LONG, draw=drawn)
    assert times[:6] == [[], [], [], [0], [0], [0]]
    assert times[6:] == [[0, 25]] * 2 + [[0, 33]] * 2 + [[0, 41]] * 2 + [[0]]
    assert drawn.asked == [(21, 25), (25, 29), (33, 37), (41, 45)]
    assert drawn.known == [[0]] * 4, "nothing but the first frame counts for a waypoint"


def test_what_has_come_to_rest_is_drawn_from_the_beginning_and_not_from_its_first_frame(
    model: VideoTransformer,
):
    drawn = Drawn()
    times = seen(model, moving(LONG, 0.1), LONG, draw=drawn)
    assert drawn.asked == [(21, 25), (25, 29), (25, 29), (33, 37), (41, 45)]
    assert drawn.known == [[0]] * 2 + [None] * 3
    assert times[6:10] == [[25]] * 2 + [[20, 33]] * 2
    assert times[-1] == [20], "what fell in the first frame falls again"


def test_motion_and_place_say_whether_it_goes_on():
    def frames(first: float | int, speed: float | int) -> Latent:
        return (torch.arange(4)[:, None, None].float() * speed + first).expand(1, 4, -1, 4, 4)

    again = frames(0, 1), frames(2, 1)
    assert goes_on(frames(1, 1), again)
    assert goes_on(frames(1, 0.5), again)
    assert not goes_on(frames(1, 0.3), again), "it rests"
    assert goes_on(frames(3.8, 1), again)
    assert not goes_on(frames(4, 1), again), "it is elsewhere"


def test_each_text_has_its_own_waypoints_and_none_for_the_next(model: VideoTransformer):
    drawn, chunks = Drawn(), (1, *[4] * 16)
    times = seen(model, moving(chunks, 1), chunks, begins=(0, 33), draw=drawn)
    assert drawn.asked == [(21, 25), (25, 29), (57, 61), (61, 65)]
    assert drawn.known == [[0]] * 2 + [[33]] * 2
    assert times[8] == [0]
    assert times[9:11] == [[], []]


def test_known_frames_that_are_near_come_before_waypoints(model: VideoTransformer):
    near = apply_conditions(static(LONG), [LastFrame(latent=torch.randn(1, 4, 1, 4, 4))])
    drawn = Drawn()
    assert seen(model, near, LONG, draw=drawn) == seen(model, near, LONG)
    assert drawn.asked == []
    # Sixteen seconds are too far to go there all the way
    chunks = (1, *[4] * 16)
    far = apply_conditions(static(chunks), [LastFrame(latent=torch.randn(1, 4, 1, 4, 4))])
    times = seen(model, far, chunks, draw=drawn)
    assert drawn.waypoints[0] == 25
    assert max(drawn.waypoints) <= 33
    assert [each[-1] for each in times[10:]] == [64] * 7


CLEAN = torch.randn(1, 4, 49, 4, 4, generator=torch.Generator().manual_seed(1))
LEFT = torch.zeros(1, 1, 49, 4, 4, dtype=torch.bool).index_fill(4, torch.tensor([0]), True)


@pytest.mark.parametrize("told", [Region(latent=CLEAN, keep_mask=LEFT), Source(latent=CLEAN, strength=0.9)])
def test_nothing_is_drawn_where_something_is_told(model: VideoTransformer, told: Condition):
    drawn = Drawn()
    seen(model, apply_conditions(static(LONG), [told]), LONG, draw=drawn)
    assert drawn.asked == []


@pytest.mark.parametrize(("given", "first"), [(1, 29), (9, 37), (11, 41)])
def test_a_beginning_is_what_was_made_and_not_what_was_given(model: VideoTransformer, given: int, first: int):
    drawn, latent = Drawn(), torch.randn(1, 4, given, 4, 4)
    seen(model, apply_conditions(static(LONG), [Span(latent=latent, start=0)]), LONG, draw=drawn)
    assert drawn.waypoints[0] == first


def test_each_beginning_is_judged_by_itself(model: VideoTransformer, monkeypatch: pytest.MonkeyPatch):
    """Footage in the middle: before it something goes on, behind it something is over."""
    answers = iter([True, False])
    monkeypatch.setattr("unstatic.generate.anchors.goes_on", lambda *_: next(answers))
    drawn, chunks = Drawn(), (1, *[4] * 30)
    given = Span(latent=torch.randn(1, 4, 4, 4, 4), start=61)
    seen(model, apply_conditions(static(chunks), [given]), chunks, draw=drawn)
    before = [known for (start, _), known in zip(drawn.asked, drawn.known, strict=True) if start < 61]
    behind = [known for (start, _), known in zip(drawn.asked, drawn.known, strict=True) if start > 61]
    assert before == [[0]] * len(before)
    assert behind[:2] == [[64]] * 2, "the last frame that was given is what is drawn again"
    assert behind[2:] == [None] * (len(behind) - 2)
    assert len(behind) > 4


def test_nothing_is_kept_for_waypoints_that_are_never_drawn(model: VideoTransformer):
    anchors = Anchors(model, static(LONG), lambda rows: rows)
    anchors.begin(model.encode_text(texts(0)), 0, None)
    assert not any(anchors.ends_beginning(start) for start in range(len(LONG) * 4))


@pytest.mark.parametrize("lasts", [True, False])
def test_a_waypoint_does_not_know_what_came_last(
    model: VideoTransformer, monkeypatch: pytest.MonkeyPatch, lasts: bool
):
    """Or else what went wrong would come along."""
    drawn: list[list[Tensor]] = []
    inner = Anchors._drawn
    monkeypatch.setattr("unstatic.generate.anchors.goes_on", lambda *_: lasts)

    def noted(self: Anchors, *args: Any) -> tuple[int, Tensor]:
        found = inner(self, *args)
        drawn[-1].append(found[1])
        return found

    monkeypatch.setattr(Anchors, "_drawn", noted)
    chunks = (1, *[4] * (FREE_CHUNKS + 4))
    other = chunk_noise(SHAPE, chunks, (6,))
    for last in (False, True):
        drawn.append([])
        state = static(chunks)
        if last:  # other static in the two chunks before the second waypoint
            latent = state.latent.clone()
            latent[:, :, 25:33] = other[:, :, 25:33]
            state = LatentState.static(latent)
        sampling = Sampling(sigmas=linear(3), solver=euler, prediction="x0", guidance=1.0, history_sigma=0.1)
        script = Script(starts=(0,), read=lambda _: model.encode_text(texts(0)))
        list(stream_latents(model, state, script, sampling, (5,)))
    same, changed = drawn
    assert len(same) == 2
    assert torch.equal(same[1], changed[1])
    assert not torch.equal(*same)


def test_waypoints_change_a_long_video_and_only_behind_its_beginning(model: VideoTransformer):
    plain, long = (
        final(stream(model, static(ENOUGH), replace(SAMPLING, waypoints=on))) for on in (False, True)
    )
    free = sum(ENOUGH[:FREE_CHUNKS])
    assert torch.equal(plain[:, :, :free], long[:, :, :free])
    assert not torch.allclose(plain[:, :, free:], long[:, :, free:])


def test_waypoints_cost_the_steps_of_a_chunk_each_and_are_not_shown(
    model: VideoTransformer, passes: list[int], monkeypatch: pytest.MonkeyPatch
):
    counts: list[int] = []
    monkeypatch.setattr("unstatic.generate.anchors.goes_on", lambda *_: True)
    for chunks, on in ((ENOUGH, False), (ENOUGH, True), ((*ENOUGH, 4, 4), True)):
        passes.clear()
        events = list(stream(model, static(chunks), replace(SAMPLING, waypoints=on)))
        assert final(iter(events)).shape[2] == sum(chunks)
        counts.append(len(passes))
    without, one, two = counts
    # The first costs one more, to see whether the video goes on
    assert one - without == 2 * 3
    assert two - one == 2 * (3 + 1) + 3


def test_several_processes_have_no_waypoints(model: VideoTransformer, monkeypatch: pytest.MonkeyPatch):
    plain = final(stream(model, static(ENOUGH), replace(SAMPLING, waypoints=False)))
    monkeypatch.setattr("unstatic.generate.stream.this_process", lambda: Place(size=2, rank=0))
    assert torch.equal(final(stream(model, static(ENOUGH))), plain)
