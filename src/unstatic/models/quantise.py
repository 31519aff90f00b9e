"""Weights in 8 bits: a block's large matrices take half the memory of bfloat16, and a quarter of float32.

Products are computed as before, of weights that torchao multiplies out one matrix at a time; only rounding
is added (`benchmarks/quantised.py` measures it). Every row of a matrix has a scale of its own. Norms, tables,
embeddings and the head stay what they are: they are small, and everything passes through them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.errors import InputError

Kind = Literal["int8", "fp8"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FP8 = torch.float8_e4m3fn
SCALE_BYTES = 4  # of every row


def check_kind(name: str, device: torch.device) -> Kind:
    """Return the kind that is called `name`. Raises InputError if there is none, here or at all."""
    if name == "fp8" and device.type == "mps":
        raise InputError("fp8 does not exist on mps: take --quantise int8")
    for kind in KINDS:
        if name == kind:
            _library()
            return kind
    raise InputError(f"weights cannot be quantised to {name!r}: take {' or '.join(KINDS)}")


@torch.no_grad()
def quantise(block: nn.Module, kind: Kind) -> None:
    """Store the weights of all linear layers of a block in 8 bits, where they are; those that are, stay."""
    library = _library()
    # What `torch.compile` would do with them stays as it is
    config = {"int8": library.Int8WeightOnlyConfig, "fp8": library.Float8WeightOnlyConfig}[kind]
    library.quantize_(block, config(set_inductor_config=False), lambda layer, _: is_plain(layer))


def as_published(
    weight: Float[Tensor, "o i"], scale: Tensor | None, dtype: torch.dtype
) -> Float[Tensor, "o i"]:
    """Take a weight in fp8 as it is, with its scale, of the whole or of every row; it computes as `dtype`."""
    rows = torch.ones(1, 1) if scale is None else scale.float().reshape(-1, 1)
    block_size = [len(weight) // len(rows), weight.shape[1]]
    return _library().Float8Tensor(weight, rows, block_size=block_size, dtype=dtype)


def is_plain(layer: nn.Module) -> bool:
    """Tell whether this is a linear layer whose weights are numbers as they are."""
    return isinstance(layer, nn.Linear) and type(layer.weight) is nn.Parameter


def quantised_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes of a matrix in 8 bits."""
    rows, columns = shape
    return rows * columns + SCALE_BYTES * rows


def _library() -> Any:
    try:
        with _quiet():
            import torchao.quantization as library
    except ImportError:
        raise InputError("--quantise needs the package torchao: pip install 'unstatic[quantise]'") from None
    return library


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torchao from telling, when it is imported, which GPUs its kernels are not for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
