import math
from functools import partial
from pathlib import Path

import pytest
import torch
from solver_orders import IdealDenoiser, convergence_order, even_in_log_snr, main, weak_order

from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.process import to_x0
from unstatic.diffusion.sampling import sample_to_end
from unstatic.diffusion.schedule import linear
from unstatic.diffusion.solver import SOLVERS, Ddim, Solver, adams, euler, heun, multistep

closely = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
DOCUMENT = Path(__file__).parents[2] / "docs" / "explanation" / "process.md"


def latent(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, 1, -1)


def points(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)


# -------------------------------------------------------------------------------------------------- the ideal


@pytest.mark.parametrize("spread", [0.0, 0.4])
@pytest.mark.parametrize("sigma", [0.2, 0.7, 1.0])
def test_it_is_the_posterior_mean(spread: float, sigma: float) -> None:
    data, x = [-1.0, 0.3, 1.4], 0.55
    if spread == 0:
        candidates, weights = torch.tensor(data, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    else:  # the same integral by brute force, on a fine grid of x0
        candidates = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
        weights = sum(torch.exp(-((candidates - point) ** 2) / (2 * spread**2)) for point in data)
    weights = weights * torch.exp(-((x - (1 - sigma) * candidates) ** 2) / (2 * sigma**2))
    expected = (weights * candidates).sum() / weights.sum()

    velocity = IdealDenoiser(points=points(*data), spread=spread)(latent(x), latent(sigma))
    closely(to_x0(velocity, "velocity", latent(x), latent(sigma)), expected.reshape(1, 1, 1, 1, 1), rtol=1e-7)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 0.99])
def test_the_path_solves_its_equation(sigma: float) -> None:
    ideal, level = IdealDenoiser(points=latent(0.3), spread=0.5), latent(sigma).requires_grad_()
    here = ideal.trajectory(latent(1.1), level)
    (slope,) = torch.autograd.grad(here.sum(), level)
    closely(ideal(here, level), slope)


def test_clean_frames_are_finite_and_decide_which_point_it_is() -> None:
    pair = torch.tensor([[0.0, 0.0], [1.0, 5.0]], dtype=torch.float64).reshape(2, 1, 2, 1, 1)
    x = torch.tensor([1.0, 0.2], dtype=torch.float64).reshape(1, 1, 2, 1, 1)
    sigma = torch.tensor([0.0, 0.9], dtype=torch.float64).reshape(1, 1, 2, 1, 1)
    x0 = to_x0(IdealDenoiser(points=pair)(x, sigma), "velocity", x, sigma)
    closely(x0, pair[1:])


# ------------------------------------------------------------------------------------------------- the orders

ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "adams": 2, "multistep": 2, "unipc": 3}


@pytest.mark.parametrize("name", ORDERS)
def test_order_away_from_the_ends(name: str) -> None:
    assert convergence_order(SOLVERS[name], even_in_log_snr, 128) == pytest.approx(ORDERS[name], abs=0.01)


@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "adams"])
def test_order_from_static_to_clean(name: str) -> None:
    assert convergence_order(SOLVERS[name], linear, 128) == pytest.approx(ORDERS[name], abs=0.025)


def test_multistep_loses_some_of_its_order_at_the_ends() -> None:
    """Its steps next to sigma 1 and 0 stay long in log-SNR: steps^-2 log(steps) instead of steps^-2."""
    assert 1.7 < convergence_order(multistep, linear, 128) < 1.9


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_stochastic_solvers_have_weak_order_1(eta: float) -> None:
    assert weak_order(Ddim(eta=eta), linear, 128) == pytest.approx(1, abs=0.06)


def test_weak_order_of_a_deterministic_solver_is_its_order() -> None:
    assert weak_order(euler, linear, 128) == pytest.approx(1, abs=0.02)
    assert weak_order(heun, linear, 128) == pytest.approx(2, abs=0.02)


def test_orders_hold_when_the_data_have_several_modes() -> None:
    ideal = IdealDenoiser(points=points(-1.0, 0.3, 1.4), spread=0.3)
    noise = torch.linspace(-2, 2, 7, dtype=torch.float64).reshape(7, 1, 1, 1, 1)

    def solve(solver: Solver, steps: int) -> torch.Tensor:
        return sample_to_end(LatentState.static(noise), linear(steps), ideal, solver).latent

    reference = solve(heun, 1000)
    for solver, order in [(euler, 1), (heun, 2), (adams, 2)]:
        coarse, fine = (float((solve(solver, steps) - reference).abs().max()) for steps in (50, 100))
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.08)


def test_the_documented_orders_are_the_measured_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["solver_orders.py"])
    main()
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == len(SOLVERS)
    assert printed in DOCUMENT.read_text(encoding="utf-8")
