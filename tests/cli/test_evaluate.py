"""`unstatic eval`: tables, JSON, the folder of results, and wrong questions."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unstatic.evals.follow import ATOMS
from unstatic.media.read import read_picture

Run = Callable[..., object]


@pytest.fixture(scope="module")
def quick() -> tuple[object, ...]:
    """Return options that keep it short."""
    return ("--prompts", 2, "--steps", 1)


def test_all_suites_are_measured(unstatic: Run, tiny_model: Path, quick: tuple[object, ...]):
    ran = unstatic("eval", tiny_model, *quick, "-o", "results")
    assert (ran.code, ran.files) == (0, ["answers.png", "evaluation.json", "results"])
    assert "| first-light, 2 prompts | real render | reconstruction | tiny |" in ran.out
    assert "| PSNR, 2 held-out clips | pooled | mean of clips |" in ran.out
    assert "first-light 2/2" in ran.err
    assert "reconstruction 2/2" in ran.err

    facts = json.loads(Path("results/evaluation.json").read_text())
    assert (facts["model"], facts["steps"]) == ("tiny", 1)
    columns = facts["first-light"]["columns"]
    assert list(columns) == ["real render", "reconstruction", "tiny"]
    assert columns["real render"]["scores"].keys() == set(ATOMS)
    assert facts["reconstruction"]["whole"]["pooled"] < 30, "random weights give nothing back"
    assert read_picture(Path("results/answers.png")).ndim == 4


def test_one_suite_as_json(unstatic: Run, tiny_model: Path):
    ran = unstatic("eval", tiny_model, "--suite", "reconstruction", "--prompts", 1, "--json")
    assert (ran.code, ran.files) == (0, [])
    facts = json.loads(ran.out)
    assert facts.keys() == {"model", "steps", "reconstruction"}
    assert len(facts["reconstruction"]["clips"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nanoo"], "nanoo"),
        (["TINY", "--suite", "second-light"], "first-light or reconstruction"),
        (["TINY", "--prompts", "0"], "--prompts"),
        (["TINY", "--steps", "0"], "steps is 0"),
        ([], "MODEL"),
    ],
)
def test_wrong_questions_are_one_line(unstatic: Run, tiny_model: Path, arguments: list[str], message: str):
    ran = unstatic("eval", *[str(tiny_model) if each == "TINY" else each for each in arguments])
    assert ran.code == 2
    assert message in ran.complaint
    assert ran.files == []
