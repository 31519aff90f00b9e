"""Classifier-free guidance as a wrapper on predict.

A guided denoiser is again a `Predict`, so samplers know nothing of guidance. How the conditional and the
unconditional answer come about is the caller's explicit choice: `in_turn` (two calls) or `in_one_batch` (one
call on a batch twice as long). `led_away` guides by a weaker denoiser instead of by none of the prompt.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch

from unstatic.core.errors import InputError
from unstatic.diffusion.process import Latent, Predict, Sigma


class Answers(NamedTuple):
    """The velocities at one point with and without the prompt."""

    conditional: Latent
    unconditional: Latent


@runtime_checkable
class PredictBoth(Protocol):
    """A denoiser asked with and without its prompt."""

    def __call__(self, latent: Latent, sigma: Sigma, /) -> Answers: ...


def in_turn(conditional: Predict, unconditional: Predict) -> PredictBoth:
    """Ask twice: less memory."""

    def both(latent: Latent, sigma: Sigma) -> Answers:
        return Answers(conditional(latent, sigma), unconditional(latent, sigma))

    return both


def in_one_batch(predict: Predict) -> PredictBoth:
    """Ask once, with the batch twice over; `predict` must hold all prompts and then as many empty ones."""

    def both(latent: Latent, sigma: Sigma) -> Answers:
        velocities = predict(torch.cat([latent, latent]), torch.cat([sigma, sigma]))
        return Answers(*velocities.chunk(2))

    return both


def led_away(predict: Predict, weaker: Predict, amount: float) -> Predict:
    """Lead a denoiser away from what a weaker one says, v + amount (v - weaker) (autoguidance, 2406.02507).

    What the weaker one gets wrong more often, the other gets wrong less: the step goes on in that direction.
    """

    def answer(latent: Latent, sigma: Sigma) -> Latent:
        velocity = predict(latent, sigma)
        return velocity + amount * (velocity - weaker(latent, sigma))

    return answer


def both_led_away(both: PredictBoth, weaker: Predict, amount: float) -> PredictBoth:
    """Lead both answers by as much as `led_away` leads the conditional one.

    Whatever the weight, a guided answer is led so far then: the shares of the two sum to 1.
    """

    def answers(latent: Latent, sigma: Sigma) -> Answers:
        said = both(latent, sigma)
        away = amount * (said.conditional - weaker(latent, sigma))
        return Answers(said.conditional + away, said.unconditional + away)

    return answers


def guide(answers: Answers, weight: float) -> Latent:
    """Go `weight` times the way from the unconditional to the conditional answer, u + w (c - u) (2207.12598).

    The shares 1 - w and w sum to 1, so guiding the velocity, x0 or eps is one and the same.
    """
    return torch.lerp(answers.unconditional, answers.conditional, weight)


def rescale(velocity: Latent, conditional: Latent, amount: float) -> Latent:
    """Bring each sample's standard deviation back to the conditional one's (2305.08891, section 3.4).

    Large weights over-expose; `amount` (phi in the paper) 0 leaves that, 1 takes all of it back.
    """
    axes = (1, 2, 3, 4)
    ratio = conditional.std(axes, keepdim=True) / velocity.std(axes, keepdim=True)
    return torch.lerp(velocity, velocity * ratio, amount)


def guided(
    conditional: Predict,
    both: PredictBoth,
    *,
    weight: float,
    interval: tuple[float, float] = (0.0, 1.0),
    rescaled: float = 0.0,
) -> Predict:
    """Return a denoiser that is guided where interval[0] < sigma <= interval[1] (2404.07724).

    Only `conditional` is called when nothing is to be guided: always at weight 1, and whenever every latent
    frame is outside the interval. `rescaled` in [0, 1] is the amount given to `rescale`. Raises InputError
    for a weight that is not finite and for an interval that is reversed or leaves [0, 1].
    """
    low, high = interval
    if not math.isfinite(weight):
        raise InputError(f"the guidance weight must be a finite number, got {weight}; 1 means no guidance")
    if not 0 <= low <= high <= 1:
        raise InputError(f"the guidance interval must satisfy 0 <= low <= high <= 1, got {interval}")
    if not 0 <= rescaled <= 1:
        raise InputError(f"the guidance rescale must be from 0 to 1, got {rescaled}")
    if weight == 1:
        return conditional

    def predict(latent: Latent, sigma: Sigma) -> Latent:
        inside = (sigma > low) & (sigma <= high)
        if not bool(inside.any()):
            return conditional(latent, sigma)
        answers = both(latent, sigma)
        velocity = guide(answers, weight)
        if rescaled > 0:
            velocity = rescale(velocity, answers.conditional, rescaled)
        return torch.where(inside, velocity, answers.conditional)

    return predict
