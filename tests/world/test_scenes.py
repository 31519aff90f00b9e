import dataclasses
import itertools

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.world.camera import project
from unstatic.world.geometry import bounding_radius
from unstatic.world.happened import happened
from unstatic.world.mix import DEFAULT_MIX, FIRST_LIGHT_MIX, contrast, floor_colours
from unstatic.world.physics import simulate
from unstatic.world.scenes import BUILDERS, Sample, flaw, sample_clip, sample_scene
from unstatic.world.spec import CAMERAS, EVENTS, FORMAT_VERSION
from unstatic.world.staging import lowest
from unstatic.world.visibility import heights, in_frame, in_the_open, in_view

SIZES = ((64, 64), (80, 48), (48, 80))


def sample(event: str, seed: int) -> Sample:
    width, height = SIZES[seed % 3]
    mix = dataclasses.replace(FIRST_LIGHT_MIX, events={event: 1.0})
    return sample_clip(seed, frames=49, width=width, height=height, mix=mix)


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Sample]]:
    return {event: [sample(event, seed) for seed in range(2)] for event in EVENTS}


def test_every_event_has_a_builder() -> None:
    assert set(BUILDERS) == set(EVENTS)


def test_equal_seeds_give_equal_scenes() -> None:
    first, second, other = (sample_scene(seed, frames=33, width=64, height=64) for seed in (5, 5, 6))
    assert first == second
    assert first != other
    assert first.version == FORMAT_VERSION


@pytest.mark.parametrize("event", EVENTS)
def test_the_event_happens_in_plain_view(event: str, samples: dict[str, list[Sample]]) -> None:
    for spec, _, _ in samples[event]:
        assert spec.event == event
        trajectory = simulate(spec)
        assert happened(spec, trajectory)
        assert flaw(spec, trajectory) == ""
        assert in_view(spec, trajectory, 0)[0] > 0.9


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "rest"])
def test_nothing_happens_when_time_stands_still(event: str, samples: dict[str, list[Sample]]) -> None:
    spec, trajectory, _ = samples[event][0]
    frozen = trajectory._replace(
        positions=np.repeat(trajectory.positions[:1], spec.frames, axis=0),
        quaternions=np.repeat(trajectory.quaternions[:1], spec.frames, axis=0),
    )
    assert not happened(spec, frozen)


def test_rest_notices_motion(samples: dict[str, list[Sample]]) -> None:
    spec, trajectory, _ = samples["rest"][0]
    drift = np.linspace(0.0, 0.5, spec.frames)[:, None, None]
    assert not happened(spec, trajectory._replace(positions=trajectory.positions + drift))


def test_directions_agree_with_the_picture() -> None:
    mix = dataclasses.replace(
        FIRST_LIGHT_MIX, events={"roll": 1.0, "slide": 1.0}, cameras={"still": 1.0}, num_objects=(1.0,)
    )
    directions = set()
    for seed in range(12):
        spec, trajectory, _ = sample_clip(seed, frames=33, width=64, height=64, mix=mix)
        spot = project(trajectory.positions[:, 0], trajectory, aspect=1.0)
        direction = spec.objects[0].direction
        directions.add(direction)
        if direction in ("left", "right"):
            assert (spot.x[-1] > spot.x[0]) == (direction == "right")
        elif direction:
            assert (spot.depth[-1] > spot.depth[0]) == (direction == "away")
    assert {"left", "right"} < directions


def test_nothing_starts_inside_anything_else(samples: dict[str, list[Sample]]) -> None:
    for spec, _, _ in itertools.chain(*samples.values()):
        for each in spec.objects:
            assert each.position[2] - lowest(each, each.quaternion) > -0.01
        for one, other in itertools.combinations(spec.objects, 2):
            gap = np.linalg.norm(np.subtract(one.position, other.position))
            assert gap > 0.9 * (one.size + other.size) or "extra" not in (one.role, other.role)
            if "extra" in (one.role, other.role):
                radii = [bounding_radius(each.shape, each.size, each.aspect) for each in (one, other)]
                assert gap > sum(radii)


def test_nothing_sinks_in_during_the_clip(samples: dict[str, list[Sample]]) -> None:
    for spec, trajectory, _ in itertools.chain(*samples.values()):
        for index, each in enumerate(spec.objects):
            if each.shape == "ball":
                assert trajectory.positions[:, index, 2].min() > each.size - 0.04
        for one, other in itertools.combinations(range(len(spec.objects)), 2):
            if spec.objects[one].shape == spec.objects[other].shape == "ball":
                gap = np.linalg.norm(trajectory.positions[:, one] - trajectory.positions[:, other], axis=1)
                assert gap.min() > spec.objects[one].size + spec.objects[other].size - 0.03


def test_heroes_are_large_enough_and_eyes_above_the_floor(samples: dict[str, list[Sample]]) -> None:
    for spec, trajectory, _ in itertools.chain(*samples.values()):
        pixels = np.median(heights(spec, trajectory, 0)) * spec.height
        assert pixels > 10
        assert trajectory.eyes[:, 2].min() > 0.2


def test_colours_stand_out(samples: dict[str, list[Sample]]) -> None:
    for spec, _, _ in itertools.chain(*samples.values()):
        floor = floor_colours(spec.floor, spec.floor_colour, spec.floor_colour2)
        assert all(contrast(each.colour, shown) for each in spec.objects for shown in floor)
        pairs = itertools.combinations(spec.objects, 2)
        assert all(contrast(one.colour, other.colour) for one, other in pairs)


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_keeps_the_hero_in_the_frame(camera: str) -> None:
    mix = dataclasses.replace(DEFAULT_MIX, events={"roll": 1.0, "slide": 1.0}, cameras={camera: 1.0})
    spec, trajectory, _ = sample_clip(3, frames=33, width=64, height=64, mix=mix)
    assert spec.camera.kind == camera
    assert (in_frame(spec, trajectory, 0) > 0.8).mean() >= 0.85


def test_a_wall_hides_what_passes_behind_it(samples: dict[str, list[Sample]]) -> None:
    for spec, trajectory, _ in samples["pass-behind"]:
        bare = in_the_open(spec, trajectory, 0)
        assert bare.min() < 0.5
        assert bare[0] > 0.9


def test_the_mix_keeps_its_proportions() -> None:
    mix = dataclasses.replace(
        FIRST_LIGHT_MIX, events={"rest": 1.0, "spin": 1.0}, cameras={"still": 1.0}, num_objects=(1.0,)
    )
    events = [sample_scene(seed, frames=17, width=64, height=64, mix=mix).event for seed in range(20)]
    assert 4 <= events.count("rest") <= 16


def test_long_clips_work() -> None:
    mix = dataclasses.replace(FIRST_LIGHT_MIX, events={"roll": 1.0}, num_objects=(1.0,), shapes={"ball": 1.0})
    spec, trajectory, _ = sample_clip(0, frames=320, width=64, height=64, mix=mix)
    assert spec.camera.kind == "follow"
    assert np.isfinite(trajectory.positions).all()


def test_a_clip_of_no_time_is_refused() -> None:
    with pytest.raises(InputError, match="at least 16"):
        sample_scene(0, frames=15, width=64, height=64)
