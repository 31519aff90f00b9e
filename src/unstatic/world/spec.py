"""What a clip of the world is, as data: a frozen `SceneSpec`, and the `Trajectory` that physics makes of it.

Axes: z is up and the floor is z = 0; metres, seconds, radians; quaternions are (w, x, y, z). A spec says
everything that a renderer, a caption or an evaluation needs, and its JSON is exact; nothing about a clip is
known only to the code that drew it.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

SHAPES = ("ball", "cube", "cylinder", "cone", "capsule", "ring")
ANIMALS = (
    "alpaca",
    "bull",
    "cow",
    "deer",
    "donkey",
    "fox",
    "horse",
    "white horse",
    "husky",
    "shiba inu",
    "stag",
    "wolf",
)
COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "pink",
    "white",
    "black",
    "brown",
    "grey",
)
MATERIALS = ("matte", "metal", "mirror", "glass", "checkered", "wood")
FLOORS = ("plain", "checker", "wood", "grass", "sand", "snow", "water", "mirror")
SKIES = ("day", "sunset", "night", "studio")
CAMERAS = ("still", "orbit", "pan", "dolly", "zoom", "rise", "follow")
EVENTS = (
    "rest",
    "fall",
    "bounce",
    "roll",
    "slide",
    "spin",
    "topple",
    "collide",
    "pendulum",
    "ramp",
    "pass-behind",
    "jump",
    "ricochet",
    "shower",
)
# What an animal does; an animal that is a scene's hero gives the scene its event.
TRAVELLING_MOTIONS = ("walk", "gallop", "leap")
STAYING_MOTIONS = ("eat", "stand", "attack", "kick")
MOTIONS = TRAVELLING_MOTIONS + STAYING_MOTIONS
# What happens in one place, or everywhere: it goes in no direction.
IN_PLACE = ("rest", "spin", "pendulum", "ricochet", "shower", *STAYING_MOTIONS)
PROPS = ("ramp", "post", "wall", "string")

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSpec:
    """One object, or one animal: then `shape` is its kind, and it moves by itself.

    `size` is half the object's height standing upright (a ball's radius), in metres; `aspect` is its half
    width over `size`; `geometry` has the solid of each shape. `spin` is angular velocity in the world's
    frame. `rolling_friction` is in metres: over the radius, it is the slope on which the object would keep
    its speed (every ball, cylinder and capsule has a little). `role` is "hero" for the object the event is
    about, "partner" for the second one of a two-object event, "extra" for any other. `direction` is where it
    travels on screen: "left", "right", "towards", "away" or "".

    An animal has no colour or material of its own choosing (both ""). Its `position` is the middle of its
    height, its own x axis points where it looks; it goes straight on at `velocity` whatever is in its way,
    doing `motion`, which begins at `phase` (0 to 1) of its cycle and runs `pace` times as fast as recorded.

    An object with a `period_s` starts anew, from its position at its velocity, every so many seconds; until
    `phase` (0 to 1) of its first period it waits.
    """

    shape: str
    colour: str
    material: str
    size: float
    aspect: float = 1.0
    position: Vector
    quaternion: Quaternion = (1.0, 0.0, 0.0, 0.0)
    velocity: Vector = (0.0, 0.0, 0.0)
    spin: Vector = (0.0, 0.0, 0.0)
    bounciness: float = 0.3
    friction: float = 0.6
    rolling_friction: float = 0.0
    role: str = "hero"
    direction: str = ""
    motion: str = ""
    phase: float = 0.0
    pace: float = 1.0
    period_s: float = 0.0

    @property
    def is_animal(self) -> bool:
        """Whether it is one of the ANIMALS."""
        return self.shape in ANIMALS


@dataclass(frozen=True, kw_only=True, slots=True)
class PropSpec:
    """One piece of scenery: a fixed box (ramp, wall, post) with half extents, or the string of a pendulum.

    A string runs from `position` (its pivot) to the centre of object number `attached_to`; `half_extents[0]`
    is its radius.
    """

    kind: str
    colour: str
    position: Vector
    half_extents: Vector
    quaternion: Quaternion = (1.0, 0.0, 0.0, 0.0)
    attached_to: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraSpec:
    """A camera move of one of the CAMERAS; `camera` says how it runs.

    `eye`, `target` and `field_of_view` (the full vertical angle) belong to the first frame. `sense` is the
    direction ("left", "right", "in", "out", "up", "down" or ""), `amount` the size of the whole move.
    """

    kind: str
    sense: str = ""
    eye: Vector
    target: Vector
    field_of_view: float
    amount: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LightSpec:
    """A sun of angular radius `softness` (0 = hard shadows); `direction` is the unit vector towards it."""

    direction: Vector
    softness: float = 0.0
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneSpec:
    """Everything about one clip; a plain floor shows `floor_colour`, a checker floor `floor_colour2` too."""

    seed: int
    frames: int
    fps: int
    width: int
    height: int
    objects: tuple[ObjectSpec, ...]
    props: tuple[PropSpec, ...] = ()
    floor: str = "plain"
    floor_colour: str = "grey"
    floor_colour2: str = "white"
    sky: str = "day"
    light: LightSpec
    camera: CameraSpec
    event: str
    version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Return the spec as one line of JSON; `from_json` gives back an equal spec."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "SceneSpec":
        """Read what `to_json` wrote. Raises KeyError or TypeError on missing or unknown fields."""
        fields: dict[str, Any] = json.loads(text)
        fields["objects"] = tuple(ObjectSpec(**_tuples(each)) for each in fields["objects"])
        fields["props"] = tuple(PropSpec(**_tuples(each)) for each in fields["props"])
        fields["light"] = LightSpec(**_tuples(fields["light"]))
        fields["camera"] = CameraSpec(**_tuples(fields["camera"]))
        return SceneSpec(**fields)


class Trajectory(NamedTuple):
    """Where everything is at each frame: objects by centre and orientation, the camera by its path.

    The first of them is frame `start` of the scene: gaits and waves go by the scene's own time.
    """

    positions: Float[np.ndarray, "t n 3"]
    quaternions: Float[np.ndarray, "t n 4"]
    eyes: Float[np.ndarray, "t 3"]
    targets: Float[np.ndarray, "t 3"]
    fields_of_view: Float[np.ndarray, "t"]
    start: int = 0

    def window(self, first: int, frames: int) -> "Trajectory":
        """Return `frames` frames from frame `first` on."""
        tables = (table[first : first + frames] for table in self[:-1])
        return Trajectory(*tables, start=self.start + first)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
