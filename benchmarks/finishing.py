"""Which upscaler and which interpolator? Held-out renders, as the model's autoencoder gives them back.

    python benchmarks/finishing.py enlarging --clips 16
    python benchmarks/finishing.py doubling --clips 16

`enlarging` renders scenes at the model's size and two and four times as large, sends the small ones through
the autoencoder and enlarges them in every way. `doubling` leaves out every other frame of renders and asks
for it back. PSNR is over all pixels and inside objects; edges are as wide as in the render if 1; flicker is
how much the error changes from frame to frame, in levels of 255. LPIPS needs scripts/fetch_networks.py.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import mean

from unstatic.core.threads import quiet_threads

quiet_threads()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from jaxtyping import UInt8  # noqa: E402

from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.log import progress  # noqa: E402
from unstatic.core.shapes import Size  # noqa: E402
from unstatic.evals.lpips import load_lpips  # noqa: E402
from unstatic.evals.reconstruction import FIRST_SEED, FPS, SIZES, Distance  # noqa: E402
from unstatic.evals.sharpness import edge_width_ratio  # noqa: E402
from unstatic.generate.finish import REPEAT, UPSCALERS, Finish, Finisher  # noqa: E402
from unstatic.generate.native import load_native  # noqa: E402
from unstatic.media.frames import fit  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402
from unstatic.presets.evaluation import enlargement  # noqa: E402
from unstatic.world.clip import make_clip  # noqa: E402
from unstatic.world.mix import MIXES  # noqa: E402
from unstatic.world.render import PROP_ID  # noqa: E402
from unstatic.world.scenes import sample_scene  # noqa: E402
from unstatic.world.spec import SceneSpec  # noqa: E402

FRAMES = 33
SEED = FIRST_SEED + 1_000  # behind the clips of `unstatic eval`

Frames = UInt8[np.ndarray, "t h w 3"]
Way = Callable[[Frames], Frames]
Figures = dict[str, float]


def scenes(count: int) -> Iterator[SceneSpec]:
    """Yield scenes of the whole world that no training has seen, two seconds each."""
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        yield sample_scene(
            SEED + number, frames=FRAMES, fps=FPS, width=width, height=height, mix=MIXES["whole"]
        )


def finish(frames: Frames, size: Size, times: int = 1, **names: str) -> Frames:
    """Finish a whole video as a film of `unstatic video` is finished."""
    native = Size(frames.shape[2], frames.shape[1])
    asked = Finish(native=native, native_fps=FPS, size=size, fps=times * FPS, **names)
    return Finisher(asked, len(frames), device=torch.device("cpu")).next(frames, 0)


def enlarging(count: int, factor: int, lpips: Distance | None) -> dict[str, list[Figures]]:
    """Compare upscalers by `factor`."""
    engine = load_native(find_model("nano"), device="cpu")
    native = enlargement(engine.manifest)
    found: dict[str, list[Figures]] = {}
    with progress(f"enlarging {factor}x", count) as bar:
        for spec in scenes(count):
            small = engine.reconstruct(make_clip(spec, enlarge=native).frames)
            large = make_clip(spec, enlarge=native * factor)
            size = Size(large.spec.width, large.spec.height)
            ways: dict[str, Way] = {"Lanczos": partial(fit, size=size)}
            for name in UPSCALERS:
                ways[name] = partial(finish, size=size, upscaler=name)
            inside = (large.ids > 0) & (large.ids != PROP_ID)
            measure(ways, small, large.frames, inside, lpips, found)
            bar.advance()
    return found


def doubling(count: int, lpips: Distance | None) -> dict[str, list[Figures]]:
    """Compare ways to find every other frame: the figures are of the frames that were left out alone."""
    native = enlargement(find_model("nano").manifest)
    found: dict[str, list[Figures]] = {}
    with progress("doubling", count) as bar:
        for spec in scenes(count):
            clip = make_clip(spec, enlarge=native)
            size = Size(clip.spec.width, clip.spec.height)
            ways: dict[str, Way] = {"mean of both": means}
            for name in (REPEAT, "rife"):
                ways[name] = partial(finish, size=size, times=2, interpolator=name)
            between = {name: partial(odd, way) for name, way in ways.items()}
            inside = (clip.ids > 0) & (clip.ids != PROP_ID)
            measure(between, clip.frames[::2], clip.frames[1::2], inside[1::2], lpips, found)
            bar.advance()
    return found


def odd(way: Way, frames: Frames) -> Frames:
    """Return the frames between those that are given."""
    return way(frames)[1 : 2 * len(frames) - 1 : 2]


def means(frames: Frames) -> Frames:
    """Put the mean of two frames between them."""
    middles = np.concatenate([(frames[:-1].astype(np.uint16) + frames[1:] + 1) // 2, frames[-1:]])
    return np.stack([frames, middles.astype(np.uint8)], axis=1).reshape(-1, *frames.shape[1:])


def measure(
    ways: dict[str, Way],
    given: Frames,
    real: Frames,
    inside: np.ndarray,
    lpips: Distance | None,
    found: dict[str, list[Figures]],
) -> None:
    """Add the figures of one clip to those that were found."""
    for name, way in ways.items():
        way(given[:2])  # networks are loaded once for a film
        start = time.perf_counter()
        made = way(given)[: len(real)]
        seconds = (time.perf_counter() - start) / len(made)
        error = made.astype(np.float32) - real
        figures = {
            "whole": decibels(error),
            "inside": decibels(error[inside]),
            "edges": edge_width_ratio(real, made),
            "flicker": float(np.abs(np.diff(error, axis=0)).mean()),
            "ms a frame": 1000 * seconds,
        }
        if lpips is not None:
            figures["LPIPS"] = lpips(real, made)
        found.setdefault(name, []).append(figures)


def decibels(error: np.ndarray) -> float:
    """Return the PSNR of an error in levels; NaN of nothing."""
    return 20 * math.log10(255 / math.sqrt(float((error**2).mean()) + 1e-9)) if error.size else math.nan


def table(title: str, found: dict[str, list[Figures]]) -> str:
    """Return a table in Markdown: means over clips."""
    columns = list(next(iter(found.values()))[0])
    lines = [f"| {title} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, rows in found.items():
        figures = [mean(row[column] for row in rows if math.isfinite(row[column])) for column in columns]
        lines.append(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description="Compare upscalers, or interpolators.")
    parser.add_argument("part", choices=("enlarging", "doubling"))
    parser.add_argument("--clips", type=int, default=16)
    options = parser.parse_args()
    try:
        lpips: Distance | None = load_lpips().between
    except InputError as error:
        print(f"without LPIPS: {error}")
        lpips = None
    if options.part == "doubling":
        print(table("every other frame", doubling(options.clips, lpips)))
        return
    for factor in (2, 4):
        print(table(f"{factor}x", enlarging(options.clips, factor, lpips)))


if __name__ == "__main__":
    main()
