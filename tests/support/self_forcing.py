"""Self-Forcing's way to a film (2506.08009, algorithm 2), written down once more on diffusers' modules.

There is no cache here: for every step all finished frames pass again, clean, before the noisy chunk, through
diffusers' transformer, under a mask that lets a chunk see what its cached keys would be.
"""

import json
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import tiny_wan
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import Tensor


def visible(chunks: Sequence[int], chunk: int, window: int, sinks: int) -> list[tuple[int, int]]:
    """Return the spans of latent frames that one chunk sees.

    Its cache holds `window` frames, its own among them; the first `sinks` of the film never leave it.
    """
    edges = [0, *accumulate(chunks)]
    stop = edges[chunk + 1]
    if stop <= window:
        return [(0, stop)]
    return [(0, sinks), (stop - (window - sinks), stop)]


def mask(chunks: Sequence[int], frame_tokens: int, window: int, sinks: int) -> Tensor:
    """Say for every token of a film which others it sees."""
    frames = sum(chunks)
    seen = torch.zeros(frames, frames, dtype=torch.bool)
    for number, (start, stop) in enumerate(pairwise([0, *accumulate(chunks)])):
        for first, last in visible(chunks, number, window, sinks):
            seen[start:stop, first:last] = True
    return seen.repeat_interleave(frame_tokens, 0).repeat_interleave(frame_tokens, 1)


class Masked:
    """Let diffusers' attention compute under a mask, where by itself it has none."""

    def __init__(self, seen: Tensor) -> None:
        self.seen, self.plain = seen, WanAttnProcessor()

    def __call__(self, attn: Any, hidden: Tensor, text: Any, unmasked: None, rotary: Any) -> Tensor:
        assert unmasked is None
        return self.plain(attn, hidden, text, self.seen, rotary)


class Reference:
    """A causal student made of the parts of a pipeline of diffusers."""

    def __init__(self, pipeline: Any, chunk: int, first: int, window: int, sinks: int) -> None:
        self.pipeline, self.chunk, self.first = pipeline, chunk, first
        self.window, self.sinks = window, sinks

    def lengths(self, frames: int) -> list[int]:
        return [self.first, *[self.chunk] * ((frames - self.first) // self.chunk)]

    @torch.no_grad()
    def velocity(self, past: Tensor, noisy: Tensor, level: float, texts: Sequence[Tensor]) -> Tensor:
        """Ask for the velocity of a chunk after finished ones, which are clean: every token has its level.

        Each chunk reads the text that it was made of.
        """
        latent = torch.cat([past, noisy], 2)
        frames, tokens = latent.shape[2], latent.shape[3] * latent.shape[4] // 4
        times = torch.zeros(1, frames)
        times[:, past.shape[2] :] = 1000 * level
        model = self.pipeline.transformer
        lengths = self.lengths(frames)
        read = [torch.ones(length * tokens, texts[0].shape[1], dtype=torch.bool) for length in lengths]
        video = Masked(mask(lengths, tokens, self.window, self.sinks))
        words = Masked(torch.block_diag(*read).bool())
        text = torch.cat([*texts[: len(lengths)]], 1)
        for block in model.blocks:
            block.attn1.set_processor(video)
            block.attn2.set_processor(words)
        try:
            answer = model(latent, times.repeat_interleave(tokens, 1), text, return_dict=False)[0]
        finally:
            for block in model.blocks:
                block.attn1.set_processor(video.plain)
                block.attn2.set_processor(words.plain)
        return answer[:, :, past.shape[2] :]

    def film(
        self,
        texts: Sequence[Tensor],
        static: Tensor,
        fresh: Sequence[Sequence[Tensor]],
        levels: Sequence[float],
        begun: Tensor | None = None,
    ) -> Tensor:
        """Make a latent film; texts and fresh static are given for each chunk, and `begun` how it begins."""
        made = static[:, :, :0] if begun is None else begun
        for number, (start, stop) in enumerate(pairwise([0, *accumulate(self.lengths(static.shape[2]))])):
            if stop <= made.shape[2]:
                continue
            x = static[:, :, start:stop]
            for step, level in enumerate(levels):
                x0 = x - level * self.velocity(made, x, level, texts)
                if step + 1 < len(levels):
                    lower = levels[step + 1]
                    x = (1 - lower) * x0 + lower * fresh[number][step]
            made = torch.cat([made, x0], 2)
        return made

    @torch.no_grad()
    def text(self, prompt: str) -> Tensor:
        return self.pipeline.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=512
        )[0]

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode a film to pictures in [0, 1]."""
        vae = self.pipeline.vae
        mean, std = (
            torch.tensor(each)[:, None, None, None]
            for each in (vae.config.latents_mean, vae.config.latents_std)
        )
        return (vae.decode(latent * std + mean, return_dict=False)[0].clamp(-1, 1) + 1) / 2


def warped(steps: Sequence[int], shift: float) -> list[float]:
    """Warp a list of timesteps: they count from the end of a table of a thousand shifted levels."""
    table = torch.linspace(1, 0, 1001, dtype=torch.float64)[:-1]
    table = shift * table / (1 + (shift - 1) * table)
    return [float(table[1000 - step]) for step in steps]


def saved(folder: Path, **fields: Any) -> Path:
    """Save the tiny pipeline as students are published: other class names, and what their config says."""
    where = tiny_wan.saved("2.1", folder).rename(folder / "tiny-student")
    index, config = where / "model_index.json", where / "transformer" / "config.json"
    said = json.loads(index.read_text()) | {"_class_name": "WanCausalDMDPipeline"}
    said["transformer"] = ["diffusers", "CausalWanTransformer3DModel"]
    said["scheduler"] = ["diffusers", "SelfForcingFlowMatchScheduler"]
    index.write_text(json.dumps(said))
    about = json.loads(config.read_text()) | {"_class_name": "CausalWanTransformer3DModel"} | fields
    config.write_text(json.dumps(about))
    scheduler = {
        "_class_name": "SelfForcingFlowMatchScheduler",
        "num_train_timesteps": 1000,
        "shift": 5.0,
        "sigma_min": 0.0,
        "extra_one_step": True,
    }
    (where / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return where
