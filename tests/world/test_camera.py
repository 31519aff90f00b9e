import dataclasses
import math

import numpy as np
import pytest

from unstatic.world.camera import axes, camera_path, project, screen_travel
from unstatic.world.spec import CameraSpec, Trajectory

CAMERA = CameraSpec(kind="still", eye=(0.0, -4.0, 1.0), target=(0.0, 0.0, 0.5), field_of_view=0.7)
STILL_HERO = np.zeros((17, 3))


def moved(kind: str, sense: str, amount: float) -> CameraSpec:
    return dataclasses.replace(CAMERA, kind=kind, sense=sense, amount=amount)


def run(camera: CameraSpec, hero: np.ndarray = STILL_HERO) -> Trajectory:
    path = camera_path(camera, hero, fps=16)
    return Trajectory(hero[:, None], np.zeros((len(hero), 1, 4)), *path)


@pytest.mark.parametrize(
    ("kind", "sense", "amount"),
    [
        ("still", "", 0.0),
        ("orbit", "left", 1.0),
        ("pan", "right", 0.3),
        ("dolly", "in", 1.0),
        ("zoom", "in", 1.5),
        ("rise", "up", 0.8),
        ("follow", "", 1.0),
    ],
)
def test_every_move_starts_where_the_spec_says(kind: str, sense: str, amount: float) -> None:
    path = camera_path(moved(kind, sense, amount), STILL_HERO + 0.1 * np.arange(17)[:, None], fps=16)
    np.testing.assert_allclose(path.eyes[0], CAMERA.eye, atol=1e-9)
    np.testing.assert_allclose(path.targets[0], CAMERA.target, atol=1e-9)
    assert path.fields_of_view[0] == pytest.approx(CAMERA.field_of_view)


def test_an_orbit_keeps_its_distance_and_goes_to_its_side() -> None:
    path = camera_path(moved("orbit", "right", math.pi / 2), STILL_HERO, fps=16)
    distances = np.linalg.norm(path.eyes - path.targets, axis=1)
    np.testing.assert_allclose(distances, distances[0])
    np.testing.assert_allclose(path.eyes[-1], (4.0, 0.0, 1.0), atol=1e-9)


@pytest.mark.parametrize(("sense", "side"), [("left", 1.0), ("right", -1.0)])
def test_what_stands_still_leaves_a_pan_on_the_other_side(sense: str, side: float) -> None:
    spot = project(STILL_HERO, run(moved("pan", sense, 0.3)), aspect=1.0)
    assert np.all(np.diff(spot.x) * side > 0)


@pytest.mark.parametrize(("kind", "amount"), [("dolly", 1.0), ("zoom", 1.6)])
def test_in_makes_larger_and_out_smaller(kind: str, amount: float) -> None:
    closer = project(STILL_HERO, run(moved(kind, "in", amount)), aspect=1.0).scale
    farther = project(STILL_HERO, run(moved(kind, "out", amount)), aspect=1.0).scale
    assert np.all(np.diff(closer) > 0)
    assert np.all(np.diff(farther) < 0)


def test_zoom_changes_the_focal_length_by_its_amount() -> None:
    lens = camera_path(moved("zoom", "in", 1.6), STILL_HERO, fps=16).fields_of_view
    assert math.tan(lens[0] / 2) / math.tan(lens[-1] / 2) == pytest.approx(1.6)


def test_a_follow_camera_keeps_a_steady_hero_near_its_place() -> None:
    hero = np.stack([np.linspace(0.0, 8.0, 129), np.zeros(129), np.full(129, 0.3)], axis=1)
    spot = project(hero, run(moved("follow", "", 1.0), hero), aspect=1.0)
    assert abs(spot.x).max() < 0.3


def test_projection_of_known_points() -> None:
    level = dataclasses.replace(CAMERA, eye=(0.0, -4.0, 0.5), field_of_view=2 * math.atan(0.5))
    trajectory = run(level, np.zeros((1, 3)))
    corner = project(np.array([[2.0, 0.0, 2.5]]), trajectory, aspect=1.0)
    assert (corner.x[0], corner.y[0], corner.depth[0]) == pytest.approx((1.0, 1.0, 4.0))
    assert project(np.array([[2.0, 0.0, 2.5]]), trajectory, aspect=2.0).x[0] == pytest.approx(0.5)


def test_axes_are_orthonormal_and_level() -> None:
    own = axes(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.5, 0.2]]))
    frame = np.stack([own.right[0], own.up[0], own.forward[0]])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert own.right[0, 2] == 0.0
    assert own.up[0, 2] > 0.0


def test_travel_on_screen_ignores_the_cameras_own_motion() -> None:
    hero = np.stack([np.linspace(0.0, -2.0, 33), np.linspace(0.0, 1.0, 33), np.full(33, 0.3)], axis=1)
    for kind in ("still", "follow"):
        across, away = screen_travel(hero, run(moved(kind, "", 1.0), hero))
        assert (across, away) == pytest.approx((-2.0, 1.0), abs=0.05)
