"""Pipelines of four other families, run through our protocol: the same films, told step by step."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue
from unstatic.generate.engine import Engine, Frames, Progress
from unstatic.generate.engines.bridge import DiffusersEngine, load_bridged, telling
from unstatic.generate.load import load_engine
from unstatic.generate.request import Plan, Request, plan
from unstatic.models.manifest import open_model, write_manifest

SIZE, STEPS = Size(64, 32), 3
# What pipelines say of themselves is theirs
pytestmark = [
    pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]


@pytest.fixture(scope="module", params=tiny_pipelines.NAMES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusersEngine:
    folder = tiny_pipelines.saved(request.param, tmp_path_factory.mktemp("open"))
    write_manifest(folder, replace(open_model(folder).manifest, sizes=(SIZE,)))
    return load_bridged(open_model(folder), device="cpu")


def planned(engine: DiffusersEngine, **options: Any) -> Plan:
    """Plan a film of nine frames."""
    seconds = options.pop("seconds", 9 / engine.manifest.fps)
    return plan(Request(prompt="a red ball", seconds=seconds, steps=STEPS, **options), engine.manifest)


def test_a_film_is_that_of_the_pipeline(engine: DiffusersEngine) -> None:
    made = planned(engine, seed=5, guidance=4.0)
    events = list(engine.stream(made))
    assert events[:-1] == [Progress(step, STEPS) for step in range(1, STEPS + 1)]
    (frames,) = [event for event in events if isinstance(event, Frames)]
    assert frames.frames.shape == (9, SIZE.height, SIZE.width, 3)

    count = "video_length" if "latte" in engine.manifest.name else "num_frames"
    asked: dict[str, Any] = {count: engine.manifest.compression.frames_covering(9)}
    asked |= {"height": SIZE.height, "width": SIZE.width}
    if "ltx" in engine.manifest.name:
        asked["frame_rate"] = engine.manifest.fps
    with torch.inference_mode():
        film = engine.pipeline(
            prompt="a red ball",
            num_inference_steps=STEPS,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(5),
            output_type="np",
            **asked,
        ).frames[0]
    if film.dtype != np.uint8:
        film = (np.asarray(film).clip(0, 1) * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(frames.frames, film[:9])
    assert frames.frames.std() > 0
    assert isinstance(engine, Engine)


def test_closing_stops_after_the_next_step(engine: DiffusersEngine) -> None:
    taken: list[int] = []
    plain = engine.pipeline.scheduler.step

    def step(*values: Any, **options: Any) -> Any:
        taken.append(1)
        return plain(*values, **options)

    engine.pipeline.scheduler.step = step
    try:
        stream = engine.stream(replace(planned(engine), steps=50))
        assert next(stream) == Progress(1, 50)
        stream.close()
    finally:
        del engine.pipeline.scheduler.step
    assert len(taken) <= 4, "two steps may have been on their way"


def test_what_fails_inside_is_one_line(engine: DiffusersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(engine.pipeline.scheduler, "step", broken)
    with pytest.raises(UnstaticError, match="failed inside diffusers: out of luck"):
        list(engine.stream(planned(engine)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cues": (Cue(at=0.3, prompt="a cube"),), "seconds": 1.0}, "makes a film in one piece"),
        ({"variation": 2}, "does not know variations of a seed"),
        (
            {"source": np.zeros((9, 32, 64, 3), np.uint8)},
            "does not know a source to start from",
        ),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(engine: DiffusersEngine, options: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(engine, **options)


def test_pictures_and_solvers_are_refused_when_planned(
    engine: DiffusersEngine, make_frames: Callable[..., Any]
) -> None:
    (picture,) = make_frames(1, width=64, height=32)
    with pytest.raises(InputError, match="cannot go on from what is given"):
        planned(engine, image=picture)
    with pytest.raises(InputError, match="has a solver of its own"):
        planned(engine, solver="euler")


def test_the_engine_is_chosen_by_the_model(tmp_path: Path) -> None:
    model = open_model(tiny_pipelines.saved("latte", tmp_path))
    assert model.manifest.engine == "diffusers"
    assert isinstance(load_engine(model, device="cpu"), DiffusersEngine)
    with pytest.raises(InputError, match="takes no LoRA here"):
        load_engine(model, loras=["style.safetensors"])
    with pytest.raises(InputError, match="is run by diffusers, which decodes as it likes: leave --tiles out"):
        load_engine(model, tiled=True)
    for saves in ({"quantise": "int8"}, {"offload": True}):
        with pytest.raises(InputError, match="by diffusers, as it is: leave --quantise and --offload out"):
            load_engine(model, **saves)
    (model.folder / "vae" / "config.json").unlink()
    with pytest.raises(InputError, match="cannot be loaded by diffusers"):
        load_engine(model, device="cpu")


def test_a_tokenizer_without_words_is_refused(tmp_path: Path) -> None:
    """Made by transformers of nothing, it would read every prompt as the same."""
    model = open_model(tiny_pipelines.saved("ltx", tmp_path))
    (model.folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer has none of tokenizer\.json, .* pull the model again"):
        load_bridged(model, device="cpu")


def test_a_scheduler_that_tells_still_takes_what_it_took(engine: DiffusersEngine) -> None:
    """Pipelines without a callback ask its signature whether it wants a generator."""
    before = inspect.signature(engine.pipeline.scheduler.step)

    class Silent:
        scheduler = engine.pipeline.scheduler

        def __call__(self, prompt: str) -> None: ...

    with telling(Silent(), {}, lambda: None):
        assert inspect.signature(engine.pipeline.scheduler.step) == before
    assert inspect.signature(engine.pipeline.scheduler.step) == before


def test_a_pipeline_that_does_not_fit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(tiny_pipelines.saved("ltx", tmp_path))
    with monkeypatch.context() as changed:
        changed.setattr("unstatic.models.room.available_bytes", lambda _: 1_000)
        with pytest.raises(
            InputError, match=r"the weights of tiny-ltx take 456 kB in float32 on cpu, and 1\.0 kB"
        ):
            load_bridged(model, device="cpu")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr("diffusers.LTXPipeline.to", full)
    with pytest.raises(InputError, match="tiny-ltx does not fit into the memory of cpu"):
        load_bridged(model, device="cpu")
