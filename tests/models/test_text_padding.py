import pytest
import torch

from unstatic.models.text_padding import LONG, fold_padding
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.nn.attention import KeyValue, attention

CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, width=24, depth=2, heads=2, ffn_width=32, text_width=8
)


def padded(*lengths: int, tokens: int = 512) -> torch.Tensor:
    """Return random states of prompts so long, zeros after them."""
    states = torch.randn(len(lengths), tokens, 8, generator=torch.Generator().manual_seed(0))
    for row, length in zip(states, lengths, strict=True):
        row[length:] = 0
    return states


def read(states: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """Let a few queries read the states themselves, in float64 whatever the bias was rounded to."""
    query = torch.randn(len(states), 5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    added = None if bias is None else bias.to(dtype).double()[:, None]
    return attention(query, KeyValue(states.double(), states.double(), added))


@pytest.mark.parametrize("lengths", [(20,), (3, 17), (1, 200), (0, 5)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 3e-3)])
def test_few_tokens_are_read_as_all_are(
    lengths: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    states = padded(*lengths)
    few, bias = fold_padding(states, dtype)
    assert bias is not None
    assert few.shape[1] <= max(lengths) + 32
    if dtype == torch.float32:
        assert few.shape[1] == max(lengths) + 1
    torch.testing.assert_close(
        read(few, bias, dtype), read(states, None, dtype), atol=tolerance, rtol=tolerance
    )


@pytest.mark.parametrize(
    ("lengths", "tokens"), [((20,), 64), ((500,), 512), ((3, 512), 512), ((10,), LONG - 1)]
)
def test_short_and_full_texts_stay_as_they_are(lengths: tuple[int, ...], tokens: int) -> None:
    states = padded(*lengths, tokens=tokens)
    few, bias = fold_padding(states, torch.float32)
    assert few is states
    assert bias is None


@torch.no_grad()
def test_a_transformer_predicts_what_it_predicts_of_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = VideoTransformer(CONFIG, generator=torch.Generator().manual_seed(2))
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    latent = torch.randn(2, 4, 2, 4, 4, generator=torch.Generator().manual_seed(4))
    sigma, states = torch.full((2, 2), 0.5), padded(12, 2)
    text = model.encode_text(states)
    assert text.blocks[0].key.shape == (4, 13, 12)
    few = model(latent, sigma, text).prediction
    monkeypatch.setattr("unstatic.models.transformer.fold_padding", lambda states, _: (states, None))
    every = model(latent, sigma, model.encode_text(states)).prediction
    torch.testing.assert_close(few, every, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(few[0], few[1], atol=1e-2)
