"""Parity with diffusers on small random weights, in both published layouts; streaming; memory."""

from functools import partial
from typing import Any

import pytest
import torch
from peak import peak_bytes
from torch import Tensor
from wan_autoencoders import CONFIGS, oracle, ours_of, scales, small

from unstatic.core.errors import InputError
from unstatic.models.wan_autoencoder import WanAutoencoder


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest) -> tuple[WanAutoencoder, Any]:
    config = small(CONFIGS[request.param])
    theirs = oracle(config)
    return ours_of(theirs, config), theirs


def clip(frames: int, side: int = 48) -> Tensor:
    return torch.rand(1, 3, frames, side, 2 * side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 5, 13])
def test_encoding_is_that_of_diffusers(pair: tuple[WanAutoencoder, Any], frames: int) -> None:
    ours, theirs = pair
    mean, std = scales(ours.config)
    expected = (theirs.encode(clip(frames)).latent_dist.mode() - mean) / std
    found = ours.encode(clip(frames))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_decoding_is_that_of_diffusers(pair: tuple[WanAutoencoder, Any], frames: int) -> None:
    ours, theirs = pair
    mean, std = scales(ours.config)
    latent = torch.randn(1, 4, frames, 3, 5, generator=torch.Generator().manual_seed(2))
    expected = theirs.decode(latent * std + mean).sample
    found = ours.decode(latent)
    assert found.shape == expected.shape
    assert expected.std() > 0.05, "an oracle that says nothing"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1), (1, 4), (2, 3), (5,)])
def test_a_stream_decodes_to_what_the_whole_decodes_to(
    pair: tuple[WanAutoencoder, Any], cuts: tuple[int, ...]
) -> None:
    ours, _ = pair
    latent = torch.randn(1, 4, 5, 2, 3, generator=torch.Generator().manual_seed(3))
    state, frames = None, []
    for piece in latent.split(cuts, 2):
        decoded, state = ours.decode_stream(piece, state)
        frames.append(decoded)
    torch.testing.assert_close(torch.cat(frames, 2), ours.decode(latent), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(1,) * 14, (1, 4, 4, 4, 1), (3, 7, 4), (14,)])
def test_a_stream_encodes_to_what_the_whole_encodes_to(
    pair: tuple[WanAutoencoder, Any], cuts: tuple[int, ...]
) -> None:
    """Fourteen frames: the last fills no group and is dropped, or waits."""
    ours, _ = pair
    state, latents = None, []
    for piece in clip(14, 32).split(cuts, 2):
        latent, state = ours.encode_stream(piece, state)
        latents.append(latent)
    assert state is not None
    assert state.waiting.shape[2] == 1
    torch.testing.assert_close(torch.cat(latents, 2), ours.encode(clip(14, 32)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_comes_later_changes_nothing_before(pair: tuple[WanAutoencoder, Any]) -> None:
    ours, _ = pair
    latent = torch.randn(1, 4, 4, 2, 2, generator=torch.Generator().manual_seed(4))
    other = latent.clone()
    other[:, :, 3] += 1
    one, two = ours.decode(latent), ours.decode(other)
    assert torch.equal(one[:, :, :9], two[:, :, :9])
    assert not torch.equal(one[:, :, 9], two[:, :, 9])


@torch.no_grad()
def test_a_batch_is_its_samples(pair: tuple[WanAutoencoder, Any]) -> None:
    ours, _ = pair
    latent = torch.randn(3, 4, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    alone = torch.cat([ours.decode(each[None]) for each in latent])
    torch.testing.assert_close(ours.decode(latent), alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_a_stream_keeps_does_not_grow(pair: tuple[WanAutoencoder, Any]) -> None:
    ours, _ = pair
    state, sizes = None, []
    for _ in range(4):
        _, state = ours.decode_stream(torch.zeros(1, 4, 2, 2, 2), state)
        sizes.append(sum(each.untyped_storage().nbytes() for each in state))
    assert len(set(sizes)) == 1


@torch.no_grad()
def test_decoding_a_stream_takes_no_more_memory_for_a_long_film(pair: tuple[WanAutoencoder, Any]) -> None:
    ours, _ = pair

    def decode(frames: int) -> None:
        state = None
        for piece in torch.zeros(1, 4, frames, 4, 4).split(1, 2):
            _, state = ours.decode_stream(piece, state)

    latent_frame = 4 * 4 * 4 * 4
    short, long = (peak_bytes(partial(decode, frames)) - frames * latent_frame for frames in (3, 12))
    assert short == long > 0


def test_a_size_that_does_not_divide_is_refused(pair: tuple[WanAutoencoder, Any]) -> None:
    ours, _ = pair
    with pytest.raises(InputError, match="must be multiples of"):
        ours.encode(torch.zeros(1, 3, 1, 20, 20))


@pytest.mark.parametrize(("name", "million"), [("2.1", 127), ("2.2", 705)])
def test_the_published_sizes(name: str, million: int) -> None:
    """As many parameters as the published models have; of the encoder's last product half is not kept."""
    config = CONFIGS[name]
    with torch.device("meta"):
        model = WanAutoencoder(config)
    count = sum(each.numel() for each in model.parameters())
    assert round(count / 1e6) == million
    assert (config.compression.time, config.compression.space) == (4, 16 if config.shortcuts else 8)
