from dataclasses import replace

import pytest

from unstatic.evals.readings import ACTIONS, CAMERA_MOVES, Reading, Thing, camera_move, truth
from unstatic.world.spec import CAMERAS, CameraSpec, LightSpec, ObjectSpec, SceneSpec

AT = {"position": (0.0, 0.0, 0.0), "size": 0.4}
BALL = ObjectSpec(shape="ball", colour="red", material="matte", direction="left", **AT)
CUBE = ObjectSpec(shape="cube", colour="blue", material="matte", role="extra", **AT)
HORSE = ObjectSpec(shape="horse", colour="", material="", motion="eat", **AT)
CAMERA = CameraSpec(kind="still", eye=(0.0, -3.0, 1.0), target=(0.0, 0.0, 0.0), field_of_view=0.7)


def scene(*objects: ObjectSpec, event: str = "roll", camera: CameraSpec = CAMERA) -> SceneSpec:
    return SceneSpec(
        seed=0,
        frames=65,
        fps=16,
        width=64,
        height=64,
        objects=objects,
        light=LightSpec(direction=(0.0, 0.0, 1.0)),
        camera=camera,
        event=event,
    )


def test_a_perfect_reading_names_the_hero_first():
    reading = truth(scene(replace(CUBE, role="partner"), BALL))
    assert reading.objects == (Thing("red", "ball"), Thing("blue", "cube"))
    assert (reading.colour, reading.shape, reading.animal) == ("red", "ball", "")
    assert (reading.event, reading.direction, reading.camera) == ("roll", "left", "still")


def test_animals_are_told_by_kind_and_once_each():
    reading = truth(scene(HORSE, replace(HORSE, role="partner"), CUBE, event="eat"))
    assert reading.animals == ("horse",)
    assert reading.objects == (Thing("blue", "cube"),)


def test_a_reading_of_nothing_has_no_looks():
    nothing = Reading((), (), "rest", "left", "still", {})
    assert (nothing.colour, nothing.shape, nothing.animal) == ("", "", "")


@pytest.mark.parametrize("kind", CAMERAS)
def test_every_camera_has_a_class(kind: str):
    senses = {"dolly": ("in", "out"), "zoom": ("in", "out"), "rise": ("up", "down")}.get(kind, ("left",))
    for sense in senses:
        assert camera_move(replace(CAMERA, kind=kind, sense=sense)) in CAMERA_MOVES


def test_no_action_has_two_meanings():
    assert len(set(ACTIONS)) == len(ACTIONS) == 21
