"""A clip of the world: its spec, its frames and its object masks, together."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from unstatic.world.physics import simulate
from unstatic.world.render import render
from unstatic.world.spec import SceneSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """`frames` are sRGB; `ids` are 0 for floor and sky, i + 1 for object i, 255 for props."""

    spec: SceneSpec
    frames: UInt8[np.ndarray, "t h w 3"]
    ids: UInt8[np.ndarray, "t h w"]


def make_clip(spec: SceneSpec, *, samples: int = 4, device: str = "cpu") -> Clip:
    """Simulate and render a scene, `samples` rays per pixel; InputError without the `world` extra."""
    rendered = render(spec, simulate(spec), samples=samples, device=device)
    return Clip(spec=spec, frames=rendered.frames, ids=rendered.ids)
