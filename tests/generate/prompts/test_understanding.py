"""Who does what where: the scene that a prompt asks for."""

from dataclasses import replace

import numpy as np
import pytest

from unstatic.evals.prompts import Prompt, load_suite
from unstatic.generate.prompts.scene import Thing
from unstatic.generate.prompts.understanding import understand
from unstatic.world.captions import caption
from unstatic.world.spec import ObjectSpec

BALL = Thing(group="shape", kind="ball")
FOX = Thing(group="animal", kind="fox")


def shape(kind: str, **said: object) -> Thing:
    return Thing(group="shape", kind=kind, **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "things", "rest"),
    [
        ("a fox", [FOX], {}),
        ("foxes", [replace(FOX, count=2)], {}),
        ("the ball runs, the camera runs alongside", [BALL], {"event": "roll", "camera": "follow"}),
        ("a fox runs and jumps", [FOX], {"event": "leap"}),
        ("a fox looking into the camera", [FOX], {"event": "stand", "direction": "towards"}),
        ("ball, wood floor", [BALL], {"floor": "wood"}),
        ("ball on wood", [BALL], {"floor": "wood"}),
        ("ball made of wood", [shape("ball", material="wood")], {}),
        ("ball on a red carpet", [BALL], {"floor": "plain", "floor_colours": ("red",)}),
        ("camera pans left", [], {"camera": "pan", "camera_sense": "left"}),
        (
            "camera pans left, ball rolls right",
            [BALL],
            {"event": "roll", "direction": "right", "camera": "pan"},
        ),
        ("a fox behind a red ball", [FOX, shape("ball", colour="red", relation="front")], {}),
        ("a ball. To its left is a fox.", [BALL, replace(FOX, relation="left")], {}),
        ("a ball, with a fox on its left", [BALL, replace(FOX, relation="left")], {}),
        ("next to a fox is a spinning ball", [BALL, replace(FOX, relation="beside")], {"event": "spin"}),
        ("a shiny red, big ball", [shape("ball", colour="red", material="metal", sizes=("big",))], {}),
    ],
)
def test_a_prompt_is_a_scene(prompt: str, things: list[Thing], rest: dict[str, object]):
    found = understand(prompt)
    assert found.unknown == ()
    assert found.scene.things == tuple(things)
    assert {name: getattr(found.scene, name) for name in rest} == rest


def hero(prompt: Prompt) -> ObjectSpec:
    return next(each for each in prompt.spec.objects if each.role == "hero")


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("suite", ["objects", "animals", "pairs", "cameras", "held-out"])
def test_captions_are_understood_as_they_are_meant(suite: str, held_out: bool):
    for prompt in load_suite(suite).prompts[:40]:
        spec, actor = prompt.spec, hero(prompt)
        text = caption(spec, np.random.default_rng(spec.seed), exact=True, held_out=held_out)
        scene = understand(text).scene
        first = scene.things[0]
        assert first.kind == actor.shape or (first.kind, actor.shape) == ("block", "cube")
        assert (first.colour, scene.event) == (actor.colour, spec.event)
        assert first.material in ("", actor.material)
        assert scene.floor in ("", spec.floor)
        assert scene.sky in ("", spec.sky)
        assert scene.camera.split(" ")[0] in ("", spec.camera.kind)
        assert scene.direction in ("", actor.direction)


def test_the_share_that_is_understood_is_counted():
    found = understand("a dog and a spaceship on grass, cinematic")
    assert (found.understood, found.content) == (3 - 1, 3)
    assert found.unknown == ("spaceship", "cinematic")
