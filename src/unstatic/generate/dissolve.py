"""The chain made visible: a clip that dissolves into static, and static that becomes a clip.

A `Walk` holds the whole clip at every noise level, as latents. `film` decodes it into a video that runs while
the noise changes, `sheet` into a picture of moments against levels.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.core.seeds import generator
from unstatic.diffusion.process import MarkovChain, flow_to_chain
from unstatic.generate.engine import Progress, Warned
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Plan
from unstatic.generate.stream import Denoised
from unstatic.media.frames import grid, pick_evenly, to_frames, to_tensor
from unstatic.models.parts import Autoencoder

MAX_CLIP_SECONDS = 4.0

Pixels = UInt8[np.ndarray, "t h w 3"]


class Walk(NamedTuple):
    """One clip of `frames` frames at every noise level, in the order in which the levels are walked.

    Latents are on the scale of the Markov chain: every level has about unit variance, so that none looks
    paler.
    """

    levels: Float[Tensor, "levels c t h w"]
    frames: int
    ends_clean: bool


# ------------------------------------------------------------------------------------------------------ walks


@torch.inference_mode()
def appear(engine: NativeEngine, plan: Plan) -> Iterator[Warned | Progress | Walk]:
    """Let static become what was planned, keeping every level on the way; the walk comes last."""
    parts: list[list[Tensor]] = [[] for _ in range(plan.steps)]
    steps = 0
    for event in engine.denoise(plan):
        if isinstance(event, Warned):
            yield event
        elif isinstance(event, Denoised):
            parts[steps % plan.steps].append(flow_to_chain(event.state.latent, event.state.sigma))
            steps += 1
            yield Progress(steps, plan.total_steps)

    levels = [engine.static(plan).latent, *(torch.cat(chunks, dim=2) for chunks in parts)]
    yield Walk(torch.cat(levels), plan.frames, ends_clean=True)


def chain_to_static(steps: int) -> MarkovChain:
    """Return a chain that ends in pure static after `steps` steps; raises InputError outside 1 ... 1000."""
    return MarkovChain.cosine(1000).with_zero_terminal_snr().strided(steps)


@torch.inference_mode()
def dissolve(engine: NativeEngine, clip: Pixels, chain: MarkovChain, *, seed: int) -> Walk:
    """Walk the Markov chain forward from a clip: every level is drawn from q(x_k | x_{k-1}).

    `clip` has one of the model's sizes; frames at its end that fill no latent frame are left out.
    """
    compression = engine.manifest.compression
    clip = clip[: compression.frames(compression.latent_frames(len(clip)))]
    video = to_tensor(clip)[None].to(engine.device)
    clean = engine.autoencoder.encode(video).float()
    levels = [clean, *chain.dissolve(clean, [generator("dissolve", seed)])]
    return Walk(torch.cat(levels), len(clip), ends_clean=False)


# --------------------------------------------------------------------------------------------------- pictures


@torch.inference_mode()
def film(autoencoder: Autoencoder, walk: Walk) -> Iterator[Pixels]:
    """Run the clip while the noise changes, as often as that takes; then, or first, run it clean.

    Every latent frame shows the next level, so one pass of the decoder makes one run of the clip.
    """
    num_levels, length = len(walk.levels), walk.levels.shape[2]
    runs = math.ceil(num_levels / length)
    walked = torch.linspace(0, num_levels - 1, runs * length).round().long().view(runs, length)
    clean = torch.full((1, length), num_levels - 1 if walk.ends_clean else 0)
    order = [walked, clean] if walk.ends_clean else [clean, walked]
    for levels in torch.cat(order):
        latent = rearrange(walk.levels[levels, :, torch.arange(length)], "t c h w -> 1 c t h w")
        yield _decode(autoencoder, latent)[: walk.frames]


@torch.inference_mode()
def sheet(
    autoencoder: Autoencoder, walk: Walk, *, moments: int = 4, columns: int = 8
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw moments of the clip, one a row, at noise levels picked evenly, one a column."""
    picked = torch.linspace(0, len(walk.levels) - 1, min(columns, len(walk.levels))).round().long()
    clips = [_decode(autoencoder, latent[None])[: walk.frames] for latent in walk.levels[picked]]
    cells = np.stack([pick_evenly(clip, moments) for clip in clips])
    return grid(rearrange(cells, "levels t h w c -> (t levels) h w c"), columns=len(clips))


def _decode(autoencoder: Autoencoder, latent: Float[Tensor, "1 c m y x"]) -> Pixels:
    return rearrange(to_frames(autoencoder.decode(latent)), "1 t h w c -> t h w c")
