import shutil
from pathlib import Path

import pytest
import torch
import train_for_length as script

from unstatic.core.errors import InputError
from unstatic.data.shards import open_shards
from unstatic.models.manifest import find_model
from unstatic.models.weights import save_model
from unstatic.presets.stages import load_transformer
from unstatic.world.mix import MIXES


@pytest.mark.slow
def test_a_model_is_taught_by_itself_and_goes_on_where_it_was_stopped(
    few_step_model: Path, tmp_path: Path, store_clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_clips(tmp_path / "other" / "clips", [MIXES["first-light"]] * 4, 49)
    output = tmp_path / "run"

    def teach(samples: int) -> dict[str, torch.Tensor]:
        words = [
            "script",
            str(few_step_model),
            "--clips",
            str(tmp_path / "other" / "clips"),
            "-o",
            str(output),
        ]
        monkeypatch.setattr("sys.argv", [*words, "--windows", "3", "--samples", str(samples), "--share", "1"])
        script.main()
        return load_transformer(output / "model" / "transformer.safetensors").state_dict()

    before = load_transformer(few_step_model / "transformer.safetensors").state_dict()
    after = teach(24)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert len((output / "length" / "metrics.jsonl").read_text().splitlines()) == 3
    teach(40)
    assert len((output / "length" / "metrics.jsonl").read_text().splitlines()) == 5
    (lively,) = open_shards(output / "minutes" / "latents", "latents")
    assert len(lively) == 3
    assert lively.shapes["openings"][1] == 1
    assert len(open_shards(output / "latents" / "1-clips", "latents")) == 2
    assert find_model(str(output / "model")).manifest == find_model(str(few_step_model)).manifest


@pytest.mark.slow
def test_a_model_in_several_files_is_laid_out_whole_and_no_other_takes_its_place(
    few_step_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "sharded"
    shutil.copytree(few_step_model, model)
    student = load_transformer(model / "transformer.safetensors")
    files = save_model(
        model / "transformer.safetensors", student, student.config, "transformer", max_shard_bytes=2**14
    )
    assert len(files) > 1
    script.lay_out(find_model(str(model)), tmp_path / "run")
    script.lay_out(find_model(str(model)), tmp_path / "run")
    laid = load_transformer(tmp_path / "run" / "student" / "transformer.safetensors").state_dict()
    assert all(torch.equal(laid[name], value) for name, value in student.state_dict().items())
    next(student.parameters()).data.add_(1)
    save_model(model / "transformer.safetensors", student, student.config, "transformer")
    with pytest.raises(InputError, match="was begun with another transformer: take another folder"):
        script.lay_out(find_model(str(model)), tmp_path / "run")


def test_a_model_of_many_steps_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["script", str(tiny_model), "--clips", str(tmp_path), "-o", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(InputError, match="was not distilled"):
        script.main()
