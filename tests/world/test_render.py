import colorsys
import dataclasses
import sys

import numpy as np
import pytest
from jaxtyping import Bool, Float

from unstatic.core.errors import InputError
from unstatic.world.camera import project
from unstatic.world.geometry import rotation_matrices, surface_points
from unstatic.world.palette import SRGB, linear
from unstatic.world.render import Rendered, render, render_batch
from unstatic.world.spec import (
    COLOURS,
    FLOORS,
    MATERIALS,
    SHAPES,
    SKIES,
    CameraSpec,
    LightSpec,
    ObjectSpec,
    PropSpec,
    SceneSpec,
    Trajectory,
)

pytest.importorskip("warp")

ASPECTS = {"ball": 1.0, "cube": 0.8, "cylinder": 0.7, "cone": 0.9, "capsule": 0.5, "ring": 1.0}
EYE = (0.0, -4.0, 1.5)
TARGET = (0.0, 0.0, 0.4)
FIELD_OF_VIEW = 0.7
Scene = tuple[SceneSpec, Trajectory]


def make_object(
    shape: str = "ball", colour: str = "red", material: str = "matte", **changes: object
) -> ObjectSpec:
    """Return an object of size 0.4 that stands on the floor at the origin."""
    spec = ObjectSpec(
        shape=shape,
        colour=colour,
        material=material,
        size=0.4,
        aspect=ASPECTS[shape],
        position=(0.0, 0.0, 0.4),
    )
    return dataclasses.replace(spec, **changes)


def make_scene(*objects: ObjectSpec, num_frames: int = 1, **changes: object) -> Scene:
    """Return a scene in which nothing moves, seen from in front and above."""
    spec = SceneSpec(
        seed=0,
        frames=num_frames,
        fps=16,
        width=64,
        height=64,
        objects=objects,
        light=LightSpec(direction=(-0.6, 0.0, 0.8)),
        camera=CameraSpec(kind="still", eye=EYE, target=TARGET, field_of_view=FIELD_OF_VIEW),
        event="rest",
    )
    spec = dataclasses.replace(spec, **changes)
    positions = np.array([each.position for each in objects], np.float32).reshape(len(objects), 3)
    quaternions = np.array([each.quaternion for each in objects], np.float32).reshape(len(objects), 4)
    trajectory = Trajectory(
        positions=np.tile(positions, (num_frames, 1, 1)),
        quaternions=np.tile(quaternions, (num_frames, 1, 1)),
        eyes=np.tile(np.array(spec.camera.eye, np.float32), (num_frames, 1)),
        targets=np.tile(np.array(spec.camera.target, np.float32), (num_frames, 1)),
        fields_of_view=np.full(num_frames, spec.camera.field_of_view, np.float32),
    )
    return spec, trajectory


def pixels_of(points: Float[np.ndarray, "p 3"], scene: Scene) -> Float[np.ndarray, "p 2"]:
    """Return where points fall in the first frame: x to the right, y down, in pixels."""
    spec, trajectory = scene
    still = Trajectory(*(np.repeat(each[:1], len(points), axis=0) for each in trajectory[:-1]))
    seen = project(points, still, aspect=spec.width / spec.height)
    return np.stack([(1 + seen.x) * spec.width / 2, (1 - seen.y) * spec.height / 2], axis=-1)


def brightness(rendered: Rendered, where: Float[np.ndarray, "2"]) -> float:
    """Return the mean of the first frame's three channels at a pixel."""
    return float(rendered.frames[0, int(where[1]), int(where[0])].mean())


def lit_pixels(rendered: Rendered) -> tuple[Float[np.ndarray, "p 3"], Bool[np.ndarray, "h w"]]:
    mask = rendered.ids[0] == 1
    return rendered.frames[0][mask] / 255.0, mask


def test_ids_tell_objects_props_and_background_apart() -> None:
    wall = PropSpec(kind="wall", colour="grey", position=(0.0, 1.0, 0.5), half_extents=(1.0, 0.1, 0.5))
    ball, cube = make_object(), make_object("cube", position=(-0.9, 0.0, 0.4))
    scene = make_scene(ball, cube, props=(wall,))
    ids = render(*scene).ids[0]
    on_wall, on_ball, on_cube = pixels_of(
        np.array([(0.6, 0.9, 0.6), (0.0, -0.4, 0.4), (-0.9, -0.3, 0.4)]), scene
    ).astype(int)
    assert ids[on_ball[1], on_ball[0]] == 1
    assert ids[on_cube[1], on_cube[0]] == 2
    assert ids[on_wall[1], on_wall[0]] == 255
    assert ids[0].max() == 0
    assert ids[-1].max() == 0


def test_a_ball_covers_the_area_that_perspective_gives_it() -> None:
    camera = CameraSpec(kind="still", eye=(0.0, -3.0, 0.4), target=(0.0, 0.0, 0.4), field_of_view=0.6)
    scene = make_scene(make_object(), width=128, height=128, camera=camera)
    radius = 64 / np.tan(0.3) * 0.4 / np.sqrt(3.0**2 - 0.4**2)
    assert (render(*scene).ids == 1).sum() == pytest.approx(np.pi * radius**2, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("width", "height"), [(96, 56), (56, 96)])
def test_a_turned_shape_is_where_its_geometry_says(shape: str, width: int, height: int) -> None:
    quaternion = (0.8, 0.36, -0.36, 0.3175)
    each = make_object(shape, position=(0.2, 0.3, 0.8), quaternion=quaternion)
    scene = make_scene(each, width=width, height=height)
    mask = render(*scene).ids[0] == 1

    turned = surface_points(shape, each.size, each.aspect, 64) @ rotation_matrices(np.array(quaternion)).T
    corners = pixels_of(turned + each.position, scene)
    rows, columns = np.nonzero(mask)
    low = np.array([columns.min(), rows.min()])
    high = np.array([columns.max(), rows.max()]) + 1
    assert np.abs(low - corners.min(axis=0)).max() < 1.1
    assert np.abs(high - corners.max(axis=0)).max() < 1.1


def test_a_ring_has_a_hole_and_stands() -> None:
    scene = make_scene(make_object("ring"))
    ids = render(*scene).ids[0]
    hole, bottom = pixels_of(np.array([(0.0, 0.0, 0.4), (0.0, 0.0, 0.1)]), scene).astype(int)
    assert ids[hole[1], hole[0]] == 0
    assert ids[bottom[1], bottom[0]] == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shadow_falls_on_the_side_away_from_the_light(shape: str) -> None:
    scene = make_scene(make_object(shape), light=LightSpec(direction=(-0.8, 0.0, 0.6)))
    rendered = render(*scene)
    shaded, lit = pixels_of(np.array([(0.52, 0.0, 0.0), (-0.52, 0.0, 0.0)]), scene)
    assert brightness(rendered, shaded) < 0.75 * brightness(rendered, lit)


def test_softer_light_has_softer_shadows() -> None:
    edges = []
    for softness in (0.0, 0.2):
        light = LightSpec(direction=(-0.6, 0.0, 0.8), softness=softness)
        row = pixels_of(
            np.array([(0.0, -0.3, 0.0)]),
            scene := make_scene(make_object(position=(0.0, -0.3, 1.2)), light=light),
        )
        frame = render(*scene).frames[0, int(row[0, 1])].mean(axis=-1)
        edges.append(np.abs(np.diff(frame)).max())
    assert edges[1] < 0.5 * edges[0]


def test_glass_casts_a_lighter_shadow() -> None:
    where = np.array([(0.6, 0.0, 0.0)])
    solid, glass = (make_scene(make_object(material=material)) for material in ("matte", "glass"))
    shadows = [brightness(render(*scene), pixels_of(where, scene)[0]) for scene in (solid, glass)]
    assert shadows[1] > 1.1 * shadows[0]


def test_a_mirror_floor_shows_the_object_upside_down() -> None:
    position = (0.0, 0.0, 0.7)
    plain, mirror = (make_scene(make_object(position=position), floor=floor) for floor in ("plain", "mirror"))
    # The reflected ball stands as deep below the floor as the ball stands above it
    x, y = pixels_of(np.array([(0.0, 0.0, -0.7)]), mirror)[0].astype(int)
    without, within = (render(*scene).frames[0, y, x].astype(int) for scene in (plain, mirror))
    assert within[0] > 1.5 * within[1]
    assert without[0] < 1.2 * without[1]


def test_a_mirror_object_reflects_its_neighbour() -> None:
    neighbour = make_object("cube", "green", position=(0.0, -1.2, 0.4))
    camera = CameraSpec(kind="still", eye=(2.5, -3.0, 1.2), target=(0.0, 0.0, 0.4), field_of_view=0.7)
    ball = make_object(colour="white", material="mirror")
    alone, beside = (render(*make_scene(*objects, camera=camera)) for objects in ((ball,), (ball, neighbour)))
    both = (alone.ids[0] == 1) & (beside.ids[0] == 1)
    change = beside.frames[0][both].astype(int) - alone.frames[0][both]
    assert (change[:, 0] < -40).sum() > 5


def test_the_same_scene_renders_the_same_bytes() -> None:
    scene = make_scene(make_object(material="glass"), floor="water", num_frames=3)
    first, second = render(*scene), render(*scene)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.ids, second.ids)


def test_a_batch_equals_its_scenes_rendered_alone() -> None:
    string = PropSpec(
        kind="string",
        colour="black",
        position=(0.0, 0.0, 2.0),
        half_extents=(0.01, 0.01, 0.01),
        attached_to=0,
    )
    scenes = [
        make_scene(make_object("cone", "blue", "mirror"), floor="wood", num_frames=2),
        make_scene(
            make_object(),
            make_object("ring", position=(0.8, 0.0, 0.4)),
            props=(string,),
            num_frames=2,
            sky="night",
        ),
        make_scene(num_frames=2, floor="checker"),
    ]
    for together, scene in zip(render_batch(scenes), scenes, strict=True):
        alone = render(*scene)
        assert np.array_equal(together.frames, alone.frames)
        assert np.array_equal(together.ids, alone.ids)


def test_more_samples_come_closer_to_the_truth() -> None:
    scene = make_scene(make_object(material="checkered"), make_object("cone", position=(0.9, 0.2, 0.4)))
    truth = render(*scene, samples=100).frames.astype(float)
    errors = [np.abs(render(*scene, samples=samples).frames - truth).mean() for samples in (1, 4, 16)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.6 * errors[1]


@pytest.mark.parametrize("material", MATERIALS)
def test_every_shape_is_lit_and_whole_in_every_material(material: str) -> None:
    scenes = [
        make_scene(make_object(shape, "yellow", material), sky=sky) for shape in SHAPES for sky in SKIES
    ]
    for rendered in render_batch(scenes):
        pixels, mask = lit_pixels(rendered)
        assert mask.sum() > 60
        # A NaN becomes a black byte
        assert pixels.max(axis=-1).min() > 0.01
        assert pixels.mean() > 0.15


@pytest.mark.parametrize("floor_colour", ["grey", "yellow", "blue"])
@pytest.mark.parametrize("sky", SKIES)
def test_matte_colours_stay_what_they_are(sky: str, floor_colour: str) -> None:
    scenes = [make_scene(make_object(colour=name), sky=sky, floor_colour=floor_colour) for name in COLOURS]
    means = {
        name: lit_pixels(rendered)[0].mean(axis=0)
        for name, rendered in zip(COLOURS, render_batch(scenes), strict=True)
    }

    # As it is: hue and saturation of the mean pixel
    for name, mean in means.items():
        hue, saturation, _ = colorsys.rgb_to_hsv(*mean)
        own_hue, own_saturation, _ = colorsys.rgb_to_hsv(*SRGB[name])
        if own_saturation < 0.2:
            assert saturation < 0.3
        else:
            assert abs((hue - own_hue + 0.5) % 1.0 - 0.5) < 0.05
            assert saturation > 0.4

    # Beside a white ball in the same light: the nearest of all colours
    palette = np.array([linear(np.array(SRGB[name])) for name in COLOURS])
    for name, mean in means.items():
        reflectance = linear(mean) / linear(means["white"]) * linear(np.array(SRGB["white"]))
        nearest = np.linalg.norm(np.sqrt(palette) - np.sqrt(reflectance), axis=1).argmin()
        assert COLOURS[nearest] == name


def test_turning_shows_on_every_round_shape() -> None:
    for shape in ("ball", "cylinder", "cone", "capsule", "ring"):
        for material in ("matte", "checkered"):
            turned = (
                (np.cos(0.4), 0.0, 0.0, np.sin(0.4))
                if shape != "ring"
                else (np.cos(0.2), 0.0, np.sin(0.2), 0.0)
            )
            scenes = [
                make_scene(make_object(shape, material=material, quaternion=q))
                for q in ((1.0, 0.0, 0.0, 0.0), turned)
            ]
            before, after = render_batch(scenes)
            mask = before.ids[0] == 1
            assert np.abs(before.frames[0][mask].astype(int) - after.frames[0][mask]).mean() > 4


@pytest.mark.parametrize("shape", SHAPES)
def test_wood_has_grain_and_keeps_its_colour(shape: str) -> None:
    scenes = [make_scene(make_object(shape, "red", material)) for material in ("matte", "wood")]
    (matte, _), (wood, _) = (lit_pixels(each) for each in render_batch(scenes))
    assert np.abs(matte - wood)[:, 0].mean() > 0.04
    red, green, blue = wood.mean(axis=0)
    assert red > 3 * max(green, blue)


def test_a_string_is_drawn_without_gaps() -> None:
    string = PropSpec(
        kind="string",
        colour="black",
        position=(0.3, 0.0, 1.9),
        half_extents=(0.004, 0.004, 0.004),
        attached_to=0,
    )
    scene = make_scene(make_object(position=(-0.4, 0.0, 0.5)), props=(string,))
    ids = render(*scene).ids[0]
    pivot = pixels_of(np.array([(0.3, 0.0, 1.9)]), scene)[0]
    ball_top = np.nonzero((ids == 1).any(axis=1))[0].min()
    rows = np.arange(max(int(pivot[1]), 0) + 1, ball_top)
    assert len(rows) > 10
    assert ((ids[rows] == 255).sum(axis=1) > 0).all()


@pytest.mark.parametrize("floor", FLOORS)
def test_floors_are_calm_at_the_horizon(floor: str) -> None:
    spec, trajectory = make_scene(floor=floor, floor_colour="black", floor_colour2="white")
    frame = render(spec, trajectory).frames[0].astype(float)
    # Three rows below the horizon, which lies on the row that the level line of sight crosses
    level = pixels_of(np.array([(0.0, 1000.0, 1.5)]), (spec, trajectory))[0, 1]
    far, near = (frame[int(level) + rows].std(axis=0).max() for rows in (3, 40))
    assert far < 12
    if floor == "checker":
        assert near > 50


def test_a_window_shows_what_the_whole_shows_there() -> None:
    """Waves go by the time of the scene, not of the window."""
    spec, trajectory = make_scene(floor="water", num_frames=8)
    whole = render(spec, trajectory)
    window = trajectory.window(1, 6).window(2, 3)
    part = render(spec, window)
    assert window.start == 3
    np.testing.assert_array_equal(part.frames, whole.frames[3:6])
    np.testing.assert_array_equal(part.ids, whole.ids[3:6])


def test_water_moves() -> None:
    frames = render(*make_scene(floor="water", num_frames=8)).frames.astype(int)
    assert np.abs(frames[7] - frames[0]).max() > 5


def test_scenes_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="share frames and size"):
        render_batch([make_scene(), make_scene(width=32)])
    assert render_batch([]) == []


def test_a_missing_warp_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == "warp"]:
        monkeypatch.delitem(sys.modules, name)
    for room in ("kernels", "shade", "textures", "intersect", "meshes"):
        monkeypatch.delitem(sys.modules, f"unstatic.world.{room}", raising=False)
        monkeypatch.delattr(f"unstatic.world.{room}", raising=False)
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(InputError, match=r"unstatic\[world\]"):
        render(*make_scene())
