"""What processes that work together send each other, through torch.distributed."""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.processes import stop_already

PATIENCE = timedelta(days=1)  # to write a film may take long; a process that ends is noticed at once
PROBLEM_BYTES = 1024


class LostError(UnstaticError):
    """Another process is there no more."""


@contextmanager
def joined(problem: str = "") -> Generator[None]:
    """Meet the other processes and stay with them while the block runs.

    Raises InputError, in all of them, if one has a `problem`.
    """
    both = dist.is_nccl_available() and torch.cuda.is_available()
    with _noticing():
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=PATIENCE)
    try:
        own = torch.tensor(list(problem.encode()[:PROBLEM_BYTES].ljust(PROBLEM_BYTES)), dtype=torch.uint8)
        size = dist.get_world_size()
        for said in exchange([own] * size, [(PROBLEM_BYTES,)] * size):
            if said.ne(ord(" ")).any():
                raise InputError(said.numpy().tobytes().decode(errors="ignore").strip())
        yield
    finally:
        dist.destroy_process_group()


def tell(message: Mapping[str, Tensor]) -> None:
    """Send tensors with their names to all processes, which `listen`; through the computer's memory."""
    own = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in message.items()}
    data = torch.frombuffer(bytearray(save(own)), dtype=torch.uint8)
    with _noticing():
        dist.broadcast(torch.tensor([len(data)]), 0)
        dist.broadcast(data, 0)


def listen() -> dict[str, Tensor]:
    """Wait for what the leader tells. Raises LostError if it is gone."""
    size = torch.zeros(1, dtype=torch.int64)
    with _noticing():
        dist.broadcast(size, 0)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0)
    return load(data.numpy().tobytes())


def exchange(
    parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], group: dist.ProcessGroup | None = None
) -> list[Tensor]:
    """Send one part to every process of a group (all), and return what they send, in these shapes."""
    sent = torch.cat([part.flatten() for part in parts])
    counts = [math.prod(shape) for shape in shapes]
    received = sent.new_empty(sum(counts))
    with _noticing():
        dist.all_to_all_single(  # pyright: ignore[reportUnknownMemberType]
            received, sent, counts, [part.numel() for part in parts], group
        )
    arrived = torch.split(received, counts)
    return [part.view(shape) for part, shape in zip(arrived, shapes, strict=True)]


@contextmanager
def _noticing() -> Generator[None]:
    """Say it in one line if another process has ended."""
    try:
        yield
    except RuntimeError as error:  # every error of torch.distributed is one
        stop_already()
        raise LostError(
            "another of the processes ended, and this one with it: nothing was written"
        ) from error
