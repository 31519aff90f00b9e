"""Conditions: what is known about the result, as data. Every task is a list of them.

    text to video []          image to video [FirstFrame]    extend [Prefix]      extend backward [Suffix]
    loop [Prefix, Suffix]     blend [Prefix, Suffix]         remix [Source]       repaint [Region]
    storyboard [Cue, Cue]

A `LatentState` says for every latent frame how noisy it still is, and for every position whether its clean
value is known. Conditions edit that before sampling starts, in any order (where two keep one position, the
later wins); from then on the sampler treats all tasks alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.diffusion.process import Latent, Sigma, mix

Mask = Bool[Tensor, "b 1 t h w"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentState:
    """A video on its way from static to clean.

    latent     the noisy latent, at the levels `sigma`; before the first step it is mix(clean, noise, sigma)
    sigma      the level of each latent frame; 0 from the start for a frame that is kept whole
    noise      the static it starts from
    clean      what is known of the result: binding where kept, elsewhere only a start (0 if nothing is known)
    keep_mask  where `clean` is binding; in a frame that is kept in part, the kept positions run along
               mix(clean, noise, sigma) to their clean values
    estimate   the x0 that the last step aimed at, for previews
    """

    latent: Latent
    sigma: Sigma
    noise: Latent
    clean: Latent
    keep_mask: Mask
    estimate: Latent

    @classmethod
    def static(cls, noise: Latent, level: float = 1.0) -> "LatentState":
        """Start from pure static, with nothing known; some schedules call it a level a little below 1."""
        unknown = noise.new_zeros(()).expand_as(noise)  # one number: a minute's latent is ten megabytes
        return cls(
            latent=noise,
            sigma=torch.full_like(noise[:, :1, :, :1, :1], level),
            noise=noise,
            clean=unknown,
            keep_mask=noise.new_zeros((), dtype=torch.bool).expand_as(noise[:, :1]),
            estimate=unknown,
        )

    def keep(self, clean: Latent, where: Mask) -> "LatentState":
        """Bind the positions `where` to their values in `clean`; before the first step only."""
        keep_mask = self.keep_mask | where
        whole_frames = keep_mask.all(4, keepdim=True).all(3, keepdim=True)
        return self._restarted(
            clean=torch.where(where, clean, self.clean),
            sigma=self.sigma.masked_fill(whole_frames, 0.0),
            keep_mask=keep_mask,
        )

    def start_from(self, clean: Latent, strength: float) -> "LatentState":
        """Start at level `strength` from `clean`, except where kept; before the first step only."""
        return self._restarted(
            clean=torch.where(self.keep_mask, self.clean, clean),
            sigma=self.sigma.clamp(max=strength),
            keep_mask=self.keep_mask,
        )

    def advance(self, latent: Latent, sigma: Sigma, estimate: Latent) -> "LatentState":
        """Move on to `latent` at `sigma`. What is kept stays kept, and a frame that waits is not touched."""
        moved = torch.where(sigma < self.sigma, latent, self.latent)
        kept = _mix_exactly(self.clean, self.noise, sigma)
        return replace(self, latent=torch.where(self.keep_mask, kept, moved), sigma=sigma, estimate=estimate)

    def window(self, start: int, stop: int | None) -> "LatentState":
        """Cut out the latent frames start ... stop - 1, for example one chunk; None goes to the end."""
        cut = (slice(None), slice(None), slice(start, stop))
        return replace(
            self,
            latent=self.latent[cut],
            sigma=self.sigma[cut],
            noise=self.noise[cut],
            clean=self.clean[cut],
            keep_mask=self.keep_mask[cut],
            estimate=self.estimate[cut],
        )

    def held(self, beyond: "LatentState") -> "LatentState":
        """Go on with the frames of `beyond`, in which whatever is known of the last frame stands still.

        Before the first step only. It is for frames that nobody will see: models denoise whole chunks.
        """
        last, frames = self.window(-1, None), beyond.latent.shape[2]
        rest = beyond._restarted(
            clean=last.clean.expand_as(beyond.latent),
            sigma=last.sigma.expand_as(beyond.sigma),
            keep_mask=last.keep_mask.expand(-1, -1, frames, -1, -1),
        )
        return LatentState(
            latent=torch.cat([self.latent, rest.latent], dim=2),
            sigma=torch.cat([self.sigma, rest.sigma], dim=2),
            noise=torch.cat([self.noise, rest.noise], dim=2),
            clean=torch.cat([self.clean, rest.clean], dim=2),
            keep_mask=torch.cat([self.keep_mask, rest.keep_mask], dim=2),
            estimate=torch.cat([self.estimate, rest.estimate], dim=2),
        )

    def _restarted(self, *, clean: Latent, sigma: Sigma, keep_mask: Mask) -> "LatentState":
        latent = _mix_exactly(clean, self.noise, sigma)
        return replace(self, latent=latent, sigma=sigma, clean=clean, keep_mask=keep_mask, estimate=clean)


def _mix_exactly(clean: Latent, noise: Latent, sigma: Sigma) -> Latent:
    """Mix, but at sigma 0 return `clean` bit for bit: 1 * clean + 0 * noise would lose the sign of a zero."""
    return torch.where(sigma == 0, clean, mix(clean, noise, sigma))


@runtime_checkable
class Condition(Protocol):
    """Something known about the result."""

    def apply_to(self, state: LatentState) -> LatentState: ...


def apply_conditions(
    state: LatentState, conditions: Iterable[Condition], *, end: int | None = None
) -> LatentState:
    """Apply all conditions, in order, to a video that ends after `end` latent frames (None: after all).

    What is made beyond the end, because chunks are whole, is cut off later. Until then the known part of the
    last frame stands still there: that lets a model come to rest at it.
    """
    known = reduce(lambda so_far, each: each.apply_to(so_far), conditions, state.window(0, end))
    beyond = state.window(known.latent.shape[2], None)
    return known.held(beyond) if beyond.latent.shape[2] else known


# ---------------------------------------------------------------------------------------------- kept latents
#
# A condition's latent has the batch of the state, or batch 1 for every sample. What does not fit the state is
# an InputError.


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prefix:
    """The video begins with these latent frames."""

    latent: Float[Tensor, "b c m h w"]

    def apply_to(self, state: LatentState) -> LatentState:
        """Keep the first frames."""
        return _keep_frames(state, self.latent, start=0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Suffix:
    """The video ends with these latent frames."""

    latent: Float[Tensor, "b c m h w"]

    def apply_to(self, state: LatentState) -> LatentState:
        """Keep the last frames."""
        return _keep_frames(state, self.latent, start=state.latent.shape[2] - self.latent.shape[2])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Span:
    """The video has these latent frames from latent frame `start` on."""

    latent: Float[Tensor, "b c m h w"]
    start: int

    def apply_to(self, state: LatentState) -> LatentState:
        """Keep them."""
        return _keep_frames(state, self.latent, start=self.start)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FirstFrame:
    """The video begins with this one latent frame, a still."""

    latent: Float[Tensor, "b c 1 h w"]

    def apply_to(self, state: LatentState) -> LatentState:
        """Keep the first frame."""
        return Prefix(latent=self.latent).apply_to(state)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LastFrame:
    """The video ends with this one latent frame, encoded as an end (a still is encoded as a start)."""

    latent: Float[Tensor, "b c 1 h w"]

    def apply_to(self, state: LatentState) -> LatentState:
        """Keep the last frame."""
        return Suffix(latent=self.latent).apply_to(state)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Region:
    """The video equals `latent` where `keep_mask` is true; the rest is made anew."""

    latent: Latent
    keep_mask: Mask

    def apply_to(self, state: LatentState) -> LatentState:
        """Keep the masked positions."""
        _check_fits(self.latent, state.latent)
        return state.keep(self.latent.to(state.latent), self.keep_mask.to(state.keep_mask.device))


def _keep_frames(state: LatentState, latent: Float[Tensor, "b c m h w"], *, start: int) -> LatentState:
    given, available = latent.shape[2], state.latent.shape[2]
    if start < 0 or start + given > available:
        raise InputError(
            f"{given} latent frames to keep do not fit in a video of {available}: make it longer"
        )
    _check_fits(latent, state.latent[:, :, :given])
    clean, where = state.clean.clone(), torch.zeros_like(state.keep_mask)
    clean[:, :, start : start + given] = latent.to(clean)
    where[:, :, start : start + given] = True
    return state.keep(clean, where)


def _check_fits(given: Tensor, expected: Tensor) -> None:
    if given.shape not in (expected.shape, expected[:1].shape):
        raise InputError(f"a condition of shape {tuple(given.shape)} should have {tuple(expected.shape)}")


# ---------------------------------------------------------------------------------------------- a known start


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """Start from this latent video, noised to `strength` (2108.01073): 0 returns it, 1 ignores it."""

    latent: Latent
    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise InputError(f"strength must be from 0 (as it is) to 1 (all new), got {self.strength}")

    def apply_to(self, state: LatentState) -> LatentState:
        """Lower the start of every frame that is not kept."""
        _check_fits(self.latent, state.latent)
        return state.start_from(self.latent.to(state.latent), self.strength)


# ------------------------------------------------------------------------------------------------------ text


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """From `at` seconds on, the prompt is `prompt`.

    With `cut` a new scene begins, and without it the scene goes on; None leaves it open, for whoever plans
    the video. A cue belongs to the text timeline and not to the latent: `apply_to` returns the state
    unchanged, and whoever chooses the text for a stretch of video asks `prompt_at`.
    """

    at: float
    prompt: str
    cut: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.at) and self.at >= 0):
            raise InputError(f"a cue's time must be 0 or more seconds, got {self.at}")

    def apply_to(self, state: LatentState) -> LatentState:
        """Return the state unchanged."""
        return state


def prompt_at(conditions: Iterable[Condition], time_s: float, *, otherwise: str) -> str:
    """Return the prompt of the last cue that has begun at `time_s`; `otherwise` if none has.

    Of two cues at the same time, the later in the list counts.
    """
    begun = [each for each in conditions if isinstance(each, Cue) and each.at <= time_s]
    return max(reversed(begun), key=lambda cue: cue.at).prompt if begun else otherwise
