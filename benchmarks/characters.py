"""Whether a new film keeps how a character looks, and still shows what the new prompt says.

    python benchmarks/characters.py
    python benchmarks/characters.py --cases 12 --ways "words read;lead of 17" --sheets .

A character is a render of a scene of the evaluation, of an object or an animal; the new prompt names another
event, another ground and another light, and its subject by a name that says nothing. Every way makes the same
films with the same seeds, in few steps. What is judged: the look (colour and shape, or the kind of animal)
and the event by both parsers of the evaluation, which must agree, and the look by the second parser alone,
because the words are read by the first; the size by the pixels covered, within a factor of SAME_SIZE; ground
and light by the likest renders of other scenes, whose own share of right answers is printed. Prints a
Markdown table with 95% Wilson intervals.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from films import film
from jaxtyping import Bool, Float
from PIL import Image

from unstatic.core.seeds import numpy_generator
from unstatic.diffusion.condition import Condition, Cue, LatentState
from unstatic.diffusion.process import Latent, mix
from unstatic.evals import classical
from unstatic.evals.classical import ClassicalParser
from unstatic.evals.classical_pixels import chances_of, moment_numbers, moments
from unstatic.evals.intervals import Score
from unstatic.evals.parser import Parser, load_parser
from unstatic.evals.prompts import load_suite
from unstatic.evals.readings import Frames, Thing, truth
from unstatic.generate.footage import Footage
from unstatic.generate.load import load_engine
from unstatic.generate.native import NativeEngine
from unstatic.generate.prompts.scene import Scene
from unstatic.generate.prompts.scene import Thing as Subject
from unstatic.generate.prompts.wording import caption_of
from unstatic.generate.request import Request
from unstatic.media.frames import contact_sheet, pick_evenly
from unstatic.models.manifest import find_model
from unstatic.server.characters import look_in
from unstatic.world.animals import motions
from unstatic.world.casting import stands_out
from unstatic.world.clip import make_clip
from unstatic.world.held_out import held_out_motion
from unstatic.world.mix import floor_colours
from unstatic.world.spec import MOTIONS, SceneSpec
from unstatic.world.staging import COATS
from unstatic.world.vocabulary import FLOOR_WORDS, SKY_WORDS

NAME = "Zibby"
SECONDS, LEAD, CLIP_FRAMES = 2.0, 17, 33
SAME_SIZE = 2.0
GROUNDS, LIGHTS = ("grass", "sand", "snow", "wood"), ("day", "sunset", "night")
EVENTS = {
    "ball": ("roll", "bounce", "fall"),
    "cube": ("slide", "fall", "topple", "jump"),
    "cylinder": ("roll", "fall", "topple"),
    "cone": ("slide", "fall", "jump"),
    "capsule": ("roll", "bounce", "fall"),
    "ring": ("roll", "spin", "fall"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A character's clip, and the scene that shall be filmed with it."""

    number: int
    clip: SceneSpec
    look: Thing | str
    scene: Scene

    @property
    def told(self) -> str:
        """The new prompt with the true look in words."""
        return caption_of(self.scene)

    def with_words(self, words: str) -> str:
        """Return the new prompt with these words for its subject."""
        true = in_words(self.look)
        assert self.told.startswith(true)
        return words + self.told.removeprefix(true)


def in_words(look: Thing | str) -> str:
    """Return "a red ball", or "an alpaca"."""
    return caption_of(Scene(things=(_subject(look),)))


def _subject(look: Thing | str) -> Subject:
    if isinstance(look, str):
        return Subject(group="animal", kind=look)
    return Subject(group="shape", kind=look.shape, colour=look.colour)


def cases(count: int) -> list[Case]:
    """Draw cases, three of five of objects; who is seen well in no other place has none."""
    objects, animals = (list(load_suite(name).prompts) for name in ("objects", "animals"))
    found: list[Case] = []
    number = -1
    while len(found) < count:
        number += 1
        spec = (animals if number % 5 > 2 else objects)[number].spec
        right, rng = truth(spec), numpy_generator("character", number, 0)
        look = right.animal or right.objects[0]
        if isinstance(look, str):
            events = [each for each in motions(look) if each in MOTIONS and not held_out_motion(look, each)]
            tint = COATS[look]
        else:
            events, tint = list(EVENTS[look.shape]), look.colour
        event = str(rng.choice([each for each in events if each != spec.event]))
        places = [
            (ground, light)
            for ground in GROUNDS
            for light in LIGHTS
            if ground != spec.floor
            and light != spec.sky
            and stands_out([tint], ground, floor_colours(ground, "", ""), light)
        ]
        if not places:
            continue
        ground, light = places[rng.integers(len(places))]
        scene = Scene(things=(_subject(look),), event=event, floor=ground, sky=light)
        found.append(Case(number, spec, look, scene))
    return found


# ----------------------------------------------------------------------------------------------------- judges


class Verdict(NamedTuple):
    """What was right in a film."""

    colour: bool
    kind: bool
    second: bool
    size: bool
    event: bool
    ground: bool
    light: bool

    @property
    def look(self) -> bool:
        """Whether it is that character, of whatever size."""
        return self.colour and self.kind

    @property
    def prompt(self) -> bool:
        """Whether the film shows what the prompt says, whoever does it."""
        return self.event and self.ground and self.light

    @property
    def both(self) -> bool:
        """Whether the film shows that character, doing that."""
        return self.look and self.prompt


class Places:
    """Tells grounds and lights by the likest of renders whose ground and light are known."""

    def __init__(self, scenes: Sequence[SceneSpec]) -> None:
        self.names = [(scene.floor, scene.sky) for scene in scenes]
        facts = torch.stack([place_facts(make_clip(scene).frames) for scene in scenes])
        self.middle, self.spread = facts.mean(0), facts.std(0)
        self.facts = (facts - self.middle) / self.spread

    def read(self, frames: Frames) -> tuple[str, str]:
        """Return ground and light, each by the vote of the five likest renders."""
        far = ((place_facts(frames) - self.middle) / self.spread - self.facts).square().sum(1)
        near = [self.names[each] for each in far.topk(5, largest=False).indices]
        ground, light = ([pair[part] for pair in near] for part in (0, 1))
        return max(ground, key=ground.count), max(light, key=light.count)


def place_facts(frames: Frames) -> Float[torch.Tensor, "facts"]:
    """Describe the edges of pictures, where the character hardly is: mean colours and how they vary."""
    video = torch.from_numpy(pick_evenly(frames, 5)).float().permute(0, 3, 1, 2) / 255
    video = F.interpolate(video, size=(32, 32), mode="area")
    parts = (video[:, :, 26:], video[:, :, 18:26, :6], video[:, :, 18:26, 26:], video[:, :, :4])
    means = [part.mean((0, 2, 3)) for part in parts]
    spreads = [part.std((2, 3)).mean(0).mean(0, keepdim=True) for part in parts]
    return torch.cat([*means, *spreads])


def place_scenes(first: int, count: int) -> list[SceneSpec]:
    """Return scenes of the evaluation with each ground under each light."""
    suites = [load_suite(name).prompts for name in ("objects", "animals")]
    specs = [suites[number % 2][-1 - number].spec for number in range(first, first + count)]
    return [
        replace(spec, floor=ground, sky=light, frames=9)
        for spec in specs
        for ground in GROUNDS
        for light in LIGHTS
    ]


@dataclass(frozen=True, slots=True)
class Judges:
    """Who judges: the network that also reads clips, a parser that shares nothing with it, and places."""

    network: Parser
    classical: ClassicalParser
    places: Places

    def verdict(self, case: Case, pixels: float, frames: Frames) -> Verdict:
        """Judge a film: parsers must agree; `second` is the look by the one that reads no clips.

        The character covers so many `pixels` in its clip.
        """
        readings = [self.network.read(frames), self.classical.read(frames)]
        ground, light = self.places.read(frames)
        look, animal = case.look, isinstance(case.look, str)
        if isinstance(look, str):
            colours = kinds = [each.animal == look for each in readings]
        else:
            colours = [not each.animal and each.colour == look.colour for each in readings]
            kinds = [not each.animal and each.shape == look.shape for each in readings]
        larger = seen_in(frames, self.classical, animal=animal).pixels / pixels
        return Verdict(
            colour=all(colours),
            kind=all(kinds),
            second=colours[1] and kinds[1],
            size=1 / SAME_SIZE <= larger <= SAME_SIZE,
            event=all(each.event == case.scene.event for each in readings),
            ground=ground == case.scene.floor,
            light=light == case.scene.sky,
        )


def seen_in(frames: Frames, parser: ClassicalParser, *, animal: bool) -> classical.Seen:
    """Return where the second parser sees the animal, or the object of the clearest colour."""
    pictures, tables = moments(frames), parser.tables
    found = classical.scene_of(pictures, chances_of(pictures.now, tables["pixel"], tables["context"]))
    return found.animal if animal else found.objects[0]


# ------------------------------------------------------------------------------------------------------- ways


@dataclass(frozen=True, slots=True)
class Known:
    """What a way may look at: the clip, and the words that the server reads in it."""

    case: Case
    clip: Frames
    read: str
    engine: NativeEngine
    judges: Judges

    def request(self, words: str) -> Request:
        """Return a plain request for the new film, with these words for the subject."""
        seed = 1000 + self.case.number
        return Request(prompt=self.case.with_words(words), seconds=SECONDS, seed=seed, expand=True)


Way = Callable[[Known], Request]


def after(asked: Request, frames: Frames, *, unseen: int = 0) -> Request:
    """Let a film go on after frames, and `unseen` more, that are not shown."""
    return replace(asked, footage=(Footage(first=0, frames=frames),), lead=len(frames) + unseen)


@dataclass(frozen=True, slots=True)
class Noised:
    """Start the first latent frames from given ones, noised to a level, and make them anew."""

    latent: Latent
    level: float

    def apply_to(self, state: LatentState) -> LatentState:
        """Lower the start of those frames."""
        given = self.latent.shape[2]
        clean, sigma = state.clean.clone(), state.sigma.clone()
        clean[:, :, :given], sigma[:, :, :given] = self.latent.to(clean), self.level
        return replace(state, latent=mix(clean, state.noise, sigma), sigma=sigma, clean=clean, estimate=clean)


def noised(known: Known, asked: Request, frames: Frames, level: float) -> Request:
    """Let a film go on after frames that are not shown and made anew from a level of static."""
    latent = known.engine.autoencoder.encode(to_video(frames))
    condition: Condition = Noised(latent, level)
    return replace(asked, conditions=(condition,), lead=len(frames))


def to_video(frames: Frames) -> Float[torch.Tensor, "1 3 t h w"]:
    """Return frames as an encoder takes them."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def subject_of(known: Known) -> tuple[int, Bool[np.ndarray, "h w"]]:
    """Return the frame in which the subject is seen best, and where it is there."""
    seen = seen_in(known.clip, known.judges.classical, animal=isinstance(known.case.look, str))
    best = int(classical.quality(seen).argmax())
    cover = F.max_pool2d((seen.cover[best] > 0.3)[None, None].float(), 3, 1, 1)
    where = F.interpolate(cover, size=known.clip.shape[1:3])[0, 0] > 0
    _, now = moment_numbers(len(known.clip)).chunk(2)
    return int(now[best]), where.numpy()


def in_new_place(known: Known, *, empty: bool = False) -> Request:
    """Make a still in which all but the subject is new, and a film that begins with it.

    In an `empty` place the still is asked for without naming the subject, which is there already.
    """
    number, where = subject_of(known)
    asked, scene = known.request(known.read), known.case.scene
    still = replace(asked, seconds=0, source=known.clip[number][None], mask=~where)
    if empty:
        words = f"on {FLOOR_WORDS[scene.floor].seen[0]} {SKY_WORDS[scene.sky].seen[0]}"
        still = replace(still, prompt=words, expand=False)
    return replace(asked, image=film(known.engine, still)[0])


def best_frame(known: Known) -> Frames:
    """Return the frame in which the subject is seen best."""
    number, _ = subject_of(known)
    return known.clip[number][None]


TRUE, READ = "true words", "words read"
WAYS: Mapping[str, Way] = {
    "nothing known": lambda it: it.request(NAME),
    TRUE: lambda it: it.request(in_words(it.case.look)),
    "lead of 17": lambda it: after(it.request(NAME), it.clip[:LEAD]),
    "lead of 5": lambda it: after(it.request(NAME), it.clip[:5]),
    "first frame": lambda it: after(it.request(NAME), it.clip[:1]),
    "last frame": lambda it: after(it.request(NAME), it.clip[-1:]),
    "best frame": lambda it: after(it.request(NAME), best_frame(it)),
    READ: lambda it: it.request(it.read),
    "words read, lead of 17": lambda it: after(it.request(it.read), it.clip[:LEAD]),
    "words read, lead of 5": lambda it: after(it.request(it.read), it.clip[:5]),
    "words read, best frame": lambda it: after(it.request(it.read), best_frame(it)),
    "words read, lead of 17, guidance 6": lambda it: replace(
        after(it.request(it.read), it.clip[:LEAD]), guidance=6.0
    ),
    "words read, lead of 17 under its own text": lambda it: replace(
        after(it.request(it.read), it.clip[:LEAD]),
        prompt=it.read,
        cues=(Cue(at=0.0, prompt=it.case.with_words(it.read)),),
    ),
    "words read, lead of 17, 16 more unseen": lambda it: after(
        it.request(it.read), it.clip[:LEAD], unseen=16
    ),
    "words read, frame at 0.9 of static": lambda it: noised(it, it.request(it.read), best_frame(it), 0.9),
    "words read, frame at 0.7 of static": lambda it: noised(it, it.request(it.read), best_frame(it), 0.7),
    "words read, lead of 17 at 0.7 of static": lambda it: noised(
        it, it.request(it.read), it.clip[:LEAD], 0.7
    ),
    "words read, subject in a new still": in_new_place,
    "words read, subject in an empty still": lambda it: in_new_place(it, empty=True),
    "words read, frame at 0.95 of static": lambda it: noised(it, it.request(it.read), best_frame(it), 0.95),
}


# ------------------------------------------------------------------------------------------------------- main

COLUMNS = ("look", "colour", "kind", "second", "size", "event", "ground", "light", "prompt", "both")


def main() -> None:
    """Film all cases in all ways, then print what was right."""
    options = parsed()
    engine = load_engine(find_model(options.model), device="cpu")
    assert isinstance(engine, NativeEngine), "history is noised in our own engine only"
    ways = options.ways.split(";") if options.ways else list(WAYS)
    judges = Judges(load_parser(), classical.load_classical(), Places(place_scenes(0, 12)))
    print_places(judges.places)

    found: dict[str, list[Verdict]] = {way: [] for way in ways}
    right: list[bool] = []
    for case in cases(options.cases):
        clip = make_clip(replace(case.clip, frames=CLIP_FRAMES), enlarge=2).frames
        known = Known(case, clip, look_in(clip), engine, judges)
        right.append(known.read == in_words(case.look))
        pixels = seen_in(clip, judges.classical, animal=isinstance(case.look, str)).pixels
        films: dict[str, Frames] = {}
        for way in ways:
            if way == READ and TRUE in films and right[-1]:  # the same film
                films[way], verdict = films[TRUE], found[TRUE][-1]
            else:
                films[way] = film(engine, WAYS[way](known))
                verdict = judges.verdict(case, pixels, films[way])
            found[way].append(verdict)
        if options.sheets:
            captions = ["clip", *(f"{way}: {said(found[way][-1])}" for way in ways)]
            pictures = [pick_evenly(each, 5) for each in (clip, *films.values())]
            sheet = contact_sheet(pictures, captions, columns=3)
            Image.fromarray(sheet).save(options.sheets / f"{case.number}.png")
        print(f"{case.told}; read in the clip: {known.read}", file=sys.stderr)
        for way in ways:
            print(f"    {way}: {said(found[way][-1])}", file=sys.stderr, flush=True)

    print(f"look read right in the clip: {Score(sum(right), len(right))}\n")
    print(f"| {options.cases} films | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for way, verdicts in found.items():
        counts = [sum(getattr(each, column) for each in verdicts) for column in COLUMNS]
        print(f"| {way} | {' | '.join(str(Score(count, len(verdicts))) for count in counts)} |")


def print_places(places: Places) -> None:
    """Print how often grounds and lights of other renders are told right."""
    scenes = place_scenes(12, 6)
    read = [places.read(make_clip(scene).frames) for scene in scenes]
    grounds = sum(ground == scene.floor for (ground, _), scene in zip(read, scenes, strict=True))
    lights = sum(light == scene.sky for (_, light), scene in zip(read, scenes, strict=True))
    print(f"ground of renders: {Score(grounds, len(scenes))}, light: {Score(lights, len(scenes))}")


def said(verdict: Verdict) -> str:
    """List what was right."""
    return ", ".join(column for column in COLUMNS if getattr(verdict, column)) or "nothing"


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure ways to keep a character's look.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--cases", type=int, default=28)
    parser.add_argument("--ways", help="names of ways, with semicolons between them; without it all")
    parser.add_argument("--sheets", type=Path, help="a folder for pictures of the films")
    return parser.parse_args()


if __name__ == "__main__":
    main()
