import pytest
import torch

from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.training.liveness import least_alive, live_shares, memory_blocks, revive, watched_units

CONFIG = TinyAutoencoderConfig(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def video() -> torch.Tensor:
    return torch.rand(2, 3, 9, 32, 32, generator=seeded()) * 2 - 1


@pytest.fixture
def model() -> TinyAutoencoder:
    """Return an autoencoder with a block of the encoder and one of the decoder in which nothing fires."""
    made = TinyAutoencoder(CONFIG, generator=seeded())
    for name in ("encoder.3", "decoder.4"):
        made.get_parameter(f"{name}.mix.conv.bias").data.fill_(-1e3)
        made.get_parameter(f"{name}.rest.0.conv.bias").data.fill_(0.1)
    return made


def test_dead_blocks_are_seen(model: TinyAutoencoder, video: torch.Tensor):
    shares = live_shares(model, video)
    assert set(shares) == set(memory_blocks(model))
    assert {name for name, share in shares.items() if share == 0} == {"encoder.3", "decoder.4"}
    assert all(0.2 < share < 0.8 for share in shares.values() if share)


def test_nothing_is_watched_after_the_block(model: TinyAutoencoder, video: torch.Tensor):
    with watched_units(model.decoder) as shares:
        model(video)
    assert len(shares) == 5
    assert least_alive(shares) == {"alive": 0.0}
    assert least_alive({}) == {}
    shares.clear()
    model(video)
    assert not shares


def test_revived_blocks_compute_the_same_and_learn(model: TinyAutoencoder, video: torch.Tensor):
    before = model(video)
    assert revive(model, video, generator=seeded(1)) == ["decoder.4"]
    after = model(video)
    assert torch.equal(after.video, before.video)
    assert torch.equal(after.latent, before.latent)
    assert live_shares(model, video)["decoder.4"] > 0.2
    assert revive(model, video) == []

    # From the last convolution the gradients reach the first
    after.video.square().mean().backward()
    last, first = (model.get_parameter(f"decoder.4.{name}.conv.weight") for name in ("rest.0", "mix"))
    assert last.grad is not None
    assert last.grad.abs().max() > 0
    with torch.no_grad():
        last -= 0.1 * last.grad
    model(video).video.square().mean().backward()
    assert first.grad is not None
    assert first.grad.abs().max() > 0
    assert not torch.equal(model(video).video, before.video)
