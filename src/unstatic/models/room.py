"""How much memory the weights of a model take, said before they are loaded."""

import torch

from unstatic.core.device import available_bytes
from unstatic.core.errors import InputError
from unstatic.core.files import human_size
from unstatic.core.processes import this_process
from unstatic.models.manifest import InstalledModel
from unstatic.models.parts import part_files
from unstatic.models.weights import count_parameters

TEXT_ENCODER = "text_encoder"


def weight_bytes(model: InstalledModel, dtype: torch.dtype) -> dict[str, int]:
    """Return the bytes of every part of a model in a dtype; no number is read."""
    return {part: count_parameters(files) * dtype.itemsize for part, files in part_files(model).items()}


def check_room(model: InstalledModel, device: torch.device, dtype: torch.dtype) -> None:
    """Raise InputError if the weights of a model are more than the memory that is free.

    Everything is read into the computer's memory, all but the text encoder by each of several processes. On
    another device that moves there before the text encoder is read, so here the larger of the two counts.
    """
    parts = weight_bytes(model, dtype)
    text = parts.get(TEXT_ENCODER, 0)
    rest = sum(parts.values()) - text
    every = rest * this_process().local_size
    here = every + text if device.type == "cpu" else max(every, text)
    needs = {torch.device("cpu"): here} | ({device: rest} if device.type != "cpu" else {})
    for place, needed in needs.items():
        free = available_bytes(place)
        if free is not None and needed > free:
            name, kind = model.manifest.name, str(dtype).removeprefix("torch.")
            raise InputError(
                f"the weights of {name} take {human_size(needed)} in {kind} on {place}, and"
                f" {human_size(free)} are free: close other programs, or take a smaller model"
            )
