from pathlib import Path

import pytest
import torch
from sharpen_autoencoder import AdversarialConfig, AdversarialStep, Contest, Critic, sharpen
from small_autoencoder import SMALL_AUTOENCODER

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.data.shards import open_shards
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.training.autoencoder_step import AutoencoderBatch
from unstatic.training.loop import Run, TrainingConfig, train
from unstatic.training.optim import OptimiserConfig, kernel_weights
from unstatic.world.mix import MIXES


def a_contest() -> Contest:
    return Contest(
        TinyAutoencoder(SMALL_AUTOENCODER, generator=generator("autoencoder")),
        Critic(8, generator=generator("critic")),
    )


def a_batch(index: int = 0) -> AutoencoderBatch:
    """Return stripes that move: edges everywhere."""
    shift = torch.arange(5)[:, None, None] + torch.arange(32)[None, None, :] + 3 * index
    stripes = ((shift // 4) % 2 * 2.0 - 1).expand(5, 32, 32)
    video = stripes[None, None].expand(2, 3, -1, -1, -1).contiguous()
    return AutoencoderBatch(
        video=video, objects=torch.ones(2, 1, 5, 32, 32, dtype=torch.bool), weight=torch.ones(2, 1, 5, 32, 32)
    )


class Stripes:
    def at(self, index: int) -> AutoencoderBatch:
        return a_batch(index)


def gradients(contest: Contest, config: AdversarialConfig) -> dict[str, torch.Tensor]:
    contest.zero_grad()
    AdversarialStep(contest=contest, config=config)(a_batch(), generator("step")).loss.backward()
    return {name: weight.grad for name, weight in contest.named_parameters() if weight.grad is not None}


def test_a_critic_has_an_opinion_of_every_frame() -> None:
    assert Critic(8)(torch.zeros(2, 3, 5, 32, 48)).shape[0] == 10


def test_the_encoder_is_never_touched() -> None:
    contest = a_contest()
    found = gradients(contest, AdversarialConfig())
    assert not any(name.startswith("autoencoder.encoder") for name in found)
    assert any(name.startswith("autoencoder.decoder") for name in found)
    assert any(name.startswith("critic") for name in found)


def test_the_critic_does_not_learn_to_be_fooled() -> None:
    """Its gradient does not depend on how much the decoder cares for its opinion."""
    contest = a_contest()
    little, much = (gradients(contest, AdversarialConfig(weight=weight)) for weight in (0.0, 10.0))
    for name in little:
        if name.startswith("critic"):
            assert torch.equal(little[name], much[name]), name
    assert any(not torch.equal(little[name], much[name]) for name in little if "decoder" in name)


def test_both_learn() -> None:
    contest = a_contest()
    fast = OptimiserConfig(learning_rate=2e-3, matrix_learning_rate=1e-2)
    config = TrainingConfig(samples=120, warm_up=4, cooldown=0.1, half_lives=(8.0,), optimiser=fast)
    run = Run(contest, config, matrices=kernel_weights(contest))
    metrics = [each.values for each in train(run, AdversarialStep(contest=contest), Stripes())]
    assert metrics[-1]["psnr"] > metrics[0]["psnr"] + 1
    assert max(each["told_apart"] for each in metrics[10:]) > 0.8


def test_a_decoder_is_sharpened_on_clips_and_keeps_its_encoder(tmp_path: Path, store_clips) -> None:
    store_clips(tmp_path / "clips", [MIXES["first-light"]] * 6, 17)
    model = TinyAutoencoder(SMALL_AUTOENCODER, generator=generator("autoencoder"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = sharpen(
        model, open_shards(tmp_path / "clips", "clips"), tmp_path / "run", 48, AdversarialConfig()
    ).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("decoder") for name in changed)
    other = TinyAutoencoder(SMALL_AUTOENCODER, generator=generator("another"))
    with pytest.raises(InputError, match="begun with another model"):
        sharpen(other, open_shards(tmp_path / "clips", "clips"), tmp_path / "run", 48, AdversarialConfig())
