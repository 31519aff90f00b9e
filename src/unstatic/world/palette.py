"""The colours of the world: what every colour, floor and sky name looks like.

Colour names are given in sRGB: what a pixel of a well lit matte surface should read, in [0, 1]. Everything
that enters the light arithmetic is linear; `linear` and `encoded` convert.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from unstatic.world.geometry import product
from unstatic.world.spec import Vector


class SkyLook(NamedTuple):
    """Linear radiances: the ends of a gradient, the glow around the sun, sunlight, the open sky's light."""

    zenith: Vector
    horizon: Vector
    glow: Vector
    sun: Vector
    ambient: Vector


_READ = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

SRGB: dict[str, Vector] = {name: tuple(rgb) for name, rgb in _READ["SRGB"].items()}
FLOOR_TONES: dict[str, tuple[Vector, Vector]] = {
    name: (tuple(first), tuple(second)) for name, (first, second) in _READ["FLOOR_TONES"].items()
}
SKY_LOOKS: dict[str, SkyLook] = {
    name: SkyLook(**{part: tuple(light) for part, light in look.items()})
    for name, look in _READ["SKY_LOOKS"].items()
}


def linear(srgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Turn sRGB values in [0, 1] into linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def encoded(light: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Turn linear light in [0, 1] into sRGB values; the inverse of `linear`."""
    return np.where(
        light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    )


def colour(name: str) -> Float[np.ndarray, "3"]:
    """Return the linear reflectance of a colour name."""
    return linear(np.array(SRGB[name]))


def accent(name: str, material: str) -> Float[np.ndarray, "3"]:
    """Return the linear reflectance of the second tone that makes an object's turning visible.

    Checkered objects alternate with white, or with black where white would not stand out; others carry a mark
    (wooden ones: rings) that is a shade darker (lighter on black), so that the colour stays what it is.
    """
    own = colour(name)
    brightness = float(product(own, (0.2126, 0.7152, 0.0722)))
    if material == "checkered":
        return colour("black" if brightness > 0.4 else "white")
    if brightness <= 0.02:
        return own + 0.06
    return own * (0.38 if material == "wood" else 0.55)


def floor_tones(floor: str, first: str, second: str) -> Float[np.ndarray, "2 3"]:
    """Return a floor's two linear reflectances; `first` and `second` colour plain and checker floors."""
    if floor in FLOOR_TONES:
        return linear(np.array(FLOOR_TONES[floor]))
    return np.stack([colour(first), colour(second if floor == "checker" else first)])
