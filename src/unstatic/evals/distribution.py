"""How far a set of clips is from a set of real ones, by the features of their clips: FVD and KVD.

Both compare distributions, so neither tells which clip is bad. FVD falls as sets grow, by itself: compare
only sets of the same size, and beside what two sets of real renders have. KVD does not depend on the size,
but its sets must be independent: for clips and reconstructions of the same clips it falls far below zero.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "n d"]
Others = Float[np.ndarray, "m d"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionResult:
    """Distances between sets of real and of made clips.

    `kernel` may be slightly negative for like sets; it is None for sets that depend on each other.
    """

    frechet: float
    kernel: float | None
    real: int
    made: int

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return asdict(self)


def measure_distribution(real: Features, made: Others, *, independent: bool = True) -> DistributionResult:
    """Compare the features of real and of made clips; copies of the real ones are not `independent`."""
    return DistributionResult(
        frechet=frechet_distance(real, made),
        kernel=kernel_distance(real, made) if independent else None,
        real=len(real),
        made=len(made),
    )


def frechet_distance(first: Features, second: Others) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two sets of two or more features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau, 1982, eq. 4), covariances over n - 1. With
    C1 = A'A and C2 = B'B the last trace is the sum of the singular values of A B': no matrix root is needed,
    and fewer clips than features are no special case.
    """
    one, other = _spread(first), _spread(second)
    distance = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.sum(one**2) + np.sum(other**2)
    roots = np.linalg.svd(one @ other.T, compute_uv=False)
    return max(0.0, float(distance - 2 * roots.sum()))


def kernel_distance(first: Features, second: Others) -> float:
    """Return the squared maximum mean discrepancy with the kernel (x'y / d + 1)^3, without bias.

    KVD of Unterthiner et al., 2018, 1812.01717; the estimator is the unbiased one of Gretton et al., 2012,
    JMLR 13, lemma 6. Two or more features a set, independent of each other.
    """
    within = (_mean_off_diagonal(_kernel(features, features)) for features in (first, second))
    return float(sum(within) - 2 * _kernel(first, second).mean())


def _spread(features: Features) -> Float[np.ndarray, "k d"]:
    """Return a matrix A of at most d rows with A'A the covariance of features."""
    assert len(features) > 1, "a single clip has no covariance"
    centred = (features - features.mean(0)) / math.sqrt(len(features) - 1)
    return centred if len(features) <= features.shape[1] else np.linalg.qr(centred).R


def _kernel(first: Features, second: Others) -> Float[np.ndarray, "n m"]:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _mean_off_diagonal(square: Float[np.ndarray, "n n"]) -> float:
    count = len(square)
    return float(square.sum() - np.trace(square)) / (count * (count - 1))
