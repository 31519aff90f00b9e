import copy

import pytest
import torch
from torch import nn

from unstatic.core.seeds import generator
from unstatic.training.optim import (
    Optimiser,
    OptimiserConfig,
    kernel_weights,
    linear_weights,
    orthogonalise,
)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 48), (2, 48, 16)])
def test_orthogonalise_brings_singular_values_near_one_and_keeps_directions(shape):
    matrices = torch.randn(shape, generator=generator("matrices"))
    result = orthogonalise(matrices, torch.float32)

    singular = torch.linalg.svdvals(result)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)

    assert singular.min() > 0.6
    assert singular.max() < 1.25
    mixed = left.mT @ result @ right.mT
    off_diagonal = mixed - torch.diag_embed(mixed.diagonal(dim1=-2, dim2=-1))
    assert off_diagonal.abs().max() < 1e-3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_matrices_move_as_with_torchs_muon():
    ours = nn.Sequential(nn.Linear(24, 16, bias=False), nn.Linear(16, 40, bias=False))
    theirs = copy.deepcopy(ours)
    config = OptimiserConfig(matrix_learning_rate=0.01, matrix_weight_decay=0.1)
    optimiser = Optimiser(ours, config, linear_weights(ours), torch.bfloat16)
    muon = torch.optim.Muon(
        theirs.parameters(), lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", momentum=0.95
    )

    for step in range(4):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator("gradient", step, *mine.shape))
            other.grad = mine.grad.clone()
        optimiser.step(1.0)
        muon.step()

    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-3)  # bf16 rounds differently when batched


def test_others_move_as_with_torchs_adamw_and_the_scale_multiplies_the_rate():
    ours = nn.Linear(4, 3)
    theirs = copy.deepcopy(ours)
    optimiser = Optimiser(ours, OptimiserConfig(learning_rate=0.02, weight_decay=0.1), [])
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad, other.grad = torch.ones_like(mine), torch.ones_like(other)
        optimiser.step(0.5)
        adamw.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert ours.weight.grad is None


@pytest.mark.parametrize("matrices", [True, False])
def test_descends_on_least_squares(matrices):
    truth = torch.randn(8, 8, generator=generator("truth"))
    inputs = torch.randn(64, 8, generator=generator("inputs"))
    model = nn.Linear(8, 8)
    optimiser = Optimiser(
        model,
        OptimiserConfig(learning_rate=0.1, matrix_learning_rate=0.3, matrix_weight_decay=0.0),
        ["weight"] if matrices else [],
    )

    losses = []
    for step in range(150):
        loss = (model(inputs) - inputs @ truth).square().mean()
        loss.backward()
        optimiser.step(1 - step / 150)
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]


def test_conv_kernels_are_matrices_of_outputs_by_the_rest():
    model = nn.Sequential(nn.Conv3d(2, 4, (1, 3, 3)), nn.Linear(4, 4))
    assert kernel_weights(model) == ["0.weight"]
    assert linear_weights(model, "1") == ["1.weight"]
    before = model[0].weight.detach().clone()

    model[0].weight.data = model[0].weight.data.contiguous(memory_format=torch.channels_last_3d)
    model[0].weight.grad = torch.randn(model[0].weight.shape, generator=generator("kernel"))
    rate = 0.5
    Optimiser(model, OptimiserConfig(matrix_learning_rate=rate), kernel_weights(model)).step(1.0)

    moved = (before * (1 - rate * 0.01) - model[0].weight).flatten(1) / (rate * 0.2 * 18**0.5)
    singular = torch.linalg.svdvals(moved)
    assert singular.min() > 0.6
    assert singular.max() < 1.25


def test_a_parameter_without_gradient_stays_and_state_round_trips():
    def build():
        torch.manual_seed(0)
        model = nn.ModuleDict({"used": nn.Linear(3, 3), "unused": nn.Linear(3, 3)})
        return model, Optimiser(model, OptimiserConfig(), ["used.weight", "unused.weight"])

    def step(model, optimiser, number):
        model["used"](torch.full((1, 3), float(number))).square().sum().backward()
        optimiser.step(1.0)

    straight, optimiser = build()
    for number in range(4):
        step(straight, optimiser, number)

    first, optimiser = build()
    untouched = first["unused"].bias.clone()
    for number in range(2):
        step(first, optimiser, number)
    second, resumed = build()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(optimiser.state_dict())
    for number in range(2, 4):
        step(second, resumed, number)

    assert torch.equal(second["used"].weight, straight["used"].weight)
    assert torch.equal(second["used"].bias, straight["used"].bias)
    assert torch.equal(second["unused"].bias, untouched)
