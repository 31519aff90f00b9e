"""Fit a shallow classifier (`unstatic.evals.shallow`) to cases: facts, and the numbers of the right words."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from unstatic.evals.shallow import Facts, Logits, Shallow, standardised


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """How a classifier is fitted: a step goes without the share `drop` of facts and of hidden units."""

    hidden: int = 64
    steps: int = 1_500
    batch: int = 512
    learning_rate: float = 3e-3
    decay: float = 3e-2
    drop: float = 0.1
    smoothing: float = 0.05


def fit_shallow(
    facts: Facts,
    labels: Int[Tensor, "n"],
    words: int,
    source: torch.Generator,
    lesson: Lesson,
    weights: Float[Tensor, "n"] | None = None,
) -> Shallow:
    """Fit a classifier by gradient descent on the cross-entropy; cases come up in proportion to `weights`."""
    middle, spread = facts.mean(0), facts.std(0, correction=0).clamp(min=1e-4)
    cases = standardised(facts, middle, spread)
    chances = torch.ones(len(cases)) if weights is None else weights
    model = Shallow(
        middle=middle,
        spread=spread,
        inner=torch.randn((lesson.hidden, cases.shape[1]), generator=source) / cases.shape[1] ** 0.5,
        bias=torch.zeros(lesson.hidden),
        outer=torch.randn((words, lesson.hidden), generator=source) / lesson.hidden**0.5,
        prior=torch.zeros(words),
    )
    learned = [model.inner, model.bias, model.outer, model.prior]
    for each in learned:
        each.requires_grad_()
    optimiser = torch.optim.AdamW(learned, lr=lesson.learning_rate, weight_decay=lesson.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lesson.learning_rate, lesson.steps)
    for _ in range(lesson.steps):
        chosen = torch.multinomial(chances, lesson.batch, replacement=True, generator=source)
        logits = _with_drops(model, cases[chosen], lesson.drop, source)
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=lesson.smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    for each in learned:
        each.requires_grad_(False)
    return model


def _with_drops(model: Shallow, facts: Facts, share: float, source: torch.Generator) -> Logits:
    """Judge facts of which some are missing, by hidden units of which some are missing."""
    hidden = F.relu(F.linear(_dropped(facts, share, source), model.inner, model.bias))
    return F.linear(_dropped(hidden, share, source), model.outer, model.prior)


def _dropped(values: Facts, share: float, source: torch.Generator) -> Facts:
    kept = torch.rand(values.shape, generator=source) >= share
    return values * kept / (1 - share)
