"""Streaming: a latent video is denoised chunk by chunk, and every finished chunk is remembered in a ring.

Memory does not grow with the length of the video: a chunk reads the text, the ring (the last chunks) and at
most two anchors; a ring of the beginning is kept where they need it (`anchors.py`). With guidance the batch
stands twice in a pass, first under the prompt and then under the empty prompt; of large films each has a pass
of its own. A distilled model is told the guidance instead.
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
from unstatic.diffusion.guidance import (
    Answers,
    PredictBoth,
    both_led_away,
    guided,
    in_one_batch,
    in_turn,
    led_away,
)
from unstatic.diffusion.process import Latent, Predict, Prediction, Sigma, mix, to_velocity
from unstatic.diffusion.sampling import sample, sample_to_end
from unstatic.diffusion.schedule import Schedule
from unstatic.diffusion.solver import Solver
from unstatic.diffusion.step_cache import ALL_STEPS, StepCache
from unstatic.generate.anchors import Anchors
from unstatic.generate.contrast import Contrast
from unstatic.generate.memories import Memories
from unstatic.models.parts import Transformer
from unstatic.models.transformer import AnchorMemory, Ring, TextMemory, TransformerOutput

MOST_IN_ONE_BATCH = 32_768  # cells of the latent: 21 frames of 312x312


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


class Cut(NamedTuple):
    """A new scene begins at latent frame `start`: as if it were a video of its own that began with `still`.

    The still is not part of the video; but decoders begin with one.
    """

    start: int
    still: Latent


class Chunk(NamedTuple):
    """The latent frames from `start` on are final."""

    start: int
    latent: Latent


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What is said when: text `number` counts from latent frame `starts[number]` on; the first starts at 0.

    `read` makes of its number what the model reads, with the rows of a pass: all prompts and, with guidance,
    as many empty ones. It is asked when a text begins, so that no more than one is in memory. Those that
    start at one of `cuts` begin a new scene, which knows nothing of what came before.
    """

    starts: tuple[int, ...]
    read: Callable[[int], TextMemory]
    cuts: frozenset[int] = frozenset()

    def number_at(self, frame: int) -> int:
        """Return which text counts at a latent frame."""
        return bisect_right(self.starts, frame) - 1

    def end(self, number: int) -> int | None:
        """Return the latent frame at which the next text begins; None for the last."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else None


Static = Callable[[int, int], Latent]
"""The static of the chunk of the latent frames from one to before another."""


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
    static: Static | None = None,
    lazy: bool = False,
) -> Iterator[Cut | Denoised | Chunk]:
    """Denoise `state` chunk by chunk, yielding after every step and after every chunk.

    To a model that is not chunk-causal the whole video is one chunk. `seeds`, one per sample, decide all
    randomness after the static of `state`. `static` is how that of latent frames is drawn: of the stills of
    new scenes, which no state holds, and with `lazy` of every chunk when it comes up, where nothing is known.
    Whether something is over is found out for all samples together. Several processes remember one ring, so
    their videos have no waypoints. To a model whose first chunk is longer than a frame a new scene is a chunk
    without a past: it takes no still, and decoders go on from the scene before. Raises InputError if a
    chunk-causal model without anchors is given frames that it would need them for.
    """
    _, channels, _, height, width = state.latent.shape
    drawn = static or partial(noise_of_chunk, (channels, height, width), seeds=seeds)
    return _Stream(model, state, script, sampling, seeds, drawn, lazy).run()


class _Stream:
    """A video on its way: the text that counts now, and what is remembered."""

    def __init__(
        self,
        model: Transformer,
        state: LatentState,
        script: Script,
        sampling: Sampling,
        seeds: Sequence[int],
        static: Static,
        lazy: bool,
    ) -> None:
        self.model, self.state, self.script, self.sampling = model, state, script, sampling
        self.seeds, self.static, self.lazy = seeds, static, lazy
        self.anchors = Anchors(
            model,
            state,
            sampling.rows,
            clean_past=sampling.history_sigma == 0,
            draw=self.waypoint if sampling.waypoints and this_process().size == 1 else None,
        )
        self.contrast = Contrast()
        self.number = -1
        self.text: TextMemory | None = None
        self.ring: Ring | None = None
        self.ring_of_beginning: Ring | None = None

    def run(self) -> Iterator[Cut | Denoised | Chunk]:
        """Denoise one chunk after another; yield the steps, the chunks, and before a new scene its still."""
        edges = [*accumulate(self.model.config.chunks(self.state.latent.shape[2]), initial=0)]
        for start, stop in pairwise(edges):
            is_cut = self.is_cut(start, stop)
            if is_cut:
                self.ring = None
            self.listen(start)
            if is_cut and self.model.config.first_chunk == 1:
                yield Cut(start, self.begin_with_still(start))
            memories = self.memories(self.anchors.at(start, stop), self.ring)
            trim_memory()  # waypoints and chunks read memories of other sizes: what they free lies in pieces
            here = self.window(start, stop)
            for after in sample(here, self.sampling.sigmas, *self.asked(start, memories)):
                here = after
                yield Denoised(start, here)
            trim_memory()
            yield Chunk(start, here.latent)

            if stop < edges[-1]:
                self.anchors.keep(start, here.latent)
                given = [time in self.anchors.known for time in range(start, stop)]
                self.ring = self.remembered(start, here.latent, memories, given)
                self.keep_beginning(start)
            del memories  # it holds the ring of before
            trim_memory()

    def listen(self, start: int) -> None:
        """Read the text that counts at `start`, if it begins there."""
        number = self.script.number_at(start)
        if self.text is None or number != self.number:
            self.text, self.number = None, number  # two at once would be large
            self.anchors.forget_text()
            self.text = self.script.read(number)
            self.anchors.begin(self.text, start, self.script.end(number))
            self.contrast.begin()

    def memories(self, anchors: AnchorMemory | None, ring: Ring | None) -> Memories:
        """Return what a pass reads beside its chunk."""
        assert self.text is not None, "whoever asks has listened"
        return Memories(self.text, anchors, ring)

    def is_cut(self, start: int, stop: int) -> bool:
        """Tell whether a new scene begins with a chunk of which nothing is known."""
        return start > 0 and start in self.script.cuts and not any(self.anchors.told[start:stop])

    def begin_with_still(self, start: int) -> Latent:
        """Draw what a video of the scene that begins at `start` would begin with: a still, never shown."""
        self.anchors.scene = before = start - 1
        memories = self.memories(None, None)
        here = self.drawn(before, start)
        still = sample_to_end(here, self.sampling.sigmas, *self.asked(before, memories)).latent
        assert self.text is not None, "memories are of a text"
        self.anchors.forget(start)
        self.anchors.begin(self.text, before, self.script.end(self.number))
        self.anchors.keep(before, still)
        self.ring = self.remembered(before, still, memories, [False])
        return still

    def window(self, start: int, stop: int) -> LatentState:
        """Return where the chunk of the latent frames from `start` to `stop` - 1 begins."""
        return self.drawn(start, stop) if self.lazy else self.state.window(start, stop)

    def drawn(self, start: int, stop: int) -> LatentState:
        """Draw static for the latent frames from `start` to `stop` - 1, of which nothing is known."""
        static = self.static(start, stop).to(self.state.latent)
        return LatentState.static(static, float(self.state.sigma.max()))

    def asked(
        self, start: int, memories: Memories, seen_from: int | None = None
    ) -> tuple[Predict, Solver, list[Generator]]:
        """Return how the chunk at `start` is sampled, or what the model takes for it, behind a ring's end."""
        where = start - self.anchors.scene if seen_from is None else seen_from
        velocity = _guided(self.model, where, memories, self.sampling)
        predict = self.sampling.cache.around(velocity, self.sampling.sigmas)
        return predict, self.sampling.solver, [generator("solver", seed, start) for seed in self.seeds]

    def remembered(
        self, start: int, latent: Latent, memories: Memories, given: Sequence[bool]
    ) -> Ring | None:
        """Return the ring behind a finished chunk, of which some frames were given."""
        static_on_it = noise(latent.shape[1:], self.seeds, stream=f"history {start}").to(latent)
        kept = self.contrast.bounded(latent, given) if self.sampling.damped else latent
        return _remember(
            _look(self.model, start - self.anchors.scene, memories), self.sampling, kept, static_on_it, given
        )

    def keep_beginning(self, start: int) -> None:
        """Keep the ring where waypoints may need it, until they know better."""
        if self.anchors.ends_beginning(start):
            assert self.ring is not None, "a chunk was remembered"
            last = tuple(chunks[-1:] for chunks in self.ring.blocks)  # one is enough to go on from
            self.ring_of_beginning = Ring(last, self.ring.end)
        elif self.anchors.opening is not None:
            self.ring_of_beginning = None

    def waypoint(self, start: int, stop: int, known: AnchorMemory | None) -> Latent:
        """Draw the latent frames from `start` to `stop` - 1, beside anchors alone or behind the beginning."""
        ring = self.ring_of_beginning if known is None else None
        assert known is not None or ring is not None, "the beginning is over"
        how = self.asked(start, self.memories(known, ring), None if ring is None else ring.end)
        return sample_to_end(self.window(start, stop), self.sampling.sigmas, *how).latent


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
    plain = in_one_batch(velocity)
    alone = _velocity(_look(model, start, memories.of_prompts()), sampling)
    turns = in_turn(alone, _velocity(_look(model, start, memories.of_empty()), sampling))

    def by_size(latent: Latent, sigma: Sigma, /) -> Answers:
        return (turns if _fills_passes(latent) else plain)(latent, sigma)

    def of_both(latent: Latent, sigma: Sigma) -> Latent:
        return alone(latent, sigma) if _fills_passes(latent) else plain(latent, sigma).conditional

    prompts: Predict = alone if interval else of_both
    both: PredictBoth = by_size
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


def _fills_passes(latent: Latent) -> bool:
    """Tell whether a film is so large that two in one batch would be no faster, and take twice the memory.

    Several processes share all rows of a pass.
    """
    return latent[0, 0].numel() > MOST_IN_ONE_BATCH and this_process().size == 1


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
