"""Train a few-step model on for the first second of its films, in which all that comes later is decided.

    python scripts/train_beginnings.py clips nano runs/beginnings     # or --part 0/2, and 1/2 beside it
    python scripts/train_beginnings.py plain nano runs/beginnings
    python scripts/train_beginnings.py few nano runs/beginnings

`clips` draws scenes of the model's world, renders and encodes their first second, and of every seventh shard
all four. `plain` trains the transformer as an ordinary denoiser on what films meet there: a still, and a
chunk behind a clean still with no anchor that tells where it goes; now and then on whole clips, so that
nothing is unlearned. With `--text-encoder` it learns to read another one, whose states begin with those of
the model's own. It writes FOLDER/teacher. `few` distils that: the teacher takes guided steps of two
passes, as it no longer knows few. It writes FOLDER/model, which is finished. Each may be stopped and goes on.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unstatic.core.threads import quiet_threads

quiet_threads()

import torch  # noqa: E402
from jaxtyping import UInt8  # noqa: E402
from numpy import ndarray  # noqa: E402

from unstatic.core.device import compute_dtype, pick_device  # noqa: E402
from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.log import progress  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.core.seeds import numpy_generator  # noqa: E402
from unstatic.data.latents import LatentBatch, LatentBatches, Window  # noqa: E402
from unstatic.data.shards import Shard, open_shards, shard_path, write_shard  # noqa: E402
from unstatic.generate.native import NativeEngine  # noqa: E402
from unstatic.models.grow import grow_transformer  # noqa: E402
from unstatic.models.manifest import InstalledModel, find_model, read_manifest, write_manifest  # noqa: E402
from unstatic.models.text import TextEncoder, load_text_encoder  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.presets.fit import fit  # noqa: E402
from unstatic.presets.nano import preset  # noqa: E402
from unstatic.presets.preset import Preset  # noqa: E402
from unstatic.presets.render import draw_clip, shard_size  # noqa: E402
from unstatic.presets.show import sample_sheet  # noqa: E402
from unstatic.presets.stages import (  # noqa: E402
    averaged,
    encode_scenes,
    latent_batches,
    load_autoencoder,
    load_transformer,
)
from unstatic.training.diffusion_step import DiffusionStep  # noqa: E402
from unstatic.training.distill_step import DistillConfig, DistillStep  # noqa: E402
from unstatic.training.loop import Run, TrainingConfig  # noqa: E402
from unstatic.training.optim import OptimiserConfig, linear_weights  # noqa: E402
from unstatic.training.recycle import RecycleConfig  # noqa: E402

FIRST_SEED = 20_000_000  # far from those of presets and of the evaluation
LONG_EVERY = 7  # seven, so that parts and sizes all have their share
SHORT, LONG = 5, 17  # latent frames: a still and a chunk, and a whole clip
LONG_SHARE = 0.15  # of all batches
BATCH, LONG_BATCH = 16, 4
CAPTIONS = 2
PLAIN_RATES = OptimiserConfig(learning_rate=1.5e-4, matrix_learning_rate=4.5e-4)
FEW_RATES = OptimiserConfig(learning_rate=1e-4, matrix_learning_rate=3e-4)


# ------------------------------------------------------------------------------------------------------ clips


def write_clips(model: InstalledModel, folder: Path, clips: int, part: int, parts: int) -> None:
    """Write the shards `part`, `part` + `parts` and so on that are missing."""
    device, world = pick_device(), preset(model.manifest.preset).world
    dtype, compression = compute_dtype(device), model.manifest.compression
    autoencoder = load_autoencoder(model.weights("autoencoder")).to(device, dtype).eval()
    numbers = range(part, -(-clips // world.shard_clips), parts)
    missing = [each for each in numbers if not shard_path(folder, "latents", each).is_file()]
    with progress("rendering and encoding", len(missing)) as bar:
        for number in missing:
            shown = compression.frames(LONG if is_long(number) else SHORT)
            first = FIRST_SEED + world.shard_clips * number
            seeds = range(first, first + world.shard_clips)
            drawn = [draw_clip(world, shard_size(world, number), seed) for seed in seeds]
            scenes = [(each.spec, each.trajectory.window(0, shown)) for each in drawn]
            latents, objects = encode_scenes(scenes, autoencoder, device, samples=world.samples)
            arrays = {"latents": latents, "objects": objects}
            lines = [each.spec.to_json() for each in drawn]
            write_shard(folder, "latents", number, arrays, lines, about={"encoder": model.manifest.name})
            bar.advance()


def is_long(number: int) -> bool:
    """Tell whether a shard has whole clips."""
    return number % LONG_EVERY == LONG_EVERY - 1


# --------------------------------------------------------------------------------------------------- training


class Mixed:
    """Batches by number: most are of first seconds, some of whole clips."""

    def __init__(self, short: LatentBatches, long: LatentBatches | None) -> None:
        self.short, self.long = short, long

    def at(self, index: int) -> LatentBatch:
        """Return batch `index`."""
        is_whole = numpy_generator("short or long", index).random() < LONG_SHARE
        return (self.long if self.long is not None and is_whole else self.short).at(index)


def batches_of(chosen: Preset, shards: Sequence[Shard], encoder: TextEncoder, device: torch.device) -> Mixed:
    """Return batches of first seconds, and of whole clips if there are any."""

    def windows_of(frames: int, size: int, some: Sequence[Shard]) -> LatentBatches:
        window = Window(latent_frames=frames, batch_size=size, share=1.0)
        diffusion = replace(chosen.diffusion, windows=(window,), captions=CAPTIONS)
        return latent_batches(replace(chosen, diffusion=diffusion), some, encoder, device)

    whole = [each for each in shards if each.shapes["latents"][1] >= LONG]
    first = [each for each in shards if each.shapes["latents"][1] < LONG]
    if not first:
        raise InputError("there are no first seconds among the shards: write more clips first")
    return Mixed(windows_of(SHORT, BATCH, first), windows_of(LONG, LONG_BATCH, whole) if whole else None)


def settings_of(samples: int, rates: OptimiserConfig) -> TrainingConfig:
    """Return a short training after a long one."""
    return TrainingConfig(
        samples=samples,
        warm_up=samples // 20,
        cooldown=0.5,
        half_lives=(samples / 20,),
        optimiser=rates,
    )


def reading(student: VideoTransformer, encoder: TextEncoder) -> VideoTransformer:
    """Return a transformer that computes the same from the first of the states that an encoder gives."""
    if student.config.text_width == encoder.width:
        return student
    grown = VideoTransformer(replace(student.config, text_width=encoder.width))
    grow_transformer(grown, student)
    return grown


def train(model: InstalledModel, folder: Path, stage: str, samples: int, text_encoder: str = "") -> Path:
    """Train a stage in FOLDER/stage, and return the folder of the model that it makes."""
    device, chosen = pick_device(), preset(model.manifest.preset)
    few = stage == "few"
    if few:
        manifest = replace(read_manifest(folder / "teacher"), distilled=model.manifest.distilled)
    else:
        own = model.manifest.text_encoder
        manifest = replace(model.manifest, text_encoder=text_encoder or own, distilled=None)
    encoder = load_text_encoder(manifest.text_encoder)
    begins = folder / "teacher" / "transformer.safetensors" if few else model.weights("transformer")
    student = reading(load_transformer(begins), encoder)
    run = Run(
        student,
        settings_of(samples, FEW_RATES if few else PLAIN_RATES),
        matrices=linear_weights(student, "blocks."),
        device=device,
    )
    plain = DiffusionStep(
        model=student,
        config=replace(chosen.diffusion.step, history=0.7, anchors=0.1, level_mean=1.1),
        empty_text=encoder.encode([""]).states[0],
        progress=run.progress,
    )
    autoencoder = load_autoencoder(model.weights("autoencoder")).to(device, compute_dtype(device)).eval()

    def picture() -> UInt8[ndarray, "h w 3"]:
        made = averaged(run, VideoTransformer(student.config)).to(device, compute_dtype(device))
        return sample_sheet(NativeEngine(manifest, made, autoencoder, encoder, device))

    batches = batches_of(chosen, open_shards(folder, "latents"), encoder, device)
    if few:
        teacher = load_transformer(begins).to(device, compute_dtype(device)).eval().requires_grad_(False)
        # Stills are often the student's own, as in a film of it, and most films take its own number of steps
        assert manifest.distilled is not None, "checked before"
        steps = manifest.distilled.steps
        config = DistillConfig(
            grids=(*DistillConfig().grids, steps, steps),
            teacher_walks=True,
            recycle=RecycleConfig(share=0.5),
        )
        step = DistillStep(teacher=teacher, plain=plain, config=config, shift=manifest.defaults.shift)
        fit("few steps", run, step, batches, folder / stage, picture=picture)
    else:
        fit("first second", run, plain, batches, folder / stage, picture=picture)
    made = folder / ("model" if few else "teacher")
    made.mkdir(exist_ok=True)
    save_model(
        made / "transformer.safetensors",
        averaged(run, VideoTransformer(student.config)),
        student.config,
        "transformer",
    )
    shutil.copy(model.weights("autoencoder"), made)
    write_manifest(made, manifest)
    return made


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stage", choices=("clips", "plain", "few"))
    parser.add_argument("model", help="a few-step model's name or folder")
    parser.add_argument("folder", type=Path, help="a folder for the run")
    parser.add_argument("--clips", type=int, default=8_320, help="scenes to render")
    parser.add_argument("--part", default="0/1", help="which of how many processes this is")
    parser.add_argument("--samples", type=int, default=24_000, help="windows to train on")
    parser.add_argument("--text-encoder", default="", help="of plain, another than the model's: minilm+3")
    options = parser.parse_args()
    keep_freed_memory()
    model = find_model(options.model)
    if model.manifest.distilled is None:
        raise InputError(f"{options.model} was not distilled: this teaches few-step models")
    if options.stage == "clips":
        part, parts = map(int, options.part.split("/"))
        write_clips(model, options.folder, options.clips, part, parts)
    else:
        print(train(model, options.folder, options.stage, options.samples, options.text_encoder))


if __name__ == "__main__":
    main()
