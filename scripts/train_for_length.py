"""Teach a few-step model to go on from its own films: `unstatic.training.recycle` says why.

    python scripts/train_for_length.py nano -o runs/longer

The model is its own teacher: a frozen copy lands where it lands beside the real past, and the student shall
land there beside a past with its own errors and the first frame of the minute, as in long films.
What it makes of a perfect past stays as it is. The clips are windows of minutes in which something happens to
the end (the mix `lively`), and others, if folders of rendered clips of the model's size are named.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unstatic.core.threads import quiet_threads

quiet_threads()

from jaxtyping import UInt8  # noqa: E402
from numpy import ndarray  # noqa: E402

from unstatic.core.device import compute_dtype, pick_device  # noqa: E402
from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.data.latents import Window  # noqa: E402
from unstatic.data.shards import Shard, open_shards  # noqa: E402
from unstatic.diffusion.distilled import SCALARS  # noqa: E402
from unstatic.generate.native import NativeEngine  # noqa: E402
from unstatic.models.manifest import InstalledModel, find_model  # noqa: E402
from unstatic.models.text import load_text_encoder  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.presets.fit import fit  # noqa: E402
from unstatic.presets.nano import preset  # noqa: E402
from unstatic.presets.preset import Preset, WorldRun  # noqa: E402
from unstatic.presets.render import render_clips  # noqa: E402
from unstatic.presets.show import sample_sheet  # noqa: E402
from unstatic.presets.stages import (  # noqa: E402
    averaged,
    encode_with,
    latent_batches,
    load_autoencoder,
    load_transformer,
)
from unstatic.training.diffusion_step import DiffusionStep  # noqa: E402
from unstatic.training.distill_step import DistillConfig, DistillStep  # noqa: E402
from unstatic.training.loop import Run, TrainingConfig  # noqa: E402
from unstatic.training.optim import OptimiserConfig, linear_weights  # noqa: E402
from unstatic.training.recycle import RecycleConfig  # noqa: E402

RATES = OptimiserConfig(learning_rate=5e-5, matrix_learning_rate=1.5e-4)
WINDOWS = (Window(latent_frames=13, batch_size=8, share=1.0),)  # all that a chunk can look back at
WINDOW_FRAMES, MINUTE_FRAMES = 49, 960
FIRST_SEED = 50_000_000  # far from those of presets and of the evaluation


def settings_of(model: InstalledModel, samples: int, recycle: RecycleConfig, seed: int) -> Preset:
    """Return the model's preset for a short training after its last."""
    chosen = preset(model.manifest.preset)
    assert chosen.few_steps is not None, "the preset distills"
    training = TrainingConfig(
        samples=samples,
        warm_up=samples // 20,
        cooldown=0.5,
        half_lives=(samples / 12,),
        optimiser=RATES,
        seed=seed,
    )
    few = replace(
        chosen.few_steps,
        training=training,
        step=DistillConfig(plain=0.1, recycle=recycle),
    )
    return replace(chosen, seed=seed, few_steps=few, diffusion=replace(chosen.diffusion, windows=WINDOWS))


def windows_of_minutes(chosen: Preset, clips: int) -> WorldRun:
    """Return a world of short windows of minutes."""
    return replace(
        chosen.world,
        mix="lively",
        clips=clips,
        frames=WINDOW_FRAMES,
        simulated=MINUTE_FRAMES,
        shard_clips=32,
        seconds=0.0,
    )


def lengthen(
    model: InstalledModel, shards: Sequence[Shard], folder: Path, chosen: Preset
) -> VideoTransformer:
    """Train in `folder`, going on where it was stopped, and return the student."""
    device, few = pick_device(), chosen.few_steps
    assert few is not None, "the preset distills"
    student, teacher = (load_transformer(model.weights("transformer")) for _ in range(2))
    teacher = teacher.to(device, compute_dtype(device)).eval().requires_grad_(False)
    text_encoder = load_text_encoder(model.manifest.text_encoder)
    autoencoder = load_autoencoder(model.weights("autoencoder")).to(device, compute_dtype(device)).eval()
    run = Run(student, few.training, matrices=linear_weights(student, "blocks."), device=device)
    plain = DiffusionStep(
        model=student,
        config=chosen.diffusion.step,
        empty_text=text_encoder.encode([""]).states[0],
        progress=run.progress,
    )
    step = DistillStep(teacher=teacher, plain=plain, config=few.step, shift=model.manifest.defaults.shift)

    def finished() -> VideoTransformer:
        return averaged(run, VideoTransformer(student.config))

    def picture() -> UInt8[ndarray, "h w 3"]:
        made = finished().to(device, compute_dtype(device))
        return sample_sheet(NativeEngine(model.manifest, made, autoencoder, text_encoder, device))

    fit("longer", run, step, latent_batches(chosen, shards, text_encoder, device), folder, picture=picture)
    return finished()


def main() -> None:
    """Train what is asked for and write its weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="a few-step model's name or folder")
    parser.add_argument("--windows", type=int, default=640, help="windows of minutes to render")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="folders of other rendered clips")
    parser.add_argument("--samples", type=int, default=2_400, help="chunks to train on")
    parser.add_argument("--share", type=float, default=0.75, help="of all pasts, how many have errors")
    parser.add_argument("--rounds", type=int, default=3, help="how many times over, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for the run")
    options = parser.parse_args()
    keep_freed_memory()
    model = find_model(options.model)
    if not set(SCALARS) <= set(load_transformer(model.weights("transformer")).config.scalars):
        raise InputError(f"{options.model} was not distilled: this teaches few-step models")
    recycle = RecycleConfig(share=options.share, rounds=options.rounds)
    chosen = settings_of(model, options.samples, recycle, options.seed)
    lively, shards = options.output / "clips", list[Shard]()
    render_clips(windows_of_minutes(chosen, options.windows), lively, seed=FIRST_SEED)
    for number, clips in enumerate((lively, *options.clips)):
        latents = options.output / "latents" / f"{number}-{clips.resolve().name}"
        weights, compression = model.weights("autoencoder"), model.manifest.compression
        encode_with(weights, clips, latents, compression, pick_device(), name=model.manifest.name)
        shards += open_shards(latents, "latents")
    longer = lengthen(model, shards, options.output, chosen)
    save_model(options.output / "transformer.safetensors", longer, longer.config, "transformer")


if __name__ == "__main__":
    main()
