from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from unstatic.core.seeds import generator
from unstatic.data.loader import Clips
from unstatic.data.shards import Shard, open_shards, write_shard
from unstatic.evals.parser import load_parser
from unstatic.evals.parser_network import MASK_SCALE, MOTION_SCALE, ParserConfig, ParserNet
from unstatic.presets.parser import (
    UNSAID,
    ParserBatches,
    ParserRun,
    ParserStep,
    answers,
    coarse,
    event_chances,
    initialise,
    parser_64,
    train_parser,
)
from unstatic.training.loop import TrainingConfig
from unstatic.world.clip import make_clip
from unstatic.world.mix import FIRST_LIGHT_MIX
from unstatic.world.physics import hero_index
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import SceneSpec

FRAMES = 17


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of two clips each, as the render stage would leave them."""
    path = tmp_path_factory.mktemp("parser")
    mix = replace(FIRST_LIGHT_MIX, events={"roll": 1.0}, cameras={"still": 1.0})
    for shard in range(2):
        seeds = (2 * shard, 2 * shard + 1)
        clips = [make_clip(sample_scene(seed, frames=FRAMES, width=64, height=64, mix=mix)) for seed in seeds]
        arrays = {
            "frames": np.stack([clip.frames for clip in clips]),
            "ids": np.stack([clip.ids for clip in clips]),
        }
        write_shard(path / "clips", "clips", shard, arrays, [clip.spec.to_json() for clip in clips])
    return path


@pytest.fixture
def tiny() -> ParserRun:
    settings = parser_64()
    return replace(
        settings,
        world=replace(settings.world, clips=4, frames=FRAMES, shard_clips=2),
        model=ParserConfig(widths=(8, 8, 8), close_widths=(8, 8, 8), summary_width=16, dilations=(1,)),
        training=TrainingConfig(samples=8, warm_up=0, half_lives=(4.0,)),
        batch_size=4,
        frames=14,
        held_back=1,
    )


def test_training_ends_with_a_parser_that_reads(folder, tiny):
    path = train_parser(tiny, folder, device="cpu")
    (picture, *_) = sorted((folder / "parser").glob("*.png"))
    assert picture.stat().st_size > 0
    reading = load_parser(path).read(open_shards(folder / "clips", "clips")[0].read("frames", 0))
    assert 0 < reading.confidences["shape"] <= 1


def test_labels_follow_the_mirror(folder):
    shard = open_shards(folder / "clips", "clips")[0]
    seen = 0
    for clip in range(len(shard)):
        spec = SceneSpec.from_json(shard.lines[clip])
        plain, mirrored = answers(spec), answers(spec, mirrored=True)
        assert plain[:3] == mirrored[:3]
        direction = spec.objects[hero_index(spec)].direction
        if direction in ("left", "right"):
            assert {plain[3], mirrored[3]} == {0, 1}
            seen += 1
        elif not direction:
            assert plain[3] == mirrored[3] == UNSAID
    still = replace(spec, objects=tuple(replace(each, direction="") for each in spec.objects))
    assert answers(still)[3] == UNSAID


def test_batches_are_a_pure_function_of_their_number(folder, tiny):
    shards = open_shards(folder / "clips", "clips")
    first, again = (ParserBatches(shards, tiny).at(3) for _ in range(2))
    assert torch.equal(first.pairs, again.pairs)
    assert torch.equal(first.labels.colour, again.labels.colour)
    assert not torch.equal(first.pairs, ParserBatches(shards, tiny).at(4).pairs)
    assert first.pictures.shape == (4, 3, 4, 64, 64)
    assert first.objects.shape == (4, 4, 64 // MASK_SCALE, 64 // MASK_SCALE)
    side = 64 // MOTION_SCALE
    assert first.pairs.shape == (4, 3, 10, side, side)
    assert first.hero.shape == (4, 5, side // MASK_SCALE, side // MASK_SCALE)
    assert 0 < first.hero.mean() <= first.objects.mean() + 0.05 < 0.5


def test_masks_lie_on_what_they_should(folder, tiny):
    """Colours under a mask differ from those where there is none; a shifted mask would mix them."""
    batch = ParserBatches(open_shards(folder / "clips", "clips"), tiny).at(0)
    views = [(batch.pictures, batch.objects), (batch.pairs[:, :, 1::2], batch.hero)]
    for video, mask in views:
        pictures = avg_pool2d(video.transpose(1, 2).flatten(0, 1), MASK_SCALE)
        cover = mask.flatten(0, 1)[:, None]
        inside = (pictures * (cover > 0.7)).sum((0, 2, 3)) / (cover > 0.7).sum()
        outside = (pictures * (cover == 0)).sum((0, 2, 3)) / (cover == 0).sum()
        assert (inside - outside).abs().max() > 0.1


def test_a_clip_of_several_objects_has_no_looks(folder):
    spec = SceneSpec.from_json(open_shards(folder / "clips", "clips")[0].lines[0])
    hero = spec.objects[hero_index(spec)]
    alone = replace(spec, objects=(hero,))
    together = replace(spec, objects=(hero, replace(hero, role="extra")))
    assert UNSAID not in answers(alone)[:3]
    assert answers(together)[:3] == [UNSAID, UNSAID, answers(alone)[2]]


def test_rare_events_come_up_more_often(folder, tmp_path):
    line = open_shards(folder / "clips", "clips")[0].lines[0]
    lines = [line] * 8 + [line.replace('"event":"roll"', '"event":"spin"')]
    path = write_shard(tmp_path, "clips", 0, {"frames": np.zeros((9, 1, 1, 1, 3), np.uint8)}, lines)
    chances = event_chances(Clips([Shard(path)]))
    assert chances.sum() == pytest.approx(1.0)
    assert chances[8] / chances[:8].sum() == pytest.approx((1 / 8) ** 0.25)


def test_the_step_learns(folder, tiny):
    batch = ParserBatches(open_shards(folder / "clips", "clips"), tiny).at(0)
    network = ParserNet(tiny.model)
    initialise(network, generator("test"))
    step, optimiser = ParserStep(network), torch.optim.Adam(network.parameters(), lr=5e-3)
    losses: list[float] = []
    for _ in range(30):
        output = step(batch, generator("step"))
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        losses.append(output.loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_coarse_mask_keeps_its_area():
    mask = torch.rand(2, 3, 16, 24, generator=generator("mask")) < 0.3
    assert coarse(mask, 4).shape == (2, 3, 4, 6)
    assert coarse(mask, 4).mean() == pytest.approx(mask.float().mean().item())
