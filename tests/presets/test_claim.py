"""What can be known to fail is said before hours of work, and a folder keeps the settings it has."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unstatic.core.config import override
from unstatic.core.errors import InputError
from unstatic.presets.claim import check_preset, check_start, claim_folder
from unstatic.presets.nano import PRESETS, nano_128, tiny
from unstatic.presets.stages import run_preset

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_itself(name: str, tmp_path: Path):
    check_preset(PRESETS[name](), tmp_path, CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["diffusion.text_encoder=minilm+3"], r"set diffusion\.model\.text_width=768"),
        (["world.mix=toybx"], r"no mix 'toybx': set world\.mix to one of .*toybox"),
        (["length.world.mix=x"], r"set length\.world\.mix"),
        (
            ["world.frames=10", "world.simulated=32", "autoencoder.views.frames=9"],
            r"diffusion\.windows are .* 17\s+frames.*frames=10",
        ),
        (["length.world.frames=16"], r"length\.windows are .*length\.world\.frames=16"),
        (["autoencoder.model.latent_channels=16"], r"set diffusion\.model\.in_channels=16"),
        (["autoencoder.views.frames=16"], r"views\.frames=16 must be 1 more than a multiple of 4"),
        (["autoencoder.views.frames=21"], r"at most world\.frames=17"),
        (["autoencoder.views.width=72"], r"views\.width=72 must be a multiple of 8, at most 64"),
        (["diffusion.training.half_lives="], r"diffusion\.training needs half_lives"),
        (["compression.time=2"], r"set compression\.time=4 compression\.space=8"),
        (["world.sizes.0.width=72"], r"sizes\.0 is 72x64: .* widths must be multiples of 16, heights of 16"),
        (["world.clips=0"], r"world\.clips=0 must be at least 1"),
        (["diffusion.model.chunk=none"], r"set diffusion\.model\.chunk"),
    ],
)
def test_settings_that_cannot_work_together_are_refused_before_anything_is_begun(
    settings: list[str], message: str, tmp_path: Path
):
    with pytest.raises(InputError, match=message):
        run_preset(override(tiny(), settings), tmp_path / "new", device="cpu")
    assert not (tmp_path / "new").exists()


def test_a_start_that_predicts_something_else_is_refused():
    check_start(override(nano_128(), ["start=nano"]))
    with pytest.raises(InputError, match="prediction 'x0', nano-128 has 'velocity'"):
        check_start(override(nano_128(), ["start=nano", "diffusion.step.prediction=velocity"]))


def test_a_folder_keeps_the_settings_of_what_is_in_it_and_says_which_differ(tmp_path: Path):
    claim_folder(tiny(), tmp_path)
    claim_folder(override(tiny(), ["world.clips=32"]), tmp_path)  # nothing has begun
    (tmp_path / "clips").mkdir()
    begun = override(tiny(), ["world.clips=32"])
    claim_folder(begun, tmp_path)
    with pytest.raises(InputError, match=r"world\.clips was 32, now 24\. Take another folder"):
        claim_folder(tiny(), tmp_path)
    with pytest.raises(InputError, match="seed was 0, now 1"):
        claim_folder(replace(begun, seed=1), tmp_path)
    later = override(begun, ["diffusion.model.depth=3", "few_steps=none", "length=none"])
    claim_folder(later, tmp_path)  # those stages have not begun
    assert json.loads((tmp_path / "preset.json").read_text(encoding="utf-8"))["length"] is None


def test_how_long_and_how_fast_a_stage_learns_may_change_until_it_is_done(tmp_path: Path):
    claim_folder(tiny(), tmp_path)
    for name in ("clips", "autoencoder", "model"):
        (tmp_path / name).mkdir()
    slower = override(tiny(), ["autoencoder.training.optimiser.learning_rate=1e-5"])
    claim_folder(slower, tmp_path)
    with pytest.raises(InputError, match=r"autoencoder\.batch_size was 8, now 4"):
        claim_folder(override(slower, ["autoencoder.batch_size=4"]), tmp_path)
    with pytest.raises(InputError, match=r"autoencoder\.training\.seed was 0, now 3"):
        claim_folder(override(slower, ["autoencoder.training.seed=3"]), tmp_path)
    claim_folder(override(slower, ["autoencoder.training.samples=64"]), tmp_path)
    (tmp_path / "autoencoder" / "length.json").write_text('{"samples": 70}')  # of a stretch of time
    with pytest.raises(InputError, match=r"autoencoder\.training\.samples was 64, now"):
        claim_folder(slower, tmp_path)
    (tmp_path / "autoencoder" / "length.json").unlink()
    claim_folder(slower, tmp_path)
    (tmp_path / "model" / "autoencoder.safetensors").touch()
    with pytest.raises(InputError, match=r"autoencoder\.training\.optimiser\.learning_rate was 1e-05"):
        claim_folder(tiny(), tmp_path)


def test_how_fast_a_run_is_may_change_and_settings_that_came_later_may_be_missing(tmp_path: Path):
    claim_folder(tiny(), tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "diffusion").mkdir()
    claim_folder(override(tiny(), ["diffusion.compile=true"]), tmp_path)
    path = tmp_path / "preset.json"
    begun = json.loads(path.read_text(encoding="utf-8"))
    del begun["start"], begun["diffusion"]["captions"]
    path.write_text(json.dumps(begun), encoding="utf-8")
    claim_folder(tiny(), tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"than this version reads, or preset\.json is damaged"):
        claim_folder(tiny(), tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="locks of another system")
def test_a_second_process_is_kept_out_of_a_folder_at_work(tmp_path: Path):
    code = (
        "import sys, pathlib\nfrom unstatic.core.names import alone_in\n"
        "with alone_in(pathlib.Path(sys.argv[1])):\n print('in', flush=True)\n sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(InputError, match="another process works in"):
            run_preset(tiny(), tmp_path, device="cpu")
        assert not (tmp_path / "preset.json").exists()
        other.kill()


def test_stages_that_are_added_to_a_finished_run_are_refused(tmp_path: Path):
    plain = override(tiny(), ["length=none", "few_steps=none"])
    claim_folder(plain, tmp_path)
    for name in ("clips", "autoencoder", "diffusion", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "transformer.safetensors").touch()
    with pytest.raises(InputError, match="few_steps was null"):
        claim_folder(tiny(), tmp_path)


def test_the_autoencoder_is_that_of_the_latents_even_when_its_files_are_gone(tmp_path: Path):
    claim_folder(tiny(), tmp_path)
    for name in ("clips", "autoencoder", "diffusion"):
        (tmp_path / name).mkdir()
    (tmp_path / "autoencoder").rmdir()
    with pytest.raises(InputError, match=r"autoencoder\.batch_size was 8, now 4"):
        claim_folder(override(tiny(), ["autoencoder.batch_size=4"]), tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["world.fps=0"], r"world\.fps=0 must be at least 1"),
        (["length.world.fps=0"], r"length\.world\.fps=0 must be at least 1"),
        (
            ["length.world.frames=13", "length.world.simulated=0", "length.windows.0.latent_frames=4"],
            r"length\.world\.frames=13 is too short for anything to happen: take 16 or more",
        ),
    ],
)
def test_clips_in_which_nothing_can_happen_are_refused(settings: list[str], said: str, tmp_path: Path):
    with pytest.raises(InputError, match=said):
        check_preset(override(tiny(), settings), tmp_path, torch.device("cpu"))
