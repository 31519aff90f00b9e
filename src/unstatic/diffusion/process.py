"""The process: how a clean latent becomes static. This file is the only home of the noise convention.

Two views of one thing. `x0` is clean, `eps` is standard normal static, `sigma` in [0, 1] is the noise level:

    straight flow   x   = (1 - sigma) x0 + sigma eps,    velocity dx/dsigma = eps - x0
    Markov chain    x_k = sqrt(alpha_bar_k) x0 + sqrt(1 - alpha_bar_k) eps,    k = 0 (clean) ... K (static)

Both are a signal with noise added, and only the ratio of the two matters: a chain sample is a flow sample of
the same signal-to-noise ratio, rescaled. So sampling happens in one view, the flow, and `flow_view` and
`chain_view` carry models across. All maths here is elementwise: sigma and levels may have any shape that
broadcasts.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from unstatic.core.errors import InputError

Values = Float[Tensor, "..."]  # any shape: the functions below work element by element
Latent = Float[Tensor, "b c t h w"]
Sigma = Float[Tensor, "b 1 t 1 1"]  # one noise level per latent frame, ready to multiply a latent
Prediction = Literal["x0", "velocity", "eps"]


@runtime_checkable
class Predict(Protocol):
    """A denoiser as solvers see it: the expected velocity eps - x0 of `latent` at noise level `sigma`."""

    def __call__(self, latent: Latent, sigma: Sigma, /) -> Latent: ...


def per_frame(sigma: Float[Tensor, "b t"]) -> Sigma:
    """Shape one level per latent frame so that it multiplies a latent."""
    return rearrange(sigma, "b t -> b 1 t 1 1")


def draw_noise(generators: Sequence[torch.Generator], like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Draw standard normal noise in the shape of `like`, one CPU generator per sample.

    Drawn as float32 on the CPU and then converted, so that a seed means the same on every device and a batch
    of 4 equals four batches of 1. Raises InputError unless there is exactly one generator per sample.
    """
    if len(generators) != len(like):
        raise InputError(
            f"{len(generators)} noise generators for a batch of {len(like)}: pass one per sample"
        )
    return torch.stack([torch.randn(like.shape[1:], generator=each) for each in generators]).to(like)


# ------------------------------------------------------------------------------------------- straight flow


def mix(x0: Values, eps: Values, sigma: Values) -> Values:
    """Noise a clean latent to `sigma`: the marginal of the straight flow (2209.03003, 2210.02747)."""
    return (1 - sigma) * x0 + sigma * eps


def half_log_snr(sigma: Values) -> Values:
    """Return log(signal / noise) = log((1 - sigma) / sigma): +inf at 0, -inf at 1."""
    return torch.log1p(-sigma) - torch.log(sigma)


def divide(numerator: Values, denominator: Values, *, otherwise: float) -> Values:
    """Divide, with `otherwise` where the denominator is exactly zero."""
    zero = denominator == 0
    return torch.where(zero, otherwise, numerator / denominator.masked_fill(zero, 1.0))


# --------------------------------------------------------------------------------------------- predictions
#
# What a network outputs, as what is wanted. Any two of x, x0, eps give the rest, except where one of them
# left no trace: eps in a clean x (sigma 0), x0 in static (sigma 1). There it is taken to be 0, its mean:
# latents are normalised.


def to_x0(value: Values, prediction: Prediction, x: Values, sigma: Values) -> Values:
    """Convert a network's output `value` at (x, sigma) to the clean latent x0."""
    match prediction:
        case "x0":
            return value
        case "velocity":
            return x - sigma * value
        case "eps":
            return divide(x - sigma * value, 1 - sigma, otherwise=0.0)


def to_eps(value: Values, prediction: Prediction, x: Values, sigma: Values) -> Values:
    """Convert a network's output `value` at (x, sigma) to the static eps."""
    match prediction:
        case "x0":
            return divide(x - (1 - sigma) * value, sigma, otherwise=0.0)
        case "velocity":
            return x + (1 - sigma) * value
        case "eps":
            return value


def to_velocity(value: Values, prediction: Prediction, x: Values, sigma: Values) -> Values:
    """Convert a network's output `value` at (x, sigma) to the velocity eps - x0."""
    if prediction == "velocity":
        return value
    return to_eps(value, prediction, x, sigma) - to_x0(value, prediction, x, sigma)


# -------------------------------------------------------------------------------------------- Markov chain

Level = int | Int[Tensor, "..."]


class Gaussian(NamedTuple):
    """A normal distribution with independent elements; `variance` broadcasts against `mean`."""

    mean: Values
    variance: Values

    def sample(self, eps: Values) -> Values:
        """Turn standard normal `eps` into a sample."""
        return self.mean + self.variance.sqrt() * eps


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MarkovChain:
    """The chain of DDPM (2006.11239): K steps that each shrink the signal a little and add a little noise.

    `betas[k - 1]` in (0, 1] is the variance that step k adds; float64, on the CPU. Level 0 is clean, level K
    is static. Raises InputError for other betas.
    """

    betas: Float[Tensor, " steps"]

    def __post_init__(self) -> None:
        if not bool(((self.betas > 0) & (self.betas <= 1)).all()):
            raise InputError(f"betas must lie in (0, 1], got {self.betas.min():g} to {self.betas.max():g}")

    @classmethod
    def linear(cls, steps: int = 1000, *, first: float = 1e-4, last: float = 0.02) -> "MarkovChain":
        """Grow beta linearly (2006.11239, section 4). After 1000 steps sigma is 0.9937, not quite 1."""
        return cls(betas=torch.linspace(first, last, steps, dtype=torch.float64))

    @classmethod
    def cosine(cls, steps: int = 1000, *, offset: float = 0.008, largest: float = 0.999) -> "MarkovChain":
        """Let alpha_bar fall like a squared cosine (2102.09672, equation 17)."""
        progress = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        alpha_bars = torch.cos((progress + offset) / (1 + offset) * math.pi / 2).square()
        return cls(betas=_betas(alpha_bars).clamp(max=largest))

    def with_zero_terminal_snr(self) -> "MarkovChain":
        """Shift and scale sqrt(alpha_bar) so that level K is exactly static (2305.08891, algorithm 1)."""
        signal = self.alpha_bars.sqrt()
        first, last = signal[1], signal[-1]
        rescaled = (signal[1:] - last) * first / (first - last)
        return MarkovChain(betas=_betas(torch.cat([signal[:1], rescaled]).square()))

    def strided(self, steps: int) -> "MarkovChain":
        """Keep `steps` evenly spaced levels, K among them: a chain seen less often is again a chain."""
        if not 1 <= steps <= len(self.betas):
            raise InputError(f"a chain of {len(self.betas)} steps has 1 to as many strides, not {steps}")
        kept = torch.linspace(0, len(self.betas), steps + 1, dtype=torch.float64).round().long()
        return MarkovChain(betas=_betas(self.alpha_bars[kept]))

    @property
    def alpha_bars(self) -> Float[Tensor, " levels"]:
        """What is left of the signal's power: the product of (1 - beta_i) for i <= k, for k = 0 ... K."""
        return torch.cat([torch.ones_like(self.betas[:1]), torch.cumprod(1 - self.betas, dim=0)])

    def kernel(self, x_before: Values, level: Level) -> Gaussian:
        """q(x_k | x_{k-1}) = N(sqrt(1 - beta_k) x_{k-1}, beta_k) (2006.11239, equation 2), k = 1 ... K."""
        beta = self.betas[self._index(level, lowest=1) - 1]
        return Gaussian((1 - beta).sqrt().to(x_before) * x_before, beta.to(x_before))

    def marginal(self, x0: Values, level: Level) -> Gaussian:
        """q(x_k | x_0) = N(sqrt(alpha_bar_k) x_0, 1 - alpha_bar_k) (2006.11239, equation 4), k = 0 ... K."""
        alpha_bar = self.alpha_bars[self._index(level, lowest=0)]
        return Gaussian(alpha_bar.sqrt().to(x0) * x0, (1 - alpha_bar).to(x0))

    def posterior(self, x: Values, x0: Values, level: Level) -> Gaussian:
        """q(x_{k-1} | x_k, x_0), by Bayes' rule (2006.11239, equations 6 and 7), k = 1 ... K."""
        index = self._index(level, lowest=1)
        beta, before, here = self.betas[index - 1], self.alpha_bars[index - 1], self.alpha_bars[index]
        x0_share = before.sqrt() * beta / (1 - here)
        x_share = (1 - beta).sqrt() * (1 - before) / (1 - here)
        variance = (1 - before) / (1 - here) * beta
        return Gaussian(x0_share.to(x0) * x0 + x_share.to(x) * x, variance.to(x))

    def dissolve(
        self, x0: Float[Tensor, "b ..."], generators: Sequence[torch.Generator]
    ) -> Iterator[Float[Tensor, "b ..."]]:
        """Walk the chain forward: yield x_1 ... x_K, each drawn from its kernel given the one before."""
        x = x0
        for level in range(1, len(self.betas) + 1):
            x = self.kernel(x, level).sample(draw_noise(generators, x))
            yield x

    @property
    def sigmas(self) -> Float[Tensor, " levels"]:
        """The flow's sigma of equal signal-to-noise ratio, for k = 0 ... K.

        (1 - sigma) / sigma = sqrt(alpha_bar_k) / sqrt(1 - alpha_bar_k).
        """
        signal, noise = self.alpha_bars.sqrt(), (1 - self.alpha_bars).sqrt()
        return noise / (signal + noise)

    def sigma(self, level: Values) -> Values:
        """Return sigma at `level`, which may lie between two levels."""
        return _interpolate(level, self._levels, self.sigmas)

    def level(self, sigma: Values) -> Values:
        """Return the level of `sigma`, the inverse of `MarkovChain.sigma`; K beyond the last level."""
        return _interpolate(sigma, self.sigmas, self._levels)

    @property
    def _levels(self) -> Float[Tensor, " levels"]:
        return torch.arange(len(self.betas) + 1, dtype=torch.float64)

    def _index(self, level: Level, *, lowest: int) -> Int[Tensor, "..."]:
        index = torch.as_tensor(level, device="cpu")
        if int(index.min()) < lowest or int(index.max()) > len(self.betas):
            raise InputError(f"level {level} is outside {lowest} ... {len(self.betas)}")
        return index


def _betas(alpha_bars: Float[Tensor, " levels"]) -> Float[Tensor, " steps"]:
    return 1 - alpha_bars[1:] / alpha_bars[:-1]


def _interpolate(x: Values, xs: Float[Tensor, " points"], ys: Float[Tensor, " points"]) -> Values:
    """Go linearly through (xs, ys), xs ascending, and stay constant beyond the ends; computed in float64."""
    exact = x.to("cpu", torch.float64).contiguous().clamp(xs[0], xs[-1])
    right = torch.searchsorted(xs, exact).clamp(min=1)
    share = (exact - xs[right - 1]) / (xs[right] - xs[right - 1])
    return torch.lerp(ys[right - 1], ys[right], share).to(x)


# ------------------------------------------------------------------------------------ one view as the other


def chain_to_flow(x: Values, sigma: Values) -> Values:
    """Rescale a chain sample, in which signal^2 + noise^2 = 1, to the flow sample of equal SNR."""
    return x * torch.hypot(1 - sigma, sigma)


def flow_to_chain(x: Values, sigma: Values) -> Values:
    """Rescale a flow sample, in which signal + noise = 1, to the chain sample of equal SNR."""
    return x / torch.hypot(1 - sigma, sigma)


@runtime_checkable
class PredictAtLevel(Protocol):
    """A denoiser as the chain sees it: its prediction for x_k, given k as one number per latent frame."""

    def __call__(self, x: Latent, level: Float[Tensor, "b 1 t 1 1"], /) -> Latent: ...


def flow_view(model: PredictAtLevel, chain: MarkovChain, prediction: Literal["x0", "eps"]) -> Predict:
    """Let a model that was trained on the chain sample in the flow. x0 and eps mean the same in both."""

    def predict(latent: Latent, sigma: Sigma) -> Latent:
        value = model(flow_to_chain(latent, sigma), chain.level(sigma))
        return to_velocity(value, prediction, latent, sigma)

    return predict


def chain_view(predict: Predict, chain: MarkovChain, prediction: Literal["x0", "eps"]) -> PredictAtLevel:
    """Let a model that was trained in the flow answer on the chain, with x0 or eps as asked."""
    convert = to_x0 if prediction == "x0" else to_eps

    def model(x: Latent, level: Float[Tensor, "b 1 t 1 1"]) -> Latent:
        sigma = chain.sigma(level)
        latent = chain_to_flow(x, sigma)
        return convert(predict(latent, sigma), "velocity", latent, sigma)

    return model
