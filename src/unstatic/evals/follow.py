"""Does a clip show what its prompt says? Share of right answers per atom, beside what real renders score.

    follow({"nano": make}, load_suite("objects"), [load_parser()])

The real renders' column is the ceiling: what the parsers miss there is their own mistake. Every atom is read
without knowing the prompt, and it is right only if all parsers, which share no features and no weights, read
the right answer. "action" is right when the event (or the animal's motion) is, and the direction too where
the prompt names one; "all" when everything is that the prompt asks for; "unseen" is the same, of prompts that
ask for a pair which training never showed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from unstatic.evals.intervals import Score
from unstatic.evals.prompts import Asked, Prompt, Suite, answer_of
from unstatic.evals.readings import Frames, Reader, Reading
from unstatic.media.frames import contact_sheet, pick_evenly
from unstatic.world.clip import make_clip

SUMS = ("action", "unseen", "all")  # what follows from the others
ATOMS = ("colour", "shape", "event", "animal", "motion", "direction", "binding", "camera", *SUMS)
ACTION = ("event", "motion", "direction")
REAL = "real render"
RECONSTRUCTION = "reconstruction"
SHOWN_FRAMES = 6

Make = Callable[[Prompt], Frames]
"""Turn a prompt into a clip at 16 frames a second: what is judged."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt, what each parser read in its clip, and a few frames of the clip to look at."""

    prompt: Prompt
    readings: tuple[Reading, ...]
    shown: Frames

    @property
    def verdicts(self) -> dict[str, bool]:
        """Which atoms are right; an atom that the prompt does not name is missing."""
        asked = self.prompt.asked
        found = {
            atom: all(answer_of(reading, atom) == right for reading in self.readings)
            for atom, right in asked.items()
        }
        if any(atom in found for atom in ACTION[:2]):
            found["action"] = all(found.get(atom, True) for atom in ACTION)
        whole = all(found.values())
        return found | ({"unseen": whole} if self.prompt.asks_for_unseen else {}) | {"all": whole}


@dataclass(frozen=True, slots=True)
class Column:
    """All answers of one maker of clips."""

    name: str
    answers: tuple[Answer, ...]

    def score(self, atom: str) -> Score:
        """Count how often an atom is right, among the prompts that name it."""
        verdicts = [answer.verdicts[atom] for answer in self.answers if atom in answer.verdicts]
        return Score(sum(verdicts), len(verdicts))

    def agreement(self, atom: str, reader: int) -> Score:
        """Count how often one parser alone reads an atom right."""
        asked = [answer for answer in self.answers if atom in answer.prompt.asked]
        right = [answer_of(each.readings[reader], atom) == each.prompt.asked[atom] for each in asked]
        return Score(sum(right), len(right))

    def confusions(self, atom: str) -> dict[str, dict[str, int]]:
        """Count what was read, by the first parser that was wrong, instead of what was asked for."""
        counts: dict[str, Counter[str]] = {}
        for answer in self.answers:
            wanted = answer.prompt.asked.get(atom)
            read = [answer_of(reading, atom) for reading in answer.readings]
            wrong = [each for each in read if each != wanted]
            if wanted and wrong:
                counts.setdefault(said(wanted), Counter())[said(wrong[0])] += 1
        return {asked: dict(row) for asked, row in counts.items()}


@dataclass(frozen=True, slots=True)
class FollowResult:
    """One column per maker of clips, the real renders first."""

    suite: str
    fingerprint: str
    columns: tuple[Column, ...]

    @property
    def atoms(self) -> tuple[str, ...]:
        """The atoms that the suite asks for."""
        return tuple(atom for atom in ATOMS if self.columns[0].score(atom).total)

    def to_markdown(self) -> str:
        """Return a table with one row per atom: shares with their 95% intervals."""
        count = len(self.columns[0].answers)
        names = [
            column.name if len(column.answers) == count else f"{column.name}, first {len(column.answers)}"
            for column in self.columns
        ]
        lines = [
            f"| {self.suite}, {len(self.columns[0].answers)} prompts | {' | '.join(names)} |",
            f"|---|{'---|' * len(names)}",
        ]
        for atom in self.atoms:
            scores = " | ".join(str(column.score(atom)) for column in self.columns)
            lines.append(f"| {atom} | {scores} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return scores, confusions and every single answer, ready for `json.dumps`.

        Where a maker filmed the first prompts only, the others' scores of these stand beside theirs of all.
        """
        count = len(self.columns[0].answers)
        fewer = sorted({len(column.answers) for column in self.columns} - {count})
        facts = {column.name: _column_facts(column, self.atoms) for column in self.columns}
        for column in self.columns:
            if len(column.answers) == count and column.name not in (REAL, RECONSTRUCTION):
                facts[column.name]["scores_of_first"] = {
                    str(most): _scores_facts(Column(column.name, column.answers[:most]), self.atoms)
                    for most in fewer
                }
        return {
            "suite": self.suite,
            "fingerprint": self.fingerprint,
            "prompts": count,
            "columns": facts,
        }


def follow(
    makers: Mapping[str, Make],
    suite: Suite,
    readers: Sequence[Reader],
    *,
    reconstruct: Callable[[Frames], Frames] | None = None,
    only: Mapping[str, int] | None = None,
    enlarge: int = 1,
    watch: Callable[[str, Answer, Frames], object] = lambda *_: None,
    advance: Callable[[], object] = lambda: None,
) -> FollowResult:
    """Let every maker film every prompt and read the clips, after real renders and their reconstructions.

    `reconstruct` is an autoencoder, there and back; a maker named in `only` films no more than so many
    prompts, the first; renders are `enlarge` times as large as scenes say.
    `watch` sees every clip with the name of its column and its answer; `advance` is called after each prompt.
    """
    columns: dict[str, list[Answer]] = {}
    for number, prompt in enumerate(suite.prompts):
        busy = {name: make for name, make in makers.items() if number < (only or {}).get(name, number + 1)}
        for name, frames in _clips(prompt, busy, reconstruct, enlarge):
            readings = tuple(reader.read(frames) for reader in readers)
            answer = Answer(prompt, readings, pick_evenly(frames, SHOWN_FRAMES))
            columns.setdefault(name, []).append(answer)
            watch(name, answer, frames)
        advance()
    found = tuple(Column(name, tuple(answers)) for name, answers in columns.items())
    return FollowResult(suite.name, suite.fingerprint, found)


def answer_sheet(answers: Sequence[Answer], *, columns: int = 2) -> UInt8[np.ndarray, "y x 3"]:
    """Draw clips with their prompts and what was read in them; what is wrong says what was asked for."""
    return contact_sheet(
        [answer.shown for answer in answers], [remark(answer) for answer in answers], columns=columns
    )


def remark(answer: Answer) -> str:
    """Say the prompt, and each atom as read: "a red ball rolls  >>  red ok, CUBE WRONG (asked: ball)"."""
    parts: list[str] = []
    for atom, wanted in answer.prompt.asked.items():
        read = [said(answer_of(reading, atom)) for reading in answer.readings]
        wrong = next((each for each in read if each != said(wanted)), "")
        parts.append(f"{wrong.upper()} WRONG (asked: {said(wanted)})" if wrong else f"{said(wanted)} ok")
    return f"{answer.prompt.text}  >>  {', '.join(parts)}"


def said(answer: Asked) -> str:
    """Put an answer into words: "blue cube and red ball"."""
    if isinstance(answer, str):
        return answer or "nothing"
    return " and ".join(sorted(" ".join(pair) for pair in answer)) or "nothing"


def _clips(
    prompt: Prompt, makers: Mapping[str, Make], reconstruct: Callable[[Frames], Frames] | None, enlarge: int
) -> Iterator[tuple[str, Frames]]:
    real = make_clip(prompt.spec, enlarge=enlarge).frames
    yield REAL, real
    if reconstruct is not None:
        yield RECONSTRUCTION, reconstruct(real)
    for name, make in makers.items():
        yield name, make(prompt)


def _column_facts(column: Column, atoms: Sequence[str]) -> dict[str, Any]:
    single = [atom for atom in atoms if atom not in SUMS]
    parsers = range(len(column.answers[0].readings))
    return {
        "scores": _scores_facts(column, atoms),
        "parsers_alone": {
            atom: [_score_facts(column.agreement(atom, reader)) for reader in parsers] for atom in single
        },
        "confusions": {atom: column.confusions(atom) for atom in single},
        "answers": [
            {
                "prompt": answer.prompt.text,
                "seed": answer.prompt.spec.seed,
                "asked": {atom: said(wanted) for atom, wanted in answer.prompt.asked.items()},
                "read": [
                    {atom: said(answer_of(reading, atom)) for atom in answer.prompt.asked}
                    for reading in answer.readings
                ],
                "right": answer.verdicts,
            }
            for answer in column.answers
        ],
    }


def _scores_facts(column: Column, atoms: Sequence[str]) -> dict[str, Any]:
    return {atom: _score_facts(column.score(atom)) for atom in atoms}


def _score_facts(score: Score) -> dict[str, Any]:
    share = score.share if score.total else None
    return {"right": score.right, "total": score.total, "share": share, "interval_95": list(score.interval)}
