"""Prompt expansion: what people type becomes a caption of the world that the model learned.

    expand("a doggo running").text
    # "a husky gallops to the right across grass in daylight while the camera follows it"

What was said is kept, what was left open is filled in, what is not understood is listed;
docs/explanation/prompts.md says how.
"""

from dataclasses import dataclass, field, fields, replace

from unstatic.core.seeds import numpy_generator
from unstatic.generate.prompts.continuing import begins_anew, understand_next
from unstatic.generate.prompts.domain import is_foreign, known
from unstatic.generate.prompts.filling import fill, with_things
from unstatic.generate.prompts.scene import Reading, Scene
from unstatic.generate.prompts.understanding import understand
from unstatic.generate.prompts.wording import caption_of
from unstatic.models.manifest import Manifest
from unstatic.world.spec import ANIMALS


@dataclass(frozen=True, kw_only=True, slots=True)
class Expansion:
    """A prompt, the `text` that a model is to read instead of it, and what was understood.

    `understood` has the slots that the prompt decided ("floor": "sand"), `unknown` the words with no place
    in them, `guesses` pairs of a word and the word that it was taken for. `foreign` says that the prompt is
    about other things than the world has. `scene` is what the text shows, as far as it says it, and `anew`
    tells whether it shows something new after the prompt before.
    """

    prompt: str
    text: str
    understood: dict[str, str] = field(default_factory=dict[str, str])
    unknown: tuple[str, ...] = ()
    guesses: tuple[tuple[str, str], ...] = ()
    foreign: bool = False
    scene: Scene = field(default_factory=Scene)
    anew: bool = False

    @property
    def changed(self) -> bool:
        """Whether the model reads something else than was typed."""
        return self.text != self.prompt


@dataclass(frozen=True, slots=True)
class Wording:
    """What a model reads, and what its user should know about it.

    `scene` is what the text shows, where that was found out, and `anew` says that it shows something new.
    """

    text: str
    warnings: tuple[str, ...] = ()
    scene: Scene | None = None
    anew: bool = False


def worded(
    prompt: str, manifest: Manifest, *, seed: int, filling: bool, before: Scene | None = None
) -> Wording:
    """Word a prompt for a model, perhaps after another; a model without expander reads what was typed."""
    if not manifest.expander:
        return Wording(prompt)
    animals = manifest.expander == "world"
    expansion = expand(prompt, seed=seed, filling=filling, animals=animals, before=before)
    warnings = _warnings(expansion, manifest.name, known(animals=animals))
    return Wording(expansion.text, warnings, expansion.scene, expansion.anew)


def as_typed(prompt: str, manifest: Manifest, *, before: Scene | None = None) -> Wording:
    """Leave a prompt as it is, but find out what it shows."""
    wording = worded(prompt, manifest, seed=0, filling=False, before=before)
    return replace(wording, text=prompt, warnings=())


def expand(
    prompt: str,
    *,
    seed: int = 0,
    filling: bool = True,
    animals: bool = True,
    before: Scene | None = None,
) -> Expansion:
    """Rewrite a prompt as a caption in words of training; the same prompt and seed give the same caption.

    A caption stays as it is, and so does a prompt that names nothing the world has. Without `filling` nothing
    is added to what was said: a picture may show it already. A model that has not seen `animals` gets none:
    prompts for them are foreign to it and stay as they are. What a prompt leaves open that comes after
    another, which showed the scene `before`, is as it was (`continuing.py`).
    """
    reading = understand(prompt) if before is None else understand_next(prompt, before)
    text, scene = prompt, reading.scene
    anew = before is not None and begins_anew(scene, before)
    foreign = is_foreign(reading, animals=animals)
    if before is not None and before.things:
        if reading.understood == reading.content:  # "zoom in": of things that are there
            foreign = is_foreign(replace(reading, content=1, understood=1), animals=animals)
        foreign = foreign or (anew and _guesses_a_thing(reading))
    if not animals:
        scene = replace(scene, excluded=scene.excluded | {f"animal {kind}" for kind in ANIMALS})
    wants_animals = foreign and not is_foreign(reading)
    goes_on = before is not None and foreign  # it is as little understood as the first would be
    if not (reading.is_caption or wants_animals or goes_on) and _says_enough(reading, filling=filling):
        rng = numpy_generator("prompt", prompt, seed)
        adds = filling and (before is None or anew or not before.things)  # what goes on is there already
        scene = fill(scene, rng) if adds else with_things(scene, rng)
        text = caption_of(scene)
    return Expansion(
        prompt=prompt,
        text=text,
        understood=_slots(reading.scene),
        unknown=reading.unknown,
        guesses=reading.guesses,
        foreign=foreign,
        scene=before if before is not None and foreign else scene,
        anew=anew and not foreign,
    )


def _guesses_a_thing(reading: Reading) -> bool:
    """Tell whether a thing was only guessed: "the sun shines" is no scene of two shiba inus."""
    guessed = " ".join(known for _, known in reading.guesses)
    return bool(guessed and understand(guessed).scene.things)


def _says_enough(reading: Reading, *, filling: bool) -> bool:
    """Return whether there is a thing to film, or only a place, all of it understood, to put one into."""
    is_place = bool(_slots(reading.scene)) and reading.understood == reading.content
    return reading.scene.hero is not None or (filling and is_place)


def _slots(scene: Scene) -> dict[str, str]:
    """Return what a scene decides, in words."""
    values = {each.name: getattr(scene, each.name) for each in fields(scene)}
    found = {name: value for name, value in values.items() if isinstance(value, str) and value}
    if scene.things:
        looks = ((*each.sizes, each.colour, each.material, each.kind) for each in scene.things)
        found["subject"] = ", ".join(" ".join(filter(None, words)) for words in looks)
    if scene.floor_colours:
        found["floor"] = f"{' and '.join(scene.floor_colours)} {scene.floor}"
    return found


def _warnings(expansion: Expansion, model: str, things: str) -> tuple[str, ...]:
    if expansion.foreign:
        knows = f"{model} knows few things ({things})"
        advice = "name some of them, or pull a model that knows more (`unstatic models list --all`)"
        return (f"{knows}, and the prompt asks for others: {advice}",)
    found: list[str] = []
    if expansion.guesses:
        found.append("read " + ", ".join(f"{word} as {known}" for word, known in expansion.guesses))
    if expansion.unknown:
        found.append(f"not understood: {', '.join(expansion.unknown)}")
    return tuple(found)
