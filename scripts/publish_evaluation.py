"""Put the figures of an evaluation into the documents.

    unstatic eval nano -o report
    python scripts/publish_evaluation.py report --machine "two cores of a Xeon with AMX"

Writes docs/reference/evaluation.md and evaluation.json (scores without single answers), the table of the
README, and every figure that a document names: after `<!-- figure: PART / KEY / ... -->` stands what the JSON
has there. A test compares all of them with the JSON.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstatic.evals.report import to_markdown
from unstatic.models.manifest import find_model

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REPORT, FACTS = DOCS / "reference" / "evaluation.md", DOCS / "reference" / "evaluation.json"
TABLE = re.compile(r"(<!-- evaluation -->\n).*?(<!-- /evaluation -->)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: ([^>]+?) -->([^ |\n<]*)")
# Lists of single answers, clips and films
LONG = ("answers", "confusions", "parsers_alone", "clips", "figures", "curves", "films")
HEAD = """# Evaluation of {model}

What `unstatic eval {model} -o report` measures, as explained in [how we know what a model can
do](../explanation/evaluation.md): the shares of films in which both parsers read what the prompt asked for,
with 95% Wilson intervals. Of the weights `{digest}`, at commit {commit}, on {machine}. The column of
many steps has the first 50 prompts of each suite.

![films of the first prompts of the suite "objects", and what was read](../pictures/answers.jpg)

{table}
"""


def main() -> None:
    """Read the report, write the documents."""
    parser = argparse.ArgumentParser(description="Put the figures of an evaluation into the documents.")
    parser.add_argument("report", type=Path)
    parser.add_argument("--machine", required=True, help="what it was measured on")
    options = parser.parse_args()
    facts = json.loads((options.report / "evaluation.json").read_text(encoding="utf-8"))
    parts = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["markdown"]
        for path in (options.report / "parts").glob("*.json")
    }
    digest = find_model(facts["model"]).digest()
    short = {"digest": digest, "machine": options.machine} | shortened(facts)
    FACTS.write_text(json.dumps(short, indent=1) + "\n", encoding="utf-8")
    REPORT.write_text(page(short, parts), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), short), encoding="utf-8")
    for document in (readme, *sorted(DOCS.rglob("*.md"))):
        text = document.read_text(encoding="utf-8")
        if (filled := with_figures(text, short)) != text:
            document.write_text(filled, encoding="utf-8")


def shortened(facts: Any) -> Any:
    """Return facts without what is long."""
    if not isinstance(facts, Mapping):
        return facts
    return {name: shortened(value) for name, value in facts.items() if name not in LONG}


def page(facts: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """Return the page of all tables, in the order in which they were measured."""
    table = to_markdown(facts)
    head = HEAD.format(table=table, **{key: facts[key] for key in ("model", "digest", "commit", "machine")})
    sections = [f"## {name}\n\n{parts[name].strip()}\n" for name in facts if name in parts]
    return "\n".join([head, *sections])


def with_table(text: str, facts: Mapping[str, Any]) -> str:
    """Return a document with the table between its marks."""
    return TABLE.sub(lambda found: f"{found[1]}{to_markdown(facts)}\n{found[2]}", text)


def with_figures(text: str, facts: Mapping[str, Any]) -> str:
    """Return a document with every figure that it names."""
    return FIGURE.sub(lambda found: f"<!-- figure: {found[1]} -->{figure(facts, found[1])}", text)


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
