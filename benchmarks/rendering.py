"""How many frames a second the world is drawn, simulated and rendered, on one core.

    python benchmarks/rendering.py                       # 64x64 and 128x128, three repeats each
    python benchmarks/rendering.py --sizes 256x256 --clips 4
    python benchmarks/rendering.py --mix whole           # two clips in five are of animals

Reported for each size, as the median of the repeats:

    frames_per_s         of the whole way from seed to pixels: `unstatic world render` without the video file
    render_frames_per_s  of the rays alone

Both are frames over computing time, of all threads of the process, since other programs may be running.
"""

import argparse
import json
import os
import platform
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from unstatic.core.shapes import Size
from unstatic.world.mix import MIXES
from unstatic.world.render import render
from unstatic.world.scenes import sample_clip

FRAMES, FPS = 65, 16


def main() -> None:
    """Measure, and print one JSON object."""
    options = parse()
    sizes = [Size.parse(size) for size in options.sizes]
    measure(sizes[0], 1, 0, options.mix)  # compiled kernels and caches are not what is measured
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used",
        "clip": f"{FRAMES} frames",
        "mix": options.mix,
        "clips": options.clips,
        "sizes": {
            str(size): summary(
                [measure(size, options.clips, repeat, options.mix) for repeat in range(options.repeats)]
            )
            for size in sizes
        },
    }
    print(json.dumps(facts, indent=2))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure how fast clips of the world are made.")
    parser.add_argument("--sizes", nargs="+", default=["64x64", "128x128"], help="sizes, WIDTHxHEIGHT")
    parser.add_argument(
        "--mix", choices=MIXES, default="balanced", help="what is drawn; balanced: objects alone"
    )
    parser.add_argument("--clips", type=int, default=12, help="clips in a repeat")
    parser.add_argument("--repeats", type=int, default=3, help="how often everything is measured")
    return parser.parse_args()


def measure(size: Size, clips: int, repeat: int, mix: str) -> tuple[float, float]:
    """Make clips and return frames per second of computing time: of everything, and of the rays alone."""
    whole = rays = 0.0
    for clip in range(clips):
        begun = time.process_time()
        seed = 1_000 * repeat + clip
        drawn = sample_clip(
            seed, frames=FRAMES, fps=FPS, width=size.width, height=size.height, mix=MIXES[mix]
        )
        simulated = time.process_time()
        render(drawn.spec, drawn.trajectory)
        rays += time.process_time() - simulated
        whole += time.process_time() - begun
    return clips * FRAMES / whole, clips * FRAMES / rays


def summary(rates: list[tuple[float, float]]) -> dict[str, float]:
    """Return the medians of what was measured."""
    whole, rays = zip(*rates, strict=True)
    return {
        "frames_per_s": round(statistics.median(whole)),
        "render_frames_per_s": round(statistics.median(rays)),
    }


if __name__ == "__main__":
    main()
