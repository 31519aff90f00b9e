"""What is said when: which prompts are seen, and which of them begin a new scene."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.diffusion.condition import Cue
from unstatic.generate.footage import Footage
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.texts import chunk_starts
from unstatic.models.manifest import Manifest, read_manifest

FIRST = "a red ball rolls across sand"


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return read_manifest(tiny_model)


@pytest.fixture
def world(manifest: Manifest) -> Manifest:
    """Return a model that reads captions of the world."""
    return replace(manifest, expander="world", max_seconds=60.0)


def planned(world: Manifest, *cues: Cue, **options: object) -> Plan:
    return plan(Request(**{"prompt": FIRST, "seconds": 6.0, "cues": cues, "expand": True} | options), world)


def test_a_prompt_that_no_chunk_begins_with_is_warned_about(manifest: Manifest):
    cues = tuple(
        Cue(at=at / 16, prompt=prompt) for at, prompt in ((38, "a cone"), (32, "a cube"), (63, "fog"))
    )
    made = plan(Request(prompt="a ball", cues=cues), manifest)
    assert chunk_starts([first for first, _ in made.texts], made.chunks, manifest.compression) == (
        0,
        9,
        9,
        13,
    )
    assert made.warnings == (
        'the prompt "a cube" at 2 s is not seen: another at 2.375 s falls within the same 1 s, which'
        " tiny makes at once",
    )
    again = (*cues, Cue(at=0.0, prompt="a ring"), Cue(at=2.4, prompt="a cone"))
    warnings = plan(Request(prompt="a ball", cues=again), manifest).warnings
    assert [warning.partition(" is not seen: another at ")[0] for warning in warnings] == [
        'the prompt "a ball" at 0 s',
        'the prompt "a cube" at 2 s',
    ], "the same words are seen"


def test_what_names_something_new_begins_a_scene_unless_it_is_said(manifest: Manifest):
    prompts = ("it stops", "a fox walks by", "the fox eats", "a blue cube spins")
    told = {3: True, 4: False}
    cues = tuple(Cue(at=2.0 * n, prompt=prompt, cut=told.get(n)) for n, prompt in enumerate(prompts, 1))
    request = Request(prompt="a red ball rolls across sand", seconds=10.0, cues=cues, expand=True)
    world = replace(manifest, expander="world", max_seconds=60.0)
    assert plan(request, world).cuts == {2, 3}
    assert plan(request, world).texts[1][1].startswith("a red ball rests on sand")
    typed = plan(replace(request, expand=False), world)
    assert (typed.cuts, typed.texts[1][1]) == ({2, 3}, "it stops")
    assert plan(request, replace(manifest, max_seconds=60.0)).cuts == {3}, "who does not understand goes on"


@pytest.mark.parametrize("told", [None, True])
def test_a_prompt_at_the_very_beginning_is_no_cut(world: Manifest, told: bool | None):
    made = planned(world, Cue(at=0.02, prompt="a fox walks by", cut=told))
    assert (made.cuts, made.cut_frames) == (frozenset(), frozenset())


def test_the_frame_of_a_cut_is_that_of_its_chunk(world: Manifest):
    made = planned(world, Cue(at=2.1, prompt="a fox walks by"))
    assert made.texts[1][0] == 34
    assert made.cut_frames == {33}
    assert planned(world, Cue(at=2.1, prompt="a fox walks by"), lead=16).cut_frames == {33}


@pytest.mark.parametrize(("at", "frame"), [(0.05, None), (0.1, None), (0.5, None), (0.55, 17), (0.7, 17)])
def test_no_scene_is_the_flash_of_a_single_frame(world: Manifest, at: float, frame: int | None):
    """The second latent frame is the film's second frame: a cut there would show the first scene for one."""
    made = planned(world, Cue(at=at, prompt="a fox walks by"))
    assert made.cut_frames == ({frame} if frame else set())
    unseen = any(f'the prompt "{FIRST}" at 0 s is not seen' in warning for warning in made.warnings)
    assert unseen == (frame is None)
    fox, bear = Cue(at=0.2, prompt="a fox walks by"), Cue(at=at + 0.2, prompt="a brown bear walks by")
    assert 1 not in planned(world, fox, bear).cut_frames
    goes_on = planned(world, Cue(at=0.1, prompt="it stops"))
    assert chunk_starts([first for first, _ in goes_on.texts], goes_on.chunks, world.compression) == (0, 1)
    assert goes_on.warnings == ()


def test_in_a_film_of_two_chunks_a_cut_at_the_second_frame_is_at_once(world: Manifest):
    made = planned(world, Cue(at=0.6, prompt="a fox walks by"), seconds=1.0)
    assert (len(made.chunks), made.cut_frames) == (2, frozenset())


@pytest.mark.parametrize(
    ("between", "last", "cuts"),
    [
        (None, None, {2}),
        (None, False, set[int]()),
        (False, None, set[int]()),
        (True, None, {2}),
        (False, True, {2}),
    ],
)
def test_of_prompts_in_one_chunk_one_may_bring_the_scene_and_the_last_is_seen(
    world: Manifest, between: bool | None, last: bool | None, cuts: set[int]
):
    fox = Cue(at=2.0, prompt="a fox walks by", cut=between)
    assert planned(world, fox, Cue(at=2.2, prompt="it eats", cut=last)).cuts == cuts


def test_where_something_is_given_there_is_no_cut_and_one_that_was_asked_for_is_missed(
    world: Manifest, make_frames
):
    native = world.sizes[0]
    shown = Footage(first=33, frames=make_frames(8, native.width, native.height))
    fox = Cue(at=2.0, prompt="a fox walks by")
    told = replace(fox, cut=True)
    message = "there is no cut at 2 s: what is seen there is given"
    for options in ({"footage": (shown,)}, {"source": make_frames(96, native.width, native.height)}):
        silent, loud = (planned(world, each, **options) for each in (fox, told))
        assert (silent.cuts, loud.cuts) == (frozenset(), frozenset())
        assert message in loud.warnings
        assert message not in silent.warnings
    before = replace(shown, first=17)
    assert planned(world, fox, footage=(before,)).cuts == {1}
    end = planned(world, replace(fox, at=5.0), last_image=make_frames(1, native.width, native.height)[0])
    assert end.cuts == frozenset()


def test_a_picture_that_nobody_described_is_not_cut_away_from(world: Manifest, make_frames):
    image = np.asarray(make_frames(1, 64, 64)[0])
    cue = Cue(at=2.0, prompt="the ball bounces")
    assert planned(world, cue, prompt="gentle motion", image=image).cuts == frozenset()
    assert planned(world, cue, prompt="", image=image).cuts == frozenset()


def test_a_rewriter_hears_what_comes_before_and_does_not_judge_scenes(world: Manifest):
    heard: list[str] = []

    def rewriter(prompt: str) -> str:
        heard.append(prompt)
        return f"{prompt}, with a blue cube beside it"

    made = planned(world, Cue(at=2.0, prompt="it stops"), Cue(at=4.0, prompt="a fox"), rewriter=rewriter)
    assert heard[0] == FIRST
    assert heard[1].startswith("a red ball rests on sand")
    assert made.cuts == {2}
