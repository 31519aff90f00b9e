"""The same predictions through diffusers' schedulers and through ours give the same samples."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from unstatic.core.seeds import generator
from unstatic.diffusion.process import MarkovChain, chain_to_flow, flow_view
from unstatic.diffusion.schedule import from_chain, shifted, wan
from unstatic.diffusion.solver import Ddim, Evaluation, Solver, Step, ancestral, euler, heun, multistep, unipc

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
closely = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
SHAPE = (1, 2, 3, 4, 4)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=generator("parity", seed))


def network(x: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
    """Stand in for any network: smooth, nonlinear, not a good denoiser."""
    return torch.sin(x) + 0.3 * torch.cos(2 * x + noise_level)


def eps_network(x: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
    """Predict eps not so badly that x0 explodes where there is little signal."""
    return x + 0.01 * network(x, noise_level)


def solve(
    predict: Network,
    sigmas: torch.Tensor,
    latent: torch.Tensor,
    solver: Solver,
    draws: torch.Generator | None = None,
) -> torch.Tensor:
    """Walk exactly `sigmas`, which in diffusers need not begin at 1."""
    past: Evaluation | None = None
    for before, after in pairwise(sigmas):
        step = Step(
            latent, before.expand(1, 1, 3, 1, 1), after.expand(1, 1, 3, 1, 1), past, [draws] if draws else []
        )
        latent, past = solver(predict, step)
    return latent


# ---------------------------------------------------------------------------------------------- Markov chain


@pytest.mark.parametrize(
    ("chain", "schedule"),
    [
        (MarkovChain.linear(), {"beta_schedule": "linear"}),
        (MarkovChain.cosine(), {"beta_schedule": "squaredcos_cap_v2"}),
        (MarkovChain.linear().with_zero_terminal_snr(), {"rescale_betas_zero_snr": True}),
    ],
    ids=["linear", "cosine", "zero terminal"],
)
def test_chains_have_the_same_noise(chain: MarkovChain, schedule: dict[str, object]) -> None:
    theirs = DDPMScheduler(1000, **schedule)
    closely(chain.betas.float(), theirs.betas)
    closely(chain.alpha_bars[1:].float(), theirs.alphas_cumprod)
    level = torch.tensor([400])
    closely(chain.marginal(noise(0), 400).sample(noise(1)), theirs.add_noise(noise(0), noise(1), level - 1))


@pytest.mark.parametrize(
    ("prediction", "theirs_calls_it", "model"), [("x0", "sample", network), ("eps", "epsilon", eps_network)]
)
def test_ancestral_is_ddpm(prediction: str, theirs_calls_it: str, model: Network) -> None:
    steps, chain = 20, MarkovChain.linear()
    theirs = DDPMScheduler(
        1000, prediction_type=theirs_calls_it, clip_sample=False, timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    x, draws = noise(0), torch.Generator().manual_seed(0)
    for time in theirs.timesteps:
        value = model(x, (time + 1) / 1000)  # their index 0 is our level 1
        x = theirs.step(value, time, x, generator=draws).prev_sample

    predict = flow_view(lambda x, level: model(x, level / 1000), chain, prediction)
    sigmas = from_chain(chain, steps)
    start = chain_to_flow(noise(0), sigmas[0])
    closely(solve(predict, sigmas, start, ancestral, torch.Generator().manual_seed(0)), x)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_ddim(eta: float) -> None:
    steps, chain = 20, MarkovChain.cosine()
    theirs = DDIMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(steps)
    x, draws = noise(0), torch.Generator().manual_seed(0)
    for time in theirs.timesteps:
        fresh = torch.randn(SHAPE, generator=draws)
        x = theirs.step(
            network(x, (time + 1) / 1000), int(time), x, eta=eta, variance_noise=fresh
        ).prev_sample

    predict = flow_view(lambda x, level: network(x, level / 1000), chain, "x0")
    sigmas = from_chain(chain, steps)
    start = chain_to_flow(noise(0), sigmas[0])
    closely(solve(predict, sigmas, start, Ddim(eta=eta), torch.Generator().manual_seed(0)), x)


# --------------------------------------------------------------------------------------------- straight flow


def run_theirs(scheduler: FlowMatchEulerDiscreteScheduler | FlowMatchHeunDiscreteScheduler) -> torch.Tensor:
    x = noise(0)
    for time in scheduler.timesteps:
        x = scheduler.step(network(x, time / 1000), time, x).prev_sample
    return x


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_is_flow_match_euler(shift: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=[1 - i / 10 for i in range(10)])
    closely(shifted(10, shift), theirs.sigmas)
    ours = solve(network, shifted(10, shift), noise(0), euler)
    closely(ours, run_theirs(theirs))


def test_heun_is_flow_match_heun() -> None:
    theirs = FlowMatchHeunDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(8)
    sigmas = torch.cat([theirs.sigmas[:1], theirs.sigmas[1:-1:2], theirs.sigmas[-1:]])
    ours = solve(network, sigmas, noise(0), heun)
    closely(ours, run_theirs(theirs))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, under numpy 2
@pytest.mark.parametrize("steps", [6, 20])
def test_multistep_is_dpm_solver_multistep(steps: int) -> None:
    theirs = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=2
    )
    theirs.set_timesteps(steps)
    x = noise(0)
    for time, sigma in zip(theirs.timesteps, theirs.sigmas, strict=False):
        x = theirs.step(network(x, sigma), time, x).prev_sample
    closely(solve(network, theirs.sigmas, noise(0), multistep), x)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, under numpy 2
@pytest.mark.parametrize("steps", [1, 2, 3, 6, 20, 50])
@pytest.mark.parametrize("shift", [3.0, 8.0])
def test_unipc_is_unipc_multistep_on_the_schedule_of_wan(steps: int, shift: float) -> None:
    theirs = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2
    )
    theirs.set_timesteps(steps)
    closely(wan(steps, shift), theirs.sigmas)
    x = noise(0)
    for time, sigma in zip(theirs.timesteps, theirs.sigmas, strict=False):
        x = theirs.step(network(x, sigma), time, x).prev_sample
    closely(solve(network, wan(steps, shift), noise(0), unipc), x)
