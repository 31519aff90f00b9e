"""How well edits keep what they were given, and whether anybody sees where the new part begins.

    kept      PSNR of the frames that were given, beside what the autoencoder alone makes of them
    position  the change across a joint, beside the median change from frame to frame of the whole video, or
              of the new part where more happens there (one scene turns into another)
    velocity  the change of that change, largest at the joint and beside it, likewise
    motion    how much the new part moves, what was given = 1: a frozen join is no join

A joint is not seen if it is no larger than what happens from frame to frame anyway. How large that is tell
uncut renders of the same scenes, looked at in as many places: even there the largest of three is above the
median. An edit passes if it is no larger than in nine of ten of these.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.evals.intervals import Score
from unstatic.evals.readings import Frames

PEAK = 255.0
USUAL = 0.9  # of uncut renders, how many an edit's joint may be no larger than
LEAST_CHANGE = 0.25  # levels of 255: what moves less counts as if it moved this much

NAMES = (
    "kept_psnr", "copy_psnr", "position", "velocity", "uncut_position", "uncut_velocity", "motion"
)  # fmt: skip

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
    """A finished edit: `joints` are the numbers of the frames after them, in a loop 0 is one too.

    `uncut` is a render of the same scene that nobody edited, if there is one to compare with.
    """

    task: str
    frames: UInt8[np.ndarray, "n h w 3"]
    kept: tuple[Kept, ...]
    joints: tuple[int, ...]
    is_loop: bool = False
    uncut: UInt8[np.ndarray, "m y x 3"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EditFigures:
    """What was measured of one edit; see the module. NaN where there is nothing to measure."""

    task: str
    kept_psnr: float
    copy_psnr: float
    position: float
    velocity: float
    uncut_position: float
    uncut_velocity: float
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

    def unnoticed(self, task: str) -> Score:
        """In how many edits no joint is larger, in either way, than in nine of ten uncut renders."""
        found = [each for each in self.figures if each.task == task and math.isfinite(each.uncut_position)]
        if not found:
            return Score(0, 0)
        most_position = float(np.quantile([each.uncut_position for each in found], USUAL))
        most_velocity = float(np.quantile([each.uncut_velocity for each in found], USUAL))
        small = [each.position <= most_position and each.velocity <= most_velocity for each in found]
        return Score(sum(small), len(small))

    def to_markdown(self) -> str:
        """Return a table with a row for each task: medians over its edits."""
        lines = [
            "| task | edits | kept, PSNR | autoencoder alone | joint, position | in uncut renders "
            "| joint, velocity | in uncut renders | as in nine of ten renders | motion |",
            f"|{'---|' * 10}",
        ]
        for task in self.tasks:
            cells = [f"{_said(self.median(task, name), 1)} dB" for name in ("kept_psnr", "copy_psnr")]
            cells += [
                _said(self.median(task, name), 2)
                for name in ("position", "uncut_position", "velocity", "uncut_velocity")
            ]
            cells += [str(self.unnoticed(task)), _said(self.median(task, "motion"), 2)]
            lines.append(f"| {task} | {self._count(task)} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the medians of every task, null where there is no figure, and every single one."""

        def facts(task: str) -> dict[str, Any]:
            unnoticed = self.unnoticed(task)
            return {name: _finite(self.median(task, name)) for name in NAMES} | {
                "unnoticed": {
                    "right": unnoticed.right,
                    "total": unnoticed.total,
                    "interval_95": list(unnoticed.interval),
                },
                "edits": self._count(task),
                "figures": [
                    {name: _finite(getattr(each, name)) for name in NAMES}
                    for each in self.figures
                    if each.task == task
                ],
            }

        return {task: facts(task) for task in self.tasks}

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
    position, velocity = worst([joint(frames, at, is_loop=edited.is_loop, new=new) for at in joints])
    places = () if edited.uncut is None else evenly(len(edited.uncut), len(joints))
    uncut = (
        (math.nan, math.nan) if edited.uncut is None else worst([joint(edited.uncut, at) for at in places])
    )
    return EditFigures(
        task=edited.task,
        kept_psnr=psnr(given, shown),
        copy_psnr=psnr(given, copies),
        position=position,
        velocity=velocity,
        uncut_position=uncut[0],
        uncut_velocity=uncut[1],
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


def worst(joints: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the largest position and the largest velocity of some joints, NaN without any."""
    positions, velocities = ([each[number] for each in joints] for number in range(2))
    return max(positions, default=math.nan), max(velocities, default=math.nan)


def evenly(frames: int, count: int) -> list[int]:
    """Return `count` places spread over so many frames, none at an end."""
    return [frames * (number + 1) // (count + 1) for number in range(count)]


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
