"""Does a minute hold? Films of 60 seconds, second by second, beside real renders of the same scenes.

    following   both parsers read the first five seconds and the last five: is the hero still itself? Some
                heroes come as others go, so it is also counted how many of those that begin right stay
    sharpness   the width of strong edges (`sharpness`), each second beside the film's own first five
    colour      how far the mean colour has gone from that of the first five, in levels of 255
    motion      the mean change from frame to frame, beside that of the real minutes: of all together, and in
                how many films it is near its own render's

A film that freezes keeps its sharpness and its hero, and has lost its motion; one that goes wild the reverse.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from unstatic.evals.follow import REAL, Make
from unstatic.evals.intervals import Score
from unstatic.evals.prompts import Prompt, Suite, answer_of
from unstatic.evals.readings import Frames, Reader
from unstatic.evals.sharpness import edge_width
from unstatic.world.clip import make_clip

FPS, ENDS_S = 16, 5
LEAST_MOTION = 0.01  # levels of 255: a render in which less moves counts as if so much did
NEAR = (0.8, 1.2)  # the motion of a film, that of its render = 1

Curve = Float[np.ndarray, "seconds"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Film:
    """One film: its curves, and whether its first and its last five seconds show what the prompt says."""

    prompt: Prompt
    sharpness: Curve
    colour: Curve
    motion: Curve
    begins_right: bool
    ends_right: bool

    @property
    def sharpness_ratio(self) -> float:
        """The width of edges in the last five seconds, that in the first = 1; NaN without edges."""
        first, last = _ends(self.sharpness)
        return last / first

    @property
    def mean_motion(self) -> float:
        """The mean change from frame to frame over the whole film."""
        return float(self.motion.mean())


@dataclass(frozen=True, slots=True)
class Minutes:
    """All films of one maker."""

    name: str
    films: tuple[Film, ...]

    @property
    def begins(self) -> Score:
        """How many films begin right."""
        return Score(sum(film.begins_right for film in self.films), len(self.films))

    @property
    def ends(self) -> Score:
        """How many films end right."""
        return Score(sum(film.ends_right for film in self.films), len(self.films))

    @property
    def stays(self) -> Score:
        """How many of the films that begin right end right too."""
        stayed = [film.ends_right for film in self.films if film.begins_right]
        return Score(sum(stayed), len(stayed))

    @property
    def sharpness_ratio(self) -> float:
        """The median over films."""
        ratios = [film.sharpness_ratio for film in self.films if math.isfinite(film.sharpness_ratio)]
        return float(np.median(ratios)) if ratios else math.nan

    @property
    def colour_shift(self) -> float:
        """How far colours have gone in the last five seconds, in levels: the median over films."""
        return float(np.median([_ends(film.colour)[1] for film in self.films]))

    def motion_ratio(self, real: "Minutes") -> float:
        """How much moves, beside the real minutes of the same prompts: all films' motion together."""
        return sum(f.mean_motion for f in self.films) / sum(f.mean_motion for f in real.films)

    def motion_ratios(self, real: "Minutes") -> list[float]:
        """How much moves in each film, beside the real minute of its prompt."""
        pairs = zip(self.films, real.films, strict=True)
        return [film.mean_motion / max(render.mean_motion, LEAST_MOTION) for film, render in pairs]

    def moves_alike(self, real: "Minutes") -> Score:
        """In how many films about as much moves as in their renders."""
        ratios = self.motion_ratios(real)
        return Score(sum(NEAR[0] <= ratio <= NEAR[1] for ratio in ratios), len(ratios))

    def curve(self, name: str) -> list[float | None]:
        """Return the median over films of "sharpness", "colour" or "motion" for every second."""
        rows = np.stack([getattr(film, name) for film in self.films])
        with np.errstate(all="ignore"):
            medians = [np.nanmedian(row) if np.isfinite(row).any() else math.nan for row in rows.T]
        return [float(each) if math.isfinite(each) else None for each in medians]


@dataclass(frozen=True, slots=True)
class MinuteResult:
    """One column per maker, the real renders first."""

    suite: str
    fingerprint: str
    columns: tuple[Minutes, ...]

    def to_markdown(self) -> str:
        """Return a table: a row for each figure."""
        real = self.columns[0]
        rows: list[tuple[str, Callable[[Minutes], object]]] = [
            ("first 5 s show the hero", lambda each: each.begins),
            ("last 5 s show the hero", lambda each: each.ends),
            ("so they do of films whose first do", lambda each: each.stays),
            ("width of edges, last 5 s / first 5 s", lambda each: _said(each.sharpness_ratio)),
            ("shift of colours, levels of 255", lambda each: f"{each.colour_shift:.1f}"),
            ("motion, that of the renders = 1", lambda each: f"{each.motion_ratio(real):.2f}"),
            (f"motion {NEAR[0]} to {NEAR[1]} of its render's", lambda each: each.moves_alike(real)),
        ]
        names = [column.name for column in self.columns]
        lines = [
            f"| {len(real.films)} minutes | {' | '.join(names)} |",
            f"|---|{'---|' * len(names)}",
            *(
                f"| {name} | {' | '.join(str(figure(each)) for each in self.columns)} |"
                for name, figure in rows
            ),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return figures and curves, ready for `json.dumps`."""
        return {
            "suite": self.suite,
            "fingerprint": self.fingerprint,
            "makers": {each.name: _facts(each, self.columns[0]) for each in self.columns},
        }


def watch_minutes(
    makers: Mapping[str, Make],
    suite: Suite,
    readers: Sequence[Reader],
    *,
    enlarge: int = 1,
    advance: Callable[[], object] = lambda: None,
) -> MinuteResult:
    """Let every maker film every prompt and follow the films, after the real renders.

    Films have 16 frames a second and at least ten seconds; `advance` is called after each prompt.
    """
    columns: dict[str, list[Film]] = {}
    for prompt in suite.prompts:
        real = make_clip(prompt.spec, enlarge=enlarge).frames
        columns.setdefault(REAL, []).append(followed(prompt, real, readers))
        for name, make in makers.items():
            columns.setdefault(name, []).append(followed(prompt, make(prompt), readers))
        advance()
    found = tuple(Minutes(name, tuple(films)) for name, films in columns.items())
    return MinuteResult(suite.name, suite.fingerprint, found)


def followed(prompt: Prompt, frames: Frames, readers: Sequence[Reader]) -> Film:
    """Measure one film second by second, and read both its ends."""
    seconds = [frames[start : start + FPS] for start in range(0, len(frames) - FPS + 1, FPS)]
    means = np.stack([second.mean((0, 1, 2)) for second in seconds])
    length = ENDS_S * FPS
    assert len(frames) >= 2 * length, f"{len(frames)} frames have no two ends of {ENDS_S} s"
    begin, end = (
        all(_right(prompt, reader, part) for reader in readers)
        for part in (frames[:length], frames[-length:])
    )
    return Film(
        prompt=prompt,
        sharpness=np.array([edge_width(second) for second in seconds]),
        colour=np.abs(means - means[:ENDS_S].mean(0)).mean(1),
        motion=np.array([motion(second) for second in seconds]),
        begins_right=begin,
        ends_right=end,
    )


def motion(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Return the mean absolute change from frame to frame, in levels of 255."""
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean())


def _right(prompt: Prompt, reader: Reader, frames: Frames) -> bool:
    reading = reader.read(frames)
    return all(answer_of(reading, atom) == asked for atom, asked in prompt.asked.items())


def _said(ratio: float) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio) else "no edges"


def _ends(curve: Curve) -> tuple[float, float]:
    """Return the means of the first and the last five seconds, NaN left out."""
    parts = curve[:ENDS_S], curve[-ENDS_S:]
    first, last = (float(np.nanmean(part)) if np.isfinite(part).any() else math.nan for part in parts)
    return first, last


def _facts(column: Minutes, real: Minutes) -> dict[str, Any]:
    def score(found: Score) -> dict[str, Any]:
        return {"right": found.right, "total": found.total, "interval_95": list(found.interval)}

    ratio = column.sharpness_ratio
    return {
        "begins": score(column.begins),
        "ends": score(column.ends),
        "stays": score(column.stays),
        "sharpness_ratio": ratio if math.isfinite(ratio) else None,
        "colour_shift": column.colour_shift,
        "motion_ratio": column.motion_ratio(real),
        "moves_alike": score(column.moves_alike(real)),
        "curves": {name: column.curve(name) for name in ("sharpness", "colour", "motion")},
        "films": [
            {
                "prompt": film.prompt.text,
                "seed": film.prompt.spec.seed,
                "begins_right": film.begins_right,
                "ends_right": film.ends_right,
                "motion_ratio": ratio,
            }
            for film, ratio in zip(column.films, column.motion_ratios(real), strict=True)
        ],
    }
