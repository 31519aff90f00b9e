"""Patterns: floors, filtered so that no texture turns into moire, and the squares and marks on objects.

All functions run inside Warp kernels. A pattern is a number in [0, 1] between two tones. In a floor pattern,
detail finer than `fx` by `fy` metres (what one pixel covers) has faded to its mean.
"""

from typing import no_type_check

import warp as wp

from unstatic.world.intersect import BALL, CAPSULE, CUBE, RING

# The numbers of the floors that have a pattern: their places in spec.FLOORS
CHECKER = wp.constant(1)
WOOD = wp.constant(2)
GRASS = wp.constant(3)
SAND = wp.constant(4)
SNOW = wp.constant(5)
WATER = wp.constant(6)
MIRROR_FLOOR = wp.constant(7)

# The places of these materials in spec.MATERIALS
CHECKERED = wp.constant(4)
WOODEN = wp.constant(5)

SQUARE_M = wp.constant(0.7)
PLANK_M = wp.constant(0.4)
TURN = wp.constant(6.2831853)


@wp.func
@no_type_check
def fraction(x: float):
    """Return x minus the next integer below."""
    return x - wp.floor(x)


@wp.func
@no_type_check
def faded(detail: float, mean: float, frequency: float, footprint: float):
    """Keep a detail of the given frequency (1/m) while pixels resolve it; `mean` once they do not."""
    visible = wp.clamp(1.5 - 2.5 * frequency * footprint, 0.0, 1.0)
    return mean + (detail - mean) * visible


@wp.func
@no_type_check
def lattice(ix: int, iy: int):
    """Return a fixed random number in [0, 1) for each point of the integer grid."""
    n = wp.uint32(ix) * wp.uint32(374761393) + wp.uint32(iy) * wp.uint32(668265263)
    n = (n ^ (n >> wp.uint32(13))) * wp.uint32(1274126177)
    return float((n ^ (n >> wp.uint32(16))) & wp.uint32(65535)) / 65536.0


@wp.func
@no_type_check
def noise(x: float, y: float):
    """Return smooth value noise in [0, 1) with one feature per unit."""
    ix = int(wp.floor(x))
    iy = int(wp.floor(y))
    u = x - wp.floor(x)
    v = y - wp.floor(y)
    u = u * u * (3.0 - 2.0 * u)
    v = v * v * (3.0 - 2.0 * v)
    low = wp.lerp(lattice(ix, iy), lattice(ix + 1, iy), u)
    high = wp.lerp(lattice(ix, iy + 1), lattice(ix + 1, iy + 1), u)
    return wp.lerp(low, high, v)


@wp.func
@no_type_check
def filtered_square_wave(x: float, width: float):
    """Average the wave that is -1 on [0, 1) and 1 on [1, 2) over `width` around x."""
    left = wp.abs(fraction(0.5 * (x - 0.5 * width)) - 0.5)
    right = wp.abs(fraction(0.5 * (x + 0.5 * width)) - 0.5)
    return 2.0 * (left - right) / width


@wp.func
@no_type_check
def checker_floor(x: float, y: float, fx: float, fy: float):
    """Draw squares, box filtered: a product of waves integrates to the product of their integrals."""
    wave_x = filtered_square_wave(x / SQUARE_M, wp.max(1.5 * fx / SQUARE_M, 0.01))
    wave_y = filtered_square_wave(y / SQUARE_M, wp.max(1.5 * fy / SQUARE_M, 0.01))
    return faded(0.5 - 0.5 * wave_x * wave_y, 0.5, 0.9 / SQUARE_M, wp.max(fx, fy))


@wp.func
@no_type_check
def wood_floor(x: float, y: float, fx: float, fy: float):
    """Draw planks along x, each of its own tone, with soft grain and a dark seam between neighbours."""
    plank = int(wp.floor(y / PLANK_M))
    tone = 0.6 * faded(lattice(plank, 7), 0.5, 1.0 / PLANK_M, fy)
    grain = 0.35 * faded(noise(0.8 * x + 17.0 * float(plank), 9.0 * y), 0.5, 9.0, wp.max(fy, 0.1 * fx))
    from_seam = wp.abs(fraction(y / PLANK_M + 0.5) - 0.5) * PLANK_M
    width = 0.03 + fy
    seam = wp.clamp(1.0 - from_seam / width, 0.0, 1.0) * (0.03 / width)
    return wp.min(tone + grain + 0.8 * seam, 1.0)


@wp.func
@no_type_check
def grass_floor(x: float, y: float, fx: float, fy: float):
    """Draw a meadow: patches, tufts and blades."""
    footprint = wp.max(fx, fy)
    patches = noise(0.9 * x, 0.9 * y)
    tufts = faded(noise(4.0 * x + 3.1, 4.0 * y), 0.5, 4.0, footprint)
    blades = faded(noise(14.0 * x, 14.0 * y + 1.7), 0.5, 14.0, footprint)
    return 0.4 * patches + 0.35 * tufts + 0.25 * blades


@wp.func
@no_type_check
def sand_floor(x: float, y: float, fx: float, fy: float):
    """Draw wind ripples across y, bent by slow noise, with some grain."""
    footprint = wp.max(fx, fy)
    bend = noise(0.7 * x, 0.7 * y)
    ripple = 0.5 + 0.5 * wp.sin(TURN * (1.6 * y + 0.3 * x + 1.2 * bend))
    return (
        0.35 * bend
        + 0.4 * faded(ripple, 0.5, 2.5, footprint)
        + 0.25 * faded(noise(9.0 * x, 9.0 * y), 0.5, 9.0, footprint)
    )


@wp.func
@no_type_check
def snow_floor(x: float, y: float, fx: float, fy: float):
    """Draw soft drifts."""
    drifts = noise(0.8 * x, 0.8 * y)
    return 0.6 * drifts + 0.4 * faded(noise(3.0 * x, 3.0 * y), 0.5, 3.0, wp.max(fx, fy))


@wp.func
@no_type_check
def floor_pattern(kind: int, x: float, y: float, fx: float, fy: float):
    """Return where between its two tones a floor is at a point."""
    if kind == CHECKER:
        return checker_floor(x, y, fx, fy)
    if kind == WOOD:
        return wood_floor(x, y, fx, fy)
    if kind == GRASS:
        return grass_floor(x, y, fx, fy)
    if kind == SAND:
        return sand_floor(x, y, fx, fy)
    if kind == SNOW:
        return snow_floor(x, y, fx, fy)
    return 0.0


@wp.func
@no_type_check
def water_normal(x: float, y: float, time_s: float, footprint: float):
    """Tilt the water by three crossing trains of waves, calmer where pixels no longer resolve them."""
    calm = faded(0.055, 0.0, 1.0, 0.6 * footprint)
    a = wp.cos(TURN * (0.55 * x + 0.25 * y) + 2.1 * time_s)
    b = wp.cos(TURN * (-0.35 * x + 0.70 * y) + 2.6 * time_s)
    c = wp.cos(TURN * (0.90 * x - 0.65 * y) + 3.3 * time_s)
    return wp.normalize(
        wp.vec3(calm * (0.7 * a - 0.5 * b + 0.6 * c), calm * (0.4 * a + 0.8 * b - 0.5 * c), 1.0)
    )


@wp.func
@no_type_check
def sector(a: float, b: float, count: float):
    """Return which of `count` equal sectors the angle of (a, b) falls into."""
    return int(wp.floor(fraction(wp.atan2(b, a) / TURN) * count))


@wp.func
@no_type_check
def cell(x: float, half: float, count: float):
    """Return which of `count` equal parts of [-half, half] x falls into."""
    return int(wp.clamp(wp.floor(0.5 * (x / half + 1.0) * count), 0.0, count - 1.0))


@wp.func
@no_type_check
def odd(n: int):
    """Return 1 for odd numbers, else 0."""
    return float(n & 1)


@wp.func
@no_type_check
def squares(kind: int, p: wp.vec3, half: wp.vec3):
    """Return 1 on every other square of a checkered object, else 0."""
    if kind == BALL:
        latitude = wp.asin(wp.clamp(p[2] / half[2], -1.0, 1.0))
        return odd(sector(p[0], p[1], 8.0) + cell(latitude, 0.25 * TURN, 4.0))
    if kind == CUBE:
        return odd(cell(p[0], half[0], 3.0) + cell(p[1], half[1], 3.0) + cell(p[2], half[2], 3.0))
    if kind == RING:
        return odd(sector(p[0], p[2], 12.0) + cell(p[1], half[1], 2.0))
    rho = wp.sqrt(p[0] * p[0] + p[1] * p[1])
    rows = 3.0
    if kind == CAPSULE:
        rows = 4.0
    return odd(sector(p[0], p[1], 8.0) + cell(p[2], half[2], rows) + cell(rho, half[0], 4.0))


@wp.func
@no_type_check
def mark(kind: int, p: wp.vec3, half: wp.vec3):
    """Return 1 on the band of a ball, two stripes along a round body, every third part of a ring; else 0."""
    if kind == CUBE:
        return 0.0
    if kind == BALL:
        across = wp.dot(p, wp.vec3(0.6, 0.48, 0.64)) / half[0]
        return float(wp.abs(across) < 0.2)
    if kind == RING:
        return float(sector(p[0], p[2], 12.0) % 3 == 0)
    return float(sector(p[0], p[1], 8.0) % 4 == 0)


@wp.func
@no_type_check
def grain(p: wp.vec3, half: wp.vec3):
    """Return the year rings of the log, lying askew, that an object of wood was cut from."""
    size = wp.max(half[0], half[2])
    x = p[0] / size
    y = 0.95 * p[1] / size + 0.3 * p[2] / size + 0.4
    z = 0.95 * p[2] / size - 0.3 * p[1] / size - 0.9
    wave = noise(1.5 * x + 8.0, 2.0 * (y + z)) + 0.6 * noise(2.5 * y + 3.0, 2.5 * z)
    rings = 0.5 + 0.5 * wp.sin(TURN * (2.6 * wp.sqrt(y * y + z * z) + 0.7 * wave + 0.15 * x))
    return 0.9 * rings * rings + 0.1 * wave


@wp.func
@no_type_check
def object_pattern(kind: int, material: int, p: wp.vec3, half: wp.vec3):
    """Return where between its colour (0) and its accent (1) an object is at a point of its own frame."""
    if material == CHECKERED:
        return squares(kind, p, half)
    if material == WOODEN:
        return grain(p, half)
    return mark(kind, p, half)
