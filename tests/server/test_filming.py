"""How a spec becomes a plan, where no other test says it: characters, spans that are kept."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.evals.prompts import load_suite
from unstatic.generate.api import Model
from unstatic.generate.footage import read_source
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Plan
from unstatic.media.write import VideoWriter
from unstatic.server.filming import CHARACTER_FRAMES, plan_of
from unstatic.server.spec import Card, Role, Spec
from unstatic.world.clip import make_clip

PROMPT = "Mossy slides on grass at night"
Planned = Callable[..., Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Return what plans a film with Mossy, whose clip shows a yellow cone."""
    scene = replace(load_suite("objects").prompts[0].spec, frames=33)
    with VideoWriter(tmp_path / "clip.mp4", fps=16) as writer:
        writer.write(make_clip(scene, enlarge=2).frames)

    def plan(model: Model, *roles: Role, prompt: str = PROMPT) -> Plan:
        spec = Spec(task="create", prompt=prompt, seed=1, seconds=1.0, characters=roles)
        return plan_of(spec, model, lambda key: tmp_path / key)

    return plan


@pytest.fixture
def other(nano: Model) -> Model:
    """Return a model whose clips nobody can read: it is not said to know the world only."""
    assert isinstance(nano.engine, NativeEngine)
    engine = copy.copy(nano.engine)
    engine.manifest = replace(engine.manifest, expander="")
    return Model(engine)


def test_the_look_is_read_in_the_clip_and_the_scene_is_the_prompts(nano: Model, planned: Planned):
    made = planned(nano, Role(name="Mossy", clip="clip.mp4"))
    assert made.text == made.prompt == "a yellow cone slides on grass at night"
    assert (made.skip, made.footage) == (0, ())
    assert made.warnings == ("Mossy is filmed as a yellow cone: its clip shows that",)


def test_a_description_is_believed(nano: Model, other: Model, planned: Planned):
    role = Role(name="Mossy", clip="missing.mp4", description="a big red ball")
    for model in (nano, other):
        made = planned(model, role)
        assert made.prompt == "a big red ball slides on grass at night"
        assert (made.skip, made.footage, made.warnings) == (0, (), ())


def test_without_words_the_film_goes_on_from_the_clip(other: Model, planned: Planned):
    role = Role(name="Mossy", clip="clip.mp4")
    made = planned(other, role)
    assert made.text == PROMPT
    assert made.skip == CHARACTER_FRAMES
    assert [len(each.frames) for each in made.footage] == [CHARACTER_FRAMES]
    told = Role(name="Rex", clip="missing.mp4", description="a husky")
    made = planned(other, role, told, prompt="Mossy meets Rex")
    assert (made.text, made.skip) == ("Mossy meets a husky", CHARACTER_FRAMES)
    two = planned(other, role, replace(role, name="Bo"), prompt="Mossy meets Bo")
    assert two.skip == sum(len(each.frames) for each in two.footage) == CHARACTER_FRAMES + 16


@pytest.mark.parametrize(("cut", "cuts"), [(None, {2}), (False, set[int]()), (True, {1, 2})])
def test_a_card_may_say_whether_a_scene_begins(nano: Model, tmp_path: Path, cut: bool | None, cuts: set[int]):
    later = ("it stops", cut), ("a fox walks by", cut)
    following = (Card(at=float(at), prompt=prompt, cut=told) for at, (prompt, told) in enumerate(later, 1))
    cards = (Card(at=0.0, prompt="a red ball rolls on grass at night"), *following)
    spec = Spec(task="storyboard", prompt=PROMPT, seed=1, seconds=4.0, cards=cards)
    assert plan_of(spec, nano, lambda key: tmp_path / key).cuts == cuts


def test_a_storyboards_cards_are_called_as_clients_do(nano: Model, planned: Planned, tmp_path: Path):
    planned(nano)  # after which its clip is there
    cards = (Card(at=0.0, video="clip.mp4"), Card(at=1.0, video="clip.mp4"))
    spec = Spec(task="storyboard", prompt=PROMPT, seed=1, seconds=4.0, cards=cards)
    with pytest.raises(
        InputError, match=r"^cards\[1\] \(at 1 s\) begins before cards\[0\] \(at 0 s, until"
    ) as caught:
        plan_of(spec, nano, lambda key: tmp_path / key)
    assert "mp4" not in str(caught.value)


@pytest.mark.usefixtures("planned")
def test_a_recut_keeps_its_span_alone(nano: Model, tmp_path: Path):
    spec = Spec(task="recut", prompt="", seed=1, video="clip.mp4", keep=(0.5, 1.25), before=0.5, after=1.0)
    made = plan_of(spec, nano, lambda key: tmp_path / key)
    assert made.frames == 8 + 12 + 16
    (kept,) = made.footage
    assert (kept.first - made.skip, len(kept.frames)) == (8, 12)
    whole = read_source(tmp_path / "clip.mp4", nano.manifest).frames
    assert np.array_equal(kept.frames, whole[8:20])
