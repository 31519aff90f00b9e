import pytest
import torch

from unstatic.nn.rope import axis_channels, grid_rotation, rotate, time_rotation

HEAD = 64
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def times(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_channels_are_shared_out_as_in_wan() -> None:
    assert axis_channels(128) == (44, 42, 42)
    assert axis_channels(64) == (24, 20, 20)
    assert sum(axis_channels(24)) == 24


def test_angles_follow_the_formula() -> None:
    rotation = grid_rotation(times(0, 3), 2, 4, HEAD, CPU)
    assert rotation.shape == (2 * 2 * 4, HEAD // 2)

    token = rotation[1 * 8 + 1 * 4 + 2]  # time 3, row 1, column 2
    for pair, (position, index, channels) in {
        0: (3, 0, 24),
        5: (3, 5, 24),
        12: (1, 0, 20),
        15: (1, 3, 20),
        22: (2, 0, 20),
        31: (2, 9, 20),
    }.items():
        angle = torch.tensor(position * 10_000 ** (-2 * index / channels), dtype=torch.float64)
        expected = torch.complex(angle.cos(), angle.sin())
        assert (token[pair] - expected).abs() < 1e-6


def test_rotation_turns_neighbouring_channels_and_keeps_length() -> None:
    tokens = draw(3, 16, HEAD)
    rotated = rotate(tokens, grid_rotation(times(5), 4, 4, HEAD, CPU))
    assert torch.allclose(rotated.norm(dim=-1), tokens.norm(dim=-1), rtol=1e-5)
    assert torch.equal(rotated[:, 0, 24:], tokens[:, 0, 24:])  # row 0, column 0: only time turns
    assert not torch.equal(rotated[:, 5, 24:], tokens[:, 5, 24:])


def test_what_the_compiler_sees_is_the_same_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        (draw(3, 16, HEAD), grid_rotation(times(5), 4, 4, HEAD, CPU)),
        (draw(2, 16, 6, HEAD), grid_rotation(times(5), 4, 4, HEAD, CPU)[:, None]),  # one for all heads
    ]
    for tokens, rotation in cases:
        plain = rotate(tokens, rotation)
        with monkeypatch.context() as compiling:
            compiling.setattr(torch.compiler, "is_compiling", lambda: True)
            real = rotate(tokens, rotation)
        assert not torch.equal(real, tokens)
        assert torch.allclose(real, plain, atol=1e-6)


@pytest.mark.parametrize("shift", [1, 37, 1000, 5000])
def test_products_depend_only_on_the_difference_of_times(shift: int) -> None:
    """Holds thousands of latent frames into a video because angles are formed in float64."""
    query, key = draw(2, 16, HEAD), draw(2, 16, HEAD, seed=1)

    def product(query_time: float, key_time: float) -> torch.Tensor:
        at = rotate(query, grid_rotation(times(query_time), 4, 4, HEAD, CPU))
        to = rotate(key, grid_rotation(times(key_time), 4, 4, HEAD, CPU))
        return at @ to.transpose(1, 2)

    assert (product(7, 3) - product(7 + shift, 3 + shift)).abs().max() < 2e-5
    assert (product(7, 3) - product(7, 4)).abs().max() > 0.1
    assert (product(7, 3) - product(3, 7)).abs().max() > 0.1  # before is not after


def test_a_key_at_time_zero_can_be_turned_to_any_time() -> None:
    tokens = draw(2, 8, HEAD)
    at_zero = rotate(tokens, grid_rotation(times(0), 2, 4, HEAD, CPU))
    turned = rotate(at_zero, time_rotation(times(-900).expand(1, 8), HEAD, CPU))
    assert (turned - rotate(tokens, grid_rotation(times(-900), 2, 4, HEAD, CPU))).abs().max() < 1e-5
