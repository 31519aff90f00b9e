"""The bridge: any text-to-video pipeline of diffusers, behind our protocol.

A pipeline is a call that returns when all is done. It runs in a thread of its own, and tells every step
through its callback, or through its scheduler where it has none; when nobody wants the film any more, the
next step ends it. What no pipeline can do is refused when a film is planned (`request.py`).
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from unstatic.core.device import pick_device
from unstatic.core.errors import InputError, UnstaticError
from unstatic.generate.engine import Event, Frames, Progress, UnknownArgumentError
from unstatic.generate.request import Plan
from unstatic.models.bridged import FRAME_COUNTS, pipeline_class
from unstatic.models.manifest import INDEX_NAME, InstalledModel, Manifest
from unstatic.models.open_manifest import read_json
from unstatic.models.room import check_room

Told = Callable[[], object]
VOCABULARIES = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.json", "vocab.txt")


class UnwantedError(Exception):
    """Raised inside a pipeline to leave it."""


class DiffusersEngine:
    """A pipeline of diffusers, loaded and ready; made by `load_bridged`."""

    def __init__(self, manifest: Manifest, pipeline: Any, device: torch.device) -> None:
        self.manifest = manifest
        self.pipeline = pipeline
        self.device = device

    def stream(self, plan: Plan, *, previews_per_s: float | int = 0) -> Iterator[Event]:
        """Yield progress after every step, and all frames at the end; there are no previews."""
        del previews_per_s
        events: Queue[Event | BaseException | None] = Queue()
        steps, wanted = 0, True

        def step_taken() -> None:
            nonlocal steps
            if not wanted:
                raise UnwantedError
            steps = min(steps + 1, plan.steps)
            events.put(Progress(steps, plan.steps))

        def run() -> None:
            try:
                events.put(Frames(0, self._film(plan, step_taken)))
                events.put(None)
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
                events.put(error)

        thread = Thread(target=run, daemon=True)
        thread.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise _said(event, self.manifest) from event
                yield event
        finally:
            wanted = False
            thread.join()

    def _film(self, plan: Plan, step_taken: Told) -> UInt8[np.ndarray, "t h w 3"]:
        """Call the pipeline, and cut what it returns to what is shown."""
        asked = arguments(plan, self.manifest, inspect.signature(self.pipeline.__call__).parameters)
        with torch.inference_mode(), telling(self.pipeline, asked, step_taken):
            found = self.pipeline(**asked).frames
        return shown(found, plan)


def load_bridged(
    model: InstalledModel, *, device: str | None = None, dtype: torch.dtype | None = None
) -> DiffusersEngine:
    """Load a pipeline from its folder. Raises InputError for missing, damaged or foreign files."""
    target = pick_device(device)
    check_tokenizers(model.folder)
    kind = pipeline_class(read_json(model.folder / INDEX_NAME)["_class_name"])
    precision = dtype or (torch.bfloat16 if target.type == "cuda" else torch.float32)
    check_room(model, target, precision)
    try:
        pipeline = kind.from_pretrained(
            model.folder, dtype=precision, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, ImportError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{model.folder} cannot be loaded by diffusers ({reason}): pull it again") from None
    try:
        pipeline.to(target)
    except torch.OutOfMemoryError:
        raise InputError(
            f"{model.manifest.name} does not fit into the memory of {target}: close other programs, or take a"
            " smaller model or --device cpu"
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersEngine(model.manifest, pipeline, target)


def check_tokenizers(folder: Path) -> None:
    """Raise InputError for a tokenizer without words: transformers would make an empty one of it."""
    for tokenizer in sorted(each for each in folder.glob("tokenizer*") if each.is_dir()):
        if not any((tokenizer / name).is_file() for name in VOCABULARIES):
            raise InputError(f"{tokenizer} has none of {', '.join(VOCABULARIES)}: pull the model again")


def arguments(plan: Plan, manifest: Manifest, known: Any) -> dict[str, Any]:
    """Return a plan as the arguments of a pipeline's call. Raises UnknownArgumentError for one it lacks."""
    frames = manifest.compression.frames_covering(plan.made)
    asked: dict[str, Any] = {
        "prompt": plan.text,
        "width": plan.native.width,
        "height": plan.native.height,
        "num_inference_steps": plan.steps,
        "guidance_scale": float(plan.guidance),
        "frame_rate": manifest.fps,
        "generator": torch.Generator().manual_seed(plan.seed),
        "output_type": "np",
        **dict.fromkeys(FRAME_COUNTS, frames),
    }
    if plan.negative:
        if "negative_prompt" not in known:
            raise UnknownArgumentError(f"{manifest.name} knows no negative prompt: leave it out")
        asked["negative_prompt"] = plan.negative
        asked["true_cfg_scale"] = float(plan.guidance)  # the real one, where guidance is distilled
    for name, picture in (("image", plan.image), ("last_image", plan.last_image)):
        if picture is not None:
            if name not in known:
                what = name.replace("_", " ")
                raise UnknownArgumentError(f"{manifest.name} takes no {what}: leave it out")
            asked[name] = Image.fromarray(picture)
    return {name: value for name, value in asked.items() if name in known}


@contextmanager
def telling(pipeline: Any, asked: dict[str, Any], step_taken: Told) -> Iterator[None]:
    """Let a pipeline tell its steps: by its callback, or where it has none by its scheduler."""
    if "callback_on_step_end" in inspect.signature(pipeline.__call__).parameters:

        def told(_: Any, __: int, ___: Any, kept: dict[str, Any]) -> dict[str, Any]:
            step_taken()
            return kept

        asked["callback_on_step_end"] = told
        yield
        return
    plain = pipeline.scheduler.step

    @wraps(plain)  # pipelines look at its signature to know what it takes
    def step(*values: Any, **options: Any) -> Any:
        result = plain(*values, **options)
        step_taken()
        return result

    pipeline.scheduler.step = step
    try:
        yield
    finally:
        pipeline.scheduler.step = plain


def shown(found: Any, plan: Plan) -> UInt8[np.ndarray, "t h w 3"]:
    """Return what is shown of the one film that a pipeline returned, in whatever form."""
    film = found[0]
    if isinstance(film, torch.Tensor):
        film = film.float().cpu().numpy()
    frames = np.asarray(film)
    if frames.dtype != np.uint8:
        frames = (frames.clip(0, 1) * 255).round().astype(np.uint8)
    if frames.ndim == 4 and frames.shape[1] == 3 != frames.shape[-1]:
        frames = frames.transpose(0, 2, 3, 1)
    if len(frames) < plan.frames:  # a pipeline may round down
        frames = np.concatenate([frames, frames[-1:].repeat(plan.frames - len(frames), 0)])
    return frames[: plan.frames]


def _said(error: BaseException, manifest: Manifest) -> BaseException:
    """Return what is raised for what a pipeline raised."""
    if isinstance(error, UnstaticError | KeyboardInterrupt | MemoryError):
        return error
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UnstaticError(f"{manifest.name} failed inside diffusers: {reason}")
