"""Padding of a text as few tokens that count for many.

Wan reads 512 token states, zeros after the last word, and they are not masked: every padding token has the
same key and value, so any number of them is one with log(number) added to its scores. Of a sentence of twenty
tokens that leaves twenty-one to compute and to read.
"""

import torch
from jaxtyping import Float
from torch import Tensor

LONG = 256  # tokens from which folding pays
COPIES = 32


def fold_padding(
    states: Float[Tensor, "b s e"], dtype: torch.dtype
) -> tuple[Float[Tensor, "b n e"], Float[Tensor, "b n"] | None]:
    """Return fewer states, and what is added to the scores of each, in `dtype`; None if nothing is folded.

    In a dtype that cannot hold the logarithm well, more copies of the padding stay: as many, up to `COPIES`,
    as make its weight come out best.
    """
    count = states.shape[1]
    if count < LONG:
        return states, None
    lengths = [int(row.nonzero().max()) + 1 if bool(row.any()) else 0 for row in states.any(-1)]
    longest = max(lengths)
    if count - longest <= COPIES:
        return states, None

    def biases(copies: int) -> list[float]:
        """Return the bias of the padding of each text."""
        values = [(count - each) / (longest + copies - each) for each in lengths]
        return torch.tensor(values, dtype=torch.float64).log().to(dtype).double().tolist()

    def error(copies: int) -> float:
        """Return how wrong the weight of the padding comes out, at worst."""
        parts = zip(lengths, torch.tensor(biases(copies), dtype=torch.float64).exp().tolist(), strict=True)
        return max(abs((longest + copies - each) * weight / (count - each) - 1) for each, weight in parts)

    few = min(range(1, COPIES + 1), key=error) if dtype.itemsize < 4 else 1
    bias = torch.zeros(len(states), longest + few, dtype=dtype, device=states.device)
    for row, length, value in zip(bias, lengths, biases(few), strict=True):
        row[length:] = value
    return states[:, : longest + few], bias
