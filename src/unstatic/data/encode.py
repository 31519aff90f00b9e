"""From raw clips to latents, shard by shard; a shard that exists is not encoded again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce  # pyright: ignore[reportUnknownVariableType]
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression
from unstatic.data.shards import Shard, open_shards, shard_path, write_shard

SCENERY = 255  # the id of ramps, walls and strings

Encode = Callable[[Float[Tensor, "b 3 t h w"]], Float[Tensor, "b c t h w"]]
"""An autoencoder's encoder; latents have about unit variance, and it moves its input where it needs it."""


def encode_clips(
    clips: Path,
    latents: Path,
    encode: Encode,
    compression: Compression,
    *,
    name: str,
    batch_size: int = 8,
    progress: Callable[[int], None],
) -> list[Path]:
    """Encode every clip shard in the folder `clips` into the folder `latents`; return all latent shards.

    A shard keeps its number and its lines, and tells for every cell of a latent whether any of its pixels
    shows an object. Trailing frames that fill no latent frame are left out. `name`
    says which autoencoder this is and is kept in every shard: latents of two never mix, an InputError
    says so. `progress` hears how many clips were just done, skipped ones included.
    """
    paths: list[Path] = []
    for shard in open_shards(clips, "clips"):
        number = int(shard.path.stem.removeprefix("clips-"))
        path = shard_path(latents, "latents", number)
        if path.is_file():
            _check_same(Shard(path), shard, name)
            progress(len(shard))
        else:
            arrays: dict[str, NDArray[Any]] = {
                "latents": _encode_shard(shard, "frames", encode, compression, batch_size, progress),
                "objects": _find_objects(shard, compression),
            }
            if "openings" in shard.shapes:
                arrays["openings"] = _encode_shard(
                    shard, "openings", encode, compression, batch_size, lambda _: None
                )
                starts = np.stack([shard.read("starts", entry) for entry in range(len(shard))])
                arrays["starts"] = latent_starts(starts, compression)
            write_shard(latents, "latents", number, arrays, shard.lines, about={"encoder": name})
        paths.append(path)
    return paths


def _encode_shard(
    shard: Shard,
    array: str,
    encode: Encode,
    compression: Compression,
    batch_size: int,
    progress: Callable[[int], object],
) -> NDArray[np.float16]:
    length = compression.frames(compression.latent_frames(shard.shapes[array][1]))
    encoded: list[NDArray[np.float16]] = []
    for start in range(0, len(shard), batch_size):
        entries = range(start, min(start + batch_size, len(shard)))
        frames = np.stack([shard.read(array, entry, 0, length) for entry in entries])
        with torch.inference_mode():
            latent = encode(to_video(torch.as_tensor(frames)))
        encoded.append(rearrange(latent, "b c t h w -> b t c h w").half().cpu().numpy())
        progress(len(entries))
    return np.concatenate(encoded)


def _find_objects(shard: Shard, compression: Compression) -> NDArray[np.bool_]:
    length = compression.frames(compression.latent_frames(shard.shapes["frames"][1]))
    masks = [shard.read("ids", entry, 0, length) for entry in range(len(shard))]
    return np.stack([object_cells((ids > 0) & (ids != SCENERY), compression) for ids in masks])


def latent_starts(starts: NDArray[np.int64], compression: Compression) -> NDArray[np.int64]:
    """Return the latent frames nearest to frames of a longer scene at which its windows begin."""
    return np.rint(starts / compression.time).astype(np.int64)


def object_cells(mask: NDArray[np.bool_], compression: Compression) -> NDArray[np.bool_]:
    """Say for each cell of a latent, t h w, whether any pixel of its frames is in the mask, t h w as well."""
    first = np.repeat(mask[:1], compression.time - 1, axis=0)  # the first latent frame stands for one frame
    padded = np.concatenate([first, mask])
    return reduce(
        padded,
        "(t r) (h p) (w q) -> t h w",
        "max",
        r=compression.time,
        p=compression.space,
        q=compression.space,
    )


def to_video(frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 3 t h w"]:
    """Turn stored frames into a video in [-1, 1]."""
    return rearrange(frames, "b t h w c -> b c t h w").float() / 127.5 - 1


def _check_same(shard: Shard, clips: Shard, name: str) -> None:
    found = shard.about.get("encoder")
    if shard.lines != clips.lines:
        raise InputError(f"{shard.path} shows other scenes than {clips.path}; choose an empty folder")
    if found != name:
        raise InputError(
            f"{shard.path} was encoded by {json.dumps(found)}, not {json.dumps(name)}:"
            f" delete {shard.path.parent}, or choose an empty folder"
        )
