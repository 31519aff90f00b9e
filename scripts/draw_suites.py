"""Draw the suites of evaluation prompts: `python scripts/draw_suites.py FOLDER`.

Seeds that training never uses, every kind of answer equally often. Scenes that training may show and scenes
that it may not ("held-out") never share a suite. "first-light" was drawn by an earlier world. A suite that
has judged a model must stay as it is: this is for a new one, or to see how one came about.
"""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from unstatic.core.seeds import numpy_generator
from unstatic.evals.classical import load_classical
from unstatic.evals.physics import Film, figures_of, kept
from unstatic.evals.prompts import Prompt, Suite, save_suite
from unstatic.world.animals import motions
from unstatic.world.captions import caption
from unstatic.world.casting import ACTORS, UNMARKED_FLOORS
from unstatic.world.clip import make_clip
from unstatic.world.held_out import ANIMAL_MOTIONS, MATERIAL_EVENTS, held_out_look, held_out_motion
from unstatic.world.mix import LIVELY_MIX, WHOLE_MIX, Mix
from unstatic.world.relations import hero, starts_in_frame
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import ANIMALS, COLOURS, MOTIONS, SceneSpec

# Training draws its scenes with seeds below 100 million.
FIRST_SEED = 920_000_000
FRAMES, FPS, SIDE = 65, 16, 64

# What one object can do.
SOLO_EVENTS = tuple(
    event for event in ACTORS if event not in ("collide", "pass-behind", "ricochet", "shower")
)
# What goes on for a minute; the camera goes with what would leave the picture.
MINUTE_EVENTS = ("spin", "walk", "pendulum", "gallop", "roll", "eat", "ricochet", "leap")
MINUTE_GOES = ("walk", "gallop", "roll", "leap")
MINUTE_FRAMES = 960
PAIR_EVENTS = ("rest", "fall", "bounce", "roll", "slide", "spin", "jump", "topple")
MOVES = (
    ("orbit", ""),
    ("pan", ""),
    ("dolly", "in"),
    ("dolly", "out"),
    ("zoom", "in"),
    ("zoom", "out"),
    ("rise", "up"),
    ("rise", "down"),
    ("follow", ""),
)
ALONE = dataclasses.replace(WHOLE_MIX, num_objects=(1.0,), companions=0.0, cameras={"still": 1.0})
# On any other floor nothing but a shadow shows that the camera goes round.
MARKED = {floor: weight for floor, weight in ALONE.floors.items() if floor not in UNMARKED_FLOORS}

OBJECT_ATOMS = ("colour", "shape", "event", "direction")
# Whether an animal comes or goes shows in too few pixels where it is seen from ahead or behind.
ANIMAL_ATOMS = ("animal", "motion")
# An object of fewer pixels than this shows no shape
LEAST_PIXELS = 64


class Balance:
    """Counts words and draws those that came up least so far."""

    def __init__(self, name: str):
        self.name, self.used = name, Counter[str]()

    def draw(self, words: Iterable[str], rng: np.random.Generator) -> str:
        """Draw one of the words that were used least, and count it."""
        pool = list(words)
        least = min(self.used[word] for word in pool)
        rare = [word for word in pool if self.used[word] == least]
        word = rare[int(rng.integers(len(rare)))]
        self.used[word] += 1
        return word


def draw_objects(count: int = 200) -> Suite:
    """Ask for one object before a still camera: events equally often, looks as evenly as they allow."""
    shapes, colours = Balance("shape"), Balance("colour")
    prompts: list[Prompt] = []
    for number in range(count):
        rng = numpy_generator("objects", number)
        event = SOLO_EVENTS[number % len(SOLO_EVENTS)]
        shape = shapes.draw(ACTORS[event], rng)
        colour = colours.draw((each for each in COLOURS if not held_out_look(shape, each)), rng)
        mix = _only(ALONE, event, shapes={shape: 1.0}, colours={colour: 1.0})
        prompts.append(_prompt(FIRST_SEED + number, mix, OBJECT_ATOMS))
    return Suite("objects", tuple(prompts))


def draw_animals(count: int = 240) -> Suite:
    """Ask for one animal in one of its motions, before a camera that is still or goes with it."""
    kinds = Balance("animal")
    prompts: list[Prompt] = []
    for number in range(count):
        rng = numpy_generator("animals", number)
        motion = MOTIONS[number % len(MOTIONS)]
        able = (kind for kind in ANIMALS if motion in motions(kind) and not held_out_motion(kind, motion))
        mix = _only(ALONE, motion, animals={kinds.draw(able, rng): 1.0})
        prompts.append(_prompt(FIRST_SEED + 1_000 + number, mix, ANIMAL_ATOMS))
    return Suite("animals", tuple(prompts))


def draw_pairs(count: int = 200) -> Suite:
    """Ask for two objects of different shapes: which colour belongs to which shape.

    Both show at least LEAST_PIXELS pixels in half of the frames: neither is tiny nor hides behind the other.
    """

    def fits(spec: SceneSpec) -> bool:
        differ = len({each.shape for each in spec.objects}) == 2
        return differ and all(starts_in_frame(spec, each) for each in spec.objects) and shows_all(spec)

    plain = {"matte": 3.0, "metal": 1.0, "wood": 1.0}
    mixes = [_only(ALONE, event, num_objects=(0.0, 1.0), materials=plain) for event in PAIR_EVENTS]
    return Suite(
        "pairs",
        tuple(
            _prompt(FIRST_SEED + 2_000 + 500 * number, mixes[number % len(mixes)], ("binding",), fits)
            for number in range(count)
        ),
    )


def shows_all(spec: SceneSpec) -> bool:
    """Return whether every object shows enough pixels in half of the frames."""
    ids = make_clip(spec, samples=1).ids
    pixels = [(ids == number + 1).sum((1, 2)) for number in range(len(spec.objects))]
    return all(np.median(each) >= LEAST_PIXELS for each in pixels)


def draw_cameras(count: int = 216) -> Suite:
    """Ask for a camera that moves, before an object or an animal, over a floor with marks."""
    prompts: list[Prompt] = []
    for number in range(count):
        kind, sense = MOVES[number % len(MOVES)]
        stays = ("rest", "spin", "bounce", "eat", "stand")
        goes = ("roll", "slide", "walk", "gallop", "leap")
        events = dict.fromkeys(goes if kind == "follow" else stays, 1.0)
        mix = dataclasses.replace(ALONE, events=events, cameras={kind: 1.0}, floors=MARKED)

        def fits(spec: SceneSpec, kind: str = kind, sense: str = sense) -> bool:
            right = spec.camera.kind == kind and sense in ("", spec.camera.sense)
            return right and (kind != "follow" or bool(hero(spec).direction))

        prompts.append(_prompt(FIRST_SEED + 200_000 + 500 * number, mix, ("camera",), fits))
    return Suite("cameras", tuple(prompts))


def draw_held_out(count: int = 160) -> Suite:
    """Ask for pairs that training never showed: shape and colour, material and event, animal and motion."""
    looks = [("cube", each) for each in ("orange", "purple", "cyan", "brown")]
    looks += [("cylinder", each) for each in ("pink", "green", "white", "grey")]
    base = dataclasses.replace(ALONE, held_out="only")
    kinds: list[tuple[Mix, tuple[str, ...]]] = []
    for shape, colour in looks:
        events = {each: 1.0 for each in SOLO_EVENTS if shape in ACTORS[each]}
        mix = dataclasses.replace(base, shapes={shape: 1.0}, colours={colour: 1.0}, events=events)
        kinds.append((mix, OBJECT_ATOMS))
    for material, event in sorted(MATERIAL_EVENTS):
        kinds.append((_only(base, event, materials={material: 1.0}), OBJECT_ATOMS))
    for animal, motion in sorted(ANIMAL_MOTIONS):
        kinds.append((_only(base, motion, animals={animal: 1.0}), ANIMAL_ATOMS))
    prompts = [_prompt(FIRST_SEED + 400_000 + number, *kinds[number % len(kinds)]) for number in range(count)]
    return Suite("held-out", tuple(prompts))


def draw_held_out_words(count: int = 120) -> Suite:
    """Ask for what training shows in words that its captions never had, wherever there are any."""
    half = -(-count // 2)
    asked = zip(draw_objects(half).prompts, draw_animals(half).prompts, strict=True)
    prompts: list[Prompt] = []
    for number, old in enumerate([prompt for pair in asked for prompt in pair][:count]):
        spec = old.spec
        hero = spec.objects[0]
        looks = {"animals": {hero.shape: 1.0}} if spec.event in MOTIONS else {"shapes": {hero.shape: 1.0}}
        mix = _only(ALONE, spec.event, colours={hero.colour: 1.0}, **looks)
        prompts.append(_prompt(FIRST_SEED + 500_000 + number, mix, old.atoms, held_out=True))
    return Suite("held-out-words", tuple(prompts))


def draw_minutes(count: int = 48) -> Suite:
    """Ask for minutes in which one hero never comes to rest, and see if it stays itself."""
    prompts: list[Prompt] = []
    for number in range(count):
        event = MINUTE_EVENTS[number % len(MINUTE_EVENTS)]
        cameras = {"follow": 1.0} if event in MINUTE_GOES else {"still": 2.0, "orbit": 1.0}
        mix = dataclasses.replace(
            LIVELY_MIX, num_objects=(1.0,), companions=0.0, cameras=cameras, events={event: 1.0}
        )
        atoms = ("animal",) if event in MOTIONS else ("colour", "shape")
        prompts.append(
            _prompt(FIRST_SEED + 600_000 + 500 * number, mix, atoms, shows_all, frames=MINUTE_FRAMES)
        )
    return Suite("minutes", tuple(prompts))


def draw_physics(count: int = 96) -> Suite:
    """Ask for bounces, gliding with a shadow, mirror images and orbits: scenes whose own renders pass."""
    by_day = {"day": 2.0, "sunset": 1.0}
    kinds: list[tuple[Mix, tuple[str, ...]]] = [
        (_only(ALONE, "bounce"), ("parabola", "restitution", "prediction of bounces")),
        (
            dataclasses.replace(ALONE, events={"roll": 1.0, "slide": 1.0}, skies=by_day),
            ("prediction of ways", "permanence", "shadow"),
        ),
        (
            dataclasses.replace(
                ALONE, events={"rest": 1.0, "spin": 1.0}, skies=by_day, floors={"mirror": 1.0}
            ),
            ("mirror",),
        ),
        (
            dataclasses.replace(ALONE, events={"rest": 1.0}, cameras={"orbit": 1.0}, floors=MARKED),
            ("orbit",),
        ),
    ]
    tables = load_classical().tables
    prompts: list[Prompt] = []
    for number in range(count):
        mix, laws = kinds[number % len(kinds)]

        def fits(spec: SceneSpec, laws: tuple[str, ...] = laws) -> bool:
            film = Film(make_clip(spec, enlarge=2).frames, tables)
            return all(kept(law, figure) for law, figure in figures_of(film, laws).items())

        prompts.append(_prompt(FIRST_SEED + 700_000 + 500 * number, mix, laws, fits))
    return Suite("physics", tuple(prompts))


DRAWERS: Sequence[Callable[[], Suite]] = (
    draw_objects,
    draw_animals,
    draw_pairs,
    draw_cameras,
    draw_held_out,
    draw_held_out_words,
    draw_minutes,
    draw_physics,
)


def _only(mix: Mix, event: str, **changes: object) -> Mix:
    return dataclasses.replace(mix, events={event: 1.0}, **changes)  # pyright: ignore[reportArgumentType]


def _prompt(
    seed: int,
    mix: Mix,
    atoms: tuple[str, ...],
    fits: Callable[[SceneSpec], bool] = lambda _: True,
    frames: int = FRAMES,
    *,
    held_out: bool = False,
) -> Prompt:
    """Draw scenes from `seed` on until one fits, and the caption that says all that is asked for.

    With `held_out` it says so in words that training never has.
    """
    spec = sample_scene(seed, frames=frames, fps=FPS, width=SIDE, height=SIDE, mix=mix)
    while not fits(spec):
        seed += 1
        spec = sample_scene(seed, frames=frames, fps=FPS, width=SIDE, height=SIDE, mix=mix)
    rng = numpy_generator("prompt", seed)
    return Prompt(caption(spec, rng, style="exact", exact=True, held_out=held_out), spec, atoms)


def main() -> None:
    """Write every suite and say its size and fingerprint."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="src/unstatic/evals/suites replaces those that are shipped")
    options = parser.parse_args()
    for draw in DRAWERS:
        suite = draw()
        path = save_suite(suite, options.folder)
        print(path.name, len(suite.prompts), suite.fingerprint)


if __name__ == "__main__":
    main()
