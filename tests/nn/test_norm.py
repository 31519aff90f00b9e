import pytest
import torch

from unstatic.nn.norm import LayerNorm, RMSNorm, gated, modulated_norm


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm_follows_the_definition() -> None:
    norm = RMSNorm(8)
    norm.weight.data = draw(8)
    tokens = 5 * draw(2, 3, 8, seed=1) + 2
    expected = tokens / (tokens.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
    assert (norm(tokens) - expected).abs().max() < 1e-6


def test_rms_norm_of_bfloat16_is_computed_in_float32() -> None:
    norm, tokens = RMSNorm(64).bfloat16(), draw(4, 64).bfloat16()
    normed = norm(tokens)
    assert normed.dtype == torch.float32
    assert (normed.square().mean(-1) - 1).abs().max() < 1e-4


def test_autocast_does_not_make_the_norm_coarser() -> None:
    norm, tokens = RMSNorm(64), draw(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        normed = norm(tokens)
    assert (normed - norm(tokens)).abs().max() < 1e-6


def test_modulation_is_per_frame() -> None:
    tokens, shift, scale = draw(2, 3, 5, 8), draw(2, 3, 1, 8, seed=1), draw(2, 3, 1, 8, seed=2)
    result = modulated_norm(tokens, shift, scale)
    for frame in range(3):
        x = tokens[1, frame]
        normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        expected = normed * (1 + scale[1, frame]) + shift[1, frame]
        assert (result[1, frame] - expected).abs().max() < 1e-5


@pytest.mark.parametrize("trained", [False, True])
def test_what_modulates_in_float32_is_rounded_once(trained: bool) -> None:
    """Frame by frame on a CPU, and all at once where gradients are wanted."""
    tokens = draw(2, 3, 5, 8).bfloat16()
    shift, scale, branch = draw(2, 3, 1, 8, seed=1), draw(2, 3, 1, 8, seed=2), draw(2, 3, 5, 8, seed=3)
    with torch.set_grad_enabled(trained):
        found = modulated_norm(tokens, shift, scale)
    exact = modulated_norm(tokens.double(), shift.double(), scale.double())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())
    let_through = gated(tokens, branch.bfloat16(), scale)
    assert torch.equal(let_through, (tokens.double() + branch.bfloat16() * scale.double()).bfloat16())
    coarse = modulated_norm(tokens, shift.bfloat16(), scale.bfloat16())
    assert (coarse.double() - exact).norm() > 1.2 * (found.double() - exact).norm()


def test_a_layer_norm_may_have_wider_weights() -> None:
    norm, tokens = LayerNorm(8, 1e-6), draw(4, 8).bfloat16()
    norm.weight.data, norm.bias.data = draw(8, seed=1), draw(8, seed=2)
    with torch.no_grad():
        assert torch.equal(norm(tokens), norm(tokens.float()).bfloat16())
