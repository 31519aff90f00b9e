"""Make a model of weights that lie elsewhere: Wan's own folders, and the single files of ComfyUI.

Nothing is rewritten: the new folder holds links (or copies) of the files, each part in a folder of its own,
and a manifest. Names and sizes are understood when the model is loaded, see `open_weights.py`.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from unstatic.core.errors import InputError
from unstatic.models.clip import FOLDER as IMAGE_ENCODER
from unstatic.models.clip import BorrowedClip
from unstatic.models.manifest import Manifest, write_manifest
from unstatic.models.open_manifest import (
    CAUSAL,
    FRAMES_CHANNELS,
    STUDENT,
    Shape,
    check_student,
    given_to,
    make_manifest,
    make_student,
    published,
    read_config,
    streaming_of,
)
from unstatic.models.open_weights import autoencoder_config, tiny_config, transformer_config
from unstatic.models.parts import TINY
from unstatic.models.tiny_autoencoder import TinyAutoencoderConfig
from unstatic.models.umt5_keys import config_of
from unstatic.models.wan_autoencoder import WanAutoencoderConfig
from unstatic.models.weight_files import SUFFIX, shapes, weight_files

TOKENIZER = "tokenizer.json"
# Where Wan's own folders have what
EARLY, LATE, TOKENIZER_FOLDER = "high_noise_model", "low_noise_model", "google/umt5-xxl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where the parts of a model lie: each a file, or a folder of files.

    `late` is the second of a pair; an `image_encoder` sees pictures for a transformer that reads them beside
    the text. A `tiny` decoder makes previews, and films where there is no autoencoder.
    A student that streams makes `chunk` latent frames at a time; if None its own config may say so.
    """

    transformer: Path
    autoencoder: Path | None
    text_encoder: Path
    tokenizer: Path
    late: Path | None = None
    image_encoder: Path | None = None
    tiny: Path | None = None
    chunk: int | None = None


def sources_of(
    folder: Path | None = None,
    *,
    transformer: Path | None = None,
    late: Path | None = None,
    autoencoder: Path | None = None,
    text_encoder: Path | None = None,
    tokenizer: Path | None = None,
    image_encoder: Path | None = None,
    tiny: Path | None = None,
    chunk: int | None = None,
) -> Sources:
    """Complete what is named by what a folder of Wan's own layout holds.

    Its autoencoder and its encoders are pickles, so others must be named. Raises InputError for what is
    missing.
    """
    if folder is not None:
        pair = (folder / EARLY).is_dir()
        transformer = transformer or (folder / EARLY if pair else folder)
        late = late or (folder / LATE if pair else None)
        if tokenizer is None and (folder / TOKENIZER_FOLDER / TOKENIZER).is_file():
            tokenizer = folder / TOKENIZER_FOLDER
    named = {
        "transformer": transformer,
        "autoencoder": autoencoder,
        "text-encoder": text_encoder,
        "tokenizer": tokenizer,
    }
    found = {name: path for name, path in named.items() if path is not None}
    for name in named:
        if name not in found and not (name == "autoencoder" and tiny is not None):
            raise InputError(f"the {name.replace('-', ' ')} is missing: name it with --{name}")
    return Sources(
        transformer=found["transformer"],
        autoencoder=autoencoder,
        text_encoder=found["text-encoder"],
        tokenizer=found["tokenizer"],
        late=late,
        image_encoder=image_encoder,
        tiny=tiny,
        chunk=chunk,
    )


def convert(sources: Sources, target: Path, *, copy: bool = False) -> Manifest:
    """Make the folder `target` a model of these parts, and return its manifest.

    Raises InputError when `target` exists or a part is not what it should be; then nothing is left behind.
    """
    if target.exists():
        raise InputError(f"{target} exists: choose another name")
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _lay_out(sources, unfinished, copy)
        manifest = _described(unfinished, target.name, pair=sources.late is not None, chunk=sources.chunk)
        write_manifest(unfinished, manifest)
        unfinished.rename(target)
    except OSError as error:
        raise InputError(f"cannot make {target}: {error.strerror}, choose another place") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _lay_out(sources: Sources, folder: Path, copy: bool) -> None:
    parts = {
        "transformer": sources.transformer,
        "transformer_2": sources.late,
        "vae": sources.autoencoder,
        TINY: sources.tiny,
        "text_encoder": sources.text_encoder,
        IMAGE_ENCODER: sources.image_encoder,
    }
    for part, path in parts.items():
        if path is not None:
            (folder / part).mkdir(parents=True)
            for file in files_at(path):
                _put(file, folder / part / file.name, copy)
    tokenizer = sources.tokenizer / TOKENIZER if sources.tokenizer.is_dir() else sources.tokenizer
    if not tokenizer.is_file():
        raise InputError(f"there is no {tokenizer}: name the folder of the tokenizer with --tokenizer")
    (folder / "tokenizer").mkdir()
    _put(tokenizer, folder / "tokenizer" / TOKENIZER, copy)


def files_at(path: Path) -> list[Path]:
    """Return the files of a part: one that is named, or in a folder its weights with index and config."""
    if path.is_file():
        if path.suffix != SUFFIX:
            raise InputError(
                f"{path} is no safetensors file, and others may run code: take that instead, or make it so"
                " (docs/reference/wan.md)"
            )
        return [path]
    beside = [*path.glob(f"*{SUFFIX}.index.json"), path / "config.json"]
    return [*weight_files(path), *(each for each in beside if each.is_file())]


def _put(source: Path, target: Path, copy: bool) -> None:
    if copy:
        shutil.copyfile(source, target)
    else:
        target.symlink_to(source.resolve())


def _described(folder: Path, name: str, *, pair: bool, chunk: int | None) -> Manifest:
    """Return the manifest of a folder that is laid out; its parts must be what they should be."""
    transformer, has_autoencoder = transformer_config(folder / "transformer"), (folder / "vae").is_dir()
    decoders: list[WanAutoencoderConfig | TinyAutoencoderConfig] = []
    if has_autoencoder:
        decoders.append(autoencoder_config(folder / "vae"))
    if (folder / TINY).is_dir():
        decoders.append(tiny_config(weight_files(folder / TINY)))
    config_of(shapes(weight_files(folder / "text_encoder")))
    if pair:
        transformer_config(folder / "transformer_2")
    if transformer.picture_width is not None:
        if not (folder / IMAGE_ENCODER).is_dir():
            raise InputError(
                "the image encoder is missing: name a folder of transformers with --image-encoder"
                " (models_clip_*.pth is a pickle and is not read)"
            )
        BorrowedClip(folder / IMAGE_ENCODER)
    shape = Shape(
        width=transformer.width,
        channels=transformer.out_channels,
        pair=pair,
        given=given_to(
            beside=transformer.in_channels > transformer.out_channels,
            sees=transformer.picture_width is not None,
            both=transformer.picture_positions is not None,
        ),
    )
    for each in decoders:
        if shape.channels != each.latent_channels:
            raise InputError(
                f"the transformer has latents of {shape.channels} channels, the autoencoder of"
                f" {each.latent_channels}: take the autoencoder that was published with it"
            )
    compression = decoders[0].compression
    config = folder / "transformer" / "config.json"
    fields = read_config(config.parent) if config.is_file() else {}
    stated = {"_class_name": CAUSAL[0], "num_frames_per_block": chunk} if chunk is not None else {}
    streaming = streaming_of(fields | stated)
    if streaming is not None:
        check_student(shape, folder / "transformer")
        manifest = make_student(name, STUDENT, compression, streaming)
    else:
        given = "frames" if shape.channels == FRAMES_CHANNELS else shape.given
        manifest = make_manifest(name, published(shape), compression, given)
    return replace(manifest, tiny="previews" if has_autoencoder else "films")
