"""Do films keep the laws of their world? Each law is a number read off the frames, small where it is kept.

    parabola      what flies follows a parabola: what a fitted one leaves over, in heights of the flight
    restitution   no bounce is higher than the one before: the largest ratio of two heights
    prediction    the beginning says how it goes on: how far what comes after it is from what is simulated,
                  in sizes of the thing
    permanence    what is there stays there and moves evenly: the largest change of its change from frame to
                  frame, in sizes of the thing
    shadow        the dark on the ground beside the thing goes with it: 1 - correlation of their places
    mirror        below the thing is its image upside down: 1 - correlation of the two
    orbit         points of a scene that rests lie in three dimensions: after Tomasi and Kanade (1992, IJCV 9,
                  137-154) their places in all frames have rank 3; what a rank of 3 leaves over, in pixels of
                  128, where a rank of 2, a flat picture that is moved, leaves more

Nothing is compared with the prompt's own scene: a film may be of another thing and keep every law.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from unstatic.evals.classical import Tables
from unstatic.evals.follow import REAL, Make
from unstatic.evals.intervals import Score
from unstatic.evals.prompts import Prompt, Suite
from unstatic.evals.readings import Frames
from unstatic.evals.tracks import Track, follow_points, track_hero
from unstatic.world.clip import make_clip

Curve = Float[np.ndarray, "t"]

SHORTEST_FLIGHT, LEAST_HEIGHT = 5, 0.3  # frames, and sizes of the thing
CONTACT_DROP, CONTACT_TURN = 0.02, 0.06  # sizes of the thing
LEAST_TRAVEL = 1.0
SHADOW_DEPTH, SHADOW_SEEN, SHADOW_SHARE = 0.06, 0.003, 0.5
MIRROR_EVERY, MIRROR_ROWS, MIRROR_SHARE = 4, 4, 0.8
SHORTEST_BOUNCE = 0.3  # frames: what bounces faster lies still
LEAST_PIXELS = 12.0  # of pictures of about 64 x 64: what covers less is not there
ORBIT_STEP, ORBIT_POINTS, ORBIT_WINDOWS, ORBIT_MOVED = 12, 10, 2, 0.5
ORBIT_DEPTH, ORBIT_SIDE = 0.12, 128.0
READ = 0.6  # of a film is read before the rest is foretold


class Film:
    """A clip whose thing is followed once, when a law asks for it."""

    def __init__(self, frames: Frames, tables: Tables) -> None:
        self.frames, self.tables = frames, tables

    @cached_property
    def track(self) -> Track:
        """The thing that acts."""
        return track_hero(self.frames, self.tables)


# ----------------------------------------------------------------------------------------------- what flies


class Flight(NamedTuple):
    """Frames `start` to `stop`, both at a contact with the ground or at an end of the film."""

    start: int
    stop: int


def flights(y: Curve, size: float) -> list[Flight]:
    """Cut a curve of heights, which grow downwards, where something strikes the ground."""
    speed = np.diff(y)
    contacts = [
        frame
        for frame in range(2, len(y) - 2)
        if y[frame - 1] <= y[frame] > y[frame + 1]
        and y[frame] - min(y[frame - 2], y[frame + 2]) > CONTACT_DROP * size
        and speed[frame - 1] - speed[frame] > CONTACT_TURN * size
    ]
    return [Flight(*each) for each in pairwise([0, *contacts, len(y) - 1])]


def parabola(film: Film) -> float:
    """Return what parabolas leave over of all flights, the higher the heavier; 1 for one upside down."""
    y, size = _heights(film), film.track.size
    left, weights = list[float](), list[float]()
    for flight in flights(y, size):
        frames = np.arange(flight.start + 1, flight.stop)
        height = float(np.ptp(y[frames])) if len(frames) else 0.0
        if len(frames) < SHORTEST_FLIGHT or height < LEAST_HEIGHT * size:
            continue
        fit = np.polyfit(frames, y[frames], 2)
        missed = float(np.sqrt(np.mean((np.polyval(fit, frames) - y[frames]) ** 2)))
        left.append(missed / height if fit[0] > 0 else 1.0)
        weights.append(height)
    return float(np.average(left, weights=weights)) if left else math.nan


def restitution(film: Film) -> float:
    """Return the largest ratio of the heights of two bounces, one after the other; NaN without a bounce."""
    y, size = _heights(film), film.track.size
    first, *later = flights(y, size)
    heights = [float(y[first.stop] - y[: first.stop + 1].min())]
    heights += [float(y[each.start] - y[each.start : each.stop + 1].min()) for each in later]
    ratios = [after / before for before, after in pairwise(heights) if before > LEAST_HEIGHT * size]
    return max(ratios) if later and ratios else math.nan


def bounces_on(film: Film) -> float:
    """Simulate on from the second contact with what the first bounce says; return the mean distance."""
    y, size = _heights(film), film.track.size
    cut = flights(y, size)
    if len(cut) < 4:
        return math.nan
    fall, bounce = cut[:2]
    frames = np.arange(bounce.start + 1, bounce.stop)
    if len(frames) < SHORTEST_FLIGHT:
        return math.nan
    gravity = 2 * float(np.polyfit(frames, y[frames], 2)[0])
    before = float(y[fall.stop] - y[: fall.stop + 1].min())
    height = float(y[bounce.start] - y[bounce.start : bounce.stop + 1].min())
    if gravity <= 0 or before <= 0 or height <= 0:
        return math.nan
    kept = math.sqrt(height / before)
    foretold = _bouncing(len(y) - bounce.stop, gravity, kept * math.sqrt(2 * gravity * height), kept)
    return float(np.abs(y[bounce.stop] - foretold - y[bounce.stop :]).mean()) / size


def _bouncing(frames: int, gravity: float, speed: float, kept: float) -> Curve:
    """Return heights above the ground of what leaves it at `speed` and keeps a share of it at each bounce."""
    heights, start = np.zeros(frames), 0.0
    for frame in range(frames):
        while frame - start > 2 * speed / gravity > SHORTEST_BOUNCE:
            start, speed = start + 2 * speed / gravity, speed * kept
        time = min(frame - start, 2 * speed / gravity)
        heights[frame] = speed * time - gravity * time**2 / 2
    return heights


# ----------------------------------------------------------------------------------------------- what glides


def glides_on(film: Film) -> float:
    """Go on as the first part of the film does, slowing evenly until it rests; return how far off that is."""
    boxes, size = film.track.boxes, film.track.size
    places = torch.stack([boxes.x, boxes.y], dim=1).double().numpy()
    times = np.arange(float(len(places)))
    read = round(READ * len(places))
    ahead = times[read : read + len(places) // 4 + 1]
    if np.ptp(places[:, 0]) < LEAST_TRAVEL * size:
        return math.nan
    foretold = np.stack([_slowing(times[:read], way[:read], ahead) for way in places.T], axis=1)
    real = places[read : read + len(ahead)]
    return float(np.hypot(*(foretold - real).T)[-1]) / size


def _slowing(
    times: Float[np.ndarray, "read"], way: Float[np.ndarray, "read"], ahead: Float[np.ndarray, "ahead"]
) -> Float[np.ndarray, "ahead"]:
    """Return where a way goes on to: a parabola up to its vertex, where what slows down comes to rest."""
    fit = np.polyfit(times, way, 2)
    rest = -fit[1] / (2 * fit[0]) if fit[0] else math.inf
    return np.polyval(fit, np.minimum(ahead, rest) if rest > times[-1] else ahead)


def permanence(film: Film) -> float:
    """Return the largest jerk, of the place or of the side of a square as large; infinite if it is gone.

    NaN if there is nothing to follow.
    """
    boxes, size = film.track.boxes, film.track.size
    if float(boxes.area.median()) < LEAST_PIXELS:
        return math.nan
    if float(boxes.area.min()) < 0.1 * float(boxes.area.median()):
        return math.inf
    sides = boxes.area.sqrt()
    jerks = [each.diff().diff().abs().max() for each in (boxes.x, boxes.y, sides)]
    return float(torch.stack(jerks).max()) / size


def shadow(film: Film) -> float:
    """Return 1 - correlation of where the thing and where the dark beside it is; NaN if there is none."""
    video, cover, boxes = film.track
    size = film.track.size
    height, width = cover.shape[1:]
    light = (video.mean(1) + 0.03).log()
    dark = (light.median(0).values - light - SHADOW_DEPTH).clamp(0.0, 0.5)
    away = F.max_pool2d(cover[:, None], 3, 1, 1)[:, 0] < 0.1
    down = (torch.arange(height)[:, None] - boxes.y[:, None, None]) / size
    aside = (torch.arange(width) - boxes.x[:, None, None]) / size
    dark = dark * (away & (down > 0) & (down < 1) & (aside.abs() < 2))
    total = dark.sum((1, 2))
    seen = total > SHADOW_SEEN * size**2
    if seen.float().mean() < SHADOW_SHARE or float(boxes.x.max() - boxes.x.min()) < LEAST_TRAVEL * size:
        return math.nan
    places = torch.einsum("thw,w->t", dark, torch.arange(width).float())[seen] / total[seen]
    return 1 - _correlation(places, boxes.x[seen])


def mirror(film: Film) -> float:
    """Return 1 - correlation of the thing with what is below it, upside down: the median over frames."""
    video, boxes = film.track.video, film.track.boxes
    found = list[float]()
    for frame in range(0, len(video), MIRROR_EVERY):
        left, right = int(boxes.left[frame] + 1), int(boxes.right[frame])
        ground = round(float(boxes.bottom[frame])) + 1
        likest = -1.0
        for edge in range(ground - 2, ground + 3):  # where it touches is known to a pixel or two
            rows = min(video.shape[2] - edge, round(MIRROR_SHARE * float(edge - boxes.top[frame])))
            if rows < MIRROR_ROWS or right - left < MIRROR_ROWS:
                continue
            below = video[frame, :, edge : edge + rows]
            floor = below.median(2, keepdim=True).values
            above = video[frame, :, edge - rows : edge].flip(1)
            one, other = ((each - floor)[..., left:right].flatten() for each in (above, below))
            likest = max(likest, float(one @ other / (one.norm() * other.norm() + 1e-6)))
        found.append(likest)
    return 1 - float(np.median(found))


def orbit(film: Film) -> float:
    """Return how far points are from a rigid scene: the median over points and stretches of the film.

    NaN if a flat picture that is moved, zoomed or turned explains them as well.
    """
    errors = list[tuple[float, float]]()
    for first in range(0, len(film.frames) - ORBIT_STEP, ORBIT_STEP):
        points = follow_points(film.frames, first, first + ORBIT_STEP)
        if points.shape[1] < ORBIT_POINTS:
            continue
        if (points[-1] - points[0]).norm(dim=1).median() >= ORBIT_MOVED:
            errors.append((rank_error(points, 2), rank_error(points, 3)))
    if len(errors) < ORBIT_WINDOWS:
        return math.nan
    flat, rigid = np.median(errors, axis=0) * ORBIT_SIDE / min(film.frames.shape[1:3])
    return float(rigid) if flat > ORBIT_DEPTH else math.nan


def rank_error(points: Float[Tensor, "t points 2"], rank: int) -> float:
    """Return the median distance of points, in pixels, from places of a rank.

    3 is a rigid scene seen from afar, 2 a flat one.
    """
    places = rearrange(points, "t p xy -> (t xy) p").double()
    places = places - places.mean(1, keepdim=True)
    u, s, v = torch.linalg.svd(places, full_matrices=False)
    left = places - (u[:, :rank] * s[:rank]) @ v[:rank]
    return float(rearrange(left, "(t xy) p -> t p xy", xy=2).norm(dim=2).mean(0).median())


# ---------------------------------------------------------------------------------------------------- laws


@dataclass(frozen=True, slots=True)
class Law:
    """A number read off a film, and up to which the law counts as kept; NaN is not kept."""

    measure: Callable[[Film], float]
    limit: float


LAWS = {
    "parabola": Law(parabola, 0.035),
    "restitution": Law(restitution, 1.0),
    "prediction of bounces": Law(bounces_on, 0.3),
    "prediction of ways": Law(glides_on, 0.3),
    "permanence": Law(permanence, 0.2),
    "shadow": Law(shadow, 0.2),
    "mirror": Law(mirror, 0.4),
    "orbit": Law(orbit, 0.27),
}


def figures_of(film: Film, laws: Sequence[str]) -> dict[str, float]:
    """Return the number of each law."""
    return {name: LAWS[name].measure(film) for name in laws}


def kept(law: str, figure: float) -> bool:
    """Return whether a number says that a law is kept."""
    return bool(figure <= LAWS[law].limit)


@dataclass(frozen=True, slots=True)
class PhysicsResult:
    """The numbers of every film by column and law, the real renders first."""

    suite: str
    fingerprint: str
    columns: dict[str, dict[str, list[float]]]

    def score(self, column: str, law: str) -> Score:
        """Count the films that keep a law."""
        figures = self.columns[column].get(law, [])
        return Score(sum(kept(law, each) for each in figures), len(figures))

    def to_markdown(self) -> str:
        """Return a table with a row for each law: films that keep it, and the median of its number."""
        names = list(self.columns)
        lines = [f"| law, number at most | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        for law in self.columns[names[0]]:
            cells = [f"{self.score(name, law)}, {self._median(name, law)}" for name in names]
            lines.append(f"| {law}, {LAWS[law].limit:g} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return scores and every number; null where there is none."""
        return {
            "suite": self.suite,
            "fingerprint": self.fingerprint,
            "laws": {
                name: {
                    law: {
                        "right": self.score(name, law).right,
                        "total": self.score(name, law).total,
                        "figures": [each if math.isfinite(each) else None for each in figures],
                    }
                    for law, figures in laws.items()
                }
                for name, laws in self.columns.items()
            },
        }

    def _median(self, column: str, law: str) -> str:
        found = [each for each in self.columns[column].get(law, []) if not math.isnan(each)]
        return f"{np.median(found):.2f}" if found else "-"


def measure_physics(
    makers: Mapping[str, Make],
    suite: Suite,
    tables: Tables,
    *,
    enlarge: int = 1,
    advance: Callable[[], object] = lambda: None,
) -> PhysicsResult:
    """Let every maker film every prompt and read off the laws that the prompt asks for, after real renders.

    A prompt's atoms are the laws. The suite holds scenes whose own renders keep them.
    """
    columns: dict[str, dict[str, list[float]]] = {name: {} for name in (REAL, *makers)}

    def real(prompt: Prompt) -> Frames:
        return make_clip(prompt.spec, enlarge=enlarge).frames

    for prompt in suite.prompts:
        for name, make in ({REAL: real} | dict(makers)).items():
            for law, figure in figures_of(Film(make(prompt), tables), prompt.atoms).items():
                columns[name].setdefault(law, []).append(figure)
        advance()
    return PhysicsResult(suite.name, suite.fingerprint, columns)


def _heights(film: Film) -> Curve:
    return film.track.boxes.y.double().numpy()


def _correlation(one: Float[Tensor, "n"], other: Float[Tensor, "n"]) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / (one.norm() * other.norm() + 1e-6))
