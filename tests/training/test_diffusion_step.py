from dataclasses import replace

import pytest
import torch

from unstatic.core.seeds import generator
from unstatic.data.latents import LatentBatch
from unstatic.diffusion.loss import Uniform
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.training.diffusion_step import DiffusionConfig, DiffusionStep, draw_chunk_levels, draw_kept
from unstatic.training.loop import Run, TrainingConfig, train
from unstatic.training.optim import OptimiserConfig, linear_weights

TINY = TransformerConfig(
    in_channels=4,
    out_channels=4,
    width=32,
    depth=2,
    heads=2,
    ffn_width=64,
    text_width=8,
    chunk=4,
    anchors=True,
)
PLAIN = DiffusionConfig(history=0.0, kept=0.0, anchors=0.0, text_dropout=0.0)


def tiny_model(config=TINY):
    model = VideoTransformer(config, generator=generator("model"))
    for name, parameter in model.named_parameters():  # from zero, some branches would get no gradient
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator("disturb", name))
    return model


def tiny_batch(frames=9, num_samples=2):
    latent = torch.randn(num_samples, 4, frames, 4, 4, generator=generator("latent"))
    text = torch.randn(num_samples, 5, 8, generator=generator("text"))
    return LatentBatch(latent=latent, text=text, prompts=("",) * num_samples)


def step_of(config, model=None, progress=0.0):
    model = model or tiny_model()
    return DiffusionStep(model=model, config=config, empty_text=torch.zeros(5, 8), progress=lambda: progress)


# ------------------------------------------------------------------------------------------------ the draws


def test_every_chunk_draws_its_own_level_and_frames_share_it():
    sigma = step_of(PLAIN).draw_sigma(500, 17, generator("sigma"))
    assert sigma.shape == (500, 17)
    for start, stop in ((1, 5), (5, 9), (9, 13), (13, 17)):
        assert (sigma[:, start:stop] == sigma[:, start : start + 1]).all()
    chunks = sigma[:, [0, 1, 5, 9, 13]]
    correlation = torch.corrcoef(chunks.T) - torch.eye(5)
    assert correlation.abs().max() < 0.15
    logit = torch.logit(chunks)
    assert logit.mean().item() == pytest.approx(0.4, abs=0.06)
    assert logit.std().item() == pytest.approx(1.0, abs=0.05)


def test_levels_are_uniform_at_the_end_of_the_run():
    sigma = step_of(PLAIN, progress=0.8).draw_sigma(500, 17, generator("sigma"))[:, [0, 1, 5, 9, 13]]
    assert torch.quantile(sigma, torch.tensor([0.1, 0.5, 0.9])).tolist() == pytest.approx(
        [0.1, 0.5, 0.9], abs=0.04
    )


def test_a_share_of_the_levels_is_almost_static_as_a_film_begins():
    levels = draw_chunk_levels(
        2000, 5, Uniform(high=0.5), replace(PLAIN, top_levels=0.1), generator("levels")
    )
    on_top = levels >= 0.95
    assert on_top.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (levels[~on_top] <= 0.5).all()
    assert levels[on_top].max() > 0.999


def test_history_is_clean_or_nearly_so_and_never_everything():
    config = DiffusionConfig(history=1.0)
    levels = draw_chunk_levels(2000, 5, Uniform(low=0.5), config, generator("levels"))
    is_history = levels < 0.5
    lengths = is_history.sum(1)
    assert (is_history.int().diff(dim=1) <= 0).all()  # history comes first
    assert set(lengths.tolist()) == {1, 2, 3, 4}
    assert (levels[is_history] <= 0.3).all()

    clean = (levels == 0).any(1)
    assert clean.float().mean().item() == pytest.approx(0.4, abs=0.04)
    assert ((levels == 0) == is_history)[clean].all()
    assert levels[is_history & (levels > 0)].mean().item() == pytest.approx(0.15, abs=0.01)


def test_half_of_the_clips_have_history_and_stills_never():
    config = DiffusionConfig()
    levels = draw_chunk_levels(2000, 5, Uniform(low=0.5), config, generator("levels"))
    assert (levels[:, 0] < 0.5).float().mean().item() == pytest.approx(0.5, abs=0.04)
    still = draw_chunk_levels(2000, 1, Uniform(low=0.5), config, generator("levels"))
    assert (still >= 0.5).all()


def test_kept_frames_are_the_first_the_last_or_a_prefix():
    kept = draw_kept(3000, 4, 0.1, generator("kept"))
    assert kept.any(1).float().mean().item() == pytest.approx(0.1, abs=0.02)
    patterns = {"".join(str(int(flag)) for flag in row) for row in kept}
    assert patterns == {"0000", "1000", "0001", "1100", "1110"}
    assert not draw_kept(50, 1, 1.0, generator("kept")).any()


def test_anchors_are_different_frames_in_most_batches():
    step = step_of(DiffusionConfig())
    counts = []
    for seed in range(400):
        times = step.draw_anchors(3, 9, generator("anchors", seed))
        counts.append(times.shape[1])
        assert all(len(set(row)) == len(row) for row in times.tolist())
    assert counts.count(0) / 400 == pytest.approx(0.4, abs=0.07)
    assert counts.count(1) / 400 == pytest.approx(0.3, abs=0.07)
    assert step.draw_anchors(3, 1, generator("anchors")).shape == (3, 0)


def test_text_is_dropped_in_a_tenth_of_the_samples():
    states = torch.ones(3000, 5, 8)
    dropped = (step_of(DiffusionConfig()).drop_text(states, generator("drop")) == 0).all((1, 2))
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.02)


# ------------------------------------------------------------------------------------------------- the loss


def loss_and_gradient(step, batch):
    """Return the gradient of the loss with respect to the prediction, per latent frame."""
    seen = {}

    def keep(_module, _inputs, output):
        output.prediction.retain_grad()
        seen["prediction"] = output.prediction

    handle = step.model.register_forward_hook(keep)
    output = step(batch, generator("step"))
    output.loss.backward()
    handle.remove()
    return output, seen["prediction"].grad.abs().sum((1, 3, 4))


def test_clean_frames_carry_no_loss_and_all_others_do():
    config = replace(PLAIN, history=1.0, clean_history=1.0, kept=0.5)
    step = step_of(config)
    sigma = step.draw_sigma(6, 9, generator("step"))
    output, gradient = loss_and_gradient(step, tiny_batch(num_samples=6))
    assert (sigma == 0).any()
    assert torch.equal(gradient > 0, sigma > 0)
    assert torch.isfinite(output.loss)


def test_anchored_frames_carry_no_loss():
    step = step_of(replace(PLAIN, anchors=1.0))
    draws = generator("step")
    sigma = step.draw_sigma(2, 9, draws)
    batch = tiny_batch()
    step.drop_text(batch.text, draws)
    torch.randn(batch.latent.shape, generator=draws)
    times = step.draw_anchors(2, 9, draws)
    assert times.shape[1] > 0
    assert (sigma > 0).all()

    _, gradient = loss_and_gradient(step, batch)
    expected = torch.ones(2, 9, dtype=torch.bool).scatter(1, times, False)
    assert torch.equal(gradient > 0, expected)


def test_gradient_reaches_every_parameter():
    step = step_of(replace(PLAIN, anchors=1.0))
    step(tiny_batch(), generator("step")).loss.backward()
    missing = [name for name, p in step.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_a_still_trains_the_first_chunk_alone():
    output = step_of(DiffusionConfig())(tiny_batch(frames=1), generator("step"))
    assert output.loss > 0
    assert output.metrics


def test_a_whole_video_transformer_has_one_level_per_clip():
    sigma = step_of(PLAIN, tiny_model(replace(TINY, chunk=None))).draw_sigma(50, 9, generator("sigma"))
    assert (sigma == sigma[:, :1]).all()


def test_a_velocity_is_converted_before_it_is_compared():
    batch, model = tiny_batch(), tiny_model()
    with torch.no_grad():
        model.head.linear.weight.zero_()
        model.head.linear.bias.zero_()
    as_x0, as_velocity = (
        step_of(replace(PLAIN, prediction=prediction, weighting="x0"), model)(batch, generator("step")).loss
        for prediction in ("x0", "velocity")
    )

    # A prediction of zero means x0 = 0 in the one case and x0 = x in the other
    draws = generator("step")
    sigma = step_of(PLAIN, model).draw_sigma(2, 9, draws)[:, None, :, None, None]
    step_of(PLAIN, model).drop_text(batch.text, draws)
    eps = torch.randn(batch.latent.shape, generator=draws)
    torch.testing.assert_close(as_x0, batch.latent.square().mean())
    torch.testing.assert_close(as_velocity, (sigma * (eps - batch.latent)).square().mean())


def test_learns_four_latents():
    batch = tiny_batch(frames=5, num_samples=4)
    batch = replace(batch, latent=batch.latent[:, :, :1].repeat(1, 1, 5, 1, 1))  # four standing pictures

    class SameBatch:
        def at(self, _index):
            return batch

    model = VideoTransformer(TINY, generator=generator("model"))
    rates = OptimiserConfig(learning_rate=5e-3, matrix_learning_rate=3e-2)
    run = Run(
        model,
        TrainingConfig(samples=4 * 150, warm_up=40, optimiser=rates),
        matrices=linear_weights(model, "blocks."),
        dtype=torch.float32,
    )
    config = replace(PLAIN, weighting="x0", level_mean=1.0)
    step = DiffusionStep(model=model, config=config, empty_text=torch.zeros(5, 8), progress=run.progress)
    losses = [metrics.loss for metrics in train(run, step, SameBatch())]
    assert sum(losses[-10:]) < 0.25 * sum(losses[:10])


def test_objects_count_more_while_it_is_plain_where_they_are():
    batch = tiny_batch()
    objects = torch.zeros(2, 1, 9, 4, 4, dtype=torch.bool)
    objects[:, :, :, 1, 2] = True
    batch = replace(batch, objects=objects)
    sigma = torch.tensor([[0.0, 0.2, 0.5, 0.65, 0.8, 0.9, 1.0, 0.5, 0.5]]).expand(2, -1)
    importance = step_of(replace(PLAIN, object_weight=5.0)).importance(batch, sigma)
    assert importance[0, 0, :, 1, 2].tolist() == pytest.approx([5, 5, 5, 3, 1, 1, 1, 5, 5])
    assert (importance[:, :, :, 0] == 1).all()
    assert step_of(PLAIN).importance(batch, sigma) is None
    assert step_of(replace(PLAIN, object_weight=5.0)).importance(tiny_batch(), sigma) is None


def test_the_weight_of_objects_changes_the_loss_and_only_on_objects():
    step, heavy = step_of(PLAIN), step_of(replace(PLAIN, object_weight=9.0, object_levels=(1.0, 1.1)))
    plain = step(tiny_batch(), generator("step")).loss
    for shown in (True, False):
        batch = replace(tiny_batch(), objects=torch.full((2, 1, 9, 4, 4), shown))
        torch.testing.assert_close(heavy(batch, generator("step")).loss, plain)
    objects = torch.zeros(2, 1, 9, 4, 4, dtype=torch.bool)
    objects[..., 0] = True
    assert heavy(replace(tiny_batch(), objects=objects), generator("step")).loss != plain
