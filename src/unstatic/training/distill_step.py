"""The distillation step: in one pass a student lands where its teacher gets in several, guidance included.

Progressive distillation (2202.00512) of a guided teacher (2210.03142), steps of several lengths at once:

    draw      a chunk of the clip, a schedule, one of its steps for every sample, a guidance weight, a history
              as in streaming, and known frames, past or future
    teach     from the noised latent the teacher walks the step in substeps, with and without the prompt; one
              that was distilled itself goes in one
    open      of a window of a minute the student often sees what it will see in one, the minute's first frame
    spoil     the student often reads a past with its own errors (`recycle`), where the teacher reads the real
    learn     the student is told the step and the weight; its target is the x0 at which a straight line from
              the start would end where the teacher did

Some batches stay ordinary ones, without the two numbers: the student remains a denoiser that can be guided,
edited with, and asked how likely a film is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.seeds import normal_like
from unstatic.data.latents import LatentBatch
from unstatic.diffusion.distilled import SCALARS, told
from unstatic.diffusion.loss import denoising_loss
from unstatic.diffusion.process import Latent, Prediction, Sigma, mix, per_frame, to_velocity, to_x0
from unstatic.diffusion.schedule import shifted
from unstatic.diffusion.solver import Step, multistep
from unstatic.models.transformer import TransformerOutput, VideoTransformer
from unstatic.training.diffusion_step import (
    DiffusionStep,
    chance,
    draw_history_levels,
    draw_kept,
    errors_by_level,
)
from unstatic.training.recycle import RecycleConfig, recycled
from unstatic.training.step import StepOutput


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig:
    """What is distilled: steps of schedules of so many `grids`, with guidance from 1 to `max_guidance`.

    The teacher takes as many substeps as make a schedule of about `finest` steps, at most `substeps`. The
    share `plain` of all batches is ordinary training. `openings` says how often the student's anchor is the
    first frame of the minute, where it is known, and `recycle` how often the past has errors. With
    `teacher_walks` a teacher that was distilled itself, and trained on since, walks as one that was not.
    """

    grids: tuple[int, ...] = (4, 6, 8, 12, 24)
    substeps: int = 4
    finest: int = 16
    max_guidance: float = 6.0
    plain: float = 0.25
    openings: float = 0.75
    recycle: RecycleConfig = field(default_factory=RecycleConfig)
    teacher_walks: bool = False

    def __post_init__(self) -> None:
        if min(self.grids, default=0) < 1 or self.substeps < 1 or self.max_guidance < 1:
            raise InputError(f"{self}: there must be a grid, and all of them, substeps, guidance at least 1")


class Case(NamedTuple):
    """A chunk at the start of a step, and what a model may read meanwhile; `levels` go from there to the end.

    The chunk begins at frame `start`, `history` are the frames before it at their own levels, `anchors` clean
    frames of the clip, before, in or after the chunk, with `times`.
    """

    latent: Latent
    levels: tuple[Sigma, ...]
    guidance: Float[Tensor, "b"]
    start: int
    history: Latent
    history_sigma: Float[Tensor, "b s"]
    anchors: Latent
    times: Int[Tensor, "b m"]


Look = Callable[..., TransformerOutput]
"""A transformer that has read all of a case but the chunk itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillStep:
    """A training step for the student; `plain` is the ordinary one for it, whose draws are used here too.

    `shift` bends the schedules as in sampling.
    """

    teacher: VideoTransformer
    plain: DiffusionStep
    config: DistillConfig
    shift: float

    def __call__(self, batch: LatentBatch, generator: torch.Generator) -> StepOutput:
        if chance(self.config.plain, (), generator):
            return self.plain(batch, generator)
        case = self.draw(batch, generator)
        opened = self.with_opening(case, batch, generator)
        with torch.no_grad():
            end = self.teach(case if opened is None else without_anchors(case), batch.text)
            case = self.spoil(opened or case, batch, generator, opened=opened is not None)
        x, sigma, sigma_next = case.latent, case.levels[0], case.levels[-1]

        # Where a straight line would have to head
        left = what_is_left(sigma, sigma_next)
        x0 = (end - left * x) / (1 - left)

        look = read(self.plain.model, case, batch.text)
        x0_hat = aim(look, self.plain.config.prediction, x, case.levels, case.guidance)

        frames = sigma[:, 0, :, 0, 0]
        counted = frames > 0
        stop = case.start + x.shape[2]
        objects = None if batch.objects is None else batch.objects[:, :, case.start : stop]
        seen = replace(batch, latent=x, objects=objects)
        loss = denoising_loss(
            x0_hat,
            x0,
            frames,
            counted[:, None, :, None, None],
            weighting=self.plain.weighting(),
            importance=self.plain.importance(seen, frames),
        )
        errors = errors_by_level(x0_hat.detach() - x0, frames, counted)
        return StepOutput(loss=loss, metrics={f"landing_{name}": error for name, error in errors.items()})

    def draw(self, batch: LatentBatch, generator: torch.Generator) -> Case:
        """Draw what is asked about one chunk of a batch's clips."""
        x0, settings = batch.latent, self.plain.config
        num_samples, _, frames, _, _ = x0.shape
        lengths = self.plain.model.config.chunks(frames)
        place = int(torch.randint(len(lengths), (), generator=generator))
        start, stop = sum(lengths[:place]), sum(lengths[: place + 1])

        # The step, and frames of the chunk that are given
        kept = draw_kept(num_samples, lengths[place], settings.kept, generator).to(x0.device)
        levels = tuple(
            per_frame(level.to(x0.device)[:, None].expand_as(kept).masked_fill(kept, 0.0))
            for level in self.draw_levels(num_samples, generator)
        )
        guidance = 1 + (self.config.max_guidance - 1) * torch.rand(num_samples, generator=generator)

        # The past
        before = draw_history_levels(num_samples, place, settings, generator)
        repeats = torch.tensor(lengths[:place], dtype=torch.long)
        history_sigma = before.repeat_interleave(repeats, 1).to(x0.device)
        eps = normal_like(x0, generator)
        times = self.plain.draw_anchors(num_samples, frames, generator).to(x0.device)
        where = times[:, None, :, None, None].expand(-1, x0.shape[1], -1, *x0.shape[3:])
        return Case(
            latent=mix(x0[:, :, start:stop], eps[:, :, start:stop], levels[0]),
            levels=levels,
            guidance=guidance.to(x0.device),
            start=start,
            history=mix(x0[:, :, :start], eps[:, :, :start], per_frame(history_sigma)),
            history_sigma=history_sigma,
            anchors=x0.gather(2, where),
            times=times,
        )

    def draw_levels(self, num_samples: int, generator: torch.Generator) -> list[Float[Tensor, "b"]]:
        """Draw one schedule for all and a step of it for each; return the levels of its substeps."""
        config = self.config
        steps = config.grids[int(torch.randint(len(config.grids), (), generator=generator))]
        substeps = min(config.substeps, max(1, round(config.finest / steps)))
        sigmas = shifted(steps * substeps, self.shift)
        first = substeps * torch.randint(steps, (num_samples,), generator=generator)
        return [sigmas[first + substep] for substep in range(substeps + 1)]

    def teach(self, case: Case, text: Float[Tensor, "b s e"]) -> Latent:
        """Return where the guided teacher gets from the start of the step to its end."""
        if not self.config.teacher_walks and set(SCALARS) <= set(self.teacher.config.scalars):
            look = read(self.teacher, case, text)
            return land(look, self.plain.config.prediction, case.latent, case.levels, case.guidance)
        empty = self.plain.empty_text.to(text).expand_as(text)
        look = read(self.teacher, twice(case), torch.cat([text, empty]))
        weight = case.guidance[:, None, None, None, None]

        def velocity(latent: Latent, sigma: Sigma) -> Latent:
            both, levels = torch.cat([latent, latent]), torch.cat([sigma, sigma])
            prediction = look(both, levels[:, 0, :, 0, 0]).prediction.float()
            answers = to_velocity(prediction, self.plain.config.prediction, both, levels)
            conditional, unconditional = answers.chunk(2)
            return torch.lerp(unconditional, conditional, weight)

        latent, past = case.latent, None
        for sigma, sigma_next in pairwise(case.levels):
            latent, past = multistep(velocity, Step(latent, sigma, sigma_next, past))
        return latent

    def with_opening(self, case: Case, batch: LatentBatch, generator: torch.Generator) -> Case | None:
        """Return a case with the first frame of the minute as its anchor, in some cases; else None.

        In a film it is seen as soon as the ring has passed it, however old it is. Teachers were only ever
        shown frames of the same few seconds: they teach such cases without an anchor.
        """
        if batch.opening is None or batch.ages is None or not case.start:
            return None
        if not self.plain.model.config.anchors:
            return None
        if not chance(self.config.openings, (), generator):
            return None
        return case._replace(anchors=batch.opening, times=-batch.ages[:, None])

    def spoil(
        self, case: Case, batch: LatentBatch, generator: torch.Generator, *, opened: bool = False
    ) -> Case:
        """Return a case with a past as the student makes it, in some cases; frames that were given stay.

        The first frame of the minute, if the case was `opened`, is the student's own then as well.
        """
        if not case.start or not chance(self.config.recycle.share, (), generator):
            return case
        if opened:
            alone = without_anchors(case)
            case = case._replace(anchors=self.remake(case.anchors, alone, batch.text, generator))
        past = batch.latent[:, :, : case.start]
        made = self.remake(past, case, batch.text, generator)
        sigma = per_frame(case.history_sigma)
        return case._replace(history=case.history + (sigma > 0) * (1 - sigma) * (made - past))

    def remake(
        self, latent: Latent, case: Case, text: Float[Tensor, "b s e"], generator: torch.Generator
    ) -> Latent:
        """Return the first frames of a film as the student makes them, beside a case's anchors."""
        look = read(self.plain.model, case._replace(start=0), text)

        def go(latent: Latent, sigma: float, sigma_next: float) -> Latent:
            levels = tuple(torch.full_like(latent[:, :1, :, :1, :1], level) for level in (sigma, sigma_next))
            return land(look, self.plain.config.prediction, latent, levels, case.guidance)

        return recycled(latent, go, self.config.recycle, shift=self.shift, generator=generator)


def without_anchors(case: Case) -> Case:
    """Return a case in which only the past is known."""
    return case._replace(anchors=case.anchors[:, :, :0], times=case.times[:, :0])


def aim(
    look: Look, prediction: Prediction, x: Latent, levels: Sequence[Sigma], guidance: Float[Tensor, "b"]
) -> Latent:
    """Return the x0 at which a distilled model aims, told to go from the first of some levels to the last."""
    frames, frames_next = levels[0][:, 0, :, 0, 0], levels[-1][:, 0, :, 0, 0]
    said = look(x, frames, scalars=told(frames, frames_next, guidance)).prediction.float()
    return to_x0(said, prediction, x, levels[0])


def land(
    look: Look, prediction: Prediction, x: Latent, levels: Sequence[Sigma], guidance: Float[Tensor, "b"]
) -> Latent:
    """Return where a distilled model gets in one pass from the first of some levels to the last."""
    x0 = aim(look, prediction, x, levels, guidance)
    return x0 + what_is_left(levels[0], levels[-1]) * (x - x0)


def what_is_left(sigma: Sigma, sigma_next: Sigma) -> Sigma:
    """Return the share of the way from x0 that is left after a step: end = x0 + left (x - x0)."""
    return torch.where(sigma > 0, sigma_next / sigma.clamp(min=1e-6), 0.0)


def twice(case: Case) -> Case:
    """Return what a guided model reads: everything for the prompts, and again for the empty prompt."""
    names = ("history", "history_sigma", "anchors", "times")
    return case._replace(**{name: torch.cat([getattr(case, name)] * 2) for name in names})


def read(model: VideoTransformer, case: Case, states: Float[Tensor, "b s e"]) -> Look:
    """Let a model read the text, the anchors and the history of a case."""
    text = model.encode_text(states)
    anchors = model.encode_anchors(case.anchors, case.times, text) if case.times.shape[1] else None
    look = partial(model, text=text, anchors=anchors)
    if not case.start:
        return look
    ring = look(case.history, case.history_sigma, remember=True).ring
    return partial(look, start=case.start, history=ring)
