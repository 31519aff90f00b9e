"""The stages of a preset: render, autoencoder, encode, diffusion, few steps, length, export.

Each goes on where it was stopped.

FOLDER/preset.json     what is run, in full
FOLDER/clips/          rendered clips, raw
FOLDER/autoencoder/    checkpoints, metrics, pictures
FOLDER/latents/        the clips, encoded
FOLDER/diffusion/      checkpoints, metrics, pictures
FOLDER/few-steps/      the same of the student, if the preset distills; FOLDER/teacher/ is what it learns from
FOLDER/length/         the same of FOLDER/student/, taught to go on from its own films, on FOLDER/minutes/
FOLDER/model/          the finished model: `unstatic video PROMPT --model FOLDER/model`
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, UInt8
from numpy import ndarray
from torch import Tensor, nn

from unstatic.core.device import compute_dtype, pick_device, warp_device
from unstatic.core.files import clear_unfinished
from unstatic.core.log import progress
from unstatic.core.memory import keep_freed_memory
from unstatic.core.names import alone_in
from unstatic.core.seeds import generator
from unstatic.core.shapes import Compression
from unstatic.data.encode import SCENERY, encode_clips, object_cells, to_video
from unstatic.data.latents import LatentBatch, LatentBatches
from unstatic.data.loader import AutoencoderBatches
from unstatic.data.shards import Shard, open_shards
from unstatic.diffusion.distilled import SCALARS
from unstatic.generate.native import NativeEngine
from unstatic.models.grow import grow_autoencoder, grow_transformer
from unstatic.models.manifest import Distilled, Manifest, find_model, write_manifest
from unstatic.models.text import TextEncoder, load_text_encoder
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.weights import is_saved, load_model, read_metadata, save_model
from unstatic.presets.claim import check_preset, claim_folder
from unstatic.presets.fit import fit
from unstatic.presets.preset import FewStepRun, LengthRun, Preset
from unstatic.presets.render import render_clips
from unstatic.presets.show import reconstruction_sheet, sample_sheet
from unstatic.training.autoencoder_step import AutoencoderStep, prepare
from unstatic.training.checkpoint import checkpoints
from unstatic.training.diffusion_step import DiffusionStep
from unstatic.training.distill_step import DistillStep
from unstatic.training.fuse import fuse
from unstatic.training.loop import Run
from unstatic.training.optim import kernel_weights, linear_weights
from unstatic.training.step import Step

if TYPE_CHECKING:
    from unstatic.world.spec import SceneSpec, Trajectory

EXPANDER = "world"  # what users type is put into the words of the world's captions
EXAMPLES_PER_SHARD = 8
RENDERED_AT_ONCE, ENCODED_AT_ONCE = 32, 16
MINUTES_SEED = 50_000_000  # above those of a run's other clips; evaluation begins at 900 million

Model = TypeVar("Model", bound=nn.Module)


def run_preset(preset: Preset, folder: Path, *, device: str | None = None) -> Path:
    """Run all stages of `preset` in `folder` and return the folder of the model.

    Raises InputError if the folder is another preset's, another process works in it, or the settings cannot
    work together; KeyboardInterrupt after Ctrl-C, when all is saved.
    """
    keep_freed_memory()
    target = pick_device(device)
    check_preset(preset, folder, target)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        claim_folder(preset, folder)
        clear_unfinished(folder)
        render_clips(preset.world, folder / "clips", seed=preset.seed, device=warp_device(target))
        train_autoencoder(preset, folder, target)
        encode(preset, folder, target)
        train_diffusion(preset, folder, target)
        train_few_steps(preset, folder, target)
        train_length(preset, folder, target)
        return export(preset, folder)


# --------------------------------------------------------------------------------------------- autoencoder


def train_autoencoder(preset: Preset, folder: Path, device: torch.device) -> None:
    """Train the autoencoder on the first clips, measure its latents and write FOLDER/model/autoencoder."""
    target = autoencoder_path(folder)
    if is_saved(target):
        return
    settings = preset.autoencoder
    shards = first_clips(open_shards(folder / "clips", "clips"), settings.clips)
    model = TinyAutoencoder(settings.model, generator=generator("autoencoder", preset.seed))
    if preset.start and not checkpoints(folder / "autoencoder"):
        grow_autoencoder(model, load_autoencoder(find_model(preset.start).weights("autoencoder")))
    run = Run(model, settings.training, matrices=kernel_weights(model), device=device)
    batches = AutoencoderBatches(
        shards,
        prepare=lambda frames, ids, source: prepare(frames, ids, settings.views, source),
        batch_size=settings.batch_size,
        seed=preset.seed,
    )
    step = AutoencoderStep(model=model, config=settings.loss)
    fit(
        "autoencoder",
        run,
        step,
        batches,
        folder / "autoencoder",
        picture=lambda: reconstruction_sheet(averaged(run, TinyAutoencoder(settings.model)), shards),
    )
    finished = averaged(run, TinyAutoencoder(settings.model))
    finished.measure_latents(video.to(device) for video in example_videos(shards))
    target.parent.mkdir(exist_ok=True)
    save_model(target, finished, settings.model, "tiny_autoencoder")


def autoencoder_path(folder: Path) -> Path:
    """Name the weights of a run's finished autoencoder."""
    return folder / "model" / "autoencoder.safetensors"


def load_autoencoder(path: Path) -> TinyAutoencoder:
    """Load the autoencoder of a run or of a model."""
    return load_model(path, "tiny_autoencoder", TinyAutoencoderConfig, TinyAutoencoder)


def first_clips(shards: Sequence[Shard], clips: int) -> list[Shard]:
    """Return as many shards, from the first on, as hold `clips` clips."""
    before = accumulate((len(shard) for shard in shards), initial=0)
    return [shard for shard, seen in zip(shards, before, strict=False) if seen < clips]


def example_videos(shards: Sequence[Shard]) -> Iterator[Float[Tensor, "1 3 t h w"]]:
    """Yield the first clips of every shard, for measuring latents."""
    for shard in shards:
        for entry in range(min(EXAMPLES_PER_SHARD, len(shard))):
            yield to_video(torch.as_tensor(shard.read("frames", entry))[None])


def encode(preset: Preset, folder: Path, device: torch.device) -> None:
    """Encode all clips with the finished autoencoder."""
    weights = autoencoder_path(folder)
    encode_with(weights, folder / "clips", folder / "latents", preset.compression, device, name=preset.name)


def encode_with(
    weights: Path, clips: Path, latents: Path, compression: Compression, device: torch.device, *, name: str
) -> None:
    """Encode a folder of clips with the autoencoder of the preset `name`.

    Latents tell it from others by its digest: InputError is raised for those that another encoded.
    """
    autoencoder, said = load_autoencoder(weights), f"{name} autoencoder {read_metadata(weights).digest}"
    autoencoder = autoencoder.to(device, compute_dtype(device)).eval()

    def to_latent(video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c m y x"]:
        return autoencoder.encode(video.to(device, compute_dtype(device))).float()

    with progress("encoding", sum(len(shard) for shard in open_shards(clips, "clips"))) as bar:
        encode_clips(clips, latents, to_latent, compression, name=said, progress=bar.advance)


def encode_scenes(
    scenes: "Sequence[tuple[SceneSpec, Trajectory]]",
    autoencoder: TinyAutoencoder,
    device: torch.device,
    *,
    samples: int,
) -> tuple[Float16[ndarray, "n t c h w"], Bool[ndarray, "n t h w"]]:
    """Render scenes, `samples` rays a pixel, and encode them: their latents, and which cells show objects."""
    from unstatic.world.render import render_batch

    latents, objects = list[ndarray](), list[ndarray]()
    for start in range(0, len(scenes), RENDERED_AT_ONCE):
        batch = scenes[start : start + RENDERED_AT_ONCE]
        clips = render_batch(batch, samples=samples, device=warp_device(device))
        for first in range(0, len(clips), ENCODED_AT_ONCE):
            frames = np.stack([clip.frames for clip in clips[first : first + ENCODED_AT_ONCE]])
            video = to_video(torch.from_numpy(frames).to(device)).to(compute_dtype(device))
            with torch.inference_mode():
                latents.append(autoencoder.encode(video).transpose(1, 2).half().cpu().numpy())
        shows = [(clip.ids > 0) & (clip.ids != SCENERY) for clip in clips]
        objects += [object_cells(each, autoencoder.config.compression) for each in shows]
    return np.concatenate(latents), np.stack(objects)


# ----------------------------------------------------------------------------------------------- diffusion


def train_diffusion(preset: Preset, folder: Path, device: torch.device) -> None:
    """Train the transformer on the latents and write FOLDER/model/transformer, or FOLDER/teacher's."""
    target = transformer_path(folder, "teacher" if preset.few_steps else "model")
    if is_saved(target):
        return
    settings = preset.diffusion
    model = VideoTransformer(settings.model, generator=generator("transformer", preset.seed))
    if preset.start and not checkpoints(folder / "diffusion"):
        grow_transformer(model, load_transformer(find_model(preset.start).weights("transformer")))
    run = Run(model, settings.training, matrices=linear_weights(model, "blocks."), device=device)
    shards = open_shards(folder / "latents", "latents")
    fit_transformer(preset, folder, "diffusion", model, run, lambda plain: plain, shards)
    target.parent.mkdir(exist_ok=True)
    save_model(target, averaged(run, VideoTransformer(settings.model)), settings.model, "transformer")


def train_few_steps(preset: Preset, folder: Path, device: torch.device) -> None:
    """Distill FOLDER/teacher's transformer, if the preset says so, and write that of FOLDER/model.

    If it is to be taught on, write that of FOLDER/student.
    """
    target, settings = transformer_path(folder, "student" if preset.length else "model"), preset.few_steps
    if settings is None or is_saved(target):
        return
    teacher = load_transformer(transformer_path(folder, "teacher"))
    config = replace(teacher.config, scalars=("sigma", *SCALARS))
    student = VideoTransformer(config, generator=generator("student", preset.seed))
    grow_transformer(student, teacher)
    shards = open_shards(folder / "latents", "latents")
    finished = fit_student(preset, settings, folder, "few-steps", teacher, student, device, shards)
    target.parent.mkdir(exist_ok=True)
    save_model(target, finished, config, "transformer")


def train_length(preset: Preset, folder: Path, device: torch.device) -> None:
    """Teach FOLDER/student's transformer to go on from its own films, if the preset says so."""
    if preset.length is None or is_saved(transformer_path(folder, "model")):
        return
    others = first_clips(open_shards(folder / "latents", "latents"), preset.length.clips)
    teach_length(preset, preset.length, folder, device, others)


def teach_length(
    preset: Preset, settings: LengthRun, folder: Path, device: torch.device, others: Sequence[Shard]
) -> None:
    """Teach FOLDER/student's transformer on windows of minutes and others, and write FOLDER/model's."""
    clips, latents = folder / "minutes" / "clips", folder / "minutes" / "latents"
    render_clips(settings.world, clips, seed=preset.seed + MINUTES_SEED, device=warp_device(device))
    weights = autoencoder_path(folder)
    encode_with(weights, clips, latents, preset.compression, device, name=preset.name)
    student, teacher = (load_transformer(transformer_path(folder, "student")) for _ in range(2))
    shards = [*open_shards(latents, "latents"), *others]
    finished = fit_student(preset, settings, folder, "length", teacher, student, device, shards)
    save_model(transformer_path(folder, "model"), finished, student.config, "transformer")


def fit_student(
    preset: Preset,
    settings: FewStepRun | LengthRun,
    folder: Path,
    stage: str,
    teacher: VideoTransformer,
    student: VideoTransformer,
    device: torch.device,
    shards: Sequence[Shard],
) -> VideoTransformer:
    """Let a student learn in FOLDER/stage to land where its teacher does, and return its average."""
    teacher = teacher.to(device, compute_dtype(device)).eval().requires_grad_(False)
    run = Run(student, settings.training, matrices=linear_weights(student, "blocks."), device=device)
    shift = preset.sampling.shift
    fit_transformer(
        # Its many shapes of passes would take longer to compile than they save
        replace(preset, diffusion=replace(preset.diffusion, windows=settings.windows, compile=False)),
        folder,
        stage,
        student,
        run,
        lambda plain: DistillStep(teacher=teacher, plain=plain, config=settings.step, shift=shift),
        shards,
    )
    return averaged(run, VideoTransformer(student.config))


def fit_transformer(
    preset: Preset,
    folder: Path,
    stage: str,
    model: VideoTransformer,
    run: Run,
    make_step: Callable[[DiffusionStep], Step[LatentBatch]],
    shards: Sequence[Shard],
) -> None:
    """Fit a transformer in FOLDER/stage; `make_step` may make another step of the ordinary one."""
    device, settings = run.device, preset.diffusion
    text_encoder = load_text_encoder(settings.text_encoder)
    batches = latent_batches(preset, shards, text_encoder, device)
    step = DiffusionStep(
        model=model,
        config=settings.step,
        empty_text=text_encoder.encode([""]).states[0],
        progress=run.progress,
    )
    if settings.compile:
        fuse(model)
    autoencoder = load_autoencoder(autoencoder_path(folder))

    def picture() -> UInt8[ndarray, "h w 3"]:
        dtype = compute_dtype(device)
        finished = averaged(run, VideoTransformer(model.config))
        parts = (finished.to(device, dtype), autoencoder.to(device, dtype))
        about = as_teacher(preset) if stage == "diffusion" else manifest(preset)
        return sample_sheet(NativeEngine(about, *parts, text_encoder, device))

    fit(stage, run, make_step(step), batches, folder / stage, picture=picture)


def transformer_path(folder: Path, owner: str) -> Path:
    """Name the weights of a run's transformer: of the "teacher", the "student" or the finished "model"."""
    return folder / owner / "transformer.safetensors"


def load_transformer(path: Path) -> VideoTransformer:
    """Load the transformer of a run or of a model."""
    return load_model(path, "transformer", TransformerConfig, VideoTransformer)


def latent_batches(
    preset: Preset, shards: Sequence[Shard], text_encoder: TextEncoder, device: torch.device
) -> LatentBatches:
    """Return batches whose captions are written from the stored scenes."""
    from unstatic.world.captions import caption
    from unstatic.world.spec import SceneSpec

    settings, dtype = preset.diffusion, compute_dtype(device)

    def encode_text(prompts: Sequence[str]) -> Float[Tensor, "b s e"]:
        # A third of the time in bf16, at a cosine of 0.9999 to the states that sampling reads
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return text_encoder.encode(prompts).states.float()

    return LatentBatches(
        shards,
        caption=lambda line, rng: caption(SceneSpec.from_json(line), rng),
        encode_text=encode_text,
        windows=settings.windows,
        captions=settings.captions,
        seed=preset.seed,
    )


# -------------------------------------------------------------------------------------------------- export


def averaged(run: Run, model: Model) -> Model:
    """Give `model` the weights that are shipped: the longest average of the run."""
    model.load_state_dict(run.model.state_dict())
    run.averages[-1].copy_to(model)
    return model.to(run.device).eval()


def export(preset: Preset, folder: Path) -> Path:
    """Write the manifest beside the weights: from here on the folder is a model like any other."""
    write_manifest(folder / "model", manifest(preset))
    return folder / "model"


def as_teacher(preset: Preset) -> Manifest:
    """Return the manifest of a transformer that is not distilled yet: guided as its student will be."""
    finished = manifest(preset)
    baked = finished.distilled and finished.distilled.guidance
    defaults = replace(finished.defaults, guidance=baked) if baked else finished.defaults
    return replace(finished, distilled=None, defaults=defaults)


def manifest(preset: Preset) -> Manifest:
    """Return what the finished model says about itself."""
    chunk, few = preset.diffusion.model.chunk, preset.few_steps
    assert chunk is not None, "a preset's transformer streams"
    return Manifest(
        name=preset.model,
        preset=preset.name,
        summary=preset.summary,
        licence=preset.licence,
        text_encoder=preset.diffusion.text_encoder,
        prediction=preset.diffusion.step.prediction,
        expander=EXPANDER,
        compression=preset.compression,
        chunk=chunk,
        sizes=tuple(dict.fromkeys(preset.world.sizes)),
        fps=preset.world.fps,
        max_seconds=preset.max_seconds,
        enlarge=preset.enlarge,
        max_enlarge=preset.max_enlarge,
        shimmer=preset.shimmer,
        defaults=preset.sampling,
        distilled=few
        and Distilled(steps=few.steps, max_guidance=few.step.max_guidance, guidance=few.guidance),
    )
