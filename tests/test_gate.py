"""The gate: what the shipped model must still be able to do, on the first prompts of its suites.

The bounds are far below its figures (docs/model-cards/nano.md), as few prompts allow no more: a model that
passes is not good, one that fails is broken. What prompts ask for is here; the rest is in test_gate_films.py,
so that two processes share the films.
"""

import json
from dataclasses import replace

import pytest
from gate import FEW, MANY, measured, plan

from unstatic.generate.native import NativeEngine, load_native
from unstatic.models.manifest import find_model
from unstatic.presets import evaluation
from unstatic.presets.evaluation import EvaluationPlan, run_evaluation
from unstatic.presets.evaluation_report import write_report

PROMPTS, SLOW_PROMPTS = 10, 4
LEAST = {
    "objects": {"colour": 0.6, "shape": 0.2, "event": 0.5},
    "animals": {"animal": 0.3, "motion": 0.2},
}
LEAST_CAMERA = 0.3

# Thirty films of four seconds as the model makes them, and nine with 48 passes for each chunk
pytestmark = [pytest.mark.plain, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def engine() -> NativeEngine:
    return load_native(find_model("nano"))


@pytest.fixture(scope="module")
def following(engine: NativeEngine, tmp_path_factory: pytest.TempPathFactory) -> EvaluationPlan:
    todo = plan(tmp_path_factory.mktemp("report"), *LEAST, prompts=PROMPTS, slow_prompts=SLOW_PROMPTS)
    return todo.on(engine.device)


@pytest.fixture(scope="module")
def report(engine: NativeEngine, following: EvaluationPlan) -> dict:
    return measured(engine, following, replace(following, parts=("cameras",), slow_prompts=1))


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "atom"), [(suite, atom) for suite in LEAST for atom in LEAST[suite]])
def test_it_follows_prompts(report: dict, suite: str, atom: str) -> None:
    real, reconstruction, many, few = report[suite]["columns"].values()
    assert few["scores"][atom]["share"] >= LEAST[suite][atom], few["answers"]
    assert real["scores"][atom]["share"] >= few["scores"][atom]["share"] - 0.1
    assert reconstruction["scores"][atom]["total"] == few["scores"][atom]["total"] == PROMPTS
    assert many["scores"][atom]["total"] == SLOW_PROMPTS


@pytest.mark.slow
def test_it_moves_the_camera_as_asked(report: dict) -> None:
    few = report["cameras"]["columns"][FEW]
    assert few["scores"]["camera"]["share"] >= LEAST_CAMERA, few["answers"]
    assert few["scores"]["camera"]["total"] == PROMPTS


@pytest.mark.slow
def test_many_steps_see_what_is_asked_for_too(report: dict) -> None:
    many = report["objects"]["columns"][MANY]
    assert many["scores"]["colour"]["right"] >= 2, many["answers"]


@pytest.mark.slow
def test_the_report_shows_it_and_measured_parts_are_not_measured_again(
    engine: NativeEngine, following: EvaluationPlan, report: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = following.folder
    assert folder is not None
    write_report(following, "nano")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == len(LEAST) * PROMPTS
    assert "abc1234" in page
    table = (folder / "table.md").read_text(encoding="utf-8")
    many = f"{MANY}, first {SLOW_PROMPTS}"
    few = f"{FEW} | {FEW}, first {SLOW_PROMPTS}"
    assert table.startswith(f"| | real render | reconstruction | {many} | {few} | aim |")
    assert "commit abc1234" in table
    assert json.loads((folder / "evaluation.json").read_text())["model"] == "nano"
    assert (folder / "answers-objects.png").exists()

    monkeypatch.setattr(evaluation, "_measure", lambda *_: pytest.fail("it was measured again"))
    for name, table, found in run_evaluation(engine, following):
        assert table == report[name]["table"]
        assert found["speed"].keys() == {MANY, FEW}
