"""Draw what the recipe's changes brought: `python scripts/draw_recipe.py` writes docs/pictures/recipe.svg.

Reads docs/reference/recipe.jsonl, a line for every change as benchmarks/recipe.py printed it.
"""

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parent.parent / "docs"
FIGURES, PICTURE = DOCS / "reference" / "recipe.jsonl", DOCS / "pictures" / "recipe.svg"
WIDTH, ROW, NAMES, BARS = 720, 22, 190, 400


class Panel(NamedTuple):
    """One chart: a figure of some changes, from `least` at the left to `most` at the right."""

    title: str
    figure: str
    least: float
    most: float
    form: str


PANELS = (
    Panel("PSNR in objects, dB (more is better)", "psnr_in_objects", 5, 25, "{:.2f}"),
    Panel("width of edges, that of the render = 1 (less is better)", "edge_width", 1, 3, "{:.2f}"),
    Panel("stills whose colour the parser reads right", "colour", 0, 1, "{:.0%}"),
    Panel("stills whose shape the parser reads right", "shape", 0, 1, "{:.0%}"),
)


def chart(changes: Sequence[dict[str, Any]], panels: Sequence[Panel] = PANELS) -> str:
    """Return an SVG of all panels, each with a bar for every change that has its figure."""
    parts: list[str] = []
    y = 0
    for panel in panels:
        rows = [each for each in changes if panel.figure in each]
        y += ROW
        parts.append(f'<text x="0" y="{y}" font-weight="bold">{escape(panel.title)}</text>')
        for row in rows:
            y += ROW
            value = row[panel.figure]
            share = min(1.0, max(0.0, (value - panel.least) / (panel.most - panel.least)))
            parts += [
                f'<text x="0" y="{y}">{escape(row["change"])}</text>',
                f'<rect x="{NAMES}" y="{y - 12}" width="{share * BARS:.1f}" height="15" fill="#4c72b0"/>',
                f'<text x="{NAMES + share * BARS + 6:.1f}" y="{y}">{panel.form.format(value)}</text>',
            ]
        y += ROW // 2
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + ROW}" font-family="sans-serif"'
        f' font-size="14">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Read the figures, write the picture."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    lines = FIGURES.read_text(encoding="utf-8").splitlines()
    PICTURE.write_text(chart([json.loads(line) for line in lines]), encoding="utf-8")


if __name__ == "__main__":
    main()
