"""Sharpen a finished autoencoder's decoder against a critic that tells films from their copies.

A squared error leaves edges soft: where the latent does not say on which side of a pixel an edge lies, the
mean of both is the best guess. A critic sees that means are no films (1406.2661; on patches, 1611.07004; for
autoencoders of diffusion, 2112.10752). The encoder stays as it is, so latents that were encoded stay valid.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.training.autoencoder_step import (
    AutoencoderBatch,
    AutoencoderLossConfig,
    metrics_of,
    reconstruction_terms,
)
from unstatic.training.step import StepOutput

SLOPE = 0.2


class Critic(nn.Module):
    """Say of every patch of a film, and of its change since the frame before, how real it looks.

    A patch is what four convolutions see, 34 x 34 pixels of two frames. `generator` draws the first weights.
    """

    def __init__(self, width: int = 32, *, generator: torch.Generator | None = None):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(6, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, 4 * width, 4, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.last = nn.Conv2d(4 * width, 1, 4, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "n rows columns"]:
        """Return logits, larger for what looks real; the first frame has no change."""
        before = torch.cat([video[:, :, :1], video[:, :, :-1]], dim=2)
        hidden = rearrange(torch.cat([video, video - before], dim=1), "b c t h w -> (b t) c h w")
        return self.last(self.inner(hidden))[:, 0]


class Contest(nn.Module):
    """An autoencoder whose encoder is frozen, and its critic, as one module that a run trains."""

    def __init__(self, autoencoder: TinyAutoencoder, critic: Critic):
        super().__init__()
        self.autoencoder, self.critic = autoencoder, critic
        autoencoder.encoder.requires_grad_(False)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialConfig:
    """How much the critic's opinion weighs beside the error, whose terms are those of the autoencoder."""

    weight: float = 0.05
    errors: AutoencoderLossConfig = field(default_factory=lambda: AutoencoderLossConfig(squared=2.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialStep:
    """The decoder's step and the critic's in one loss: neither learns from the other's part of it."""

    contest: Contest
    config: AdversarialConfig = AdversarialConfig()

    def __call__(self, batch: AutoencoderBatch, generator: torch.Generator) -> StepOutput:
        model, critic = self.contest.autoencoder, self.contest.critic

        # A copy, through a latent with noise
        with torch.no_grad():
            compressed = model.compress(batch.video)
        level = torch.rand((len(compressed), 1, 1, 1, 1), generator=generator)
        noise = self.config.errors.latent_noise * level * torch.randn(compressed.shape, generator=generator)
        copy = model.reconstruct(compressed + noise.to(compressed) * compressed.std()).float()
        error = copy - batch.video

        # What the decoder wants: little error, and a critic who is fooled
        frozen = {name: weight.detach() for name, weight in critic.named_parameters()}
        opinion = functional_call(critic, frozen, (copy,)).float().mean()
        terms = [
            *reconstruction_terms(error, batch.weight, self.config.errors),
            -self.config.weight * opinion,
        ]

        # What the critic wants: to tell them apart (hinge loss)
        real, fake = critic(batch.video).float(), critic(copy.detach()).float()
        terms += [F.relu(1 - real).mean(), F.relu(1 + fake).mean()]
        metrics = metrics_of(error.detach(), batch, compressed)
        return StepOutput(
            loss=torch.stack(terms).sum(),
            metrics=metrics
            | {"told_apart": ((real > 0).float().mean() + (fake < 0).float().mean()).item() / 2},
        )
