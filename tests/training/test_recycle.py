import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.process import Latent
from unstatic.diffusion.schedule import shifted
from unstatic.training.recycle import RecycleConfig, recycled

PAST = torch.randn(2, 3, 5, 4, 4, generator=generator("past"))


def test_a_perfect_model_gives_the_past_back() -> None:
    def land(latent: Latent, sigma: float, sigma_next: float) -> Latent:
        return PAST + sigma_next / sigma * (latent - PAST)

    made = recycled(PAST, land, RecycleConfig(), shift=1.5, generator=generator("perfect"))
    torch.testing.assert_close(made, PAST)


def test_errors_of_all_rounds_add_up() -> None:
    """A model that makes everything a tenth stronger does so in every round, and at the end of each."""
    ends: list[float] = []

    def land(latent: Latent, _sigma: float, sigma_next: float) -> Latent:
        ends.append(sigma_next)
        rounds = ends.count(0.0)
        return PAST * 1.1**rounds if not sigma_next else latent

    config = RecycleConfig(rounds=4)
    counts = set()
    for number in range(30):
        ends.clear()
        made = recycled(PAST, land, config, shift=1.5, generator=generator("strong", number))
        counts.add(ends.count(0.0))
        torch.testing.assert_close(made, PAST * 1.1 ** ends.count(0.0))
    assert counts == {1, 2, 3, 4}


def test_a_round_goes_down_the_schedule_from_any_level_but_static() -> None:
    seen: list[tuple[float, float]] = []

    def land(latent: Latent, sigma: float, sigma_next: float) -> Latent:
        seen.append((sigma, sigma_next))
        return latent

    config = RecycleConfig(rounds=1, steps=4)
    sigmas = shifted(4, 1.5).tolist()
    firsts = set()
    for number in range(30):
        seen.clear()
        recycled(PAST, land, config, shift=1.5, generator=generator("levels", number))
        firsts.add(seen[0][0])
        start = sigmas.index(seen[0][0])
        assert seen == list(zip(sigmas[start:-1], sigmas[start + 1 :], strict=True))
    assert firsts == set(sigmas[1:-1])


def test_frames_are_noised_to_the_level_that_is_said() -> None:
    levels: list[tuple[float, float]] = []

    def land(latent: Latent, sigma: float, _sigma_next: float) -> Latent:
        levels.append((sigma, float(latent.std())))
        return latent

    nothing = torch.zeros(4, 8, 5, 16, 16)
    recycled(nothing, land, RecycleConfig(rounds=1), shift=1.5, generator=generator("noise"))
    sigma, deviation = levels[0]
    assert deviation == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("change", [{"share": 1.5}, {"share": -0.1}, {"rounds": 0}, {"steps": 1}])
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="share must be from 0 to 1"):
        RecycleConfig(**change)  # type: ignore[arg-type]
