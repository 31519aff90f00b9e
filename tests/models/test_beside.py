import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.models.beside import Beside
from unstatic.models.transformer import TransformerConfig, VideoTransformer

CONFIG = TransformerConfig(
    in_channels=7, out_channels=4, width=24, depth=1, heads=2, ffn_width=32, text_width=8
)


@torch.no_grad()
def test_what_is_known_stands_beside_every_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    model = VideoTransformer(CONFIG, generator=generator)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    latent, known = (
        torch.randn(2, 4, 3, 4, 4, generator=generator),
        torch.randn(1, 3, 3, 4, 4, generator=generator),
    )
    beside = Beside(model, known)
    text = beside.encode_text(torch.randn(2, 5, 8, generator=generator))
    sigma = torch.full((2, 3), 0.5)
    expected = model(torch.cat([latent, known.expand(2, -1, -1, -1, -1)], 1), sigma, text).prediction
    assert torch.equal(beside(latent, sigma, text).prediction, expected)
    assert not torch.allclose(Beside(model, -known)(latent, sigma, text).prediction, expected, atol=1e-3)
    assert beside.config == CONFIG
    with pytest.raises(InputError, match="no anchors"):
        beside.encode_anchors(latent, torch.tensor([0, 1, 2]), text)
