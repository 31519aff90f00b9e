import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstatic.core.errors import InputError
from unstatic.diffusion.process import MarkovChain, half_log_snr
from unstatic.diffusion.schedule import (
    Schedule,
    cosine,
    from_chain,
    karras,
    linear,
    listed,
    log_snr,
    shifted,
    wan,
)

closely = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)

SCHEDULES = {
    "linear": linear,
    "shifted": partial(shifted, shift=5.0),
    "cosine": cosine,
    "karras": karras,
    "log_snr": log_snr,
    "zero terminal chain": partial(from_chain, MarkovChain.linear().with_zero_terminal_snr()),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


@every_schedule
@settings(deadline=None, database=None, derandomize=True, max_examples=30)
@given(steps=st.integers(1, 1000))
def test_a_schedule_falls_from_static_to_clean(schedule: Callable[[int], Schedule], steps: int) -> None:
    sigmas = schedule(steps)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float32
    assert float(sigmas[0]) == 1
    assert float(sigmas[-1]) == 0
    assert bool((sigmas.diff() < 0).all())


@every_schedule
@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_is_refused(schedule: Callable[[int], Schedule], steps: int) -> None:
    with pytest.raises(InputError, match=f"{steps}"):
        schedule(steps)


def test_linear_and_shifted_values() -> None:
    closely(linear(4), torch.tensor([1, 0.75, 0.5, 0.25, 0]))
    closely(shifted(2, 3.0), torch.tensor([1, 0.75, 0]))
    torch.testing.assert_close(shifted(7, 1.0), linear(7), rtol=0, atol=0)


def test_listed_levels_are_shifted_and_end_at_0() -> None:
    closely(listed((1.0, 0.757, 0.522), 1.0), torch.tensor([1, 0.757, 0.522, 0]))
    assert torch.equal(listed((1.0, 0.75, 0.5, 0.25), 5.0), shifted(4, 5.0))
    with pytest.raises(InputError, match="shift must be a positive number"):
        listed((1.0,), 0.0)


def test_the_levels_of_self_forcing_are_a_shifted_schedule() -> None:
    """Its list of timesteps counts from the end of a table of a thousand shifted levels."""
    table = torch.linspace(1, 0, 1001)[:-1]
    warped = (5 * table / (1 + 4 * table))[1000 - torch.tensor([1000, 750, 500, 250])]
    closely(shifted(4, 5.0)[:-1], warped)


@pytest.mark.parametrize("shift", [0.5, 3.0, 12.0])
def test_a_shift_divides_signal_over_noise(shift: float) -> None:
    before, after = linear(9)[1:-1], shifted(9, shift)[1:-1]
    closely((1 - after) / after, (1 - before) / before / shift)


def test_cosine_walks_the_angle_evenly() -> None:
    sigmas = cosine(6).double()
    closely(torch.atan2(sigmas, 1 - sigmas), torch.linspace(math.pi / 2, 0, 7, dtype=torch.float64))


def test_log_snr_is_even_between_its_ends() -> None:
    inner = half_log_snr(log_snr(10, largest=0.9, smallest=0.1).double())[1:-1]
    closely(inner.diff(), torch.full((8,), 2 * math.log(9) / 10, dtype=torch.float64))


def test_karras_is_even_in_the_root_of_noise_over_signal() -> None:
    inner = karras(8, rho=3.0, largest=10.0, smallest=0.1).double()[1:-1]
    roots = (inner / (1 - inner)) ** (1 / 3)
    closely(roots, torch.linspace(10 ** (1 / 3), 0.1 ** (1 / 3), 9, dtype=torch.float64)[1:-1])


def test_a_chain_is_visited_at_its_own_levels() -> None:
    chain = MarkovChain.linear()
    closely(from_chain(chain, 4), chain.sigmas[[1000, 750, 500, 250, 0]].float())
    assert float(from_chain(chain, 4)[0]) < 1


@settings(deadline=None, database=None, derandomize=True, max_examples=30)
@given(steps=st.integers(1, 900), shift=st.sampled_from([1.0, 3.0, 8.0]))
def test_the_schedule_of_wan_begins_a_millionth_below_static(steps: int, shift: float) -> None:
    sigmas = wan(steps, shift)
    assert sigmas.shape == (steps + 1,)
    assert float(sigmas[0]) == pytest.approx(1 - 1e-6, abs=1e-7)
    assert float(sigmas[-1]) == 0
    assert bool((sigmas.diff() < 0).all())
    closely(wan(3, 1.0)[1:], torch.tensor([1 - 0.333, 1 - 0.666, 0]))


@pytest.mark.parametrize("shift", [0.0, -1.0, math.nan, math.inf])
def test_a_shift_must_be_positive(shift: float) -> None:
    for schedule in (shifted, wan):
        with pytest.raises(InputError, match="shift"):
            schedule(4, shift)


def test_wan_refuses_no_steps() -> None:
    with pytest.raises(InputError, match="0"):
        wan(0, 3.0)


@pytest.mark.parametrize(("largest", "smallest"), [(1.0, 0.1), (0.9, 0.0), (0.1, 0.9)])
def test_log_snr_needs_two_sigmas_in_order(largest: float, smallest: float) -> None:
    with pytest.raises(InputError, match="smallest"):
        log_snr(4, largest=largest, smallest=smallest)
