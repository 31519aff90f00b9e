"""What both halves of the gate share: which films are made of the shipped model, and how it is measured."""

from pathlib import Path
from typing import Any

from unstatic.generate.native import NativeEngine
from unstatic.models.manifest import find_model
from unstatic.presets.evaluation import EvaluationPlan, run_evaluation

FEW, MANY = "nano, 6 steps distilled", "nano, 24 steps"


def plan(folder: Path, *parts: str, prompts: int, slow_prompts: int = 1) -> EvaluationPlan:
    """Plan parts of nano's evaluation, by so many prompts each, the slow column by fewer."""
    return EvaluationPlan(
        parts=parts,
        prompts=prompts,
        slow_prompts=slow_prompts,
        steps=24,
        few_steps=6,
        folder=folder,
        digest=find_model("nano").digest(),
        commit="abc1234",
    )


def measured(engine: NativeEngine, *plans: EvaluationPlan) -> dict[str, dict[str, Any]]:
    """Return the facts of every part, each with its table."""
    found = (each for todo in plans for each in run_evaluation(engine, todo.on(engine.device)))
    return {name: {"table": table, **facts} for name, table, facts in found}
