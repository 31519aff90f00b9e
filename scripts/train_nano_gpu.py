"""Train nano's transformer on a large GPU that is lent for minutes: what it learns from lies in its memory.

    python scripts/train_nano_gpu.py latents runs/gpu --part 0/3    # 1/3 and 2/3 beside it
    python scripts/train_nano_gpu.py base runs/gpu --seconds 800
    python scripts/train_nano_gpu.py few runs/gpu --seconds 240

`latents` draws and simulates scenes on all cores, renders and encodes them on the GPU, and may be stopped
after any shard; one process does not fill a GPU. `base` trains the transformer of nano-128 and `few` distills
it: each takes the seconds that it is given, beside those to load the latents, lowers its learning rate
towards their end however fast the machine is, goes on from its newest checkpoint, and writes FOLDER/teacher
or FOLDER/model every minute and a half. Autoencoder and manifest are those of a finished model. Beside clips
of 4 s one shard in eight has livelier ones of 8 s. What `unstatic train` does last is done by
`scripts/train_for_length.py FOLDER/model -o FOLDER/longer`.

`unstatic train nano-128` does the same on any machine, from rendering to a model, but reads what it learns
from off the disk. Further arguments change the preset: `diffusion.model.depth=10`, or, all at once,
`diffusion.text_encoder=minilm+3 diffusion.model.text_width=768`, of `latents` too; its times do not count.
"""

import argparse
import hashlib
import json
import os
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from unstatic.core.threads import quiet_threads

quiet_threads()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from jaxtyping import Float  # noqa: E402
from torch import Tensor  # noqa: E402

from unstatic.core.config import override, to_dict  # noqa: E402
from unstatic.core.device import compute_dtype, pick_device  # noqa: E402
from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.files import atomic_path  # noqa: E402
from unstatic.core.seeds import generator, numpy_generator  # noqa: E402
from unstatic.data.encode import latent_starts  # noqa: E402
from unstatic.data.latents import LatentBatch, Window  # noqa: E402
from unstatic.data.shards import Shard, open_shards, shard_path, write_shard  # noqa: E402
from unstatic.diffusion.distilled import SCALARS  # noqa: E402
from unstatic.models.grow import grow_transformer  # noqa: E402
from unstatic.models.manifest import InstalledModel, find_model, write_manifest  # noqa: E402
from unstatic.models.text import TextEncoder, load_text_encoder  # noqa: E402
from unstatic.models.tiny_autoencoder import TinyAutoencoder  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.presets.nano import preset  # noqa: E402
from unstatic.presets.preset import Preset, WorldRun  # noqa: E402
from unstatic.presets.render import draw_shard, shard_size  # noqa: E402
from unstatic.presets.stages import averaged, encode_scenes, load_autoencoder, load_transformer  # noqa: E402
from unstatic.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint  # noqa: E402
from unstatic.training.diffusion_step import DiffusionStep  # noqa: E402
from unstatic.training.distill_step import DistillStep  # noqa: E402
from unstatic.training.loop import Run, train  # noqa: E402
from unstatic.training.optim import linear_weights  # noqa: E402
from unstatic.training.step import Step  # noqa: E402
from unstatic.world.captions import caption  # noqa: E402
from unstatic.world.scenes import Sample  # noqa: E402
from unstatic.world.spec import SceneSpec, Trajectory  # noqa: E402

Thing = TypeVar("Thing")

LONG_EVERY, LONG_FRAMES, MINUTE_FRAMES = 8, 129, 960
LONG = Window(latent_frames=33, batch_size=88, share=0.1)
SAVE_INTERVAL_S, LOG_STEPS = 90.0, 50


# ---------------------------------------------------------------------------------------------------- latents


def world_of(chosen: Preset, number: int) -> WorldRun:
    """Return the world of a shard: every eighth has longer clips, windows of lively minutes."""
    if number % LONG_EVERY:
        return chosen.world
    return replace(chosen.world, mix="lively", frames=LONG_FRAMES, simulated=MINUTE_FRAMES)


def draw(chosen: Preset, number: int) -> list[Sample]:
    """Draw and simulate the clips of a shard, in a process of its own."""
    return draw_shard(world_of(chosen, number), number, chosen.seed)


def make_latents(
    chosen: Preset, folder: Path, autoencoder: TinyAutoencoder, part: int, parts: int, *, name: str = ""
) -> None:
    """Write the shards `part`, `part` + `parts` and so on that are missing; `name` is the autoencoder's.

    Raises InputError if there are latents of another one.
    """
    about = origin_of(chosen, name)
    if folder.is_dir() and any(folder.glob("latents-*.safetensors")):
        check_origin(open_shards(folder, "latents"), about)
    device = pick_device()
    autoencoder = autoencoder.to(device, compute_dtype(device)).eval()
    text_encoder = load_text_encoder(chosen.diffusion.text_encoder, device=device)
    count = -(-chosen.world.clips // chosen.world.shard_clips)
    missing = [n for n in range(part, count, parts) if not shard_path(folder, "latents", n).is_file()]
    workers = max(1, (os.cpu_count() or 1) // parts)
    began_s, frames = time.monotonic(), 0
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    jobs: deque[Future[list[Sample]]] = deque()
    try:
        for place, number in enumerate(missing):
            ahead = missing[place + len(jobs) : place + 2 * workers]
            jobs.extend(pool.submit(draw, chosen, each) for each in ahead)
            samples = jobs.popleft().result()
            arrays = encode_samples(samples, autoencoder, text_encoder, chosen, number, device)
            lines = [each.spec.to_json() for each in samples]
            write_shard(folder, "latents", number, arrays, lines, about=about)
            frames += sum(len(each.trajectory.positions) for each in samples)
            rate = frames / (time.monotonic() - began_s)
            print(f"shard {number}, {shard_size(chosen.world, number)}: {rate:.0f} frames/s", flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def origin_of(chosen: Preset, name: str) -> dict[str, str]:
    """Return what must be the same of all latents of a folder: who encoded what, in whose words."""
    settings = [chosen.seed, to_dict(replace(chosen.world, clips=0, seconds=0.0)), chosen.diffusion.captions]
    return {
        "encoder": name,
        "text encoder": chosen.diffusion.text_encoder,
        "clips": hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16],
    }


def check_origin(shards: Sequence[Shard], wanted: Mapping[str, str]) -> None:
    """Raise InputError unless all latents are of one origin, which has what is `wanted`."""
    first = shards[0].about
    for shard in shards:
        for what, said in (first | dict(wanted)).items():
            if shard.about.get(what) != said:
                raise InputError(f"{shard.path} is of another {what} ({said}): take another folder")


@torch.inference_mode()
def encode_samples(
    samples: list[Sample],
    autoencoder: TinyAutoencoder,
    text_encoder: TextEncoder,
    chosen: Preset,
    number: int,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Render and encode clips, write captions and encode those too: float16, as latents are stored."""

    def encoded(scenes: list[tuple[SceneSpec, Trajectory]]) -> tuple[np.ndarray, np.ndarray]:
        return encode_scenes(scenes, autoencoder, device, samples=chosen.world.samples)

    latents, objects = encoded([(each.spec, each.trajectory) for each in samples])
    arrays = {"latents": latents, "objects": objects}
    if openings := [(each.spec, each.opening) for each in samples if each.opening]:
        starts = np.array([[each.trajectory.start] for each in samples])
        arrays["openings"], _ = encoded(openings)
        arrays["starts"] = latent_starts(starts, chosen.compression)
    rng = numpy_generator("captions", chosen.seed, number)
    said = [caption(each.spec, rng) for each in samples for _ in range(max(1, chosen.diffusion.captions))]
    states = text_encoder.encode(said).states.unflatten(0, (len(samples), -1))
    return arrays | {"text": states.half().cpu().numpy()}


# --------------------------------------------------------------------------------------------------- training


class Group:
    """All clips of one size and length, on the device."""

    def __init__(self, shards: list[Shard], device: torch.device):
        def load(name: str) -> Tensor:
            entries = [shard.read(name, entry) for shard in shards for entry in range(len(shard))]
            return torch.from_numpy(np.stack(entries)).to(device)

        self.latents, self.objects, self.text = load("latents"), load("objects"), load("text")
        known = all("openings" in shard.shapes for shard in shards)
        self.openings, self.starts = (load("openings"), load("starts")) if known else (None, None)

    def batch(self, window: Window, source: torch.Generator) -> LatentBatch:
        """Return random clips with one of their captions each."""
        rows, which = (
            torch.randint(limit, (window.batch_size,), generator=source).to(self.latents.device)
            for limit in self.text.shape[:2]
        )
        latent = self.latents[rows, : window.latent_frames].float().transpose(1, 2).contiguous()
        return LatentBatch(
            latent=latent,
            text=self.text[rows, which].float(),
            prompts=("",) * len(rows),
            objects=self.objects[rows, : window.latent_frames][:, None],
            opening=None if self.openings is None else self.openings[rows].float().transpose(1, 2),
            ages=None if self.starts is None else self.starts[rows, 0],
        )


class ResidentBatches:
    """Batches by number, as `LatentBatches`, of what lies in the memory of the device."""

    def __init__(self, shards: list[Shard], windows: tuple[Window, ...], device: torch.device, seed: int):
        by_shape: defaultdict[tuple[int, ...], list[Shard]] = defaultdict(list)
        for shard in shards:
            by_shape[shard.shapes["latents"][1:]].append(shard)
        self.groups = [Group(by_shape[shape], device) for shape in sorted(by_shape)]
        longest = max(group.latents.shape[1] for group in self.groups)
        self.windows = [window for window in windows if window.latent_frames <= longest]
        self.seed = seed

    def at(self, index: int) -> LatentBatch:
        """Return batch `index`."""
        source = generator("resident batch", self.seed, index)
        window = pick(self.windows, [each.share for each in self.windows], source)
        fitting = [group for group in self.groups if group.latents.shape[1] >= window.latent_frames]
        return pick(fitting, [float(len(group.latents)) for group in fitting], source).batch(window, source)


def pick(things: list[Thing], weights: list[float], source: torch.Generator) -> Thing:
    """Draw one, in proportion to the weights."""
    return things[int(torch.multinomial(torch.tensor(weights), 1, generator=source))]


def fit_for(
    run: Run,
    step: Step[LatentBatch],
    batches: ResidentBatches,
    folder: Path,
    seconds: float,
    save: Callable[[], object],
) -> None:
    """Train for `seconds`, those before an interruption counted in, whatever the speed.

    After every step the run is told how long it is at the pace so far, so that all that depends on its
    progress, the learning rate above all, follows the clock on the wall.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before_s = resume(folder, run)
    if before_s:
        set_length(run, before_s / seconds)
    began_s = saved_s = time.monotonic()
    spent_s = before_s
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics_file:
        for metrics in train(run, step, batches):
            now_s = time.monotonic()
            spent_s = before_s + now_s - began_s
            set_length(run, spent_s / seconds)
            if metrics.steps % LOG_STEPS == 0:
                told = {"seconds": round(spent_s, 1), "samples": metrics.samples, "loss": metrics.loss}
                line = json.dumps(told | {"scale": metrics.scale, **metrics.values})
                metrics_file.write(f"{line}\n")
                metrics_file.flush()
                print(line, flush=True)
            if now_s - saved_s > SAVE_INTERVAL_S:
                saved_s = now_s
                keep(folder, run, spent_s)
                save()
    keep(folder, run, spent_s)
    save()


def set_length(run: Run, share: float) -> None:
    """Make the run as long as it would be if this share of it were done; from 1 on it is at its end."""
    seen = run.clock.samples
    run.config = replace(run.config, samples=seen if share >= 1 else max(seen + 1, round(seen / share)))


def keep(folder: Path, run: Run, spent_s: float) -> None:
    """Write a checkpoint, and how many seconds it took to come there."""
    save_checkpoint(folder, run)
    with atomic_path(folder / "pace.json") as temporary:
        temporary.write_text(json.dumps({"samples": run.clock.samples, "seconds": spent_s}), encoding="utf-8")


def resume(folder: Path, run: Run) -> float:
    """Go on from the newest checkpoint, if there is one, and return how many seconds it took so far."""
    for newest in checkpoints(folder)[-1:]:
        load_checkpoint(newest, run)
    path = folder / "pace.json"
    if not run.clock.samples or not path.is_file():
        return 0.0
    pace = json.loads(path.read_text(encoding="utf-8"))
    # Killed between the two files, the checkpoint is the newer one
    return pace["seconds"] * run.clock.samples / pace["samples"]


def train_base(chosen: Preset, folder: Path, seconds: float, start: str | None) -> None:
    """Train the transformer, from its first weights or from those of the model `start`."""
    device, settings = pick_device(), chosen.diffusion
    model = VideoTransformer(settings.model, generator=generator("transformer", chosen.seed))
    if start:
        grow_transformer(model, load_transformer(find_model(start).weights("transformer")))
    run = Run(model, settings.training, matrices=linear_weights(model, "blocks."), device=device)
    batches = resident(folder, (*settings.windows, LONG), device, chosen)
    step = DiffusionStep(
        model=model, config=settings.step, empty_text=no_text(chosen, device), progress=run.progress
    )
    fit_for(run, step, batches, folder / "base", seconds, partial(write, folder / "teacher", run))


def train_few(chosen: Preset, folder: Path, seconds: float) -> None:
    """Distill FOLDER/teacher into FOLDER/model."""
    device, settings = pick_device(), chosen.few_steps
    assert settings is not None, "the preset has no few steps"
    teacher = load_transformer(folder / "teacher" / "transformer.safetensors")
    config = replace(teacher.config, scalars=("sigma", *SCALARS))
    student = VideoTransformer(config, generator=generator("student", chosen.seed))
    grow_transformer(student, teacher)
    teacher = teacher.to(device, compute_dtype(device)).eval()
    run = Run(student, settings.training, matrices=linear_weights(student, "blocks."), device=device)
    batches = resident(folder, (*settings.windows, replace(LONG, batch_size=48)), device, chosen)
    plain = DiffusionStep(
        model=student, config=chosen.diffusion.step, empty_text=no_text(chosen, device), progress=run.progress
    )
    step = DistillStep(teacher=teacher, plain=plain, config=settings.step, shift=chosen.sampling.shift)
    fit_for(run, step, batches, folder / "few", seconds, partial(write, folder / "model", run))


def resident(
    folder: Path, windows: tuple[Window, ...], device: torch.device, chosen: Preset
) -> ResidentBatches:
    """Load all latents into the memory of the device. Raises InputError if they are not of one origin."""
    shards = open_shards(folder / "latents", "latents")
    check_origin(shards, {"text encoder": chosen.diffusion.text_encoder})
    return ResidentBatches(shards, windows, device, chosen.seed)


def no_text(chosen: Preset, device: torch.device) -> Float[Tensor, "s e"]:
    """Return the token states of the empty prompt."""
    return load_text_encoder(chosen.diffusion.text_encoder, device=device).encode([""]).states[0]


def write(folder: Path, run: Run) -> None:
    """Write the averaged weights."""
    folder.mkdir(exist_ok=True)
    assert isinstance(run.model, VideoTransformer)
    config = run.model.config
    save_model(
        folder / "transformer.safetensors", averaged(run, VideoTransformer(config)), config, "transformer"
    )


def finish(chosen: Preset, whole: InstalledModel, folder: Path) -> None:
    """Put beside a transformer what else a model is made of: the autoencoder and what it says of itself."""
    shutil.copy(whole.weights("autoencoder"), folder)
    write_manifest(folder, replace(whole.manifest, text_encoder=chosen.diffusion.text_encoder))


def main() -> None:
    """Do the part of the work that is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", choices=("latents", "base", "few"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", type=part_of, default=(0, 1), help="which shards, of how many parts: 0/3")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to train")
    parser.add_argument("--autoencoder", default="nano", help="the model whose autoencoder it is")
    parser.add_argument("--start", help="a model of the same shapes whose transformer is trained on")
    options, settings = parser.parse_known_args()
    chosen = override(preset("nano-128"), settings)
    chosen.diffusion.check_text()
    whole = find_model(options.autoencoder)
    path = whole.weights("autoencoder")
    if options.work == "latents":
        latents = options.folder / "latents"
        make_latents(chosen, latents, load_autoencoder(path), *options.part, name=digest_of(path))
    elif options.work == "base":
        train_base(chosen, options.folder, options.seconds, options.start)
    else:
        train_few(chosen, options.folder, options.seconds)
        finish(chosen, whole, options.folder / "model")


def part_of(text: str) -> tuple[int, int]:
    """Read "0/3"."""
    part, parts = map(int, text.split("/"))
    if not 0 <= part < parts:
        raise ValueError(f"there is no part {text}")
    return part, parts


def digest_of(path: Path) -> str:
    """Tell the file of an autoencoder from others."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    main()
