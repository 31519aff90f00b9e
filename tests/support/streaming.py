"""A little video, streamed from static by a transformer that knows nothing."""

from collections.abc import Iterator, Sequence

import torch
from tiny_transformer import texts
from torch import Tensor

from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.schedule import linear
from unstatic.diffusion.solver import euler
from unstatic.generate.stream import Chunk, Cut, Denoised, Sampling, Script, chunk_noise, stream_latents
from unstatic.models.transformer import TextMemory, VideoTransformer

CHUNKS = (1, 4, 4, 4)
SHAPE = (4, 4, 4)
SAMPLING = Sampling(sigmas=linear(3), solver=euler, prediction="x0", guidance=2.0, history_sigma=0.1)


def script(
    model: VideoTransformer,
    sampling: Sampling = SAMPLING,
    prompts: Sequence[int] = (0,),
    starts: Sequence[int] = (0,),
) -> Script:
    """Let text `number` be that of all prompts, `number` seeds later."""

    def read(number: int) -> TextMemory:
        empty = [99] * len(prompts) if sampling.guidance != 1 and not sampling.distilled else []
        return model.encode_text(texts(*(prompt + 10 * number for prompt in prompts), *empty))

    return Script(starts=tuple(starts), read=read)


def stream(
    model: VideoTransformer, state: LatentState, sampling: Sampling = SAMPLING, seeds: tuple[int, ...] = (5,)
) -> Iterator[Cut | Denoised | Chunk]:
    return stream_latents(model, state, script(model, sampling, range(len(seeds))), sampling, seeds)


def final(events: Iterator[Cut | Denoised | Chunk]) -> Tensor:
    return torch.cat([event.latent for event in events if isinstance(event, Chunk)], dim=2)


def static(chunks: tuple[int, ...] = CHUNKS, seeds: tuple[int, ...] = (5,)) -> LatentState:
    return LatentState.static(chunk_noise(SHAPE, chunks, seeds))
