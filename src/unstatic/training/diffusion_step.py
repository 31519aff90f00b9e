"""The diffusion step: noise latents the way sampling will meet them, predict, and measure the error.

Sampling goes chunk by chunk, each chunk sees finished ones, and a task may give any frame. A situation that
never occurs in training cannot be asked for later, so all of them occur here:

    levels     every chunk of a clip draws its own noise level (diffusion forcing, 2407.01392)
    history    in half of the clips the chunks before a random cut are clean or nearly so, as in streaming
    kept       in some chunks the first frame, the last or a prefix is clean, as in image-to-video and extend
    anchors    in most batches one or two clean frames of the clip, past or future, are given to every chunk
    text       is sometimes empty, for classifier-free guidance
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unstatic.core.seeds import normal_like
from unstatic.data.latents import LatentBatch
from unstatic.diffusion.loss import (
    LogitNormal,
    SigmaSampler,
    Uniform,
    Weighting,
    denoising_loss,
    min_snr_weight,
    velocity_weight,
    x0_weight,
)
from unstatic.diffusion.process import Prediction, mix, per_frame, to_x0
from unstatic.models.transformer import AnchorMemory, TextMemory, VideoTransformer
from unstatic.training.step import StepOutput

TOP_LEVELS = Uniform(low=0.95)
# The noise levels between which errors are reported apart; where the last begins, it is decided what is where
BANDS = ((0.0, 0.33), (0.33, 0.67), (0.67, 0.9), (0.9, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionConfig:
    """How often each situation occurs (shares from 0 to 1), and which noise levels are drawn.

    Levels are logit-normal until the share `uniform_from` of the run is done, then uniform. Below
    `weighting_floor` the velocity weighting stops growing: many frames are nearly clean history, and what
    little is left to predict in them would drown the rest.

    Films begin in static alone, which hardly any of these levels is: a share `top_levels` of them is drawn
    from the highest ones, `TOP_LEVELS`, instead.

    Where a latent shows an object an error counts `object_weight` times, up to the first of `object_levels`;
    from the second on it counts once. What an object looks like is decided in few places; but under much
    static, where it could be anywhere, such a weight would teach the network to see objects everywhere.
    """

    prediction: Prediction = "x0"
    weighting: Literal["x0", "velocity", "min_snr"] = "velocity"
    weighting_floor: float = 0.3
    level_mean: float = 0.4
    level_std: float = 1.0
    uniform_from: float = 0.7
    top_levels: float = 0.0
    history: float = 0.5
    clean_history: float = 0.4
    history_level: float = 0.3
    kept: float = 0.1
    anchors: float = 0.6
    max_anchors: int = 2
    text_dropout: float = 0.1
    object_weight: float = 1.0
    object_levels: tuple[float, float] = (0.5, 0.8)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionStep:
    """A training step for the video transformer.

    `empty_text` are the token states of the empty prompt; `progress` tells how much of the run is done.
    """

    model: VideoTransformer
    config: DiffusionConfig
    empty_text: Float[Tensor, "s e"]
    progress: Callable[[], float]

    def __call__(self, batch: LatentBatch, generator: torch.Generator) -> StepOutput:
        config, x0 = self.config, batch.latent
        num_samples, _, frames, _, _ = x0.shape

        # What each frame knows
        sigma = self.draw_sigma(num_samples, frames, generator).to(x0.device)
        states = self.drop_text(batch.text, generator)
        eps = normal_like(x0, generator)
        times = self.draw_anchors(num_samples, frames, generator).to(x0.device)

        # Predict
        x = mix(x0, eps, per_frame(sigma))
        text = self.model.encode_text(states)
        anchors = self.encode_anchors(x0, times, text)
        prediction = self.model(x, sigma, text, anchors=anchors).prediction.float()
        x0_hat = to_x0(prediction, config.prediction, x, per_frame(sigma))

        # Only what was not given counts
        counted = (sigma > 0).scatter(1, times, False)
        weighting = self.weighting()
        importance = self.importance(batch, sigma)
        loss = denoising_loss(
            x0_hat,
            x0,
            sigma,
            counted[:, None, :, None, None],
            weighting=weighting,
            importance=importance,
        )
        return StepOutput(loss=loss, metrics=errors_by_level(x0_hat.detach() - x0, sigma, counted))

    def weighting(self) -> Weighting:
        """Return how much an error counts at each level."""
        match self.config.weighting:
            case "x0":
                return x0_weight
            case "velocity":
                return partial(velocity_weight, floor=self.config.weighting_floor)
            case "min_snr":
                return min_snr_weight

    def importance(
        self, batch: LatentBatch, sigma: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b 1 t h w"] | None:
        """Return how much more an error counts on objects, None where it counts the same everywhere."""
        extra = self.config.object_weight - 1
        if not extra or batch.objects is None:
            return None
        low, high = self.config.object_levels
        certain = ((high - sigma) / (high - low)).clamp(0, 1)
        return 1 + extra * per_frame(certain) * batch.objects

    def draw_sigma(self, num_samples: int, frames: int, generator: torch.Generator) -> Float[Tensor, "b t"]:
        """Draw the noise level of every latent frame; 0 where a frame is given."""
        config, lengths = self.config, self.model.config.chunks(frames)
        uniform = self.progress() >= config.uniform_from
        sampler = Uniform() if uniform else LogitNormal(mean=config.level_mean, std=config.level_std)
        levels = draw_chunk_levels(num_samples, len(lengths), sampler, config, generator)
        kept = torch.cat([draw_kept(num_samples, length, config.kept, generator) for length in lengths], 1)
        return levels.repeat_interleave(torch.tensor(lengths), 1).masked_fill(kept, 0.0)

    def drop_text(self, states: Float[Tensor, "b s e"], generator: torch.Generator) -> Float[Tensor, "b s e"]:
        """Replace the text of some samples with the empty prompt."""
        dropped = chance(self.config.text_dropout, (len(states), 1, 1), generator).to(states.device)
        return torch.where(dropped, self.empty_text.to(states), states)

    def draw_anchors(self, num_samples: int, frames: int, generator: torch.Generator) -> Int[Tensor, "b m"]:
        """Draw the latent times of each sample's anchors; m is 0 in stills and in batches without anchors."""
        count = 0
        if self.model.config.anchors and frames > 1 and chance(self.config.anchors, (), generator):
            count = int(torch.randint(1, self.config.max_anchors + 1, (), generator=generator))
        return torch.rand((num_samples, frames), generator=generator).argsort(1)[:, :count]

    def encode_anchors(
        self, x0: Float[Tensor, "b c t h w"], times: Int[Tensor, "b m"], text: TextMemory
    ) -> AnchorMemory | None:
        """Let the model read the clean frames at `times`, if there are any."""
        if not times.shape[1]:
            return None
        where = times[:, None, :, None, None].expand(-1, x0.shape[1], -1, *x0.shape[3:])
        return self.model.encode_anchors(x0.gather(2, where), times, text)


def chance(share: float, shape: Sequence[int], generator: torch.Generator) -> Bool[Tensor, "..."]:
    """Flip coins that come up true in `share` of all cases."""
    return torch.rand(tuple(shape), generator=generator) < share


def draw_chunk_levels(
    num_samples: int, chunks: int, sampler: SigmaSampler, config: DiffusionConfig, generator: torch.Generator
) -> Float[Tensor, "b chunks"]:
    """Draw one level per chunk; in some clips the chunks before a random cut are clean history, or nearly.

    From the cut on, levels are drawn as everywhere. There is always a chunk after the cut.
    """
    levels = sampler((num_samples, chunks), generator)
    if config.top_levels:
        on_top = chance(config.top_levels, (num_samples, chunks), generator)
        levels = torch.where(on_top, TOP_LEVELS((num_samples, chunks), generator), levels)
    cut = torch.randint(1, max(chunks, 2), (num_samples, 1), generator=generator)
    streaming = chance(config.history, (num_samples, 1), generator)
    is_history = streaming & (torch.arange(chunks) < cut) & (chunks > 1)

    return torch.where(is_history, draw_history_levels(num_samples, chunks, config, generator), levels)


def draw_history_levels(
    num_samples: int, chunks: int, config: DiffusionConfig, generator: torch.Generator
) -> Float[Tensor, "b chunks"]:
    """Draw the levels of finished chunks: those of a sample are all clean, or each nearly so."""
    nearly_clean = config.history_level * torch.rand((num_samples, chunks), generator=generator)
    clean = chance(config.clean_history, (num_samples, 1), generator)
    return nearly_clean.masked_fill(clean, 0.0)


def draw_kept(
    num_samples: int, length: int, share: float, generator: torch.Generator
) -> Bool[Tensor, "b length"]:
    """Choose frames to give in a chunk of `length`: for `share` of the samples its first, last or a prefix.

    At least one frame is left to predict, so a chunk of one frame never has one given.
    """
    if length == 1:
        return torch.zeros((num_samples, 1), dtype=torch.bool)
    place = torch.arange(length)
    prefix = torch.randint(1, length, (num_samples, 1), generator=generator)
    kind = torch.randint(3, (num_samples, 1), generator=generator)
    given = torch.where(kind == 0, place < 1, torch.where(kind == 1, place == length - 1, place < prefix))
    return given & chance(share, (num_samples, 1), generator)


def errors_by_level(
    error: Float[Tensor, "b c t h w"], sigma: Float[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> dict[str, float]:
    """Return the mean squared x0 error within each band of noise levels that occurs."""
    squared = error.square().mean((1, 3, 4))
    within = {
        f"x0_error_{low:.2f}_{high:.2f}": counted & (low < sigma) & (sigma <= high) for low, high in BANDS
    }
    return {name: squared[mask].mean().item() for name, mask in within.items() if mask.any()}
