"""Wan's full autoencoder in tiles: how much memory it takes is decided by a tile, not by the picture.

    latent = TiledEncoder(autoencoder).encode(video)
    decoder = TiledDecoder(autoencoder, streams=False)
    video, _ = decoder.decode_stream(latent, None)

Tiles overlap by a quarter, and there one fades into the next, as diffusers' `enable_tiling` has it: the same
latents and frames come out, but for Wan 2.2 from 416 to 512 pixels, which it encodes in two tiles. They
are not quite those of the whole picture, for no tile sees beyond its edges.
"""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.models.wan_autoencoder import WanAutoencoder, WanAutoencoderConfig
from unstatic.nn.causal import Memory

TILE, STRIDE = 256, 192  # pixels: the side of a tile, and the way from one to the next
ENCODED_TILE, ENCODED_STRIDE = 32, 24  # the same when encoding, in latents


class TiledEncoder(nn.Module):
    """Encode videos tile by tile, and each tile one latent frame at a time."""

    def __init__(self, model: WanAutoencoder) -> None:
        super().__init__()
        self.model = model

    @property
    def config(self) -> WanAutoencoderConfig:
        """What the autoencoder is built like."""
        return self.model.config

    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c lt lh lw"]:
        """Encode a video as `WanAutoencoder.encode` does, with its errors."""
        width, height = self.config.compression.latent_size(video.shape[-1], video.shape[-2])
        if max(height, width) <= ENCODED_TILE:
            return self.model.encode(video)
        space, canvas = self.config.compression.space, _Canvas(height, width, ENCODED_TILE, ENCODED_STRIDE)
        for y, x in product(range(0, height, ENCODED_STRIDE), range(0, width, ENCODED_STRIDE)):
            rows, columns = (slice(each * space, (each + ENCODED_TILE) * space) for each in (y, x))
            canvas.lay(self.model.encode(video[:, :, :, rows, columns]).movedim(1, -1), y, x)
        return canvas.whole.movedim(-1, 1)


class TiledDecoder:
    """Decode latents tile by tile, and each tile one latent frame at a time.

    What its layers remember is much of what a stream holds, and overlapping tiles remember more. So that is
    kept only if a film `streams`, which means that more of it may come; else every call gets a whole film.
    """

    latent_frames_per_pass = 1 << 30  # all that there are: a tile is over and done with before the next

    def __init__(self, model: WanAutoencoder, *, streams: bool) -> None:
        self.model, self.streams = model, streams

    def decode_stream(
        self, chunk: Float[Tensor, "b c lt lh lw"], state: Memory | None
    ) -> tuple[Float[Tensor, "b 3 t h w"], Memory]:
        """Decode the next latent frames of a film; `state` is None at its start."""
        space, patch = self.model.config.compression.space, self.model.config.patch
        cell = space // patch
        height, width = chunk.shape[3:]
        if max(height, width) <= TILE // space:  # the whole picture is a tile
            film, memory = self._decoded(chunk, state or None)
            return self.model.unfolded(film), memory if self.streams else ()
        places = [*product(range(0, height, STRIDE // space), range(0, width, STRIDE // space))]
        side, each = TILE // space, len(state or ()) // len(places)  # tensors of memory

        after: list[Tensor] = []
        canvas = _Canvas(cell * height, cell * width, TILE // patch, STRIDE // patch)
        for number, (y, x) in enumerate(places):
            memory = state[number * each : (number + 1) * each] if state else None
            tile, memory = self._decoded(chunk[:, :, :, y : y + side, x : x + side], memory)
            after += memory if self.streams else ()
            canvas.lay(tile, cell * y, cell * x)
        return self.model.unfolded(canvas.whole), tuple(after)

    def _decoded(
        self, tile: Float[Tensor, "b c lt lh lw"], memory: Memory | None
    ) -> tuple[Float[Tensor, "b t h w d"], Memory]:
        pieces: list[Tensor] = []
        for latent in tile.split(self.model.latent_frames_per_pass, 2):
            piece, memory = self.model.decode_folded(latent, memory)
            pieces.append(piece)
        return torch.cat(pieces, 1), memory or ()


class _Canvas:
    """A picture that is laid out tile by tile, row by row, in cells of any kind; tiles are used up."""

    whole: Float[Tensor, "b t h w d"]

    def __init__(self, height: int, width: int, side: int, stride: int) -> None:
        self.height, self.width, self.stride, self.overlap = height, width, stride, side - stride
        self._above = dict[int, Tensor]()  # the last rows of the tiles before, by their column
        self._left: Tensor  # the last columns of the tile before

    def lay(self, tile: Float[Tensor, "b t th tw d"], y: int, x: int) -> None:
        """Lay the next tile out, with its first corner at (y, x), and let those before fade into it."""
        if y:
            _fade(self._above[x], tile, 2)
        if x:
            _fade(self._left, tile, 3)
        self._above[x] = tile[:, :, -self.overlap :].clone()
        self._left = tile[:, :, :, -self.overlap :].clone()
        if not (x or y):
            self.whole = tile.new_empty(*tile.shape[:2], self.height, self.width, tile.shape[-1])
        room = self.whole[:, :, y : y + self.stride, x : x + self.stride]
        room.copy_(tile[:, :, : room.shape[2], : room.shape[3]])


def _fade(last: Tensor, tile: Tensor, axis: int) -> None:
    """Let the end of one tile fade into the beginning of the next, in place; at an edge they share less."""
    count = min(last.shape[axis], tile.shape[axis])
    weights = torch.arange(count, device=tile.device, dtype=torch.float32).div(count).to(tile.dtype)
    begin = tile.narrow(axis, 0, count)
    end = last.narrow(axis, last.shape[axis] - count, count)
    begin.copy_(torch.lerp(end, begin, weights.view(-1, *[1] * (tile.ndim - 1 - axis))))
