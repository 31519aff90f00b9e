import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression
from unstatic.data.encode import SCENERY, encode_clips, object_cells
from unstatic.data.shards import open_shards, write_shard
from unstatic.world.render import PROP_ID

COMPRESSION = Compression(time=4, space=8)


def encode(video):
    """Average blocks of 8 x 8 pixels of every fourth frame."""
    return torch.nn.functional.avg_pool3d(video[:, :, ::4], (1, 8, 8))


@pytest.fixture
def clips(tmp_path):
    for number in (0, 3):
        frames = np.random.default_rng(number).integers(0, 256, (3, 11, 16, 8, 3), dtype=np.uint8)
        lines = [f'{{"seed": {number}{entry}}}' for entry in range(3)]
        write_shard(tmp_path / "clips", "clips", number, {"frames": frames, "ids": frames[..., 0]}, lines)
    return tmp_path / "clips"


def test_encodes_every_clip_beside_its_line(clips, tmp_path):
    done = []
    target = tmp_path / "latents"
    encode_clips(clips, target, encode, COMPRESSION, name="mean", batch_size=2, progress=done.append)

    raw, latents = open_shards(clips, "clips"), open_shards(target, "latents")
    assert done == [2, 1, 2, 1]
    assert [shard.path.name for shard in latents] == [
        "latents-00000.safetensors",
        "latents-00003.safetensors",
    ]
    # 11 frames hold 3 latent frames, 2 frames are left out
    assert latents[0].shapes == {"latents": (3, 3, 3, 2, 1), "objects": (3, 3, 2, 1)}
    assert [shard.lines for shard in latents] == [shard.lines for shard in raw]

    frame = raw[1].read("frames", 2)[8, 8:].astype(np.float64).mean((0, 1)) / 127.5 - 1
    np.testing.assert_allclose(latents[1].read("latents", 2)[2, :, 1, 0], frame, atol=1e-3)


def test_continues_where_it_stopped_and_never_mixes_autoencoders(clips, tmp_path):
    target = tmp_path / "latents"
    calls = []

    def counted(video):
        calls.append(len(video))
        return encode(video)

    encode_clips(clips, target, counted, COMPRESSION, name="mean", progress=calls.append)
    (target / "latents-00003.safetensors").unlink()
    calls.clear()
    encode_clips(clips, target, counted, COMPRESSION, name="mean", progress=[].append)
    assert calls == [3]
    with pytest.raises(InputError, match='was encoded by "mean", not "other"'):
        encode_clips(clips, target, counted, COMPRESSION, name="other", progress=[].append)


def test_latents_of_other_scenes_are_not_taken_for_these(clips, tmp_path):
    target = tmp_path / "latents"
    encode_clips(clips, target, encode, COMPRESSION, name="mean", progress=[].append)
    (clips / "clips-00003.jsonl").write_text('{"seed": 1}\n{"seed": 2}\n{"seed": 3}\n')
    with pytest.raises(InputError, match="shows other scenes than"):
        encode_clips(clips, target, encode, COMPRESSION, name="mean", progress=[].append)


def test_a_cell_shows_an_object_if_any_of_its_pixels_does():
    mask = np.zeros((9, 16, 8), bool)
    mask[0, 0, 0] = mask[4, 15, 7] = mask[5, 3, 3] = True
    cells = object_cells(mask, COMPRESSION)
    assert cells.shape == (3, 2, 1)
    assert cells[..., 0].tolist() == [[True, False], [False, True], [True, False]]


def test_scenery_is_no_object(clips, tmp_path):
    ids = np.zeros((3, 9, 16, 8), np.uint8)
    ids[0], ids[1, 4:] = 255, 2
    write_shard(clips, "clips", 0, {"frames": np.zeros((*ids.shape, 3), np.uint8), "ids": ids}, ["{}"] * 3)
    encode_clips(clips, tmp_path / "latents", encode, COMPRESSION, name="mean", progress=[].append)
    shard = open_shards(tmp_path / "latents", "latents")[0]
    assert [shard.read("objects", entry).any((1, 2)).tolist() for entry in range(3)] == [
        [False, False, False],
        [False, True, True],
        [False, False, False],
    ]


def test_scenery_is_what_the_renderer_marks_as_props():
    assert SCENERY == PROP_ID


def test_windows_of_longer_scenes_keep_the_first_frame_of_these(clips, tmp_path):
    random = np.random.default_rng(7)
    arrays = {
        "frames": random.integers(0, 256, (3, 9, 16, 8, 3), dtype=np.uint8),
        "ids": np.zeros((3, 9, 16, 8), np.uint8),
        "openings": random.integers(0, 256, (3, 1, 16, 8, 3), dtype=np.uint8),
        "starts": np.array([[0], [7], [400]]),
    }
    write_shard(clips, "clips", 3, arrays, ["{}"] * 3)
    done = []
    encode_clips(clips, tmp_path / "latents", encode, COMPRESSION, name="mean", progress=done.append)
    plain, shard = open_shards(tmp_path / "latents", "latents")
    assert sum(done) == 6
    assert set(plain.shapes) == {"latents", "objects"}
    assert shard.shapes["openings"] == (3, 1, 3, 2, 1)
    corner = arrays["openings"][1, 0, :8].astype(np.float64).mean((0, 1)) / 127.5 - 1
    np.testing.assert_allclose(shard.read("openings", 1)[0, :, 0, 0], corner, atol=1e-3)
    assert [shard.read("starts", entry).tolist() for entry in range(3)] == [[0], [2], [100]]
