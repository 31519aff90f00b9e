"""Latent films of small Wans in float32, made by one process or, as a script that torchrun runs, by several.

The script's arguments are the folder of the models and the file into which the leader writes the films.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from unstatic.core.collectives import joined
from unstatic.core.processes import this_process
from unstatic.core.shapes import Size
from unstatic.generate.native import NativeEngine, load_native
from unstatic.generate.request import Request, plan
from unstatic.generate.stream import Chunk
from unstatic.models.context_parallel import SharedTransformer
from unstatic.models.manifest import open_model

PICTURE = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
FILMS: dict[str, tuple[str, dict[str, Any]]] = {
    "guided": ("2.1", {"guidance": 5.0, "negative": "grey"}),
    "alone": ("2.1", {"guidance": 1.0}),
    "by a pair": ("2.2-14b", {"solver": "heun"}),
    "from a picture": ("2.2-5b", {"image": PICTURE}),
    "with a picture beside": ("2.2-14b-i2v", {"image": PICTURE}),
    "with a picture that is seen": ("2.1-i2v", {"image": PICTURE}),
}


def load(models: Path, kind: str) -> NativeEngine:
    return load_native(open_model(models / f"tiny-wan-{kind}"), device="cpu", dtype=torch.float32)


def film(engine: NativeEngine, options: dict[str, Any]) -> Tensor:
    """Make nine frames: three latent ones."""
    seconds = 9 / engine.manifest.fps
    request = Request(prompt="a red ball", seconds=seconds, steps=3, **options)
    made = plan(request, replace(engine.manifest, sizes=(Size(64, 64),)))
    (latent,) = [event.latent for event in engine.denoise(made) if isinstance(event, Chunk)]
    return latent.detach()


def main(models: Path, file: Path) -> None:
    place, films = this_process(), {}
    with joined():
        for name, (kind, options) in FILMS.items():
            engine = load(models, kind)
            shared = SharedTransformer(engine.transformer, place)
            if place.rank:
                shared.follow()
                continue
            engine.transformer = shared
            films[name] = film(engine, options).contiguous()
            shared.dismiss()
    if place.rank == 0:
        save_file(films, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
