# ruff: noqa: UP018  (Warp needs float(0.0) for variables that a loop or a branch changes)
"""Light: what a surface sends back towards the camera, and where a mirrored or refracted ray goes on from it.

All functions run inside Warp kernels. Radiances are linear; a fully lit white wall reads about 1.
"""

from typing import no_type_check

import warp as wp

from unstatic.world.intersect import MESH, Solid, cube_span, signed_distance, surface_normal, way_through
from unstatic.world.meshes import MeshPoint, mesh_point, mesh_shadow
from unstatic.world.textures import MIRROR_FLOOR, WATER, floor_pattern, object_pattern, water_normal

# The places of these materials in spec.MATERIALS; what is none of them is matte
METAL = wp.constant(1)
MIRROR = wp.constant(2)
GLASS = wp.constant(3)

SHADOW_STEPS = wp.constant(24)
HAZE_BEGINS_M = wp.constant(5.0)
HAZE_M = wp.constant(11.0)
CONTACT_M = wp.constant(0.22)
# How far above itself, in sizes, an animal begins to shade itself
SELF_SHADOW = wp.constant(0.03)
GLASS_INDEX = wp.constant(1.25)
WHITE = wp.constant(wp.vec3(1.0, 1.0, 1.0))


@wp.struct
@no_type_check
class View:
    """Camera, light, sky and floor of one frame.

    `right` and `up` are as long as one pixel is wide at distance 1 (`pixel`); `sun` points to the light;
    `ground` is what the open floor sends back on average.
    """

    count: wp.int32
    floor: wp.int32
    time_s: wp.float32
    pixel: wp.float32
    softness: wp.float32
    eye: wp.vec3
    right: wp.vec3
    up: wp.vec3
    forward: wp.vec3
    sun: wp.vec3
    sunlight: wp.vec3
    ambient: wp.vec3
    zenith: wp.vec3
    horizon: wp.vec3
    glow: wp.vec3
    ground: wp.vec3
    tone: wp.vec3
    tone2: wp.vec3


@wp.struct
@no_type_check
class Surface:
    """What a surface sends back (`light`) and the ray that goes on from it, weighed by `passed`."""

    light: wp.vec3
    passed: wp.vec3
    origin: wp.vec3
    direction: wp.vec3


@wp.struct
@no_type_check
class Openness:
    """How much of the sun (per colour: glass tints it) and of the open sky reaches a point."""

    sun: wp.vec3
    sky: float


@wp.func
@no_type_check
def mixed(a: wp.vec3, b: wp.vec3, share: float):
    """Return a, b or what lies between by `share` in [0, 1]."""
    return a + (b - a) * share


@wp.func
@no_type_check
def smooth(x: float):
    """Return the smooth step from 0 to 1 over [0, 1]."""
    s = wp.clamp(x, 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s)


@wp.func
@no_type_check
def fifth_power(x: float):
    """Return x^5, the falloff of Schlick's approximation to Fresnel's law."""
    return x * x * x * x * x


@wp.func
@no_type_check
def reflected(direction: wp.vec3, normal: wp.vec3):
    """Mirror a direction at a surface."""
    return direction - 2.0 * wp.dot(direction, normal) * normal


@wp.func
@no_type_check
def refracted(direction: wp.vec3, normal: wp.vec3, ratio: float):
    """Bend a direction by Snell's law (`ratio`: index left over index entered; no total reflection)."""
    cosine = -wp.dot(direction, normal)
    squared = wp.max(1.0 - ratio * ratio * (1.0 - cosine * cosine), 0.0)
    return wp.normalize(ratio * direction + (ratio * cosine - wp.sqrt(squared)) * normal)


@wp.func
@no_type_check
def haze(distance: float):
    """Return the share of what a far surface shows that is dissolved in the sky behind it."""
    depth = wp.max(distance - HAZE_BEGINS_M, 0.0) / HAZE_M
    return 1.0 - wp.exp(-depth * depth)


@wp.func
@no_type_check
def sky_light(view: View, direction: wp.vec3):
    """Return the sky's radiance: a gradient from horizon to zenith and a glow around the sun."""
    up = wp.clamp(direction[2], 0.0, 1.0)
    toward_sun = wp.max(wp.dot(direction, view.sun), 0.0)
    halo = toward_sun * toward_sun
    halo = halo * halo
    below = (1.0 - up) * (1.0 - up)
    return mixed(view.zenith, view.horizon, below * below * below) + halo * view.glow


@wp.func
@no_type_check
def environment(view: View, origin: wp.vec3, direction: wp.vec3):
    """Return sky or open floor in a direction, without the solids."""
    if direction[2] >= 0.0:
        return sky_light(view, direction)
    distance = wp.max(origin[2], 0.0) / wp.max(-direction[2], 1.0e-3)
    level = sky_light(view, wp.vec3(direction[0], direction[1], 0.0))
    return mixed(view.ground, level, haze(distance))


@wp.func
@no_type_check
def brushed_environment(view: View, direction: wp.vec3):
    """Return the environment as a brushed surface mirrors it: a soft step from ground to sky."""
    above = smooth(0.45 + 2.5 * direction[2])
    return mixed(0.6 * view.ground, 1.2 * sky_light(view, direction), above)


@wp.func
@no_type_check
def sun_glint(view: View, direction: wp.vec3, sharpness: float):
    """Return a highlight of 1 in its middle; `sharpness` is the rate of its falloff."""
    return wp.exp(-sharpness * (1.0 - wp.dot(direction, view.sun)))


@wp.func
@no_type_check
def occlusion(view: View, solid: Solid, offset: wp.vec3, along: float, aside2: float, footprint: float):
    """Return the share of the sun that a solid covers, after Quilez's soft shadows for distance fields.

    The ray to the sun is followed through the solid's bounding sphere; the least clearance, in units of the
    penumbra's half width there, tells how much is covered. A pixel's footprint widens the penumbra, so that
    shadow edges never alias. A mesh has no distance; rays sample its penumbra.
    """
    to_sun = solid.to_object * view.sun
    p = solid.to_object * offset
    reach = solid.radius + footprint + view.softness * wp.max(-along, 0.0)
    half_chord = wp.sqrt(wp.max(reach * reach - aside2, 0.0))
    t = wp.max(-along - half_chord, 0.0)
    end = -along + half_chord
    if solid.kind == MESH:
        wide = footprint + view.softness * wp.max(end, 0.0)
        box = cube_span(p - solid.middle, to_sun, solid.half + wide * WHITE)
        if box[0] > box[1] or box[1] < 0.0:
            return 0.0
        return mesh_shadow(solid.mesh, p, to_sun, solid.size, view.softness, footprint)
    clearance = float(1.0)
    for _ in range(SHADOW_STEPS):
        penumbra = view.softness * t + footprint
        distance = signed_distance(solid.kind, p + t * to_sun, solid.half)
        clearance = wp.min(clearance, distance / penumbra)
        if clearance < -1.0:
            return 1.0
        t += wp.max(wp.abs(distance), 0.25 * penumbra)
        if t > end:
            break
    return 1.0 - smooth(0.5 + 0.5 * clearance)


@wp.func
@no_type_check
def self_shadow(view: View, solid: Solid, p: wp.vec3):
    """Return 0 where an animal is in its own shadow, else 1: one ray, for no shadow falls far on itself."""
    if wp.mesh_query_ray_anyhit(solid.mesh, p / solid.size, solid.to_object * view.sun, 4.0):
        return 0.0
    return 1.0


@wp.func
@no_type_check
def contact(solid: Solid, offset: wp.vec3, normal: wp.vec3):
    """Return how much a near solid hides the sky: its clearance a step along the normal against that step."""
    p = solid.to_object * (offset + CONTACT_M * normal) - solid.middle
    gap = wp.clamp(signed_distance(solid.kind, p, solid.half) / CONTACT_M, 0.0, 1.0)
    return 0.7 * (1.0 - gap) * (1.0 - gap)


@wp.func
@no_type_check
def openness(
    view: View,
    solids: wp.array2d(dtype=Solid),
    row: int,
    point: wp.vec3,
    normal: wp.vec3,
    footprint: float,
    skip: int,
):
    """Gather shadow and contact darkening from all solids but number `skip`."""
    seen = Openness()
    seen.sun = WHITE
    seen.sky = 1.0
    faces_sun = wp.dot(normal, view.sun) > 0.0
    for i in range(view.count):
        if i != skip:
            offset = point - solids[row, i].position
            radius = solids[row, i].radius
            along = wp.dot(offset, view.sun)
            squared = wp.dot(offset, offset)
            aside2 = squared - along * along
            reach = radius + footprint + view.softness * wp.max(-along, 0.0)
            if faces_sun and along < reach and aside2 < reach * reach:
                covered = occlusion(view, solids[row, i], offset, along, aside2, footprint)
                through = wp.vec3(0.0, 0.0, 0.0)
                if solids[row, i].material == GLASS:
                    through = 0.3 * WHITE + 0.55 * solids[row, i].colour
                seen.sun = wp.cw_mul(seen.sun, mixed(WHITE, through, covered))
            near = radius + 2.0 * CONTACT_M
            if squared < near * near:
                seen.sky = seen.sky * (1.0 - contact(solids[row, i], offset, normal))
    return seen


@wp.func
@no_type_check
def hazed(view: View, surface: Surface, direction: wp.vec3, distance: float):
    """Dissolve a far surface in the colour of the sky behind it."""
    share = haze(distance)
    level = sky_light(view, wp.vec3(direction[0], direction[1], 0.0))
    surface.light = mixed(surface.light, level, share)
    surface.passed = surface.passed * (1.0 - share)
    return surface


@wp.func
@no_type_check
def floor_surface(
    view: View,
    solids: wp.array2d(dtype=Solid),
    row: int,
    point: wp.vec3,
    direction: wp.vec3,
    travelled: float,
):
    """Shade the floor at `point`, seen along `direction` after `travelled` metres."""
    # A pixel's footprint: stretched along the view by the slant of the floor
    across = travelled * view.pixel
    stretch = across / wp.max(-direction[2], 0.02)
    level = wp.max(wp.sqrt(direction[0] * direction[0] + direction[1] * direction[1]), 1.0e-4)
    fx = across + (stretch - across) * wp.abs(direction[0]) / level
    fy = across + (stretch - across) * wp.abs(direction[1]) / level

    # What it is made of
    share = floor_pattern(view.floor, point[0], point[1], fx, fy)
    reflectance = mixed(view.tone, view.tone2, share)
    normal = wp.vec3(0.0, 0.0, 1.0)
    mirrored = float(0.0)
    if view.floor == MIRROR_FLOOR:
        mirrored = 0.75 + 0.2 * fifth_power(1.0 + direction[2])
    if view.floor == WATER:
        normal = water_normal(point[0], point[1], view.time_s, wp.max(fx, fy))
        mirrored = 0.12 + 0.75 * fifth_power(1.0 - wp.max(-wp.dot(direction, normal), 0.0))

    # The light on it
    seen = openness(
        view, solids, row, point, wp.vec3(0.0, 0.0, 1.0), wp.min(across + 0.25 * stretch, 0.15), -1
    )
    facing = wp.max(wp.dot(normal, view.sun), 0.0)
    light = facing * wp.cw_mul(seen.sun, view.sunlight) + seen.sky * view.ambient
    surface = Surface()
    surface.light = (1.0 - mirrored) * wp.cw_mul(reflectance, light)
    surface.passed = mirrored * (0.5 + 0.5 * seen.sky) * WHITE
    surface.direction = reflected(direction, normal)
    surface.direction[2] = wp.abs(surface.direction[2])
    surface.origin = point
    if view.floor == WATER:
        surface.light += (0.5 * sun_glint(view, surface.direction, 60.0)) * wp.cw_mul(seen.sun, view.sunlight)
    return hazed(view, surface, direction, travelled)


@wp.func
@no_type_check
def diffuse_light(view: View, point: wp.vec3, normal: wp.vec3, seen: Openness):
    """Add up sun, sky from above and the floor's own light from below, less where the floor is near."""
    upward = 0.5 + 0.5 * normal[2]
    near_floor = wp.clamp(1.0 - point[2] / CONTACT_M, 0.0, 1.0) * (1.0 - upward)
    # Half as colourful as it would be: an object's own colour must win
    grey = (view.ground[0] + view.ground[1] + view.ground[2]) / 3.0
    from_floor = 0.3 * (view.ground + grey * WHITE) + 0.1 * view.ambient
    from_around = mixed(from_floor, view.ambient, upward)
    facing = wp.max(wp.dot(normal, view.sun), 0.0)
    return facing * wp.cw_mul(seen.sun, view.sunlight) + (seen.sky * (1.0 - 0.8 * near_floor)) * from_around


@wp.func
@no_type_check
def metal_light(view: View, colour: wp.vec3, direction: wp.vec3, diffuse: wp.vec3, seen: Openness):
    """Shade brushed metal: everything it mirrors takes its colour, the highlight keeps some white."""
    shine = seen.sky * brushed_environment(view, direction)
    glint = 1.3 * sun_glint(view, direction, 16.0)
    highlight = glint * wp.cw_mul(seen.sun, wp.cw_mul(view.sunlight, mixed(colour, WHITE, 0.3)))
    return wp.cw_mul(colour, 0.5 * shine + 0.55 * diffuse) + highlight


@wp.func
@no_type_check
def through_glass(surface: Surface, solid: Solid, p: wp.vec3, normal: wp.vec3, direction: wp.vec3):
    """Send the ray through the glass: bent on the way in and out, tinted by the length of the way."""
    inward = solid.to_object * refracted(direction, normal, 1.0 / GLASS_INDEX)
    way = way_through(solid.kind, p + 1.0e-4 * inward, inward, solid.half)
    leaving = p + way * inward
    outer = surface_normal(solid.kind, leaving, solid.half)
    outward = refracted(inward, -outer, GLASS_INDEX)

    to_world = wp.transpose(solid.to_object)
    thickness = 0.35 + 0.45 * way / wp.max(solid.half[0], solid.half[2])
    tint = wp.vec3(
        wp.pow(wp.max(solid.colour[0], 0.03), thickness),
        wp.pow(wp.max(solid.colour[1], 0.03), thickness),
        wp.pow(wp.max(solid.colour[2], 0.03), thickness),
    )
    surface.passed = wp.cw_mul(surface.passed, tint)
    surface.direction = to_world * outward
    surface.origin = solid.position + to_world * leaving
    return surface


@wp.func
@no_type_check
def solid_surface(
    view: View,
    solids: wp.array2d(dtype=Solid),
    coats: wp.array(dtype=wp.vec3),
    row: int,
    index: int,
    point: wp.vec3,
    direction: wp.vec3,
    travelled: float,
):
    """Shade solid number `index` at `point`, seen along `direction` after `travelled` metres."""
    solid = solids[row, index]
    p = solid.to_object * (point - solid.position)
    skin = MeshPoint()
    if solid.kind == MESH:
        skin = mesh_point(solid.mesh, p, solid.to_object * direction, solid.size)
    else:
        skin.normal = surface_normal(solid.kind, p, solid.half)
    normal = wp.transpose(solid.to_object) * skin.normal
    # A bevelled edge may seem to face away, and would mirror what lies behind the solid
    normal = wp.normalize(normal - wp.max(wp.dot(direction, normal), 0.0) * direction)
    cosine = wp.clamp(-wp.dot(direction, normal), 0.0, 1.0)
    grazing = fifth_power(1.0 - cosine)
    mirror_way = reflected(direction, normal)

    # The light on it
    seen = openness(view, solids, row, point, normal, travelled * view.pixel, index)
    if solid.kind == MESH:
        seen.sun = seen.sun * self_shadow(view, solid, p + (SELF_SHADOW * solid.size) * skin.normal)
    diffuse = diffuse_light(view, point, normal, seen)
    surface = Surface()
    surface.passed = wp.vec3(0.0, 0.0, 0.0)
    surface.origin = point + 1.0e-3 * normal
    surface.direction = mirror_way

    # What it is made of
    if solid.material == MIRROR:
        highlight = (0.8 * sun_glint(view, mirror_way, 150.0)) * wp.cw_mul(seen.sun, view.sunlight)
        surface.light = wp.cw_mul(solid.colour, 0.45 * diffuse) + highlight
        surface.passed = (0.4 + 0.4 * seen.sky) * mixed(WHITE, solid.colour, 0.82 * (1.0 - grazing))
    elif solid.material == GLASS:
        fresnel = 0.06 + 0.9 * grazing
        highlight = (0.9 * sun_glint(view, mirror_way, 150.0)) * wp.cw_mul(seen.sun, view.sunlight)
        # Sunlight gathers inside, opposite to where it enters
        gathered = smooth(-wp.dot(normal, view.sun)) + 0.15
        inner = 0.3 * diffuse + (0.7 * gathered) * wp.cw_mul(seen.sun, view.sunlight)
        surface.light = wp.cw_mul(solid.colour, inner) + highlight
        surface.light += fresnel * environment(view, point, mirror_way)
        surface.passed = (1.0 - fresnel) * 0.9 * WHITE
        surface = through_glass(surface, solid, p, normal, direction)
    else:
        colour = mixed(solid.colour, solid.accent, object_pattern(solid.kind, solid.material, p, solid.half))
        if solid.kind == MESH:
            colour = coats[solid.coat + skin.face]
        if solid.material == METAL:
            surface.light = metal_light(view, colour, mirror_way, diffuse, seen)
            surface.passed = 0.5 * colour
        else:
            sheen = (0.12 * sun_glint(view, mirror_way, 18.0)) * wp.cw_mul(seen.sun, view.sunlight)
            surface.light = wp.cw_mul(colour, diffuse) + sheen + (0.06 * grazing) * view.ambient
    return hazed(view, surface, direction, travelled)
