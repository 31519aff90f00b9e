"""Possible and impossible films: those that break the laws of their world should surprise a model more.

Nothing is sampled: a chunk of a film is noised, the model that has seen all before it says how it goes on,
and its error is its surprise. How hard pictures are as such must not matter, so the films of a case are made
of the same frames (after the matched sets of IntPhys, 1803.07616): two possible films exchange what comes
after some moment, or a film runs backwards.

A leap is surprising without any knowledge of a world. So beside a model stands who only expects each frame to
be like the one before: what that answers as well shows nothing but a sense of continuity.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.core.seeds import generator, numpy_generator
from unstatic.diffusion.process import Prediction, mix, to_x0
from unstatic.evals.intervals import Score
from unstatic.models.parts import Transformer
from unstatic.world.captions import caption
from unstatic.world.mix import BALANCED_MIX, contrast
from unstatic.world.physics import simulate
from unstatic.world.render import render
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import COLOURS, SceneSpec, Trajectory

# Apart from the seeds of training and of all prompts.
FIRST_SEED = 930_000_000
FRAMES, FPS, SIDE = 65, 16, 64
SIGMAS = (0.3, 0.5, 0.7)

Frames = UInt8[np.ndarray, "t h w 3"]
Scene = tuple[SceneSpec, Trajectory]


@dataclass(frozen=True, slots=True)
class Law:
    """What may not happen.

    `twin` makes of a scene another one that differs in a single thing, so that a film which changes from one
    to the other breaks the law; without a twin the film is run backwards. `events` are where it is plain.
    """

    events: tuple[str, ...]
    twin: Callable[[SceneSpec, Trajectory], Scene] | None


@dataclass(frozen=True, slots=True)
class Case:
    """As many possible films as impossible ones, of the same frames and with one caption."""

    law: str
    prompt: str
    seed: int
    possible: tuple[Frames, ...]
    impossible: tuple[Frames, ...]


def _without_hero(spec: SceneSpec, trajectory: Trajectory) -> Scene:
    return spec, _moved(trajectory, np.array([0.0, 0.0, -50.0]))


def _aside(spec: SceneSpec, trajectory: Trajectory) -> Scene:
    """Put the hero aside by more than its own width, towards the middle of the frame."""
    right = np.cross(trajectory.targets[0] - trajectory.eyes[0], (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    middle = trajectory.positions[len(trajectory.positions) // 2, 0]
    sign = -1.0 if (middle - trajectory.targets[0]) @ right > 0 else 1.0
    return spec, _moved(trajectory, sign * 2.4 * spec.objects[0].size * right)


def _the_other_way(spec: SceneSpec, trajectory: Trajectory) -> Scene:
    """Let what rolls roll back the way it came: in the middle of the clip both are in one place."""
    return spec, trajectory._replace(
        positions=trajectory.positions[::-1].copy(), quaternions=trajectory.quaternions[::-1].copy()
    )


def _of_another_colour(spec: SceneSpec, trajectory: Trajectory) -> Scene:
    hero = spec.objects[0]
    others = [each for each in COLOURS if contrast(each, hero.colour)]
    return _with_hero(spec, colour=others[spec.seed % len(others)]), trajectory


def _of_another_shape(spec: SceneSpec, trajectory: Trajectory) -> Scene:
    others = [each for each in ("ball", "cube", "cone") if each != spec.objects[0].shape]
    return _with_hero(spec, shape=others[spec.seed % len(others)], aspect=1.0), trajectory


LAWS = {
    "permanence": Law(("rest", "spin", "roll", "slide", "bounce"), _without_hero),
    "continuity": Law(("rest", "spin", "roll", "slide", "bounce"), _aside),
    "inertia": Law(("roll",), _the_other_way),
    "colour": Law(("rest", "spin", "roll", "slide", "bounce"), _of_another_colour),
    "shape": Law(("rest",), _of_another_shape),
    "arrow of time": Law(("fall", "topple", "ramp", "slide"), None),
}


def draw_cases(count: int, *, enlarge: int = 1) -> Iterator[Case]:
    """Film cases, the laws in turn, `enlarge` times as large; a shorter list begins a longer one."""
    for number in range(count):
        law = list(LAWS)[number % len(LAWS)]
        yield draw_case(law, FIRST_SEED + number, enlarge=enlarge)


def draw_case(law: str, seed: int, *, enlarge: int = 1) -> Case:
    """Film one scene with `law` kept, and with it broken in the middle of the clip."""
    mix = dataclasses.replace(
        BALANCED_MIX,
        num_objects=(1.0,),
        cameras={"still": 1.0},
        events=dict.fromkeys(LAWS[law].events, 1.0),
    )
    spec = sample_scene(seed, frames=FRAMES, fps=FPS, width=SIDE, height=SIDE, mix=mix)
    spec = dataclasses.replace(spec, width=enlarge * SIDE, height=enlarge * SIDE)
    trajectory = simulate(spec)
    film = render(spec, trajectory).frames
    twin = LAWS[law].twin
    if twin is None:
        possible, impossible = (film,), (film[::-1].copy(),)
    else:
        possible = film, render(*twin(spec, trajectory)).frames
        impossible = tuple(
            np.concatenate([one[: FRAMES // 2], other[FRAMES // 2 :]])
            for one, other in (possible, possible[::-1])
        )
    prompt = caption(spec, numpy_generator("case", seed), style="exact")
    return Case(law, prompt, seed, possible, impossible)


@torch.inference_mode()
def surprise(
    model: Transformer,
    latent: Float[Tensor, "1 c t h w"],
    text: Float[Tensor, "1 s e"],
    prediction: Prediction,
    *,
    seed: int = 0,
) -> float:
    """Return the mean squared error of x0 with which a model denoises every chunk after the first.

    Each chunk is noised to each of the SIGMAS in turn and predicted from the clean chunks before it. Equal
    seeds draw equal noise, so that the films of a case are compared under the same.
    """
    frames = latent.shape[2]
    assert model.config.chunk is not None, "the model streams"
    lengths = model.config.chunks(frames)
    starts = np.cumsum([0, *lengths])
    memory = model.encode_text(text)
    errors: list[float] = []
    for start, length in zip(starts[1:-1], lengths[1:], strict=True):
        eps = torch.randn(latent.shape, generator=generator("surprise", seed, int(start))).to(latent)
        for level in SIGMAS:
            sigma = torch.zeros((1, frames), device=latent.device)
            sigma[:, start : start + length] = level
            wide = sigma[:, None, :, None, None]
            x = mix(latent, eps, wide)
            x0 = to_x0(model(x, sigma, memory).prediction.float(), prediction, x, wide)
            missed = (x0 - latent)[:, :, start : start + length]
            errors.append(missed.square().mean().item())
    return float(np.mean(errors))


@dataclass(frozen=True, slots=True)
class PossibleResult:
    """For each law, in how many cases the impossible films surprise the model more, and who copies frames."""

    scores: dict[str, Score]
    copying: dict[str, Score]

    @property
    def rows(self) -> dict[str, Score]:
        """The laws, and all of them together."""
        return self.scores | {"all": added(self.scores.values())}

    @property
    def copying_rows(self) -> dict[str, Score]:
        """The same of who expects each frame to be like the one before."""
        return self.copying | {"all": added(self.copying.values())}

    def to_markdown(self) -> str:
        """Return a table with a row for each law."""
        head = f"| possible or impossible, {self.rows['all'].total} cases | right | who copies frames |"
        rows = (f"| {law} | {score} | {self.copying_rows[law]} |" for law, score in self.rows.items())
        return "\n".join([head, "|---|---|---|", *rows])

    def to_json(self) -> dict[str, Any]:
        """Return counts and shares."""

        def facts(rows: dict[str, Score]) -> dict[str, Any]:
            return {
                law: {"right": score.right, "total": score.total, "share": score.share}
                for law, score in rows.items()
            }

        return facts(self.rows) | {"copying": facts(self.copying_rows)}


def judge(
    cases: Iterable[Case],
    surprise_at: Callable[[Frames, str, int], float],
    *,
    advance: Callable[[], object] = lambda: None,
) -> PossibleResult:
    """Ask a model how much films of (frames, prompt, seed) surprise it; ties count as wrong.

    Who copies frames is as surprised by a film that runs backwards: of its ties every second is right.
    """
    counts: dict[str, list[bool]] = {law: [] for law in LAWS}
    copying: dict[str, list[float]] = {law: [] for law in LAWS}
    for case in cases:
        possible, impossible = (
            sum(surprise_at(frames, case.prompt, case.seed) for frames in films)
            for films in (case.possible, case.impossible)
        )
        counts[case.law].append(possible < impossible)
        calm, upset = (sum(map(change, films)) for films in (case.possible, case.impossible))
        copying[case.law].append(0.5 if calm == upset else calm < upset)
        advance()
    return PossibleResult(
        {law: Score(sum(right), len(right)) for law, right in counts.items() if right},
        {law: Score(int(sum(right)), len(right)) for law, right in copying.items() if right},
    )


def change(frames: Frames) -> int:
    """Return the squared change from frame to frame, all together: the error of who copies frames."""
    return int(np.square(np.diff(frames.astype(np.int32), axis=0)).sum(dtype=np.int64))


def added(scores: Iterable[Score]) -> Score:
    """Return the score of all cases together."""
    found = list(scores)
    return Score(sum(each.right for each in found), sum(each.total for each in found))


def _moved(trajectory: Trajectory, way: Float[np.ndarray, "3"]) -> Trajectory:
    positions = trajectory.positions.copy()
    positions[:, 0] += way.astype(np.float32)
    return trajectory._replace(positions=positions)


def _with_hero(spec: SceneSpec, **changes: Any) -> SceneSpec:
    hero, *rest = spec.objects
    return dataclasses.replace(spec, objects=(dataclasses.replace(hero, **changes), *rest))
