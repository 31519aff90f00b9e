import torch

from unstatic.diffusion.distilled import next_level, told
from unstatic.diffusion.schedule import shifted


def test_the_next_level_is_the_one_below_on_the_schedule() -> None:
    sigmas = shifted(4, 1.5)
    assert torch.equal(next_level(sigmas[:-1].reshape(2, 2), sigmas), sigmas[1:].reshape(2, 2))


def test_levels_between_two_of_the_schedule_go_to_the_lower_one_and_clean_stays() -> None:
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    assert next_level(torch.tensor([0.7, 0.3, 0.0]), sigmas).tolist() == [0.5, 0.0, 0.0]


def test_a_pass_is_told_how_far_it_goes_and_no_guidance_is_zero() -> None:
    scalars = told(torch.tensor([[1.0, 0.5]]), torch.tensor([[0.6, 0.5]]), torch.tensor([1.0]))
    torch.testing.assert_close(scalars["step"], torch.tensor([[0.4, 0.0]]))
    assert scalars["guidance"].tolist() == [0.0]
