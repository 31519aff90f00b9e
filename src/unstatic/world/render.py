"""Draw clips of the world: specs and trajectories in, frames and object masks out.

The host side: everything a kernel needs is packed into two flat tables, one row per frame of every scene
(`shade.View`) and one cell per solid in that row (`intersect.Solid`): a batch of scenes is one launch.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float, Shaped, UInt8

from unstatic.core.errors import InputError
from unstatic.world.animals import pose_step
from unstatic.world.camera import axes
from unstatic.world.geometry import bounding_radius, half_extents, length, rotation_matrices
from unstatic.world.palette import SKY_LOOKS, accent, colour, floor_tones
from unstatic.world.spec import FLOORS, MATERIALS, SHAPES, PropSpec, SceneSpec, Trajectory

PROP_ID = 255
MIN_SOFTNESS = 0.01
# What an animal is to the kernels: the kind after the last of SHAPES
MESH_KIND = len(SHAPES)
# A string is drawn at least this many pixels wide, or it would break into dots.
STRING_PIXELS = 2.0

Rows = Shaped[np.ndarray, "t"]
Table = Shaped[np.ndarray, "t n"]


class Rendered(NamedTuple):
    """`frames` are sRGB; `ids` say what pixel centres show: 0 floor or sky, i + 1 object i, 255 a prop."""

    frames: UInt8[np.ndarray, "t h w 3"]
    ids: UInt8[np.ndarray, "t h w"]


def render(spec: SceneSpec, trajectory: Trajectory, *, samples: int = 4, device: str = "cpu") -> Rendered:
    """Render one clip on a Warp device ("cpu", "cuda:0").

    Pixels at outlines and other details get `samples` rays, flat ones a single ray; 1 turns this off.
    Raises InputError if Warp is not installed.
    """
    return render_batch([(spec, trajectory)], samples=samples, device=device)[0]


def render_batch(
    scenes: Sequence[tuple[SceneSpec, Trajectory]], *, samples: int = 4, device: str = "cpu"
) -> list[Rendered]:
    """Render many clips in one launch; each comes out bit for bit as `render` alone would give it.

    Raises InputError if the scenes do not share frame count, width and height, or if Warp is not installed.
    """
    if not scenes:
        return []
    width, height = scenes[0][0].width, scenes[0][0].height
    frames = len(scenes[0][1].positions)
    for spec, trajectory in scenes:
        size = (len(trajectory.positions), spec.width, spec.height)
        if size != (frames, width, height):
            raise InputError(
                f"scenes of a batch share frames and size, got {size} beside {(frames, width, height)}"
            )
    kernels = _kernels()
    views = np.concatenate([_views(*scene, kernels.VIEW_RECORD) for scene in scenes])
    most = max(1, max(len(spec.objects) + len(spec.props) for spec, _ in scenes))
    solids = np.zeros((len(views), most), kernels.SOLID_RECORD)
    for table, (spec, trajectory) in zip(np.split(solids, len(scenes)), scenes, strict=True):
        _place(table, spec, trajectory)
        _pose(table, spec, trajectory.start, kernels, device)
    pixels, ids = kernels.launch(views, solids, width=width, height=height, samples=samples, device=device)
    pixels = rearrange(pixels, "(b t) h w c -> b t h w c", b=len(scenes))
    ids = rearrange(ids, "(b t) h w -> b t h w", b=len(scenes))
    return [Rendered(frames=clip, ids=mask) for clip, mask in zip(pixels, ids, strict=True)]


def _kernels() -> ModuleType:
    """Import the kernels, and with them Warp, when the first clip is rendered."""
    try:
        from unstatic.world import kernels
    except ModuleNotFoundError as error:
        if error.name != "warp":
            raise
        raise InputError('rendering the world needs Warp: pip install "unstatic[world]"') from error
    return kernels


def _views(spec: SceneSpec, trajectory: Trajectory, dtype: np.dtype) -> Rows:
    """Pack camera, light, sky and floor, one row per frame."""
    rows = np.zeros(len(trajectory.positions), dtype)
    look = SKY_LOOKS[spec.sky]

    # Camera
    own = axes(trajectory.eyes.astype(np.float64), trajectory.targets.astype(np.float64))
    pixel = _pixel_sizes(spec, trajectory)
    rows["eye"] = trajectory.eyes
    rows["forward"] = own.forward
    rows["right"] = own.right * pixel[:, None]
    rows["up"] = own.up * pixel[:, None]
    rows["pixel"] = pixel
    rows["time_s"] = (trajectory.start + np.arange(len(rows))) / spec.fps

    # Light and sky
    sunlight = np.array(look.sun) * spec.light.strength
    sun = np.array(spec.light.direction)
    rows["sun"] = sun / length(sun)
    rows["sunlight"] = sunlight
    rows["softness"] = max(spec.light.softness, MIN_SOFTNESS)
    for name in ("ambient", "zenith", "horizon", "glow"):
        rows[name] = getattr(look, name)

    # Floor
    tones = floor_tones(spec.floor, spec.floor_colour, spec.floor_colour2)
    rows["floor"] = FLOORS.index(spec.floor)
    rows["tone"], rows["tone2"] = tones
    rows["ground"] = tones.mean(axis=0) * (sunlight * max(rows["sun"][0, 2], 0.0) + look.ambient)
    rows["count"] = len(spec.objects) + len(spec.props)
    return rows


def _place(table: Table, spec: SceneSpec, trajectory: Trajectory) -> None:
    """Pack objects, then props, one column each; what columns are left stay empty."""
    to_world = rotation_matrices(trajectory.quaternions)
    for i, each in enumerate(spec.objects):
        cells = table[:, i]
        cells["label"] = i + 1
        cells["radius"] = bounding_radius(each.shape, each.size, each.aspect)
        cells["position"] = trajectory.positions[:, i]
        cells["half"] = half_extents(each.shape, each.size, each.aspect)
        cells["to_object"] = to_world[:, i].swapaxes(1, 2)
        if not each.is_animal:
            cells["kind"] = SHAPES.index(each.shape)
            cells["material"] = MATERIALS.index(each.material)
            cells["colour"] = colour(each.colour)
            cells["accent"] = accent(each.colour, each.material)
    for i, prop in enumerate(spec.props, start=len(spec.objects)):
        cells = table[:, i]
        cells["material"] = MATERIALS.index("matte")
        cells["label"] = PROP_ID
        cells["colour"] = cells["accent"] = colour(prop.colour)
        if prop.kind == "string":
            _place_string(cells, prop, spec, trajectory)
        else:
            _place_box(cells, prop)


def _pose(table: Table, spec: SceneSpec, start: int, kernels: ModuleType, device: str) -> None:
    """Give each animal the mesh of its pose in each frame; its triangles bring their colours with them."""
    for i, each in enumerate(spec.objects):
        if each.is_animal:
            herd = kernels.herd(device)
            steps = [pose_step(each, (start + frame) / spec.fps) for frame in range(len(table))]
            poses = [herd.pose(each.shape, each.motion, step) for step in steps]
            cells = table[:, i]
            cells["kind"] = MESH_KIND
            cells["mesh"] = [pose.mesh.id for pose in poses]
            cells["middle"] = each.size * np.array([pose.middle for pose in poses])
            cells["half"] = each.size * np.array([pose.half for pose in poses])
            cells["size"] = each.size
            cells["coat"] = herd.first_face(each.shape)


def _place_box(cells: Rows, prop: PropSpec) -> None:
    cells["kind"] = SHAPES.index("cube")
    cells["position"] = prop.position
    cells["half"] = prop.half_extents
    cells["radius"] = length(np.array(prop.half_extents))
    cells["to_object"] = rotation_matrices(np.array(prop.quaternion)).T


def _place_string(cells: Rows, prop: PropSpec, spec: SceneSpec, trajectory: Trajectory) -> None:
    """Span a thin capsule from the pivot to the centre of the object it holds."""
    pivot = np.array(prop.position)
    held = trajectory.positions[:, prop.attached_to].astype(np.float64)
    length = np.linalg.norm(held - pivot, axis=1)
    distance = np.linalg.norm(trajectory.eyes - pivot, axis=1)
    radius = np.maximum(prop.half_extents[0], 0.5 * STRING_PIXELS * distance * _pixel_sizes(spec, trajectory))
    cells["kind"] = SHAPES.index("capsule")
    cells["position"] = 0.5 * (held + pivot)
    cells["half"] = np.stack([radius, radius, 0.5 * length + radius], axis=-1)
    cells["radius"] = 0.5 * length + radius

    # Any frame whose z axis runs along the string
    along = (pivot - held) / length[:, None]
    helper = np.where(np.abs(along[:, :1]) < 0.8, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(helper, along)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    cells["to_object"] = np.stack([first, np.cross(along, first), along], axis=1)


def _pixel_sizes(spec: SceneSpec, trajectory: Trajectory) -> Float[np.ndarray, "t"]:
    """Return the side of a pixel at distance 1 in front of the camera; the field of view spans the height."""
    return 2.0 * np.tan(0.5 * trajectory.fields_of_view.astype(np.float64)) / spec.height
