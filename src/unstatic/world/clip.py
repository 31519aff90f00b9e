"""A clip of the world: its spec, its frames and its object masks, together."""

from dataclasses import dataclass, replace

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


def make_clip(spec: SceneSpec, *, samples: int = 4, device: str = "cpu", enlarge: int = 1) -> Clip:
    """Simulate and render a scene, `samples` rays per pixel, at `enlarge` times its size.

    Raises InputError without the `world` extra.
    """
    spec = replace(spec, width=enlarge * spec.width, height=enlarge * spec.height)
    rendered = render(spec, simulate(spec), samples=samples, device=device)
    return Clip(spec=spec, frames=rendered.frames, ids=rendered.ids)
