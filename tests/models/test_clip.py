"""What is seen of pictures is what diffusers' pipeline sees."""

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_wan
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from unstatic.core.errors import InputError
from unstatic.models import clip as module
from unstatic.models.clip import BorrowedClip, squared

ONLY = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_wan.saved(tiny_wan.SEEN, tmp_path) / "image_encoder"


@pytest.mark.parametrize("size", [(64, 64), (37, 90), (131, 40), (28, 28)])
def test_states_are_those_of_diffusers(size: tuple[int, int], folder: Path) -> None:
    """Of pictures that are wide, high, and already square."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    pipeline = tiny_wan.pipeline(tiny_wan.SEEN)
    with torch.no_grad():
        expected = pipeline.encode_image([Image.fromarray(each) for each in pictures], "cpu")
    seen = BorrowedClip(folder).encode(list(pictures))
    assert seen.shape == (1, 2 * tiny_wan.CLIP_TOKENS, tiny_wan.CLIP_WIDTH)
    torch.testing.assert_close(seen[0], expected.flatten(0, 1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(seen[:, : tiny_wan.CLIP_TOKENS], seen[:, tiny_wan.CLIP_TOKENS :], atol=1e-2)


def test_a_picture_is_cut_in_the_middle() -> None:
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, 40:80] = 255
    assert squared(picture, 20)[:, :, 4:-4].min() > 1.5, "white, but for what the border lends to its pixels"
    assert squared(picture[:, ::-1], 20).equal(squared(picture, 20).flip(2))


def test_the_encoder_is_in_memory_only_while_it_looks(
    folder: Path, make_frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []

    def load(*given: Any) -> Any:
        encoder = load_clip(*given)
        loaded.append(weakref.ref(encoder))
        return encoder

    load_clip = module.load_clip
    monkeypatch.setattr(module, "load_clip", load)
    borrowed = BorrowedClip(folder)
    assert (borrowed.width, borrowed.tokens, loaded) == (tiny_wan.CLIP_WIDTH, tiny_wan.CLIP_TOKENS, [])
    borrowed.encode(list(make_frames(1, 32, 32)))
    gc.collect()
    assert len(loaded) == 1
    assert loaded[0]() is None


@pytest.mark.parametrize("prefixed", [False, True])
def test_names_of_several_versions_and_the_other_half_of_a_whole_clip(
    prefixed: bool, folder: Path, make_frames: Any
) -> None:
    """Files of older versions have a prefix; whole CLIPs read texts too."""
    pictures = list(make_frames(1, 32, 32))
    expected = BorrowedClip(folder).encode(pictures)
    prefix = "vision_model." if prefixed else ""
    plain = {name.removeprefix("vision_model."): each for name, each in load_file(folder / ONLY).items()}
    state = {f"{prefix}{name}": each for name, each in plain.items()}
    others = {"visual_projection.weight": torch.ones(2), "text_model.embeddings.weight": torch.ones(2)}
    save_file(state | others | {f"{prefix}embeddings.position_ids": torch.arange(5)}, folder / ONLY)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"vision_config": config} if prefixed else config))
    assert torch.equal(BorrowedClip(folder).encode(pictures), expected)


def test_what_is_missing_or_may_run_code_is_refused_in_one_line(folder: Path, make_frames: Any) -> None:
    with pytest.raises(
        InputError, match=r"put a folder of transformers there \(models_clip_\*\.pth is a pickle"
    ):
        BorrowedClip(folder / "nowhere")
    state = load_file(folder / ONLY)
    (folder / ONLY).unlink()
    (folder / "models_clip.pth").write_bytes(b"\x80\x04.")
    pictures = list(make_frames(1, 32, 32))
    with pytest.raises(InputError, match="is a pickle, which may run code"):
        BorrowedClip(folder).encode(pictures)
    left_out = next(iter(state))
    save_file({name: each for name, each in state.items() if name != left_out}, folder / ONLY)
    with pytest.raises(InputError, match="does not fit its config: see weight"):
        BorrowedClip(folder).encode(pictures)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="does not say 'hidden_size'"):
        BorrowedClip(folder)
