"""From nothing to a film: the tiny preset, end to end, through every stage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from unstatic.core.config import override
from unstatic.core.errors import InputError
from unstatic.data.shards import open_shards
from unstatic.generate.api import load
from unstatic.models.weights import find_files, load_state, save_model
from unstatic.presets.nano import nano_128, tiny
from unstatic.presets.stages import (
    as_teacher,
    load_transformer,
    manifest,
    run_preset,
)

SHORT = override(
    tiny(),
    [
        "world.clips=8",
        "autoencoder.training.samples=48",
        "diffusion.training.samples=48",
        "few_steps.training.samples=48",
        "length.training.samples=48",
    ],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_preset(SHORT, folder, device="cpu")
    return folder


@pytest.mark.slow
def test_the_finished_model_makes_a_film(folder: Path):
    video = load(str(folder / "model")).generate("a red ball bounces", seconds=1.0, size="64x64", steps=2)
    assert video.frames.shape == (16, 64, 64, 3)
    assert video.frames.std() > 0


@pytest.mark.slow
def test_all_networks_learned_and_left_their_metrics(folder: Path):
    for stage in ("autoencoder", "diffusion", "few-steps", "length"):
        lines = (folder / stage / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses = [json.loads(line)["loss"] for line in lines]
        assert np.isfinite(losses).all()
        assert json.loads(lines[-1])["samples"] >= 48
        assert list((folder / stage).glob("samples-*.png"))


@pytest.mark.slow
def test_the_last_stage_teaches_the_student_on_windows_of_minutes(folder: Path):
    (minutes,) = open_shards(folder / "minutes" / "latents", "latents")
    assert minutes.shapes["openings"][1] == 1
    assert {int(start) for (start,) in (minutes.read("starts", entry) for entry in range(len(minutes)))} != {
        0
    }
    _, student = load_state(folder / "student" / "transformer.safetensors")
    _, taught = load_state(folder / "model" / "transformer.safetensors")
    moved = [float((taught[name].float() - student[name].float()).abs().max()) for name in student]
    assert 0 < max(moved) < 0.02


@pytest.mark.slow
def test_finished_stages_in_several_files_are_not_done_again_and_a_lost_end_comes_back(
    folder: Path, tmp_path: Path
):
    again = tmp_path / "run"
    shutil.copytree(folder, again)
    for owner in ("teacher", "student"):
        path = again / owner / "transformer.safetensors"
        kept = load_transformer(path)
        save_model(path, kept, kept.config, "transformer", max_shard_bytes=2**14)
        assert len(find_files(path)) > 1
    (again / "model" / "transformer.safetensors").unlink()
    before = {path: path.stat().st_mtime_ns for path in again.glob("*/transformer-*.safetensors")}
    run_preset(SHORT, again, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in again.glob("*/transformer-*.safetensors")} == before
    _, lost = load_state(folder / "model" / "transformer.safetensors")
    _, found = load_state(again / "model" / "transformer.safetensors")
    assert all(torch.equal(found[name], lost[name]) for name in lost)


@pytest.mark.slow
def test_a_run_without_the_last_stage_ends_with_the_student(folder: Path, tmp_path: Path):
    shorter = override(SHORT, ["length=none", "few_steps.training.samples=8"])
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("few-steps", "student", "length"))
    (tmp_path / "run" / "model" / "transformer.safetensors").unlink()
    (tmp_path / "run" / "preset.json").unlink()
    assert run_preset(shorter, tmp_path / "run", device="cpu") == tmp_path / "run" / "model"
    assert (tmp_path / "run" / "model" / "transformer.safetensors").exists()
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.slow
def test_a_second_run_changes_nothing(folder: Path):
    weights = {path: path.stat().st_mtime_ns for path in (folder / "model").glob("*.safetensors")}
    run_preset(SHORT, folder, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in (folder / "model").glob("*.safetensors")} == weights


@pytest.mark.slow
def test_a_run_can_start_from_a_finished_model_and_be_larger(folder: Path, tmp_path: Path):
    larger = override(
        SHORT,
        [
            f"start={folder / 'model'}",
            "autoencoder.model.latent_channels=10",
            "diffusion.model.in_channels=10",
            "diffusion.model.out_channels=10",
            "autoencoder.training.samples=8",
            "diffusion.training.samples=8",
        ],
    )
    run_preset(larger, tmp_path, device="cpu")
    for name in ("autoencoder", "transformer"):
        _, before = load_state(folder / "model" / f"{name}.safetensors")
        _, after = load_state(tmp_path / "model" / f"{name}.safetensors")
        kept = {key: after[key] for key, value in before.items() if value.shape == after[key].shape}
        assert 0 < len(kept) < len(after)
        moved = [(kept[key].float() - before[key].float()).abs().max() for key in kept]
        assert 0 < max(moved) < 0.02  # a random start would be far away


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["start=nanno"], "did you mean nano"),
        (["start=nano"], "cannot become"),
        (
            [
                "start=nano",
                "autoencoder.model.latent_channels=400",
                "diffusion.model.in_channels=400",
                "diffusion.model.out_channels=400",
            ],
            "cannot become",
        ),
    ],
)
def test_what_cannot_be_the_start_is_said_before_anything_is_done(
    tmp_path: Path, settings: list[str], message: str
):
    folder = tmp_path / "run"
    with pytest.raises(InputError, match=message):
        run_preset(override(SHORT, settings), folder, device="cpu")
    assert not folder.exists()


def test_a_teacher_is_guided_as_its_student_will_be():
    assert (as_teacher(nano_128()).defaults.guidance, manifest(nano_128()).defaults.guidance) == (4.0, 2.0)
    assert as_teacher(nano_128()).distilled is None
    assert as_teacher(tiny()).defaults == manifest(tiny()).defaults
