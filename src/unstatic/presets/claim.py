"""Before hours of work: whether the settings of a run fit each other, and those its folder was begun with.

FOLDER/preset.json says what is run. Settings of stages that have not begun may be changed, and how long and
how fast a stage learns until it is done; everything else stays as what lies in the folder was made with.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch

from unstatic.core.config import from_dict, to_dict
from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path
from unstatic.data.latents import Window
from unstatic.models.grow import check_autoencoder, check_transformer
from unstatic.models.manifest import find_model
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.weights import is_saved, load_model
from unstatic.presets.budget import LENGTH
from unstatic.presets.preset import Preset, WorldRun
from unstatic.training.fuse import check_compiler
from unstatic.training.loop import TrainingConfig

FILE = "preset.json"
# The parts of a preset, what each leaves in the folder once it has begun, and what when it is done
BEGUN = {
    "world": ("clips",),
    "autoencoder": ("autoencoder", "model/autoencoder.safetensors"),
    "diffusion": ("diffusion", "teacher", "model/transformer.safetensors"),
    "few_steps": ("few-steps", "student", "model/transformer.safetensors"),
    "length": ("minutes", "length", "model/transformer.safetensors"),
}
DONE = {
    "autoencoder": ("model/autoencoder.safetensors",),
    "diffusion": ("teacher/transformer.safetensors", "model/transformer.safetensors"),
    "few_steps": ("student/transformer.safetensors", "model/transformer.safetensors"),
    "length": ("model/transformer.safetensors",),
}
PACE = ("samples", "warm_up", "cooldown", "clip_norm", "patience", "optimiser")


def check_preset(preset: Preset, folder: Path, device: torch.device) -> None:
    """Raise InputError, naming what to set, for all that can be known to fail later; nothing is written."""
    preset.diffusion.check_text()
    if preset.diffusion.compile:
        check_compiler(device)
    _check_networks(preset)
    _check_worlds(preset)
    _check_lengths(preset)
    if preset.start and not (folder / FILE).exists():
        check_start(preset)


def claim_folder(preset: Preset, folder: Path) -> None:
    """Write down what is run in `folder`. Raises InputError if that cannot go on from what lies there."""
    path = folder / FILE
    new = to_dict(preset)
    if path.exists():
        begun = _read_preset(path)
        if begun is None:
            raise InputError(
                f"{folder} was begun with other settings than this version reads, or {path.name} is damaged:"
                " take another folder"
            )
        kept = [said for key, said in _differences(begun, new) if not _may_change(key, folder)]
        if kept:
            raise InputError(
                f"{folder} was begun with other settings: {', '.join(kept)}."
                " Take another folder, or the same settings"
            )
        if begun == new:
            return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")


def check_start(preset: Preset) -> None:
    """Check that the run can begin with the model `preset.start`. Raises InputError saying what is wrong."""
    model = find_model(preset.start)
    autoencoder = load_model(
        model.weights("autoencoder"), "tiny_autoencoder", TinyAutoencoderConfig, TinyAutoencoder
    )
    transformer = load_model(model.weights("transformer"), "transformer", TransformerConfig, VideoTransformer)
    check_autoencoder(preset.autoencoder.model, autoencoder.config)
    check_transformer(preset.diffusion.model, transformer.config)
    facts = {
        "prediction": (model.manifest.prediction, preset.diffusion.step.prediction),
        "text encoder": (model.manifest.text_encoder, preset.diffusion.text_encoder),
    }
    for name, (theirs, ours) in facts.items():
        if theirs != ours:
            raise InputError(
                f"{preset.start} has {name} {theirs!r}, {preset.name} has {ours!r}: start from another"
            )


# -------------------------------------------------------------------------------------------- fit each other


def _check_networks(preset: Preset) -> None:
    ours, channels = preset.autoencoder.model.compression, preset.autoencoder.model.latent_channels
    if preset.compression != ours:
        raise InputError(
            f"the autoencoder compresses time by {ours.time} and space by {ours.space}, the preset says"
            f" {preset.compression.time} and {preset.compression.space}:"
            f" set compression.time={ours.time} compression.space={ours.space}"
        )
    model = preset.diffusion.model
    if (model.in_channels, model.out_channels) != (channels, channels):
        raise InputError(
            f"the autoencoder has {channels} channels, the transformer reads {model.in_channels} and gives"
            f" {model.out_channels}: set diffusion.model.in_channels={channels}"
            f" diffusion.model.out_channels={channels}"
        )
    if model.chunk is None:
        raise InputError("a preset's transformer streams: set diffusion.model.chunk, for example to 4")


def _check_worlds(preset: Preset) -> None:
    from unstatic.world.mix import MIXES
    from unstatic.world.scenes import SHORTEST_CLIP_S

    rows, columns = (preset.compression.space * cells for cells in preset.diffusion.model.patch[1:])
    for name, world in _worlds(preset).items():
        if world.mix not in MIXES:
            raise InputError(f"there is no mix {world.mix!r}: set {name}.mix to one of {', '.join(MIXES)}")
        for key in ("clips", "frames", "fps", "shard_clips", "samples"):
            if getattr(world, key) < 1:
                raise InputError(f"{name}.{key}={getattr(world, key)} must be at least 1")
        if max(world.frames, world.simulated) < (least := math.ceil(SHORTEST_CLIP_S * world.fps)):
            raise InputError(
                f"{name}.frames={world.frames} is too short for anything to happen: take {least} or more,"
                f" or windows of longer clips, {name}.simulated={least}"
            )
        for place, size in enumerate(world.sizes):
            if size.width % columns or size.height % rows:
                raise InputError(
                    f"{name}.sizes.{place} is {size}: with this autoencoder and patch widths must be"
                    f" multiples of {columns}, heights of {rows}"
                )
    views, space = preset.autoencoder.views, preset.compression.space
    for key in ("width", "height"):
        least = min(getattr(size, key) for size in preset.world.sizes)
        if not 0 < getattr(views, key) <= least or getattr(views, key) % space:
            raise InputError(
                f"autoencoder.views.{key}={getattr(views, key)} must be a multiple of {space},"
                f" at most {least}"
            )


def _check_lengths(preset: Preset) -> None:
    time, views = preset.compression.time, preset.autoencoder.views
    if views.frames > preset.world.frames or views.frames % time != 1 % time:
        raise InputError(
            f"autoencoder.views.frames={views.frames} must be 1 more than a multiple of {time}, and at most"
            f" world.frames={preset.world.frames}"
        )
    worlds, learning = _worlds(preset), _learning(preset)
    for name, stage in learning.items():
        if not stage.half_lives or stage.samples < 1 or stage.accumulate < 1:
            raise InputError(f"{name}.training needs half_lives, and samples and accumulate of at least 1")
    for name, windows in _windows(preset).items():
        longest = max(window.latent_frames for window in windows)
        for key in ("world", "length.world") if name == "length" else ("world",):
            if longest > preset.compression.latent_frames(worlds[key].frames):
                raise InputError(
                    f"{name}.windows are up to {longest} latent frames long,"
                    f" {preset.compression.frames(longest)} frames, and clips have"
                    f" {key}.frames={worlds[key].frames}: render longer clips or train on shorter windows"
                )


def _worlds(preset: Preset) -> dict[str, WorldRun]:
    return {"world": preset.world} | ({"length.world": preset.length.world} if preset.length else {})


def _learning(preset: Preset) -> dict[str, TrainingConfig]:
    parts = {name: getattr(preset, name) for name in DONE}
    return {name: part.training for name, part in parts.items() if part is not None}


def _windows(preset: Preset) -> dict[str, tuple[Window, ...]]:
    parts = {name: getattr(preset, name) for name in ("diffusion", "few_steps", "length")}
    return {name: part.windows for name, part in parts.items() if part is not None}


# ------------------------------------------------------------------------------------------ fit what is there


def _read_preset(path: Path) -> dict[str, Any] | None:
    """Read what a run was begun with, settings that came later as they are by default; None if nobody can."""
    try:
        return to_dict(from_dict(Preset, json.loads(path.read_text(encoding="utf-8"))))
    except (InputError, ValueError):
        return None


def _differences(old: object, new: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key whose values differ, and both in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        theirs, ours = cast(dict[str, object], old), cast(dict[str, object], new)
        for name in theirs:
            yield from _differences(theirs[name], ours[name], f"{key}.{name}" if key else name)
    elif old != new:
        yield key, f"{key} was {_short(old)}, now {_short(new)}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _may_change(key: str, folder: Path) -> bool:
    """Tell whether a setting decides nothing of what lies in `folder` already."""
    if key == "diffusion.compile":  # how fast a run is, not what it makes
        return True
    part, *rest = key.split(".")
    parts = [*BEGUN]
    later = parts[parts.index(part) if part in parts else 0 :]  # what is made of what a part makes, too
    if not any(_is_there(folder, BEGUN[each]) for each in later):
        return True
    if rest == ["training", "samples"] and any((folder / name / LENGTH).exists() for name in BEGUN[part]):
        return False  # a stage that takes a stretch of time has decided it, and keeps that
    is_pace = len(rest) > 1 and rest[0] == "training" and rest[1] in PACE
    return is_pace and part in DONE and not _is_there(folder, DONE[part])


def _is_there(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).exists() or is_saved(folder / name) for name in names)
