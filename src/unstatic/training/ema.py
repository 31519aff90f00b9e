"""Exponential moving averages of the weights, with half-lives in samples seen."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def ema_decay(batch: int, seen: int, half_life: float, ramp_up: float) -> float:
    """Return the factor that the old average keeps when `batch` samples were just trained on.

    decay = 0.5 ** (batch / half-life), where the half-life is at most `ramp_up` times the samples `seen` so
    far, lest the random first weights linger (Karras et al., EDM2, 2312.02696, and its reference code).
    """
    return 0.5 ** (batch / max(min(half_life, ramp_up * seen), 1e-8))


class Average:
    """A running average of a model's trainable parameters in fp32.

    `half_life` is in samples: a decay of 0.999 a step at 16 samples a step is a half-life of 11,085 samples.
    """

    def __init__(self, model: nn.Module, half_life: float, ramp_up: float = 0.05):
        self.half_life = half_life
        self.ramp_up = ramp_up
        self.weights = {
            name: parameter.detach().clone().float()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module, *, batch: int, seen: int) -> None:
        """Move the average towards the weights of `model`; `seen` counts all samples, this batch included."""
        weight = 1 - ema_decay(batch, seen, self.half_life, self.ramp_up)
        parameters = dict(model.named_parameters())
        for name, average in self.weights.items():
            average.lerp_(parameters[name].float(), weight)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the trainable parameters of `model` with the average."""
        parameters = dict(model.named_parameters())
        for name, average in self.weights.items():
            parameters[name].copy_(average)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights by parameter name."""
        return dict(self.weights)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; names and shapes must match exactly."""
        assert state.keys() == self.weights.keys(), sorted(state.keys() ^ self.weights.keys())
        for name, average in self.weights.items():
            average.copy_(state[name])
