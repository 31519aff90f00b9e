"""Rays against solids: where a ray meets a shape, how far a point is from it, which solid comes first.

All functions run inside Warp kernels, on CPU and CUDA alike; Warp reads their annotations itself, so Python's
type checkers are told to look away (`no_type_check`). A solid's own frame and half extents are those of
`geometry`; a string is a thin capsule, the other props are boxes, an animal is a mesh (`meshes`). Metres and
unit vectors throughout.
"""

from typing import no_type_check

import warp as wp

from unstatic.world.meshes import mesh_entry

BALL = wp.constant(0)
CUBE = wp.constant(1)
CYLINDER = wp.constant(2)
CONE = wp.constant(3)
CAPSULE = wp.constant(4)
RING = wp.constant(5)
MESH = wp.constant(6)

MISS = wp.constant(1.0e9)
NEAR = wp.constant(1.0e-4)
FLOOR = wp.constant(-2)
SKY = wp.constant(-3)

RING_STEPS = wp.constant(48)


@wp.struct
@no_type_check
class Solid:
    """One object or prop in one frame; `radius` bounds it, `to_object` turns world vectors into its frame.

    Only a MESH has a `mesh` (Warp's number), a `size`, a `coat` (where its triangles' colours begin) and a
    `middle`: that of its pose's bounding box, of which `half` is half.
    """

    kind: wp.int32
    material: wp.int32
    label: wp.int32
    radius: wp.float32
    position: wp.vec3
    half: wp.vec3
    to_object: wp.mat33
    colour: wp.vec3
    accent: wp.vec3
    mesh: wp.uint64
    middle: wp.vec3
    size: wp.float32
    coat: wp.int32


@wp.struct
@no_type_check
class Hit:
    """The first thing on a ray: the number of a solid, or FLOOR or SKY."""

    index: wp.int32
    distance: wp.float32


@wp.func
@no_type_check
def ball_span(o: wp.vec3, d: wp.vec3, radius: float):
    """Return where a line enters and leaves a ball at the origin (all `*_span`: first > second is a miss)."""
    along = wp.dot(o, d)
    aside = o - along * d
    inside = radius * radius - wp.dot(aside, aside)
    if inside < 0.0:
        return wp.vec2(MISS, -MISS)
    root = wp.sqrt(inside)
    return wp.vec2(-along - root, -along + root)


@wp.func
@no_type_check
def slab_span(o: float, d: float, half: float):
    """Return where a coordinate o + t d stays within [-half, half]."""
    slope = d
    if wp.abs(d) < 1.0e-7:
        slope = 1.0e-7
    middle = -o / slope
    reach = wp.abs(half / slope)
    return wp.vec2(middle - reach, middle + reach)


@wp.func
@no_type_check
def overlap(a: wp.vec2, b: wp.vec2):
    """Return what two spans share."""
    return wp.vec2(wp.max(a[0], b[0]), wp.min(a[1], b[1]))


@wp.func
@no_type_check
def cube_span(o: wp.vec3, d: wp.vec3, half: wp.vec3):
    """Return the span inside a box: the overlap of three slabs."""
    xy = overlap(slab_span(o[0], d[0], half[0]), slab_span(o[1], d[1], half[1]))
    return overlap(xy, slab_span(o[2], d[2], half[2]))


@wp.func
@no_type_check
def tube_span(o: wp.vec3, d: wp.vec3, radius: float):
    """Return the span inside an endless cylinder around z."""
    a = wp.max(d[0] * d[0] + d[1] * d[1], 1.0e-12)
    b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - radius * radius
    inside = b * b - a * c
    if inside < 0.0:
        return wp.vec2(MISS, -MISS)
    root = wp.sqrt(inside)
    return wp.vec2((-b - root) / a, (-b + root) / a)


@wp.func
@no_type_check
def cylinder_span(o: wp.vec3, d: wp.vec3, half: wp.vec3):
    """Return the span inside a capped cylinder around z."""
    return overlap(tube_span(o, d, half[0]), slab_span(o[2], d[2], half[2]))


@wp.func
@no_type_check
def cone_span(o: wp.vec3, d: wp.vec3, half: wp.vec3):
    """Return the span inside x^2 + y^2 <= (slope depth)^2, depth down from the apex, cut to [0, 2 h]."""
    slope = half[0] / (2.0 * half[2])
    squared = slope * slope
    depth = half[2] - o[2]
    a = d[0] * d[0] + d[1] * d[1] - squared * d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + squared * depth * d[2]
    c = o[0] * o[0] + o[1] * o[1] - squared * depth * depth
    if wp.abs(a) < 1.0e-6:
        a = 1.0e-6
    inside = b * b - a * c
    if a > 0.0 and inside < 0.0:
        return wp.vec2(MISS, -MISS)
    root = wp.sqrt(wp.max(inside, 0.0)) / wp.abs(a)
    span = wp.vec2(-b / a - root, -b / a + root)
    # A ray steeper than the side is inside the double cone before the first root and after the second;
    # the lower half is the one towards which depth grows.
    if a < 0.0:
        if d[2] < 0.0:
            span = wp.vec2(span[1], MISS)
        else:
            span = wp.vec2(-MISS, span[0])
    return overlap(span, slab_span(o[2], d[2], half[2]))


@wp.func
@no_type_check
def capsule_span(o: wp.vec3, d: wp.vec3, half: wp.vec3):
    """Return the span inside a cylinder around z with a ball on either end."""
    middle = wp.max(half[2] - half[0], 0.0)
    body = overlap(tube_span(o, d, half[0]), slab_span(o[2], d[2], middle))
    if body[0] > body[1]:
        body = wp.vec2(MISS, -MISS)
    top = ball_span(wp.vec3(o[0], o[1], o[2] - middle), d, half[0])
    bottom = ball_span(wp.vec3(o[0], o[1], o[2] + middle), d, half[0])
    near = wp.min(body[0], wp.min(top[0], bottom[0]))
    far = wp.max(body[1], wp.max(top[1], bottom[1]))
    return wp.vec2(near, far)


@wp.func
@no_type_check
def ring_distance(p: wp.vec3, half: wp.vec3):
    """Return the signed distance to a torus around y."""
    around = wp.sqrt(p[0] * p[0] + p[2] * p[2]) - (half[0] - half[1])
    return wp.sqrt(around * around + p[1] * p[1]) - half[1]


@wp.func
@no_type_check
def ring_crossing(o: wp.vec3, d: wp.vec3, half: wp.vec3, begin: float, end: float, side: float):
    """Step along the ray to the surface, from outside (side = 1) or from inside (side = -1)."""
    t = float(begin)
    for _ in range(RING_STEPS):
        step = side * ring_distance(o + t * d, half)
        if step < 1.0e-4 * half[0]:
            return t
        t += step
        if t > end:
            return MISS
    return MISS


@wp.func
@no_type_check
def ring_span(o: wp.vec3, d: wp.vec3, half: wp.vec3, begin: float):
    """Return where the line first enters the ring after `begin`; the end is left to `way_through`."""
    box = cube_span(o, d, half)
    if box[0] > box[1] or box[1] < begin:
        return wp.vec2(MISS, -MISS)
    return wp.vec2(ring_crossing(o, d, half, wp.max(box[0], begin), box[1], 1.0), MISS)


@wp.func
@no_type_check
def span(kind: int, o: wp.vec3, d: wp.vec3, half: wp.vec3, begin: float):
    """Return where a line enters and leaves a shape in its own frame; the first exceeds the second on a miss.

    A ring, which a line may enter twice, is searched from `begin`.
    """
    if kind == BALL:
        return ball_span(o, d, half[0])
    if kind == CUBE:
        return cube_span(o, d, half)
    if kind == CYLINDER:
        return cylinder_span(o, d, half)
    if kind == CONE:
        return cone_span(o, d, half)
    if kind == CAPSULE:
        return capsule_span(o, d, half)
    return ring_span(o, d, half, begin)


@wp.func
@no_type_check
def way_through(kind: int, o: wp.vec3, d: wp.vec3, half: wp.vec3):
    """Return how far a ray that has just entered the shape at `o` runs until it leaves."""
    if kind == RING:
        inside = ring_crossing(o, d, half, 0.02 * half[0], 2.0 * half[0], -1.0)
        return wp.min(inside, 2.0 * half[1])
    return wp.max(span(kind, o, d, half, 0.0)[1], 0.0)


@wp.func
@no_type_check
def box_distance(x: float, y: float, z: float):
    """Return the signed distance to the region x, y, z <= 0 (coordinates relative to half extents)."""
    outside = wp.length(wp.vec3(wp.max(x, 0.0), wp.max(y, 0.0), wp.max(z, 0.0)))
    return outside + wp.min(wp.max(x, wp.max(y, z)), 0.0)


@wp.func
@no_type_check
def cone_distance(p: wp.vec3, half: wp.vec3):
    """Return the signed distance to a cone: in the half plane through its axis, to the side or the base."""
    rho = wp.sqrt(p[0] * p[0] + p[1] * p[1])
    side = wp.vec2(half[0], -2.0 * half[2])
    from_apex = wp.vec2(rho, p[2] - half[2])
    along = wp.clamp(wp.dot(from_apex, side) / wp.dot(side, side), 0.0, 1.0)
    to_side = wp.length(from_apex - along * side)
    to_base = wp.length(wp.vec2(wp.max(rho - half[0], 0.0), p[2] + half[2]))
    nearest = wp.min(to_side, to_base)
    beyond_side = side[0] * from_apex[1] - side[1] * from_apex[0]
    if beyond_side < 0.0 and p[2] > -half[2]:
        return -nearest
    return nearest


@wp.func
@no_type_check
def ellipsoid_distance(p: wp.vec3, half: wp.vec3):
    """Return about the signed distance to an ellipsoid, after Quilez: exact on its surface."""
    scaled = wp.cw_div(p, half)
    reach = wp.length(scaled)
    return reach * (reach - 1.0) / wp.max(wp.length(wp.cw_div(scaled, half)), 1.0e-6)


@wp.func
@no_type_check
def signed_distance(kind: int, p: wp.vec3, half: wp.vec3):
    """Return the distance from a point to the surface in the solid's own frame, negative inside.

    A mesh is taken for the ellipsoid in its box, seen from the middle of the box.
    """
    if kind == BALL:
        return wp.length(p) - half[0]
    if kind == CUBE:
        return box_distance(wp.abs(p[0]) - half[0], wp.abs(p[1]) - half[1], wp.abs(p[2]) - half[2])
    if kind == CYLINDER:
        rho = wp.sqrt(p[0] * p[0] + p[1] * p[1])
        return box_distance(rho - half[0], wp.abs(p[2]) - half[2], -MISS)
    if kind == CONE:
        return cone_distance(p, half)
    if kind == CAPSULE:
        above = wp.max(wp.abs(p[2]) - wp.max(half[2] - half[0], 0.0), 0.0)
        return wp.length(wp.vec3(p[0], p[1], above)) - half[0]
    if kind == MESH:
        return ellipsoid_distance(p, half)
    return ring_distance(p, half)


@wp.func
@no_type_check
def surface_normal(kind: int, p: wp.vec3, half: wp.vec3):
    """Take the gradient of the signed distance at four corners of a tetrahedron, which bevels edges."""
    if kind == BALL:
        return wp.normalize(p)
    e = 0.03 * wp.min(half)
    a = wp.vec3(e, -e, -e)
    b = wp.vec3(-e, -e, e)
    c = wp.vec3(-e, e, -e)
    f = wp.vec3(e, e, e)
    gradient = (
        a * signed_distance(kind, p + a, half)
        + b * signed_distance(kind, p + b, half)
        + c * signed_distance(kind, p + c, half)
        + f * signed_distance(kind, p + f, half)
    )
    return wp.normalize(gradient)


@wp.func
@no_type_check
def entry(solid: Solid, origin: wp.vec3, direction: wp.vec3, limit: float):
    """Return the distance at which the ray enters the solid from outside, MISS if not before `limit`."""
    offset = origin - solid.position
    along = wp.dot(offset, direction)
    aside = offset - along * direction
    if (
        wp.dot(aside, aside) > solid.radius * solid.radius
        or along > solid.radius
        or -along - solid.radius > limit
    ):
        return MISS
    if solid.kind == MESH:
        d = solid.to_object * direction
        box = cube_span(solid.to_object * offset - solid.middle, d, solid.half)
        if box[0] > wp.min(box[1], limit) or box[1] < 0.0:
            return MISS
        return mesh_entry(solid.mesh, solid.to_object * offset, d, solid.size, limit)
    # Measured from the point of the ray nearest to the solid, or a thin solid far away drowns in rounding
    near_far = span(solid.kind, solid.to_object * aside, solid.to_object * direction, solid.half, along)
    distance = near_far[0] - along
    if near_far[0] > near_far[1] or distance < NEAR:
        return MISS
    return distance


@wp.func
@no_type_check
def first_hit(
    solids: wp.array2d(dtype=Solid), row: int, count: int, origin: wp.vec3, direction: wp.vec3, skip: int
):
    """Return the first of floor, solids and sky on a ray that has just left solid number `skip`."""
    hit = Hit()
    hit.index = SKY
    hit.distance = MISS
    if direction[2] < -1.0e-5 and origin[2] > 0.0:
        hit.index = FLOOR
        hit.distance = -origin[2] / direction[2]
    for i in range(count):
        if i != skip:
            t = entry(solids[row, i], origin, direction, hit.distance)
            if t < hit.distance:
                hit.index = i
                hit.distance = t
    return hit
