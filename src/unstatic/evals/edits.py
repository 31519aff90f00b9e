"""How well edits keep what they were given, and whether anybody sees where the new part begins.

    kept      PSNR of the frames that were given, beside what the autoencoder alone makes of them
    position  the change across a joint, beside the median change from frame to frame of the whole video, or
              of the new part where more happens there (one scene turns into another)
    velocity  the change of that change, largest at the joint and beside it, likewise
    motion    how much the new part moves, what was given = 1: a frozen join is no join

A joint is not seen if it is no larger than what happens from frame to frame anyway.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.evals.readings import Frames

PEAK = 255.0
LEAST_CHANGE = 0.25  # levels of 255: what moves less counts as if it moved this much

AnyFrames = UInt8[np.ndarray, "_ _ _ 3"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Kept:
    """Frames that were given, where in the video they are, and what the autoencoder alone makes of them.

    Only their rows from number `top` on count, if a part above was to be made anew.
    """

    first: int
    given: UInt8[np.ndarray, "t h w 3"]
    copy: UInt8[np.ndarray, "t h w 3"]
    top: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EditedVideo:
    """A finished edit: `joints` are the numbers of the frames after them, in a loop 0 is one too."""

    task: str
    frames: UInt8[np.ndarray, "n h w 3"]
    kept: tuple[Kept, ...]
    joints: tuple[int, ...]
    is_loop: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EditFigures:
    """What was measured of one edit; see the module. NaN where there is nothing to measure."""

    task: str
    kept_psnr: float
    copy_psnr: float
    position: float
    velocity: float
    motion: float


@dataclass(frozen=True, slots=True)
class EditResult:
    """The figures of many edits."""

    figures: tuple[EditFigures, ...]

    @property
    def tasks(self) -> list[str]:
        """The tasks in the order in which they came first."""
        return list(dict.fromkeys(each.task for each in self.figures))

    def median(self, task: str, name: str) -> float:
        """Return the median of one figure over all edits of a task, NaN if there is none."""
        found = [getattr(each, name) for each in self.figures if each.task == task]
        finite = [value for value in found if math.isfinite(value)]
        return float(np.median(finite)) if finite else math.nan

    def to_markdown(self) -> str:
        """Return a table with a row for each task: medians over its edits."""
        lines = [
            "| task | edits | kept, PSNR | autoencoder alone | joint, position | joint, velocity | motion |",
            "|---|---|---|---|---|---|---|",
        ]
        for task in self.tasks:
            count = sum(each.task == task for each in self.figures)
            cells = [f"{_said(self.median(task, name), 1)} dB" for name in ("kept_psnr", "copy_psnr")]
            cells += [_said(self.median(task, name), 2) for name in ("position", "velocity", "motion")]
            lines.append(f"| {task} | {count} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the medians of every task, null where there is no figure."""
        names = ("kept_psnr", "copy_psnr", "position", "velocity", "motion")
        return {
            task: {name: _finite(self.median(task, name)) for name in names} | {"edits": self._count(task)}
            for task in self.tasks
        }

    def _count(self, task: str) -> int:
        return sum(each.task == task for each in self.figures)


def measure_edits(edited: Iterable[EditedVideo]) -> EditResult:
    """Measure edits, one at a time."""
    return EditResult(tuple(measure_edit(each) for each in edited))


def measure_edit(edited: EditedVideo) -> EditFigures:
    """Measure one edit; of several joints the worst counts."""
    frames, joints = edited.frames, edited.joints
    shown = [frames[each.first : each.first + len(each.given), each.top :] for each in edited.kept]
    given = [each.given[:, each.top :] for each in edited.kept]
    copies = [each.copy[:, each.top :] for each in edited.kept]
    new = new_frames(edited)
    joins = [joint(frames, at, is_loop=edited.is_loop, new=new) for at in joints]
    return EditFigures(
        task=edited.task,
        kept_psnr=psnr(given, shown),
        copy_psnr=psnr(given, copies),
        position=max((position for position, _ in joins), default=math.nan),
        velocity=max((velocity for _, velocity in joins), default=math.nan),
        motion=_motion_of_new(edited),
    )


def joint(
    frames: Frames, at: int, *, is_loop: bool = False, new: Bool[np.ndarray, "n"] | None = None
) -> tuple[float, float]:
    """Return how large the joint before frame `at` is, in position and in velocity: medians are 1.

    In a loop the first frame follows the last. `new` says which frames are new.
    """
    values = frames.astype(np.float32)
    whole = np.concatenate([values[-2:], values, values[:2]]) if is_loop else values
    at = at + 2 if is_loop else at
    first = np.abs(np.diff(whole, axis=0)).mean((1, 2, 3))  # [i]: from frame i to i + 1
    second = np.abs(np.diff(whole, n=2, axis=0)).mean((1, 2, 3))  # [i]: around frame i + 1
    beside = second[max(0, at - 2) : at]  # around the last frame before the joint, and the first after it
    usual = [max(LEAST_CHANGE, float(np.median(each))) for each in (first, second)]
    if new is not None and new.sum() > 2:
        fresh = np.abs(np.diff(values[new], axis=0)).mean((1, 2, 3))
        bends = np.abs(np.diff(values[new], n=2, axis=0)).mean((1, 2, 3))
        usual = [max(one, float(np.median(other))) for one, other in zip(usual, (fresh, bends), strict=True)]
    return float(first[at - 1] / usual[0]), float(beside.max() / usual[1])


def new_frames(edited: EditedVideo) -> Bool[np.ndarray, "n"]:
    """Tell which frames of an edit were not given."""
    new = np.ones(len(edited.frames), bool)
    for each in edited.kept:
        new[each.first : each.first + len(each.given)] = False
    return new


def psnr(given: Sequence[AnyFrames], made: Sequence[AnyFrames]) -> float:
    """Return the decibels of all frames together: infinite if they are equal, NaN without any."""
    squares = [
        np.square(a.astype(np.float32) - b).mean(dtype=np.float64) for a, b in zip(given, made, strict=True)
    ]
    weights = [each.size for each in given]
    if not squares:
        return math.nan
    mean = float(np.average(squares, weights=weights))
    return math.inf if mean == 0 else 10 * math.log10(PEAK**2 / mean)


def _motion_of_new(edited: EditedVideo) -> float:
    """Return the mean change from frame to frame of what is new, beside that of what was given."""
    old = ~new_frames(edited)
    change = np.abs(np.diff(edited.frames.astype(np.int16), axis=0)).mean((1, 2, 3))
    inside, outside = old[1:] & old[:-1], ~old[1:] & ~old[:-1]
    if not inside.any() or not outside.any():
        return math.nan
    return float(change[outside].mean() / max(LEAST_CHANGE, float(change[inside].mean())))


def _said(figure: float, digits: int) -> str:
    return f"{figure:.{digits}f}" if math.isfinite(figure) else "-"


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
