"""The report of an evaluation as one HTML file: tables, bars with their intervals, clips, failures included.

It is drawn from facts alone, the JSON that the parts of an evaluation give, and from clips already written as
animated pictures; so the same folder always gives the same report.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from unstatic.evals.intervals import Score

BAR_WIDTH, LABEL_WIDTH, BAR_HEIGHT = 84, 126, 14
COLUMN_TINTS = ("#4c72b0", "#8172b2", "#dd8452", "#55a868")
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
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}
td,th{padding:.25em .8em;text-align:left;vertical-align:top}
tr:nth-child(even){background:#f6f6f6}th{border-bottom:2px solid #888}.number{text-align:right}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:1em}
.clips figure{margin:0}.clips img{width:100%;image-rendering:pixelated;border-radius:4px}
figcaption{font-size:.85em}.wrong{color:#b3261e}.right{color:#2e7d32}small{color:#666}
svg text{font:11px system-ui,sans-serif}
@media(prefers-color-scheme:dark){body{background:#1a1a1a;color:#ddd}tr:nth-child(even){background:#252525}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownClip:
    """One clip: an animated picture with what was asked, what was read, and whether all of it is right."""

    suite: str
    column: str
    picture: Path
    text: str
    right: bool


def to_html(
    title: str, about: Mapping[str, str], facts: Mapping[str, Any], clips: Sequence[ShownClip]
) -> str:
    """Put the whole report together; `facts` is a model's evaluation as `unstatic eval --json` prints it."""
    suites = {name: each for name, each in facts.items() if isinstance(each, dict) and "columns" in each}
    parts = [f"<h1>{escape(title)}</h1>", _about(about)]
    for name, suite in suites.items():
        parts += [f"<h2>{escape(name)}</h2>", _prompt_count(suite), _bars(suite), _parsers(suite)]
        parts.append(_gallery([clip for clip in clips if clip.suite == name]))
    for name in facts:
        if name not in suites and isinstance(facts[name], dict):
            parts += [f"<h2>{escape(name)}</h2>", _table(flat(facts[name]))]
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><body>{body}</body></html>\n"
    )


def to_markdown(facts: Mapping[str, Any]) -> str:
    """Return the table for the README: a row for every atom, over all suites of prompts as in training."""
    rows = best_rows(facts)
    if not rows:
        return ""
    names = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(names)} | aim |", f"|---|{'---|' * (len(names) + 1)}"]
    for atom, scores in rows.items():
        aim = f"{AIMS[atom.split(' ')[0]]:.0%}" if atom.split(" ")[0] in AIMS else ""
        lines.append(f"| {atom} | {' | '.join(str(scores[name]) for name in names)} | {aim} |")
    return "\n".join(lines)


def best_rows(facts: Mapping[str, Any]) -> dict[str, dict[str, Score]]:
    """Return each atom's score in every column: of prompts as in training, and at the end of the held-out."""
    rows: dict[str, dict[str, Score]] = {}
    kept_apart = ("held-out", "first-light")
    suites = [(name, each) for name, each in facts.items() if isinstance(each, dict) and "columns" in each]
    for atom in ("colour", "shape", "event", "animal", "motion", "direction", "binding", "camera"):
        found = [each for name, each in suites if name not in kept_apart and atom in _scores(each)]
        if found:
            rows[atom] = _added(found, atom)
    strict = [each for name, each in suites if name in ("objects", "animals")]
    if strict:
        rows["all that a prompt asks"] = _added(strict, "all")
    for name, suite in suites:
        if name == "held-out":
            rows["all, held-out combinations"] = _added([suite], "all")
    return rows


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


def _scores(suite: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(suite["columns"].values()))["scores"]


def _added(suites: Sequence[Mapping[str, Any]], atom: str) -> dict[str, Score]:
    """Add the counts of an atom over suites, column by column."""
    names = list(suites[0]["columns"])
    counted = {
        name: [suite["columns"][name]["scores"][atom] for suite in suites if name in suite["columns"]]
        for name in names
    }
    return {
        name: Score(sum(each["right"] for each in scores), sum(each["total"] for each in scores))
        for name, scores in counted.items()
    }


def _about(about: Mapping[str, str]) -> str:
    return f"<p><small>{' &middot; '.join(f'{escape(k)} {escape(v)}' for k, v in about.items())}</small></p>"


def _prompt_count(suite: Mapping[str, Any]) -> str:
    return f"<p>{suite['prompts']} prompts, fingerprint <code>{escape(suite['fingerprint'])}</code></p>"


def _bars(suite: Mapping[str, Any]) -> str:
    """Draw a row for every atom and in it a bar for every column, with its interval and the aim."""
    names = list(suite["columns"])
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for atom in _scores(suite):
        cells = []
        for name, tint in zip(names, _tints(len(names)), strict=True):
            score = suite["columns"][name]["scores"][atom]
            cells.append(f"<td>{_bar(Score(score['right'], score['total']), AIMS.get(atom), tint)}</td>")
        rows.append(f"<tr><td>{escape(atom)}</td>{''.join(cells)}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _tints(count: int) -> list[str]:
    return [COLUMN_TINTS[number % len(COLUMN_TINTS)] for number in range(count)]


def _bar(score: Score, aim: float | None, tint: str) -> str:
    """Draw a share as a bar, its interval as a line across its end, the aim as a mark."""
    if not score.total:
        return "-"
    width, middle = BAR_WIDTH, BAR_HEIGHT / 2
    low, high = score.interval
    mark = (
        f'<line x1="{aim * width}" x2="{aim * width}" y1="0" y2="{BAR_HEIGHT}" stroke="#c00"/>' if aim else ""
    )
    return (
        f'<svg width="{width + LABEL_WIDTH}" height="{BAR_HEIGHT}" role="img" aria-label="{score}">'
        f'<rect width="{width}" height="{BAR_HEIGHT}" fill="#8883"/>'
        f'<rect width="{score.share * width:.1f}" height="{BAR_HEIGHT}" fill="{tint}"/>'
        f'<line x1="{low * width:.1f}" x2="{high * width:.1f}" y1="{middle}" y2="{middle}" stroke="#000"/>'
        f'{mark}<text x="{width + 6}" y="{BAR_HEIGHT - 3}" fill="currentColor">{score}</text></svg>'
    )


def _parsers(suite: Mapping[str, Any]) -> str:
    """Say how often each parser alone agrees with the real renders: what limits the first column."""
    alone = next(iter(suite["columns"].values())).get("parsers_alone", {})
    shares = {
        atom: [f"{each['share']:.1%}" for each in scores if each["total"]] for atom, scores in alone.items()
    }
    rows = [f"{escape(atom)} {' / '.join(each)}" for atom, each in shares.items() if each]
    return f"<p><small>Each parser alone on real renders: {', '.join(rows)}</small></p>" if rows else ""


def _table(rows: Mapping[str, str]) -> str:
    cells = (f'<tr><td>{escape(k)}</td><td class="number">{escape(v)}</td></tr>' for k, v in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _gallery(clips: Sequence[ShownClip]) -> str:
    return f'<div class="clips">{"".join(_figure(clip) for clip in clips)}</div>' if clips else ""


def _figure(clip: ShownClip) -> str:
    data = base64.b64encode(clip.picture.read_bytes()).decode()
    verdict = "right" if clip.right else "wrong"
    return (
        f'<figure><img alt="{escape(clip.text)}" src="data:image/webp;base64,{data}">'
        f'<figcaption><b class="{verdict}">{escape(clip.column)}: {verdict}</b> '
        f"{escape(clip.text)}</figcaption></figure>"
    )
