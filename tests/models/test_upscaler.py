"""Enlarging by tiles gives what the whole gives at once."""

import pytest
import torch

from unstatic.core.seeds import generator
from unstatic.models.compact_upscaler import CompactUpscaler, CompactUpscalerConfig
from unstatic.models.upscaler import enlarge, tiles


def an_upscaler() -> CompactUpscaler:
    model = CompactUpscaler(CompactUpscalerConfig(factor=2, width=8, depth=4))
    source = generator("weights")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=source)
    return model.eval().requires_grad_(False)


def a_video(frames: int = 6, height: int = 20, width: int = 28) -> torch.Tensor:
    return torch.rand((2, 3, frames, height, width), generator=generator("video")) * 2 - 1


@pytest.mark.parametrize("side", [8, 13, 64])
def test_tiles_give_what_the_whole_gives(side: int):
    model, video = an_upscaler(), a_video()
    large = enlarge(model, video, side=side)
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


def test_tiles_cover_every_pixel_once():
    covered = torch.zeros(20, 28)
    for tile in tiles(20, 28, 9, 3):
        top, bottom, left, right = tile.kept
        covered[top:bottom, left:right] += 1
        assert tile.read[0] <= top
        assert tile.read[3] >= right
    assert covered.eq(1).all()
