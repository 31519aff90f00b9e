"""Draw the README's films, with defaults and seed 0: `python scripts/draw_samples.py -o FILE`."""

import argparse
from pathlib import Path

import unstatic
from unstatic.media.frames import contact_sheet
from unstatic.media.write import write_picture
from unstatic.presets.show import PROMPTS

SIZE = "128x128"  # the model's own


def main() -> None:
    """Make the films and lay them out as strips."""
    parser = argparse.ArgumentParser(description="Draw films of a few prompts.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    model = unstatic.load("nano")
    films = [model.generate(prompt, size=SIZE).frames for prompt in PROMPTS]
    write_picture(options.output, contact_sheet(films, PROMPTS))


if __name__ == "__main__":
    main()
