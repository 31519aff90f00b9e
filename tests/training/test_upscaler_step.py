"""The upscaler's step: what it costs to be wrong, and that training lowers it."""

import torch

from unstatic.core.seeds import generator
from unstatic.models.compact_upscaler import CompactUpscaler, CompactUpscalerConfig
from unstatic.training.autoencoder_step import AutoencoderLossConfig
from unstatic.training.loop import Run, TrainingConfig, train
from unstatic.training.optim import OptimiserConfig, kernel_weights
from unstatic.training.upscaler_step import UpscalerBatch, UpscalerStep, prepare

CONFIG = CompactUpscalerConfig(factor=2, width=8, depth=2)


def edges(index: int = 0) -> UpscalerBatch:
    """Return slanted edges that move, and the same in half the size."""
    source = generator("edges", index)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    angles, places = torch.rand((2, 4, 1, 1, 1), generator=source)
    moved = places * 16 + 8 + torch.arange(4.0)[None, :, None, None]
    high = ((rows * angles + columns) / (1 + angles) - moved).clamp(-1, 1)[:, None].expand(-1, 3, -1, -1, -1)
    low = torch.nn.functional.avg_pool3d(high, (1, 2, 2))
    return UpscalerBatch(low=low, high=high.contiguous())


class Batches:
    def at(self, index: int) -> UpscalerBatch:
        return edges(index)


def a_model() -> CompactUpscaler:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CompactUpscaler(CONFIG)


def loss(model: CompactUpscaler, batch: UpscalerBatch, **weights: float) -> float:
    zero = dict.fromkeys(("absolute", "squared", "wavelet", "steepness"), 0.0)
    step = UpscalerStep(model=model, config=AutoencoderLossConfig(**zero | weights))
    return float(step(batch, generator("step")).loss.detach())


def test_training_beats_repetition():
    model = a_model()
    before = loss(model, edges(99), absolute=1.0)
    config = TrainingConfig(
        samples=480, warm_up=16, half_lives=(64.0,), optimiser=OptimiserConfig(learning_rate=3e-3)
    )
    run = Run(model, config, matrices=kernel_weights(model), device=torch.device("cpu"))
    for _ in train(run, UpscalerStep(model=model), Batches()):
        pass
    assert loss(model, edges(99), absolute=1.0) < 0.7 * before


def test_flicker_costs_though_every_picture_is_as_good():
    batch, model = edges(), a_model()
    offset = torch.zeros_like(batch.high)
    offset[:, :, ::2] = 0.2
    steady, flickering = offset * 0 + 0.1, offset
    costs = [
        loss(model, UpscalerBatch(low=batch.low, high=model(batch.low).detach() + each), steadiness=1.0)
        for each in (steady, flickering)
    ]
    assert costs[0] < 1e-6
    assert costs[1] > 0.1


def test_soft_edges_cost():
    model, batch = a_model(), edges()
    assert loss(model, batch, steepness=1.0) > 0
    assert loss(model, UpscalerBatch(low=batch.low, high=model(batch.low).detach()), steepness=1.0) == 0


def test_views_of_a_pair_show_the_same_place():
    high = torch.randint(256, (3, 5, 40, 40, 3), generator=generator("x"), dtype=torch.uint8)
    low = high[:, :, ::2, ::2]
    batch = prepare(low, high, 12, generator("views"))
    assert batch.low.shape == (3, 3, 5, 12, 12)
    assert batch.high.shape == (3, 3, 5, 24, 24)
    for small, large in zip(batch.low, batch.high, strict=True):
        corners = [large[..., top::2, left::2] for top in (0, 1) for left in (0, 1)]
        assert any(torch.equal(small, each) for each in corners)
    assert batch.num_samples == 3
