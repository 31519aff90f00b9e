"""The processes of one run. One process is the degenerate case: rank 0 of 1, and every call still works."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.distributed


@contextmanager
def process_group() -> Generator[None]:
    """Join the processes that torchrun or Ray Train started while the block runs; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def rank() -> int:
    """Return this process's number among `world_size()`; 0 writes files and prints."""
    return torch.distributed.get_rank() if _joined() else 0


def world_size() -> int:
    """Return how many processes work on this run."""
    return torch.distributed.get_world_size() if _joined() else 1


def barrier() -> None:
    """Wait here until every process has arrived."""
    if _joined():
        torch.distributed.barrier()  # pyright: ignore[reportUnknownMemberType]


def _joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
