"""What a folder of an evaluation says of itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unstatic.presets.evaluation import EvaluationPlan
from unstatic.presets.evaluation_report import command_of, commits, write_report


def test_the_command_is_the_one_that_measures_it() -> None:
    plan = EvaluationPlan(model="nano")
    assert command_of(plan) == "unstatic eval nano -o report"
    asked = replace(plan, parts=("edits",), slow_prompts=20, few_steps=0, networks=True)
    told = "unstatic eval nano --suite edits --slow-prompts 20 --few-steps 0 --fvd -o report"
    assert command_of(asked) == told
    assert command_of(replace(plan, model="my models/nano")) == "unstatic eval 'my models/nano' -o report"


def test_a_suite_beside_the_usual_parts_is_part_of_the_command() -> None:
    asked = EvaluationPlan(model="nano", parts=("first-light",))
    assert command_of(asked) == "unstatic eval nano --suite first-light -o report"


def test_parts_of_another_commit_are_named() -> None:
    assert commits({"commit": "1234567", "objects": {}}) == "1234567"
    one, other = {"commit": "1111111"}, {"commit": "2222222"}
    assert commits({"commit": "x", "objects": one, "animals": one}) == "1111111"
    mixed = {"commit": "x", "edits": other, "objects": one, "animals": one, "bench": {}}
    assert commits(mixed) == "1111111 (edits: 2222222)"
    assert commits({"commit": "x", "objects": {}, "animals": {}, "edits": other}) == "x (edits: 2222222)"


def put(todo: EvaluationPlan, name: str, facts: dict[str, Any]) -> None:
    assert todo.folder is not None
    path = todo.folder / "parts" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": todo.key, "markdown": "", "facts": facts}), encoding="utf-8")


@pytest.mark.parametrize("order", [("reconstruction", "possible"), ("possible", "reconstruction")])
def test_parts_of_several_commands_stand_in_one_report(order: tuple[str, str], tmp_path: Path) -> None:
    first, second = order
    todo = EvaluationPlan(model="./mine", folder=tmp_path, digest="abc", commit="2222222", parts=(second,))
    put(todo, first, {"score": 1, "commit": "1111111"})
    put(todo, second, {"score": 2, "commit": "2222222"})
    put(replace(todo, prompts=3), "edits", {"score": 3, "commit": "2222222"})  # a quick look
    write_report(todo, "nano")
    facts = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert list(facts) == ["model", "digest", "commit", "command", "possible", "reconstruction"]
    command = "unstatic eval ./mine --suite possible --suite reconstruction -o report"
    assert (facts["digest"], facts["command"]) == ("abc", command)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("<h2>possible</h2>" in page, "<h2>edits</h2>" in page, "abc" in page) == (True, False, True)
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert command in table
    assert f"weights abc, commit {commits(facts)}" in table
    assert {"1111111", "2222222"} <= {each.strip("()") for each in commits(facts).split()}
