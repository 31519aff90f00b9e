"""The parts of a model, loaded on the CPU: our own files, or open weights as diffusers lays them out."""

from dataclasses import dataclass
from pathlib import Path

import torch

from unstatic.core.errors import InputError
from unstatic.models.clip import FOLDER as IMAGE_ENCODER
from unstatic.models.clip import BorrowedClip
from unstatic.models.context_parallel import SharedTransformer
from unstatic.models.experts import Experts
from unstatic.models.fitting import PLAIN, WHOLE, Fitting
from unstatic.models.manifest import PARTS, InstalledModel
from unstatic.models.open_weights import load_autoencoder, load_tiny_decoder, load_transformer
from unstatic.models.text import TextEncoder, load_text_encoder
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.umt5 import BorrowedUmt5
from unstatic.models.wan_autoencoder import WanAutoencoder
from unstatic.models.wan_tiles import TiledDecoder, TiledEncoder
from unstatic.models.weight_files import weight_files
from unstatic.models.weights import find_files, load_model

TINY = "tiny_decoder"
OPEN_PARTS = ("transformer", "transformer_2", "vae", TINY, "text_encoder", IMAGE_ENCODER)

Autoencoder = TinyAutoencoder | WanAutoencoder
Encoder = Autoencoder | TiledEncoder
Decoder = Autoencoder | TiledDecoder
Transformer = VideoTransformer | Experts | SharedTransformer


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that makes a film, and what shows it on its way if that is another decoder.

    An `image_encoder` sees pictures for a transformer that reads them beside the text.
    """

    transformer: VideoTransformer | Experts
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    sketcher: TinyAutoencoder | None = None
    image_encoder: BorrowedClip | None = None


def part_files(model: InstalledModel) -> dict[str, list[Path]]:
    """Return the weights of every part, in order. Raises InputError where some are missing."""
    if model.manifest.engine != "native":
        folders = sorted({file.parent for file in model.folder.glob("*/*.safetensors")})
        return {folder.name: weight_files(folder) for folder in folders}
    if not is_open(model):
        return {part: find_files(model.weights(part)) for part in PARTS}
    unused = "vae" if model.manifest.tiny == "films" else ""
    folders = (model.folder / part for part in OPEN_PARTS if part != unused)
    return {folder.name: weight_files(folder) for folder in folders if folder.is_dir()}


def is_open(model: InstalledModel) -> bool:
    """Tell whether a model's parts lie in folders of their own, as those of open weights do."""
    return (model.folder / OPEN_PARTS[0]).is_dir()


def load_parts(
    model: InstalledModel, dtype: torch.dtype, fitting: Fitting = PLAIN, late: Fitting | None = None
) -> Parts:
    """Load the parts of a model, to compute as `dtype`; a text encoder computes as it likes.

    The transformer is put together as `fitting` says, the later one of a pair as `late`. Raises InputError
    for missing, damaged or foreign files.
    """
    if is_open(model):
        return _open_parts(model, dtype, fitting, late or fitting)
    if fitting.fit.offload and fitting.device.type == "cpu":
        raise InputError(f"{model.manifest.name} is read as a whole: leave --offload out")
    transformer = load_model(model.weights("transformer"), "transformer", TransformerConfig, VideoTransformer)
    autoencoder = load_model(
        model.weights("autoencoder"), "tiny_autoencoder", TinyAutoencoderConfig, TinyAutoencoder
    )
    text_encoder = load_text_encoder(model.manifest.text_encoder)
    transformer = fitting.put_together(transformer.to(dtype=dtype), lambda *_: None)
    return Parts(transformer, autoencoder.to(dtype=dtype), text_encoder)


def _open_parts(model: InstalledModel, dtype: torch.dtype, fitting: Fitting, late: Fitting) -> Parts:
    manifest = model.manifest
    transformer: VideoTransformer | Experts = load_transformer(
        model.folder / "transformer", dtype, fitting, chunk=manifest.chunk, window=manifest.window
    )
    if manifest.boundary is not None:
        other = load_transformer(model.folder / "transformer_2", dtype, late)
        transformer = Experts(transformer, other, manifest.boundary)
    text_encoder = BorrowedUmt5(
        model.folder / "text_encoder",
        model.folder / "tokenizer",
        dtype=dtype,
        by_block=fitting.fit != WHOLE,
    )
    sees = transformer.config.picture_width is not None
    image_encoder = BorrowedClip(model.folder / IMAGE_ENCODER) if sees else None
    tiny = load_tiny_decoder(model.folder / TINY, dtype) if (model.folder / TINY).is_dir() else None
    if manifest.tiny == "films":
        if tiny is None:
            raise InputError(f"{model.folder} has no {TINY}: put taew2_1.safetensors there, or taew2_2")
        return Parts(transformer, tiny, text_encoder, image_encoder=image_encoder)
    autoencoder = load_autoencoder(model.folder / "vae", dtype)
    return Parts(transformer, autoencoder, text_encoder, tiny, image_encoder)
