"""The report of an evaluation as one HTML file: tables, bars with their intervals, clips, failures included.

It is drawn from facts alone, the JSON that the parts of an evaluation give, and from clips already written as
animated pictures; so the same folder always gives the same report.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from unstatic.evals.follow import REAL
from unstatic.evals.intervals import Score

TEMPLATE = Path(__file__).with_name("report.html.jinja")
COLUMN_TINTS = ("#4c72b0", "#8172b2", "#dd8452", "#55a868", "#937860")
# What the project asks of a model, as shares
AIMS = {
    "colour": 0.95,
    "shape": 0.90,
    "animal": 0.90,
    "event": 0.80,
    "motion": 0.80,
    "camera": 0.80,
    "binding": 0.70,
    "all": 0.55,
}


HELD_OUT = {"held-out": "combinations", "held-out-words": "words"}
OF_OTHERS = ("first-light", "remixes", "cards")  # not films from prompts as in training


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownClip:
    """One clip: an animated picture with what was asked, what was read, and whether all of it is right."""

    suite: str
    column: str
    picture: Path
    text: str
    right: bool

    @property
    def data(self) -> str:
        """The picture as a page holds it."""
        return base64.b64encode(self.picture.read_bytes()).decode()


def to_html(
    title: str, about: Mapping[str, str], facts: Mapping[str, Any], clips: Sequence[ShownClip]
) -> str:
    """Put the whole report together; `facts` is a model's evaluation as `unstatic eval --json` prints it."""
    suites = {name: each for name, each in facts.items() if isinstance(each, dict) and "columns" in each}
    films = {name: each for name, each in facts.items() if isinstance(each, dict) and "makers" in each}
    others = {
        name: flat(each)
        for name, each in facts.items()
        if name not in suites | films and isinstance(each, dict)
    }
    template = jinja2.Template(
        TEMPLATE.read_text(encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return template.render(
        title=title,
        about=about,
        suites=suites,
        films=films,
        others=others,
        clips=clips,
        aims=AIMS,
        tints=COLUMN_TINTS,
        score=lambda counts: Score(counts["right"], counts["total"]),
        parsers_alone=_parsers_alone,
        polyline=polyline,
        highest=highest,
    )


def to_markdown(facts: Mapping[str, Any]) -> str:
    """Return the table for the README: a row for every atom, over all suites of prompts as in training."""
    rows = best_rows(facts)
    if not rows:
        return ""
    found = {name for scores in rows.values() for name in scores}
    names = [name for name in _names(facts) if name in found]
    shown = [f"{name}{_fewer(facts, name)}" for name in names]
    lines = [f"| | {' | '.join(shown)} | aim |", f"|---|{'---|' * (len(names) + 1)}"]
    for atom, scores in rows.items():
        aim = f"{AIMS[atom.split(' ')[0]]:.0%}" if atom.split(" ")[0] in AIMS else ""
        said = [str(scores[name]) if name in scores else "" for name in names]
        lines.append(f"| {atom} | {' | '.join(said)} | {aim} |")
    return "\n".join(lines)


def best_rows(facts: Mapping[str, Any]) -> dict[str, dict[str, Score]]:
    """Return each atom's score in every column: of prompts as in training, and at the end of the held-out."""
    rows: dict[str, dict[str, Score]] = {}
    kept_apart = (*HELD_OUT, *OF_OTHERS)
    suites = [(name, each) for name, each in facts.items() if isinstance(each, dict) and "columns" in each]
    names = _names(facts)
    for atom in ("colour", "shape", "event", "animal", "motion", "direction", "binding", "camera"):
        found = [each for name, each in suites if name not in kept_apart and atom in _scores(each)]
        if found:
            rows[atom] = _added(found, atom, names)
    strict = {name: each for name, each in suites if name in ("objects", "animals")}
    if strict:
        rows[f"all at once, {' and '.join(strict)}"] = _added(list(strict.values()), "all", names)
    for name, suite in suites:
        if name in HELD_OUT:
            atom = "unseen" if "unseen" in _scores(suite) else "all"
            rows[f"all, held-out {HELD_OUT[name]}"] = _added([suite], atom, names)
    return rows


def highest(curves: Iterable[Sequence[float | None]]) -> float:
    """Return the highest value of some curves; 0 where all are gaps."""
    return max((value for curve in curves for value in curve if value is not None), default=0.0)


def polyline(curve: Sequence[float | None], top: float, width: int, height: int) -> str:
    """Return the points of a curve in a picture of this size, as SVG wants them; gaps are left out."""
    step = width / max(1, len(curve) - 1)
    places = [(number * step, value) for number, value in enumerate(curve) if value is not None]
    return " ".join(f"{x:.1f},{height - height * value / (top or 1):.1f}" for x, value in places)


def flat(facts: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Name every single fact of nested ones: "whole pooled" -> "31.2"; lists are left out."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name} ")
        elif not isinstance(value, list | tuple):
            found[f"{before}{name}"] = _said(value)
    return found


def _said(value: object) -> str:
    if value is None:
        return "not computed"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fewer(facts: Mapping[str, Any], column: str) -> str:
    """Say of how many prompts of each suite a column is, if not of all."""
    suites = [each for each in facts.values() if isinstance(each, dict) and column in each.get("columns", {})]
    most = max((each["columns"][column]["scores"]["all"]["total"] for each in suites), default=0)
    fewer = any(each["columns"][column]["scores"]["all"]["total"] < each["prompts"] for each in suites)
    return f", first {most}" if fewer else ""


def _names(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of all columns, in the order in which they are measured.

    A column that only held-out prompts have would be empty in nearly every row.
    """
    suites = {name: each for name, each in facts.items() if isinstance(each, dict) and "columns" in each}
    usual = [each for name, each in suites.items() if name not in HELD_OUT] or suites.values()
    return list(dict.fromkeys(name for each in usual for name in _columns(each)))


def _columns(suite: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the scores of every column, and those of the first prompts where another has only these."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, column in suite["columns"].items():
        found[name] = column["scores"]
        firsts = column.get("scores_of_first", {}).items()
        found |= {f"{name}, first {count}": scores for count, scores in firsts}
    return found


def _of(columns: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return a column's scores; where a suite has no more prompts than "first N" says, those of all of it."""
    whole, _, most = name.partition(", first ")
    if name in columns or not most or whole not in columns:
        return columns.get(name, {})
    return columns[whole] if columns[whole]["all"]["total"] <= int(most) else {}


def _scores(suite: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(suite["columns"].values()))["scores"]


def _added(suites: Sequence[Mapping[str, Any]], atom: str, names: Sequence[str]) -> dict[str, Score]:
    """Add the counts of an atom over suites, column by column."""
    columns = [_columns(suite) for suite in suites]
    counted = {name: [_of(each, name)[atom] for each in columns if _of(each, name)] for name in names}
    return {
        name: Score(sum(each["right"] for each in scores), sum(each["total"] for each in scores))
        for name, scores in counted.items()
        if scores
    }


def _parsers_alone(suite: Mapping[str, Any]) -> str:
    """Say how often each parser alone agrees with the real renders: what limits the first column."""
    name, first = next(iter(suite["columns"].items()))
    alone = first.get("parsers_alone", {}) if name == REAL else {}
    shares = {
        atom: [f"{each['share']:.1%}" for each in scores if each["total"]] for atom, scores in alone.items()
    }
    return ", ".join(f"{atom} {' / '.join(each)}" for atom, each in shares.items() if each)
