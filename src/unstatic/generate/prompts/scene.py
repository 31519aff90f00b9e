"""What a prompt asks for, as data: things, what happens, where, when, and how it is filmed."""

from dataclasses import dataclass, field

MOST_THINGS = 6
DOGS = ("husky", "shiba inu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """Something named: `group` is "shape", "animal" or "prop", `kind` its word in the vocabulary.

    The kind "dog" is any dog. `relation` says where it is, seen from the hero: a key of RELATION_WORDS,
    "beside" for either side, None when nothing was said.
    """

    group: str
    kind: str
    colour: str = ""
    material: str = ""
    sizes: tuple[str, ...] = ()
    count: int = 1
    relation: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """All that was said, or is to be said; "" and () are open. The first of the `things` is the hero.

    `event` is one of EVENTS or MOTIONS. `floor_colours` are those of a plain (one) or a checkered floor,
    `camera` is a key of CAMERA_VERBS. What is `excluded` ("floor grass") is never filled in.
    """

    things: tuple[Thing, ...] = ()
    event: str = ""
    manner: str = ""
    direction: str = ""
    floor: str = ""
    floor_colours: tuple[str, ...] = ()
    sky: str = ""
    light: str = ""
    camera: str = ""
    camera_sense: str = ""
    excluded: frozenset[str] = field(default_factory=frozenset[str])

    @property
    def hero(self) -> Thing | None:
        """The thing that the film is about."""
        return self.things[0] if self.things else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A prompt as understood: the scene, the words with no place in it, and words read as others.

    `content` counts the words that say what is to be seen, `understood` those of them that were understood.
    `is_caption` tells whether all of it is said as captions of training say it.
    """

    scene: Scene
    unknown: tuple[str, ...] = ()
    guesses: tuple[tuple[str, str], ...] = ()
    content: int = 0
    understood: int = 0
    is_caption: bool = False
