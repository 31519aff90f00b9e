import dataclasses
import math
import sys

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.world.physics import simulate
from unstatic.world.spec import SHAPES, CameraSpec, LightSpec, ObjectSpec, PropSpec, SceneSpec
from unstatic.world.staging import GRAVITY, Look, lowest, place, rolling, rolling_spin, standing

BALL = Look(shape="ball", colour="red", material="matte", size=0.3)
CAMERA = CameraSpec(kind="still", eye=(0.0, -4.0, 1.2), target=(0.0, 0.0, 0.5), field_of_view=0.7)


def scene(
    *objects: ObjectSpec, props: tuple[PropSpec, ...] = (), frames: int = 33, fps: int = 16
) -> SceneSpec:
    return SceneSpec(
        seed=0,
        frames=frames,
        fps=fps,
        width=64,
        height=64,
        objects=objects,
        props=props,
        light=LightSpec(direction=(0.0, 0.0, 1.0)),
        camera=CAMERA,
        event="rest",
    )


def upright(shape: str) -> Look:
    return Look(shape=shape, colour="red", material="matte", size=0.3, aspect=0.5)


def test_the_first_frame_is_the_spec() -> None:
    hero = place(BALL, (0.1, -0.2, 1.0), quaternion=(0.6, 0.0, 0.8, 0.0))
    trajectory = simulate(scene(hero, frames=3))
    np.testing.assert_allclose(trajectory.positions[0, 0], hero.position, atol=1e-6)
    np.testing.assert_allclose(trajectory.quaternions[0, 0], hero.quaternion, atol=1e-6)
    assert trajectory.positions.shape == (3, 1, 3)
    assert trajectory.eyes.shape == (3, 3)


def test_simulation_is_deterministic() -> None:
    spec = scene(place(upright("cube"), (0.0, 0.0, 1.0), spin=(1.0, 2.0, 3.0)))
    first, second = simulate(spec), simulate(spec)
    np.testing.assert_array_equal(first.positions, second.positions)
    np.testing.assert_array_equal(first.quaternions, second.quaternions)


def test_free_fall_is_a_parabola() -> None:
    hero = place(BALL, (0.0, 0.0, 5.0), velocity=(0.7, -0.3, 1.5))
    trajectory = simulate(scene(hero, frames=13))
    time = np.arange(13)[:, None] / 16
    expected = np.array(hero.position) + time * np.array(hero.velocity) - time**2 * (0.0, 0.0, GRAVITY / 2)
    np.testing.assert_allclose(trajectory.positions[:, 0], expected, atol=0.012)


@pytest.mark.parametrize("bounciness", [0.3, 0.5, 0.7, 0.85])
@pytest.mark.parametrize("drop", [0.8, 1.5])
def test_a_ball_rebounds_to_the_square_of_its_bounciness(bounciness: float, drop: float) -> None:
    hero = place(BALL, (0.0, 0.0, 0.3 + drop), bounciness=bounciness)
    heights = simulate(scene(hero, frames=400, fps=240)).positions[:, 0, 2] - 0.3
    impact = int(np.argmax(heights < 0.005))
    second = impact + int(np.argmax(heights[impact + 8 :] < 0.005)) + 8
    assert math.sqrt(heights[impact:second].max() / drop) == pytest.approx(bounciness, abs=0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_sinks_into_the_floor_or_gains_energy(shape: str) -> None:
    hero = place(upright(shape), (0.0, 0.0, 1.2), quaternion=(0.9, 0.3, 0.1, math.sqrt(0.09)), bounciness=0.7)
    trajectory = simulate(scene(hero, frames=65))
    depths = [
        lowest(hero, tuple(quaternion.tolist())) - position[2]
        for position, quaternion in zip(trajectory.positions[:, 0], trajectory.quaternions[:, 0], strict=True)
    ]
    assert max(depths) < 0.035
    assert trajectory.positions[:, 0, 2].max() <= 1.2 + 1e-6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bounciness", [0.1, 0.3, 0.35, 0.7])
def test_what_stands_stays(shape: str, bounciness: float) -> None:
    look = dataclasses.replace(upright(shape), size=0.4)
    for turn in (0.3, 1.1):
        height, quaternion = standing(look, turn)
        positions = simulate(
            scene(place(look, (0.4, -0.7, height), quaternion=quaternion, bounciness=bounciness))
        ).positions
        assert abs(positions - positions[0]).max() < 0.015


def test_balls_do_not_enter_one_another_and_keep_their_momentum() -> None:
    speed = (1.5, 0.0, 0.0)
    hero = place(BALL, (-0.8, 0.0, 5.0), velocity=speed, bounciness=0.9)
    other = place(BALL, (0.0, 0.0, 5.0), bounciness=0.9, role="partner")
    positions = simulate(scene(hero, other, frames=100, fps=120)).positions
    assert np.linalg.norm(positions[:, 0] - positions[:, 1], axis=1).min() > 0.6 - 0.02
    after = (positions[-1] - positions[-31]) * 4
    assert after[:, 0].sum() == pytest.approx(1.5, abs=0.02)
    assert after[1, 0] == pytest.approx(1.5 * 1.9 / 2, abs=0.08)


@pytest.mark.parametrize("shape", ["ball", "cylinder", "capsule", "ring"])
def test_round_shapes_roll_without_slipping(shape: str) -> None:
    look = upright(shape)
    height, quaternion = rolling(look, 0.0)
    velocity = (0.6, 0.0, 0.0)
    hero = place(
        look,
        (0.0, 0.0, height),
        quaternion=quaternion,
        velocity=velocity,
        spin=rolling_spin(velocity, height),
    )
    positions = simulate(scene(hero, frames=33)).positions[:, 0]
    assert positions[-1, 0] == pytest.approx(1.2, abs=0.12)
    assert abs(positions[:, 1]).max() < 0.05
    assert abs(positions[:, 2] - height).max() < 0.02


def test_friction_stops_a_slider_where_it_should() -> None:
    hero = place(upright("cube"), (0.0, 0.0, 0.3), velocity=(1.0, 0.0, 0.0), friction=0.08, bounciness=0.1)
    positions = simulate(scene(hero, frames=49)).positions[:, 0]
    assert positions[-1, 0] == pytest.approx(1.0 / (2 * 0.08 * GRAVITY), rel=0.05)


def test_a_pendulum_keeps_its_string_and_its_period() -> None:
    length, angle = 0.8, 0.2
    pivot = (0.0, 0.0, 1.5)
    start = (length * math.sin(angle), 0.0, pivot[2] - length * math.cos(angle))
    string = PropSpec(
        kind="string", colour="grey", position=pivot, half_extents=(0.01, 0.0, 0.0), attached_to=0
    )
    small = dataclasses.replace(BALL, size=0.05)
    positions = simulate(scene(place(small, start), props=(string,), frames=400, fps=100)).positions[:, 0]
    np.testing.assert_allclose(np.linalg.norm(positions - np.array(pivot), axis=1), length, atol=1e-4)
    crossings = np.flatnonzero(np.diff(np.sign(positions[:, 0])) != 0)
    assert (crossings[2] - crossings[0]) / 100 == pytest.approx(
        2 * math.pi * math.sqrt(length / GRAVITY), rel=0.02
    )


def test_a_minute_stays_calm() -> None:
    objects = tuple(
        place(
            upright(shape), (0.9 * index, 0.0, 1.0), spin=(3.0, 1.0, 2.0), role="extra" if index else "hero"
        )
        for index, shape in enumerate(("cube", "cone", "capsule"))
    )
    positions = simulate(scene(*objects, frames=960)).positions
    assert np.isfinite(positions).all()
    assert abs(positions[-16:] - positions[-1]).max() < 0.05
    assert positions[:, :, 2].min() > 0.0


def test_missing_mujoco_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(InputError, match=r'pip install "unstatic\[world\]"'):
        simulate(scene(place(BALL, (0.0, 0.0, 0.3))))
