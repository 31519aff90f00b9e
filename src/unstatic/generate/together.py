"""Several processes make one film: the first runs the engine, the others do their part of its transformer."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from copy import copy

import torch

from unstatic.core.collectives import LostError, joined
from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.processes import Place
from unstatic.generate.engine import Engine
from unstatic.generate.native import NativeEngine
from unstatic.models.context_parallel import SharedTransformer
from unstatic.models.experts import Experts
from unstatic.models.transformer import VideoTransformer


@contextmanager
def together(engine: Engine, place: Place) -> Generator[Engine]:
    """Lead: yield an engine that the other processes help while the block runs; alone, the engine itself.

    Raises InputError for an engine that cannot be shared, and if another process cannot take part.
    """
    if place.size == 1:
        yield engine
        return
    with joined():
        transformer = SharedTransformer(_transformer(engine), place)
        assert isinstance(engine, NativeEngine), "it has a transformer"
        leading = copy(engine)
        leading.transformer = transformer
        yield leading
        transformer.dismiss()


def follow(load: Callable[[], Engine], place: Place) -> None:
    """Follow: do what the leader calls for until the film is made. Whatever fails here, the leader says."""
    problem, transformer = "", None
    try:
        transformer = _transformer(load())  # nothing else of the engine stays in memory
    except UnstaticError as error:
        problem = f"process {place.rank}: {error}"
    with suppress(InputError, LostError), joined(problem):
        assert transformer is not None, "there was a problem"
        SharedTransformer(transformer, place).follow()


def _transformer(engine: Engine) -> VideoTransformer | Experts:
    if not isinstance(engine, NativeEngine):
        raise InputError(f"{engine.manifest.name} is run by one process only: start it without torchrun")
    assert not isinstance(engine.transformer, SharedTransformer), "it was shared already"
    return engine.transformer


def own_device(device: str | None, place: Place) -> str | None:
    """Return the device of one of several processes: a GPU of its own, or the CPU.

    Raises InputError for other devices.
    """
    if place.size == 1 or device == "cpu" or (device is None and not torch.cuda.is_available()):
        return device
    if device not in (None, "cuda"):
        raise InputError(f"device {device!r} is for one process, and there are {place.size}: say cuda or cpu")
    if place.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(place.local_rank)
    return f"cuda:{place.local_rank}"
