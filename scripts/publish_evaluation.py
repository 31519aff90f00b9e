"""Put the figures of an evaluation into the documents.

    unstatic eval nano --slow-prompts 20 --fvd -o report
    unstatic bench --json > native.json
    unstatic bench --json --seconds 5 --size 384x384 > default.json
    unstatic bench --json --seconds 5 --size 1280x720 > 720p.json
    unstatic bench --json --seconds 60 --size 1280x720 > minute-720p.json
    unstatic bench --json --seconds 5 --size 1920x1080 --fps 32 > 1080p.json
    python scripts/publish_evaluation.py report --machine "two cores of a Xeon with AMX" --bench *.json

With --keep, parts that the report lacks stay as they were published, of the same weights and machine and
measured in the same way; and all benchmarks, if none is given.

Writes docs/reference/evaluation.md and evaluation.json (scores without single answers), the table of the
README, and every figure that a document names: after `<!-- figure: PART / KEY / ... -->` stands what the JSON
has there. A test compares all of them with the JSON.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unstatic.core.commit import CHANGED
from unstatic.core.errors import InputError
from unstatic.evals.follow import REAL
from unstatic.evals.intervals import Score
from unstatic.evals.report import to_markdown
from unstatic.models.manifest import find_model
from unstatic.presets.evaluation import DISTRIBUTION, PARTS
from unstatic.presets.evaluation_report import commits

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REPORT, FACTS = DOCS / "reference" / "evaluation.md", DOCS / "reference" / "evaluation.json"
TABLE = re.compile(r"(<!-- evaluation -->\n).*?(<!-- /evaluation -->)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: ([^>]+?) -->((?:-?\d+(?:\.\d+)?%?|None|\?+)?)")
# Lists of single answers, clips and films
NO_PARTS = ("bench",)
SECTION = re.compile(r"^## (.+)\n\n((?:(?!^## ).*\n?)*)", re.MULTILINE)
LONG = ("answers", "confusions", "parsers_alone", "clips", "figures", "curves", "films")
PARSERS = """## What each parser alone reads in the real renders

At the model's size, where {place} says what the suites' own small renders give; the aim is 95%.

| suite | atom | prompts | network | classical |
|---|---|---|---|---|
{rows}
"""
HEAD = """# Evaluation of {model}

What `{command}` measures, as explained in [how we know what a
model can do](../explanation/evaluation.md): the shares of films in which both parsers read what the prompt
asked for, with 95% Wilson intervals. Of the weights `{digest}`, at commit {commit}, on {machine}.
"First" in the name of a column means that it has only the first prompts of each suite.

![films of the first prompts of the suite "objects", and what was read](../pictures/answers.jpg)

{table}
"""


def main() -> None:
    """Read the report, write the documents."""
    parser = argparse.ArgumentParser(description="Put the figures of an evaluation into the documents.")
    parser.add_argument("report", type=Path)
    parser.add_argument("--machine", required=True, help="what it was measured on")
    parser.add_argument("--bench", type=Path, nargs="*", default=[], help="what `unstatic bench --json` said")
    parser.add_argument("--keep", action="store_true", help="let stand what was not measured again")
    options = parser.parse_args()
    facts = json.loads((options.report / "evaluation.json").read_text(encoding="utf-8"))
    digest = find_model(facts["model"]).digest()
    check_parts(options.report / "parts", digest, facts)
    parts = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["markdown"]
        for path in (options.report / "parts").glob("*.json")
    }
    short = (
        {"digest": digest, "machine": options.machine} | shortened(facts) | {"bench": films(options.bench)}
    )
    if options.keep:
        short = with_kept(short, json.loads(FACTS.read_text(encoding="utf-8")))
        parts = sections(REPORT.read_text(encoding="utf-8")) | parts
    # Make all texts, then write them: a figure that is missing leaves everything as it was
    texts = {FACTS: json.dumps(short, indent=1) + "\n", REPORT: page(short, parts)}
    for document in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        if document != REPORT:
            text = document.read_text(encoding="utf-8")
            texts[document] = with_figures(with_table(text, short), short)
    for document, text in texts.items():
        document.write_text(text, encoding="utf-8")


def check_parts(parts: Path, digest: str, facts: Mapping[str, Any]) -> None:
    """Raise InputError if a part is of other weights than are installed, or of code that no commit has.

    Or if it is not the one among the facts, which have the figures for its table.
    """
    for path in sorted(parts.glob("*.json")):
        part = json.loads(path.read_text(encoding="utf-8"))
        of = part["key"].split()[0]
        if of != digest:
            raise InputError(f"{path} is of the weights {of}, not {digest}: measure it again")
        if part["facts"] != facts.get(path.stem):
            raise InputError(
                f"{path} is not what evaluation.json says: measure it as the other parts, or delete it"
            )
        if part["facts"]["commit"].endswith(CHANGED):
            raise InputError(
                f"{path} was measured by code that no commit has: commit it and measure it again"
            )


def with_kept(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Return new facts and, where there are none, the old ones, each with the commit that measured it.

    Commit and command are those of the old facts. Raises InputError if these are of other weights, of another
    machine, or measured in another way: other prompts, other steps.
    """
    for name, said in (("digest", "the weights "), ("machine", "")):
        if new[name] != old[name]:
            raise InputError(f"what is published is of {said}{old[name]}: measure all of it again")
    found = {name: {"commit": old["commit"]} | each for name, each in old.items() if is_part(name, each)}
    found |= {name: each for name, each in new.items() if is_part(name, each)}
    ways = {name: ways_of(name, each) for name, each in found.items()}
    if len(set(ways.values())) > 1:
        raise InputError(f"parts were measured in several ways ({ways}): measure all of them in one")
    about = {name: each for name, each in new.items() if not isinstance(each, Mapping)}
    about |= {name: old[name] for name in ("commit", "command")}
    ordered = {name: found[name] for name in (*PARTS, DISTRIBUTION, *found) if name in found}
    return about | ordered | {"bench": new["bench"] or old["bench"]}


def ways_of(name: str, facts: Mapping[str, Any]) -> str:
    """Say how a part was measured; of FVD the suites do not count."""
    how = str(facts.get("how", "as before it was noted"))
    return how.partition(" of ")[0] if name == DISTRIBUTION else how


def is_part(name: str, facts: Any) -> bool:
    """Tell whether facts are of a part that was measured by itself."""
    return isinstance(facts, Mapping) and name not in NO_PARTS


def sections(text: str) -> dict[str, str]:
    """Return the tables of a page by the names of their parts."""
    return {found[1]: found[2].strip() for found in SECTION.finditer(text)}


def shortened(facts: Any) -> Any:
    """Return facts without what is long; what single parsers read is kept of real renders."""
    if not isinstance(facts, Mapping):
        return facts
    short = {name: shortened(value) for name, value in facts.items() if name not in LONG}
    if "parsers_alone" in (real := facts.get(REAL, {})):
        short[REAL] |= {"parsers_alone": real["parsers_alone"]}
    return short


def films(paths: Sequence[Path]) -> dict[str, Any]:
    """Return benchmarks by the film that was made: "5 s, 128x128, 16 a second"."""
    found = [each for path in paths for each in json.loads(path.read_text(encoding="utf-8"))]
    return {f"{each['film_s']:g} s, {each['size']}, {each['fps']} a second": each for each in found}


def page(facts: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """Return the page of all tables, in the order in which they were measured."""
    table = to_markdown(facts)
    said = {key: facts[key] for key in ("model", "command", "digest", "machine")}
    head = HEAD.format(table=table, commit=commits(facts), **said)
    sections = [f"## {name}\n\n{parts[name].strip()}\n" for name in facts if name in parts]
    return "\n".join([head, *sections, *parsers_alone(facts)])


def parsers_alone(facts: Mapping[str, Any]) -> list[str]:
    """Return the table of what each parser alone reads in real renders, if suites were measured."""
    columns = {
        name: each.get("columns", {}).get(REAL, {}) for name, each in facts.items() if is_part(name, each)
    }
    rows = [
        f"| {name} | {atom} | {scores[0]['total']} | {' | '.join(map(told, scores))} |"
        for name, column in columns.items()
        for atom, scores in column.get("parsers_alone", {}).items()
        if scores[0]["total"]
    ]
    place = (
        "[how far parsers can be trusted](../explanation/evaluation.md#how-far-the-parsers-can-be-trusted)"
    )
    return [PARSERS.format(rows="\n".join(rows), place=place)] if rows else []


def told(score: Mapping[str, Any]) -> str:
    """Return a score as the tables say it."""
    return str(Score(score["right"], score["total"]))


def with_table(text: str, facts: Mapping[str, Any]) -> str:
    """Return a document with the table between its marks."""
    about = f"Weights `{facts['digest']}`, commit {commits(facts)}, {facts['machine']}."
    return TABLE.sub(lambda found: f"{found[1]}{to_markdown(facts)}\n\n{about}\n{found[2]}", text)


def with_figures(text: str, facts: Mapping[str, Any]) -> str:
    """Return a document with every figure that it names. Raises InputError for one that was not measured."""

    def filled(found: re.Match[str]) -> str:
        try:
            return f"<!-- figure: {found[1]} -->{figure(facts, found[1])}"
        except KeyError as error:
            raise InputError(
                f"nothing was measured for the figure {found[1]}: see the commands at the top of this script"
            ) from error

    return FIGURE.sub(filled, text)


def figure(facts: Mapping[str, Any], path: str) -> str:
    """Return what stands at "PART / KEY / ..." as a reader sees it. Raises KeyError for what does not."""
    found: Any = facts
    for key in path.split(" / "):
        found = found[key]
    if isinstance(found, Mapping):
        return f"{found['right'] / found['total']:.1%}"
    return f"{found:.2f}" if isinstance(found, float) else str(found)


if __name__ == "__main__":
    main()
