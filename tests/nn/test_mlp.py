import math

import torch

from unstatic.nn.mlp import MLP, gelu


def test_gelu_is_the_tanh_approximation() -> None:
    x = torch.linspace(-6, 6, 1001)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    assert (gelu(x) - 0.5 * x * (1 + inner.tanh())).abs().max() < 1e-6


def test_in_bfloat16_the_choice_of_gelu_is_lost_in_rounding() -> None:
    x = torch.linspace(-6, 6, 10_001).bfloat16()
    tanh = torch.nn.functional.gelu(x.float(), approximate="tanh")
    exact = torch.nn.functional.gelu(x.float())
    assert (exact - tanh).abs().max() < 5e-4
    rounding = (tanh.bfloat16().float() - tanh).abs().max()
    assert rounding > 5e-3
    assert (gelu(x).float() - tanh).abs().max() < 1.1 * rounding


def test_mlp_maps_between_widths() -> None:
    assert MLP(6, 10, 4)(torch.zeros(2, 3, 6)).shape == (2, 3, 4)
