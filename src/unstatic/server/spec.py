"""What a worker is told of a job: every task of `generate/edit.py`, its files named by keys."""

from dataclasses import dataclass
from typing import Any, Literal

from unstatic.core.config import from_dict, to_dict

Task = Literal["create", "extend", "loop", "blend", "remix", "repaint", "recut", "storyboard", "image"]
TASKS: tuple[Task, ...] = (
    "create",
    "extend",
    "loop",
    "blend",
    "remix",
    "repaint",
    "recut",
    "storyboard",
    "image",
)
# No file of a film holds less than two
ONE_FRAME = "that is a film of one frame: ask for more, or ask /v1/images for a picture"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A card of a storyboard: what changes at `at` seconds; a picture and a video are keys."""

    at: float
    prompt: str | None = None
    cut: bool | None = None
    image: str | None = None
    video: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """A character of a film: what the prompt calls it, its clip (a key), and its look in words if known."""

    name: str
    clip: str
    description: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """Everything that decides about the frames, so that a second attempt makes the same ones.

    `seconds` is the length of the whole for "create" and "storyboard", and of the new part for "extend",
    "loop" and "blend". What is None is the model's own choice. `image`, `last_image`, `video`, `other` (the
    second of two that are blended), `mask` and the clips of `characters` are keys of the storage; those that
    were sent with the job lie under `inputs`, which is swept when it has ended.
    """

    task: Task
    prompt: str
    seed: int
    seconds: float | None = None
    size: str | None = None
    fps: int | None = None
    variation: int = 0
    steps: int | None = None
    guidance: float | None = None
    negative: str | None = None
    step_cache: int = 1
    expand: bool = True
    image: str | None = None
    last_image: str | None = None
    video: str | None = None
    other: str | None = None
    mask: str | None = None
    strength: float | None = None
    backward: bool = False
    keep: tuple[float, float] | None = None
    before: float = 0.0
    after: float = 0.0
    cards: tuple[Card, ...] = ()
    characters: tuple[Role, ...] = ()
    inputs: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what the row of the job holds."""
        return to_dict(self)


def read_spec(content: dict[str, Any]) -> Spec:
    """Return what a row holds. Raises InputError for what this version does not know."""
    return from_dict(Spec, content)
