"""Every editing task as a change of a `Request`: which frames are known, where, and how long the video is.

    extend    [footage, new]               backward  [new, footage]
    recut     [new, a span of it, new]     loop      [footage, new] flowing into its own beginning
    blend     [a, new, b]                  remix     starts from the noised video
    repaint   keeps what lies outside a mask

Videos are frames at the model's rate, as from `footage.read_source`. All raise InputError naming the fix.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.core.errors import InputError
from unstatic.generate.footage import Footage
from unstatic.generate.request import Request
from unstatic.models.manifest import Manifest

LEAST_LOOP_FRAMES, LOOP_FRAMES = 8, 16  # how much of its beginning a loop flows into
STRENGTH = 0.9
BLEND_STRENGTH = 0.8
STILL = 0.25  # levels of 255

Pixels = UInt8[np.ndarray, "t h w 3"]


def extend(
    request: Request,
    video: UInt8[np.ndarray, "t h w 3"],
    manifest: Manifest,
    *,
    seconds: float | int,
    backward: bool = False,
) -> Request:
    """Go on after a video for `seconds`, or show what came before it."""
    new = new_frames(seconds, manifest)
    footage = Footage(first=new if backward else 0, frames=video)
    return _lasting(request, len(video) + new, manifest, footage)


def recut(
    request: Request,
    video: UInt8[np.ndarray, "t h w 3"],
    manifest: Manifest,
    *,
    before: float | int = 0,
    after: float | int = 0,
) -> Request:
    """Make `before` and `after` seconds on the sides of a video, a span of a longer one perhaps."""
    lead = new_frames(before, manifest, called="before") if before else 0
    tail = new_frames(after, manifest, called="after") if after else 0
    footage = Footage(first=lead, frames=video)
    return _lasting(request, lead + len(video) + tail, manifest, footage)


def loop(
    request: Request, video: UInt8[np.ndarray, "t h w 3"], manifest: Manifest, *, seconds: float | int
) -> Request:
    """Go on after a video for `seconds` so that its end flows into its beginning.

    The beginning is made twice, and what is shown is the second: there it comes out of the new part. So the
    loop begins up to a second into the video, at a frame that is decoded after the same frames at both ends,
    and where little happens: players stumble there.
    """
    new = whole_groups(seconds, manifest)
    group = manifest.compression.time
    most = min(LOOP_FRAMES, len(video) // 2) // group * group
    if not most:
        raise InputError(f"a loop needs at least {2 * group} frames to begin with: give a longer video")
    again = video[: calmest(video, range(most, min(LEAST_LOOP_FRAMES, most) - 1, -group))]
    footage = Footage(first=0, frames=video), Footage(first=len(video) + new, frames=again)
    return replace(_lasting(request, len(video) + new, manifest, *footage), lead=len(again), loops=True)


def calmest(video: UInt8[np.ndarray, "t h w 3"], frames: Sequence[int]) -> int:
    """Return before which of these frames least happens: change, and change of change, to the usual ones.

    The first of equal ones is taken; the last frame that is asked for is not the last of the video.
    """
    if len(frames) == 1:
        return frames[0]
    steps, bends = list[float](), list[float]()
    for number in range(max(frames) + 1):  # three frames at a time: large ones together would fill the memory
        change = np.diff(video[number : number + 3].astype(np.int16), axis=0)
        steps.append(float(np.abs(change[0]).mean()))
        if number < max(frames):
            bends.append(float(np.abs(change[1] - change[0]).mean()))
    usual = np.median(steps) + STILL, np.median(bends) + STILL

    def unrest(at: int) -> float:
        around = bends[max(0, at - 2) : at]  # at the last frame before, and at this one
        return float(max(steps[at - 1] / usual[0], max(around) / usual[1]))

    return min(frames, key=unrest)


def blend(
    request: Request,
    one: UInt8[np.ndarray, "t h w 3"],
    other: UInt8[np.ndarray, "u g v 3"],
    manifest: Manifest,
    *,
    seconds: float | int,
) -> Request:
    """Make `seconds` between two videos, of one size, that lead from one to the other.

    They start from a cross-fade, noised: a model that knows only both sides would cut hard between them.
    """
    new = whole_groups(seconds, manifest)
    footage = Footage(first=0, frames=one), Footage(first=len(one) + new, frames=other)
    share = np.linspace(0, 1, new + 2)[1:-1, None, None, None]
    fade = (one[-1:] * (1 - share) + other[:1] * share).round().astype(np.uint8)
    asked = _lasting(request, len(one) + new + len(other), manifest, *footage)
    return replace(asked, source=np.concatenate([one, fade, other]), strength=BLEND_STRENGTH)


def remix(
    request: Request,
    video: UInt8[np.ndarray, "t h w 3"],
    manifest: Manifest,
    *,
    strength: float | int = STRENGTH,
) -> Request:
    """Make a video anew from itself: `strength` 0 leaves it as it is, 1 leaves nothing."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength is {strength:g}: it must be from 0 (as it is) to 1 (all new)")
    return replace(_lasting(request, len(video), manifest), source=video, strength=float(strength))


def repaint(
    request: Request,
    video: UInt8[np.ndarray, "t h w 3"],
    mask: Bool[np.ndarray, "mask_h mask_w"],
    manifest: Manifest,
    *,
    strength: float | int = 1,
) -> Request:
    """Make anew what lies inside a mask of the same size as the video; the rest stays."""
    if mask.shape != video.shape[1:3]:
        sizes = (f"{shape[1]}x{shape[0]}" for shape in (mask.shape, video.shape[1:3]))
        raise InputError("the mask is {} and the video {}: make them equal".format(*sizes))
    if not mask.any():
        raise InputError("the mask is empty: mark what shall be made anew in white")
    return replace(remix(request, video, manifest, strength=strength), mask=mask)


def new_frames(seconds: float | int, manifest: Manifest, *, called: str = "seconds") -> int:
    """Return how many frames make `seconds`, which must be at least one."""
    frames = round(seconds * manifest.fps) if seconds > 0 and math.isfinite(seconds) else 0
    if frames < 1:
        raise InputError(f"{called} is {seconds:g}: there must be at least one new frame")
    return frames


def whole_groups(seconds: float | int, manifest: Manifest) -> int:
    """Return how many frames make about `seconds` between two joints: whole latent frames, at least one."""
    group = manifest.compression.time
    return group * max(1, round(new_frames(seconds, manifest) / group))


def _lasting(request: Request, frames: int, manifest: Manifest, *footage: Footage) -> Request:
    """Return the request for a video of so many frames with this footage in it."""
    seconds = frames / manifest.fps
    if seconds > manifest.max_seconds:
        raise InputError(
            f"that makes {seconds:.1f} seconds: {manifest.name} makes up to {manifest.max_seconds:g}, cut the"
            " video or ask for less"
        )
    return replace(request, seconds=seconds, footage=footage)
