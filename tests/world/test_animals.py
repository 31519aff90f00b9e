from functools import cache

import numpy as np
import pytest
from jaxtyping import Float

from unstatic.world import animals
from unstatic.world.spec import ANIMALS, MOTIONS, ObjectSpec

HOOFED = {"alpaca", "bull", "cow", "deer", "donkey", "horse", "white horse", "stag"}


@cache
def cycle(species: str, motion: str) -> Float[np.ndarray, "s v 3"]:
    """Return all poses of a motion."""
    steps = range(animals.POSES_PER_CYCLE[motion])
    return np.stack([animals.pose(species, motion, step) for step in steps])


def make_animal(**changes: object) -> ObjectSpec:
    fields = {"shape": "fox", "colour": "", "material": "", "size": 0.4, "position": (0.0, 0.0, 0.4)}
    return ObjectSpec(**fields | {"motion": "walk"} | changes)


def test_the_file_is_small() -> None:
    assert animals.ANIMALS_FILE.stat().st_size < 4_000_000


@pytest.mark.parametrize("species", ANIMALS)
def test_every_animal_knows_every_motion_but_only_the_hoofed_kick(species: str) -> None:
    known = animals.motions(species)
    assert set(MOTIONS) - set(known) == (set() if species in HOOFED else {"kick"})
    for motion in known:
        assert 0.4 < animals.cycle_s(species, motion) < 13
        path = cycle(species, motion)
        assert path.dtype == np.float32
        assert np.isfinite(path).all()
        assert np.linalg.norm(path, axis=-1).max() <= animals.reach(species, 1.0) + 1e-3


@pytest.mark.parametrize("species", ANIMALS)
def test_a_standing_animal_fills_its_box_and_looks_along_x(species: str) -> None:
    vertices = animals.pose(species, "stand", 0)
    extents = animals.extents(species, 1.0)
    assert np.abs(vertices).max(axis=0) == pytest.approx(extents, abs=2e-3)
    assert vertices[:, [0, 2]].min(axis=0) == pytest.approx([-extents[0], -1.0], abs=2e-3)
    # The head is the higher end
    ends = [vertices[side * vertices[:, 0] > 0.8 * extents[0]][:, 2].mean() for side in (-1, 1)]
    assert ends[1] > ends[0] or species in ("husky", "shiba inu")
    assert animals.extents(species, 0.5) == pytest.approx(np.array(extents) / 2)


@pytest.mark.parametrize("species", ANIMALS)
def test_feet_are_on_the_floor_and_never_in_it(species: str) -> None:
    for motion in animals.motions(species):
        lowest = cycle(species, motion)[:, :, 2].min(axis=1)
        assert lowest.min() >= -1.0
        assert lowest.min() < -0.99
        if motion in ("walk", "stand", "eat"):
            assert lowest.max() < -0.97
        if motion == "leap":
            assert lowest.max() > -0.6


@pytest.mark.parametrize("species", ANIMALS)
def test_cycles_have_no_seam(species: str) -> None:
    for motion in animals.motions(species):
        path = cycle(species, motion)
        moved = np.linalg.norm(np.roll(path, -1, axis=0) - path, axis=-1).max(axis=1)
        assert moved[-1] <= 1.3 * moved[:-1].max() + 0.01


# The models' dogs drag their feet when they walk
@pytest.mark.parametrize(("motion", "drift", "slip"), [("walk", 0.45, 0.85), ("gallop", 0.15, 0.35)])
@pytest.mark.parametrize("species", ANIMALS)
def test_feet_on_the_ground_stay_about_where_they_are(
    species: str, motion: str, drift: float, slip: float
) -> None:
    path = cycle(species, motion).astype(float)
    duration = animals.cycle_s(species, motion) / len(path)
    speed = animals.stride(species, motion, 1.0)
    low = (path[:, :, 2] < -0.98) & (np.roll(path, -1, axis=0)[:, :, 2] < -0.98)
    slid = (np.roll(path, -1, axis=0) - path)[:, :, 0] / duration + speed
    assert abs(np.median(slid[low])) < drift * speed
    assert np.abs(slid[low]).mean() < slip * speed
    assert animals.stride(species, motion, 0.5) == pytest.approx(0.5 * speed)


def test_animals_on_the_spot_have_no_stride() -> None:
    assert animals.stride("cow", "eat", 1.0) == 0.0


@pytest.mark.parametrize("species", ANIMALS)
def test_triangles_face_outwards_and_have_colours(species: str) -> None:
    faces, vertices = animals.faces(species), animals.pose(species, "stand", 0).astype(float)
    a, b, c = (vertices[corner] for corner in faces.T)
    assert (a * np.cross(b, c)).sum() > 0
    colours = animals.face_colours(species)
    assert colours.shape == faces.shape
    assert colours.min() >= 0.0
    assert colours.max() <= 1.0


def test_coats_are_as_their_names_say() -> None:
    body = {species: np.median(animals.face_colours(species), axis=0) for species in ANIMALS}
    assert body["bull"].max() < 0.06
    assert body["white horse"].min() > 0.5
    assert body["fox"][0] > 2 * body["fox"][2]
    assert np.ptp(body["wolf"]) < 0.1


def test_a_step_follows_from_phase_pace_and_time() -> None:
    period = animals.cycle_s("fox", "walk")
    assert animals.pose_step(make_animal(), 0.0) == 0
    assert animals.pose_step(make_animal(), 0.51 * period) == 16
    assert animals.pose_step(make_animal(phase=0.75), 0.51 * period) == 8
    assert animals.pose_step(make_animal(pace=2.0), 0.26 * period) == 16
    times = np.linspace(0, 60, 4001)
    steps = [animals.pose_step(make_animal(motion="eat", phase=0.3), time) for time in times]
    assert set(steps) == set(range(animals.POSES_PER_CYCLE["eat"]))
