import dataclasses

import pytest

from unstatic.world import animals
from unstatic.world.held_out import (
    ANIMAL_MOTIONS,
    MATERIAL_EVENTS,
    SHAPE_COLOURS,
    SPEED_BAND,
    held_out,
    held_out_look,
)
from unstatic.world.mix import DEFAULT_MIX
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import ANIMALS, COLOURS, EVENTS, MATERIALS, SHAPES, SceneSpec
from unstatic.world.staging import level


@pytest.fixture(scope="module")
def plain() -> SceneSpec:
    mix = dataclasses.replace(
        DEFAULT_MIX, events={"roll": 1.0}, num_objects=(1.0,), shapes={"ball": 1.0}, materials={"matte": 1.0}
    )
    spec = sample_scene(0, frames=17, width=64, height=64, mix=mix)
    return with_hero(spec, velocity=level(0.5, 1.0))


def with_hero(spec: SceneSpec, **changes: object) -> SceneSpec:
    return dataclasses.replace(spec, objects=(dataclasses.replace(spec.objects[0], **changes),))  # pyright: ignore


def test_about_a_tenth_of_the_looks_and_a_twentieth_of_the_pairs_of_material_and_event() -> None:
    looks = [(shape, colour) for shape in SHAPES for colour in COLOURS if held_out_look(shape, colour)]
    assert 0.09 < len(looks) / (len(SHAPES) * len(COLOURS)) < 0.12
    assert 0.04 < len(MATERIAL_EVENTS) / (len(MATERIALS) * len(EVENTS)) < 0.06
    pairs = [(kind, motion) for kind in ANIMALS for motion in animals.motions(kind)]
    assert 0.05 < len(ANIMAL_MOTIONS) / len(pairs) < 0.1
    assert set(pairs) > ANIMAL_MOTIONS
    assert not SHAPE_COLOURS["cube"] & SHAPE_COLOURS["cylinder"]


def test_each_rule_alone_holds_out(plain: SceneSpec) -> None:
    assert not held_out(plain)
    assert held_out(with_hero(plain, shape="cube", colour="orange"))
    assert not held_out(with_hero(plain, shape="cylinder", colour="orange"))
    assert held_out(dataclasses.replace(with_hero(plain, material="metal"), event="jump"))
    assert held_out(with_hero(plain, velocity=level(SPEED_BAND[0] + 0.01, 2.0)))
    assert not held_out(with_hero(plain, velocity=level(SPEED_BAND[1] + 0.01, 2.0)))
    fox = with_hero(plain, shape="fox", colour="", material="", motion="eat")
    assert held_out(dataclasses.replace(fox, event="eat"))
    assert not held_out(dataclasses.replace(with_hero(fox, motion="gallop"), event="gallop"))


def test_a_pair_of_shapes_holds_out(plain: SceneSpec) -> None:
    ring, cone = (dataclasses.replace(plain.objects[0], shape=shape) for shape in ("ring", "cone"))
    assert held_out(dataclasses.replace(plain, objects=(ring, dataclasses.replace(cone, role="extra"))))
    assert not held_out(dataclasses.replace(plain, objects=(ring, dataclasses.replace(ring, role="extra"))))


def test_mixes_draw_only_their_side() -> None:
    for seed in range(4):
        sides = [
            held_out(sample_scene(seed, frames=17, width=64, height=64, mix=mix))
            for mix in (DEFAULT_MIX, dataclasses.replace(DEFAULT_MIX, held_out="only"))
        ]
        assert sides == [False, True]
