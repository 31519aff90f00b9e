import dataclasses
import json

import pytest

from unstatic.world.scenes import sample_scene
from unstatic.world.spec import SceneSpec


@pytest.mark.parametrize("seed", range(4))
def test_json_round_trip_is_exact(seed: int) -> None:
    spec = sample_scene(seed, frames=17, width=64, height=64)
    assert SceneSpec.from_json(spec.to_json()) == spec
    assert "\n" not in spec.to_json()


def test_json_is_strict() -> None:
    fields = json.loads(sample_scene(0, frames=17, width=64, height=64).to_json())
    with pytest.raises(TypeError):
        SceneSpec.from_json(json.dumps(fields | {"weather": "rain"}))
    del fields["light"]
    with pytest.raises(KeyError):
        SceneSpec.from_json(json.dumps(fields))


def test_a_spec_cannot_change() -> None:
    spec = sample_scene(0, frames=17, width=64, height=64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.seed = 1  # pyright: ignore[reportAttributeAccessIssue]
