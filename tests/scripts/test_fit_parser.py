from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fit_parser import (
    UNSAID,
    ParserBatches,
    ParserRun,
    ParserStep,
    Subject,
    answers,
    clip_chances,
    coarse,
    covers,
    falsified,
    initialise,
    looks_at,
    looks_error,
    parser_64,
    subject_in,
    train_parser,
)
from torch.nn.functional import avg_pool2d

from unstatic.core.seeds import generator
from unstatic.data.loader import Clips
from unstatic.data.shards import Shard, open_shards, write_shard
from unstatic.evals.parser import load_parser
from unstatic.evals.parser_network import LOOKS, MASK_SCALE, MOTION_SCALE, ParserConfig, ParserNet
from unstatic.training.loop import TrainingConfig
from unstatic.world.mix import FIRST_LIGHT_MIX
from unstatic.world.physics import hero_index
from unstatic.world.spec import SceneSpec

FRAMES = 17


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store_clips: Callable[..., None]) -> Path:
    """Two shards of two clips each, as the render stage would leave them."""
    path = tmp_path_factory.mktemp("parser")
    mix = replace(FIRST_LIGHT_MIX, events={"roll": 1.0}, cameras={"still": 1.0})
    store_clips(path / "clips" / "balanced", [mix, mix], FRAMES)
    return path


@pytest.fixture
def shards(folder: Path) -> list[Shard]:
    return open_shards(folder / "clips" / "balanced", "clips")


@pytest.fixture
def tiny() -> ParserRun:
    settings = parser_64()
    return replace(
        settings,
        worlds=(replace(settings.worlds[0], clips=4, frames=FRAMES, shard_clips=2),),
        model=ParserConfig(
            widths=(8, 8, 8),
            close_widths=(8, 8, 8),
            motion_widths=(8, 8, 8),
            summary_width=16,
            dilations=(1,),
        ),
        training=TrainingConfig(samples=8, warm_up=0, half_lives=(4.0,)),
        batch_size=4,
        frames=14,
        held_back=1,
    )


def test_training_ends_with_a_parser_that_reads(folder, shards, tiny):
    path = train_parser(tiny, folder, device="cpu")
    (picture, *_) = sorted((folder / "parser").glob("*.png"))
    assert picture.stat().st_size > 0
    reading = load_parser(path).read(shards[0].read("frames", 0))
    assert 0 < reading.confidences["event"] <= 1


def test_labels_follow_the_mirror(shards):
    seen = 0
    for line in shards[0].lines:
        spec = SceneSpec.from_json(line)
        plain, mirrored = answers(spec), answers(spec, mirrored=True)
        assert (plain[0], plain[2]) == (mirrored[0], mirrored[2])
        direction = spec.objects[hero_index(spec)].direction
        if direction in ("left", "right"):
            assert {plain[1], mirrored[1]} == {0, 1}
            seen += 1
        elif not direction:
            assert plain[1] == mirrored[1] == UNSAID
    still = replace(spec, objects=tuple(replace(each, direction="") for each in spec.objects))
    assert answers(still)[1] == UNSAID


def test_batches_are_a_pure_function_of_their_number(shards, tiny):
    first, again = (ParserBatches(shards, tiny).at(3) for _ in range(2))
    assert torch.equal(first.pairs, again.pairs)
    assert torch.equal(first.subject.shape, again.subject.shape)
    assert not torch.equal(first.pairs, ParserBatches(shards, tiny).at(4).pairs)
    assert first.pictures.shape == (4, 3, 4, 64, 64)
    assert first.looks.shape == (4, 4, len(LOOKS), 64 // MASK_SCALE, 64 // MASK_SCALE)
    side = 64 // MOTION_SCALE
    assert first.pairs.shape == (4, 3, 10, side, side)
    assert first.hero.shape == (4, 5, side // MASK_SCALE, side // MASK_SCALE)
    assert torch.allclose(first.looks.sum(2), torch.tensor(1.0))
    assert 0 < first.hero.mean() <= (1 - first.looks[:, :, 0]).mean() + 0.05 < 0.5


def test_masks_lie_on_what_they_should(shards, tiny):
    """Colours under a mask differ from those where there is none; a shifted mask would mix them."""
    batch = ParserBatches(shards, tiny).at(0)
    views = [(batch.pictures, 1 - batch.looks[:, :, 0]), (batch.pairs[:, :, 1::2], batch.hero)]
    for video, mask in views:
        pictures = avg_pool2d(video.transpose(1, 2).flatten(0, 1), MASK_SCALE)
        cover = mask.flatten(0, 1)[:, None]
        inside = (pictures * (cover > 0.7)).sum((0, 2, 3)) / (cover > 0.7).sum()
        outside = (pictures * (cover == 0)).sum((0, 2, 3)) / (cover == 0).sum()
        assert (inside - outside).abs().max() > 0.1


@pytest.fixture
def pair(shards) -> tuple[SceneSpec, torch.Tensor]:
    """Show a blue ball left, a horse right, in two pictures; the first has too little of the ball."""
    spec = SceneSpec.from_json(shards[0].lines[0])
    ball = replace(spec.objects[hero_index(spec)], shape="ball", colour="blue")
    ids = torch.zeros(2, 16, 16, dtype=torch.uint8)
    ids[1, 4:12, 0:8] = 1
    ids[0, 4, 0:2] = 1
    ids[:, 4:12, 8:16] = 2
    return replace(spec, objects=(ball, replace(ball, shape="horse", colour="", role="extra"))), ids


def test_cells_are_told_what_they_show(pair):
    looks = looks_at(*pair)
    assert looks[1, LOOKS.index("blue"), 1, 0] == 1
    assert looks[1, LOOKS.index("horse"), 1, 2] == 1
    assert looks[0, LOOKS.index("blue"), 1, 0] == pytest.approx(2 / 16)
    assert looks[:, 0, 0].min() == 1


def test_only_what_is_seen_is_looked_at_closely(pair):
    spec, ids = pair
    subjects = [subject_in(spec, ids, np.random.default_rng(seed)) for seed in range(8)]
    (ball, *_) = (each for each in subjects if each.animal == UNSAID)
    (horse, *_) = (each for each in subjects if each.shape == UNSAID)
    assert (ball.shape, ball.seen.tolist()) == (0, [False, True])
    assert (horse.animal, horse.seen.tolist()) == (6, [True, True])
    assert horse.kin.sum() == 12
    assert horse.cover[0].sum() == 4  # cells
    nothing = subject_in(spec, torch.zeros_like(ids), np.random.default_rng(0))
    assert (nothing.shape, nothing.animal) == (UNSAID, UNSAID)


def test_animals_keep_their_colours():
    video = torch.rand(64, 3, 1, 16, 16, generator=generator("video")).repeat(1, 1, 2, 1, 1)
    horses, balls = torch.full((64,), 6), torch.full((64,), UNSAID)
    assert torch.equal(falsified(video, horses, generator("false")), video)
    false = falsified(video, balls, generator("false"))
    assert 0.3 < (false != video).flatten(1).any(1).float().mean() < 0.7
    assert torch.equal(false[:, :, 0], false[:, :, 1])  # a clip has one false colour


def test_half_of_the_closer_looks_are_told_where_to_look(pair):
    subject = subject_in(*pair, np.random.default_rng(0))
    subject = Subject(*(part.expand(64, *part.shape) for part in subject))
    found = torch.full((64, 2, len(LOOKS), 4, 4), 1 / len(LOOKS))
    told = (covers(found, subject, generator("told")).view(64, 2, 4, 4) == subject.cover).flatten(1).all(1)
    assert 0.3 < told.float().mean() < 0.7


def test_cells_of_objects_weigh_as_much_as_all_others():
    looks = torch.zeros(1, len(LOOKS), 10, 10)
    looks[:, 0] = 1.0
    looks[:, :2, 0, 0] = torch.tensor([0.0, 1.0])
    right, blind = looks * 40, torch.zeros_like(looks)
    blind[:, 0] = 40
    assert looks_error(right, looks) == pytest.approx(0, abs=1e-4)
    assert looks_error(blind, looks) > 10


def test_rare_events_come_up_more_often(shards, tmp_path):
    line = shards[0].lines[0]
    lines = [line] * 8 + [line.replace('"event":"roll"', '"event":"spin"')]
    path = write_shard(tmp_path, "clips", 0, {"frames": np.zeros((9, 1, 1, 1, 3), np.uint8)}, lines)
    chances = clip_chances(Clips([Shard(path)]))
    assert chances.sum() == pytest.approx(1.0)
    assert chances[8] / chances[:8].sum() == pytest.approx((1 / 8) ** 0.25)


def test_the_step_learns(shards, tiny):
    batch = ParserBatches(shards, tiny).at(0)
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
