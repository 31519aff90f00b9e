"""Tiles are those of diffusers, in a stream too, and take the memory of a tile."""

from typing import Any

import pytest
import torch
from peak import peak_bytes
from torch import Tensor
from wan_autoencoders import CONFIGS, oracle, ours_of, scales, small

from unstatic.core.errors import InputError
from unstatic.models.wan_autoencoder import WanAutoencoder
from unstatic.models.wan_tiles import TiledDecoder, TiledEncoder

SIZES = [(272, 400), (464, 80), (256, 256), (224, 96)]  # height, width; the last tiles of 400 are narrow


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest) -> tuple[WanAutoencoder, Any]:
    config = small(CONFIGS[request.param])
    theirs = oracle(config)
    theirs.enable_tiling()
    return ours_of(theirs, config), theirs


def latents(model: WanAutoencoder, frames: int, height: int, width: int) -> Tensor:
    space, channels = model.config.compression.space, model.config.latent_channels
    shape = 1, channels, frames, height // space, width // space
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tiles_are_those_of_diffusers(pair: tuple[WanAutoencoder, Any], height: int, width: int) -> None:
    ours, theirs = pair
    latent = latents(ours, 2, height, width)
    mean, std = scales(ours.config)
    expected = theirs.decode(latent * std + mean).sample
    found, memory = TiledDecoder(ours, streams=False).decode_stream(latent, None)
    assert memory == ()
    assert found.shape == (1, 3, 5, height, width)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    whole = ours.decode(latent)
    assert torch.allclose(found, whole, atol=1e-5) == (max(height, width) <= 256), "tiles see less"


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(208, 272), (224, 96)])
def test_a_film_that_streams_is_that_of_one_piece(
    pair: tuple[WanAutoencoder, Any], height: int, width: int
) -> None:
    model, _ = pair
    latent = latents(model, 4, height, width)
    whole, _ = TiledDecoder(model, streams=False).decode_stream(latent, None)
    decoder, state, pieces = TiledDecoder(model, streams=True), None, []
    for piece in latent.split([1, 2, 1], 2):
        frames, state = decoder.decode_stream(piece, state)
        pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, 2), whole, rtol=0, atol=1e-5)


def videos(frames: int, height: int, width: int) -> Tensor:
    return torch.randn(1, 3, frames, height, width, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)


@torch.no_grad()
@pytest.mark.parametrize(("frames", "height", "width"), [(5, 272, 400), (1, 80, 784), (5, 256, 128)])
def test_latents_of_tiles_are_those_of_diffusers(
    pair: tuple[WanAutoencoder, Any], frames: int, height: int, width: int
) -> None:
    ours, theirs = pair
    video, (mean, std) = videos(frames, height, width), scales(ours.config)
    expected = (theirs.encode(video).latent_dist.mode() - mean) / std
    found, whole = TiledEncoder(ours).encode(video), ours.encode(video)
    assert found.shape == whole.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    side = 32 * ours.config.compression.space
    assert torch.allclose(found, whole, atol=1e-5) == (max(height, width) <= side), "tiles see less"


@torch.no_grad()
def test_encoding_in_tiles_takes_less_than_half_of_the_memory(pair: tuple[WanAutoencoder, Any]) -> None:
    model, _ = pair
    side = 50 * model.config.compression.space
    video = videos(5, side, side)
    whole = peak_bytes(lambda: model.encode(video))
    assert peak_bytes(lambda: TiledEncoder(model).encode(video)) < whole / 2


@torch.no_grad()
def test_a_video_of_no_size_is_refused_as_by_the_whole(pair: tuple[WanAutoencoder, Any]) -> None:
    with pytest.raises(InputError, match="multiple"):
        TiledEncoder(pair[0]).encode(videos(1, 1000, 1000 + pair[0].config.compression.space // 2))


@torch.no_grad()
def test_a_batch_is_its_samples(pair: tuple[WanAutoencoder, Any]) -> None:
    decoder = TiledDecoder(pair[0], streams=False)
    one, other = latents(pair[0], 1, 288, 128), latents(pair[0], 1, 288, 128).flip(-1)
    both, _ = decoder.decode_stream(torch.cat([one, other]), None)
    for sample, latent in zip(both, (one, other), strict=True):
        torch.testing.assert_close(sample[None], decoder.decode_stream(latent, None)[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_tiles_take_less_than_half_of_the_memory(pair: tuple[WanAutoencoder, Any]) -> None:
    """Beyond the film itself, which either way is there in the end."""
    model, _ = pair
    latent = latents(model, 2, 400, 640)
    film = 5 * 400 * 640 * 3 * 4
    whole = peak_bytes(lambda: model.decode(latent)) - film
    tiled = peak_bytes(lambda: TiledDecoder(model, streams=False).decode_stream(latent, None)) - film
    streamed = peak_bytes(lambda: TiledDecoder(model, streams=True).decode_stream(latent, None)) - film
    assert tiled < whole / 2
    assert streamed < whole
