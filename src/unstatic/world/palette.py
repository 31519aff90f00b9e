"""The colours of the world: what every colour, floor and sky name looks like.

Colour names are given in sRGB: what a pixel of a well lit matte surface should read, in [0, 1]. Everything
that enters the light arithmetic is linear; `linear` and `encoded` convert.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from unstatic.world.geometry import product
from unstatic.world.spec import Vector

# Apart from one another in hue or, for the greys and brown, clearly in lightness.
SRGB: dict[str, Vector] = {
    "red": (0.88, 0.10, 0.11),
    "orange": (0.98, 0.50, 0.05),
    "yellow": (0.98, 0.86, 0.10),
    "green": (0.13, 0.66, 0.22),
    "cyan": (0.10, 0.80, 0.86),
    "blue": (0.10, 0.30, 0.90),
    "purple": (0.50, 0.16, 0.78),
    "pink": (0.99, 0.47, 0.72),
    "white": (0.95, 0.95, 0.95),
    "black": (0.07, 0.07, 0.08),
    "brown": (0.45, 0.26, 0.12),
    "grey": (0.52, 0.52, 0.54),
}

# The two tones (sRGB) between which a floor's texture moves. Plain and checker floors have the spec's.
FLOOR_TONES: dict[str, tuple[Vector, Vector]] = {
    "wood": ((0.72, 0.52, 0.33), (0.56, 0.37, 0.21)),
    "grass": ((0.40, 0.66, 0.22), (0.24, 0.50, 0.15)),
    "sand": ((0.91, 0.80, 0.58), (0.80, 0.66, 0.43)),
    "snow": ((0.97, 0.98, 1.00), (0.86, 0.90, 0.97)),
    "water": ((0.12, 0.42, 0.55), (0.05, 0.27, 0.42)),
    "mirror": ((0.42, 0.45, 0.48), (0.42, 0.45, 0.48)),
}


class SkyLook(NamedTuple):
    """Linear radiances: the ends of a gradient, the glow around the sun, sunlight, the open sky's light."""

    zenith: Vector
    horizon: Vector
    glow: Vector
    sun: Vector
    ambient: Vector


SKY_LOOKS: dict[str, SkyLook] = {
    "day": SkyLook(
        zenith=(0.06, 0.22, 0.72),
        horizon=(0.50, 0.73, 0.95),
        glow=(0.10, 0.09, 0.06),
        sun=(1.14, 1.08, 0.98),
        ambient=(0.37, 0.40, 0.45),
    ),
    "sunset": SkyLook(
        zenith=(0.20, 0.12, 0.42),
        horizon=(1.00, 0.48, 0.19),
        glow=(0.60, 0.30, 0.08),
        sun=(1.18, 0.93, 0.70),
        ambient=(0.38, 0.34, 0.40),
    ),
    "night": SkyLook(
        zenith=(0.008, 0.012, 0.05),
        horizon=(0.05, 0.07, 0.17),
        glow=(0.03, 0.035, 0.05),
        sun=(0.90, 0.90, 0.96),
        ambient=(0.26, 0.26, 0.30),
    ),
    "studio": SkyLook(
        zenith=(0.42, 0.43, 0.46),
        horizon=(0.76, 0.76, 0.77),
        glow=(0.0, 0.0, 0.0),
        sun=(1.00, 0.99, 0.97),
        ambient=(0.47, 0.47, 0.48),
    ),
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
