"""The upscaler: streams and tiles give what the whole gives, and a new one repeats pixels."""

import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.models.upscaler import Upscaler, UpscalerConfig, UpscalingStream, tiles
from unstatic.models.weights import load_model, save_model


def an_upscaler(factor: int = 2) -> Upscaler:
    model = Upscaler(UpscalerConfig(factor=factor, width=8, blocks=2), generator=generator("upscaler"))
    source = generator("weights")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=source)
    return model.eval().requires_grad_(False)


def a_video(frames: int = 6, height: int = 20, width: int = 28) -> torch.Tensor:
    return torch.rand((2, 3, frames, height, width), generator=generator("video")) * 2 - 1


@pytest.mark.parametrize("factor", [2, 4])
def test_a_new_one_repeats_pixels(factor: int):
    model = Upscaler(UpscalerConfig(factor=factor), generator=generator("new"))
    video = a_video()
    large = model(video)
    assert large.shape == (2, 3, 6, 20 * factor, 28 * factor)
    assert torch.equal(large[..., ::factor, ::factor], video)
    assert torch.equal(large[..., factor - 1 :: factor, factor - 1 :: factor], video)


@pytest.mark.parametrize("pieces", [(6,), (1, 5), (2, 1, 3)])
def test_a_stream_gives_what_the_whole_gives(pieces: tuple[int, ...]):
    model, video = an_upscaler(), a_video()
    memory, parts = None, []
    for piece in video.split(pieces, dim=2):
        part, memory = model.stream(piece, memory)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=2), model(video), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [8, 13, 64])
def test_tiles_give_what_the_whole_gives(side: int):
    model, video = an_upscaler(), a_video()
    stream = UpscalingStream(model, side=side)
    large = torch.cat([stream.enlarge(piece) for piece in video.split(3, dim=2)], dim=2)
    torch.testing.assert_close(large, model(video).clamp(-1, 1), atol=1e-5, rtol=0)


def test_less_overlap_than_the_reach_would_be_seen():
    model, video = an_upscaler(), a_video()
    assert model.config.reach == 6
    near, far = video.clone(), video.clone()
    near[..., 10, 14 + 6] += 1
    far[..., 10, 14 + 7] += 1
    whole = model(video)[..., 20:22, 28:30]
    assert torch.equal(model(far)[..., 20:22, 28:30], whole)
    assert not torch.equal(model(near)[..., 20:22, 28:30], whole)


def test_the_frame_before_is_seen():
    model, video = an_upscaler(), a_video()
    other = video.clone()
    other[:, :, 2] *= -1
    before, after = model(video), model(other)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.equal(before[:, :, 3], after[:, :, 3])


def test_tiles_cover_every_pixel_once():
    covered = torch.zeros(20, 28)
    for tile in tiles(20, 28, 9, 3):
        top, bottom, left, right = tile.kept
        covered[top:bottom, left:right] += 1
        assert tile.read[0] <= top
        assert tile.read[3] >= right
    assert covered.eq(1).all()


def test_it_is_saved_and_loaded(tmp_path):
    model = an_upscaler()
    save_model(tmp_path / "upscaler.safetensors", model, model.config, "upscaler")
    loaded = load_model(tmp_path / "upscaler.safetensors", "upscaler", UpscalerConfig, Upscaler)
    assert loaded.config == model.config
    torch.testing.assert_close(loaded(a_video()), model(a_video()), atol=0.05, rtol=0)


def test_other_factors_are_refused():
    with pytest.raises(InputError, match="factor 3 must be one of"):
        UpscalerConfig(factor=3)
