"""The recipe at small scale: one change at a time, the same seed, the same samples.

    python benchmarks/recipe.py autoencoder --clips runs/nano-64/clips --samples 20000
    python benchmarks/recipe.py transformer --run runs/nano-64 --samples 60000 --only "base;velocity"

Autoencoders are trained from nothing on crops and measured on clips that no training has seen. Transformers
are trained from nothing on stills, the first latent frame of every clip, and asked for stills of one object:
how often does the parser read the colour and the shape that the caption names? Results go to stdout as JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unstatic.core.threads import quiet_threads

quiet_threads()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from unstatic.core.device import compute_dtype, pick_device  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.core.seeds import generator  # noqa: E402
from unstatic.data.latents import LatentBatches, Window  # noqa: E402
from unstatic.data.loader import AutoencoderBatches  # noqa: E402
from unstatic.data.shards import Shard, open_shards  # noqa: E402
from unstatic.evals.parser import load_parser  # noqa: E402
from unstatic.evals.prompts import load_suite  # noqa: E402
from unstatic.evals.reconstruction import held_out_clips, measure_reconstruction  # noqa: E402
from unstatic.generate.native import NativeEngine  # noqa: E402
from unstatic.media.frames import to_frames, to_tensor  # noqa: E402
from unstatic.models.text import load_text_encoder  # noqa: E402
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.presets.fit import fit  # noqa: E402
from unstatic.presets.nano import nano_64  # noqa: E402
from unstatic.presets.preset import Preset  # noqa: E402
from unstatic.presets.show import generate_clip  # noqa: E402
from unstatic.presets.stages import (  # noqa: E402
    autoencoder_path,
    averaged,
    latent_batches,
    load_autoencoder,
    manifest,
)
from unstatic.training.autoencoder_step import AutoencoderStep, prepare  # noqa: E402
from unstatic.training.diffusion_step import DiffusionStep  # noqa: E402
from unstatic.training.loop import Run  # noqa: E402
from unstatic.training.optim import kernel_weights, linear_weights  # noqa: E402

HELD_OUT_CLIPS = 24
STILLS_ASKED = 200
VALIDATION_BATCHES = 8

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of the transformer's training; the rest is as in the base."""

    prediction: str = "x0"
    muon: bool = True
    object_weight: float = 4.0


TRANSFORMERS = {
    "base": Change(),
    "velocity": Change(prediction="velocity"),
    "AdamW alone": Change(muon=False),
    "objects as all else": Change(object_weight=1.0),
}
# One stage more, which halves height and width but merges no frames
DEEPER = {
    "encoder_widths": (32, 64, 96, 128),
    "encoder_blocks": (1, 1, 1),
    "encoder_merges": (2, 2, 1),
    "decoder_widths": (128, 128, 64, 32),
    "decoder_blocks": (2, 2, 2, 1),
    "decoder_growths": (1, 2, 2),
}
AUTOENCODERS = {
    "f8, 16 channels": {"latent_channels": 16},
    "f8, 24 channels": {"latent_channels": 24},
    "f8, 40 channels": {"latent_channels": 40},
    "f16, 64 channels": {"latent_channels": 64, **DEEPER},
    "f16, 160 channels": {"latent_channels": 160, **DEEPER},
}


def main() -> None:
    """Run what is asked for and print a JSON object for every change as it is done."""
    parser = argparse.ArgumentParser(description="Measure the recipe, one change at a time.")
    parser.add_argument("part", choices=("autoencoder", "transformer"))
    parser.add_argument("--clips", type=Path, help="a folder of rendered clips")
    parser.add_argument("--run", type=Path, help="a run with latents and a finished autoencoder")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--only", default="", help="names of changes, semicolons between; all by default")
    options = parser.parse_args()
    keep_freed_memory()

    if options.part == "autoencoder":
        shards = open_shards(options.clips, "clips")
        runs: Mapping[str, Callable[[], Figures]] = {
            name: lambda sizes=sizes: autoencoder(shards, sizes, options.samples)
            for name, sizes in AUTOENCODERS.items()
        }
    else:
        runs = {
            name: lambda change=change: transformer(options.run, change, options.samples)
            for name, change in TRANSFORMERS.items()
        }
    for name in options.only.split(";") if options.only else runs:
        started_s = time.monotonic()
        figures = runs[name]()
        print(json.dumps({"change": name, "seconds": time.monotonic() - started_s, **figures}), flush=True)


# --------------------------------------------------------------------------------------------- autoencoder


def autoencoder(shards: list[Shard], sizes: Mapping[str, Any], samples: int) -> Figures:
    """Train one autoencoder and return how well it gives held-out clips back."""
    settings, device = nano_64().autoencoder, pick_device()
    config = replace(settings.model, **sizes)
    model = TinyAutoencoder(config, generator=generator("recipe"))
    training = replace(settings.training, samples=samples, warm_up=samples // 20)
    run = Run(model, training, matrices=kernel_weights(model), device=device)
    batches = AutoencoderBatches(
        shards,
        prepare=lambda frames, ids, source: prepare(frames, ids, settings.views, source),
        batch_size=settings.batch_size,
    )
    speed = _fit(run, AutoencoderStep(model=model, config=settings.loss), batches)
    return {"samples_per_s": speed} | reconstruction(averaged(run, TinyAutoencoder(config)), config)


@torch.inference_mode()
def reconstruction(model: TinyAutoencoder, config: TinyAutoencoderConfig) -> Figures:
    """Return decibels and the width of edges, and how many numbers a cell of 16 x 16 pixels becomes."""

    def there_and_back(frames: np.ndarray) -> np.ndarray:
        return to_frames(model.decode(model.encode(to_tensor(frames)[None])))[0]

    found = measure_reconstruction(held_out_clips(HELD_OUT_CLIPS), there_and_back)
    return {
        "psnr": found.whole.per_clip,
        "psnr_in_objects": found.inside.per_clip,
        "edge_width": found.edge_width,
        "numbers_per_16x16": config.latent_channels * (16 // config.compression.space) ** 2,
    }


# --------------------------------------------------------------------------------------------- transformer


def transformer(folder: Path, change: Change, samples: int) -> Figures:
    """Train one transformer on stills and return how often it shows the right colour and shape."""
    preset, device = changed(nano_64(), change, samples), pick_device()
    settings, text_encoder = preset.diffusion, load_text_encoder(preset.diffusion.text_encoder)
    model = VideoTransformer(settings.model, generator=generator("recipe"))
    matrices = linear_weights(model, "blocks.") if change.muon else ()
    run = Run(model, settings.training, matrices=matrices, device=device)
    shards = open_shards(folder / "latents", "latents")
    step = DiffusionStep(
        model=model,
        config=settings.step,
        empty_text=text_encoder.encode([""]).states[0],
        progress=run.progress,
    )
    speed = _fit(run, step, latent_batches(preset, shards[:-1], text_encoder, device))
    errors = validation(run, step, latent_batches(preset, shards[-1:], text_encoder, device))

    dtype = compute_dtype(device)
    finished = averaged(run, VideoTransformer(settings.model)).to(device, dtype)
    decoder = load_autoencoder(autoencoder_path(folder)).to(device, dtype)
    engine = NativeEngine(manifest(preset), finished, decoder, text_encoder, device)
    return {"samples_per_s": speed} | errors | stills(engine)


def changed(preset: Preset, change: Change, samples: int) -> Preset:
    """Return the preset with one change, for stills."""
    diffusion = preset.diffusion
    step = replace(diffusion.step, prediction=change.prediction, object_weight=change.object_weight)
    return replace(
        preset,
        few_steps=None,
        diffusion=replace(
            diffusion,
            step=step,
            training=replace(diffusion.training, samples=samples, warm_up=samples // 20),
            windows=(Window(latent_frames=1, batch_size=128, share=1.0),),
            captions=2,
        ),
    )


@torch.no_grad()
def validation(run: Run, step: DiffusionStep, batches: LatentBatches) -> Figures:
    """Return the mean squared error of x0 by noise level, on latents that were not trained on."""
    found: dict[str, list[float]] = {}
    for index in range(VALIDATION_BATCHES):
        with torch.autocast(run.device.type, run.dtype, enabled=run.dtype != torch.float32):
            output = step(batches.at(index).to(run.device), generator("validation", index))
        for name, value in output.metrics.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def stills(engine: NativeEngine) -> Figures:
    """Ask for stills of one object, and let the parser say what they show."""
    parser, right = load_parser(), {"colour": 0, "shape": 0}
    prompts = load_suite("objects").first(STILLS_ASKED).prompts
    for prompt in prompts:
        frames = generate_clip(
            engine,
            prompt.text,
            seconds=1 / engine.manifest.fps,
            size=engine.manifest.sizes[0],
            seed=prompt.spec.seed,
        )
        reading = parser.read(frames)
        for atom in right:
            right[atom] += getattr(reading, atom) == prompt.asked[atom]
    return {atom: count / len(prompts) for atom, count in right.items()}


def _fit(run: Run, step: Any, batches: Any) -> float:
    """Train to the end in a folder that is thrown away, and return the samples a second."""
    started_s = time.monotonic()
    with TemporaryDirectory() as folder:
        fit("recipe", run, step, batches, Path(folder), picture=lambda: np.zeros((8, 8, 3), np.uint8))
    return run.clock.samples / (time.monotonic() - started_s)


if __name__ == "__main__":
    main()
