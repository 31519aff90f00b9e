"""Random scenes in which something happens: `sample_scene(seed, ...)`.

A draw is a proposal: it is simulated and kept only if its event visibly happens, its hero is in the frame and
in the open, nothing blocks the way, and it lies on the wanted side of the held-out line. Otherwise the next
proposal of the same seed is drawn; the event stays, so that a mix keeps its proportions.
"""

import dataclasses
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.seeds import numpy_generator
from unstatic.world import events_air, events_animals, events_ground, events_lively
from unstatic.world.casting import (
    Cast,
    can_play,
    draw_camera_kind,
    draw_cast,
    draw_light,
    draw_looks,
    draw_setting,
)
from unstatic.world.framing import Shot, frame_shot
from unstatic.world.furnishing import furnish
from unstatic.world.geometry import half_extents, length, product, rotation_matrices
from unstatic.world.happened import happened, screen_direction
from unstatic.world.held_out import held_out
from unstatic.world.mix import DEFAULT_MIX, Mix, draw
from unstatic.world.physics import simulate
from unstatic.world.spec import (
    STAYING_MOTIONS,
    TRAVELLING_MOTIONS,
    CameraSpec,
    SceneSpec,
    Trajectory,
)
from unstatic.world.staging import Action, Brief, apparent_size, smallest_share, turned
from unstatic.world.visibility import heights, in_view

log = logging.getLogger(__name__)

MOST_PROPOSALS = 400
# Where a seed shows nothing of the kind, the seed this much higher is asked, this many times
SEED_STRIDE, SPARE_SEEDS = 10_000_000, 5
LYING_EVENTS = ("roll", "ramp", "collide", "pass-behind")
VIEWS_OF_LYING = (0.6, 0.9)  # radians beside the view across the way
SETTINGS = 12  # tries to find a floor, where it must have marks
LEAST_SHOWN = 0.8  # of everything but the hero, in the first frame
LEAST_RING, MOST_END_ON = 0.12, 0.85  # cosines of the angle between an axis and the line of sight
CAST_PROPOSALS = 12  # with one cast, where it is drawn first: some can hardly be shown
SHORTEST_CLIP_S = 1.0
WIDE_SHARE = 0.6  # of the frame's height for a hero at least: hardly any scene has it so large
LONGEST_FRAMED_S = 6.0  # of a longer clip, a camera that does not follow frames the beginning

BUILDERS: dict[str, Callable[[np.random.Generator, Brief], Action]] = {
    "rest": events_ground.rest,
    "fall": events_air.fall,
    "bounce": events_air.bounce,
    "roll": events_ground.roll,
    "slide": events_ground.slide,
    "spin": events_ground.spin,
    "topple": events_ground.topple,
    "collide": events_ground.collide,
    "pendulum": events_air.pendulum,
    "ramp": events_ground.ramp,
    "pass-behind": events_ground.pass_behind,
    "jump": events_air.jump,
    "ricochet": events_lively.ricochet,
    "shower": events_lively.shower,
    **dict.fromkeys(TRAVELLING_MOTIONS, events_animals.travel),
    **dict.fromkeys(STAYING_MOTIONS, events_animals.stay),
}

# The camera of a rehearsal, which nobody sees
_UNPLACED = CameraSpec(kind="still", eye=(0.0, -3.0, 1.0), target=(0.0, 0.0, 0.5), field_of_view=0.7)


class Format(NamedTuple):
    """The outside of a clip."""

    frames: int
    fps: int
    width: int
    height: int

    @property
    def seconds(self) -> float:
        """How long the clip lasts."""
        return self.frames / self.fps

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height


class Sample(NamedTuple):
    """A scene that happened, and what happened; `proposals` counts the draws it took.

    Where that is a window of a longer scene, `opening` is the first frame of the whole.
    """

    spec: SceneSpec
    trajectory: Trajectory
    proposals: int
    opening: Trajectory | None = None


class SceneNotFoundError(UnstaticError):
    """No scene of the wanted kind came up in many draws."""


def sample_scene(
    seed: int, *, frames: int, fps: int = 16, width: int, height: int, mix: Mix = DEFAULT_MIX
) -> SceneSpec:
    """Draw a scene in which its event visibly happens within `frames`; equal arguments give equal scenes.

    Raises InputError for clips under a second (a still is the first frame of a longer clip) and for a mix in
    which nothing can play the event, SceneNotFoundError for one in which nothing of the kind is found.
    """
    return sample_clip(seed, frames=frames, fps=fps, width=width, height=height, mix=mix).spec


def sample_near(
    seed: int, *, frames: int, fps: int = 16, width: int, height: int, mix: Mix = DEFAULT_MIX
) -> Sample:
    """Draw the scene of a seed; if there is none, that of another: a long run must not end for that.

    Raises InputError as `sample_scene`, SceneNotFoundError if there is none of the spare seeds either.
    """
    for _ in range(SPARE_SEEDS):
        try:
            return sample_clip(seed, frames=frames, fps=fps, width=width, height=height, mix=mix)
        except SceneNotFoundError as error:
            log.info("%s", error)
            seed += SEED_STRIDE
    return sample_clip(seed, frames=frames, fps=fps, width=width, height=height, mix=mix)


def sample_clip(
    seed: int, *, frames: int, fps: int = 16, width: int, height: int, mix: Mix = DEFAULT_MIX
) -> Sample:
    """Draw a scene like `sample_scene`, with the trajectory that was simulated to check it."""
    if frames < SHORTEST_CLIP_S * fps:
        raise InputError(
            f"{frames} frames cannot show an event: use at least {math.ceil(SHORTEST_CLIP_S * fps)}"
        )
    event, outside = draw(numpy_generator("event", seed), mix.events), Format(frames, fps, width, height)
    if not can_play(event, mix):
        raise InputError(
            f"nothing in this mix can {event}: take another, for example whole, or another event"
        )
    for proposal in range(MOST_PROPOSALS):
        rng = numpy_generator("scene", seed, proposal)
        spec = _propose(rng, seed, event, _cast(seed, proposal, mix), outside, mix)
        if spec is None or (mix.held_out != "any" and held_out(spec) != (mix.held_out == "only")):
            continue
        trajectory = simulate(spec)
        if not flaw(spec, trajectory) and not (mix.legible and illegible(spec, trajectory)):
            return Sample(_with_directions(spec, trajectory), trajectory, proposal + 1)
    is_wide = smallest_share(event, outside.aspect) > WIDE_SHARE
    fix = (
        f"{width}x{height} is very wide, take a higher size"
        if is_wide
        else "take longer clips, another mix or another seed"
    )
    raise SceneNotFoundError(f"no {event} found for seed {seed} in {MOST_PROPOSALS} draws: {fix}")


def flaw(spec: SceneSpec, trajectory: Trajectory) -> str:
    """Say in a word what is wrong with a simulated scene; "" when its event happens in plain view."""
    if not happened(spec, trajectory):
        return "event"
    seen, height = in_view(spec, trajectory, 0), heights(spec, trajectory, 0)
    if spec.event == "shower":
        return "" if (seen >= 0.8).mean() > 0.35 else "hidden"
    # A low wall may stand before what ricochets
    first, always = (0.5, 0.5) if spec.event == "ricochet" else (0.95, 0.8)
    if seen[0] < first or (spec.event != "pass-behind" and (seen >= always).mean() < 0.85):
        return "hidden"
    smallest = smallest_share(spec.event, spec.width / spec.height)
    if np.median(height) < 0.85 * smallest or height.min() < 0.5 * smallest or height.max() > 0.75:
        return "size"
    if trajectory.eyes[:, 2].min() < 0.2:
        return "eye"

    # The rest of the cast: all who are not run into keep still, and all are there to be seen
    calm = [
        i
        for i, each in enumerate(spec.objects)
        if each.role == "extra" or (i and spec.event == "pass-behind")
    ]
    moved = np.linalg.norm(trajectory.positions[:, calm] - trajectory.positions[:1, calm], axis=2)
    if moved.max(initial=0.0) > 0.1:
        return "pushed"
    others = range(1, len(spec.objects))
    shown = all(in_view(spec, trajectory, index).mean() > 0.55 for index in others)
    sizes = [heights(spec, trajectory, index) for index in others]
    fitting = all(np.median(each) > 0.6 * smallest and each.max() < 0.75 for each in sizes)
    return "" if shown and fitting else "others"


def illegible(spec: SceneSpec, trajectory: Trajectory) -> str:
    """Say in a word which part of a caption the first frame would not show; "" if there is none."""
    if any(each.material == "checkered" and each.colour in ("black", "white") for each in spec.objects):
        return "look"  # these two are the same
    if spec.event != "shower" and any(
        in_view(spec, trajectory, index)[0] < LEAST_SHOWN for index in range(1, len(spec.objects))
    ):
        return "others"
    return "shape" if any(map(partial(_is_foreshortened, spec, trajectory), range(len(spec.objects)))) else ""


def _is_foreshortened(spec: SceneSpec, trajectory: Trajectory, index: int) -> bool:
    """Tell whether something long is seen from its end, or a ring from its edge, in the first frame."""
    shape = spec.objects[index].shape
    if shape not in ("cylinder", "capsule", "ring"):
        return False
    axis = rotation_matrices(trajectory.quaternions[0, index])[:, 2]
    sight = trajectory.positions[0, index] - trajectory.eyes[0]
    along = abs(float(product(axis, sight)) / length(sight))
    return along < LEAST_RING if shape == "ring" else along > MOST_END_ON


def _cast(seed: int, proposal: int, mix: Mix) -> Cast | None:
    """Return how many play, if that is decided before everything else."""
    return (
        draw_cast(numpy_generator("cast", seed, proposal // CAST_PROPOSALS), mix) if mix.cast_first else None
    )


def _propose(
    rng: np.random.Generator, seed: int, event: str, cast: Cast | None, outside: Format, mix: Mix
) -> SceneSpec | None:
    """Draw one scene, or None when it cannot be furnished."""
    looks = draw_looks(rng, event, mix, cast)
    camera_kind = draw_camera_kind(rng, event, mix, seconds=outside.seconds)
    followed = camera_kind == "follow"
    # Marked floors are oftener refused: without further tries the camera would seldom move
    tries = (draw_setting(rng, looks, mix, camera_kind) for _ in range(SETTINGS if mix.legible else 1))
    setting = next((each for each in tries if each is not None), None)
    if setting is None:
        return None

    # Act
    angle = rng.uniform(0, 2 * math.pi)
    partner = looks[min(1, len(looks) - 1)]
    brief = Brief(
        hero=looks[0],
        partner=partner,
        seconds=outside.seconds,
        aspect=outside.aspect,
        event=event,
        cast=tuple(looks),
        followed=followed,
    )
    action = turned(BUILDERS[event](rng, brief), angle)
    aside = rng.uniform(-action.view, action.view)
    if mix.legible and event in LYING_EVENTS and looks[0].shape in ("cylinder", "capsule"):
        # Its axis lies along the line of sight of who sees it roll by, and it looks like a disc
        aside = math.copysign(rng.uniform(*VIEWS_OF_LYING), aside)
    view = angle + math.pi / 2 + aside
    spec = SceneSpec(
        seed=seed,
        frames=outside.frames,
        fps=outside.fps,
        width=outside.width,
        height=outside.height,
        objects=action.objects,
        props=action.props,
        floor=setting.floor,
        floor_colour=setting.first,
        floor_colour2=setting.second,
        sky=setting.sky,
        light=draw_light(rng, setting.sky, view),
        camera=_UNPLACED,
        event=event,
    )
    rehearsal = simulate(spec)

    # Film and furnish
    shot = _shot(spec, rehearsal, view, action, followed=followed)
    spec = dataclasses.replace(spec, camera=frame_shot(rng, shot, camera_kind))
    return furnish(rng, spec, rehearsal, looks[len(action.objects) :])


def _shot(spec: SceneSpec, rehearsal: Trajectory, view: float, action: Action, *, followed: bool) -> Shot:
    """Say what the camera must hold: a follow camera only the hero's heights, from where it starts."""
    hero = spec.objects[0]
    points = rehearsal.positions[: round(LONGEST_FRAMED_S * spec.fps), :2].astype(np.float64)
    if followed:
        points[:, :, :2] = points[0, :, :2]
    held = [points[:, 0]]
    if action.wide:
        held.append(points[: len(points) // 2, 1])
    if action.corners:
        held = [np.array(action.corners)]
    return Shot(
        points=np.concatenate(held),
        radius=0.9 * max(half_extents(hero.shape, hero.size)) if hero.is_animal else 1.1 * hero.size,
        hero_size=apparent_size(hero),
        view=view,
        aspect=spec.width / spec.height,
        smallest_share=smallest_share(spec.event, spec.width / spec.height),
        seconds=spec.frames / spec.fps,
    )


def _with_directions(spec: SceneSpec, trajectory: Trajectory) -> SceneSpec:
    """Note where each object goes on screen."""
    objects = tuple(
        dataclasses.replace(each, direction=screen_direction(spec, trajectory, index))
        for index, each in enumerate(spec.objects)
    )
    return dataclasses.replace(spec, objects=objects)
