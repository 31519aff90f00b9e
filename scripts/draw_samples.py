"""Draw the README's films: `python scripts/draw_samples.py -o FILE`.

With defaults and seed 0, but for the one that `make video` makes by itself: that has its own seed.
"""

import argparse
from pathlib import Path

import unstatic
from unstatic.media.frames import contact_sheet
from unstatic.media.write import write_picture
from unstatic.presets.show import DEFAULT_PROMPT, DEFAULT_SEED, PROMPTS

SIZE = "128x128"  # the model's own


def main() -> None:
    """Make the films and lay them out as strips."""
    parser = argparse.ArgumentParser(description="Draw films of a few prompts.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    model = unstatic.load("nano")
    seeds = [DEFAULT_SEED if prompt == DEFAULT_PROMPT else 0 for prompt in PROMPTS]
    asked = zip(PROMPTS, seeds, strict=True)
    films = [model.generate(prompt, seed=seed, size=SIZE).frames for prompt, seed in asked]
    write_picture(options.output, contact_sheet(films, PROMPTS))


if __name__ == "__main__":
    main()
