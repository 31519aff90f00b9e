"""Sharpen a finished autoencoder's decoder: soft edges cost, and a critic tells films from their copies.

    python scripts/sharpen_autoencoder.py runs/nano-64/model --clips runs/nano-64/clips -o runs/sharper

A squared error leaves edges soft: where the latent does not say on which side of a pixel an edge lies, the
mean of both is the best guess. A critic sees that means are no films (1406.2661; on patches, 1611.07004; for
autoencoders of diffusion, 2112.10752). The encoder stays as it is, so latents that were encoded stay valid,
and so does a transformer that was trained on them. `--revive` first draws anew the blocks of the decoder in
which nothing fires any more; they then look further than small crops show: --crop 64.
"""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

from unstatic.core.threads import quiet_threads

quiet_threads()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from einops import rearrange  # noqa: E402
from jaxtyping import Float, UInt8  # noqa: E402
from safetensors import safe_open  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.func import functional_call  # noqa: E402

from unstatic.core.device import pick_device  # noqa: E402
from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.core.seeds import generator  # noqa: E402
from unstatic.data.encode import to_video  # noqa: E402
from unstatic.data.loader import AutoencoderBatches  # noqa: E402
from unstatic.data.shards import Shard, open_shards  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402
from unstatic.models.tiny_autoencoder import TinyAutoencoder  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.presets.fit import fit  # noqa: E402
from unstatic.presets.show import reconstruction_sheet  # noqa: E402
from unstatic.presets.stages import averaged, load_autoencoder  # noqa: E402
from unstatic.training.autoencoder_step import (  # noqa: E402
    AutoencoderBatch,
    AutoencoderLossConfig,
    ViewConfig,
    picture_errors,
    prepare,
    psnr,
)
from unstatic.training.checkpoint import checkpoints  # noqa: E402
from unstatic.training.liveness import least_alive, revive, watched_units  # noqa: E402
from unstatic.training.loop import Run, TrainingConfig  # noqa: E402
from unstatic.training.optim import OptimiserConfig, kernel_weights  # noqa: E402
from unstatic.training.step import StepOutput  # noqa: E402

SLOPE = 0.2
CRITIC_WIDTH = 32
BATCH_SIZE = 16
VIEWS = ViewConfig(frames=9, object_weight=4.0, recolour=0.3)
# Muon's rate is low: with 7.5e-4 all hidden units of new blocks died within 3,000 crops (docs/log.md)
RATES = OptimiserConfig(learning_rate=3e-4, matrix_learning_rate=1.5e-4)


class Critic(nn.Module):
    """Say of every patch of a film, and of its change since the frame before, how real it looks.

    A patch is what four convolutions see, 34 x 34 pixels of two frames. `generator` draws the first weights.
    """

    def __init__(self, width: int = CRITIC_WIDTH, *, generator: torch.Generator | None = None):
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

    weight: float = 0.02
    errors: AutoencoderLossConfig = field(default_factory=lambda: AutoencoderLossConfig(steepness=2.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialStep:
    """The decoder's step and the critic's in one loss: neither learns from the other's part of it."""

    contest: Contest
    config: AdversarialConfig = AdversarialConfig()

    def __call__(self, batch: AutoencoderBatch, generator: torch.Generator) -> StepOutput:
        model, critic, config = self.contest.autoencoder, self.contest.critic, self.config.errors

        # A copy, through a latent with noise
        with torch.no_grad():
            compressed = model.compress(batch.video)
        level = torch.rand((len(compressed), 1, 1, 1, 1), generator=generator)
        noise = config.latent_noise * level * torch.randn(compressed.shape, generator=generator)
        with watched_units(model.decoder) as shares:
            copy = model.reconstruct(compressed + noise.to(compressed) * compressed.std()).float()
        error = copy - batch.video

        # What the decoder wants: little error, and a critic who is fooled
        frozen = {name: weight.detach() for name, weight in critic.named_parameters()}
        opinion = functional_call(critic, frozen, (copy,)).float().mean()
        terms = picture_errors(copy, batch.video, batch.weight, config)
        terms.append(-self.config.weight * opinion)

        # What the critic wants: to tell them apart (hinge loss)
        real, fake = critic(batch.video).float(), critic(copy.detach()).float()
        terms += [F.relu(1 - real).mean(), F.relu(1 + fake).mean()]
        told_apart = ((real > 0).float().mean() + (fake < 0).float().mean()).item() / 2
        metrics = {
            "psnr": psnr(error.detach().square().mean().item()),
            "shimmer": error.detach().diff(dim=2).abs().mean().item(),
            "told_apart": told_apart,
            **least_alive(shares),
        }
        return StepOutput(loss=torch.stack(terms).sum(), metrics=metrics)


def sharpen(
    model: TinyAutoencoder,
    shards: list[Shard],
    folder: Path,
    samples: int,
    config: AdversarialConfig,
    views: ViewConfig = VIEWS,
    batch_size: int = BATCH_SIZE,
) -> TinyAutoencoder:
    """Train in `folder`, going on where it was stopped, and return the sharper autoencoder."""
    contest = Contest(model, Critic(generator=generator("critic")))
    training = TrainingConfig(
        samples=samples, warm_up=samples // 40, cooldown=0.5, half_lives=(samples / 20,), optimiser=RATES
    )
    run = Run(contest, training, matrices=kernel_weights(contest), device=pick_device())
    for saved in checkpoints(folder)[-1:]:
        check_encoder(saved, model)

    def ready(
        frames: UInt8[Tensor, "n t h w 3"], ids: UInt8[Tensor, "n t h w"], source: torch.Generator
    ) -> AutoencoderBatch:
        return prepare(frames, ids, views, source)

    def finished() -> TinyAutoencoder:
        return averaged(run, Contest(TinyAutoencoder(model.config), Critic())).autoencoder

    batches = AutoencoderBatches(shards, prepare=ready, batch_size=batch_size)
    step = AdversarialStep(contest=contest, config=config)
    fit("sharpening", run, step, batches, folder, picture=lambda: reconstruction_sheet(finished(), shards))
    return finished()


def check_encoder(saved: Path, model: TinyAutoencoder) -> None:
    """Raise InputError if a checkpoint is of an autoencoder with another encoder."""
    with safe_open(saved, framework="pt") as file:
        for name, weight in model.encoder.state_dict().items():
            saved_weight = file.get_tensor(f"model.autoencoder.encoder.{name}")
            if not torch.equal(saved_weight.float(), weight.float().cpu()):
                raise InputError(f"{saved.parent} was begun with another model: take another folder")


def main() -> None:
    """Sharpen what is asked for and write its weights."""
    parser = argparse.ArgumentParser(description="Sharpen an autoencoder's decoder.")
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--clips", type=Path, required=True, help="a folder of rendered clips")
    parser.add_argument("--samples", type=int, default=40_000, help="crops to train on")
    parser.add_argument("--critic", type=float, default=0.02, help="how much the critic's opinion weighs")
    parser.add_argument("--steepness", type=float, default=2.0, help="how much soft edges weigh")
    parser.add_argument("--steadiness", type=float, default=0.0, help="how much shimmering weighs")
    parser.add_argument("--noise", type=float, default=0.05, help="how much noise on the latent it must bear")
    parser.add_argument("--crop", type=int, default=VIEWS.width, help="pixels a side of what is looked at")
    parser.add_argument("--frames", type=int, default=VIEWS.frames, help="how many frames are looked at")
    parser.add_argument("--batch", type=int, default=BATCH_SIZE, help="crops a step")
    parser.add_argument("--revive", action="store_true", help="begin blocks anew in which nothing fires")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for the run")
    options = parser.parse_args()
    keep_freed_memory()
    model = load_autoencoder(find_model(options.model).weights("autoencoder"))
    config = AdversarialConfig(
        weight=options.critic,
        errors=AutoencoderLossConfig(
            steepness=options.steepness, steadiness=options.steadiness, latent_noise=options.noise
        ),
    )
    shards = open_shards(options.clips, "clips")
    if options.revive:
        some = torch.as_tensor(np.stack([shards[0].read("frames", entry) for entry in range(4)]))
        revived = revive(model, to_video(some), generator=generator("revived"))
        print(f"begun anew: {', '.join(revived) or 'no block'}")
    views = replace(VIEWS, width=options.crop, height=options.crop, frames=options.frames)
    sharper = sharpen(model, shards, options.output, options.samples, config, views, options.batch)
    save_model(options.output / "autoencoder.safetensors", sharper, model.config, "tiny_autoencoder")


if __name__ == "__main__":
    main()
