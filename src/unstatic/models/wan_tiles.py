"""Wan's full autoencoder in tiles: how much memory decoding takes is decided by a tile, not by the picture.

    decoder = TiledDecoder(autoencoder, streams=False)
    video, _ = decoder.decode_stream(latent, None)

Tiles overlap by a quarter, and there one fades into the next, as diffusers' `enable_tiling` has it: the same
frames come out. They are not quite those of the whole picture, for no tile sees beyond its edges.
"""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from unstatic.models.wan_autoencoder import WanAutoencoder
from unstatic.nn.causal import Memory

TILE, STRIDE = 256, 192  # pixels: the side of a tile, and the way from one to the next


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
        cell, step, fade = space // patch, STRIDE // patch, (TILE - STRIDE) // patch
        height, width = chunk.shape[3:]
        if max(height, width) <= TILE // space:  # the whole picture is a tile
            film, memory = self._decoded(chunk, state or None)
            return self.model.unfolded(film), memory if self.streams else ()
        places = [*product(range(0, height, STRIDE // space), range(0, width, STRIDE // space))]
        side, each = TILE // space, len(state or ()) // len(places)  # tensors of memory

        after: list[Tensor] = []
        above, left = (
            dict[int, Tensor](),
            chunk.new_empty(0),
        )  # the last rows of tiles, the last columns of one
        film = None
        for number, (y, x) in enumerate(places):
            memory = state[number * each : (number + 1) * each] if state else None
            tile, memory = self._decoded(chunk[:, :, :, y : y + side, x : x + side], memory)
            after += memory if self.streams else ()

            # Fade in what came before
            if y:
                _fade(above[x], tile, 2)
            if x:
                _fade(left, tile, 3)
            above[x], left = tile[:, :, -fade:].clone(), tile[:, :, :, -fade:].clone()

            # Lay the tile out
            if film is None:
                film = tile.new_empty(*tile.shape[:2], cell * height, cell * width, tile.shape[-1])
            room = film[:, :, cell * y :, cell * x :][:, :, :step, :step]
            room.copy_(tile[:, :, : room.shape[2], : room.shape[3]])
        assert film is not None, "there is a tile"
        return self.model.unfolded(film), tuple(after)

    def _decoded(
        self, tile: Float[Tensor, "b c lt lh lw"], memory: Memory | None
    ) -> tuple[Float[Tensor, "b t h w d"], Memory]:
        pieces: list[Tensor] = []
        for latent in tile.split(self.model.latent_frames_per_pass, 2):
            piece, memory = self.model.decode_folded(latent, memory)
            pieces.append(piece)
        return torch.cat(pieces, 1), memory or ()


def _fade(last: Tensor, tile: Tensor, axis: int) -> None:
    """Let the end of one tile fade into the beginning of the next, in place; at an edge they share less."""
    count = min(last.shape[axis], tile.shape[axis])
    weights = torch.arange(count, device=tile.device, dtype=torch.float32).div(count).to(tile.dtype)
    begin = tile.narrow(axis, 0, count)
    end = last.narrow(axis, last.shape[axis] - count, count)
    begin.copy_(torch.lerp(end, begin, weights.view(-1, *[1] * (tile.ndim - 1 - axis))))
