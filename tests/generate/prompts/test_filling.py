"""What is left open is decided as the world would: visible, never held out, never against what was said."""

import pytest

from unstatic.core.seeds import numpy_generator
from unstatic.generate.prompts.filling import FLOOR_COLOURS, fill
from unstatic.generate.prompts.scene import Scene, Thing
from unstatic.generate.prompts.understanding import understand
from unstatic.world.held_out import MATERIAL_EVENTS, held_out_look, held_out_motion
from unstatic.world.mix import contrast
from unstatic.world.spec import ANIMALS, MATERIALS, SHAPES


def filled(scene: Scene, seed: int) -> Scene:
    return fill(scene, numpy_generator("test", seed))


@pytest.mark.parametrize("material", ["", *MATERIALS])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_gets_looks_event_and_place(shape: str, material: str):
    for seed in range(10):
        scene = filled(Scene(things=(Thing(group="shape", kind=shape, material=material),)), seed)
        (hero,) = scene.things
        assert all((hero.colour, scene.event, scene.floor, scene.sky))
        assert not held_out_look(shape, hero.colour)
        assert (material, scene.event) not in MATERIAL_EVENTS
        assert all(contrast(hero.colour, each) for each in scene.floor_colours)


@pytest.mark.parametrize("kind", ANIMALS)
def test_an_animal_gets_something_to_do(kind: str):
    for seed in range(20):
        scene = filled(Scene(things=(Thing(group="animal", kind=kind),)), seed)
        assert not held_out_motion(kind, scene.event)
        assert (scene.camera == "follow") == (scene.event in ("gallop", "leap"))
        assert bool(scene.direction) == (scene.event in ("walk", "gallop", "leap"))


@pytest.mark.parametrize(
    "prompt",
    ["a red cube spins on grass at night", "2 dogs, zoom out", "ball hits a wall", "a fox going left"],
)
def test_what_was_said_stays(prompt: str):
    said = understand(prompt).scene
    for seed in range(10):
        scene = filled(said, seed)
        for name in ("event", "direction", "floor", "sky", "camera"):
            assert getattr(said, name) in ("", getattr(scene, name))
        assert [each.count for each in scene.things] == [each.count for each in said.things]


@pytest.mark.parametrize(
    "prompt",
    [
        "the camera follows a ball",
        "the camera orbits a red cube",
        "the camera pans across a blue cone",
        "the camera moves closer to a fox",
        "the camera circles a horse",
    ],
)
def test_the_floor_has_marks_where_a_camera_moves(prompt: str):
    """On a plain one nothing shows it: neither the viewer nor a parser could tell."""
    said = understand(prompt).scene
    assert said.camera
    floors = {filled(said, seed).floor for seed in range(40)}
    assert floors & {"plain", "snow", "mirror"} == set()


def test_an_animal_may_be_followed_over_any_floor_for_its_legs_move():
    said = understand("the camera follows a horse").scene
    assert "snow" in {filled(said, seed).floor for seed in range(40)}


def test_nothing_dark_is_lost_in_the_night():
    said = understand("a black ball at night").scene
    scenes = [filled(said, seed) for seed in range(40)]
    assert {scene.floor for scene in scenes}.isdisjoint({"wood", "water", "mirror"})
    assert {each for scene in scenes for each in scene.floor_colours} < set(FLOOR_COLOURS) - {"brown", "blue"}


@pytest.mark.parametrize(("prompt", "kinds"), [("a ball crashes", 2), ("a ball rolls downhill", 2)])
def test_what_an_event_needs_is_there(prompt: str, kinds: int):
    assert len({each.kind for each in filled(understand(prompt).scene, 0).things}) == kinds
