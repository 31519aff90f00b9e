"""Muon for the matrices inside the network, AdamW for everything else, behind one object.

torch.optim.Muon computes the same update, but always in bfloat16: on two CPU cores without bf16 instructions
a step for 8 blocks of width 256 takes 16.4 s there and 0.35 s here, in fp32; with them 0.21 s and 0.17 s. It
serves as the oracle in the tests.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """Learning rates at their plateau and the usual constants; betas and decay as in common use."""

    learning_rate: float = 4e-4
    matrix_learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95
    weight_decay: float = 0.0
    matrix_weight_decay: float = 0.01


# What AdamW keeps per parameter, beside its step
MOMENTS = ("exp_avg", "exp_avg_sq")

# The quintic that drives singular values to about 1 in five steps, from Keller Jordan's post on Muon.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(
    matrices: Float[Tensor, "m rows columns"], dtype: torch.dtype
) -> Float[Tensor, "m rows columns"]:
    """Replace the singular values of each matrix by values near 1 (0.7 to 1.2) with five Newton-Schulz steps.

    X <- a X + (b A + c A^2) X with A = X X^T, on the smaller side, computed and returned in `dtype`.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def linear_weights(model: nn.Module, within: str = "") -> list[str]:
    """Name the weight matrices of all `nn.Linear` whose name starts with `within`, for example "blocks."."""
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(within) and module.weight.requires_grad
    ]


def kernel_weights(model: nn.Module, within: str = "") -> list[str]:
    """Name the kernels of all convolutions whose name starts with `within`; Muon sees out x (in ...)."""
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and name.startswith(within)
        and module.weight.requires_grad
    ]


class Optimiser:
    """Update the parameters named in `matrices` with Muon and all others with AdamW.

    The Muon update is scaled by 0.2 sqrt(max(rows, columns)) so that its root mean square is AdamW's (Liu et
    al., 2502.16982): learning rates of both are comparable. The orthogonalisation computes in `dtype`.
    """

    def __init__(
        self,
        model: nn.Module,
        config: OptimiserConfig,
        matrices: Collection[str],
        dtype: torch.dtype = torch.float32,
    ):
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert set(matrices) <= parameters.keys(), sorted(set(matrices) - parameters.keys())
        self.config = config
        self.dtype = dtype
        self.matrices = {name: p for name, p in parameters.items() if name in set(matrices)}
        self.others = {name: p for name, p in parameters.items() if name not in set(matrices)}

        self.momenta = {name: torch.zeros_like(p.flatten(1)) for name, p in self.matrices.items()}
        # An empty AdamW is an error in torch; a network of matrices only has none.
        self.adamw = _adamw(list(self.others.values()), config) if self.others else None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every parameter this optimiser moves."""
        return [*self.matrices.values(), *self.others.values()]

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients with the configured learning rates times `scale`, then forget the gradients."""
        if self.adamw is not None:
            for group in self.adamw.param_groups:
                group["lr"] = self.config.learning_rate * scale
            self.adamw.step()
        self._step_matrices(self.config.matrix_learning_rate * scale)
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Drop the gradients, as after a step that must not count."""
        for parameter in self.parameters:
            parameter.grad = None

    def _step_matrices(self, rate: float) -> None:
        by_shape: defaultdict[torch.Size, list[str]] = defaultdict(list)
        for name, parameter in self.matrices.items():
            if parameter.grad is not None:
                by_shape[self.momenta[name].shape].append(name)

        for shape, names in by_shape.items():
            updates = torch.stack([self._nesterov(name) for name in names])
            directions = orthogonalise(updates, self.dtype).to(updates.dtype)
            step_size = rate * 0.2 * math.sqrt(max(shape))
            for name, direction in zip(names, directions, strict=True):
                parameter = self.matrices[name]
                parameter.mul_(1 - rate * self.config.matrix_weight_decay)
                parameter.sub_(direction.reshape(parameter.shape), alpha=step_size)

    def _nesterov(self, name: str) -> Float[Tensor, "rows columns"]:
        gradient = self.matrices[name].grad
        assert gradient is not None
        gradient = gradient.flatten(1)
        momentum = self.momenta[name].lerp_(gradient, 1 - self.config.momentum)
        return gradient.lerp(momentum, self.config.momentum)

    def state_dict(self) -> dict[str, Tensor]:
        """Return momenta and moments as `momentum.NAME`, `exp_avg.NAME`, `exp_avg_sq.NAME`, `step.NAME`."""
        state = {f"momentum.{name}": momentum for name, momentum in self.momenta.items()}
        for name, parameter in self.others.items():
            assert self.adamw is not None
            for key, value in self.adamw.state[parameter].items():
                state[f"{key}.{name}"] = value
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; a parameter that never had a gradient has no moments."""
        for name, momentum in self.momenta.items():
            momentum.copy_(state[f"momentum.{name}"])
        for name, parameter in self.others.items():
            assert self.adamw is not None
            if f"step.{name}" in state:
                moments = {key: torch.empty_like(parameter).copy_(state[f"{key}.{name}"]) for key in MOMENTS}
                self.adamw.state[parameter] = {"step": state[f"step.{name}"].clone(), **moments}


def _adamw(parameters: list[nn.Parameter], config: OptimiserConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
