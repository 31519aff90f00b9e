"""Draw the README's films, with defaults and seed 0: `python scripts/draw_samples.py -o FILE`."""

import argparse
from pathlib import Path

import unstatic
from unstatic.media.frames import contact_sheet
from unstatic.media.write import write_picture

PROMPTS = (
    "a red ball bounces on a wooden floor",
    "a blue cube slides to the right on grass",
    "a yellow cylinder rolls to the left at sunset",
    "a green cone spins on the snow",
    "a purple ring rolls to the right on a grey floor",
    "a white metal ball falls onto the sand",
    "a fox gallops to the right over snow at sunset while the camera follows it",
    "a white horse eats on the grass in daylight",
)
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
