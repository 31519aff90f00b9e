"""Pictures of what a network can do while it trains: one sheet per look, the same examples every time."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from unstatic.core.shapes import Size
from unstatic.data.encode import to_video
from unstatic.data.shards import Shard
from unstatic.generate.engine import whole_film
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan
from unstatic.media.enlarge import enlarge
from unstatic.media.frames import contact_sheet, to_frames
from unstatic.models.tiny_autoencoder import TinyAutoencoder

# What `make video` films by itself: this seed was chosen, of sixty.
DEFAULT_PROMPT = "a white horse walks to the left over the snow at sunset, the camera following it"
DEFAULT_SEED = 3
PROMPTS = (
    "a red ball bounces on a wooden floor",
    "a blue cube slides to the right on grass",
    "a yellow cylinder rolls to the left at sunset",
    "a green cone spins on the snow",
    "a purple ring rolls to the right on a grey floor",
    "a white metal ball falls onto the sand",
    "a fox gallops to the right over snow at sunset while the camera follows it",
    DEFAULT_PROMPT,
)
SECONDS = 2.0
ENLARGE = 2
NUM_RECONSTRUCTIONS = 6
RECONSTRUCTED_FRAMES = 33


def reconstruction_sheet(model: TinyAutoencoder, shards: Sequence[Shard]) -> UInt8[ndarray, "h w 3"]:
    """Draw clips above what the autoencoder makes of them."""
    shown = range(min(NUM_RECONSTRUCTIONS, len(shards[0])))
    frames = np.stack([shards[0].read("frames", entry)[:RECONSTRUCTED_FRAMES] for entry in shown])
    with torch.inference_mode():
        video = to_video(torch.as_tensor(frames)).to(model.latent_mean.device)
        decoded = to_frames(model.decode(model.encode(video)))
    frames = frames[:, : decoded.shape[1]]  # what fills no latent frame is not encoded
    pairs = [np.concatenate(pair, axis=1) for pair in zip(frames, decoded, strict=True)]
    return contact_sheet(
        [enlarge(pair, ENLARGE) for pair in pairs], ["clip above, reconstruction below"] * len(pairs)
    )


def sample_sheet(engine: NativeEngine) -> UInt8[ndarray, "h w 3"]:
    """Draw a short video for each of a few fixed prompts."""
    size = engine.manifest.sizes[0]
    clips = [generate_clip(engine, prompt, seconds=SECONDS, size=size, seed=0) for prompt in PROMPTS]
    return contact_sheet([enlarge(clip, ENLARGE) for clip in clips], PROMPTS)


def generate_clip(
    engine: NativeEngine, prompt: str, *, seconds: float, size: Size, seed: int
) -> UInt8[ndarray, "t h w 3"]:
    """Return the frames of one video at the model's own size."""
    made = plan(Request(prompt=prompt, seconds=seconds, size=size, seed=seed), engine.manifest)
    return whole_film(engine, made)
