import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unstatic.core.seeds import generator, noise, normal_like, numpy_generator, stable_seed

PARTS = st.lists(st.integers() | st.text('a1,"', max_size=3), max_size=4)


def test_seeds_are_the_same_on_every_machine():
    # Written down once: a change here changes every video of every seed.
    assert stable_seed("noise", 7) == 5539210069427362047
    assert numpy_generator("scene", 7).integers(1000, size=3).tolist() == [990, 473, 399]


@given(PARTS, PARTS)
def test_different_parts_have_different_seeds(first: list[int | str], second: list[int | str]):
    assert (stable_seed(*first) == stable_seed(*second)) == (first == second)


def test_kinds_and_borders_of_parts_count():
    seeds = [stable_seed(*parts) for parts in ((1, "a"), ("1", "a"), ("1a",), ("a", 1), (1, "a", ""))]
    assert len(set(seeds)) == len(seeds)


def test_generators_repeat_and_do_not_touch_the_global_stream():
    state = torch.get_rng_state()
    first, second = (torch.rand(3, generator=generator("a", 1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(3, generator=generator("a", 2)))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(numpy_generator(3).random(3), numpy_generator(3).random(3))


def test_a_batch_of_four_is_four_batches_of_one():
    batch = noise((3, 5), [4, 1, 2, 9], stream="latent")
    assert batch.shape == (4, 3, 5)
    for sample, seed in zip(batch, [4, 1, 2, 9], strict=True):
        assert torch.equal(sample, noise((3, 5), [seed], stream="latent")[0])


def test_streams_of_one_seed_are_unrelated_standard_normal():
    first, second = (noise((50_000,), [0], stream=stream)[0] for stream in ("a", "b"))
    assert first.mean() == pytest.approx(0, abs=0.02)
    assert first.std() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(torch.stack([first, second]))[0, 1] == pytest.approx(0, abs=0.02)


def test_training_noise_on_the_cpu_is_what_the_generator_draws():
    like = torch.empty(2, 3)
    drawn = normal_like(like, generator("step", 1))
    assert torch.equal(drawn, torch.randn(2, 3, generator=generator("step", 1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_noise_on_a_gpu_repeats_and_is_drawn_there():
    like = torch.empty(50_000, device="cuda")
    first, again, other = (normal_like(like, generator("step", seed)) for seed in (1, 1, 2))
    assert first.device == like.device
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx(1, abs=0.02)
