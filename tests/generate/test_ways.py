"""How static becomes a video, where several things that guide it come together."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.core.processes import Place
from unstatic.generate.request import Request, plan
from unstatic.models.manifest import Distilled, Manifest, read_manifest


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


def test_an_interval_of_guidance_needs_a_second_pass_to_spare(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
):
    asked = Request(prompt="a ball", guidance_interval=(0.2, 0.8))
    assert plan(Request(prompt="a ball"), manifest).guidance_interval is None
    assert plan(asked, manifest).guidance_interval == (0.2, 0.8)
    assert plan(replace(asked, guidance_interval=(0, 1)), manifest).guidance_interval == (0, 1)
    for low, high in ((0.8, 0.2), (0.5, 0.5), (-0.1, 0.5), (0.5, 1.5), (math.nan, 1.0), (0.0, math.nan)):
        said = (
            f"guidance_interval is {low:g}:{high:g}: give two levels from 0 .clean. to 1 .static., the lower"
        )
        with pytest.raises(InputError, match=said):
            plan(replace(asked, guidance_interval=(low, high)), manifest)

    few = replace(manifest, distilled=Distilled(steps=4, max_guidance=6.0))
    for refused, model, fix in (
        (
            replace(asked, guidance=1.0),
            manifest,
            "there is no guidance, leave it out or take guidance above 1",
        ),
        (asked, few, "distilled has no second pass, leave it out or take solver euler"),
        (asked, replace(manifest, engine="diffusers"), "is not run by the native engine, leave it out"),
        (asked, replace(manifest, engine="remote"), "is not run by the native engine, leave it out"),
        (replace(asked, step_cache=2, steps=20), manifest, "a step cache .*, leave one of the two out"),
    ):
        with pytest.raises(InputError, match=f"guidance_interval is 0.2:0.8: .*{fix}"):
            plan(refused, model)
    assert plan(replace(asked, solver="euler"), few).guidance_interval == (0.2, 0.8)
    monkeypatch.setattr(
        "unstatic.generate.ways.this_process", lambda: Place(rank=0, size=2, local_rank=0, local_size=2)
    )
    with pytest.raises(InputError, match="several processes share both passes, leave it out or start one"):
        plan(asked, manifest)
