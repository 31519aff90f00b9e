"""Turn the animal models (binary glTF files) into the file that `unstatic.world.animals` reads.

    python scripts/bake_animals.py FOLDER               # the folder with alpaca.glb, bull.glb, ...

Written to src/unstatic/weights/animals/animals.safetensors, with tensors "SPECIES/NAME":

    vertices      int16 [v, 3]        at rest, in units of VERTEX_STEP; size 1, in the animal's own frame
    joints        uint8 [v, 4]        the joints that move a vertex
    weights       uint8 [v, 4]        how much each of them does; a row adds up to 255
    faces         uint16 [f, 3]       vertex numbers, counter-clockwise seen from outside
    materials     uint8 [f]           the place of a face's colour in `colours`
    colours       float32 [m, 3]      linear reflectances
    poses/MOTION  int16 [s, j, 3, 3]  for each step of the cycle, where every joint takes what is at rest: the
                                      x axis and the y axis, in units of AXIS_STEP, and the origin

The metadata hold "facts", as JSON: for each species what `unstatic.world.animals.Facts` lists. The same
models give the same bytes. Poses are sampled from the keyframes here; nothing is left to interpolate later.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from safetensors.numpy import save_file

from unstatic.world.animals import ANIMALS_FILE, AXIS_STEP, POSES_PER_CYCLE, VERTEX_STEP
from unstatic.world.spec import ANIMALS, TRAVELLING_MOTIONS

MODELS = {"shiba inu": "shibainu", "white horse": "horse_white"}
CLIPS = {
    "walk": ("Walk",),
    "gallop": ("Gallop",),
    "leap": ("Gallop_Jump",),
    "eat": ("Eating",),
    "stand": ("Idle",),
    "attack": ("Attack", "Attack_Headbutt"),
    "kick": ("Attack_Kick",),
}
# Some coats are darker than their names; in a picture of 64x64 pixels that is all that is seen of them
BRIGHTENED = {
    "alpaca": {"Main": 2.6, "Main_Light": 2.4},
    "bull": {"Main": 1.2},
    "cow": {"Main_Light": 1.6},
    "fox": {"Main": 1.15, "Main_Light": 2.0},
    "white horse": {"Main": 1.75, "Main_Light": 2.2, "Hair": 1.6},
    "husky": {"Material": 0.8, "Material.001": 2.1},
    "shiba inu": {"Main": 1.2, "Main_Light": 2.0},
    "wolf": {"Main_Light": 1.7},
}
# What is lower than this is on the ground, for a size of 1
GROUND = 0.02
# glTF has y up and the animal looking along z; here z is up and it looks along x
FROM_GLTF = np.eye(4)[[2, 0, 1, 3]]
COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}

Matrices = Float[np.ndarray, "*n 4 4"]


class Glb(NamedTuple):
    """A binary glTF 2.0 file: its JSON, and the bytes that the JSON's accessors point into."""

    head: dict[str, Any]
    binary: bytes


class Mesh(NamedTuple):
    """A skinned mesh at rest; `skin` holds joint numbers and their weights, `colours` one row a material."""

    vertices: Float[np.ndarray, "v 3"]
    joints: Int[np.ndarray, "v 4"]
    weights: Float[np.ndarray, "v 4"]
    faces: Int[np.ndarray, "f 3"]
    materials: Int[np.ndarray, "f"]
    colours: Float[np.ndarray, "m 3"]


def main() -> None:
    """Bake every species, and print what was measured of each."""
    parser = argparse.ArgumentParser(description="Bake the animals of the world.")
    parser.add_argument("models", type=Path, help="folder of .glb files")
    parser.add_argument("-o", "--output", type=Path, default=ANIMALS_FILE, help="file to write")
    options = parser.parse_args()
    tensors: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for species in ANIMALS:
        glb = read_glb(options.models / f"{MODELS.get(species, species)}.glb")
        arrays, measured = bake(species, glb)
        tensors |= {f"{species}/{name}": array for name, array in arrays.items()}
        facts[species] = measured
        print(species, json.dumps(measured))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.output, {"facts": json.dumps(facts)})


# ----------------------------------------------------------------------------------------------- reading glTF


def read_glb(path: Path) -> Glb:
    """Read a file of two chunks, JSON and binary (glTF 2.0 specification, section 4.4)."""
    data = path.read_bytes()
    assert data[:4] == b"glTF"
    end = 20 + int.from_bytes(data[12:16], "little")
    return Glb(json.loads(data[20:end]), data[end + 8 :])


def accessor(glb: Glb, number: int) -> Shaped[np.ndarray, "n d"]:
    """Return a typed table out of the binary chunk; the models pack theirs without gaps."""
    each = glb.head["accessors"][number]
    view = glb.head["bufferViews"][each["bufferView"]]
    assert "byteStride" not in view
    width = WIDTHS[each["type"]]
    begin = view.get("byteOffset", 0) + each.get("byteOffset", 0)
    kind = COMPONENTS[each["componentType"]]
    return np.frombuffer(glb.binary, kind, each["count"] * width, begin).reshape(each["count"], width)


def read_mesh(glb: Glb, brightened: dict[str, float]) -> Mesh:
    """Join all parts, and weld the vertices that flat shading had split; `brightened` names materials."""
    parts = [part for mesh in glb.head["meshes"] for part in mesh["primitives"]]
    corners, faces, materials, first = [], [], [], 0
    for part in parts:
        own = [accessor(glb, part["attributes"][name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")]
        corners.append(np.concatenate(own, axis=1))
        triangles = accessor(glb, part["indices"]).reshape(-1, 3).astype(int)
        faces.append(triangles + first)
        materials.append(np.full(len(triangles), part["material"]))
        first += len(own[0])
    rows = np.concatenate(corners)
    # The corners of a face lie apart, or it is none
    _, kept, welded = np.unique(rows[:, :3].round(5), axis=0, return_index=True, return_inverse=True)
    triangles = welded.reshape(-1)[np.concatenate(faces)]
    whole = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
    looks = [
        np.array(each["pbrMetallicRoughness"]["baseColorFactor"][:3]) * brightened.get(each["name"], 1.0)
        for each in glb.head["materials"]
    ]
    return Mesh(
        vertices=rows[kept, :3].astype(float),
        joints=rows[kept, 3:7].astype(int),
        weights=rows[kept, 7:].astype(float),
        faces=triangles[whole],
        materials=np.concatenate(materials)[whole],
        colours=np.minimum(looks, 0.9),
    )


def sampled(glb: Glb, sampler: dict[str, Any], times: Float[np.ndarray, "s"]) -> Float[np.ndarray, "s d"]:
    """Interpolate keyframes; quaternions along the shorter way, which short steps make as good as slerp."""
    keys, values = accessor(glb, sampler["input"])[:, 0], accessor(glb, sampler["output"]).astype(float)
    after = np.clip(np.searchsorted(keys, times, side="right"), 1, len(keys) - 1)
    share = np.clip((times - keys[after - 1]) / (keys[after] - keys[after - 1]), 0.0, 1.0)[:, None]
    a, b = values[after - 1], values[after]
    if sampler.get("interpolation") == "STEP":
        return a
    if values.shape[1] == 4:
        b = np.where((a * b).sum(1, keepdims=True) < 0, -b, b)
    return a + share * (b - a)


def local_matrices(parts: dict[str, Any], count: int) -> Matrices:
    """Compose translation, rotation (x, y, z, w) and scale, one matrix for each of `count` moments."""
    x, y, z, w = np.broadcast_to(unit(np.array(parts.get("rotation", (0, 0, 0, 1)))), (count, 4)).T
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[:, :3, :3] = turn * np.broadcast_to(parts.get("scale", (1, 1, 1)), (count, 3))[:, None]
    matrices[:, :3, 3] = parts.get("translation", (0, 0, 0))
    return matrices


def unit(rows: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """Bring rows to length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def joint_matrices(glb: Glb, clip: dict[str, Any], times: Float[np.ndarray, "s"]) -> Matrices:
    """Return where each joint takes a vertex at rest, [s, j, 4, 4] (glTF 2.0 specification, 3.7.3)."""
    nodes = glb.head["nodes"]
    moved = [dict(each) for each in nodes]
    for channel in clip["channels"]:
        target, sampler = channel["target"], clip["samplers"][channel["sampler"]]
        moved[target["node"]][target["path"]] = sampled(glb, sampler, times)

    # From the roots down to the leaves
    everywhere: dict[int, Matrices] = {}
    waiting = [(root, np.eye(4)) for root in glb.head["scenes"][0]["nodes"]]
    while waiting:
        number, above = waiting.pop()
        everywhere[number] = above @ local_matrices(moved[number], len(times))
        waiting += [(child, everywhere[number]) for child in nodes[number].get("children", ())]

    skin = glb.head["skins"][0]
    inverse = accessor(glb, skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    return np.stack([everywhere[joint] for joint in skin["joints"]], axis=1) @ inverse


# ----------------------------------------------------------------------------------------------------- baking


def bake(species: str, glb: Glb) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors of a species and the fields of its `Facts`."""
    mesh = read_mesh(glb, BRIGHTENED.get(species, {}))
    clips = {each["name"]: each for each in glb.head["animations"]}
    known = {motion: clips[name] for motion, names in CLIPS.items() for name in names if name in clips}
    cycles = {motion: length_s(glb, clip) for motion, clip in known.items()}
    cyclic = {
        motion: closed(joint_matrices(glb, clip, np.linspace(0, cycles[motion], POSES_PER_CYCLE[motion] + 1)))
        for motion, clip in known.items()
    }

    # To size 1, the animal's own frame, and the middle of the standing animal
    standing = posed(mesh, FROM_GLTF @ cyclic["stand"][0])
    scale = 2.0 / np.ptp(standing[:, 2])
    own = np.diag([scale, scale, scale, 1.0]) @ FROM_GLTF
    own[:3, 3] = -scale * 0.5 * (standing.min(axis=0) + standing.max(axis=0)) * (1, 0, 1)
    at_rest = own @ np.diag([*np.full(3, rest_scale(cyclic["stand"][0])), 1.0])
    cyclic = {motion: own @ each @ np.linalg.inv(at_rest) for motion, each in cyclic.items()}
    mesh = mesh._replace(vertices=mesh.vertices @ at_rest[:3, :3].T + at_rest[:3, 3])

    paths = {motion: np.stack([posed(mesh, each) for each in cyclic[motion]]) for motion in cyclic}
    facts = {
        "extents": np.abs(paths["stand"][0]).max(axis=0).round(4).tolist(),
        "radius": round(
            max(float(np.linalg.norm(path, axis=-1).max()) for path in paths.values()) + 0.002, 4
        ),
        "cycles_s": {motion: round(seconds, 4) for motion, seconds in cycles.items()},
        "strides": {motion: round(stride(paths[motion], cycles[motion]), 4) for motion in TRAVELLING_MOTIONS},
    }
    return packed(mesh, cyclic), facts


def length_s(glb: Glb, clip: dict[str, Any]) -> float:
    """Return the time of the last keyframe."""
    return max(float(accessor(glb, each["input"])[-1, 0]) for each in clip["samplers"])


def closed(matrices: Matrices) -> Matrices:
    """Drop the last of the sampled poses and take away, bit by bit, what it differs in from the first.

    Then the cycle has no seam, and a motion that leads away comes back: it treads on the spot.
    """
    share = np.linspace(0.0, 1.0, len(matrices))[:, None, None, None]
    return (matrices - share * (matrices[-1] - matrices[0]))[:-1]


def rest_scale(matrices: Matrices) -> float:
    """Return the length that joints give to a unit of the mesh at rest."""
    return float(np.median(np.linalg.norm(matrices[:, :3, 0], axis=-1)))


def posed(mesh: Mesh, matrices: Matrices) -> Float[np.ndarray, "v 3"]:
    """Move every vertex by the weighted mean of its joints' matrices."""
    blended = (matrices[mesh.joints] * mesh.weights[:, :, None, None]).sum(axis=1)
    return (blended[:, :3, :3] * mesh.vertices[:, None]).sum(axis=-1) + blended[:, :3, 3]


def stride(path: Float[np.ndarray, "s v 3"], seconds: float) -> float:
    """Return how fast what is on the ground moves backwards, on average over all steps and feet.

    The models' feet do not push evenly, so even at this speed they slide a little, to and fro.
    """
    low = path[:, :, 2] < GROUND - 1.0
    moved = (path[:, :, 0] - np.roll(path[:, :, 0], -1, axis=0)) * len(path) / seconds
    treading = low & np.roll(low, -1, axis=0) & (moved > 0)
    return float(moved[treading].mean())


def packed(mesh: Mesh, cyclic: dict[str, Matrices]) -> dict[str, np.ndarray]:
    """Round everything to the integers of the file; joints that move nothing are left out."""
    used, joints = np.unique(np.where(mesh.weights > 0, mesh.joints, mesh.joints[:, :1]), return_inverse=True)
    weights = np.floor(mesh.weights * 255 + 0.5)
    weights[np.arange(len(weights)), weights.argmax(axis=1)] += 255 - weights.sum(axis=1)
    arrays = {
        "vertices": (mesh.vertices / VERTEX_STEP).round().astype(np.int16),
        "joints": joints.reshape(-1, 4).astype(np.uint8),
        "weights": weights.astype(np.uint8),
        "faces": mesh.faces.astype(np.uint16),
        "materials": mesh.materials.astype(np.uint8),
        "colours": mesh.colours.astype(np.float32),
    }
    for motion, each in cyclic.items():
        columns = each[:, used, :3][..., [0, 1, 3]].swapaxes(2, 3)
        steps = (columns / [[AXIS_STEP], [AXIS_STEP], [VERTEX_STEP]]).round()
        assert np.abs(steps).max() < 2**15
        arrays[f"poses/{motion}"] = steps.astype(np.int16)
    return {name: np.ascontiguousarray(each) for name, each in arrays.items()}


if __name__ == "__main__":
    main()
