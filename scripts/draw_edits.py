"""Draw what the examples of docs/how-to/edit-videos.md make: `python scripts/draw_edits.py FOLDER -o FILE`.

FOLDER is where the examples were typed.
"""

import argparse
from pathlib import Path

from unstatic.media.frames import contact_sheet
from unstatic.media.read import read_video
from unstatic.media.write import write_picture

SHOWN = {
    "fox.mp4": "a film",
    "longer.mp4": "extend",
    "before.mp4": "extend --backward",
    "recut.mp4": "recut --keep 0.5:1.5 --before 1 --after 1",
    "loop.mp4": "loop",
    "ball.mp4": "another film",
    "blend.mp4": "blend of both",
    "remix.mp4": 'remix "a blue ball rolls to the right on grass"',
    "night.mp4": 'repaint "... at night", the sky alone',
    "story.mp4": "video --storyboard: a ball, it stops, a fox walks by, the first film",
    "changed.mp4": "cues=(Cue(at=1.0, ..., cut=True),)",
    "from-picture.mp4": "video --image",
    "take.mp4": "video --variation 1",
    "to-picture.mp4": "video --last-image",
    "between.mp4": "video --image --last-image",
    "past-picture.mp4": "video --storyboard: a ball, a picture",
}
FRAMES, SHRINK = 10, 4


def main() -> None:
    """Lay the films out as strips."""
    parser = argparse.ArgumentParser(description="Draw the examples of editing.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    clips = [read_video(options.folder / name).frames[:, ::SHRINK, ::SHRINK] for name in SHOWN]
    sheet = contact_sheet(clips, list(SHOWN.values()), columns=1, frames_per_clip=FRAMES)
    write_picture(options.output, sheet)


if __name__ == "__main__":
    main()
