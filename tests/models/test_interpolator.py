"""The interpolator: symmetric in time, exact where nothing moves, and RIFE's names fit."""

import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.models.interpolator import DoublingStream, Interpolator, InterpolatorConfig, from_rife, warp

CONFIG = InterpolatorConfig(width=8)


@pytest.fixture(scope="module")
def model() -> Interpolator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Interpolator(CONFIG).eval().requires_grad_(False)


def pictures(count: int, height: int = 40, width: int = 56) -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    small = torch.rand((count, 3, 5, 7), generator=source) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic").clamp(-1, 1)


def test_the_middle_does_not_depend_on_the_order(model: Interpolator):
    one, other = pictures(2)[:1], pictures(2)[1:]
    torch.testing.assert_close(model(one, other), model(other, one), atol=1e-4, rtol=0)


def test_where_nothing_is_estimated_the_middle_is_the_mean():
    model = Interpolator(CONFIG)
    for block in model.blocks:
        for head in (block.flow, block.mask):
            torch.nn.init.zeros_(head[-1].weight)
            torch.nn.init.zeros_(head[-1].bias)
    one, other = pictures(2)[:1], pictures(2)[1:]
    torch.testing.assert_close(model(one, other), (one + other) / 2, atol=1e-5, rtol=0)


def test_warping_moves_and_repeats_the_border():
    picture = pictures(1)
    flow = torch.zeros(1, 2, 40, 56)
    flow[:, 0] = 3
    moved = warp(picture, flow)
    torch.testing.assert_close(moved[..., :-3], picture[..., 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[..., -1], picture[..., -1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pieces", [(5,), (1, 4), (2, 2, 1)])
def test_a_stream_is_doubled_as_the_whole_is(model: Interpolator, pieces: tuple[int, ...]):
    video = pictures(5).movedim(0, 1)[None] / 4  # pictures that are alike
    stream = DoublingStream(model)
    doubled = torch.cat([stream.double(piece) for piece in video.split(pieces, dim=2)], dim=2)
    assert doubled.shape[2] == 9
    assert torch.equal(doubled[:, :, ::2], video)
    middle = model(video[:, :, 1], video[:, :, 2]).clamp(-1, 1)
    torch.testing.assert_close(doubled[:, :, 3], middle, atol=1e-5, rtol=0)


def test_a_cut_stays_a_cut(model: Interpolator):
    red, blue = torch.full((2, 1, 3, 1, 40, 56), -1.0)
    red[:, 0], blue[:, 2] = 1.0, 1.0
    doubled = DoublingStream(model).double(torch.cat([red, blue], dim=2))
    assert torch.equal(doubled, torch.cat([red, red, blue], dim=2))


@pytest.mark.parametrize("pieces", [[5], [1, 4], [2, 3], [3, 1, 1], [1, 1, 1, 1, 1]])
def test_a_cut_that_is_known_needs_no_jump(model: Interpolator, pieces: list[int]):
    video = pictures(5).transpose(0, 1)[None] / 4
    plain, cut = DoublingStream(model), DoublingStream(model, frozenset({3}))
    whole = plain.double(video)
    doubled = torch.cat([cut.double(piece) for piece in video.split(pieces, dim=2)], dim=2)
    assert torch.equal(doubled[:, :, 5], video[:, :, 2]), "the last picture of the scene before"
    others = [0, 1, 2, 3, 4, 6, 7, 8]
    torch.testing.assert_close(doubled[:, :, others], whole[:, :, others], atol=1e-5, rtol=0)
    assert not torch.equal(whole[:, :, 5], video[:, :, 2])


def test_the_names_of_rife_fit(model: Interpolator):
    """Its file has three blocks under these names, and one more that only training used."""
    ours = model.state_dict()
    theirs: dict[str, torch.Tensor] = {"module.block_tea.conv0.0.0.weight": torch.zeros(1)}
    for number in range(3):
        for part, count in (
            ("conv0", 2),
            ("convblock0", 2),
            ("convblock1", 2),
            ("convblock2", 2),
            ("convblock3", 2),
        ):
            where = "down" if part == "conv0" else f"residuals.{part[-1]}"
            for pair in range(count):
                for kind, names in ((0, ("weight", "bias")), (1, ("weight",))):
                    for name in names:
                        value = ours[f"blocks.{number}.{where}.{2 * pair + kind}.{name}"]
                        theirs[f"module.block{number}.{part}.{pair}.{kind}.{name}"] = value
        for part, where in (("conv1", "flow"), ("conv2", "mask")):
            for place in range(3):
                for name in ("weight", "bias") if place != 1 else ("weight",):
                    theirs[f"module.block{number}.{part}.{place}.{name}"] = ours[
                        f"blocks.{number}.{where}.{place}.{name}"
                    ]
    renamed = from_rife(theirs)
    assert renamed.keys() == ours.keys()
    assert all(torch.equal(renamed[name], value) for name, value in ours.items())


def test_odd_widths_are_refused():
    with pytest.raises(InputError, match="width 9 must be even"):
        InterpolatorConfig(width=9)
