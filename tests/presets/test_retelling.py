"""Remixes and cards: what is asked for, and that a model without a fault gets all of it right."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from unstatic.evals.follow import REAL
from unstatic.evals.prompts import Prompt, load_suite
from unstatic.evals.readings import Frames, Reading, truth
from unstatic.generate.engine import Frames as Stretch
from unstatic.generate.request import Plan
from unstatic.models.manifest import find_model
from unstatic.presets.retelling import (
    CARD_NAMES,
    SOURCE,
    card_prompts,
    measure_cards,
    measure_remixes,
    recoloured,
    remix_prompts,
    seen_from,
)
from unstatic.world.held_out import held_out
from unstatic.world.relations import hero
from unstatic.world.spec import SceneSpec

SIDE = 128


class Faultless:
    """A model whose films are one grey level each, that of what their prompt asks for."""

    def __init__(self, *prompts: Prompt):
        self.manifest = find_model("nano").manifest
        self.device = torch.device("cpu")
        self.levels = {prompt.text: number for number, prompt in enumerate(prompts)}
        self.readings = {number: truth(prompt.spec) for number, prompt in enumerate(prompts)}
        self.plans: list[Plan] = []

    def stream(self, plan: Plan, *, previews_per_s: float = 0) -> Iterator[Stretch]:
        assert not previews_per_s
        self.plans.append(plan)
        frames = np.zeros((plan.frames, SIDE, SIDE, 3), np.uint8)
        for first, text in plan.texts:
            begin = first and seen_from(plan, self.manifest.compression)
            frames[begin:] = self.levels[text]
        yield Stretch(0, frames)

    def read(self, frames: Frames) -> Reading:
        """Read the level of most frames; of a render, what its scene says (`rendered`)."""
        level = int(np.median(frames))
        return self.readings[level]

    def rendered(self, spec: SceneSpec) -> Frames:
        """Stand for a render of a scene."""
        self.readings.setdefault(100 + len(self.readings), truth(spec))
        level = next(level for level, reading in self.readings.items() if reading == truth(spec))
        return np.full((spec.frames, SIDE, SIDE, 3), level, np.uint8)


def a_prompt(text: str, colour: str = "red") -> Prompt:
    prompt = load_suite("objects").prompts[0]
    objects = tuple(replace(each, colour=colour) for each in prompt.spec.objects)
    return replace(prompt, text=text, spec=replace(prompt.spec, objects=objects))


def test_only_the_colour_of_the_thing_is_told_anew() -> None:
    for before, told in remix_prompts(1000):
        was, now = hero(before.spec), hero(told.spec)
        assert now.colour != was.colour
        assert replace(now, colour=was.colour) == was
        assert replace(told.spec, objects=before.spec.objects) == before.spec
        assert len(told.text.split()) == len(before.text.split())
        assert now.colour in told.text
        assert was.colour not in told.text.lower().split()
        assert not held_out(told.spec)
        assert told.asked == before.asked | {"colour": now.colour}


def test_there_are_enough_of_them_and_they_are_always_the_same() -> None:
    prompts = remix_prompts(1000)
    assert len(prompts) > 100
    assert remix_prompts(7) == prompts[:7]


@pytest.mark.parametrize(
    "text", ["a rose-red cone rests", "a red cone rests on a red floor", "a crimson cone rests"]
)
def test_texts_that_do_not_name_the_colour_once_are_left_out(text: str) -> None:
    assert recoloured(a_prompt("a red cone rests")) is not None
    assert recoloured(a_prompt(text)) is None


def test_a_model_without_a_fault_has_all_remixes_right(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Faultless(*(told for _, told in remix_prompts(3)))

    class Clip:
        def __init__(self, spec: SceneSpec, *, enlarge: int):
            assert enlarge == 2
            self.frames = model.rendered(spec)

    for module in ("unstatic.evals.follow", "unstatic.presets.edit_evaluation"):
        monkeypatch.setattr(f"{module}.make_clip", Clip)
    result = measure_remixes(model, 3, [model], enlarge=2)
    real, source, *remixes = result.columns
    assert (real.name, source.name) == (REAL, SOURCE)
    assert [each.name for each in remixes] == ["strength 0.5", "strength 0.7", "strength 0.9"]
    assert source.score("colour").right == 0
    assert source.score("shape").right == source.score("event").right == 3
    for column in (real, *remixes):
        assert column.score("all").right == column.score("all").total == 3
    assert [plan.strength for plan in model.plans[:3]] == [0.5, 0.7, 0.9]
    sources = [model.read(plan.source).colour for plan in model.plans if plan.source is not None]
    assert sources == [hero(before.spec).colour for before, _ in remix_prompts(3) for _ in remixes]


def test_a_model_without_a_fault_has_all_cards_right() -> None:
    pairs = list(card_prompts(4))
    model = Faultless(*(prompt for pair in pairs for prompt in pair))
    result = measure_cards(model, 4, [model])
    assert [column.name for column in result.columns] == list(CARD_NAMES)
    for column, name in zip(result.columns, ("first", "second"), strict=True):
        assert column.score("all").right == 4, name
    begins = [
        [event for event in result.columns[0].answers if atom in event.prompt.asked]
        for atom in ("shape", "animal")
    ]
    assert [len(each) for each in begins] == [2, 2]
    assert all(plan.frames == 128 for plan in model.plans)
    assert all(plan.cut_frames == {65} for plan in model.plans), "the second card is another scene"


def test_a_model_that_misses_the_second_card_has_it_wrong() -> None:
    pairs = list(card_prompts(2))
    model = Faultless(*(prompt for pair in pairs for prompt in pair))
    for first, second in pairs:
        model.levels[second.text] = model.levels[first.text]
    first, second = measure_cards(model, 2, [model]).columns
    assert (first.score("all").right, second.score("all").right) == (2, 0)
