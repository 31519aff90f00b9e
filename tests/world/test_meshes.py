import numpy as np
import pytest

from unstatic.world import animals
from unstatic.world.render import render, render_batch
from unstatic.world.spec import CameraSpec, LightSpec, ObjectSpec, SceneSpec, Trajectory

pytest.importorskip("warp")

SIZE = 0.5
Scene = tuple[SceneSpec, Trajectory]


def make_animal(species: str = "horse", motion: str = "stand", **changes: object) -> ObjectSpec:
    fields = {"colour": "", "material": "", "size": SIZE, "position": (0.0, 0.0, SIZE), "phase": 0.3}
    return ObjectSpec(**{"shape": species, "motion": motion} | fields | changes)


def make_ball(material: str = "matte", x: float = 0.0, y: float = 0.0) -> ObjectSpec:
    return ObjectSpec(shape="ball", colour="red", material=material, size=0.4, position=(x, y, 0.4))


def make_scene(
    *objects: ObjectSpec,
    num_frames: int = 1,
    floor: str = "plain",
    eye: tuple[float, float, float] = (0.0, -4.0, 0.5),
    light: LightSpec = LightSpec(direction=(0.0, -0.6, 0.8)),  # noqa: B008  (frozen)
) -> Scene:
    """Return a scene in which nothing travels, seen along y: a metre is 25 pixels at the origin."""
    view = 2 * float(np.arctan(0.5 * 64 / 25 / 4.0))
    spec = SceneSpec(
        seed=0,
        frames=num_frames,
        fps=16,
        width=64,
        height=64,
        objects=objects,
        floor=floor,
        light=light,
        camera=CameraSpec(kind="still", eye=eye, target=(0.0, 0.0, 0.5), field_of_view=view),
        event="rest",
    )
    return spec, Trajectory(
        positions=np.tile(np.array([each.position for each in objects], np.float32), (num_frames, 1, 1)),
        quaternions=np.tile(np.array([each.quaternion for each in objects], np.float32), (num_frames, 1, 1)),
        eyes=np.tile(np.array(eye, np.float32), (num_frames, 1)),
        targets=np.tile(np.array([0.0, 0.0, 0.5], np.float32), (num_frames, 1)),
        fields_of_view=np.full(num_frames, view, np.float32),
    )


@pytest.mark.parametrize("species", ["horse", "fox", "stag"])
def test_an_animal_is_where_its_vertices_are(species: str) -> None:
    each = make_animal(species, "walk")
    ids = render(*make_scene(each)).ids[0]
    # Up to the tips of ears and antlers, which are thinner than a pixel
    vertices = SIZE * animals.pose(species, "walk", animals.pose_step(each, 0.0))
    depth = 4.0 + vertices[:, 1]
    columns = 32 + 100 * vertices[:, 0] / depth
    rows = 32 - 100 * vertices[:, 2] / depth
    seen = np.nonzero(ids == 1)
    for pixels, expected in zip(seen, (rows, columns), strict=True):
        assert pixels.min() == pytest.approx(expected.min(), abs=2.1)
        assert pixels.max() + 1 == pytest.approx(expected.max(), abs=2.1)


def test_an_animal_hides_and_is_hidden() -> None:
    x, y = 32, 32
    behind, before = make_ball(y=0.8), make_ball(y=-0.8)
    assert render(*make_scene(make_animal(), behind)).ids[0, y, x] == 1
    assert render(*make_scene(make_animal(), before)).ids[0, y, x] == 2


def test_it_turns_with_its_quaternion() -> None:
    quarter = float(np.sqrt(0.5))
    along, away = (
        (render(*make_scene(make_animal(quaternion=turn))).ids[0] == 1).any(axis=0).sum()
        for turn in ((1.0, 0.0, 0.0, 0.0), (quarter, 0.0, 0.0, quarter))
    )
    assert along > 2 * away


@pytest.mark.parametrize("softness", [0.0, 0.1])
def test_its_shadow_falls_away_from_the_light(softness: float) -> None:
    light = LightSpec(direction=(-0.8, 0.0, 0.6), softness=softness)
    each = make_animal(quaternion=(float(np.sqrt(0.5)), 0.0, 0.0, float(np.sqrt(0.5))))
    frame = render(*make_scene(each, eye=(0.0, -0.5, 4.0), light=light)).frames[0].mean(axis=-1)
    lit, shaded = frame[32, 12], frame[25:40, 44:52].min()
    assert shaded < 0.75 * lit
    assert frame[25:40, 8:16].min() > 0.9 * lit


def test_softer_light_has_softer_shadows() -> None:
    eye, penumbrae = (0.0, -4.0, 2.5), []
    bare = render(*make_scene(make_animal(position=(0.0, 0.0, 99.0)), eye=eye)).frames[0].mean(axis=-1)
    for softness in (0.0, 0.2):
        light = LightSpec(direction=(0.0, -0.6, 0.8), softness=softness)
        rendered = render(*make_scene(make_animal(position=(0.0, 0.0, 1.2)), eye=eye, light=light))
        shade = (bare - rendered.frames[0].mean(axis=-1))[rendered.ids[0] == 0]
        penumbrae.append(((shade > 0.25 * shade.max()) & (shade < 0.75 * shade.max())).sum())
    assert penumbrae[1] > 1.5 * penumbrae[0]


def test_a_mirror_floor_shows_it_upside_down() -> None:
    eye = (0.0, -4.0, 1.2)
    floors = [
        render(*make_scene(make_animal("fox"), floor=floor, eye=eye)).frames[0].astype(int)
        for floor in ("plain", "mirror")
    ]
    orange = [(frame[46:, :, 0] > 1.6 * frame[46:, :, 2]).sum() for frame in floors]
    assert orange[1] > orange[0] + 20


def test_a_mirror_ball_shows_it() -> None:
    ball, bull = make_ball("mirror", x=-0.4), make_animal("bull", position=(1.2, -0.3, SIZE))
    alone, beside = (render(*make_scene(*objects)) for objects in ((ball,), (ball, bull)))
    both = (alone.ids[0] == 1) & (beside.ids[0] == 1)
    assert (np.abs(beside.frames[0].astype(int) - alone.frames[0])[both].max(axis=-1) > 30).sum() > 5


def test_it_moves_in_the_rhythm_of_its_motion() -> None:
    scene = make_scene(make_animal(motion="gallop"), num_frames=17)
    ids = render(*scene).ids
    assert (ids[0] != ids[4]).sum() > 20


def test_a_batch_equals_its_scenes_rendered_alone() -> None:
    scenes = [
        make_scene(make_animal("fox", "walk"), make_ball("glass", y=-0.9), num_frames=3, floor="water"),
        make_scene(make_ball(), num_frames=3),
        make_scene(make_animal("cow", "leap"), make_animal("wolf", "attack", size=0.3), num_frames=3),
    ]
    for together, scene in zip(render_batch(scenes), scenes, strict=True):
        alone = render(*scene)
        assert np.array_equal(together.frames, alone.frames)
        assert np.array_equal(together.ids, alone.ids)


def test_normals_point_outwards_and_have_length_one() -> None:
    from unstatic.world.meshes import vertex_normals

    corners = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], np.float32)
    faces = np.array([(0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2)])
    assert vertex_normals(corners, faces) == pytest.approx(corners / np.sqrt(3), abs=1e-6)
