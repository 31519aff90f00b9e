"""What a folder of an evaluation holds, put together: also the parts that other commands measured there.

FOLDER/evaluation.json     all parts together
FOLDER/report.html         the report
FOLDER/table.md            the table for a README
"""

import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch

from unstatic.core.files import atomic_path
from unstatic.evals.prompts import SUITES
from unstatic.evals.report import ShownClip, to_html, to_markdown
from unstatic.presets.evaluation import DISTRIBUTION, PARTS, EvaluationPlan, saved_part

REPORTED = (SUITES[0], *PARTS, DISTRIBUTION)


def head_of(todo: EvaluationPlan, model: str) -> dict[str, Any]:
    """Return what stands before the parts: the model, by its own name, and how to measure it again."""
    return {"model": model, "digest": todo.digest, "commit": todo.commit, "command": command_of(todo)}


def command_of(todo: EvaluationPlan) -> str:
    """Return the command that measures this, with what is not as by default, into a folder "report"."""
    usual, said = EvaluationPlan(), ["unstatic eval", shlex.quote(todo.model)]
    if set(todo.parts) != set(usual.parts):
        said += [f"--suite {part}" for part in todo.parts]
    for name in ("prompts", "slow_prompts", "steps", "few_steps"):
        if (value := getattr(todo, name)) != getattr(usual, name):
            said.append(f"--{name.replace('_', '-')} {value}")
    return " ".join([*said, *(["--fvd"] if todo.networks else []), "-o report"])


def commits(facts: Mapping[str, Any]) -> str:
    """Return the commits at which parts were measured: "1ee61bc (edits: 6ad07f2)"."""
    parts: dict[str, list[str]] = {}
    for name, each in facts.items():
        if name in REPORTED:
            commit = cast("Mapping[str, Any]", each).get("commit", facts["commit"])
            parts.setdefault(str(commit), []).append(name)
    if len(parts) < 2:
        return next(iter(parts), str(facts["commit"]))
    first, *others = sorted(parts, key=lambda commit: -len(parts[commit]))
    rest = [f"{', '.join(parts[each])}: {each}" for each in others]
    return f"{first} ({'; '.join(rest)})"


def write_report(todo: EvaluationPlan, model: str) -> None:
    """Write all three files, of the parts in the plan's folder that were measured as it says."""
    assert todo.folder is not None, "a report needs a folder"
    found = {name: saved_part(todo, name) for name in REPORTED}
    parts = {name: part["facts"] for name, part in found.items() if part is not None}
    asked = replace(todo, parts=tuple(name for name in parts if name != DISTRIBUTION))
    facts = head_of(asked, model) | parts
    with atomic_path(todo.folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    about = {
        "commit": commits(facts) or "unknown",
        "weights": todo.digest,
        "torch": torch.__version__,
        "processor": platform.machine(),
    }
    clips = [
        ShownClip(**fields | {"picture": path.with_suffix(".webp")})
        for path in sorted((todo.folder / "clips").glob("*.json"))
        for fields in [json.loads(path.read_text(encoding="utf-8"))]
    ]
    with atomic_path(todo.folder / "report.html") as temporary:
        temporary.write_text(to_html(f"What {model} can do", about, facts, clips), encoding="utf-8")
    with atomic_path(todo.folder / "table.md") as temporary:
        said = f"`{facts['command']}`, weights {todo.digest}, commit {about['commit']}"
        temporary.write_text(f"{to_markdown(facts)}\n\n{said}\n", encoding="utf-8")
