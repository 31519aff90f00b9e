"""What open weights can do, read from their config files alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_wan

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.models.manifest import Window, open_model, write_manifest
from unstatic.models.open_manifest import manifest_of

TRANSFORMER = {"num_attention_heads": 12, "attention_head_dim": 128, "in_channels": 16, "out_channels": 16}
AUTOENCODER = {"temperal_downsample": [False, True, True], "patch_size": None}


def folder_of(path: Path, index: dict[str, Any], transformer: dict[str, Any], vae: dict[str, Any]) -> Path:
    """Write the config files of a model, without weights."""
    files = {
        "model_index.json": {"_class_name": "WanPipeline", **index},
        "transformer/config.json": transformer,
        "vae/config.json": vae,
        "scheduler/scheduler_config.json": {"flow_shift": 3.0},
    }
    for name, fields in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(fields))
    return path


def test_the_small_model_of_2_1(tmp_path: Path) -> None:
    manifest = manifest_of(folder_of(tmp_path / "wan2.1-1.3b", {}, TRANSFORMER, AUTOENCODER))
    assert (manifest.name, manifest.licence, manifest.text_encoder) == (
        "wan2.1-1.3b",
        "see its model card",
        "umt5",
    )
    assert (manifest.prediction, manifest.chunk, manifest.fps) == ("velocity", None, 16)
    assert manifest.compression == Compression(time=4, space=8)
    assert Size(832, 480) == manifest.default_size
    assert manifest.max_seconds * manifest.fps == 81
    defaults = manifest.defaults
    assert (defaults.solver, defaults.schedule, defaults.shift, defaults.steps) == ("unipc", "wan", 8.0, 50)
    assert "worst quality" in defaults.negative
    assert manifest.given == "nothing"


def test_the_model_of_2_2_that_is_told_a_level_for_every_frame(tmp_path: Path) -> None:
    transformer = {
        "num_attention_heads": 24,
        "attention_head_dim": 128,
        "in_channels": 48,
        "out_channels": 48,
    }
    manifest = manifest_of(
        folder_of(tmp_path, {"expand_timesteps": True}, transformer, AUTOENCODER | {"patch_size": 2})
    )
    assert manifest.given == "frames"
    assert (manifest.fps, manifest.compression.space) == (24, 16)
    assert Size(1280, 704) == manifest.default_size


def test_the_pair_of_2_2(tmp_path: Path) -> None:
    transformer = TRANSFORMER | {"num_attention_heads": 40}
    manifest = manifest_of(folder_of(tmp_path, {"boundary_ratio": 0.875}, transformer, AUTOENCODER))
    assert (manifest.boundary, manifest.defaults.guidance, manifest.defaults.late_guidance) == (0.875, 4, 3)
    assert Size(1280, 720) in manifest.sizes
    assert manifest.defaults.shift == 12.0, "that of wan_t2v_A14B.py"


def test_a_shift_that_somebody_chose_is_taken(tmp_path: Path) -> None:
    """Diffusers' converter writes 3 into all folders; who tunes a model writes another number."""
    transformer = TRANSFORMER | {"num_attention_heads": 40}
    folder = folder_of(tmp_path, {"boundary_ratio": 0.875}, transformer, AUTOENCODER)
    (folder / "scheduler" / "scheduler_config.json").write_text('{"flow_shift": 7.0}')
    assert manifest_of(folder).defaults.shift == 7.0
    (folder / "scheduler" / "scheduler_config.json").write_text('{"flow_shift": "high"}')
    with pytest.raises(InputError, match="has the shift 'high': pull the model again"):
        manifest_of(folder)


def test_a_config_of_other_kinds_is_refused(tmp_path: Path) -> None:
    transformer = TRANSFORMER | {"num_attention_heads": "many"}
    with pytest.raises(InputError, match=r"are not those of Wan: .*'many'"):
        manifest_of(folder_of(tmp_path, {"boundary_ratio": 0.875}, transformer, AUTOENCODER))


@pytest.mark.parametrize(
    ("positions", "given", "steps", "size"),
    [(None, "start", 40, Size(832, 480)), (514, "ends", 50, Size(1280, 720))],
)
def test_the_models_of_2_1_that_see_pictures(
    positions: int | None, given: str, steps: int, size: Size, tmp_path: Path
) -> None:
    sees = {"num_attention_heads": 40, "in_channels": 36, "image_dim": 1280, "pos_embed_seq_len": positions}
    index = {"_class_name": "WanImageToVideoPipeline"}
    manifest = manifest_of(folder_of(tmp_path / "sees", index, TRANSFORMER | sees, AUTOENCODER))
    assert (manifest.engine, manifest.given, manifest.begins_with_picture) == ("native", given, True)
    assert (manifest.defaults.steps, manifest.defaults.guidance, manifest.default_size) == (steps, 5.0, size)
    small, large = (manifest.defaults.shift_at(Size(*size)) for size in ((480, 832), (1280, 720)))
    assert (small, large) == ((3.0, 5.0) if given == "start" else (16.0, 16.0)), "Wan2.1's generate.py"


STUDENT = TRANSFORMER | {"_class_name": "CausalWanTransformer3DModel"}


@pytest.mark.parametrize("pipeline", ["WanPipeline", "WanCausalDMDPipeline", "CausalForcingPipeline"])
def test_a_student_that_streams(pipeline: str, tmp_path: Path) -> None:
    """FastVideo's says nothing of how, and its scheduler is not Wan's."""
    folder = folder_of(tmp_path / "sfwan", {"_class_name": pipeline}, STUDENT, AUTOENCODER)
    manifest = manifest_of(folder)
    assert (manifest.chunk, manifest.window, manifest.given) == (3, Window(first=3), "beginning")
    defaults = manifest.defaults
    assert (defaults.solver, defaults.schedule, defaults.steps) == ("consistency", "shifted", 4)
    assert (defaults.shift, defaults.guidance, defaults.history_sigma, defaults.damped) == (
        5.0,
        1.0,
        0.0,
        False,
    )
    assert manifest.max_seconds * manifest.fps == 81

    scheduler = {"_class_name": "SelfForcingFlowMatchScheduler", "shift": 8.0}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    assert manifest_of(folder).defaults.shift == 8.0
    write_manifest(folder, manifest)
    assert open_model(folder).manifest == manifest


def test_what_a_student_says_of_its_window_counts(tmp_path: Path) -> None:
    said = {"num_frames_per_block": 1, "local_attn_size": 12, "sink_size": 3}
    manifest = manifest_of(folder_of(tmp_path / "one", {}, STUDENT | said, AUTOENCODER))
    assert (manifest.chunk, manifest.window) == (1, Window(first=1, frames=12, sinks=3))
    assert manifest.max_seconds == 60
    alone = {"num_frame_per_block": 4, "independent_first_frame": True, "sliding_window_num_frames": 13}
    manifest = manifest_of(folder_of(tmp_path / "two", {}, STUDENT | alone, AUTOENCODER))
    assert (manifest.chunk, manifest.window) == (4, Window(first=1, frames=13))
    by_its_pipeline = {"_class_name": "WanCausalDMDPipeline"}
    assert manifest_of(folder_of(tmp_path / "three", by_its_pipeline, TRANSFORMER, AUTOENCODER)).chunk == 3


@pytest.mark.parametrize(
    ("index", "said", "reason"),
    [
        ({"boundary_ratio": 0.875}, {}, "streams and is a pair"),
        ({}, {"in_channels": 36}, "streams and is made for pictures"),
        (
            {},
            {"sink_size": 3, "local_attn_size": 9, "rope_cache_policy": "relativistic"},
            "only sinks that stay",
        ),
        ({}, {"local_attn_size": 10}, "window of 10 latent frames cuts a chunk of 3 in two"),
        ({}, {"sliding_window_num_frames": 20}, "window of 20 latent frames, .* cuts a chunk of 3 in two"),
    ],
)
def test_students_of_other_kinds_are_refused(
    index: dict[str, Any], said: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "student", index, STUDENT | said, AUTOENCODER)
    with pytest.raises(InputError, match=reason):
        manifest_of(folder)


def test_a_manifest_in_the_folder_counts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", {}, TRANSFORMER, AUTOENCODER)
    made = open_model(folder).manifest
    assert made == manifest_of(folder)
    write_manifest(folder, made)
    text = (folder / "model.json").read_text().replace('"steps": 50', '"steps": 20')
    (folder / "model.json").write_text(text)
    assert open_model(folder).manifest.defaults.steps == 20


@pytest.mark.parametrize("kind", tiny_wan.KINDS)
def test_what_diffusers_saves_can_be_read(kind: str, tmp_path: Path) -> None:
    model = open_model(tiny_wan.saved(kind, tmp_path))
    assert model.manifest.name == f"tiny-wan-{kind}"
    assert model.size_bytes() > 100_000
    assert len(model.digest()) == 16


def test_other_families_are_diffusers_to_run_and_damaged_files_are_refused(tmp_path: Path) -> None:
    other = folder_of(tmp_path / "other", {"_class_name": "LTXPipeline"}, TRANSFORMER, AUTOENCODER)
    assert manifest_of(other).engine == "diffusers"
    nameless = folder_of(tmp_path / "nameless", {"_class_name": None}, TRANSFORMER, AUTOENCODER)
    with pytest.raises(InputError, match="names no pipeline"):
        manifest_of(nameless)
    without = folder_of(tmp_path / "without", {}, {"num_attention_heads": 2}, AUTOENCODER)
    with pytest.raises(InputError, match="'attention_head_dim' is missing"):
        manifest_of(without)
    (without / "transformer" / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json is missing: pull the model again"):
        manifest_of(without)
    (without / "model_index.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        manifest_of(without)
    (without / "model_index.json").write_text("[]")
    with pytest.raises(InputError, match="holds no JSON object"):
        manifest_of(without)
