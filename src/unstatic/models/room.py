"""How much memory the weights of a model take, said before they are loaded."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from unstatic.core.device import available_bytes, compute_dtype, pick_device
from unstatic.core.errors import InputError
from unstatic.core.files import human_size
from unstatic.core.processes import this_process
from unstatic.models.clip import FOLDER as IMAGE_ENCODER
from unstatic.models.fitting import WHOLE, Fit
from unstatic.models.manifest import InstalledModel
from unstatic.models.parts import is_open, part_files
from unstatic.models.quantise import quantised_bytes
from unstatic.models.wan_keys import OURS, is_exact, layout_of, rename_one
from unstatic.models.weight_files import Shapes, shapes

CPU = torch.device("cpu")
TEXT_ENCODER, TRANSFORMERS = "text_encoder", ("transformer", "transformer_2")
BLOCK = re.compile(r"(?:encoder\.block|blocks)\.\d+\.")
AT_ONCE = 3  # blocks that visit, on the CPU: the one that works, the next, and what that is being made of


@dataclass(frozen=True, slots=True)
class Taken:
    """The bytes of a part: of all its blocks, of the largest, and of everything else in it."""

    blocks: int
    largest: int
    rest: int

    @property
    def whole(self) -> int:
        """All bytes."""
        return self.blocks + self.rest

    def visited(self, at_once: int) -> int:
        """Return the bytes that are there if blocks come when it is their turn."""
        return min(self.blocks, at_once * self.largest) + self.rest


def weight_bytes(model: InstalledModel, dtype: torch.dtype, fit: Fit = WHOLE) -> dict[str, int]:
    """Return the bytes of every part of a model that computes in a dtype; no number is read."""
    return {part: each.whole for part, each in _taken(model, dtype, fit).items()}


def needed_bytes(
    model: InstalledModel, device: torch.device, dtype: torch.dtype, fit: Fit = WHOLE
) -> dict[torch.device, int]:
    """Return how much memory weights need at most, on a device and in the computer.

    Blocks are read and moved one at a time by each of several processes. The text encoder is read last, by
    one; where something is done to save memory its blocks come one by one. An image encoder is gone by then.
    """
    parts = _taken(model, dtype, fit)
    text = parts.pop(TEXT_ENCODER, Taken(0, 0, 0))
    image = parts.pop(IMAGE_ENCODER, Taken(0, 0, 0))
    beside = max(image.whole, text.whole if fit == WHOLE else text.visited(AT_ONCE))
    offloaded = [parts.pop(name) for name in TRANSFORMERS if fit.offload and name in parts]
    stay, processes = sum(each.whole for each in parts.values()), this_process().local_size
    if device.type == "cpu":
        return {CPU: processes * (stay + sum(each.visited(AT_ONCE) for each in offloaded)) + beside}
    there = stay + sum(each.visited(2) for each in offloaded)
    passing = sum(each.visited(AT_ONCE) if is_open(model) else each.whole for each in parts.values())
    waiting = sum(each.blocks for each in offloaded)
    return {CPU: processes * waiting + max(processes * passing, beside), device: there}


def check_room(model: InstalledModel, device: torch.device, dtype: torch.dtype, fit: Fit = WHOLE) -> None:
    """Raise InputError, with what would fit, if the weights of a model need more memory than is free."""
    for place, needed in needed_bytes(model, device, dtype, fit).items():
        free = available_bytes(place)
        if free is not None and needed > free:
            name, kind = model.manifest.name, fit.quantise or str(dtype).removeprefix("torch.")
            others = [
                f"{other} ({human_size(found[place])})"
                for other in smaller_fits(model, device)
                if other != fit and _is_room(found := needed_bytes(model, device, dtype, other))
            ]
            raise InputError(
                f"the weights of {name} take {human_size(needed)} in {kind} on {place}, and"
                f" {human_size(free)} are free: close other programs, or take"
                f" {' or '.join(others) or 'a smaller model'}"
            )


def smaller_fits(model: InstalledModel, device: torch.device) -> list[Fit]:
    """Return what can be done for a model to take less memory on a device."""
    if model.manifest.engine != "native":
        return []
    int8, offload = Fit(quantise="int8"), Fit(offload=True)
    if device.type == "cpu":
        return [int8, offload] if is_open(model) else [int8]
    return [int8, offload, Fit(quantise="int8", offload=True)]


def described(model: InstalledModel) -> dict[str, Any]:
    """Return in bytes what a model's parts take on this machine, and what it needs as it is and otherwise."""
    device = pick_device()
    dtype = compute_dtype(device)
    ways = {"as it is": WHOLE} | {str(fit): fit for fit in smaller_fits(model, device)}
    needs = {way: needed_bytes(model, device, dtype, fit) for way, fit in ways.items()}
    return {
        "computes_as": f"{str(dtype).removeprefix('torch.')} on {device}",
        "parts": weight_bytes(model, dtype),
        **{way: {str(place): size for place, size in each.items()} for way, each in needs.items()},
    }


def _is_room(needed: Mapping[torch.device, int]) -> bool:
    free = {place: available_bytes(place) for place in needed}
    return all(there is None or needed[place] <= there for place, there in free.items())


def _taken(model: InstalledModel, dtype: torch.dtype, fit: Fit) -> dict[str, Taken]:
    found: dict[str, Taken] = {}
    for part, files in part_files(model).items():
        published = shapes(files)
        exact = frozenset[str]()
        if part == IMAGE_ENCODER:
            exact = frozenset(published)
        elif part in TRANSFORMERS and is_open(model):
            layout = layout_of(published)
            exact = frozenset(name for name in published if _stays_exact(name, layout))
        found[part] = _taken_by(published, dtype, fit.quantise is not None and part in TRANSFORMERS, exact)
    return found


def _stays_exact(name: str, layout: int) -> bool:
    try:
        return is_exact(rename_one(name, layout, OURS))
    except InputError:  # it is refused when it is loaded
        return False


def _taken_by(published: Shapes, dtype: torch.dtype, quantised: bool, exact: Collection[str]) -> Taken:
    rest, blocks = 0, dict[str, int]()
    for name, shape in published.items():
        plain = torch.Size(shape).numel() * (torch.float32 if name in exact else dtype).itemsize
        if (match := BLOCK.match(name)) is None:
            rest += plain
        else:
            size = quantised_bytes(shape) if quantised and len(shape) == 2 else plain
            blocks[match[0]] = blocks.get(match[0], 0) + size
    return Taken(sum(blocks.values()), max(blocks.values(), default=0), rest)
