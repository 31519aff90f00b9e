"""What a transformer reads beside a chunk: text, anchors and ring, for all rows or for the prompts alone."""

from collections.abc import Sequence
from typing import NamedTuple

from unstatic.models.transformer import AnchorMemory, Ring, TextMemory
from unstatic.nn.attention import KeyValue


class Memories(NamedTuple):
    """With guidance every memory holds rows for all prompts, and then as many for the empty ones."""

    text: TextMemory
    anchors: AnchorMemory | None
    ring: Ring | None

    def of_prompts(self) -> "Memories":
        """Return the first half of the rows (views), for passes that the empty prompt takes no part in."""
        return self._half(0)

    def of_empty(self) -> "Memories":
        """Return the other half (views)."""
        return self._half(1)

    def _half(self, number: int) -> "Memories":
        text, anchors, ring = self
        if anchors is not None:
            times = anchors.times if len(anchors.times) == 1 else anchors.times.chunk(2)[number]
            anchors = AnchorMemory(_halves(anchors.blocks, number), times)
        if ring is not None:
            ring = Ring(tuple(_halves(block, number) for block in ring.blocks), ring.end)
        pictures = tuple(None if each is None else _half(each, number) for each in text.pictures)
        return Memories(TextMemory(_halves(text.blocks, number), pictures), anchors, ring)


def _halves(blocks: Sequence[KeyValue], number: int) -> tuple[KeyValue, ...]:
    return tuple(_half(each, number) for each in blocks)


def _half(each: KeyValue, number: int) -> KeyValue:
    rows = slice(number * (len(each.key) // 2), (number + 1) * (len(each.key) // 2))
    return KeyValue(each.key[rows], each.value[rows], None if each.bias is None else each.bias[rows])
