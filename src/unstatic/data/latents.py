"""Batches of latents with captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
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
    """Latents from the start of clips, and the token states of a caption for each (zero where padded).

    `objects` says which cells of the latents show an object, where that is known. Of clips that are windows
    of minutes, `opening` is the first latent frame of the minute, and `ages` how many of them came before.
    """

    latent: Float[Tensor, "b c t h w"]
    text: Float[Tensor, "b s e"]
    prompts: tuple[str, ...]
    objects: Bool[Tensor, "b 1 t h w"] | None = None
    opening: Float[Tensor, "b c 1 h w"] | None = None
    ages: Int[Tensor, "b"] | None = None

    @property
    def num_samples(self) -> int:
        return self.latent.shape[0]

    def to(self, device: torch.device) -> "LatentBatch":
        names = ("latent", "text", "objects", "opening", "ages")
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(self, **{name: value.to(device) for name, value in found.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How much of a clip a batch shows, from its start on; `share` is the window's part of all batches.

    A clip's first latent frame stands for one frame and is a still by itself. A still costs a fraction of a
    clip and teaches as much about what words look like; only long windows teach what happens.
    """

    latent_frames: int
    batch_size: int
    share: float

    def __post_init__(self) -> None:
        if self.latent_frames < 1 or self.batch_size < 1 or not self.share > 0:
            raise InputError(f"{self}: frames and batch must be at least 1, the share above 0")


class EncodedCaption(NamedTuple):
    """A caption, the states of its tokens, and how many tokens there are with the padding."""

    prompt: str
    states: Float[Tensor, "used e"]
    length: int


class LatentBatches:
    """Random clips from latent shards with captions, all clips of a batch in the same window.

    With `captions` 0 a caption is written anew every time a clip comes up; otherwise every clip has that
    many, written and encoded when it first comes up and kept in memory as bfloat16 (18,496 clips with 4
    captions: 2 GB). That costs some minutes at the start of a run and after every resume, and spares them
    ever after. Captions and their states are made in the prefetch thread. Raises InputError for clips that
    are too short.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        *,
        caption: Caption,
        encode_text: EncodeText,
        windows: Sequence[Window],
        captions: int = 0,
        seed: int = 0,
    ):
        self.sizes = clips_by_size(shards, "latents")
        self.caption, self.encode_text = caption, encode_text
        self.windows, self.captions, self.seed = windows, captions, seed
        self._kept: dict[str, list[EncodedCaption]] = {}
        self.shares = np.array([window.share for window in windows]) / sum(window.share for window in windows)
        longest = max(window.latent_frames for window in windows)
        for shard in shards:
            length = shard.shapes["latents"][1]
            if length < longest:
                raise InputError(
                    f"{shard.path} holds {length} latent frames, fewer than the {longest} asked for;"
                    " render longer clips or train on fewer frames"
                )

    def at(self, index: int) -> LatentBatch:
        """Return batch `index`."""
        rng = numpy_generator("latent batch", self.seed, index)
        window = self.windows[int(rng.choice(len(self.windows), p=self.shares))]

        entries = pick_size(self.sizes, rng).sample(window.batch_size, rng)
        latents = np.stack(
            [shard.read("latents", entry, 0, window.latent_frames) for shard, entry in entries]
        )
        latent = rearrange(torch.as_tensor(latents).float(), "b t c h w -> b c t h w").contiguous()
        prompts, text = self._captions_for(entries, rng)
        opening, ages = _openings(entries)
        return LatentBatch(
            latent=latent,
            text=text,
            prompts=prompts,
            objects=_objects(entries, window),
            opening=opening,
            ages=ages,
        )

    def _captions_for(
        self, entries: Sequence[tuple[Shard, int]], rng: np.random.Generator
    ) -> tuple[tuple[str, ...], Float[Tensor, "b s e"]]:
        """Give every clip a caption, and return the token states of all."""
        if not self.captions:
            prompts = tuple(self.caption(shard.lines[entry], rng) for shard, entry in entries)
            # Cloned, since autograd cannot save a tensor made in inference mode
            return prompts, self.encode_text(prompts).clone()
        chosen = [self._captions_of(*each)[int(rng.integers(self.captions))] for each in entries]
        text = torch.zeros(len(chosen), chosen[0].length, chosen[0].states.shape[-1])
        for row, caption in zip(text, chosen, strict=True):
            row[: len(caption.states)] = caption.states
        return tuple(caption.prompt for caption in chosen), text

    def _captions_of(self, shard: Shard, entry: int) -> list[EncodedCaption]:
        """Write and encode the captions of a scene together, once: their bits depend on nothing else.

        Shards of several folders may have the same names, so it is the scene that tells clips apart.
        """
        scene = shard.lines[entry]
        if scene not in self._kept:
            rng = numpy_generator("captions", self.seed, scene)
            prompts = [self.caption(scene, rng) for _ in range(self.captions)]
            self._kept[scene] = [
                EncodedCaption(prompt, states[states.any(-1)].to(torch.bfloat16), len(states))
                for prompt, states in zip(prompts, self.encode_text(prompts), strict=True)
            ]
        return self._kept[scene]


def _objects(entries: Sequence[tuple[Shard, int]], window: Window) -> Bool[Tensor, "b 1 t h w"] | None:
    """Read where objects are, if every shard knows."""
    if not all("objects" in shard.shapes for shard, _ in entries):
        return None
    masks = np.stack([shard.read("objects", entry, 0, window.latent_frames) for shard, entry in entries])
    return torch.as_tensor(masks)[:, None]


def _openings(
    entries: Sequence[tuple[Shard, int]],
) -> tuple[Float[Tensor, "b c 1 h w"] | None, Int[Tensor, "b"] | None]:
    """Read the first latent frames of the minutes that clips are windows of, and how old they are."""
    if not all("openings" in shard.shapes for shard, _ in entries):
        return None, None
    stills = np.stack([shard.read("openings", entry) for shard, entry in entries])
    starts = np.stack([shard.read("starts", entry) for shard, entry in entries])
    opening = rearrange(torch.as_tensor(stills).float(), "b t c h w -> b c t h w").contiguous()
    return opening, torch.as_tensor(starts)[:, 0]
