import json
from collections.abc import Callable

import numpy as np
import pytest

from unstatic.evals.follow import REAL, RECONSTRUCTION, answer_sheet, follow
from unstatic.evals.parser import Reading, load_parser
from unstatic.evals.prompts import Prompt, Suite, first_light
from unstatic.world.clip import make_clip


@pytest.fixture(scope="module")
def suite() -> Suite:
    return first_light(20)


@pytest.fixture(scope="module")
def renders(suite: Suite) -> dict[Prompt, np.ndarray]:
    return {prompt: make_clip(prompt.spec).frames for prompt in suite.prompts}


class Scripted:
    """Reads what it is told to, whatever the frames show."""

    def __init__(self, answers: Callable[[int], Reading]):
        self.answers, self.asked = answers, 0

    def read(self, frames: np.ndarray) -> Reading:
        assert frames.dtype == np.uint8
        self.asked += 1
        return self.answers(self.asked - 1)


def reading_of(prompt: Prompt, **changes: str) -> Reading:
    fields = {atom: getattr(prompt, atom) for atom in ("colour", "shape", "event", "direction")}
    return Reading(**(fields | changes), confidences={})


def blank(_: Prompt) -> np.ndarray:
    return np.zeros((65, 64, 64, 3), np.uint8)


@pytest.mark.slow
def test_real_renders_score_high_and_shuffled_prompts_score_chance(suite, renders):
    prompts = suite.prompts
    shuffled = dict(zip(prompts, prompts[7:] + prompts[:7], strict=True))
    makers = {"again": renders.__getitem__, "shuffled": lambda prompt: renders[shuffled[prompt]]}
    real, again, wrong = follow(makers, suite, load_parser()).columns
    for atom in ("colour", "shape", "motion"):
        assert real.score(atom).share >= 0.85, (atom, real.confusions("event"))
        assert again.score(atom) == real.score(atom)
        assert wrong.score(atom).share <= 0.45
    assert wrong.score("all").share <= 0.1


def test_every_atom_is_counted_among_the_prompts_that_name_it(suite):
    prompts = suite.prompts
    said = sum(bool(prompt.direction) for prompt in prompts)
    assert 0 < said < len(prompts)

    # The real renders are read right, the model's clips with the wrong way to go and the first colour wrong
    def answer(number: int) -> Reading:
        prompt = prompts[number // 2]
        if number % 2 == 0:
            return reading_of(prompt)
        return reading_of(prompt, direction="nowhere", **({"colour": "none"} if number == 1 else {}))

    real, model = follow({"model": blank}, suite, Scripted(answer)).columns
    assert {atom: real.score(atom).share for atom in ("colour", "shape", "motion", "all")} == dict.fromkeys(
        ("colour", "shape", "motion", "all"), 1.0
    )
    assert (model.score("colour").right, model.score("colour").total) == (len(prompts) - 1, len(prompts))
    assert (model.score("direction").right, model.score("direction").total) == (0, said)
    assert model.score("motion").right == len(prompts) - said
    assert model.score("event").share == 1.0
    assert model.confusions("colour") == {prompts[0].colour: {"none": 1}}


def test_reconstructions_stand_between_renders_and_models(suite):
    few = Suite(suite.name, suite.prompts[:2])
    ticks: list[int] = []
    result = follow(
        {"model": blank},
        few,
        Scripted(lambda _: reading_of(few.prompts[0])),
        reconstruct=lambda frames: frames,
        advance=lambda: ticks.append(1),
    )
    assert [column.name for column in result.columns] == [REAL, RECONSTRUCTION, "model"]
    assert len(ticks) == 2

    facts = json.loads(json.dumps(result.to_json()))
    assert facts["columns"]["model"]["scores"]["shape"]["total"] == 2
    assert facts["fingerprint"] == few.fingerprint
    header, _, *rows = result.to_markdown().splitlines()
    assert header == "| first-light, 2 prompts | real render | reconstruction | model |"
    assert len(rows) == 6


def test_the_sheet_shows_every_answer(suite):
    few = Suite(suite.name, suite.prompts[:3])
    (column,) = follow({}, few, Scripted(lambda _: reading_of(few.prompts[0]))).columns
    sheet = answer_sheet(column.answers)
    assert sheet.shape[2] == 3
    assert sheet.shape[0] > 2 * 64
