"""Films that are told anew, read by the parsers: remixes of real renders, and the cards of a storyboard.

remixes:  the caption of a render with another colour for its thing. Is it of that colour now, still of its
          shape, and does it do what it did? The first column is the render of what was asked for, the
          next the source as it is: all right but the colour.
cards:    two prompts, four seconds each, in one film. Do its first four seconds show the first, its last four
          the second?
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from unstatic.core.seeds import numpy_generator
from unstatic.core.shapes import Compression
from unstatic.diffusion.condition import Cue
from unstatic.evals.follow import SHOWN_FRAMES, Answer, Column, FollowResult, Make, follow
from unstatic.evals.prompts import Prompt, Suite, load_suite
from unstatic.evals.readings import Frames, Reader
from unstatic.generate import edit
from unstatic.generate.engine import Engine, whole_film
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.texts import chunk_starts
from unstatic.media.frames import pick_evenly, retime
from unstatic.presets.edit_evaluation import source_of
from unstatic.presets.film_store import Keep
from unstatic.world.held_out import held_out
from unstatic.world.mix import contrast, floor_colours, lost_at_night
from unstatic.world.relations import hero
from unstatic.world.spec import COLOURS

REMIXES, CARDS = "remixes", "cards"
STRENGTHS = (0.5, 0.7, edit.STRENGTH)
SOURCE = "source"
CARD_SECONDS = 4
CARD_NAMES = ("first card", "second card")

Watch = Callable[[str, Answer, Frames], object]


def remix_prompts(count: int) -> list[tuple[Prompt, Prompt]]:
    """Return the first prompts of objects whose colour can be told anew, each after what it was before."""
    pairs: list[tuple[Prompt, Prompt]] = []
    for prompt in load_suite("objects").prompts:
        if len(pairs) < count and (told := recoloured(prompt)) is not None:
            pairs.append((prompt, told))
    return pairs


def recoloured(prompt: Prompt) -> Prompt | None:
    """Return a prompt whose thing has another colour, easy to tell from its old one and from all around it.

    None if the text does not name the colour once, in a word of its own, or if no colour is left that
    training showed with such a shape. The same prompt always becomes the same.
    """
    spec, thing = prompt.spec, hero(prompt.spec)
    word = re.compile(rf"(?<![\w-]){thing.colour}(?![\w-])", re.IGNORECASE)
    if len(word.findall(prompt.text)) != 1:
        return None
    floor = floor_colours(spec.floor, spec.floor_colour, spec.floor_colour2)
    around = (*floor, *(each.colour for each in spec.props))
    found: list[Prompt] = []
    for colour in COLOURS:
        objects = tuple(replace(each, colour=colour) if each is thing else each for each in spec.objects)
        scene = replace(spec, objects=objects)
        dark = spec.sky == "night" and lost_at_night(colour, spec.floor, floor)
        apart = all(contrast(colour, each) for each in (thing.colour, *around))
        if apart and not dark and not held_out(scene):
            found.append(replace(prompt, text=word.sub(colour, prompt.text), spec=scene))
    rng = numpy_generator("recoloured", spec.seed)
    return found[int(rng.integers(len(found)))] if found else None


def measure_remixes(
    engine: Engine,
    count: int,
    readers: Sequence[Reader],
    *,
    enlarge: int,
    keep: Keep = lambda _, make: make,
    watch: Watch = lambda *_: None,
    advance: Callable[[], object] = lambda: None,
) -> FollowResult:
    """Let the model remix real renders with three strengths, and read what comes out."""
    pairs = remix_prompts(count)
    sources = {told.spec.seed: before for before, told in pairs}

    @lru_cache(maxsize=1)  # each is asked for once in every column
    def rendered(seed: int) -> Frames:
        return source_of(sources[seed], engine.manifest, enlarge=enlarge)

    def original(prompt: Prompt) -> Frames:
        return rendered(prompt.spec.seed)

    made = {f"strength {strength:g}": partial(_remixed, engine, original, strength) for strength in STRENGTHS}
    makers: dict[str, Make] = {SOURCE: original} | {name: keep(name, make) for name, make in made.items()}
    suite = Suite(REMIXES, tuple(told for _, told in pairs))
    return follow(makers, suite, readers, enlarge=enlarge, watch=watch, advance=advance)


def _remixed(engine: Engine, original: Make, strength: float, prompt: Prompt) -> Frames:
    fps, wanted = prompt.spec.fps, engine.manifest.fps
    source = retime(original(prompt), 0, fps, wanted)
    request = Request(prompt=prompt.text, seed=prompt.spec.seed)
    return _film(engine, edit.remix(request, source, engine.manifest, strength=strength), fps)


def card_prompts(count: int) -> Iterator[tuple[Prompt, Prompt]]:
    """Return pairs of prompts: an object and then an animal, an animal and then an object."""
    objects, animals = (load_suite(name).prompts for name in ("objects", "animals"))
    for number, pair in enumerate(list(zip(objects, animals, strict=False))[:count]):
        yield pair if number % 2 == 0 else (pair[1], pair[0])


def two_cards(first: Prompt, second: Prompt) -> Request:
    """Ask for a film of two prompts in a row."""
    cue = Cue(at=float(CARD_SECONDS), prompt=second.text)
    return Request(prompt=first.text, seed=first.spec.seed, seconds=2 * CARD_SECONDS, cues=(cue,))


def seen_from(made: Plan, compression: Compression) -> int:
    """Return the frame from which the second text of a plan can be seen."""
    _, start = chunk_starts([first for first, _ in made.texts], made.chunks, compression)
    return compression.frames(start) - made.skip


def measure_cards(
    engine: Engine,
    count: int,
    readers: Sequence[Reader],
    *,
    keep: Keep = lambda _, make: make,
    watch: Watch = lambda *_: None,
    advance: Callable[[], object] = lambda: None,
) -> FollowResult:
    """Let the model film two cards in a row, and read the four seconds of each.

    Those of the second begin with the chunk that can show it: a frame of the first card among them is another
    thing to the parsers.
    """
    columns: dict[str, list[Answer]] = {name: [] for name in CARD_NAMES}
    cards, fps = list(card_prompts(count)), engine.manifest.fps
    for first, second in cards:
        made = plan(two_cards(first, second), engine.manifest)
        begin = seen_from(made, engine.manifest.compression)
        frames = keep(second.text, lambda _, made=made: whole_film(engine, made))(first)
        halves = frames[: min(begin, CARD_SECONDS * fps)], frames[begin:]
        shown = [retime(half, 0, fps, first.spec.fps) for half in halves]
        for name, prompt, part in zip(CARD_NAMES, (first, second), shown, strict=True):
            readings = tuple(reader.read(part) for reader in readers)
            answer = Answer(prompt, readings, pick_evenly(part, SHOWN_FRAMES))
            columns[name].append(answer)
            watch(name, answer, part)
        advance()
    found = tuple(Column(name, tuple(answers)) for name, answers in columns.items())
    suite = Suite(CARDS, tuple(prompt for pair in cards for prompt in pair))
    return FollowResult(CARDS, suite.fingerprint, found)


def _film(engine: Engine, request: Request, fps: int) -> Frames:
    """Return a film's frames as a player at `fps` shows them."""
    frames = whole_film(engine, plan(request, engine.manifest))
    return retime(frames, 0, engine.manifest.fps, fps)
