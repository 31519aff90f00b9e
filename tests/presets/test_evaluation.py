"""What a folder holds is measured again exactly when it is of other weights or of another plan."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.evals.follow import REAL, Answer
from unstatic.evals.prompts import load_suite
from unstatic.generate.engine import Engine, whole_film
from unstatic.generate.native import NativeEngine, load_native
from unstatic.generate.request import Plan
from unstatic.models.manifest import Distilled, find_model, open_model
from unstatic.presets import edit_evaluation, evaluation, retelling
from unstatic.presets.evaluation import (
    PARTS,
    EvaluationPlan,
    check_plan,
    enlargement,
    parts_of,
    run_evaluation,
    usual,
    ways_of_sampling,
)
from unstatic.presets.feature_store import OTHERS, FeatureStore


@dataclass
class Told:
    text: str

    def to_markdown(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text}


def two_numbers(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(-1)[:2].astype(float)


class Bench:
    """Stands in for measuring: says which weights were measured, and has features that depend on them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.measured: list[str] = []
        monkeypatch.setattr(evaluation, "_measure", self.measure)
        monkeypatch.setattr(
            evaluation,
            "feature_store",
            lambda todo, _device: FeatureStore(
                lambda frames: frames.reshape(-1)[:2].astype(float), todo.key, todo.folder / "parts"
            ),
        )

    def measure(self, _engine: Any, todo: EvaluationPlan, name: str, _times: Any, store: Any) -> Told:
        self.measured.append(f"{todo.digest} {name}")
        if store is not None:
            rng = np.random.default_rng(0)
            for column, size in ((REAL, 1), ("model", ord(todo.digest))):
                for _ in range(4):
                    store.add(name, column, rng.integers(0, size + 1, (1, 1, 1, 3), dtype=np.uint8))
            store.save(name)
        return Told(f"{name} of {todo.digest}")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def run(todo: EvaluationPlan) -> dict[str, Any]:
    engine = NativeEngine.__new__(NativeEngine)  # nothing is asked of it but where it is
    engine.device = torch.device("cpu")
    return {name: facts for name, _, facts in run_evaluation(engine, todo)}


def test_equal_plans_are_measured_once_and_others_again(bench: Bench, tmp_path: Path) -> None:
    todo = EvaluationPlan(parts=("objects",), folder=tmp_path, digest="A")
    first = run(todo)
    assert run(todo) == first
    assert bench.measured == ["A objects"]
    for other in (
        replace(todo, digest="B"),
        replace(todo, prompts=3),
        replace(todo, few_steps=2),
        replace(todo, networks=True),
        todo.on(torch.device("cpu")),
    ):
        run(other)
    assert len(bench.measured) == 6


@pytest.mark.usefixtures("bench")
def test_the_distance_is_that_of_all_suites_that_were_measured_in_the_folder(tmp_path: Path) -> None:
    todo = EvaluationPlan(parts=("objects",), folder=tmp_path, digest="A", networks=True)
    assert run(todo)["distribution"]["how"].endswith(" of objects")
    found = run(replace(todo, parts=("animals",)))["distribution"]
    assert found["how"].endswith(" of animals, objects")
    assert found["model"]["made"] == 8


@pytest.mark.parametrize("part", ["objects", "reconstruction"])
def test_networks_that_are_not_there_are_missed_before_anything_is_measured(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNSTATIC_CACHE", str(tmp_path))
    manifest, todo = find_model("nano").manifest, EvaluationPlan(parts=(part,), networks=True)
    with pytest.raises(InputError, match="fetch_networks"):
        check_plan(manifest, todo)
    check_plan(manifest, replace(todo, parts=("pairs",)))


def test_columns_that_film_fewer_prompts_are_kept_and_not_compared() -> None:
    """Features take longer than a film, and FVD leaves such columns out."""
    kept: list[str] = []
    store = FeatureStore(lambda frames: frames.reshape(-1)[:2].astype(float), "A")
    (prompt,) = load_suite("objects").first(1).prompts
    answer, frames = (
        Answer(prompt, (), np.zeros((1, 8, 8, 3), np.uint8)),
        np.zeros((16, 128, 128, 3), np.uint8),
    )
    watch = evaluation._watcher(lambda name, *_: kept.append(name), "objects", store, {"slow"})  # pyright: ignore[reportPrivateUsage]
    for column in (REAL, "slow", "few"):
        watch(column, answer, frames)
    assert kept == [REAL, "slow", "few"]
    assert set(store.features["objects"]) == {REAL, OTHERS, "few"}


@pytest.mark.usefixtures("bench")
def test_features_of_other_weights_never_stand_for_these(tmp_path: Path) -> None:
    """With FVD for A, without for B, with for B: the last figure is B's."""
    todo = EvaluationPlan(parts=("objects",), folder=tmp_path, digest="A", networks=True)
    of_a = run(todo)["distribution"]
    run(replace(todo, digest="B", networks=False))
    of_b = run(replace(todo, digest="B"))["distribution"]
    assert of_b != of_a
    assert run(replace(todo, digest="B"))["distribution"] == of_b
    part = json.loads((tmp_path / "parts" / "distribution.json").read_text(encoding="utf-8"))
    assert part["facts"] == of_b
    assert part["key"].startswith("B ")


def test_a_distilled_model_has_a_column_of_many_steps_and_one_as_it_was_distilled() -> None:
    manifest = replace(find_model("nano").manifest, distilled=Distilled(steps=5, max_guidance=6.0))
    many, few, fewer = ways_of_sampling(manifest, EvaluationPlan()).items()
    assert many == ("nano, 32 steps", {"steps": 32, "solver": "multistep"})
    assert few == ("nano, 5 steps distilled", {"steps": 5, "solver": "distilled"})
    assert fewer == ("nano, 4 steps distilled", {"steps": 4, "solver": "distilled"})
    assert usual(manifest, (many[0], few[0], fewer[0])) == few[0]
    assert list(ways_of_sampling(manifest, EvaluationPlan(steps=5, few_steps=6))) == [
        "nano, 5 steps",
        "nano, 6 steps distilled",
    ]
    plain = replace(manifest, distilled=None)
    assert usual(plain, ways_of_sampling(plain, EvaluationPlan())) == "nano, 24 steps"
    assert ways_of_sampling(plain, EvaluationPlan(few_steps=3))["nano, 3 steps"]["solver"] == "multistep"
    assert list(ways_of_sampling(manifest, EvaluationPlan(few_steps=0))) == ["nano, 32 steps"]


def test_parts_say_by_which_code_and_how_they_were_measured(bench: Bench, tmp_path: Path) -> None:
    todo = EvaluationPlan(
        parts=("objects",), folder=tmp_path, digest="A", commit="1234567", prompts=7, networks=True
    )
    facts = run(todo)
    assert facts["objects"]["commit"] == facts["distribution"]["commit"] == "1234567"
    assert facts["objects"]["how"].startswith("7 50 None None True")
    assert facts["distribution"]["how"] == f"{facts['objects']['how']} of objects"
    assert bench.measured == ["A objects"]


def test_a_model_is_spared_what_it_cannot_do() -> None:
    nano = find_model("nano").manifest
    assert parts_of(nano) == PARTS
    at_once = replace(nano, chunk=None)
    assert set(PARTS) - set(parts_of(at_once)) >= {"possible"}
    with pytest.raises(InputError, match="makes a film at once"):
        check_plan(at_once, EvaluationPlan(parts=("possible",)))
    deaf = replace(nano, given="nothing")
    assert set(PARTS) - set(parts_of(deaf)) == {"edits"}
    with pytest.raises(InputError):
        check_plan(deaf, EvaluationPlan(parts=("edits",)))
    short = replace(nano, max_seconds=10.0)
    assert set(PARTS) - set(parts_of(short)) == {"minutes"}


def test_one_film_has_no_distance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNSTATIC_CACHE", str(tmp_path))
    nano = find_model("nano").manifest
    one = EvaluationPlan(parts=("objects",), prompts=1, networks=True)
    with pytest.raises(InputError, match="2 prompts or more"):
        check_plan(nano, one)
    with pytest.raises(InputError, match="lpips-alexnet is not in"):
        check_plan(nano, replace(one, parts=("reconstruction",)))


@pytest.mark.parametrize(("side", "times"), [(32, 1), (64, 1), (128, 2), (256, 4)])
def test_renders_are_as_large_as_the_films_of_the_model(side: int, times: int) -> None:
    manifest = replace(find_model("nano").manifest, sizes=(Size(side, side), Size(64, 32)))
    assert enlargement(manifest) == times


def test_steps_that_no_model_takes_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="steps is 0"):
        check_plan(find_model("nano").manifest, EvaluationPlan(steps=0))


# ----------------------------------------------------------------------------------------- stopped, and again

FILMED = {"objects": 2, "physics": 2, "edits": 1, "remixes": 1, "cards": 2}  # and how many prompts of each


def counted(monkeypatch: pytest.MonkeyPatch, most: float = math.inf) -> list[Plan]:
    """Note every film that is made; stop, as Ctrl-C does, instead of the one after `most`."""
    made: list[Plan] = []

    def noted(engine: Engine, asked: Plan) -> np.ndarray:
        if len(made) >= most:
            raise KeyboardInterrupt
        made.append(asked)
        return whole_film(engine, asked)

    for module in (evaluation, retelling, edit_evaluation):
        monkeypatch.setattr(module, "whole_film", noted)
    return made


def measured(tiny_model: Path, part: str, folder: Path, **changes: Any) -> dict[str, Any]:
    todo = EvaluationPlan(
        parts=(part,), prompts=FILMED[part], steps=1, few_steps=0, folder=folder, digest="A"
    )
    engine = load_native(open_model(tiny_model), device="cpu")
    (found,) = [facts for _, _, facts in run_evaluation(engine, replace(todo, **changes))]
    return {name: fact for name, fact in found.items() if name != "speed"}


@pytest.mark.parametrize("part", FILMED)
def test_a_stopped_part_goes_on_at_its_film_and_ends_as_if_it_was_not_stopped(
    part: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = counted(monkeypatch)
    expected = measured(tiny_model, part, tmp_path / "whole")
    first = counted(monkeypatch, most=len(films) - 1)
    with pytest.raises(KeyboardInterrupt):
        measured(tiny_model, part, tmp_path / "stopped")
    assert len(list((tmp_path / "stopped" / "films" / part).iterdir())) == len(first)
    rest = counted(monkeypatch)
    assert measured(tiny_model, part, tmp_path / "stopped") == expected
    assert len(rest) == 1
    assert not (tmp_path / "stopped" / "films").exists()


@pytest.mark.parametrize(("other", "again"), [("weights", 2), ("code", 2), ("commit", 1)])
def test_films_of_other_weights_and_other_code_are_made_again(
    other: str, again: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(monkeypatch, most=1)
    with pytest.raises(KeyboardInterrupt):
        measured(tiny_model, "objects", tmp_path)
    films = counted(monkeypatch)
    if other == "code":
        monkeypatch.setattr(evaluation, "code_digest", lambda: "of other files")
    changes = {"weights": {"digest": "B"}, "commit": {"commit": "other"}}
    measured(tiny_model, "objects", tmp_path, **changes.get(other, {}))
    assert len(films) == again


def test_more_prompts_take_the_films_of_fewer(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(monkeypatch, most=1)
    with pytest.raises(KeyboardInterrupt):
        measured(tiny_model, "objects", tmp_path)
    films = counted(monkeypatch)
    measured(tiny_model, "objects", tmp_path, prompts=3)
    assert len(films) == 2


def test_clips_of_a_report_are_of_its_weights_alone(tiny_model: Path, tmp_path: Path) -> None:
    measured(tiny_model, "objects", tmp_path)
    shown = tmp_path / "clips"
    assert sorted(path.name for path in shown.glob("*.json")) == ["objects-000.json", "objects-001.json"]
    (shown / "held-out-000.json").touch()
    before = (shown / "objects-000.json").stat().st_mtime_ns
    measured(tiny_model, "objects", tmp_path, digest="B", prompts=1)
    assert sorted(path.name for path in shown.iterdir()) == [
        "held-out-000.json",
        "objects-000.json",
        "objects-000.webp",
    ]
    assert (shown / "objects-000.json").stat().st_mtime_ns > before
