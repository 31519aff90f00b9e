"""Images that somebody hands over for a video to begin or end with: read, checked, and measured."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.media.frames import nearest_shape, share_cut
from unstatic.media.read import read_picture
from unstatic.models.manifest import Manifest

MIN_SIDE = 16
SHARE_CUT_UNSAID = 0.05

Image = UInt8[np.ndarray, "h w 3"]
Images = Mapping[str, UInt8[np.ndarray, "_ _ 3"]]


def open_image(source: Path | str | np.ndarray) -> Image:
    """Read an image from a file, or check one that is an array already. Raises InputError."""
    if not isinstance(source, np.ndarray):
        return read_picture(Path(source))[0]
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        raise InputError(f"an image is {source.dtype} {source.shape}: give uint8 (height, width, 3)")
    return source


def check_images(images: Images, frames: int) -> None:
    """Raise InputError for an image too small to show anything, and for any if the video is one frame."""
    for name, image in images.items():
        size = size_of(image)
        if min(size.width, size.height) < MIN_SIDE:
            raise InputError(f"{_words(name)} is {size}: give one of at least {MIN_SIDE}x{MIN_SIDE} pixels")
        if frames == 1 and name != "source":  # which is noised, not kept
            raise InputError(f"{_words(name)} leaves nothing to make in a video of 1 frame: make it longer")


def nearest_size(images: Images, manifest: Manifest) -> Size:
    """Return the size of the file when nobody names one: the model's own, in the shape of the first image."""
    if not images:
        return manifest.default_size
    native = nearest_shape(size_of(next(iter(images.values()))), manifest.sizes)
    return Size(native.width * manifest.enlarge, native.height * manifest.enlarge)


def cut_warnings(images: Images, size: Size) -> tuple[str, ...]:
    """Say which images lose more than a margin where they are cut to the shape of `size`."""
    warnings: list[str] = []
    for name, image in images.items():
        given, cut = size_of(image), share_cut(size_of(image), size)
        if cut > SHARE_CUT_UNSAID:
            wider = given.width * size.height > size.width * given.height
            sides = "left and right" if wider else "top and bottom"
            warnings.append(f"{_words(name)} is {given}: {cut:.0%} of it, {sides}, is cut away to fit {size}")
    return tuple(warnings)


def size_of(image: Image) -> Size:
    """Return how large an image is."""
    return Size(image.shape[1], image.shape[0])


def _words(name: str) -> str:
    return f"the {name.replace('_', ' ')}"
