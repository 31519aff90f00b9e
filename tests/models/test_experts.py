import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.models.experts import Experts, chosen
from unstatic.models.transformer import TransformerConfig, VideoTransformer

CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, width=24, depth=2, heads=2, ffn_width=32, text_width=8
)


def transformer(seed: int) -> VideoTransformer:
    model = VideoTransformer(CONFIG, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return model


@torch.no_grad()
def test_the_noisiest_frame_decides_who_is_asked() -> None:
    early, late = transformer(0), transformer(1)
    both = Experts(early, late, 0.75)
    generator = torch.Generator().manual_seed(2)
    latent, states = (
        torch.randn(1, 4, 2, 4, 4, generator=generator),
        torch.randn(1, 3, 8, generator=generator),
    )
    text = both.encode_text(states)
    for levels, asked in (([0.0, 0.75], early), ([0.7, 0.74], late), ([1.0, 1.0], early)):
        sigma = torch.tensor([levels])
        alone = asked(latent, sigma, asked.encode_text(states)).prediction
        assert torch.equal(both(latent, sigma, text).prediction, alone)
        fewer = asked(latent, sigma, asked.encode_text(states), without=1).prediction
        assert torch.equal(both(latent, sigma, text, without=1).prediction, fewer)
        assert not torch.equal(fewer, alone)
    assert both.config == CONFIG
    with pytest.raises(InputError, match="no anchors"):
        both.encode_anchors(latent, torch.tensor([0, 1]), text)


def test_of_a_pair_one_or_both_can_be_chosen() -> None:
    early, late = transformer(0), transformer(1)
    assert chosen(Experts(early, late, 0.5)) == (early, late)
    assert chosen(Experts(early, late, 0.5), "late") == (late,)
    assert chosen(early) == (early,)
    with pytest.raises(InputError, match="no pair of transformers: leave 'late' out"):
        chosen(early, "late")
