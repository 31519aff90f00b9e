"""Storyboards: cards on a timeline, each with a prompt, a picture or a video, from a YAML or JSON file.

seconds: 10
cards:
  - at: 0
    prompt: a red ball rolls across sand
  - at: 2
    prompt: it stops
  - at: 4
    prompt: a blue cube spins
    cut: true           # a new scene
  - at: 6
    image: cube.png     # what is seen at this moment
  - at: 0:08          # or 8
    video: waves.mp4    # plays from here on
"""

import math
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from unstatic.core.config import from_dict
from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.core.times import seconds_of
from unstatic.diffusion.condition import Cue
from unstatic.generate.defaults import DEFAULT_SECONDS
from unstatic.generate.footage import Footage, Pixels, Source, read_source
from unstatic.generate.image import Image, Images, check_images, cut_warnings, nearest_size, open_image
from unstatic.generate.request import Request, native_size
from unstatic.media.frames import fit
from unstatic.media.read import read_frames
from unstatic.models.manifest import Manifest

# What may be written as minutes and seconds
TIMES = ("at", "seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What changes at `at` seconds: the prompt, and what is seen then, a picture or a video.

    With `cut` the prompt begins a new scene, and without it the scene goes on; None leaves it to what the
    prompt says, and to a picture or a video.
    """

    at: float
    prompt: str | None = None
    cut: bool | None = None
    image: Path | None = None
    video: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Storyboard:
    """Cards in the order of their times.

    Without `seconds` it lasts until all videos are over, and until 4 s after a last card that has none.
    """

    cards: tuple[Card, ...]
    seconds: float | None = None


class FrameSpan(NamedTuple):
    """The frames of a film in which a card's picture or video is seen: `length` of them, from `first`."""

    first: int
    length: int

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.first + self.length


class CardError(InputError):
    """A card is wrong, the one with this `number`, from 1."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """What messages call cards: `word` with their numbers, which begin with `first`; perhaps by file too."""

    word: str = "card {}"
    first: int = 1
    by_file: bool = True

    def of(self, number: int) -> str:
        """Return what the card with a number, from 1, is called."""
        return self.word.format(number - 1 + self.first)

    def at(self, number: int, card: Card, until: float | None = None) -> str:
        """Return what it is called with its file, its time, and perhaps the second when it is over."""
        shown = card.image or card.video if self.by_file else None
        end = "" if until is None else f", until {round(until, 2):g} s"
        return f"{self.of(number)} ({'' if shown is None else f'{shown.name} '}at {card.at:g} s{end})"

    def told(self, message: str, number: int, card: Card) -> str:
        """Return a message about a card's file, without the file's name where that says nothing."""
        for kind, path in (("image", card.image), ("video", card.video)):
            if path is not None and not self.by_file:
                message = message.replace(str(path), f"the {kind} of {self.of(number)}")
        return message

    @contextmanager
    def telling(self, number: int, card: Card) -> Generator[None]:
        """Let errors about a card's file within the block call it so."""
        try:
            yield
        except InputError as error:
            raise CardError(self.told(str(error), number, card), number) from error


IN_FILE = Naming()
IN_REQUEST = Naming(word="cards[{}]", first=0, by_file=False)  # as clients of the server count


def read_storyboard(path: Path) -> Storyboard:
    """Read a storyboard; files that it names lie beside it. Raises InputError saying what is wrong where."""
    try:
        named = _named(yaml.safe_load(path.read_text(encoding="utf-8")))  # JSON is YAML too
    except OSError as error:
        raise InputError(
            f"cannot read the storyboard {path}: {error.strerror}, give the path of one"
        ) from error
    except RecursionError as error:
        raise InputError(f"the storyboard {path} is nested too deeply, or holds itself") from error
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the storyboard {path} is not YAML or JSON: {reason}") from error
    if not isinstance(named, dict) or not isinstance(cards := named.get("cards", []), list):
        raise InputError(f"the storyboard {path} must have 'cards', a list")
    try:
        _check_fields(cards)
        board = from_dict(Storyboard, named)
        if not board.cards:
            raise InputError("it has no cards: give one with at: 0 and a prompt")
        check_cards(board.cards)
    except InputError as error:
        raise InputError(f"the storyboard {path}: {error}") from None
    return replace(board, cards=tuple(_beside(path, card) for card in board.cards))


def _named(content: Any) -> Any:
    """Return what was read with all keys as text: YAML takes 0, on and yes for other things.

    Whole numbers beyond all others are infinite, as those with a point are.
    """
    if isinstance(content, Mapping):
        items = cast(Mapping[Any, Any], content).items()
        return {str(key): _timed(value) if key in TIMES else _named(value) for key, value in items}
    if isinstance(content, int) and abs(content) > sys.float_info.max:
        return math.copysign(math.inf, content > 0 or -1)
    return [_named(each) for each in cast(list[Any], content)] if isinstance(content, list) else content


def _timed(value: Any) -> Any:
    """Return the seconds of 0:03, which YAML takes for text; 1:30 it takes for 90 by itself."""
    seconds = seconds_of(value) if isinstance(value, str) else None
    return _named(value) if seconds is None else seconds


def _beside(board: Path, card: Card) -> Card:
    image = None if card.image is None else board.parent / card.image
    video = None if card.video is None else board.parent / card.video
    return replace(card, image=image, video=video)


def _check_fields(cards: list[Any]) -> None:
    """Raise InputError for what is no card, naming its number, as `from_dict` of all of them does not."""
    for number, card in enumerate(cards, 1):
        if not isinstance(card, dict):
            raise InputError(f"card {number} is {card!r}: give it a time, at: 0, and a prompt")
        if isinstance(at := cast(dict[str, Any], card).get("at"), str):
            raise InputError(f"card {number}: at={at!r} is no time: give seconds, like 3, or 0:03")
        try:
            from_dict(Card, cast(dict[str, Any], card))
        except InputError as error:
            raise InputError(f"card {number}: {error}") from None


def check_cards(cards: Sequence[Card], *, naming: Naming = IN_FILE) -> None:
    """Raise CardError for a card that says nothing or too much, or is no later than the one before."""
    for number, card in enumerate(cards, 1):
        wrong = None
        if card.at < 0:
            wrong = f"is at {card.at:g} s: times begin at 0"
        elif card.prompt is None and card.image is None and card.video is None:
            wrong = "is empty: give it a prompt, an image or a video"
        elif card.prompt is not None and not card.prompt.strip():
            wrong = "has an empty prompt: say what to film, or leave it out"
        elif card.image is not None and card.video is not None:
            wrong = "has an image and a video: give it one of them"
        elif card.cut is not None and card.prompt is None:
            wrong = "has a cut and no prompt: say what the new scene shows, or leave the cut out"
        if wrong is not None:
            raise CardError(f"{naming.of(number)} {wrong}", number)
    for number, (one, other) in enumerate(pairwise(cards), 1):
        if one.at >= other.at:
            raise CardError(
                f"{naming.of(number + 1)} is at {other.at:g} s, {naming.of(number)} before it at"
                f" {one.at:g} s: put them in order",
                number + 1,
            )


def on_board(
    request: Request, board: Storyboard, manifest: Manifest, *, naming: Naming = IN_FILE
) -> tuple[Request, tuple[str, ...]]:
    """Return the request for a storyboard, and warnings. `request.prompt` counts where no card at 0 has one.

    The board says how long the film is, not `request.seconds`. Pictures and videos begin at the nearest
    latent frame, and the end cuts them. Raises InputError for what cannot be read, and for what has no place
    in the film, naming the card as `naming` does.
    """
    opening = board.cards[0]
    if request.image is not None and opening.at == 0 and (opening.image or opening.video):
        raise InputError("there is an image and a picture on the card at 0: leave one of them out")

    # What the cards show
    cards = dict(enumerate(board.cards, 1))
    images = _images(cards, naming)
    size = request.size or nearest_size(_leading(request, cards, images, naming), manifest)
    native = native_size(size, manifest)
    sources = _sources(cards, native, manifest, naming)
    seconds = _seconds(board, sources, manifest, naming)
    end = round(seconds * manifest.fps)
    pictures = {f"image of {naming.of(number)}": image for number, image in images.items()}
    check_images(pictures, end)

    # Where they show it
    footage: dict[int, Footage] = {}
    for number, card in cards.items():
        check_begin(card, number, end, manifest, naming=naming)
        if number in images:
            footage[number] = _still(fit(images[number][None], native), card, end, manifest)
        elif number in sources:
            first = _snapped(card.at, manifest)
            footage[number] = Footage(first=first, frames=sources[number].frames[: end - first])
    spans = {number: FrameSpan(each.first, len(each.frames)) for number, each in footage.items()}
    _check_lengths(spans, cards, end, manifest, naming)
    check_overlaps(spans, cards, end, manifest, naming=naming)
    last = next((number for number, each in footage.items() if each.stop >= end), None)
    if request.last_image is not None and last is not None:
        shown = naming.at(last, cards[last])
        raise InputError(f"there is a last image, and {shown} is seen at the end: leave one of them out")

    # What is said
    cues = [
        Cue(at=card.at, prompt=card.prompt, cut=False if card.cut is None and number in footage else card.cut)
        for number, card in cards.items()
        if card.prompt is not None
    ]
    asked = replace(
        request,
        prompt=next((cue.prompt for cue in cues if cue.at == 0), request.prompt),
        seconds=seconds,
        size=size,
        footage=tuple(footage.values()),
        cues=tuple(cue for cue in cues if cue.at > 0),
    )
    if not asked.prompt.strip() and not asked.shows:
        raise InputError("the film begins without a prompt: put one on a card at 0")
    said = [
        naming.told(warning, number, cards[number])
        for number, source in sources.items()
        for warning in source.warnings
    ]
    if request.prompt.strip() and opening.at == 0 and opening.prompt is not None:
        said.append("the prompt counts for nothing: the card at 0 has one of its own")
    return asked, (*said, *cut_warnings(pictures, size))


def _images(cards: Mapping[int, Card], naming: Naming) -> dict[int, Image]:
    images: dict[int, Image] = {}
    for number, card in cards.items():
        if card.image is not None:
            with naming.telling(number, card):
                images[number] = open_image(card.image)
    return images


def _sources(cards: Mapping[int, Card], size: Size, manifest: Manifest, naming: Naming) -> dict[int, Source]:
    """Read all videos; one at the beginning is cut to whole latent frames if other cards show something."""
    sources: dict[int, Source] = {}
    is_alone = sum(card.image is not None or card.video is not None for card in cards.values()) == 1
    for number, card in cards.items():
        if card.video is not None:
            with naming.telling(number, card):
                source = read_source(card.video, manifest, size=size)
            sources[number] = source if is_alone or card.at else _in_whole(source, card, manifest)
    return sources


def _in_whole(source: Source, card: Card, manifest: Manifest) -> Source:
    """Return the whole latent frames that a video begins with: what comes later shall begin with one too."""
    count, kept = len(source.frames), span_of_clip(card.at, len(source.frames), manifest).length
    if kept == count:
        return source
    lost = f"the last {count - kept} of the {count} frames of {card.video} are left out"
    said = f"{lost}: {manifest.name} keeps {manifest.compression.time} at a time before other cards' pictures"
    return replace(source, frames=source.frames[:kept], warnings=(*source.warnings, said))


def _leading(
    request: Request, cards: Mapping[int, Card], images: Mapping[int, Image], naming: Naming
) -> Images:
    """Return the picture whose shape the film takes: the request's or else the first of a card, if any."""
    for image in (request.image, request.last_image):
        if image is not None:
            return {"image": image}
    for number, card in cards.items():
        with naming.telling(number, card):
            shown = images.get(number) if card.video is None else next(read_frames(card.video), None)
        if shown is not None:
            return {"image": shown}
    return {}


def _seconds(
    board: Storyboard, sources: Mapping[int, Source], manifest: Manifest, naming: Naming
) -> float | int:
    """Return how long the film is: as the board says, or until its last card and all videos are over."""
    name, longest = manifest.name, manifest.max_seconds
    if board.seconds is not None:
        _check_length(board.seconds, manifest)
        return board.seconds
    stops: dict[int, float] = {}
    for number, card in enumerate(board.cards, 1):
        if number in sources and card.at <= longest:
            stops[number] = (_snapped(card.at, manifest) + len(sources[number].frames)) / manifest.fps
        elif number == len(board.cards):
            stops[number] = card.at + DEFAULT_SECONDS
    latest, seconds = max(stops.items(), key=lambda stop: stop[1])
    if seconds > longest:
        raise InputError(
            f"{naming.at(latest, board.cards[latest - 1], seconds)} lasts too long, {name} makes up to"
            f" {longest:g} s: put it earlier, or say with seconds when the film ends"
        )
    return seconds


def _check_length(seconds: float, manifest: Manifest) -> None:
    """Raise InputError for a storyboard that is too short or too long for a model."""
    if not seconds <= manifest.max_seconds or round(seconds * manifest.fps) < 2:  # true for NaN too
        raise InputError(
            f"seconds is {seconds:g}: a storyboard of {manifest.name} lasts two frames to"
            f" {manifest.max_seconds:g} s"
        )


def _still(picture: Pixels, card: Card, end: int, manifest: Manifest) -> Footage:
    """Return a picture as the latent frame that begins nearest to its time, or as the last."""
    first, length = span_of_picture(card.at, end, manifest)
    return Footage(first=first, frames=picture.repeat(length, 0))


def span_of_picture(at: float, end: int, manifest: Manifest) -> FrameSpan:
    """Return where a picture at `at` seconds is seen in a film of `end` frames."""
    compression = manifest.compression
    first = 0 if at == 0 else compression.frames(compression.latent_frames(end - 1))
    first = min(_snapped(at, manifest), first)
    return FrameSpan(first, min(compression.time, end - first) if first else 1)


def span_of_clip(at: float, frames: int, manifest: Manifest) -> FrameSpan:
    """Return where a video of `frames` frames at `at` seconds is seen in a film that is long enough."""
    first, compression = _snapped(at, manifest), manifest.compression
    return FrameSpan(first, frames if first else compression.frames(compression.latent_frames(frames)))


def _snapped(at: float, manifest: Manifest) -> int:
    """Return the number of the frame nearest to `at` seconds with which a latent frame begins."""
    group = manifest.compression.time
    return 0 if at == 0 else 1 + group * max(0, round((at * manifest.fps - 1) / group))


def check_begin(card: Card, number: int, end: int, manifest: Manifest, *, naming: Naming = IN_FILE) -> None:
    """Raise CardError for a card that begins after the film of `end` frames; a picture may be its end."""
    begin = card.at * manifest.fps
    late = begin > end + 0.5 if card.prompt is None and card.video is None else begin >= end - 0.5
    if late or (card.video is not None and _snapped(card.at, manifest) >= end):
        raise CardError(
            f"{naming.at(number, card)} comes too late, the film ends at {end / manifest.fps:g} s: put it"
            " earlier or make the film longer",
            number,
        )


def _check_lengths(
    spans: Mapping[int, FrameSpan], cards: Mapping[int, Card], end: int, manifest: Manifest, naming: Naming
) -> None:
    """Raise CardError for a video too short to be kept."""
    fps, group = manifest.fps, manifest.compression.time
    for number, span in spans.items():
        if span.first and span.stop < end and span.length < group:
            raise CardError(
                f"{naming.at(number, cards[number])} lasts {span.length / fps:.2g} s, too short to be"
                f" kept: give {group / fps:.2g} s or more",
                number,
            )


def check_overlaps(
    spans: Mapping[int, FrameSpan], cards: Mapping[int, Card], end: int, manifest: Manifest, *, naming: Naming
) -> None:
    """Raise CardError for a card whose picture or video begins during another."""
    fps = manifest.fps
    for (number, one), (later, other) in pairwise(spans.items()):
        if one.stop <= other.first:
            continue
        free_s = math.ceil(manifest.compression.frames_covering(one.stop) / fps * 100) / 100
        fixes = [f"move it to {free_s:g} s"] if free_s < end / fps else []
        if (video := cards[number].video) is not None:
            fixes.append(f"cut {video.name if naming.by_file else f'the video of {naming.of(number)}'}")
        before = naming.at(number, cards[number], one.stop / fps)
        raise CardError(
            f"{naming.at(later, cards[later])} begins before {before} ends:"
            f" {' or '.join(fixes or ['leave one of them out'])}",
            later,
        )
