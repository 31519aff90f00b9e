from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from unstatic.core.device import compute_dtype
from unstatic.models.prepare import FusedSelfAttention, PackedLinear, PackedMLP, can_pack, prepare_for_cpu
from unstatic.models.transformer import Ring, TransformerConfig, TransformerOutput, VideoTransformer
from unstatic.nn.mlp import MLP

CONFIG = TransformerConfig(
    in_channels=4,
    out_channels=4,
    width=48,
    depth=3,
    heads=2,
    ffn_width=64,
    text_width=12,
    frequency_width=16,
    chunk=4,
    anchors=True,
)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def build() -> VideoTransformer:
    """Make a transformer in which every weight matters, norms and those that begin at zero too."""
    generator = torch.Generator().manual_seed(0)
    model = VideoTransformer(CONFIG, generator=generator)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stream(model: VideoTransformer) -> tuple[TransformerOutput, TransformerOutput]:
    """Pass three chunks, then two more that look back at them, all with text and anchors."""
    text = model.encode_text(draw(2, 8, 12))
    anchors = model.encode_anchors(draw(2, 4, 2, 4, 6, seed=1), torch.tensor([[2, 30], [5, 19]]), text)
    latent, sigma = draw(2, 4, 17, 4, 6, seed=2), draw(2, 17, seed=3).sigmoid()
    first = model(latent[:, :, :9], sigma[:, :9], text, anchors=anchors, remember=True)
    rest = model(
        latent[:, :, 9:], sigma[:, 9:], text, start=9, history=first.ring, anchors=anchors, remember=True
    )
    return first, rest


def tensors(ring: Ring | None) -> list[Tensor]:
    assert ring is not None
    return [tensor for chunks in ring.blocks for chunk in chunks for tensor in chunk[:2]]


def test_prepared_predicts_and_remembers_what_unprepared_does() -> None:
    for plain, prepared in zip(stream(build()), stream(prepare_for_cpu(build())), strict=True):
        assert plain.prediction.std() > 0.1
        assert (prepared.prediction - plain.prediction).abs().max() <= 1e-5
        for ours, theirs in zip(tensors(prepared.ring), tensors(plain.ring), strict=True):
            assert (ours - theirs).abs().max() <= 1e-5


def test_three_products_of_every_block_become_one() -> None:
    model = prepare_for_cpu(build())
    attentions = [block.attention for block in model.blocks]
    assert all(isinstance(attention, FusedSelfAttention) for attention in attentions)
    assert attentions[0].project(draw(1, 5, 48)).shape == (1, 5, 3 * 48)


bfloat16 = pytest.mark.skipif(
    compute_dtype(torch.device("cpu")) != torch.bfloat16, reason="this processor does not multiply bfloat16"
)


packing = pytest.mark.skipif(not can_pack(), reason="this PyTorch does not pack weights")


@bfloat16
def test_bfloat16_weights_are_packed_and_predict_the_same() -> None:
    plain, prepared = build().bfloat16(), prepare_for_cpu(build().bfloat16())
    assert not any(isinstance(module, nn.Linear) for module in prepared.modules())
    assert not any(isinstance(module, MLP) for module in prepared.modules())
    assert any(isinstance(module, PackedLinear) for module in prepared.modules())

    exact = stream(build())
    for expected, ours, theirs in zip(exact, stream(plain), stream(prepared), strict=True):
        rounding = (ours.prediction - expected.prediction).norm()
        assert (theirs.prediction - expected.prediction).norm() < 1.1 * rounding


@packing
def test_float32_weights_are_packed_too() -> None:
    prepared = prepare_for_cpu(build())
    assert not any(isinstance(module, nn.Linear | MLP) for module in prepared.modules())


@packing
@pytest.mark.parametrize("inner", [64, 51])
def test_a_packed_mlp_is_the_mlp(inner: int) -> None:
    plain, x = MLP(48, inner, 40), 3 * draw(2, 5, 48)
    assert (PackedMLP(plain)(x) - plain(x)).abs().max() <= 2e-6


@bfloat16
def test_a_packed_layer_is_the_layer() -> None:
    plain = nn.Linear(48, 80).bfloat16()
    x = draw(2, 5, 48).bfloat16()
    expected = plain.float()(x.float())
    assert (PackedLinear(plain.bfloat16())(x).float() - expected).abs().max() < 0.02
