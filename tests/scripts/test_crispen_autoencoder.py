import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from crispen_autoencoder import crispen, main, unsharp
from small_autoencoder import SMALL_AUTOENCODER

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.data.encode import to_video
from unstatic.data.shards import open_shards
from unstatic.evals.sharpness import edge_width
from unstatic.media.frames import to_frames
from unstatic.models.manifest import find_model
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.presets.stages import load_autoencoder
from unstatic.world.mix import MIXES


def an_autoencoder() -> TinyAutoencoder:
    return TinyAutoencoder(SMALL_AUTOENCODER, generator=generator("autoencoder"))


def some_videos(count: int = 3, frames: int = 5) -> list[torch.Tensor]:
    noise = generator("videos")
    return [torch.rand((1, 3, frames, 32, 48), generator=noise) * 2 - 1 for _ in range(count)]


def test_a_mask_of_nothing_changes_nothing() -> None:
    (video,) = some_videos(1)
    torch.testing.assert_close(unsharp(video, 0.0, 0.6), video)


def test_even_areas_stay_and_an_edge_becomes_steeper_by_what_a_blur_takes() -> None:
    """Of a step of 1 the blur moves k to the other side: both sides go away from it by k times the amount."""
    step = torch.zeros(1, 1, 1, 8, 16)
    step[..., 8:] = 1
    weights = np.exp(-0.5 * (np.arange(-2, 3) / 0.6) ** 2)
    moved = weights[3:].sum() / weights.sum()
    found = unsharp(step, 0.5, 0.6)[0, 0, 0, 4]
    torch.testing.assert_close(found[:6], torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[7:9], torch.tensor([-0.5 * moved, 1 + 0.5 * moved], dtype=torch.float32))


def test_only_the_last_convolution_changes() -> None:
    model = an_autoencoder()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    crispen(model, some_videos(), amount=0.5, sigma=0.6)
    last = f"decoder.{len(model.decoder) - 1}."
    changed = [name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])]
    assert changed
    assert all(name.startswith(last) for name in changed)


def test_what_is_decoded_without_a_mask_stays() -> None:
    model, (video,) = an_autoencoder(), some_videos(1, frames=9)
    before = model.decode(model.encode(video))
    crispen(model, some_videos(), amount=0.0, sigma=0.6)
    torch.testing.assert_close(model.decode(model.encode(video)), before, atol=1e-3, rtol=0)


def test_long_videos_which_are_decoded_in_pieces_fit_as_well() -> None:
    model, other = an_autoencoder(), an_autoencoder()
    (video,) = some_videos(1, frames=69)
    model.latent_frames_per_pass = 4  # pyright: ignore[reportAttributeAccessIssue]
    for each in (model, other):
        crispen(each, [video], amount=0.5, sigma=0.6)
    found, expected = model.decoder[-1].state_dict(), other.decoder[-1].state_dict()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-3)


def test_nano_is_crisper_by_about_what_the_mask_does(store_clips, tmp_path: Path, monkeypatch) -> None:
    """On clips that the fit has not seen."""
    store_clips(tmp_path / "clips", [MIXES["first-light"]] * 2, 17)
    seen, unseen = open_shards(tmp_path / "clips", "clips")
    unseen.path.rename(tmp_path / unseen.path.name)
    unseen.path.with_suffix(".jsonl").rename(tmp_path / unseen.path.with_suffix(".jsonl").name)
    written = tmp_path / "crisp" / "autoencoder.safetensors"
    arguments = ["nano", "--clips", str(seen.path.parent), "--amount", "0.5", "-o", str(written)]
    monkeypatch.setattr(sys, "argv", ["crispen_autoencoder.py", *arguments])
    main()
    before = load_autoencoder(find_model("nano").weights("autoencoder")).float()
    after = load_autoencoder(written).float()
    with torch.inference_mode():
        video = to_video(torch.as_tensor(unseen.read("frames", 0)[None]))
        latent = before.encode(video)
        assert torch.equal(latent, after.encode(video))
        plain, crisp = before.decode(latent), after.decode(latent)
        masked = unsharp(before.reconstruct(before.compress(video)), 0.5, 0.6).clamp(-1, 1)
    widths = [edge_width(to_frames(each)[0]) for each in (plain, crisp, masked)]
    assert widths[1] < 0.97 * widths[0]
    assert widths[1] == pytest.approx(widths[2], rel=0.03)


@pytest.mark.parametrize(
    "wrong", [["--amount", "-1"], ["--amount", "nan"], ["--sigma", "0"], ["--sigma", "3"], ["--count", "0"]]
)
def test_what_can_not_be_is_refused(tmp_path: Path, monkeypatch, wrong: list[str]) -> None:
    given = ["crispen", "nano", "--clips", str(tmp_path), "-o", str(tmp_path / "a"), *wrong]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(InputError, match="must be"):
        main()
