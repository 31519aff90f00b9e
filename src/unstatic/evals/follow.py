"""Does a clip show what its prompt says? Share of right answers per atom, beside what real renders score.

    follow({"nano": make}, first_light(200), load_parser())

The real renders' column is the ceiling: what the parser misses there is its own mistake. Every atom is read
without knowing the prompt. "motion" is right when the event is, and the direction too where the prompt names
one; "event" and "direction" are its two parts. "all" is right when colour, shape and motion are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from unstatic.evals.intervals import Score
from unstatic.evals.parser import Reading
from unstatic.evals.prompts import Prompt, Suite
from unstatic.media.frames import contact_sheet, pick_evenly
from unstatic.world.clip import make_clip

ATOMS = ("colour", "shape", "motion", "event", "direction", "all")
REAL = "real render"
RECONSTRUCTION = "reconstruction"

Frames = UInt8[np.ndarray, "t h w 3"]
Make = Callable[[Prompt], Frames]
"""Turn a prompt into a clip at 16 frames a second: what is judged."""


@runtime_checkable
class Reader(Protocol):
    """Anything that says what it sees in a clip."""

    def read(self, frames: Frames) -> Reading:
        """Read a clip without knowing its prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt, what was read in its clip, and a few frames of the clip to look at."""

    prompt: Prompt
    reading: Reading
    shown: Frames

    @property
    def verdicts(self) -> dict[str, bool]:
        """Which atoms are right; an atom that the prompt does not name is missing."""
        prompt, reading = self.prompt, self.reading
        found = {
            "colour": reading.colour == prompt.colour,
            "shape": reading.shape == prompt.shape,
            "event": reading.event == prompt.event,
        }
        if prompt.direction:
            found["direction"] = reading.direction == prompt.direction
        found["motion"] = found["event"] and found.get("direction", True)
        return found | {"all": found["colour"] and found["shape"] and found["motion"]}


@dataclass(frozen=True, slots=True)
class Column:
    """All answers of one maker of clips."""

    name: str
    answers: tuple[Answer, ...]

    def score(self, atom: str) -> Score:
        """Count how often an atom is right, among the prompts that name it."""
        verdicts = [answer.verdicts[atom] for answer in self.answers if atom in answer.verdicts]
        return Score(sum(verdicts), len(verdicts))

    def confusions(self, atom: str) -> dict[str, dict[str, int]]:
        """Count what was read instead of what was asked for: "colour", "shape", "event" or "direction"."""
        counts: dict[str, dict[str, int]] = {}
        for answer in self.answers:
            asked, read = getattr(answer.prompt, atom), getattr(answer.reading, atom)
            if asked and asked != read:
                row = counts.setdefault(asked, {})
                row[read] = row.get(read, 0) + 1
        return counts


@dataclass(frozen=True, slots=True)
class FollowResult:
    """One column per maker of clips, the real renders first."""

    suite: str
    fingerprint: str
    columns: tuple[Column, ...]

    def to_markdown(self) -> str:
        """Return a table with one row per atom: shares with their 95% intervals."""
        names = [column.name for column in self.columns]
        lines = [
            f"| {self.suite}, {len(self.columns[0].answers)} prompts | {' | '.join(names)} |",
            f"|---|{'---|' * len(names)}",
        ]
        for atom in ATOMS:
            scores = " | ".join(str(column.score(atom)) for column in self.columns)
            lines.append(f"| {atom} | {scores} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return scores, confusions and every single answer, ready for `json.dumps`."""
        return {
            "suite": self.suite,
            "fingerprint": self.fingerprint,
            "prompts": len(self.columns[0].answers),
            "columns": {column.name: _column_facts(column) for column in self.columns},
        }


def follow(
    makers: Mapping[str, Make],
    suite: Suite,
    reader: Reader,
    *,
    reconstruct: Callable[[Frames], Frames] | None = None,
    advance: Callable[[], object] = lambda: None,
) -> FollowResult:
    """Let every maker film every prompt and read the clips, after real renders and their reconstructions.

    `reconstruct` is an autoencoder, there and back; `advance` is called after each prompt.
    """
    columns: dict[str, list[Answer]] = {}
    for prompt in suite.prompts:
        for name, frames in _clips(prompt, makers, reconstruct):
            answer = Answer(prompt, reader.read(frames), pick_evenly(frames, 6))
            columns.setdefault(name, []).append(answer)
        advance()
    found = tuple(Column(name, tuple(answers)) for name, answers in columns.items())
    return FollowResult(suite.name, suite.fingerprint, found)


def answer_sheet(answers: Sequence[Answer], *, columns: int = 2) -> UInt8[np.ndarray, "y x 3"]:
    """Draw clips with their prompts and what was read in them; what is wrong says what was asked for."""
    return contact_sheet(
        [answer.shown for answer in answers], [_remark(answer) for answer in answers], columns=columns
    )


def _clips(
    prompt: Prompt, makers: Mapping[str, Make], reconstruct: Callable[[Frames], Frames] | None
) -> Iterator[tuple[str, Frames]]:
    real = make_clip(prompt.spec).frames
    yield REAL, real
    if reconstruct is not None:
        yield RECONSTRUCTION, reconstruct(real)
    for name, make in makers.items():
        yield name, make(prompt)


def _remark(answer: Answer) -> str:
    """Say the prompt, and each atom as read: "red ok, ball (wrong: cube)"."""
    parts: list[str] = []
    for atom in ("colour", "shape", "event", "direction"):
        verdict = answer.verdicts.get(atom)
        read, asked = getattr(answer.reading, atom), getattr(answer.prompt, atom)
        if verdict is not None:
            parts.append(f"{read} ok" if verdict else f"{read.upper()} WRONG (asked: {asked})")
    return f"{answer.prompt.text}  >>  {', '.join(parts)}"


def _column_facts(column: Column) -> dict[str, Any]:
    return {
        "scores": {atom: _score_facts(column.score(atom)) for atom in ATOMS},
        "confusions": {atom: column.confusions(atom) for atom in ("colour", "shape", "event", "direction")},
        "answers": [
            {
                "prompt": answer.prompt.text,
                "seed": answer.prompt.spec.seed,
                **answer.reading._asdict(),
                "right": answer.verdicts,
            }
            for answer in column.answers
        ],
    }


def _score_facts(score: Score) -> dict[str, Any]:
    share = score.share if score.total else None
    return {"right": score.right, "total": score.total, "share": share, "interval_95": list(score.interval)}
