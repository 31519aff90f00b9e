from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fit_classical import (
    LESSONS,
    UNSAID,
    Cases,
    ClassicalRun,
    Entry,
    classical_64,
    clip_cases,
    entries,
    fit_classical,
    ids_of,
    object_under,
    pixel_cases,
    pixel_table,
    save_tables,
    thing_cases,
)
from fit_shallow import Lesson
from safetensors.torch import load_file

from unstatic.data.shards import Shard, open_shards
from unstatic.evals.classical import VOCABULARY, Scene, load_classical, scene_of
from unstatic.evals.classical_pixels import PIXELS, moments
from unstatic.world.mix import WHOLE_MIX
from unstatic.world.spec import SceneSpec

FRAMES = 17


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store_clips: Callable[..., None]) -> Path:
    """Two shards of a rolling object and a walking animal, as the render stage would leave them."""
    path = tmp_path_factory.mktemp("classical")
    mixes = [
        replace(WHOLE_MIX, num_objects=(1.0,), events={event: 1.0}, companions=0.0)
        for event in ("roll", "walk")
    ]
    store_clips(path / "clips", mixes, FRAMES)
    return path


@pytest.fixture
def shards(folder: Path) -> list[Shard]:
    return open_shards(folder / "clips", "clips")


@pytest.fixture
def tiny() -> ClassicalRun:
    settings = classical_64()
    return replace(
        settings,
        world=replace(settings.world, clips=4, frames=FRAMES, shard_clips=2),
        pixel_clips=2,
        clips=2,
        held_back=1,
        lessons=dict.fromkeys(LESSONS, Lesson(hidden=16, steps=60, batch=64)),
    )


def test_fitting_ends_with_a_parser_that_reads(folder, shards, tiny):
    reading = load_classical(fit_classical(tiny, folder)).read(shards[0].read("frames", 0))
    assert reading.event in ("roll", "walk")


def entry(shards: list[Shard], *, mirrored: bool = False) -> Entry:
    spec = SceneSpec.from_json(shards[0].lines[0])
    return Entry(spec, shards[0].read("frames", 0), shards[0].read("ids", 0), mirrored)


def test_clips_are_drawn_once_and_mirrored_by_chance(shards, tiny):
    drawn = [each for each, _ in entries(tiny, shards, 4)]
    assert len({each.spec.seed for each in drawn}) == len(drawn) == 4
    assert {each.mirrored for each in drawn} == {True, False}
    for count, each in enumerate(drawn):
        (shard, number), *_ = (
            (shard, number)
            for shard in shards
            for number, line in enumerate(shard.lines)
            if SceneSpec.from_json(line) == each.spec
        )
        stored = shard.read("frames", number)
        shown = stored[:, :, ::-1] if each.mirrored else stored
        assert np.array_equal(each.frames, shown) == (count % 2 == 0), "every second clip is spoiled"
        assert np.abs(each.frames.astype(float) - shown).mean() < 60


def test_half_of_the_pixels_are_of_things(shards, tiny):
    cases = pixel_cases(tiny)(entry(shards), np.random.default_rng(0))["pixel"]
    assert len(cases.facts) == len(cases.labels) == tiny.pixels_per_clip
    assert 0.35 < (cases.labels > 0).float().mean() < 0.65


def test_ids_are_read_where_the_pictures_are(shards):
    ids = ids_of(entry(shards))
    assert ids.shape == (22, 64, 64)
    frames = np.zeros((3, 48, 80, 3), np.uint8)
    wide = entry(shards)._replace(frames=frames, ids=frames[..., 0])
    assert ids_of(wide).shape[1:] == moments(frames).now.shape[2:]


def test_pixels_are_told_what_they_show(shards):
    spec = SceneSpec.from_json(shards[0].lines[1])
    table = pixel_table(spec)
    assert PIXELS[table[0]] == "nothing"
    assert PIXELS[table[1]] == "animal"
    assert PIXELS[table[255]] == "prop"


def scene_and_ids(shards: list[Shard]) -> tuple[Entry, Scene, torch.Tensor]:
    """Return a scene whose pixels are known, and what is at each of them."""
    each = entry(shards)
    ids = ids_of(each)
    classes = pixel_table(each.spec)[ids.long()]
    chances = torch.nn.functional.one_hot(classes, len(PIXELS)).float().movedim(3, 1)
    return each, scene_of(moments(each.frames), chances), ids


def test_a_found_thing_is_known_by_what_it_covers(shards):
    _, scene, ids = scene_and_ids(shards)
    first = max(scene.objects, key=lambda seen: seen.pixels)
    assert object_under(first, ids, 1) == 0
    assert object_under(scene.animal, ids, 1) == UNSAID


def test_a_mirrored_clip_goes_the_other_way(shards):
    each, scene, _ = scene_and_ids(shards)
    spec = replace(each.spec, objects=(replace(each.spec.objects[0], direction="left"),))
    plain = clip_cases(each._replace(spec=spec), scene)["direction"]
    mirrored = clip_cases(each._replace(spec=spec, mirrored=True), scene)["direction"]
    assert [VOCABULARY["direction"][int(case.labels)] for case in (plain, mirrored)] == ["left", "right"]


def test_every_classifier_gets_its_cases(shards, tiny):
    """A clip of an object and one of an animal have cases for all that is not told of single pixels."""
    tables = load_classical().tables
    describe = thing_cases(tiny, tables["pixel"], tables["context"])
    found: dict[str, Cases] = {}
    for number in range(2):
        spec = SceneSpec.from_json(shards[0].lines[number])
        each = Entry(spec, shards[0].read("frames", number), shards[0].read("ids", number), False)
        found |= describe(each, np.random.default_rng(0))
    assert found.keys() == VOCABULARY.keys() - {"pixel", "context"}
    assert len(found["event"].labels) == len(found["camera"].labels) == len(found["animal_gist"].labels) == 1
    assert len(found["animal"].labels) == tiny.moments_per_clip
    for name, cases in found.items():
        assert cases.facts.isfinite().all()
        assert cases.labels.max() < len(VOCABULARY[name])


def test_tables_are_stored_in_half_precision(tmp_path: Path):
    tables = {name: replace(each, outer=each.outer * 1.01) for name, each in load_classical().tables.items()}
    path = tmp_path / "tables.safetensors"
    save_tables(path, tables)
    assert {part.dtype for part in load_file(path).values()} == {torch.float16}
    again = load_classical(path).tables
    for name, words in VOCABULARY.items():
        assert torch.allclose(again[name].outer, tables[name].outer, rtol=1e-3, atol=1e-6)
        assert len(again[name].prior) == len(words)
