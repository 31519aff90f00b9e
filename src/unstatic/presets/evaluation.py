"""Everything that is measured of a model, part by part; what a folder already holds is not measured again.

FOLDER/parts/NAME.json     one part: a suite of prompts, or one of PARTS
FOLDER/films/NAME/         films of a part that is not done yet
FOLDER/clips/              clips that the report shows

What else a folder holds is written by `evaluation_report.py`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import UInt8

from unstatic.core.commit import code_digest
from unstatic.core.device import compute_dtype
from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path
from unstatic.core.log import progress
from unstatic.evals.classical import load_classical
from unstatic.evals.edits import EditResult, measure_edits
from unstatic.evals.files import I3D, LPIPS_ALEXNET
from unstatic.evals.follow import REAL, FollowResult, answer_sheet, follow, remark
from unstatic.evals.follow import Answer as FollowAnswer
from unstatic.evals.i3d import clip_features, load_i3d
from unstatic.evals.lpips import load_lpips
from unstatic.evals.minute import MinuteResult, watch_minutes
from unstatic.evals.parser import load_parser
from unstatic.evals.physics import PhysicsResult, measure_physics
from unstatic.evals.possible import SIDE, PossibleResult, draw_cases, judge, surprise
from unstatic.evals.prompts import MINUTES, PHYSICS, SUITES, Prompt, load_suite
from unstatic.evals.reconstruction import ReconstructionResult, held_out_clips, measure_reconstruction
from unstatic.evals.speed import FilmTimes
from unstatic.generate import edit
from unstatic.generate.engine import whole_film
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan
from unstatic.generate.ways import DISTILLED
from unstatic.media.frames import retime, to_tensor
from unstatic.media.write import write_animation, write_picture
from unstatic.models.manifest import Manifest
from unstatic.presets.edit_evaluation import check_edits, edit_prompts, edited_videos
from unstatic.presets.feature_store import COMPARED, OTHERS, FeatureStore, another
from unstatic.presets.film_store import FilmStore, Keep
from unstatic.presets.retelling import (
    CARD_NAMES,
    CARDS,
    REMIXES,
    card_prompts,
    measure_cards,
    measure_remixes,
    two_cards,
)
from unstatic.world.clip import make_clip

POSSIBLE, DISTRIBUTION, EDITS = "possible", "distribution", "edits"
# Autoencoders are measured on clips of a mix each.
RECONSTRUCTIONS = {"reconstruction": "first-light", "reconstruction-whole": "whole"}
PARTS = (*SUITES[1:], POSSIBLE, PHYSICS, MINUTES, EDITS, REMIXES, CARDS, *RECONSTRUCTIONS)
UNTIMED = (EDITS, REMIXES, CARDS)  # films of many lengths
MEASURES = 5  # goes up when a part measures more or otherwise, so that none of before is taken for it
SECONDS, MINUTE = 4.0, 60.0
FEW_STEPS = 6
# A distilled model is compared with how it films when nothing is spared, and in a hurry
MANY_STEPS, HURRIED_STEPS = 32, 4
SHOWN_CLIPS = 12
SHEET_ANSWERS = 40
CASES, RECONSTRUCTED_CLIPS, EDITED_CLIPS, RETOLD_CLIPS = 120, 96, 48, 48

Frames = UInt8[np.ndarray, "t h w 3"]
Watch = Callable[[str, FollowAnswer, Frames], None]
Result = EditResult | FollowResult | MinuteResult | PhysicsResult | PossibleResult | ReconstructionResult


class Way(TypedDict):
    """How a column's films are sampled."""

    steps: int
    solver: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPlan:
    """What to measure: which parts, at most how many prompts of each, with how many steps.

    `few_steps` adds a column of the same model in fewer steps, by default as it was distilled, and then one
    of a distilled model in still fewer; 0 leaves them out. A distilled model films no more than the first
    `slow_prompts` of a suite in other ways than its own.
    Without a `folder` nothing is kept. `model` is how the model was named, `digest` says which weights these
    are and `device` what measures: what was measured of others or by another is measured anew. `commit` says
    which code measures, and is kept with each part. `networks` asks for FVD and LPIPS.
    """

    model: str = ""
    parts: tuple[str, ...] = PARTS
    prompts: int = 1_000
    steps: int | None = None
    few_steps: int | None = None
    slow_prompts: int = 50
    folder: Path | None = None
    device: str = ""
    digest: str = ""
    commit: str = ""
    networks: bool = False

    @property
    def key(self) -> str:
        """What decides the numbers of a part: the weights, how they are measured and by what."""
        return f"{self.digest} {self.how} {self.device}".rstrip()

    @property
    def how(self) -> str:
        """How parts are measured: how many prompts in how many steps, at the end what is measured at all."""
        counts = f"{self.prompts} {self.slow_prompts} {self.steps} {self.few_steps}"
        return f"{counts} {self.networks} {MEASURES}"

    def on(self, device: torch.device) -> "EvaluationPlan":
        """Return the plan for a device, whose numbers are its own."""
        return replace(self, device=f"{device.type} {str(compute_dtype(device)).removeprefix('torch.')}")

    @property
    def films(self) -> FilmStore:
        """Where films are until their part is done; how many are wanted makes no film another."""
        key = f"{self.digest} {code_digest()} {self.device}"
        return FilmStore(self.folder and self.folder / "films", key)

    @property
    def about(self) -> dict[str, str]:
        """What every part's facts say of their origin."""
        return {"commit": self.commit, "how": self.how}


def run_evaluation(engine: NativeEngine, todo: EvaluationPlan) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Measure part after part and yield its name, its table in Markdown and its facts.

    Raises InputError if `networks` are asked for and can not be had.
    """
    compared = todo.networks and set(todo.parts) & set(COMPARED)
    store = feature_store(todo, engine.device) if compared else None
    films = todo.films
    for name in todo.parts:
        kept = saved_part(todo, name)
        if kept is None or (store and not store.has(name)):
            times = FilmTimes(MINUTE if name == MINUTES else SECONDS)
            keep = films.keeping(name, None if name in UNTIMED else times)
            result = _measure(engine, todo, name, keep, store)
            kept = {"markdown": result.to_markdown(), "facts": result.to_json() | todo.about}
            if times.seconds:
                kept["facts"]["speed"] = times.to_json()
                kept["markdown"] += f"\n\n{times.to_markdown()}"
            _save(todo, name, kept)
        films.forget(name)
        yield name, kept["markdown"], kept["facts"]
    if store:
        for name in COMPARED:  # measured by a command before
            if saved_part(todo, name):
                store.has(name)
    if store and store.features:
        table = store.measure()
        about = todo.about | {"how": f"{todo.how} of {', '.join(sorted(store.features))}"}
        kept = {"markdown": table.to_markdown(), "facts": table.to_json() | about}
        _save(todo, DISTRIBUTION, kept)
        yield DISTRIBUTION, kept["markdown"], kept["facts"]


def parts_of(manifest: Manifest) -> tuple[str, ...]:
    """Return all parts that a model can be measured by: what it makes no films for is spared it."""
    able: list[str] = []
    for name in PARTS:
        with suppress(InputError):
            check_part(manifest, name)
            able.append(name)
    return tuple(able)


def check_part(manifest: Manifest, name: str) -> None:
    """Raise InputError if a part asks a model for what it cannot do; films are planned, none is made."""
    if name == MINUTES:
        plan(Request(prompt="a ball", seconds=MINUTE), manifest)
    elif name == POSSIBLE and manifest.chunk is None:
        raise InputError(
            f"{manifest.name} makes a film at once: what surprises it is measured chunk by chunk"
        )
    elif name == EDITS:
        check_edits(manifest)
    elif name == REMIXES:
        size = manifest.sizes[0]
        source = np.zeros((manifest.fps, size.height, size.width, 3), np.uint8)
        plan(edit.remix(Request(prompt="a ball"), source, manifest), manifest)
    elif name == CARDS:
        plan(two_cards(*next(card_prompts(1))), manifest)


def check_plan(manifest: Manifest, todo: EvaluationPlan) -> None:
    """Raise InputError for what a model cannot do, before anything is loaded."""
    for hurry in ways_of_sampling(manifest, todo).values():
        plan(Request(prompt="a ball", seconds=SECONDS, **hurry), manifest)
    for name in todo.parts:
        check_part(manifest, name)
    if todo.networks and todo.prompts < 2 and set(todo.parts) & set(COMPARED):
        raise InputError("FVD compares sets of films: ask for 2 prompts or more, or leave --fvd out")
    if todo.networks:
        for network, parts in ((I3D, COMPARED), (LPIPS_ALEXNET, RECONSTRUCTIONS)):
            if set(todo.parts) & set(parts):
                network.check()


def feature_store(todo: EvaluationPlan, device: torch.device) -> FeatureStore:
    """Load I3D, in bfloat16 where the device multiplies it, and return an empty store for its features."""
    network = load_i3d().to(device, compute_dtype(device))
    network = network.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]
    return FeatureStore(partial(clip_features, network), todo.key, todo.folder and todo.folder / "parts")


def _measure(
    engine: NativeEngine, todo: EvaluationPlan, name: str, keep: Keep, store: FeatureStore | None
) -> Result:
    enlarge = enlargement(engine.manifest)
    if name in RECONSTRUCTIONS:
        count = min(todo.prompts, RECONSTRUCTED_CLIPS)
        with progress(name, count) as bar:
            return measure_reconstruction(
                held_out_clips(count, mix=RECONSTRUCTIONS[name], enlarge=enlarge),
                engine.reconstruct,
                lpips=load_lpips().between if todo.networks else None,
                advance=bar.advance,
            )
    if name == POSSIBLE:
        count = min(todo.prompts, CASES)
        with progress(name, count) as bar:
            cases = draw_cases(count, enlarge=enlarge)
            return judge(cases, partial(surprise_of, engine), advance=bar.advance)
    if name == EDITS:
        prompts = edit_prompts(min(todo.prompts, EDITED_CLIPS))
        with progress(name, len(prompts)) as bar:
            videos = edited_videos(
                engine, prompts, engine.reconstruct, enlarge=enlarge, keep=keep, advance=bar.advance
            )
            return measure_edits(videos)
    if name in (REMIXES, CARDS):
        return _retell(engine, todo, name, keep)
    if name == PHYSICS:
        return _measure_physics(engine, todo, keep)
    if name == MINUTES:
        return _watch_minutes(engine, todo, keep)
    return _follow(engine, todo, name, keep, store)


def _retell(engine: NativeEngine, todo: EvaluationPlan, name: str, keep: Keep) -> FollowResult:
    """Measure remixes or cards, films as the model makes them when nobody says otherwise."""
    count, readers = min(todo.prompts, RETOLD_CLIPS), [load_parser(), load_classical()]
    shown = f"strength {edit.STRENGTH:g}" if name == REMIXES else CARD_NAMES[1]
    watch = _showing(todo, name, shown)
    with progress(name, count) as bar:
        if name == REMIXES:
            size = enlargement(engine.manifest)
            result = measure_remixes(
                engine, count, readers, enlarge=size, keep=keep, watch=watch, advance=bar.advance
            )
        else:
            result = measure_cards(engine, count, readers, keep=keep, watch=watch, advance=bar.advance)
    _draw_answers(todo, name, result, shown)
    return result


def _measure_physics(engine: NativeEngine, todo: EvaluationPlan, keep: Keep) -> PhysicsResult:
    """Measure films as the model makes them when nobody says otherwise."""
    suite, columns = load_suite(PHYSICS).first(todo.prompts), ways_of_sampling(engine.manifest, todo)
    column = usual(engine.manifest, columns)
    makers = {column: keep(column, partial(film, engine, way=columns[column]))}
    with progress(PHYSICS, len(suite.prompts)) as bar:
        enlarge = enlargement(engine.manifest)
        return measure_physics(makers, suite, load_classical().tables, enlarge=enlarge, advance=bar.advance)


def _watch_minutes(engine: NativeEngine, todo: EvaluationPlan, keep: Keep) -> MinuteResult:
    """Film minutes in the way that the model films when nobody says otherwise."""
    suite, columns = load_suite(MINUTES).first(todo.prompts), ways_of_sampling(engine.manifest, todo)
    column = usual(engine.manifest, columns)
    with progress(MINUTES, len(suite.prompts)) as bar:
        return watch_minutes(
            {column: keep(column, partial(film, engine, way=columns[column]))},
            suite,
            [load_parser(), load_classical()],
            enlarge=enlargement(engine.manifest),
            advance=bar.advance,
        )


def _follow(
    engine: NativeEngine, todo: EvaluationPlan, name: str, keep: Keep, store: FeatureStore | None
) -> FollowResult:
    suite = load_suite(name).first(todo.prompts)
    columns = ways_of_sampling(engine.manifest, todo)
    shown = usual(engine.manifest, columns)
    makers = {column: keep(column, partial(film, engine, way=way)) for column, way in columns.items()}
    own = engine.manifest.distilled
    only = {each: todo.slow_prompts for each in columns if each != shown} if own else {}
    fewer = {each for each, most in only.items() if most < len(suite.prompts)}
    with progress(name, len(suite.prompts)) as bar:
        result = follow(
            makers,
            suite,
            [load_parser(), load_classical()],
            reconstruct=engine.reconstruct,
            only=only,
            enlarge=enlargement(engine.manifest),
            watch=_watcher(_showing(todo, name, shown), name, store, fewer),
            advance=bar.advance,
        )
    if store is not None:
        store.save(name)
    _draw_answers(todo, name, result, shown)
    return result


def _draw_answers(todo: EvaluationPlan, name: str, result: FollowResult, shown: str) -> None:
    """Write a picture of the first films of a column, and of what was read in them."""
    if todo.folder is not None:
        (column,) = (column for column in result.columns if column.name == shown)
        write_picture(todo.folder / f"answers-{name}.png", answer_sheet(column.answers[:SHEET_ANSWERS]))


def _watcher(keep: Watch, suite: str, store: FeatureStore | None, fewer: Collection[str]) -> Watch:
    """Return a function that shows every clip to both, and to the store another render for each one.

    Columns of `fewer` films are not compared, so the store does not see them.
    """

    def watch(column: str, answer: FollowAnswer, frames: Frames) -> None:
        keep(column, answer, frames)
        if store is not None and column not in fewer:
            store.add(suite, column, frames)
            if column == REAL and suite in COMPARED:
                spec = answer.prompt.spec
                store.add(
                    suite, OTHERS, make_clip(another(spec), enlarge=len(frames[0]) // spec.height).frames
                )

    return watch


def _showing(todo: EvaluationPlan, suite: str, shown: str) -> Watch:
    """Return a function that keeps the first clips of one column for the report, instead of those before."""
    count = 0
    if todo.folder is not None:
        for stale in (todo.folder / "clips").glob(f"{suite}-[0-9]*"):
            stale.unlink(missing_ok=True)

    def keep(column: str, answer: FollowAnswer, frames: Frames) -> None:
        nonlocal count
        if todo.folder is None or column != shown or count >= SHOWN_CLIPS:
            return
        path = todo.folder / "clips" / f"{suite}-{count:03d}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_animation(path, frames, fps=answer.prompt.spec.fps)
        right = answer.verdicts["all"]
        fields = {"suite": suite, "column": column, "text": remark(answer), "right": right}
        with atomic_path(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(fields), encoding="utf-8")
        count += 1

    return keep


def ways_of_sampling(manifest: Manifest, todo: EvaluationPlan) -> dict[str, Way]:
    """Return the columns of the model: many steps, its own few if it is distilled, and fewer still."""
    own, usually = manifest.distilled, manifest.defaults
    many = todo.steps if todo.steps is not None else MANY_STEPS if own else usually.steps
    ways = {f"{manifest.name}, {many} steps": Way(steps=many, solver=usually.solver)}
    if todo.few_steps is None:
        few = [own.steps, HURRIED_STEPS] if own else [FEW_STEPS]
    else:
        few = [todo.few_steps] if todo.few_steps else []
    how, solver = (f" {DISTILLED}", DISTILLED) if own else ("", usually.solver)
    return ways | {f"{manifest.name}, {steps} steps{how}": Way(steps=steps, solver=solver) for steps in few}


def usual(manifest: Manifest, columns: Iterable[str]) -> str:
    """Return the column of films as the model makes them when nobody says otherwise."""
    many, *few = columns
    return few[0] if few and manifest.distilled else many


def film(engine: NativeEngine, prompt: Prompt, way: Way) -> Frames:
    """Let the model make the clip that a prompt asks for, at the frame rate of the world."""
    seconds = MINUTE if prompt.spec.frames >= MINUTE * prompt.spec.fps else SECONDS
    request = Request(prompt=prompt.text, seconds=seconds, seed=prompt.spec.seed, **way)
    frames = whole_film(engine, plan(request, engine.manifest))
    return retime(frames, 0, engine.manifest.fps, prompt.spec.fps)


def enlargement(manifest: Manifest) -> int:
    """Tell how many times as many pixels a side the model's films have as the scenes of the suites say."""
    return max(1, manifest.sizes[0].height // SIDE)


@torch.inference_mode()
def surprise_of(engine: NativeEngine, frames: Frames, prompt: str, seed: int) -> float:
    """Return how much a film with this caption surprises the model."""
    latent = engine.autoencoder.encode(to_tensor(frames)[None].to(engine.device))
    text = engine.text_encoder.encode([prompt]).states.to(latent)
    return surprise(engine.transformer, latent, text, engine.manifest.prediction, seed=seed)


def saved_part(todo: EvaluationPlan, name: str) -> dict[str, Any] | None:
    """Return a part that was measured before, of the same weights and plan."""
    path = None if todo.folder is None else todo.folder / "parts" / f"{name}.json"
    if path is None or not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if found["key"] == todo.key else None


def _save(todo: EvaluationPlan, name: str, part: dict[str, Any]) -> None:
    if todo.folder is None:
        return
    path = todo.folder / "parts" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"key": todo.key, **part}) + "\n", encoding="utf-8")
