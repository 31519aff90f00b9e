import json
from collections.abc import Callable

import numpy as np
import pytest

from unstatic.evals.follow import REAL, RECONSTRUCTION, Answer, answer_sheet, follow, remark, said
from unstatic.evals.intervals import Score
from unstatic.evals.prompts import Prompt, Suite, load_suite
from unstatic.evals.readings import Reading, Thing, truth


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("objects").first(20)


class Scripted:
    """Reads what it is told to, whatever the frames show."""

    def __init__(self, answers: Callable[[int], Reading]):
        self.answers, self.asked = answers, 0

    def read(self, frames: np.ndarray) -> Reading:
        assert frames.dtype == np.uint8
        self.asked += 1
        return self.answers(self.asked - 1)


def reading_of(prompt: Prompt, **changes: object) -> Reading:
    return truth(prompt.spec)._replace(**changes)


def blank(_: Prompt) -> np.ndarray:
    return np.zeros((65, 64, 64, 3), np.uint8)


def test_every_atom_is_counted_among_the_prompts_that_name_it(suite: Suite) -> None:
    prompts = suite.prompts
    way = sum("direction" in prompt.asked for prompt in prompts)
    assert 0 < way < len(prompts)

    # The real renders are read right, the model's clips with the wrong way to go and the first colour wrong
    def answer(number: int) -> Reading:
        prompt = prompts[number // 2]
        if number % 2 == 0:
            return reading_of(prompt)
        changed = {"objects": (Thing("none", prompt.spec.objects[0].shape),)} if number == 1 else {}
        return reading_of(prompt, direction="nowhere", **changed)

    real, model = follow({"model": blank}, suite, [Scripted(answer)]).columns
    assert all(real.score(atom).share == 1.0 for atom in ("colour", "shape", "event", "action", "all"))
    assert (model.score("colour").right, model.score("colour").total) == (len(prompts) - 1, len(prompts))
    assert (model.score("direction").right, model.score("direction").total) == (0, way)
    assert model.score("action").right == len(prompts) - way
    assert model.score("event").share == 1.0
    assert model.score("animal").total == model.score("camera").total == 0
    assert model.confusions("colour") == {prompts[0].asked["colour"]: {"none": 1}}


def test_a_slow_maker_may_film_the_first_prompts_only(suite: Suite) -> None:
    reader = Scripted(lambda _: truth(suite.prompts[0].spec))
    filmed: list[tuple[str, str]] = []
    found = follow(
        {"slow": blank, "quick": blank},
        suite,
        [reader],
        only={"slow": 3},
        watch=lambda name, answer, _: filmed.append((name, answer.prompt.text)),
    )
    assert {column.name: len(column.answers) for column in found.columns} == {
        REAL: 20,
        "slow": 3,
        "quick": 20,
    }
    assert [text for name, text in filmed if name == "slow"] == [each.text for each in suite.prompts[:3]]
    assert found.columns[1].score("event").total == 3
    facts = found.to_json()["columns"]
    assert facts["quick"]["scores_of_first"]["3"]["event"]["total"] == 3
    assert (
        facts["quick"]["scores_of_first"]["3"]["event"]["right"] == facts["slow"]["scores"]["event"]["right"]
    )
    assert "scores_of_first" not in facts["slow"] | facts[REAL]


def test_what_was_never_seen_is_counted_where_it_is_asked_for() -> None:
    suite = load_suite("held-out")
    asked = [prompt for prompt in suite.prompts if prompt.asks_for_unseen]
    assert len(asked) == 132  # the other 28 are of a material in an event, and no parser reads materials
    some = Suite("held-out", (*asked[:2], next(each for each in suite.prompts if not each.asks_for_unseen)))
    (real,) = follow({}, some, [Scripted(lambda number: reading_of(some.prompts[number]))]).columns
    assert real.score("unseen") == Score(2, 2)
    assert real.score("all") == Score(3, 3)
    assert not any(prompt.asks_for_unseen for prompt in load_suite("animals").prompts)


def test_an_atom_is_right_only_if_all_parsers_read_it(suite: Suite) -> None:
    few = suite.first(4)
    right = Scripted(lambda number: reading_of(few.prompts[number]))
    wrong_once = Scripted(
        lambda number: reading_of(few.prompts[number], **({"event": "shower"} if number == 2 else {}))
    )
    (real,) = follow({}, few, [right, wrong_once]).columns
    assert (real.score("event").right, real.score("event").total) == (3, 4)
    assert [real.agreement("event", reader).right for reader in (0, 1)] == [4, 3]
    assert real.confusions("event") == {few.prompts[2].asked["event"]: {"shower": 1}}


def test_pairs_are_sets_of_colour_and_shape() -> None:
    few = load_suite("pairs").first(3)

    def swapped(number: int) -> Reading:
        one, other = truth(few.prompts[number].spec).objects
        mixed_up = (Thing(one.colour, other.shape), Thing(other.colour, one.shape))
        return reading_of(few.prompts[number], objects=mixed_up if number == 1 else (other, one))

    (real,) = follow({}, few, [Scripted(swapped)]).columns
    assert (real.score("binding").right, real.score("binding").total) == (2, 3)
    assert real.score("all").right == 2


def test_animals_are_asked_for_their_motion_and_cameras_for_their_move() -> None:
    animals, cameras = load_suite("animals").first(7), load_suite("cameras").first(9)
    for few, atoms in ((animals, ("animal", "motion")), (cameras, ("camera",))):
        reader = Scripted(lambda number, few=few: reading_of(few.prompts[number]))
        (real,) = follow({}, few, [reader]).columns
        assert all(real.score(atom).share == 1.0 for atom in atoms)
    assert {prompt.asked["camera"] for prompt in cameras.prompts} >= {"in", "out", "up", "down", "orbit"}


def test_reconstructions_stand_between_renders_and_models(suite: Suite) -> None:
    few = suite.first(2)
    ticks: list[int] = []
    watched: list[tuple[str, Answer]] = []
    result = follow(
        {"model": blank},
        few,
        [Scripted(lambda _: reading_of(few.prompts[0]))],
        reconstruct=lambda frames: frames,
        watch=lambda column, answer, _frames: watched.append((column, answer)),
        advance=lambda: ticks.append(1),
    )
    assert [column.name for column in result.columns] == [REAL, RECONSTRUCTION, "model"]
    assert len(ticks) == 2
    assert [column for column, _ in watched] == 2 * [REAL, RECONSTRUCTION, "model"]

    facts = json.loads(json.dumps(result.to_json()))
    assert facts["columns"]["model"]["scores"]["shape"]["total"] == 2
    assert facts["fingerprint"] == few.fingerprint
    header, _, *rows = result.to_markdown().splitlines()
    assert header == "| objects, 2 prompts | real render | reconstruction | model |"
    assert len(rows) == len(result.atoms)


def test_remarks_say_what_is_wrong(suite: Suite) -> None:
    prompt = suite.prompts[0]
    right = Answer(prompt, (reading_of(prompt),), blank(prompt)[:1])
    assert remark(right).startswith(prompt.text)
    assert "WRONG" not in remark(right)
    wrong = Answer(prompt, (reading_of(prompt), reading_of(prompt, event="shower")), blank(prompt)[:1])
    assert f"SHOWER WRONG (asked: {prompt.asked['event']})" in remark(wrong)
    assert said(frozenset({("red", "ball"), ("blue", "cube")})) == "blue cube and red ball"
    assert said("") == "nothing"


def test_the_sheet_shows_every_answer(suite: Suite) -> None:
    few = suite.first(3)
    (column,) = follow({}, few, [Scripted(lambda _: reading_of(few.prompts[0]))]).columns
    sheet = answer_sheet(column.answers)
    assert sheet.shape[2] == 3
    assert sheet.shape[0] > 2 * 64


def test_renders_can_be_as_large_as_the_films_beside_them(suite: Suite) -> None:
    seen: list[tuple[int, ...]] = []
    one = suite.first(1)
    follow(
        {},
        one,
        [Scripted(lambda _: reading_of(one.prompts[0]))],
        enlarge=2,
        watch=lambda _, __, frames: seen.append(frames.shape),
    )
    spec = one.prompts[0].spec
    assert seen == [(spec.frames, 2 * spec.height, 2 * spec.width, 3)]
