"""Randomness as an argument: generators made from names and numbers, the same on every machine.

The noise of a sample is drawn on the CPU, one generator each, so that a seed means the same video on every
device and a batch of 4 equals four batches of 1.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def stable_seed(*parts: int | str) -> int:
    """Hash `parts` to an integer in [0, 2**63), the same in every run; 1 and "1" differ."""
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator whose stream is decided by `parts` alone, for example ("noise", seed, step)."""
    return torch.Generator(device="cpu").manual_seed(stable_seed(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """Return a numpy generator whose stream is decided by `parts` alone."""
    return np.random.default_rng(stable_seed(*parts))


def normal_like(like: Float[Tensor, "*n"], source: torch.Generator) -> Float[Tensor, "*n"]:
    """Draw normal noise on the device of `like`: on a GPU with a generator there, seeded from `source`."""
    if like.device.type == "cpu":
        return torch.randn(like.shape, generator=source)
    there = torch.Generator(like.device).manual_seed(int(torch.randint(2**62, (), generator=source)))
    return torch.randn(like.shape, generator=there, device=like.device)


def noise(shape: Sequence[int], seeds: Sequence[int], *, stream: str) -> Float[Tensor, "b ..."]:
    """Draw standard normal noise of `shape` (one sample, without batch) for each seed; float32 on the CPU.

    `stream` names what the noise is for, so that two uses of one seed do not share numbers.
    """
    return torch.stack([torch.randn(tuple(shape), generator=generator(stream, seed)) for seed in seeds])
