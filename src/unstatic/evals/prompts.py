"""Prompts with known answers: scenes drawn once, each with the caption that asks for it, kept for ever.

A suite belongs to the project's history: the same name gives the same prompts however the world grows, so
that two models, or one model at two times, answer the same questions. Therefore suites are files, written by
scripts/draw_suites.py, and a test pins their fingerprints. Those of first-light, objects, animals, pairs,
cameras and held-out are older than the first transformer of nano's size; minutes, physics and held-out-words
came when one had been trained already. No training draws from the seeds of any.
"""

import dataclasses
import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unstatic.core.errors import InputError
from unstatic.evals.readings import Reading, truth
from unstatic.world.held_out import held_out_look, held_out_motion
from unstatic.world.relations import hero
from unstatic.world.spec import IN_PLACE, SceneSpec

SUITES_FOLDER = Path(__file__).parent / "suites"
SUITES = ("first-light", "objects", "animals", "pairs", "cameras", "held-out", "held-out-words")
MINUTES = "minutes"  # prompts for films of 60 seconds
PHYSICS = "physics"  # prompts whose atoms are laws (`unstatic.evals.physics`)

# Facts of objects that came into the format later: a fingerprint leaves out what its suite does not use.
LATER_FACTS = {"motion": "", "phase": 0.0, "pace": 1.0, "period_s": 0.0}

Asked = str | frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sentence, the scene that it describes, and which atoms of the scene it asks for."""

    text: str
    spec: SceneSpec
    atoms: tuple[str, ...] = ("colour", "shape", "event", "direction")

    @property
    def asked(self) -> dict[str, Asked]:
        """The right answer of every atom that the prompt names."""
        right = truth(self.spec)
        answers = {atom: answer_of(right, atom) for atom in self.atoms}
        if self.spec.event in IN_PLACE:
            answers["direction"] = ""
        return {atom: answer for atom, answer in answers.items() if answer}

    @property
    def asks_for_unseen(self) -> bool:
        """Whether a pair that training never showed is among what is asked for: of materials nothing is."""
        thing = hero(self.spec)
        look = {"colour", "shape"} <= set(self.atoms) and held_out_look(thing.shape, thing.colour)
        return look or ("motion" in self.atoms and held_out_motion(thing.shape, thing.motion))


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of prompts."""

    name: str
    prompts: tuple[Prompt, ...]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any word, any atom, and any number by a thousandth."""
        scenes = [(prompt.text, prompt.atoms, _rounded(_facts(prompt.spec))) for prompt in self.prompts]
        return hashlib.sha256(json.dumps(scenes).encode()).hexdigest()[:16]

    def first(self, count: int) -> "Suite":
        """Return the beginning of the suite: kinds of scenes alternate, so it is a small suite of its own."""
        return Suite(self.name, self.prompts[:count])


def answer_of(reading: Reading, atom: str) -> Asked:
    """Return what a reading says of an atom; "binding" is the set of pairs (colour, shape) of its objects."""
    match atom:
        case "binding":
            return frozenset((thing.colour, thing.shape) for thing in reading.objects)
        case "motion":
            return reading.event
        case _:
            return getattr(reading, atom)


def suite_path(name: str) -> Path:
    """Name the file of a suite."""
    return SUITES_FOLDER / f"{name}.jsonl.gz"


@cache
def load_suite(name: str) -> Suite:
    """Read a suite. Raises InputError naming all suites."""
    known = (*SUITES, MINUTES, PHYSICS)
    if name not in known:
        raise InputError(f"suite {name!r} is unknown: take one of {', '.join(known)}")
    lines = gzip.decompress(suite_path(name).read_bytes()).decode().splitlines()
    return Suite(name, tuple(_prompt(json.loads(line)) for line in lines))


def save_suite(suite: Suite, folder: Path) -> Path:
    """Write a suite's file into a folder: equal suites give equal bytes."""
    lines = [
        json.dumps(
            {"text": each.text, "spec": json.loads(each.spec.to_json()), "atoms": each.atoms},
            separators=(",", ":"),
        )
        for each in suite.prompts
    ]
    path = folder / suite_path(suite.name).name
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
    return path


def _prompt(fields: dict[str, Any]) -> Prompt:
    atoms = {"atoms": tuple(fields["atoms"])} if "atoms" in fields else {}
    return Prompt(fields["text"], SceneSpec.from_json(json.dumps(fields["spec"])), **atoms)


def _facts(spec: SceneSpec) -> dict[str, Any]:
    """Return all of a scene but what it does not use of later formats."""
    facts = dataclasses.asdict(spec)
    for each in facts["objects"]:
        for name, unused in LATER_FACTS.items():
            if each[name] == unused:
                del each[name]
    return facts


def _rounded(value: Any) -> Any:
    """Round all numbers in nested containers: processors differ in the last digits of what they simulate."""
    match value:
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case float():
            return round(value, 3) + 0.0  # no minus zero
        case _:
            return value
