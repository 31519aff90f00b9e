from pathlib import Path

import pytest
import torch
import train_beginnings as script

from unstatic.core.errors import InputError
from unstatic.data.shards import open_shards
from unstatic.generate.engine import whole_film
from unstatic.generate.native import load_native
from unstatic.generate.request import Request, plan
from unstatic.models.manifest import find_model
from unstatic.presets.nano import preset
from unstatic.presets.stages import load_transformer


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["script", *map(str, words)])
    script.main()


@pytest.mark.slow
def test_a_model_is_trained_on_for_its_first_second_and_distilled_anew(
    few_step_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, lines = tmp_path / "run", list[str]()
    for part in ("0/2", "1/2"):
        call(monkeypatch, "clips", few_step_model, run, "--clips", 16, "--part", part)
    shards = open_shards(run, "latents")
    assert [shard.shapes["latents"][:2] for shard in shards] == [(8, 5), (8, 5)]
    assert [shard.shapes["objects"][1] for shard in shards] == [5, 5]
    for shard in shards:
        lines += shard.lines
    assert len(set(lines)) == 16

    call(monkeypatch, "plain", few_step_model, run, "--samples", 32)
    before, teacher = (
        load_transformer(each / "transformer.safetensors") for each in (few_step_model, run / "teacher")
    )
    assert changed(before, teacher)
    assert find_model(str(run / "teacher")).manifest.distilled is None, "it no longer knows few steps"

    call(monkeypatch, "few", few_step_model, run, "--samples", 32)
    made = find_model(str(run / "model"))
    assert made.manifest == find_model(str(few_step_model)).manifest
    assert changed(teacher, load_transformer(made.weights("transformer")))
    assert len((run / "few" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_model_may_learn_to_read_more_of_a_text(
    few_step_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    call(monkeypatch, "clips", few_step_model, run, "--clips", 8)
    call(monkeypatch, "plain", few_step_model, run, "--samples", 16, "--text-encoder", "minilm+3")
    call(monkeypatch, "few", few_step_model, run, "--samples", 16)
    made = find_model(str(run / "model"))
    assert made.manifest.text_encoder == "minilm+3"
    learned = load_transformer(made.weights("transformer")).text_embedding.up.weight
    assert learned.shape[1] == 2 * 384
    assert learned[:, 384:].abs().max() > 0
    engine = load_native(made)
    assert len(whole_film(engine, plan(Request(prompt="a ball", seconds=1), made.manifest))) == 16


def changed(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights = other.state_dict()
    assert weights.keys() == one.state_dict().keys()
    return any(not torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())


def test_one_shard_of_seven_has_whole_clips_and_they_come_up_now_and_then() -> None:
    assert [number for number in range(21) if script.is_long(number)] == [6, 13, 20]
    nano = preset("nano-128")
    assert nano.world.frames == nano.compression.frames(script.LONG), "its clips are long enough"

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def at(self, index: int) -> tuple[str, int]:
            return self.name, index

    short, long = Named("short"), Named("long")
    drawn = [script.Mixed(short, long).at(index) for index in range(1_000)]  # pyright: ignore[reportArgumentType]
    assert [index for _, index in drawn] == [*range(1_000)]
    assert 100 < sum(name == "long" for name, _ in drawn) < 200
    alone = script.Mixed(short, None)  # pyright: ignore[reportArgumentType]
    assert {alone.at(index)[0] for index in range(100)} == {"short"}


def test_a_model_of_many_steps_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="was not distilled"):
        call(monkeypatch, "plain", tiny_model, tmp_path / "run")
