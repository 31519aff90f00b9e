"""Streaming: a latent video is denoised chunk by chunk, and every finished chunk is remembered in a ring.

Memory does not grow with the length of the video: a chunk reads the text, the ring (the last chunks) and at
most two anchors; a ring of the beginning is kept where they need it (`anchors.py`). With guidance the batch
stands twice in a pass, first under the prompt and then under the empty prompt; a distilled model is told the
guidance instead.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from unstatic.core.memory import trim_memory
from unstatic.core.processes import this_process
from unstatic.core.seeds import generator, noise
from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.distilled import next_level, told
from unstatic.diffusion.guidance import both_led_away, guided, in_one_batch, led_away
from unstatic.diffusion.process import Latent, Predict, Prediction, Sigma, mix, to_velocity
from unstatic.diffusion.sampling import sample, sample_to_end
from unstatic.diffusion.schedule import Schedule
from unstatic.diffusion.solver import Solver
from unstatic.diffusion.step_cache import ALL_STEPS, StepCache
from unstatic.generate.anchors import Anchors
from unstatic.generate.memories import Memories
from unstatic.models.parts import Transformer
from unstatic.models.transformer import AnchorMemory, Ring, TextMemory, TransformerOutput

SOMETHING_NEW = 2.0  # times the deviation of a channel: that much is no error of the chunk before


class LateGuidance(NamedTuple):
    """The guidance below a level."""

    level: float
    weight: float | int


class SkipLayer(NamedTuple):
    """Which block the weaker network lacks, and how far films are led away from what it says.

    Skip layer guidance (2411.18664): straighter outlines, for one more pass at every step.
    """

    layer: int
    amount: float | int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sampling:
    """How static becomes a video.

    `prediction` is what the model was trained to output, `guidance` 1 is none, `late_guidance` another one
    below some level, `guidance_interval` the levels where there is any, `skip_layer` what it is led away from
    besides, and `history_sigma` the level of the static that is put on a finished chunk before later ones
    look back at it. With `distilled` the model is told how far each step goes and how guided it shall be,
    with `thousandths` levels rounded down to whole thousandths, as it learned them. `beside` are channels
    that are known and stand next to those denoised: pictures, to models that read them there. `cache` says at
    which steps the model is asked. With `damped` what is remembered is bounded (`Contrast`), and with
    `waypoints` a long video sees where it goes (`Anchors`).
    """

    sigmas: Schedule
    solver: Solver
    prediction: Prediction
    guidance: float | int
    history_sigma: float
    late_guidance: LateGuidance | None = None
    guidance_interval: tuple[float | int, float | int] | None = None
    skip_layer: SkipLayer | None = None
    cache: StepCache = ALL_STEPS
    distilled: bool = False
    thousandths: bool = False
    beside: Latent | None = None
    damped: bool = True
    waypoints: bool = True

    @property
    def in_one_pass(self) -> bool:
        """Whether the empty prompt is never asked."""
        return self.distilled or self.guidance == 1

    def rows(self, batch: Tensor) -> Tensor:
        """Return the rows of a pass: the batch, and with guidance the batch once more."""
        return batch if self.in_one_pass else torch.cat([batch, batch])


class Denoised(NamedTuple):
    """The chunk that begins at latent frame `start` took one step; `state` is where it is now."""

    start: int
    state: LatentState


class Chunk(NamedTuple):
    """The latent frames from `start` on are final."""

    start: int
    latent: Latent


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What is said when: text `number` counts from latent frame `starts[number]` on; the first starts at 0.

    `read` makes of its number what the model reads, with the rows of a pass: all prompts and, with guidance,
    as many empty ones. It is asked when a text begins, so that no more than one is in memory.
    """

    starts: tuple[int, ...]
    read: Callable[[int], TextMemory]

    def number_at(self, frame: int) -> int:
        """Return which text counts at a latent frame."""
        return bisect_right(self.starts, frame) - 1

    def end(self, number: int) -> int | None:
        """Return the latent frame at which the next text begins; None for the last."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else None


def noise_of_chunk(shape: tuple[int, int, int], start: int, stop: int, seeds: Sequence[int]) -> Latent:
    """Draw the static of the chunk of the latent frames from `start` to `stop` - 1; see `chunk_noise`."""
    channels, height, width = shape
    return noise((channels, stop - start, height, width), seeds, stream=f"static {start}")


def chunk_noise(shape: tuple[int, int, int], chunks: Sequence[int], seeds: Sequence[int]) -> Latent:
    """Draw the static of a video chunk by chunk: a longer video of the same seed begins with the same static.

    `shape` is (channels, height, width), `chunks` are lengths in latent frames, `seeds` one per sample.
    """
    edges = accumulate(chunks, initial=0)
    return torch.cat([noise_of_chunk(shape, *chunk, seeds) for chunk in pairwise(edges)], dim=2)


def stream_latents(
    model: Transformer,
    state: LatentState,
    script: Script,
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    static: Callable[[int, int], Latent] | None = None,
) -> Iterator[Denoised | Chunk]:
    """Denoise `state` chunk by chunk, yielding after every step and after every chunk.

    To a model that is not chunk-causal the whole video is one chunk. `seeds`, one per sample, decide all
    randomness after the static of `state`. Where nothing is known, `static` may draw that of a chunk when it
    comes up. Whether something is over is found out for all samples together. Several processes remember one
    ring, so their videos have no waypoints. Raises InputError if a chunk-causal model without anchors is
    given frames that it would need them for.
    """
    edges = [*accumulate(model.config.chunks(state.latent.shape[2]), initial=0)]
    ring: Ring | None = None
    ring_of_beginning: Ring | None = None
    text: TextMemory | None = None

    def window(start: int, stop: int) -> LatentState:
        if static is None:
            return state.window(start, stop)
        return LatentState.static(static(start, stop), float(state.sigma.max()))

    def asked(start: int, seen_from: int, memories: Memories) -> tuple[Predict, Solver, list[Generator]]:
        predict = sampling.cache.around(_guided(model, seen_from, memories, sampling), sampling.sigmas)
        return predict, sampling.solver, [generator("solver", seed, start) for seed in seeds]

    def draw(start: int, stop: int, known: AnchorMemory | None) -> Latent:
        assert text is not None
        if known is not None:
            memories, seen_from = Memories(text, known, None), start
        else:
            assert ring_of_beginning is not None, "the beginning is over"
            memories, seen_from = Memories(text, None, ring_of_beginning), ring_of_beginning.end
        how = asked(start, seen_from, memories)
        return sample_to_end(window(start, stop), sampling.sigmas, *how).latent

    anchors = Anchors(
        model,
        state,
        sampling.rows,
        clean_past=sampling.history_sigma == 0,
        draw=draw if sampling.waypoints and this_process().size == 1 else None,
    )
    number, contrast = -1, Contrast()
    for start, stop in pairwise(edges):
        if text is None or script.number_at(start) != number:
            number = script.number_at(start)
            text = script.read(number)
            anchors.begin(text, start, script.end(number))
            contrast.begin()
        memories = Memories(text, anchors.at(start, stop), ring)
        trim_memory()  # waypoints and chunks read memories of other sizes: what they free lies in pieces
        here = window(start, stop)
        for after in sample(here, sampling.sigmas, *asked(start, start, memories)):
            here = after
            yield Denoised(start, here)
        trim_memory()
        yield Chunk(start, here.latent)

        if stop < edges[-1]:
            anchors.keep(start, here.latent)
            static_on_it = noise(here.latent.shape[1:], seeds, stream=f"history {start}").to(here.latent)
            given = [time in anchors.known for time in range(start, stop)]
            kept = contrast.bounded(here.latent, given) if sampling.damped else here.latent
            ring = _remember(_look(model, start, memories), sampling, kept, static_on_it, given)
            if anchors.ends_beginning(start):
                ring_of_beginning = ring
            elif anchors.opening is not None:
                ring_of_beginning = None  # waypoints do not need it
            trim_memory()


class Contrast:
    """How strong each channel was at first under a text: what is remembered is never stronger.

    A chunk that came out a little too strong is copied by the next, which adds its own excess: in a minute
    edges grow hard and colours loud. Only the memory is damped, about its mean; what is shown is not. The
    measure is the first chunk of more than one frame, until a channel is so much stronger at once that
    something has come into the picture.
    """

    def __init__(self) -> None:
        self.most: Tensor | None = None

    def begin(self) -> None:
        """Start anew: another text may be another scene."""
        self.most = None

    def bounded(self, latent: Latent, given: Sequence[bool]) -> Latent:
        """Return a finished chunk as it shall be remembered: frames that were given as they are."""
        deviation, mean = torch.std_mean(latent, dim=(2, 3, 4), keepdim=True)
        if self.most is None:
            self.most = deviation if latent.shape[2] > 1 else None
            return latent
        self.most = torch.where(deviation > SOMETHING_NEW * self.most, deviation, self.most)
        damped = mean + (latent - mean) * (self.most / deviation.clamp_min(1e-6)).clamp_max(1.0)
        return torch.where(torch.tensor(given, device=latent.device)[:, None, None], latent, damped)


Look = Callable[..., TransformerOutput]  # the transformer at one place of the stream: latent and levels in


def _look(model: Transformer, start: int, memories: Memories) -> Look:
    text, anchors, ring = memories
    return partial(model, text=text, anchors=anchors, start=start, history=ring)


def _velocity(look: Look, sampling: Sampling) -> Predict:
    """Return the velocity that a look sees."""

    def velocity(latent: Latent, sigma: Sigma) -> Latent:
        levels = sigma[:, 0, :, 0, 0]
        scalars = None
        if sampling.distilled:
            guidance = levels.new_full((len(levels),), sampling.guidance)
            scalars = told(levels, next_level(levels, sampling.sigmas), guidance)
        shown = (levels * 1000).floor() / 1000 if sampling.thousandths else levels
        seen = latent
        if sampling.beside is not None:
            seen = torch.cat([latent, sampling.beside.to(latent).expand(len(latent), -1, -1, -1, -1)], 1)
        prediction = look(seen, shown, scalars=scalars).prediction
        return to_velocity(prediction, sampling.prediction, latent, sigma)

    return velocity


def _guided(model: Transformer, start: int, memories: Memories, sampling: Sampling) -> Predict:
    """Return the guided velocity that solvers ask for; outside the interval the prompts alone are asked."""
    velocity, interval = _velocity(_look(model, start, memories), sampling), sampling.guidance_interval
    skip = sampling.skip_layer
    if sampling.in_one_pass:
        if skip is None:
            return velocity
        return led_away(velocity, _weaker(model, start, memories, sampling, skip.layer), skip.amount)
    both = plain = in_one_batch(velocity)

    def of_both(latent: Latent, sigma: Sigma) -> Latent:
        return plain(latent, sigma).conditional

    prompts = _velocity(_look(model, start, memories.of_prompts()), sampling) if interval else of_both
    if skip is not None:
        weaker = _weaker(model, start, memories, sampling, skip.layer)
        prompts, both = led_away(prompts, weaker, skip.amount), both_led_away(both, weaker, skip.amount)

    def by(weight: float | int) -> Predict:
        return guided(prompts, both, weight=weight, interval=interval or (0.0, 1.0))

    early = by(sampling.guidance)
    if sampling.late_guidance is None:
        return early
    level, late = sampling.late_guidance.level, by(sampling.late_guidance.weight)
    return lambda latent, sigma: (early if bool(sigma.max() >= level) else late)(latent, sigma)


def _weaker(model: Transformer, start: int, memories: Memories, sampling: Sampling, layer: int) -> Predict:
    """Return the velocity that the prompts' rows see without a block.

    Several processes share all rows: there both are asked, and the prompts' kept.
    """
    alone = sampling.in_one_pass or this_process().size == 1
    seen = memories if sampling.in_one_pass or not alone else memories.of_prompts()
    velocity = _velocity(partial(_look(model, start, seen), without=layer), sampling)
    if alone:
        return velocity
    both = in_one_batch(velocity)
    return lambda latent, sigma: both(latent, sigma).conditional


def _remember(
    look: Look, sampling: Sampling, latent: Latent, static: Latent, given: Sequence[bool]
) -> Ring | None:
    """Read a finished chunk once more, at the level at which later ones see it: clean where given."""
    level = latent.new_tensor([0.0 if each else sampling.history_sigma for each in given])
    sigma = level[:, None, None].expand_as(latent[:, :1, :, :1, :1])
    rows, levels = sampling.rows(mix(latent, static, sigma)), sampling.rows(sigma[:, 0, :, 0, 0])
    return look(rows, levels, remember=True).ring
