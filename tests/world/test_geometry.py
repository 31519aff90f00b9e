import numpy as np
import pytest

from unstatic.world.geometry import (
    bounding_radius,
    half_extents,
    length,
    product,
    rotation_matrices,
    surface_points,
    torus_radii,
)
from unstatic.world.spec import ANIMALS, SHAPES

ASPECTS = {"ball": 1.0, "cube": 0.8, "cylinder": 0.7, "cone": 0.9, "capsule": 0.5, "ring": 1.0}


@pytest.mark.parametrize("shape", SHAPES)
def test_surface_points_fill_the_bounding_box_and_the_bounding_sphere(shape: str) -> None:
    points = surface_points(shape, 0.4, ASPECTS[shape])
    extents = half_extents(shape, 0.4, ASPECTS[shape])
    assert np.abs(points).max(axis=0) == pytest.approx(extents, rel=0.02)
    assert np.abs(points.min(axis=0) + points.max(axis=0)).max() < 1e-9
    farthest = np.linalg.norm(points, axis=1).max()
    assert farthest == pytest.approx(bounding_radius(shape, 0.4, ASPECTS[shape]), rel=0.01)


@pytest.mark.parametrize("species", ANIMALS)
def test_an_animal_stands_in_a_box_within_its_bounding_sphere(species: str) -> None:
    points, extents = surface_points(species, 0.4), half_extents(species, 0.4)
    assert points.max(axis=0) == pytest.approx(extents)
    assert points.min(axis=0) == pytest.approx(-np.array(extents))
    assert extents[2] == pytest.approx(0.4)
    assert max(extents) < bounding_radius(species, 0.4) < 1.5


def test_a_ring_stands_on_its_rim() -> None:
    radii = torus_radii(0.5)
    assert radii.major + radii.tube == pytest.approx(0.5)
    assert half_extents("ring", 0.5) == (0.5, radii.tube, 0.5)


def test_a_capsule_is_never_flatter_than_a_ball() -> None:
    assert half_extents("capsule", 0.4, 1.0) == half_extents("ball", 0.4)


def test_rotation_matrices_turn_as_quaternions_do() -> None:
    quarter = np.sqrt(0.5)
    turns = rotation_matrices(np.array([[quarter, 0, 0, quarter], [quarter, quarter, 0, 0], [1, 0, 0, 0]]))
    assert turns[0] @ [1.0, 0.0, 0.0] == pytest.approx([0.0, 1.0, 0.0])
    assert turns[1] @ [0.0, 1.0, 0.0] == pytest.approx([0.0, 0.0, 1.0])
    assert turns[2] == pytest.approx(np.eye(3))


def test_products_and_lengths_are_what_their_names_say():
    rows, vector = np.arange(12.0).reshape(4, 3), np.array([0.5, -2.0, 3.0])
    assert np.allclose(product(rows, vector), rows @ vector)
    assert np.allclose(product(vector, (1.0, 2.0, 3.0)), vector @ (1.0, 2.0, 3.0))
    assert length(vector) == pytest.approx(np.linalg.norm(vector))
