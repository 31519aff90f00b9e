"""CLIP, which sees pictures for Wan 2.1's image-to-video models (2103.00020): token states of each picture.

The network is that of the package transformers, and so are the files: a folder with a config and safetensors.
What is read is the state before its last block, and a picture is cut to a square, as diffusers does both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.open_manifest import read_config
from unstatic.models.umt5 import needed
from unstatic.models.weight_files import check_fit, read_weights, weight_files

FOLDER = "image_encoder"
PREFIX = (
    "vision_model."  # before the names of a model's weights, in files and in some versions of transformers
)
NOT_SEEING = (
    "visual_projection.",
    "text_projection.",
    "text_model.",
    "logit_scale",
    "embeddings.position_ids",
)
PENULTIMATE = -2
# Of the colours that CLIP was trained with
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class BorrowedClip:
    """Sees pictures by an encoder that is in memory only while it looks, in float32, in the computer."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(
                f"there is no {folder}, by which this model sees pictures: put a folder of transformers there"
                " (models_clip_*.pth is a pickle and is not read)"
            )
        config = read_config(folder)
        config = config.get("vision_config", config)  # of a whole CLIP
        try:
            self.width: int = config["hidden_size"]
            self.size: int = config["image_size"]
            self.tokens: int = (self.size // config["patch_size"]) ** 2 + 1
        except KeyError as missing:
            raise InputError(f"{folder}/config.json does not say {missing}: pull the model again") from None
        self._folder, self._config = folder, config

    @torch.no_grad()
    def encode(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float[Tensor, "1 s e"]:
        """Return the states of all pictures, one after the other."""
        encoder = load_clip(self._folder, self._config)
        pixels = torch.stack([squared(each, self.size) for each in pictures])
        return encoder(pixels, output_hidden_states=True).hidden_states[PENULTIMATE].flatten(0, 1)[None]


def load_clip(folder: Path, config: dict[str, Any]) -> Any:
    """Load an encoder in float32. Raises InputError when a package or a file is missing, or does not fit."""
    transformers, files = needed("transformers"), weight_files(folder)
    with torch.device("meta"):
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**config))
    prefix = PREFIX if any(name.startswith(PREFIX) for name in model.state_dict()) else ""
    found = {
        prefix + name.removeprefix(PREFIX): weight
        for name, weight in read_weights(files, torch.float32).items()
        if not name.removeprefix(PREFIX).startswith(NOT_SEEING)
    }
    check_fit(model, {name: tuple(weight.shape) for name, weight in found.items()}, folder)
    model.load_state_dict(found, assign=True)
    embeddings = model.get_submodule(f"{prefix}embeddings")
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]  # in no file
    return model.requires_grad_(False).eval()


def squared(picture: UInt8[np.ndarray, "h w 3"], size: int) -> Float[Tensor, "3 {size} {size}"]:
    """Scale a picture's shorter side to `size` and cut the longer one, in the colours that CLIP takes."""
    height, width = picture.shape[:2]
    shorter = min(height, width)
    scaled = Image.fromarray(picture).resize(
        (size * width // shorter, size * height // shorter), Image.Resampling.BICUBIC
    )
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    pixels = np.asarray(scaled.crop((left, top, left + size, top + size)))
    colours = torch.from_numpy(pixels.astype(np.float32) / 255)
    return ((colours - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)
