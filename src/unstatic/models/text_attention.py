"""How a video reads what is said, and what is shown beside it: cross-attention."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.nn.attention import KeyValue, attention, merge_heads, split_heads
from unstatic.nn.norm import LayerNorm, RMSNorm

PICTURE_EPSILON = 1e-5


class TextAttention(nn.Module):
    """Let every token read the text, and pictures if the model `sees`, each with a softmax of its own.

    Padding of a text is zero, not masked: Wan was trained so.
    """

    def __init__(self, width: int, heads: int, *, sees: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query_norm = RMSNorm(width)
        self.key_norm = RMSNorm(width)
        self.out = nn.Linear(width, width)
        self.pictures = PictureMemory(width, heads) if sees else None

    def memory(self, text: Float[Tensor, "b s d"]) -> KeyValue:
        """Return what there is to read of an embedded text."""
        return remembered(self.key_norm(self.key(text)), self.value(text), self.heads)

    def look(self, pictures: Float[Tensor, "1 s d"] | None, rows: int) -> KeyValue | None:
        """Return what there is to see of embedded pictures, once for each row of a batch."""
        if pictures is None or self.pictures is None:
            return None
        seen = self.pictures(pictures)
        return KeyValue(seen.key.repeat(rows, 1, 1), seen.value.repeat(rows, 1, 1))

    def forward(
        self, x: Float[Tensor, "b n d"], text: KeyValue, pictures: KeyValue | None
    ) -> Float[Tensor, "b n d"]:
        query = self.query_norm(self.query(x)).unflatten(-1, (self.heads, -1))  # b n k e
        queries = split_heads(query, text.key.dtype)
        read = attention(queries, text)
        if pictures is not None:
            read = read + attention(queries, pictures)
        return self.out(merge_heads(read, batch=len(x)))


class PictureMemory(nn.Module):
    """What there is to read of embedded pictures."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.key_norm = RMSNorm(width)

    def forward(self, pictures: Float[Tensor, "b s d"]) -> KeyValue:
        return remembered(self.key_norm(self.key(pictures)), self.value(pictures), self.heads)


def remembered(key: Float[Tensor, "b s d"], value: Float[Tensor, "b s d"], heads: int) -> KeyValue:
    """Set the heads of keys and values apart, in the dtype of the values."""
    apart = (tokens.unflatten(-1, (heads, -1)) for tokens in (key, value))  # b s k e
    return KeyValue(*(split_heads(tokens, value.dtype) for tokens in apart))


class PictureEmbedding(nn.Module):
    """Make tokens of what an image encoder says of pictures, whose tokens come one after the other.

    Where there are `positions`, exactly as many tokens are read: those of a first and a last picture.
    """

    def __init__(self, picture_width: int, width: int, positions: int | None) -> None:
        super().__init__()
        places = None if positions is None else torch.zeros(1, positions, picture_width)
        self.positions = None if places is None else nn.Parameter(places)
        self.first_norm = LayerNorm(picture_width, PICTURE_EPSILON)
        self.up = nn.Linear(picture_width, picture_width)
        self.down = nn.Linear(picture_width, width)
        self.last_norm = LayerNorm(width, PICTURE_EPSILON)

    def forward(self, states: Float[Tensor, "b s e"]) -> Float[Tensor, "b s d"]:
        if self.positions is not None:
            states = states + self.positions
        return self.last_norm(self.down(F.gelu(self.up(self.first_norm(states)))))
