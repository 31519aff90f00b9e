"""Batches of latents with captions: the words are chosen anew every time a clip comes up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.seeds import numpy_generator
from unstatic.data.loader import clips_by_size, pick_size
from unstatic.data.shards import Shard

Caption = Callable[[str, np.random.Generator], str]
"""Write one caption for a scene (a line of JSON), choosing its words at random."""

EncodeText = Callable[[Sequence[str]], Float[Tensor, "b s e"]]
"""Return the token states of prompts, zero where padded, always with the same s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentBatch:
    """Latents from the start of clips, and the token states of a caption for each (zero where padded)."""

    latent: Float[Tensor, "b c t h w"]
    text: Float[Tensor, "b s e"]
    prompts: tuple[str, ...]

    @property
    def num_samples(self) -> int:
        return self.latent.shape[0]

    def to(self, device: torch.device) -> "LatentBatch":
        return replace(self, latent=self.latent.to(device), text=self.text.to(device))


class LatentBatches:
    """Random clips from latent shards with fresh captions; the share `stills` of the batches are stills.

    A clip's first latent frame stands for one frame and is a still by itself, so a window starts at 0 and
    takes `latent_frames`, or 1. Captions and their states are made in the prefetch thread. Raises InputError
    for clips that are too short.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        *,
        caption: Caption,
        encode_text: EncodeText,
        batch_size: int,
        still_batch_size: int,
        stills: float = 0.1,
        latent_frames: int = 17,
        seed: int = 0,
    ):
        self.sizes = clips_by_size(shards, "latents")
        self.caption, self.encode_text = caption, encode_text
        self.batch_size, self.still_batch_size, self.stills = batch_size, still_batch_size, stills
        self.latent_frames, self.seed = latent_frames, seed
        for shard in shards:
            length = shard.shapes["latents"][1]
            if length < latent_frames:
                raise InputError(
                    f"{shard.path} holds {length} latent frames, fewer than the {latent_frames} asked for;"
                    " render longer clips or train on fewer frames"
                )

    def at(self, index: int) -> LatentBatch:
        """Return batch `index`."""
        rng = numpy_generator("latent batch", self.seed, index)
        still = rng.random() < self.stills
        length, batch_size = (1, self.still_batch_size) if still else (self.latent_frames, self.batch_size)

        entries = pick_size(self.sizes, rng).sample(batch_size, rng)
        latents = np.stack([shard.read("latents", entry, 0, length) for shard, entry in entries])
        latent = rearrange(torch.as_tensor(latents).float(), "b t c h w -> b c t h w").contiguous()
        prompts = tuple(self.caption(shard.lines[entry], rng) for shard, entry in entries)
        # Cloned, since autograd cannot save a tensor made in inference mode
        return LatentBatch(latent=latent, text=self.encode_text(prompts).clone(), prompts=prompts)
