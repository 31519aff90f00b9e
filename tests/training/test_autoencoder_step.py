import dataclasses
import math

import pytest
import torch

from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.training.autoencoder_step import (
    AutoencoderBatch,
    AutoencoderLossConfig,
    AutoencoderStep,
    ViewConfig,
    error_weight,
    lost_steepness,
    picture_errors,
    prepare,
    psnr,
    wavelet_error,
    weighted_mean,
)

CONFIG = TinyAutoencoderConfig(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Four clips of 20 frames, 48 x 64, in which a red square of 6 x 6 moves over grey."""
    frames = torch.full((4, 20, 48, 64, 3), 128, dtype=torch.uint8)
    ids = torch.zeros(4, 20, 48, 64, dtype=torch.uint8)
    for t in range(20):
        frames[:, t, 4:10, 2 * t : 2 * t + 6] = torch.tensor([230, 20, 20], dtype=torch.uint8)
        ids[:, t, 4:10, 2 * t : 2 * t + 6] = 1
    return frames, ids


def batch(view: ViewConfig | None = None) -> AutoencoderBatch:
    return prepare(*clips(), view or ViewConfig(frames=9), seeded())


def step(
    model: TinyAutoencoder | None = None, config: AutoencoderLossConfig | None = None
) -> AutoencoderStep:
    torch.manual_seed(0)
    return AutoencoderStep(model=model or TinyAutoencoder(CONFIG), config=config or AutoencoderLossConfig())


def test_views_have_the_asked_shape_and_range():
    views = batch(ViewConfig(frames=9, height=32, width=48))
    assert views.video.shape == (4, 3, 9, 32, 48)
    assert views.objects.shape == views.weight.shape == (4, 1, 9, 32, 48)
    assert -1 <= views.video.min() < views.video.max() <= 1
    assert views.num_samples == 4


def test_views_are_never_larger_than_the_clip():
    assert batch(ViewConfig(frames=99, height=64, width=64)).video.shape == (4, 3, 20, 48, 64)


def test_views_are_decided_by_the_generator():
    assert torch.equal(batch().video, batch().video)
    assert not torch.equal(batch().video, prepare(*clips(), ViewConfig(frames=9), seeded(1)).video)


def test_views_seek_objects_when_asked():
    def share(seek: float) -> float:
        view = ViewConfig(frames=1, height=16, width=16, seek_objects=seek)
        found = [prepare(*clips(), view, seeded(s)).objects.flatten(1).any(1) for s in range(20)]
        return torch.cat(found).float().mean().item()

    assert share(1.0) == 1
    assert share(0.0) < 0.7


def test_mask_follows_the_picture_through_crop_and_mirror():
    views = batch(ViewConfig(frames=9, recolour=0.0))
    red = views.video[:, :1] > 0.5
    assert torch.equal(red, views.objects)


def test_recolouring_permutes_colours():
    colours = {
        tuple(v.round(decimals=1).tolist())
        for v in batch(ViewConfig(frames=20, height=48, width=64, recolour=1.0))
        .video[:, :, 0, 5, [1, -2]]
        .amax(-1)
    }
    assert len(colours) > 1


def test_weights_of_objects_their_rim_and_motion():
    objects = torch.zeros(1, 1, 2, 8, 8, dtype=torch.bool)
    objects[..., 3, 3] = True
    video = torch.zeros(1, 3, 2, 8, 8)
    video[:, :, 1, :, 7] = 1.0
    video[:, :, 1, 3, 3] = 1.0
    weight = error_weight(video, objects, ViewConfig(object_weight=4.0, motion_weight=2.0))[0, 0]
    assert weight[0, 3, 3] == weight[0, 2, 2] == 4
    assert weight[0, 0, 0] == weight[0, 0, 7] == 1
    assert weight[1, 0, 7] == 2
    assert weight[1, 3, 3] == 8


def test_weighted_mean_counts_every_pixel_as_often_as_it_weighs():
    error = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    weight = torch.tensor([3.0, 1.0]).reshape(1, 1, 1, 1, 2)
    assert weighted_mean(error, weight) == 0.75


def test_wavelet_error_of_flat_and_alternating_errors():
    weight = torch.ones(1, 1, 1, 8, 8)
    flat = torch.full((1, 3, 1, 8, 8), 0.5)
    stripes = flat * torch.tensor([1.0, -1.0]).repeat(4)
    assert wavelet_error(flat, weight, 3).item() == pytest.approx(0.5)
    assert wavelet_error(stripes, weight, 1).item() == pytest.approx(0.5)
    assert wavelet_error(stripes, weight, 2).item() == pytest.approx(0.25)


def test_an_edge_that_is_too_soft_costs_what_it_lacks_and_one_that_is_too_steep_nothing():
    step_up = torch.tensor([-1.0, -1.0, 1.0, 1.0]).expand(1, 3, 1, 4, 4)
    weight = torch.ones(1, 1, 1, 4, 4)
    soft, steeper = step_up * 0.5, step_up * 1.2
    assert lost_steepness(step_up, step_up, weight) == 0
    assert lost_steepness(steeper, step_up, weight) == 0
    assert lost_steepness(soft, step_up, weight).item() == pytest.approx(1.0 / 3)  # one place of three
    assert lost_steepness(soft.mT, step_up.mT, weight).item() == pytest.approx(1.0 / 3)
    assert lost_steepness(-step_up, step_up, weight).item() == pytest.approx(4.0 / 3)
    faint = step_up * 0.05
    assert lost_steepness(torch.zeros_like(faint), faint, weight) == 0


def test_object_weight_changes_the_loss_and_its_gradient():
    model = TinyAutoencoder(CONFIG)
    found = []
    for weight in (1.0, 50.0):
        output = step(model)(batch(ViewConfig(frames=9, object_weight=weight)), seeded())
        found.append((output.loss.item(), *torch.autograd.grad(output.loss, next(model.parameters()))))
    (plain_loss, plain), (weighted_loss, weighted) = found
    assert weighted_loss != pytest.approx(plain_loss, rel=1e-3)
    assert not torch.allclose(plain, weighted, rtol=0.05)


def test_step_is_decided_by_its_generator():
    run = step()
    views = batch()
    first, again, other = (run(views, seeded(s)).loss.item() for s in (0, 0, 1))
    assert first == again != other


def test_an_error_that_stays_does_not_shimmer_and_one_that_comes_and_goes_does():
    real, weight = torch.zeros(1, 3, 5, 8, 8), torch.ones(1, 1, 5, 8, 8)
    stays, comes = real + 0.1, real.clone()
    comes[:, :, 1::2] = 0.1
    config = AutoencoderLossConfig(absolute=0.0, squared=0.0, wavelet=0.0, steadiness=2.0)
    *_, at_rest = picture_errors(stays, real, weight, config)
    *_, shimmering = picture_errors(comes, real, weight, config)
    assert at_rest.item() == 0
    assert shimmering.item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    "term", ["absolute", "squared", "wavelet", "equivariance", "steepness", "steadiness"]
)
def test_every_term_counts(term: str):
    views, every = batch(), AutoencoderLossConfig(steepness=1.0, steadiness=1.0)
    without = dataclasses.replace(every, **{term: 0.0})
    assert step(config=every)(views, seeded()).loss > step(config=without)(views, seeded()).loss


def test_large_latents_cost():
    model = TinyAutoencoder(CONFIG)
    views = batch()
    with torch.no_grad():
        list(model.encoder[-1].parameters())[1].fill_(5.0)
    assert (
        step(model)(views, seeded()).loss
        > step(model, AutoencoderLossConfig(size=0.0))(views, seeded()).loss + 0.01
    )


def test_metrics_are_signal_to_noise_of_the_whole_and_of_objects():
    metrics = step()(batch(), seeded()).metrics
    assert set(metrics) == {"psnr", "object_psnr", "latent_std", "alive"}
    assert 0 < metrics["alive"] < 1
    assert metrics["object_psnr"] < metrics["psnr"]
    assert psnr(4.0) == 0
    assert psnr(0.04) == pytest.approx(20)
    assert math.isfinite(psnr(0.0))


def test_a_clip_without_objects_has_no_object_metric():
    frames, ids = clips()
    views = prepare(frames, torch.zeros_like(ids), ViewConfig(frames=5), seeded())
    assert "object_psnr" not in step()(views, seeded()).metrics


def test_the_loss_falls():
    run = step(config=AutoencoderLossConfig(latent_noise=0.0))
    views = batch(ViewConfig(frames=5, seek_objects=1.0))
    optimiser = torch.optim.Adam(run.model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        output = run(views, seeded())
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        losses.append(output.loss.item())
    assert losses[-1] < 0.8 * losses[0]
