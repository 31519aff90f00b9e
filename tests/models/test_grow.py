from dataclasses import replace

import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.models.grow import grow_autoencoder, grow_transformer
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig, VideoTransformer

AUTOENCODER = TinyAutoencoderConfig(
    latent_channels=3,
    encoder_widths=(8, 8, 8),
    encoder_blocks=(1, 1),
    decoder_widths=(8, 8, 8),
    decoder_blocks=(1, 1, 1),
)
TRANSFORMER = TransformerConfig(
    in_channels=3, out_channels=3, width=24, depth=2, heads=2, ffn_width=32, text_width=8, frequency_width=16
)


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def transformer(config: TransformerConfig, seed: int) -> VideoTransformer:
    """Make a transformer whose predictions are not zero."""
    model = VideoTransformer(config, generator=seeded(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=seeded(seed))
    return model


@torch.no_grad()
def test_an_autoencoder_with_more_channels_gives_the_same_pictures():
    small = TinyAutoencoder(AUTOENCODER, generator=seeded(0))
    large = TinyAutoencoder(replace(AUTOENCODER, latent_channels=5), generator=seeded(1))
    grow_autoencoder(large, small)
    video = torch.rand(1, 3, 5, 16, 24, generator=seeded(2)) * 2 - 1
    assert torch.allclose(large.compress(video)[:, :3], small.compress(video), atol=1e-6)
    assert large.compress(video)[:, 3:].std() > 0.01  # drawn, hence able to learn
    assert torch.allclose(
        large.reconstruct(large.compress(video)), small.reconstruct(small.compress(video)), atol=1e-5
    )


@torch.no_grad()
def test_a_transformer_with_more_channels_predicts_the_same_of_the_old_ones():
    small = transformer(TRANSFORMER, 0)
    large = transformer(replace(TRANSFORMER, in_channels=5, out_channels=5), 1)
    grow_transformer(large, small)
    latent, text = torch.randn(2, 5, 3, 4, 6, generator=seeded(2)), torch.randn(2, 7, 8, generator=seeded(3))
    sigma = torch.rand(2, 3, generator=seeded(4))
    old = small(latent[:, :3], sigma, small.encode_text(text)).prediction
    new = large(latent, sigma, large.encode_text(text)).prediction
    assert old.std() > 0.1
    assert torch.allclose(new[:, :3], old, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("change", [{"ffn_width": 48}, {"text_width": 12}])
def test_a_transformer_that_is_wider_or_reads_more_of_a_text_predicts_the_same(change):
    small, large = transformer(TRANSFORMER, 0), transformer(replace(TRANSFORMER, **change), 1)
    grow_transformer(large, small)
    latent, text = torch.randn(1, 3, 2, 4, 4, generator=seeded(2)), torch.randn(1, 7, 12, generator=seeded(3))
    old, new = (
        model(
            latent, torch.full((1, 2), 0.5), model.encode_text(text[..., : model.config.text_width])
        ).prediction
        for model in (small, large)
    )
    assert torch.allclose(new, old, atol=1e-5)


@torch.no_grad()
def test_a_transformer_may_learn_further_numbers_and_predicts_the_same_at_first():
    small = transformer(TRANSFORMER, 0)
    large = VideoTransformer(replace(TRANSFORMER, scalars=("sigma", "step")), generator=seeded(1))
    grow_transformer(large, small)
    latent, text = torch.randn(1, 3, 2, 4, 4, generator=seeded(2)), torch.randn(1, 7, 8, generator=seeded(3))
    sigma = torch.full((1, 2), 0.5)
    old = small(latent, sigma, small.encode_text(text)).prediction
    assert torch.equal(large(latent, sigma, large.encode_text(text)).prediction, old)
    told = large(latent, sigma, large.encode_text(text), scalars={"step": sigma}).prediction
    assert torch.equal(told, old)
    again = transformer(TRANSFORMER, 2)
    grow_transformer(again, large)
    assert torch.equal(again(latent, sigma, again.encode_text(text)).prediction, old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 2}, "in_channels is 3 .* cannot become 2: it can grow, not shrink"),
        (
            {"width": 48},
            "width is 24 .* cannot become 48: only in_channels, out_channels, ffn_width, text_width can grow",
        ),
        ({"heads": 4}, "heads is 2"),
        ({"depth": 3}, "depth is 2"),
        ({"patch": (1, 1, 1)}, "patch is"),
        ({"frequency_width": 32}, "frequency_width is 16"),
    ],
)
def test_transformers_that_would_compute_something_else_are_refused(change, message):
    small = VideoTransformer(TRANSFORMER, generator=seeded(0))
    with pytest.raises(InputError, match=message):
        grow_transformer(VideoTransformer(replace(TRANSFORMER, **change), generator=seeded(1)), small)


@pytest.mark.parametrize(
    "change", [{"latent_channels": 2}, {"decoder_widths": (8, 16, 16)}, {"encoder_patch": 4}]
)
def test_autoencoders_that_would_compute_something_else_are_refused(change):
    small = TinyAutoencoder(AUTOENCODER, generator=seeded(0))
    with pytest.raises(InputError, match="cannot become"):
        grow_autoencoder(TinyAutoencoder(replace(AUTOENCODER, **change), generator=seeded(1)), small)
