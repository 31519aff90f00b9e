import dataclasses
import itertools

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.world import animals, scenes
from unstatic.world.camera import project
from unstatic.world.casting import UNMARKED_FLOORS
from unstatic.world.geometry import bounding_radius, rotation_matrices
from unstatic.world.happened import happened
from unstatic.world.mix import (
    DEFAULT_MIX,
    FIRST_LIGHT_MIX,
    LIVELY_MIX,
    MIXES,
    WHOLE_MIX,
    contrast,
    floor_colours,
)
from unstatic.world.physics import simulate
from unstatic.world.scenes import (
    BUILDERS,
    Sample,
    SceneNotFoundError,
    flaw,
    illegible,
    sample_clip,
    sample_scene,
)
from unstatic.world.spec import ANIMALS, CAMERAS, EVENTS, FORMAT_VERSION, MOTIONS, SceneSpec
from unstatic.world.staging import COATS, lowest
from unstatic.world.visibility import heights, in_frame, in_the_open, in_view

SIZES = ((64, 64), (80, 48), (48, 80))


def sample(event: str, seed: int) -> Sample:
    width, height = SIZES[seed % 3]
    base = WHOLE_MIX if event in MOTIONS else FIRST_LIGHT_MIX
    mix = dataclasses.replace(base, events={event: 1.0})
    return sample_clip(seed, frames=49, width=width, height=height, mix=mix)


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Sample]]:
    return {event: [sample(event, seed) for seed in range(2)] for event in EVENTS + MOTIONS}


def test_every_event_has_a_builder() -> None:
    assert set(BUILDERS) == set(EVENTS + MOTIONS)


def test_equal_seeds_give_equal_scenes() -> None:
    first, second, other = (sample_scene(seed, frames=33, width=64, height=64) for seed in (5, 5, 6))
    assert first == second
    assert first != other
    assert first.version == FORMAT_VERSION


def test_as_many_scenes_are_crowded_as_a_mix_says_if_it_casts_first() -> None:
    """Of which seven in ten are to be: a share of 60 strays by 0.06, and later casts take some."""
    crowd = {"num_objects": (0.3, 0.7), "events": {"roll": 1.0, "slide": 1.0, "spin": 1.0}}

    def share(*, cast_first: bool) -> float:
        mix = dataclasses.replace(WHOLE_MIX, cast_first=cast_first, **crowd)
        drawn = [sample_scene(seed, frames=33, width=64, height=64, mix=mix) for seed in range(60)]
        return sum(len(spec.objects) > 1 for spec in drawn) / len(drawn)

    assert share(cast_first=False) < 0.55 < 0.6 < share(cast_first=True) < 0.8


@pytest.mark.parametrize("camera", ["orbit", "pan", "dolly", "follow"])
def test_in_a_legible_mix_moves_are_over_floors_that_show_them(camera: str) -> None:
    events = {"walk": 1.0} if camera == "follow" else {"rest": 1.0, "spin": 1.0}
    mix = dataclasses.replace(WHOLE_MIX, legible=True, cameras={camera: 1.0, "still": 1.0}, events=events)
    drawn = [sample_scene(seed, frames=33, width=64, height=64, mix=mix) for seed in range(12)]
    moving = [spec for spec in drawn if spec.camera.kind == camera]
    assert len(moving) >= 3, "it moves about as often as the mix says"
    assert all(spec.floor not in UNMARKED_FLOORS for spec in moving)


def test_in_a_legible_mix_shapes_are_not_seen_from_their_ends() -> None:
    shapes = {"cylinder": 1.0, "ring": 1.0, "capsule": 1.0}
    mix = dataclasses.replace(FIRST_LIGHT_MIX, num_objects=(0.5, 0.5), shapes=shapes, events={"roll": 1.0})
    either, legible = (
        [sample_clip(seed, frames=33, width=64, height=64, mix=each) for seed in range(12)]
        for each in (mix, dataclasses.replace(mix, legible=True))
    )
    assert any(illegible(sample.spec, sample.trajectory) for sample in either)
    assert not any(illegible(sample.spec, sample.trajectory) for sample in legible)

    alone = dataclasses.replace(mix, num_objects=(1.0,), shapes={"cylinder": 1.0})
    spec, trajectory, *_ = sample_clip(0, frames=33, width=64, height=64, mix=alone)
    axis = rotation_matrices(trajectory.quaternions[0, 0])[:, 2]
    eyes = trajectory.positions[:, 0] - 3 * axis
    assert illegible(spec, trajectory._replace(eyes=eyes)) == "shape", "who looks along its axis sees a disc"


@pytest.mark.parametrize("event", EVENTS + MOTIONS)
def test_the_event_happens_in_plain_view(event: str, samples: dict[str, list[Sample]]) -> None:
    for spec, *_ in samples[event]:
        assert spec.event == event
        trajectory = simulate(spec)
        assert happened(spec, trajectory)
        assert flaw(spec, trajectory) == ""
        assert event in ("ricochet", "shower") or in_view(spec, trajectory, 0)[0] > 0.9


@pytest.mark.parametrize("event", [event for event in (*EVENTS, "walk", "gallop", "leap") if event != "rest"])
def test_nothing_happens_when_time_stands_still(event: str, samples: dict[str, list[Sample]]) -> None:
    spec, trajectory, *_ = samples[event][0]
    frozen = trajectory._replace(
        positions=np.repeat(trajectory.positions[:1], spec.frames, axis=0),
        quaternions=np.repeat(trajectory.quaternions[:1], spec.frames, axis=0),
    )
    assert not happened(spec, frozen)


def test_rest_notices_motion(samples: dict[str, list[Sample]]) -> None:
    spec, trajectory, *_ = samples["rest"][0]
    drift = np.linspace(0.0, 0.5, spec.frames)[:, None, None]
    assert not happened(spec, trajectory._replace(positions=trajectory.positions + drift))


def test_directions_agree_with_the_picture() -> None:
    mix = dataclasses.replace(
        FIRST_LIGHT_MIX, events={"roll": 1.0, "slide": 1.0}, cameras={"still": 1.0}, num_objects=(1.0,)
    )
    directions = set()
    for seed in range(12):
        spec, trajectory, *_ = sample_clip(seed, frames=33, width=64, height=64, mix=mix)
        spot = project(trajectory.positions[:, 0], trajectory, aspect=1.0)
        direction = spec.objects[0].direction
        directions.add(direction)
        if direction in ("left", "right"):
            assert (spot.x[-1] > spot.x[0]) == (direction == "right")
        elif direction:
            assert (spot.depth[-1] > spot.depth[0]) == (direction == "away")
    assert {"left", "right"} < directions


def test_nothing_starts_inside_anything_else(samples: dict[str, list[Sample]]) -> None:
    for spec, *_ in itertools.chain(*samples.values()):
        for each in spec.objects:
            assert each.position[2] - lowest(each, each.quaternion) > -0.01
        for one, other in itertools.combinations(spec.objects, 2):
            gap = np.linalg.norm(np.subtract(one.position, other.position))
            assert gap > 0.9 * (one.size + other.size) or "extra" not in (one.role, other.role)
            if "extra" in (one.role, other.role):
                radii = [bounding_radius(each.shape, each.size, each.aspect) for each in (one, other)]
                assert gap > sum(radii)


def test_nothing_sinks_in_during_the_clip(samples: dict[str, list[Sample]]) -> None:
    for spec, trajectory, *_ in itertools.chain(*samples.values()):
        for index, each in enumerate(spec.objects):
            if each.shape == "ball":
                assert trajectory.positions[:, index, 2].min() > each.size - 0.04
        for one, other in itertools.combinations(range(len(spec.objects)), 2):
            if spec.objects[one].shape == spec.objects[other].shape == "ball":
                gap = np.linalg.norm(trajectory.positions[:, one] - trajectory.positions[:, other], axis=1)
                assert gap.min() > spec.objects[one].size + spec.objects[other].size - 0.03


def test_heroes_are_large_enough_and_eyes_above_the_floor(samples: dict[str, list[Sample]]) -> None:
    for spec, trajectory, *_ in itertools.chain(*samples.values()):
        pixels = np.median(heights(spec, trajectory, 0)) * spec.height
        assert pixels > 10
        assert trajectory.eyes[:, 2].min() > 0.2


def test_colours_stand_out(samples: dict[str, list[Sample]]) -> None:
    for spec, *_ in itertools.chain(*samples.values()):
        floor = floor_colours(spec.floor, spec.floor_colour, spec.floor_colour2)
        tints = [COATS.get(each.shape, each.colour) for each in spec.objects]
        assert all(contrast(tint, shown) for tint in tints for shown in floor)
        pairs = itertools.combinations([each for each in spec.objects if not each.is_animal], 2)
        assert all(contrast(one.colour, other.colour) for one, other in pairs)


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_keeps_the_hero_in_the_frame(camera: str) -> None:
    mix = dataclasses.replace(DEFAULT_MIX, events={"roll": 1.0, "slide": 1.0}, cameras={camera: 1.0})
    spec, trajectory, *_ = sample_clip(3, frames=33, width=64, height=64, mix=mix)
    assert spec.camera.kind == camera
    assert (in_frame(spec, trajectory, 0) > 0.8).mean() >= 0.85


def test_a_wall_hides_what_passes_behind_it(samples: dict[str, list[Sample]]) -> None:
    for spec, trajectory, *_ in samples["pass-behind"]:
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
    spec, trajectory, *_ = sample_clip(0, frames=320, width=64, height=64, mix=mix)
    assert spec.camera.kind == "follow"
    assert np.isfinite(trajectory.positions).all()


def test_a_clip_of_no_time_is_refused() -> None:
    with pytest.raises(InputError, match="at least 16"):
        sample_scene(0, frames=15, width=64, height=64)


@pytest.mark.parametrize("motion", ["walk", "gallop", "leap"])
def test_a_travelling_animal_goes_where_it_looks_at_the_speed_of_its_feet(
    motion: str, samples: dict[str, list[Sample]]
) -> None:
    for spec, trajectory, *_ in samples[motion]:
        hero = spec.objects[0]
        forward = rotation_matrices(np.array(hero.quaternion))[:, 0]
        way = trajectory.positions[-1, 0] - trajectory.positions[0, 0]
        seconds = (spec.frames - 1) / spec.fps
        speed = hero.pace * animals.stride(hero.shape, motion, hero.size)
        np.testing.assert_allclose(way / seconds, speed * forward, atol=1e-3)


def test_companions_keep_pace_and_apart() -> None:
    mix = dataclasses.replace(WHOLE_MIX, events={"gallop": 1.0, "eat": 1.0}, companions=1.0)
    for seed in range(8):
        spec, trajectory, *_ = sample_clip(seed, frames=33, width=64, height=64, mix=mix)
        hero, partner = spec.objects[:2]
        assert partner.role == "partner"
        assert partner.motion == hero.motion == spec.event
        assert partner.velocity == hero.velocity
        gap = np.linalg.norm(trajectory.positions[:, 0] - trajectory.positions[:, 1], axis=1)
        assert np.ptp(gap) < 1e-4
        assert gap[0] > animals.extents(hero.shape, hero.size)[1]


def test_bystanders_are_animals_that_stay() -> None:
    mix = dataclasses.replace(WHOLE_MIX, events={"roll": 1.0}, num_objects=(0.0, 0.0, 1.0), bystanders=1.0)
    specs = [sample_scene(seed, frames=33, width=80, height=48, mix=mix) for seed in range(6)]
    found = [each for spec in specs for each in spec.objects if each.is_animal]
    assert found
    assert all(each.role == "extra" and each.velocity == (0.0, 0.0, 0.0) for each in found)
    assert {each.shape for each in found} <= set(ANIMALS)


@pytest.mark.slow
@pytest.mark.parametrize("event", LIVELY_MIX.events)
def test_something_still_happens_in_the_last_seconds_of_a_minute(event: str) -> None:
    mix = dataclasses.replace(LIVELY_MIX, events={event: 1.0})
    spec, trajectory, *_ = sample_clip(3, frames=961, width=64, height=64, mix=mix)
    last = slice(50 * spec.fps, None)
    moved = np.abs(np.diff(trajectory.positions[last, 0], axis=0)).sum(1)
    turned = np.abs(np.diff(trajectory.quaternions[last, 0], axis=0)).sum(1)
    steps = [pose_steps(spec)[last]] if spec.objects[0].is_animal else []
    changes = [moved > 1e-3, turned > 1e-3, *(np.diff(each, prepend=each[0]) != 0 for each in steps)]
    assert max(each.mean() for each in changes) > 0.3


def pose_steps(spec: SceneSpec) -> np.ndarray:
    times = np.arange(spec.frames) / spec.fps
    return np.array([animals.pose_step(spec.objects[0], float(time)) for time in times])


@pytest.mark.parametrize("event", ["ricochet", "shower"])
def test_no_animal_takes_part_in_a_crowd_of_objects(event: str) -> None:
    mix = dataclasses.replace(
        WHOLE_MIX, events={event: 1.0}, num_objects=(0.0, 0.0, 0.0, 1.0), bystanders=1.0
    )
    for seed in range(4):
        spec = sample_scene(seed, frames=33, width=64, height=64, mix=mix)
        assert not any(each.is_animal for each in spec.objects)


@pytest.mark.parametrize(("name", "event"), [("first-light", "walk"), ("toybox", "gallop")])
def test_an_event_that_nothing_in_the_mix_can_play_is_refused(name: str, event: str):
    mix = dataclasses.replace(MIXES[name], events={event: 1.0})
    with pytest.raises(InputError, match=f"nothing in this mix can {event}"):
        sample_scene(0, frames=33, width=64, height=64, mix=mix)


def test_of_a_very_wide_frame_the_size_is_the_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scenes, "MOST_PROPOSALS", 3)
    mix = dataclasses.replace(MIXES["whole"], events={"slide": 1.0})
    with pytest.raises(SceneNotFoundError, match="256x24 is very wide"):
        sample_scene(0, frames=17, width=256, height=24, mix=mix)
