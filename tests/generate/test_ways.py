"""How static becomes a video, where several things that guide it come together."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.generate.request import Request, plan
from unstatic.models.manifest import Manifest, read_manifest


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return read_manifest(tiny_model)


def test_skip_layer_guidance_is_the_models_own_unless_it_is_asked_for(manifest: Manifest):
    assert plan(Request(prompt="a ball"), manifest).skip_layer_guidance == 0
    leading = replace(manifest, defaults=replace(manifest.defaults, skip_layer_guidance=0.5))
    assert plan(Request(prompt="a ball"), leading).skip_layer_guidance == 0.5
    for asked in (0, 1, 2.5):
        assert plan(Request(prompt="a ball", skip_layer_guidance=asked), leading).skip_layer_guidance == asked
    for number in (-0.1, 10.1, math.nan):
        with pytest.raises(InputError, match=r"skip_layer_guidance is .*: it must be between 0 and 10"):
            plan(Request(prompt="a ball", skip_layer_guidance=number), manifest)
        wrong = replace(manifest, defaults=replace(manifest.defaults, skip_layer_guidance=number))
        with pytest.raises(InputError, match=r"skip_layer_guidance is .*: it must be between 0 and 10"):
            plan(Request(prompt="a ball"), wrong)


@pytest.mark.parametrize("engine", ["diffusers", "remote"])
def test_other_engines_have_no_skip_layer_guidance(manifest: Manifest, engine: str):
    other = replace(manifest, engine=engine)
    assert plan(Request(prompt="a ball", skip_layer_guidance=0), other).skip_layer_guidance == 0
    with pytest.raises(InputError, match=r"skip_layer_guidance is 1: .* not run by the native engine, leave"):
        plan(Request(prompt="a ball", skip_layer_guidance=1), other)
