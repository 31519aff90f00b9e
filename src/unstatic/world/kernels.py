# ruff: noqa: UP018, RUF046  (Warp needs float(0.0) and int(0) for variables that a loop or a branch changes)
"""The ray tracer itself: two kernels, one source for CPU and CUDA, one thread per pixel of every frame.

`trace_centres` shoots one ray through each pixel's centre; `refine` shoots more where neighbours differ
(outlines, highlights, reflections) and encodes. Floors and shadow edges are filtered analytically, so flat
regions need no more. Threads share nothing and draw no random numbers: the result depends on neither thread
order nor batch.
"""

import os
from functools import cache
from typing import NamedTuple, no_type_check

import numpy as np
import warp as wp
from jaxtyping import Shaped, UInt8

from unstatic.world.intersect import FLOOR, SKY, Hit, Solid, first_hit
from unstatic.world.meshes import Herd
from unstatic.world.shade import WHITE, View, environment, floor_surface, sky_light, solid_surface

wp.config.log_level = wp.LOG_WARNING
wp.set_module_options({"enable_backward": False, "max_unroll": 0})

SEGMENTS = wp.constant(3)
CONTRAST = wp.constant(0.05)
SHOULDER = wp.constant(0.8)
GOLDEN = wp.constant(0.618034)


@wp.func
@no_type_check
def pixel_ray(view: View, x: float, y: float, width: int, height: int):
    """Return the direction through a point of the image, in pixels."""
    right = x - 0.5 * float(width)
    up = 0.5 * float(height) - y
    return wp.normalize(view.forward + right * view.right + up * view.up)


@wp.func
@no_type_check
def radiance(
    view: View,
    solids: wp.array2d(dtype=Solid),
    coats: wp.array(dtype=wp.vec3),
    row: int,
    start: wp.vec3,
    hit: Hit,
):
    """Follow a primary ray and what it becomes through at most two mirrors or glasses, as linear light."""
    light = wp.vec3(0.0, 0.0, 0.0)
    weight = WHITE
    origin = view.eye
    direction = start
    travelled = float(0.0)
    index = hit.index
    distance = hit.distance
    for _ in range(SEGMENTS):
        if index == SKY:
            return light + wp.cw_mul(weight, sky_light(view, direction))
        point = origin + distance * direction
        travelled += distance
        if index == FLOOR:
            surface = floor_surface(view, solids, row, point, direction, travelled)
        else:
            surface = solid_surface(view, solids, coats, row, index, point, direction, travelled)
        light += wp.cw_mul(weight, surface.light)
        weight = wp.cw_mul(weight, surface.passed)
        if wp.max(weight) < 0.01:
            return light
        # What stands on the floor may sink into it by a hair; a ray from there must still see the floor
        origin = wp.vec3(surface.origin[0], surface.origin[1], wp.max(surface.origin[2], 1.0e-3))
        direction = surface.direction
        following = first_hit(solids, row, view.count, origin, direction, index)
        index = following.index
        distance = following.distance
    return light + wp.cw_mul(weight, environment(view, origin, direction))


@wp.func
@no_type_check
def shouldered(x: float):
    """Compress what is brighter than SHOULDER smoothly into what a pixel can show."""
    if x < SHOULDER:
        return x
    room = 1.0 - SHOULDER
    return 1.0 - room * wp.exp((SHOULDER - x) / room)


@wp.func
@no_type_check
def displayable(light: wp.vec3):
    """Compress all three channels."""
    return wp.vec3(shouldered(light[0]), shouldered(light[1]), shouldered(light[2]))


@wp.func
@no_type_check
def srgb_byte(x: float):
    """Encode linear light as an 8-bit sRGB value (IEC 61966-2-1)."""
    level = 12.92 * x
    if x > 0.0031308:
        level = 1.055 * wp.pow(x, 1.0 / 2.4) - 0.055
    return wp.uint8(int(wp.clamp(level, 0.0, 1.0) * 255.0 + 0.5))


@wp.func
@no_type_check
def contrast(a: wp.vec3, b: wp.vec3):
    """Return the difference of two colours relative to the darker one, roughly as the eye sees it."""
    return wp.max(wp.abs(a - b)) / (wp.min(wp.max(a), wp.max(b)) + 0.15)


@wp.kernel
@no_type_check
def trace_centres(
    views: wp.array(dtype=View),
    solids: wp.array2d(dtype=Solid),
    coats: wp.array(dtype=wp.vec3),
    width: int,
    height: int,
    colours: wp.array3d(dtype=wp.vec3),
    ids: wp.array3d(dtype=wp.uint8),
):
    """Shoot one ray through the centre of each pixel: its colour, and the label of what it meets first."""
    row, y, x = wp.tid()
    view = views[row]
    direction = pixel_ray(view, float(x) + 0.5, float(y) + 0.5, width, height)
    hit = first_hit(solids, row, view.count, view.eye, direction, -1)
    label = int(0)
    if hit.index >= 0:
        label = solids[row, hit.index].label
    ids[row, y, x] = wp.uint8(label)
    colours[row, y, x] = displayable(radiance(view, solids, coats, row, direction, hit))


@wp.kernel
@no_type_check
def refine(
    views: wp.array(dtype=View),
    solids: wp.array2d(dtype=Solid),
    coats: wp.array(dtype=wp.vec3),
    width: int,
    height: int,
    samples: int,
    colours: wp.array3d(dtype=wp.vec3),
    frames: wp.array4d(dtype=wp.uint8),
):
    """Replace each pixel that differs from a neighbour by the mean of `samples` rays, then encode."""
    row, y, x = wp.tid()
    colour = colours[row, y, x]
    largest = float(0.0)
    if samples > 1:
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                other = colours[row, wp.clamp(y + dy, 0, height - 1), wp.clamp(x + dx, 0, width - 1)]
                largest = wp.max(largest, contrast(colour, other))
    if largest > CONTRAST:
        # A Fibonacci lattice: as even as a grid, and no two samples share a row or a column
        view = views[row]
        total = wp.vec3(0.0, 0.0, 0.0)
        for i in range(samples):
            u = (float(i) + 0.5) / float(samples)
            v = float(i) * GOLDEN + 0.3
            v = v - wp.floor(v)
            direction = pixel_ray(view, float(x) + u, float(y) + v, width, height)
            hit = first_hit(solids, row, view.count, view.eye, direction, -1)
            total += displayable(radiance(view, solids, coats, row, direction, hit))
        colour = total / float(samples)
    for channel in range(3):
        frames[row, y, x, channel] = srgb_byte(colour[channel])


VIEW_RECORD = np.dtype(View.numpy_dtype())  # pyright: ignore[reportArgumentType, reportCallIssue]
SOLID_RECORD = np.dtype(Solid.numpy_dtype())  # pyright: ignore[reportArgumentType, reportCallIssue]


class Pixels(NamedTuple):
    """What `launch` returns: sRGB frames and the label of what each pixel's centre shows."""

    frames: UInt8[np.ndarray, "n h w 3"]
    ids: UInt8[np.ndarray, "n h w"]


def launch(
    views: Shaped[np.ndarray, "n"],
    solids: Shaped[np.ndarray, "n m"],
    *,
    width: int,
    height: int,
    samples: int,
    device: str,
) -> Pixels:
    """Trace n images, given as rows of VIEW_RECORD and at most m SOLID_RECORDs each, on a Warp device."""
    _start_warp()
    shape = (len(views), height, width)
    with wp.ScopedDevice(device):
        view_records = wp.array(views, dtype=View)
        solid_records = wp.array(solids, dtype=Solid)
        colours = wp.empty(shape, dtype=wp.vec3)  # pyright: ignore[reportArgumentType]
        ids = wp.empty(shape, dtype=wp.uint8)  # pyright: ignore[reportArgumentType]
        frames = wp.empty((*shape, 3), dtype=wp.uint8)  # pyright: ignore[reportArgumentType]
        scene = [view_records, solid_records, herd(device).coats, width, height]
        wp.launch(trace_centres, dim=shape, inputs=scene, outputs=[colours, ids])
        wp.launch(refine, dim=shape, inputs=[*scene, samples, colours], outputs=[frames])
        return Pixels(frames=frames.numpy(), ids=ids.numpy())


@cache
def herd(device: str) -> Herd:
    """Return the animals' meshes on a Warp device."""
    _start_warp()
    return Herd(device)


@cache
def _start_warp() -> None:
    """Start Warp without the line that its native library prints where there is no CUDA driver."""
    with open(os.devnull, "w") as nowhere:
        stderr = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            wp.init()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
