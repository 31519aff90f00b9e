"""Where the cards of a storyboard are seen in its film, before anything is filmed."""

from collections.abc import Sequence
from pathlib import Path

from unstatic.generate.storyboard import (
    IN_REQUEST,
    CardError,
    FrameSpan,
    check_begin,
    check_cards,
    check_overlaps,
    span_of_clip,
    span_of_picture,
)
from unstatic.generate.storyboard import Card as Shown
from unstatic.models.manifest import Manifest
from unstatic.server.errors import ApiError
from unstatic.server.spec import Card


def places(
    cards: Sequence[Card], lengths_s: Sequence[float | None], end: int, manifest: Manifest
) -> list[FrameSpan]:
    """Return where pictures and videos are seen in the film of `end` frames, in order.

    `lengths_s` are those of the videos of the cards that have one. Raises ApiError for cards without an
    order, without a meaning, after the end, or during another. A video counts as a frame shorter than it
    says: only reading all of it would tell.
    """
    shown = {
        number: Shown(at=card.at, prompt=card.prompt, image=_path(card.image), video=_path(card.video))
        for number, card in enumerate(cards, 1)
    }
    spans: dict[int, FrameSpan] = {}
    try:
        check_cards(list(shown.values()), naming=IN_REQUEST)
        for number, (card, length_s) in enumerate(zip(shown.values(), lengths_s, strict=True), 1):
            check_begin(card, number, end, manifest, naming=IN_REQUEST)
            if length_s is not None:
                span = span_of_clip(card.at, max(1, round(length_s * manifest.fps) - 1), manifest)
                spans[number] = span._replace(length=min(span.length, end - span.first))
            elif card.image is not None:
                spans[number] = span_of_picture(card.at, end, manifest)
        check_overlaps(spans, shown, end, manifest, naming=IN_REQUEST)
    except CardError as error:
        name = IN_REQUEST.of(error.number)
        raise ApiError(400, str(error), code="invalid_value", param=name) from None
    return list(spans.values())


def _path(key: str | None) -> Path | None:
    return None if key is None else Path(key)
