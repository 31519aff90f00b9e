"""The embedded model's presets, by growing patience.

`tiny` proves in minutes that all works, `toybox` learns a corner of the world in half an hour, `nano-64` is
for an afternoon of two CPU cores, `nano-128`, the shipped size, for half an hour of a large GPU.
"""

from dataclasses import replace

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.data.latents import Window
from unstatic.models.manifest import SamplingDefaults
from unstatic.models.tiny_autoencoder import TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig
from unstatic.presets.preset import AutoencoderRun, DiffusionRun, FewStepRun, LengthRun, Preset, WorldRun
from unstatic.training.autoencoder_step import AutoencoderLossConfig, ViewConfig
from unstatic.training.diffusion_step import DiffusionConfig
from unstatic.training.distill_step import DistillConfig
from unstatic.training.loop import TrainingConfig
from unstatic.training.optim import OptimiserConfig
from unstatic.training.recycle import RecycleConfig

NANO_COMPRESSION = Compression(time=4, space=8)
# Four cells of a latent to a token: a third of the computing time of one, and coarser outlines
COARSE = (1, 2, 2)
# Six squares to two landscape and two portrait shards.
NANO_64_SIZES = (Size(64, 64),) * 6 + (Size(80, 48),) * 2 + (Size(48, 80),) * 2
NANO_128_SIZES = (Size(128, 128),) * 6 + (Size(160, 96),) * 2 + (Size(96, 160),) * 2


def windows(batch_sizes: tuple[int, ...], shares: tuple[float, ...]) -> tuple[Window, ...]:
    """Return nano's windows, stills, two seconds and four, with so many clips in a batch and such shares."""
    parts = zip((1, 9, 17), batch_sizes, shares, strict=True)
    return tuple(Window(latent_frames=n, batch_size=size, share=share) for n, size, share in parts)


def for_length(sizes: tuple[Size, ...], *, samples: int = 2_400, minutes: int = 256) -> LengthRun:
    """Return a training of `samples` chunks for long films, on windows of lively minutes.

    A window is all that a chunk can look back at. 2,400 chunks took 42 minutes of a core at 128 pixels.
    """
    return LengthRun(
        world=WorldRun(clips=minutes, frames=49, simulated=960, sizes=sizes, mix="lively", shard_clips=32),
        training=TrainingConfig(
            samples=samples,
            warm_up=samples // 20,
            cooldown=0.5,
            half_lives=(samples / 12,),
            optimiser=OptimiserConfig(learning_rate=5e-5, matrix_learning_rate=1.5e-4),
        ),
        step=DistillConfig(plain=0.1, recycle=RecycleConfig(share=0.75)),
        windows=(Window(latent_frames=13, batch_size=8, share=1.0),),
        clips=640,
    )


def tiny() -> Preset:
    """Go through every stage once with networks too small to be good.

    Command: `unstatic train tiny -o runs/tiny`.
    """
    base, short = nano_64(), TrainingConfig(samples=400, warm_up=50, half_lives=(100.0,))
    return replace(
        base,
        name="tiny",
        model="tiny",
        summary="a rehearsal: every stage works, the pictures are poor",
        world=WorldRun(clips=24, frames=17, sizes=(Size(64, 64),), mix="first-light", shard_clips=8),
        autoencoder=AutoencoderRun(
            model=TinyAutoencoderConfig(
                latent_channels=8,
                encoder_widths=(8, 16, 16),
                decoder_widths=(16, 16, 8),
                decoder_blocks=(1, 1, 1),
            ),
            training=short,
            views=ViewConfig(frames=9),
            batch_size=8,
            clips=24,
        ),
        diffusion=DiffusionRun(
            model=replace(
                base.diffusion.model,
                in_channels=8,
                out_channels=8,
                patch=COARSE,
                width=32,
                depth=2,
                heads=2,
                ffn_width=64,
                frequency_width=32,
            ),
            training=short,
            windows=(
                Window(latent_frames=1, batch_size=8, share=0.2),
                Window(latent_frames=5, batch_size=8, share=0.8),
            ),
        ),
        few_steps=FewStepRun(
            training=replace(short, samples=200),
            windows=(Window(latent_frames=5, batch_size=8, share=1.0),),
            steps=4,
        ),
        length=LengthRun(
            world=WorldRun(
                clips=8, frames=17, simulated=160, sizes=(Size(64, 64),), mix="lively", shard_clips=8
            ),
            training=replace(short, samples=100),
            step=DistillConfig(plain=0.1, recycle=RecycleConfig(share=0.75)),
            windows=(Window(latent_frames=5, batch_size=8, share=1.0),),
            clips=8,
        ),
        sampling=SamplingDefaults(steps=8, guidance=2.0, solver="multistep", shift=1.5, history_sigma=0.0),
        max_seconds=10.0,
    )


def toybox() -> Preset:
    """Learn balls and cubes in four colours, in half an hour on two CPU cores.

    Command: `unstatic train toybox -o runs/toybox`.
    """
    base = nano_64()
    return replace(
        base,
        name="toybox",
        model="toybox",
        summary="half an hour on a laptop: balls and cubes that bounce, roll, slide and jump",
        world=WorldRun(clips=2_048, frames=33, sizes=(Size(64, 64),), mix="toybox"),
        autoencoder=AutoencoderRun(
            model=TinyAutoencoderConfig(
                encoder_widths=(32, 48, 64), decoder_widths=(64, 48, 24), decoder_blocks=(2, 1, 1)
            ),
            training=replace(
                base.autoencoder.training,
                samples=32_000,
                warm_up=1_000,
                cooldown=0.4,
                half_lives=(2_400.0,),
            ),
            batch_size=16,
            clips=2_048,
        ),
        diffusion=DiffusionRun(
            model=replace(
                base.diffusion.model,
                in_channels=16,
                out_channels=16,
                patch=COARSE,
                width=256,
                heads=4,
                ffn_width=1024,
            ),
            training=replace(
                base.diffusion.training,
                samples=90_000,
                warm_up=2_000,
                cooldown=0.2,
                half_lives=(6_000.0, 12_000.0),
            ),
            windows=(
                Window(latent_frames=1, batch_size=64, share=0.3),
                Window(latent_frames=9, batch_size=32, share=0.7),
            ),
        ),
        few_steps=None,
        length=None,
        sampling=SamplingDefaults(steps=24, guidance=3.0, solver="multistep", shift=1.5, history_sigma=0.0),
        max_seconds=10.0,
    )


def nano_64() -> Preset:
    """Train a smaller nano, of 64 pixels, on two CPU cores: `unstatic train nano-64 -o runs/nano-64`."""
    return Preset(
        name="nano-64",
        model="nano",
        summary="64-pixel films of objects and animals: shapes, colours, materials, physics, gaits",
        seed=0,
        world=WorldRun(clips=25_600, frames=65, sizes=NANO_64_SIZES, mix="taught"),
        autoencoder=AutoencoderRun(
            model=TinyAutoencoderConfig(
                latent_channels=40,
                encoder_widths=(32, 64, 96),
                encoder_blocks=(1, 1),
                decoder_widths=(128, 64, 32),
                decoder_blocks=(2, 2, 1),
                block_depth=2,
            ),
            training=TrainingConfig(
                samples=130_000,
                warm_up=3_000,
                cooldown=0.6,
                half_lives=(4_800.0,),
                # At ten times this rate of matrices nothing fires any more in most blocks (docs/log.md)
                optimiser=OptimiserConfig(learning_rate=1e-3, matrix_learning_rate=2.5e-4),
            ),
            loss=AutoencoderLossConfig(squared=6.0),
            batch_size=20,
            clips=9_472,
        ),
        diffusion=DiffusionRun(
            model=TransformerConfig(
                in_channels=40,
                out_channels=40,
                width=384,
                depth=6,
                heads=6,
                ffn_width=1536,
                text_width=384,
                patch=(1, 1, 1),
                chunk=4,
                anchors=True,
            ),
            training=TrainingConfig(
                samples=300_000,
                warm_up=4_000,
                cooldown=0.3,
                half_lives=(6_000.0, 12_000.0),
                optimiser=OptimiserConfig(learning_rate=5e-4, matrix_learning_rate=1.5e-3),
            ),
            step=DiffusionConfig(object_weight=4.0, top_levels=0.1),
            windows=windows((96, 16, 8), (0.4, 0.25, 0.35)),
            captions=6,
        ),
        few_steps=FewStepRun(
            training=TrainingConfig(
                samples=24_000,
                warm_up=1_000,
                cooldown=0.5,
                half_lives=(1_500.0, 3_000.0),
                optimiser=OptimiserConfig(learning_rate=2e-4, matrix_learning_rate=6e-4),
            ),
            windows=windows((64, 16, 12), (0.25, 0.35, 0.4)),
            steps=6,
            guidance=4.0,
        ),
        length=for_length(NANO_64_SIZES),
        compression=NANO_COMPRESSION,
        sampling=SamplingDefaults(steps=24, guidance=2.0, solver="multistep", shift=1.5, history_sigma=0.1),
    )


def nano_128() -> Preset:
    """Train the embedded model at 128 pixels in half an hour of one GPU.

    Command: `unstatic train nano-128 -o runs/nano-128`. Every stage has its time and rescales itself to it:
    the world 4 minutes, the autoencoder 4, the transformer 11, few steps 4, length 2 and its minutes 1;
    encoding takes the rest. A stage that was stopped goes on where it was, so the run may be cut into pieces.
    The shipped weights have these shapes but were trained by scripts/train_nano_gpu.py and, for length, on
    two cores: this way has never been gone on a GPU.
    """
    base, length = nano_64(), for_length(NANO_128_SIZES, samples=20_000, minutes=2_048)
    assert base.few_steps is not None
    autoencoder, diffusion, few_steps = base.autoencoder, base.diffusion, base.few_steps
    return replace(
        base,
        name="nano-128",
        summary="128-pixel films of objects and animals: shapes, colours, materials, physics, gaits",
        world=WorldRun(clips=20_480, frames=65, sizes=NANO_128_SIZES, mix="taught", seconds=240.0),
        autoencoder=replace(
            autoencoder,
            training=replace(autoencoder.training, samples=500_000, seconds=240.0, half_lives=(10_000.0,)),
            views=ViewConfig(height=64, width=64),
            batch_size=64,
        ),
        diffusion=replace(
            diffusion,
            model=replace(diffusion.model, patch=COARSE, depth=8),
            training=replace(
                diffusion.training,
                samples=2_000_000,
                seconds=660.0,
                warm_up=20_000,
                half_lives=(25_000.0, 70_000.0),
                optimiser=OptimiserConfig(learning_rate=8e-4, matrix_learning_rate=2.2e-3),
            ),
            windows=windows((1536, 320, 184), (0.2, 0.3, 0.5)),
            captions=4,
        ),
        few_steps=replace(
            few_steps,
            training=replace(
                few_steps.training, samples=100_000, seconds=240.0, half_lives=(5_000.0, 15_000.0)
            ),
            windows=windows((256, 96, 72), (0.25, 0.35, 0.4)),
        ),
        length=replace(
            length,
            world=replace(length.world, seconds=60.0),
            training=replace(length.training, seconds=120.0),
            windows=(Window(latent_frames=13, batch_size=64, share=1.0),),
            clips=4_096,
        ),
        enlarge=3,
    )


PRESETS = {"tiny": tiny, "toybox": toybox, "nano-64": nano_64, "nano-128": nano_128}


def preset(name: str) -> Preset:
    """Return the preset called `name`. Raises InputError naming all presets."""
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}: take one of {', '.join(PRESETS)}")
    return PRESETS[name]()
