"""Storyboards: cards on a timeline, each with a prompt, a picture or a video, from a YAML or JSON file.

seconds: 10
cards:
  - at: 0
    prompt: a red ball rolls across sand
  - at: 4
    prompt: the ball stops beside a blue cube
    image: cube.png     # what is seen at this moment
  - at: 8
    video: waves.mp4    # plays from here on
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import yaml

from unstatic.core.config import from_dict
from unstatic.core.errors import InputError
from unstatic.diffusion.condition import Cue
from unstatic.generate.defaults import DEFAULT_SECONDS
from unstatic.generate.footage import Footage, read_source
from unstatic.generate.image import nearest_size, open_image
from unstatic.generate.request import Request, native_size
from unstatic.media.frames import fit
from unstatic.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What changes at `at` seconds: the prompt, and what is seen then, a picture or a video."""

    at: float
    prompt: str | None = None
    image: Path | None = None
    video: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Storyboard:
    """Cards in the order of their times; without `seconds` the last lasts as long as its video, or 4 s."""

    cards: tuple[Card, ...]
    seconds: float | None = None


def read_storyboard(path: Path) -> Storyboard:
    """Read a storyboard; files that it names lie beside it. Raises InputError saying what is wrong where."""
    try:
        content = cast(Any, yaml.safe_load(path.read_text(encoding="utf-8")))  # JSON is YAML too
    except OSError as error:
        raise InputError(f"cannot read the storyboard {path}: {error.strerror}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the storyboard {path} is not YAML or JSON: {reason}") from error
    if not isinstance(content, Mapping):
        raise InputError(f"the storyboard {path} must have 'cards', a list")
    try:
        board = from_dict(Storyboard, _named(content))
        _check(board)
    except InputError as error:
        raise InputError(f"the storyboard {path}: {error}") from None
    return replace(board, cards=tuple(_beside(path, card) for card in board.cards))


def _named(content: Any) -> Any:
    """Return what was read with all keys as text: YAML takes 0, on and yes for other things."""
    if isinstance(content, Mapping):
        items = cast(Mapping[Any, Any], content).items()
        return {str(key): _named(value) for key, value in items}
    return [_named(each) for each in cast(list[Any], content)] if isinstance(content, list) else content


def _beside(board: Path, card: Card) -> Card:
    image = None if card.image is None else board.parent / card.image
    video = None if card.video is None else board.parent / card.video
    return replace(card, image=image, video=video)


def _check(board: Storyboard) -> None:
    if not board.cards:
        raise InputError("it has no cards: give one with at: 0 and a prompt")
    for number, card in enumerate(board.cards, 1):
        if card.at < 0:
            raise InputError(f"card {number} is at {card.at:g} s: times begin at 0")
        if card.prompt is None and card.image is None and card.video is None:
            raise InputError(f"card {number} is empty: give it a prompt, an image or a video")
        if card.image is not None and card.video is not None:
            raise InputError(f"card {number} has an image and a video: give it one of them")
    for number, (one, other) in enumerate(pairwise(board.cards), 1):
        if one.at >= other.at:
            raise InputError(
                f"card {number + 1} is at {other.at:g} s, card {number} before it at {one.at:g} s:"
                " put them in order"
            )


def on_board(request: Request, board: Storyboard, manifest: Manifest) -> tuple[Request, tuple[str, ...]]:
    """Return the request for a storyboard, and warnings. `request.prompt` counts where no card at 0 has one.

    Pictures and videos begin at the nearest latent frame, and the end cuts them. Raises InputError for what
    cannot be read.
    """
    if (
        request.image is not None
        and board.cards[0].at == 0
        and (board.cards[0].image or board.cards[0].video)
    ):
        raise InputError("there is an image and a picture on the card at 0: leave one of them out")
    sources = {card.at: read_source(card.video, manifest) for card in board.cards if card.video is not None}
    images = {card.at: open_image(card.image) for card in board.cards if card.image is not None}
    given = {"image": request.image, "last_image": request.last_image}
    shown = {at: source.frames[0] for at, source in sources.items()} | images
    pictures = {name: image for name, image in given.items() if image is not None}
    pictures |= {f"picture at {at:g} s": shown[at] for at in sorted(shown)}
    size = request.size or nearest_size(pictures, manifest)
    native = native_size(size, manifest)

    # Whole latent frames, which begin at the frames 0, 1, 5, 9 and so on
    group = manifest.compression.time
    footage: list[Footage] = []
    for at, source in sources.items():
        first = _snapped(at, manifest)
        frames = fit(source.frames, native)
        whole = len(frames) - (len(frames) - 1) % group if first == 0 else len(frames)
        footage.append(Footage(first=first, frames=frames[:whole]))
    seconds = _seconds(request, board, footage, manifest)
    end = round(seconds * manifest.fps)
    footage = [Footage(first=each.first, frames=each.frames[: max(1, end - each.first)]) for each in footage]
    for at, image in images.items():
        latest = 1 + group * max(0, (end - 1) // group - 1)
        still = fit(image[None], native).repeat(group if at else 1, 0)
        footage.append(Footage(first=min(_snapped(at, manifest), latest) if at else 0, frames=still))

    cues = [Cue(at=card.at, prompt=card.prompt) for card in board.cards if card.prompt is not None]
    opening = next((cue.prompt for cue in cues if cue.at == 0), request.prompt)
    asked = replace(
        request,
        prompt=opening,
        seconds=seconds,
        size=size,
        footage=tuple(footage),
        cues=tuple(cue for cue in cues if cue.at > 0),
    )
    return asked, tuple(warning for source in sources.values() for warning in source.warnings)


def _seconds(
    request: Request, board: Storyboard, footage: Sequence[Footage], manifest: Manifest
) -> float | int:
    """Return how long the film is: as was asked for, as the board says, or until the last card is over."""
    if request.seconds != DEFAULT_SECONDS:
        return request.seconds
    if board.seconds is not None:
        return board.seconds
    last = board.cards[-1]
    if last.video is not None:
        return max(each.stop for each in footage) / manifest.fps
    return last.at + DEFAULT_SECONDS


def _snapped(at: float, manifest: Manifest) -> int:
    """Return the number of the frame nearest to `at` seconds with which a latent frame begins."""
    group = manifest.compression.time
    return 0 if at == 0 else 1 + group * max(0, round((at * manifest.fps - 1) / group))
