"""Rigid-body physics of a scene by MuJoCo: `simulate(spec)` gives where everything is at every frame.

Contacts are springs with dampers: stiff enough that nothing visibly sinks in, damped so that bodies part with
the bounciness the spec states (between two objects the lower one; floor and props adopt the object's).
"""

import math
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from unstatic.core.errors import InputError, UnstaticError
from unstatic.world.camera import camera_path
from unstatic.world.geometry import half_extents, product, rotation_matrices, surface_points, torus_radii
from unstatic.world.spec import ObjectSpec, PropSpec, SceneSpec, Trajectory
from unstatic.world.staging import GRAVITY

DENSITY = 300.0  # kilograms per cubic metre, a light wood: it only matters when sizes differ
CONTACT_FREQUENCY = 150.0  # radians per second: a bounce takes 21 ms, a third of a frame at 16 frames/s
STEPS_PER_S = 512  # 11 steps per bounce; below 8 the restitution drifts
RING_SEGMENTS = 24
ROUND = frozenset({"ball", "cylinder", "capsule"})
ROLLING_FRICTION = 0.0006  # metres, at least: a ball of 30 cm loses 1.4 cm/s every second
TORSIONAL_FRICTION = 0.002  # metres, times the friction coefficient

# Damping ratio of a contact and the bounciness it gives, measured on balls dropped from 0.5 to 2 m. The
# formula for a spring that cannot pull is up to 0.04 higher: a contact begins somewhere within a time step.
REBOUNDS = (
    (0.0, 1.0),
    (0.05, 0.855),
    (0.1, 0.738),
    (0.2, 0.557),
    (0.3, 0.429),
    (0.4, 0.336),
    (0.5, 0.265),
    (0.6, 0.21),
    (0.8, 0.131),
    (1.0, 0.076),
    (1.2, 0.033),
)


class State(NamedTuple):
    """Where all joints are, and how fast they move, as MuJoCo stores it."""

    places: Float[np.ndarray, "places"]
    speeds: Float[np.ndarray, "speeds"]


class Poses(NamedTuple):
    """Centres and orientations of some objects at each frame."""

    positions: Float[np.ndarray, "t n 3"]
    quaternions: Float[np.ndarray, "t n 4"]


def simulate(spec: SceneSpec) -> Trajectory:
    """Run the scene for its `frames` and return every pose, the first frame being the spec's own.

    Deterministic on one machine. Raises InputError when MuJoCo is not installed, UnstaticError when a scene
    explodes.
    """
    positions = np.empty((spec.frames, len(spec.objects), 3), dtype=np.float32)
    quaternions = np.empty((spec.frames, len(spec.objects), 4), dtype=np.float32)
    things = [index for index, each in enumerate(spec.objects) if not each.is_animal]
    if things:
        positions[:, things], quaternions[:, things] = _run(_mujoco(), spec, things)

    # Animals go straight on by themselves
    times = np.arange(spec.frames)[:, None] / spec.fps
    for index, each in enumerate(spec.objects):
        if each.is_animal:
            positions[:, index] = each.position + times * each.velocity
            quaternions[:, index] = each.quaternion

    # Film
    path = camera_path(spec.camera, positions[:, hero_index(spec)].astype(np.float64), fps=spec.fps)
    eyes, targets, fields_of_view = (each.astype(np.float32) for each in path)
    return Trajectory(positions, quaternions, eyes, targets, fields_of_view)


def _run(mujoco: ModuleType, spec: SceneSpec, things: list[int]) -> Poses:
    """Let the objects that are not animals move, one frame at a time."""
    steps = math.ceil(STEPS_PER_S / spec.fps)
    model = _build(mujoco, spec, things, timestep=1.0 / (spec.fps * steps))
    data = mujoco.MjData(model)
    data.qvel[:] = np.concatenate([_joint_velocity(spec, index) for index in things])
    first = State(data.qpos.copy(), data.qvel.copy())
    mujoco.mj_forward(model, data)

    bodies = [model.body(_name(index)).id for index in things]
    restarts = {index: _restarts(spec, index) for index in things if spec.objects[index].period_s}
    poses = Poses(np.empty((spec.frames, len(things), 3)), np.empty((spec.frames, len(things), 4)))
    for frame in range(spec.frames):
        for index, due in restarts.items():
            if due[frame]:
                _start_anew(mujoco, model, data, _name(index), first)
        poses.positions[frame], poses.quaternions[frame] = data.xpos[bodies], data.xquat[bodies]
        mujoco.mj_step(model, data, nstep=steps)
        mujoco.mj_kinematics(model, data)
    if any(warning.number for warning in data.warning):
        raise UnstaticError(f"the scene of seed {spec.seed} is unstable: draw another seed")
    return poses


def _restarts(spec: SceneSpec, index: int) -> Bool[np.ndarray, "t"]:
    """Return in which frames an object starts anew: in all while it waits, then once in every period."""
    each = spec.objects[index]
    turns = np.floor((np.arange(-1, spec.frames) / spec.fps - each.phase * each.period_s) / each.period_s)
    return (turns[1:] < 0) | (np.diff(turns) > 0)


def _start_anew(mujoco: ModuleType, model: Any, data: Any, name: str, first: State) -> None:
    """Put one body with a free joint back to where it was at first, at the velocity it had."""
    joint = model.body(name).jntadr[0]
    place, speed = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
    data.qpos[place : place + 7] = first.places[place : place + 7]
    data.qvel[speed : speed + 6] = first.speeds[speed : speed + 6]
    mujoco.mj_kinematics(model, data)


def hero_index(spec: SceneSpec) -> int:
    """Return which object the event is about."""
    return next(index for index, each in enumerate(spec.objects) if each.role == "hero")


def damping_ratio(bounciness: float) -> float:
    """Return the damping ratio of a contact that parts with `bounciness` times the speed of its impact."""
    ratios, rebounds = zip(*REBOUNDS, strict=True)
    return float(np.interp(bounciness, rebounds[::-1], ratios[::-1]))


def _mujoco() -> ModuleType:
    """Import MuJoCo, which only this room needs."""
    try:
        import mujoco
    except ImportError:
        raise InputError('the physical world needs MuJoCo: pip install "unstatic[world]"') from None
    return mujoco


def _build(mujoco: ModuleType, spec: SceneSpec, things: list[int], *, timestep: float) -> Any:
    """Compile floor, props and the objects `things` to a MuJoCo model whose bodies are named by `_name`."""
    scene = mujoco.MjSpec()
    scene.option.timestep = timestep
    scene.option.gravity = [0.0, 0.0, -GRAVITY]
    scene.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    scene.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0])
    for prop in spec.props:
        if prop.kind != "string":
            scene.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=prop.half_extents,
                pos=prop.position,
                quat=prop.quaternion,
            )
    for index in things:
        each = spec.objects[index]
        body = scene.worldbody.add_body(name=_name(index), pos=each.position, quat=each.quaternion)
        string = _string_of(spec, index)
        if string is None:
            body.add_freejoint()
        else:
            body.add_joint(type=mujoco.mjtJoint.mjJNT_BALL, pos=_pivot(each, string))
        _add_geoms(mujoco, scene, body, each)
    return scene.compile()


def _add_geoms(mujoco: ModuleType, scene: Any, body: Any, each: ObjectSpec) -> None:
    """Give `body` the solid of the object's shape, as `geometry` describes it."""
    kinds = mujoco.mjtGeom
    x, y, z = half_extents(each.shape, each.size, each.aspect)
    match each.shape:
        case "ball":
            solids = [{"type": kinds.mjGEOM_SPHERE, "size": [x, 0.0, 0.0]}]
        case "cube":
            solids = [{"type": kinds.mjGEOM_BOX, "size": [x, y, z]}]
        case "cylinder" if _lies(each):
            solids = [{"type": kinds.mjGEOM_CYLINDER, "size": [x, z, 0.0]}]
        case "capsule":
            solids = [{"type": kinds.mjGEOM_CAPSULE, "size": [x, z - x, 0.0]}]
        case "cylinder" | "cone":
            # MuJoCo's own cylinder moves its contact points as it rocks, until one in ten jumps into the air
            name = f"{body.name} hull"
            scene.add_mesh(name=name, uservert=surface_points(each.shape, each.size, each.aspect, 32).ravel())
            solids = [{"type": kinds.mjGEOM_MESH, "meshname": name}]
        case _:
            solids = _ring_solids(kinds, each.size)
    rolling_friction = max(each.rolling_friction, ROLLING_FRICTION if each.shape in ROUND else 0.0)
    damping = 2 * damping_ratio(each.bounciness) * CONTACT_FREQUENCY
    for solid in solids:
        body.add_geom(
            **solid,
            density=DENSITY,
            priority=1,
            condim=6 if rolling_friction else 4,  # rolling friction costs a third of the speed
            friction=[each.friction, TORSIONAL_FRICTION * each.friction, rolling_friction],
            solref=[-(CONTACT_FREQUENCY**2), -damping],
            solimp=[0.99, 0.99, 0.001, 0.5, 2.0],
        )


def _ring_solids(kinds: Any, size: float) -> list[dict[str, Any]]:
    """Return a torus as a closed chain of capsules around y."""
    major, tube = torus_radii(size)
    angles = np.linspace(0.0, 2 * np.pi, RING_SEGMENTS + 1)
    joints = np.stack([major * np.cos(angles), np.zeros_like(angles), major * np.sin(angles)], axis=1)
    return [
        {"type": kinds.mjGEOM_CAPSULE, "size": [tube, 0.0, 0.0], "fromto": [*start, *end]}
        for start, end in pairwise(joints)
    ]


def _joint_velocity(spec: SceneSpec, index: int) -> Float[np.ndarray, "v"]:
    """Return velocities as MuJoCo wants them: linear in the world's frame, angular in the body's own."""
    each = spec.objects[index]
    own_spin = product(_rotation(each).T, each.spin)
    return own_spin if _string_of(spec, index) else np.concatenate([each.velocity, own_spin])


def _pivot(each: ObjectSpec, string: PropSpec) -> Float[np.ndarray, "3"]:
    """Return the string's pivot in the object's own frame."""
    return product(_rotation(each).T, np.array(string.position) - np.array(each.position))


def _lies(each: ObjectSpec) -> bool:
    """Return whether its z axis is nearer to the level than to the upright."""
    return bool(abs(_rotation(each)[2, 2]) < math.sqrt(0.5))


def _rotation(each: ObjectSpec) -> Float[np.ndarray, "3 3"]:
    return rotation_matrices(np.array(each.quaternion))


def _string_of(spec: SceneSpec, index: int) -> PropSpec | None:
    return next((prop for prop in spec.props if prop.kind == "string" and prop.attached_to == index), None)


def _name(index: int) -> str:
    return f"object {index}"
