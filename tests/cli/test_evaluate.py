"""`unstatic eval`: tables, JSON, the folder of results, and wrong questions."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unstatic.media.read import read_picture

Run = Callable[..., object]


@pytest.fixture(scope="module")
def quick() -> tuple[object, ...]:
    """Return options that keep it short."""
    return ("--prompts", 1, "--steps", 1, "--few-steps", 2)


@pytest.mark.slow
def test_all_parts_are_measured_and_shown(unstatic: Run, tiny_model: Path, quick: tuple[object, ...]):
    ran = unstatic("eval", tiny_model, *quick, "-o", "results")
    assert ran.code == 0, ran.err
    assert {"evaluation.json", "report.html", "answers-objects.png", "parts", "clips"} <= set(ran.files)
    assert "| objects, 1 prompts | real render | reconstruction | tiny, 1 steps | tiny, 2 steps |" in ran.out
    assert "| PSNR, 1 held-out clips | pooled | mean of clips |" in ran.out
    assert "| possible or impossible, 1 cases | right |" in ran.out
    assert "objects 1/1" in ran.err

    facts = json.loads(Path("results/evaluation.json").read_text())
    assert facts["model"] == "tiny"
    assert set(facts) >= {"objects", "possible", "reconstruction"}
    assert facts["reconstruction"]["whole"]["pooled"] < 30, "random weights give nothing back"
    assert read_picture(Path("results/answers-objects.png")).ndim == 4
    page = Path("results/report.html").read_text()
    assert all(f"<h2>{name}</h2>" in page for name in ("objects", "possible"))

    # What was measured is not measured again
    again = unstatic("eval", tiny_model, *quick, "-o", "results")
    assert again.out == ran.out
    assert "objects 1/1" not in again.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "results"), "stopped; the same command goes on at the film where it was"),
        ((), "stopped, nothing was written"),
    ],
)
def test_ctrl_c_says_what_is_kept(
    unstatic: Run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
):
    def stop(*_: object):
        raise KeyboardInterrupt

    monkeypatch.setattr("unstatic.presets.evaluation.whole_film", stop)
    ran = unstatic("eval", tiny_model, "--suite", "objects", "--prompts", 1, *options)
    assert ran.code == 130
    assert ran.complaint == f"unstatic: {said}"


def test_one_suite_as_json(unstatic: Run, tiny_model: Path):
    ran = unstatic("eval", tiny_model, "--suite", "reconstruction", "--prompts", 1, "--json")
    assert (ran.code, ran.files) == (0, [])
    facts = json.loads(ran.out)
    assert facts.keys() == {"model", "digest", "commit", "command", "reconstruction"}
    told = f"unstatic eval {tiny_model} --suite reconstruction --prompts 1 -o report"
    assert (facts["model"], facts["command"]) == ("tiny", told)
    assert len(facts["reconstruction"]["clips"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nanoo"], "nanoo"),
        (["TINY", "--suite", "second-light"], "first-light, objects"),
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
