"""Fit the classical parser to renders: `python scripts/fit_classical.py FOLDER`, tables in FOLDER."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fit_shallow import Lesson, fit_shallow
from jaxtyping import Float, Int, UInt8
from safetensors.torch import save_file
from spoil import spoil
from torch import Tensor

from unstatic.core.files import atomic_path
from unstatic.core.log import progress
from unstatic.core.seeds import generator, numpy_generator
from unstatic.data.shards import Shard, open_shards
from unstatic.evals.classical import VOCABULARY, Scene, Seen, Tables, gist, quality, scene_of
from unstatic.evals.classical_pixels import (
    PIXELS,
    chances_of,
    context_facts,
    judged,
    moment_numbers,
    moments,
    pixel_facts,
    reading_size,
)
from unstatic.evals.readings import MIRRORED, camera_move
from unstatic.evals.shallow import Shallow
from unstatic.media.frames import to_frames, to_tensor
from unstatic.presets.nano import NANO_64_SIZES
from unstatic.presets.preset import WorldRun
from unstatic.presets.render import render_clips
from unstatic.world.physics import hero_index
from unstatic.world.render import PROP_ID
from unstatic.world.spec import SceneSpec

UNSAID = -1
RARITY = 0.6  # how much rare answers are preferred (1 = all alike)
OVERLAP = 0.35  # a thing that was found is an object if this share of it is


LESSONS = {
    "pixel": Lesson(hidden=64, steps=5_000, batch=1_024, drop=0.0, smoothing=0.0),
    "context": Lesson(hidden=64, steps=5_000, batch=1_024, drop=0.0, smoothing=0.0),
    "colour": Lesson(hidden=63, steps=4_000),
    "shape": Lesson(hidden=127, steps=8_000, drop=0.2),
    "animal": Lesson(hidden=127, steps=8_000, drop=0.2),
    "shape_gist": Lesson(hidden=127, steps=6_000, drop=0.3),
    "animal_gist": Lesson(hidden=127, steps=6_000, drop=0.3),
    "event": Lesson(hidden=112, steps=6_000, drop=0.3),
    "direction": Lesson(hidden=63, steps=4_000, drop=0.3),
    "camera": Lesson(hidden=77, steps=6_000, drop=0.3),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassicalRun:
    """What the tables are fitted to: `pixel_clips` for pixels, `clips` for all else, of a world's shards.

    The last `held_back` shards are never looked at. Every second clip is spoiled as the network's are
    (`spoil`), for what is read later are films of a model.
    """

    world: WorldRun
    pixel_clips: int
    clips: int
    held_back: int
    pixels_per_clip: int = 120
    moments_per_clip: int = 10
    lessons: Mapping[str, Lesson] = field(default_factory=lambda: LESSONS)
    seed: int = 0


def classical_64() -> ClassicalRun:
    """Fit the tables: about an hour of one core, besides rendering.

    The tables in the package were fitted to 3,000 clips (pixels) and 9,500 (all else), of which 5,500 were
    drawn as the suites are, of other seeds. docs/explanation/evaluation.md says what they read right.
    """
    return ClassicalRun(
        world=WorldRun(clips=4_096, frames=65, sizes=NANO_64_SIZES, mix="whole"),
        pixel_clips=2_400,
        clips=4_000,
        held_back=2,
    )


class Entry(NamedTuple):
    """One clip as it is stored."""

    spec: SceneSpec
    frames: UInt8[np.ndarray, "t h w 3"]
    ids: UInt8[np.ndarray, "t h w"]
    mirrored: bool


class Cases(NamedTuple):
    """What a classifier learns from: facts and the numbers of the right words."""

    facts: Float[Tensor, "n facts"]
    labels: Int[Tensor, "n"]


def fit_classical(settings: ClassicalRun, folder: Path) -> Path:
    """Render what is missing in FOLDER/clips, fit, and return FOLDER/classical.safetensors."""
    render_clips(settings.world, folder / "clips", seed=settings.seed)
    shards = open_shards(folder / "clips", "clips")[: -settings.held_back]
    path = folder / "classical.safetensors"
    save_tables(path, fit_tables(settings, shards))
    return path


def fit_tables(settings: ClassicalRun, shards: Sequence[Shard]) -> Tables:
    """Fit classifier after classifier: what a later one learns from has been told by the earlier ones."""
    lessons = settings.lessons
    cases = gathered(settings, shards, settings.pixel_clips, pixel_cases(settings))
    pixel = learned("pixel", cases["pixel"], lessons["pixel"])
    cases = gathered(settings, shards, settings.pixel_clips, pixel_cases(settings, pixel))
    context = learned("context", cases["context"], lessons["context"])
    cases = gathered(settings, shards, settings.clips, thing_cases(settings, pixel, context))
    others = {name: learned(name, each, lessons[name]) for name, each in cases.items()}
    return {"pixel": pixel, "context": context, **others}


def learned(name: str, cases: Cases, lesson: Lesson) -> Shallow:
    """Fit one classifier to what was gathered for it; rare answers come up more often."""
    labels, words = cases.labels, VOCABULARY[name]
    counts = torch.bincount(labels, minlength=len(words)).clamp(min=1).float()
    source = generator("classical", name)
    return fit_shallow(cases.facts.float(), labels, len(words), source, lesson, counts[labels] ** -RARITY)


def gathered(
    settings: ClassicalRun,
    shards: Sequence[Shard],
    clips: int,
    describe: Callable[[Entry, np.random.Generator], dict[str, Cases]],
) -> dict[str, Cases]:
    """Describe clips one by one and put their cases together, by the name of the classifier."""
    found: dict[str, list[Cases]] = {}
    with progress("looking", clips) as bar, torch.inference_mode():
        for entry, rng in entries(settings, shards, clips):
            for name, cases in describe(entry, rng).items():
                found.setdefault(name, []).append(Cases(cases.facts.half(), cases.labels))
            bar.advance()
    return joined(found)


def joined(found: Mapping[str, Sequence[Cases]]) -> dict[str, Cases]:
    """Put the cases of each classifier together."""
    return {
        name: Cases(*(torch.cat(parts) for parts in zip(*cases, strict=True)))
        for name, cases in found.items()
    }


def entries(
    settings: ClassicalRun, shards: Sequence[Shard], clips: int
) -> Iterator[tuple[Entry, np.random.Generator]]:
    """Draw clips without repeating one; rare events and moves of the camera come up more often."""
    places = [(shard, number) for shard in shards for number in range(len(shard))]
    specs = [SceneSpec.from_json(shard.lines[number]) for shard, number in places]
    chances = np.ones(len(places))
    for answers in ([spec.event for spec in specs], [camera_move(spec.camera) for spec in specs]):
        counts = Counter(answers)
        chances *= np.array([counts[answer] ** -RARITY for answer in answers])
    rng, source = numpy_generator("classical", settings.seed), generator("spoiled", settings.seed)
    chosen = rng.choice(len(places), min(clips, len(places)), replace=False, p=chances / chances.sum())
    for count, index in enumerate(chosen.tolist()):
        shard, number = places[index]
        frames, ids = shard.read("frames", number), shard.read("ids", number)
        if mirrored := bool(rng.random() < 0.5):
            frames, ids = (np.ascontiguousarray(each[:, :, ::-1]) for each in (frames, ids))
        yield Entry(specs[index], spoiled(frames, source) if count % 2 else frames, ids, mirrored), rng


def spoiled(frames: UInt8[np.ndarray, "t h w 3"], source: torch.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    """Make a render as imperfect as a sample of a model may be."""
    video = spoil(to_tensor(frames)[None], source)
    return to_frames(video)[0]


def pixel_cases(
    settings: ClassicalRun, first: Shallow | None = None
) -> Callable[[Entry, np.random.Generator], dict[str, Cases]]:
    """Return how to describe some pixels of a clip, half of them of things; with `first`, in context."""

    def describe(entry: Entry, rng: np.random.Generator) -> dict[str, Cases]:
        video = moments(entry.frames).now
        facts = pixel_facts(video)
        if first is not None:
            facts = context_facts(video, facts, judged(facts, first))
        labels = pixel_table(entry.spec)[ids_of(entry).long()].flatten()
        chances = np.where(
            labels > 0, 1 / max(1, int((labels > 0).sum())), 1 / max(1, int((labels == 0).sum()))
        )
        chosen = rng.choice(len(labels), settings.pixels_per_clip, p=chances / chances.sum())
        facts = facts.movedim(1, 3).flatten(0, 2)
        return {"pixel" if first is None else "context": Cases(facts[chosen], labels[chosen])}

    return describe


def thing_cases(
    settings: ClassicalRun, pixel: Shallow, context: Shallow
) -> Callable[[Entry, np.random.Generator], dict[str, Cases]]:
    """Return how to describe the things of a clip, and what happens."""

    def describe(entry: Entry, rng: np.random.Generator) -> dict[str, Cases]:
        pictures = moments(entry.frames)
        scene = scene_of(pictures, chances_of(pictures.now, pixel, context))
        ids = ids_of(entry)
        return clip_cases(entry, scene) | look_cases(entry.spec, ids, scene, settings.moments_per_clip, rng)

    return describe


def clip_cases(entry: Entry, scene: Scene) -> dict[str, Cases]:
    """Return what is to be learned of a whole clip."""
    spec = entry.spec
    direction = spec.objects[hero_index(spec)].direction
    direction = MIRRORED[direction] if entry.mirrored and direction else direction
    answers = {"event": spec.event, "camera": camera_move(spec.camera)}
    if direction:
        answers["direction"] = direction
    return {
        name: Cases(scene.facts[None], torch.tensor([VOCABULARY[name].index(answer)]))
        for name, answer in answers.items()
    }


def look_cases(
    spec: SceneSpec, ids: UInt8[Tensor, "t h w"], scene: Scene, moments_each: int, rng: np.random.Generator
) -> dict[str, Cases]:
    """Return what is to be learned of the things that were found, in moments in which they are seen well."""
    found: dict[str, list[Cases]] = {}
    for seen in (*scene.objects, scene.animal):
        number = object_under(seen, ids, len(spec.objects))
        each = spec.objects[number] if number >= 0 else None
        if each is None or each.is_animal != (seen is scene.animal):
            continue
        weight = quality(seen).double().numpy()
        chosen = rng.choice(len(weight), moments_each, replace=False, p=weight / weight.sum())
        name = "animal" if each.is_animal else "shape"
        label = torch.full((moments_each,), VOCABULARY[name].index(each.shape))
        found.setdefault(name, []).append(Cases(seen.looks[chosen], label))
        found.setdefault(f"{name}_gist", []).append(Cases(gist(seen)[None], label[:1]))
        if not each.is_animal:
            colour = torch.tensor([VOCABULARY["colour"].index(each.colour)])
            found.setdefault("colour", []).append(Cases(seen.colours[None], colour))
    return joined(found)


def object_under(seen: Seen, ids: UInt8[Tensor, "t h w"], objects: int) -> int:
    """Return the number of the object that a found thing is, or -1 for none."""
    total = float(seen.cover.sum()) + 1e-3
    shares = [float((seen.cover * (ids == number + 1)).sum()) / total for number in range(objects)]
    best = int(np.argmax(shares))
    return best if shares[best] >= OVERLAP else UNSAID


def ids_of(entry: Entry) -> UInt8[Tensor, "t h w"]:
    """Return what is at every pixel of the moments, at the size at which they are read."""
    numbers = moment_numbers(len(entry.frames))
    ids = torch.from_numpy(entry.ids[numbers[len(numbers) // 2 :].numpy()])
    height, width = reading_size(*ids.shape[1:])
    rows, columns = (torch.arange(n) * m // n for n, m in zip((height, width), ids.shape[1:], strict=True))
    return ids[:, rows][:, :, columns]


def pixel_table(spec: SceneSpec) -> Int[Tensor, "256"]:
    """Return which of PIXELS each object id is."""
    table = torch.zeros(256, dtype=torch.long)
    table[PROP_ID] = PIXELS.index("prop")
    for number, each in enumerate(spec.objects):
        table[number + 1] = PIXELS.index("animal" if each.is_animal else each.colour)
    return table


def save_tables(path: Path, tables: Tables) -> None:
    """Write tables as half-precision numbers."""
    parts = {
        f"{name}.{part.name}": getattr(tables[name], part.name).half().contiguous()
        for name in VOCABULARY
        for part in fields(Shallow)
    }
    with atomic_path(path) as temporary:
        save_file(parts, temporary)


def main() -> None:
    """Fit the tables in the folder that is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where renders and tables go")
    options = parser.parse_args()
    print(fit_classical(classical_64(), options.folder))


if __name__ == "__main__":
    main()
