from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.data.latents import LatentBatch
from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.distilled import SCALARS, told
from unstatic.diffusion.guidance import guided, in_one_batch
from unstatic.diffusion.process import Latent, Sigma, to_velocity
from unstatic.diffusion.sampling import sample_to_end
from unstatic.diffusion.schedule import shifted
from unstatic.diffusion.solver import Step, euler, multistep
from unstatic.models.grow import grow_transformer
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.training.diffusion_step import DiffusionConfig, DiffusionStep
from unstatic.training.distill_step import Case, DistillConfig, DistillStep, read
from unstatic.training.loop import Run, TrainingConfig, train
from unstatic.training.optim import OptimiserConfig, linear_weights
from unstatic.training.recycle import RecycleConfig

CONFIG = TransformerConfig(
    in_channels=4,
    out_channels=4,
    width=32,
    depth=2,
    heads=2,
    ffn_width=64,
    text_width=8,
    frequency_width=16,
    chunk=4,
    anchors=True,
)
SHIFT = 1.5
OPEN = DiffusionConfig(kept=0.0, anchors=0.0)


def a_teacher() -> VideoTransformer:
    model = VideoTransformer(CONFIG, generator=generator("teacher")).eval()
    for name, parameter in model.named_parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator("disturb", name))
    return model


def a_student(teacher: VideoTransformer) -> VideoTransformer:
    student = VideoTransformer(replace(CONFIG, scalars=("sigma", *SCALARS)), generator=generator("student"))
    grow_transformer(student, teacher)
    return student


def a_step(distill: DistillConfig, plain: DiffusionConfig = OPEN) -> DistillStep:
    teacher = a_teacher()
    ordinary = DiffusionStep(
        model=a_student(teacher), config=plain, empty_text=torch.zeros(5, 8), progress=lambda: 0.0
    )
    return DistillStep(teacher=teacher, plain=ordinary, config=distill, shift=SHIFT)


def a_batch(frames: int = 9, num_samples: int = 2) -> LatentBatch:
    latent = torch.randn(num_samples, 4, frames, 4, 4, generator=generator("latent"))
    text = torch.randn(num_samples, 5, 8, generator=generator("text"))
    return LatentBatch(latent=latent, text=text, prompts=("",) * num_samples)


# ------------------------------------------------------------------------------------------------- the draws


@pytest.mark.parametrize(("steps", "substeps"), [(4, 4), (8, 2), (24, 1)])
def test_a_step_is_one_of_its_schedule_and_substeps_make_a_finer_one(steps: int, substeps: int) -> None:
    config = DistillConfig(grids=(steps,))
    levels = torch.stack(a_step(config).draw_levels(200, generator("levels")))
    assert len(levels) == substeps + 1
    sigmas = shifted(steps, SHIFT)
    drawn = set(map(tuple, levels[[0, -1]].T.tolist()))
    assert drawn == set(zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True))
    assert bool((levels.diff(dim=0) < 0).all())


def test_every_chunk_is_denoised_and_known_frames_may_lie_on_either_side() -> None:
    step = a_step(DistillConfig(), replace(OPEN, anchors=1.0))
    batch = a_batch(frames=9, num_samples=40)
    cases = [step.draw(batch, generator("chunk", number)) for number in range(20)]
    assert {case.start for case in cases} == {0, 1, 5}
    for case in cases:
        assert case.latent.shape[2] == (4 if case.start else 1)
        assert case.history.shape[2] == case.history_sigma.shape[1] == case.start
    middle = next(case for case in cases if case.start == 1)
    assert bool((middle.times < 1).any())
    assert bool((middle.times > 4).any())


def test_what_is_given_stays_clean() -> None:
    batch = a_batch(frames=9, num_samples=300)
    step = a_step(DistillConfig(), replace(OPEN, kept=0.5))
    case = next(c for n in range(20) if (c := step.draw(batch, generator("case", n))).start == 5)
    assert case.history.shape[2] == 5
    assert bool((case.history_sigma <= 0.3).all())
    given = case.levels[0][:, 0, :, 0, 0] == 0
    assert 0.4 < float(given.any(1).float().mean()) < 0.6
    assert not bool(given.all(1).any())
    target = batch.latent[:, :, 5:]
    assert torch.equal(case.latent.movedim(1, -1)[given], target.movedim(1, -1)[given])
    assert 1 <= float(case.guidance.min()) < 1.2
    assert 5.8 < float(case.guidance.max()) <= 6


# ------------------------------------------------------------------------------------------------- the target


@pytest.mark.parametrize("start", [0, 1, 5])
def test_the_teacher_walks_like_the_sampling_loop(start: int) -> None:
    step = a_step(DistillConfig(grids=(4,)), replace(OPEN, anchors=1.0))
    batch = a_batch(9, num_samples=1)
    case = next(c for n in range(99) if (c := step.draw(batch, generator("case", n))).start == start)
    with torch.no_grad():
        end = step.teach(case, batch.text)
        rows = case._replace(
            **{n: torch.cat([getattr(case, n)] * 2) for n in ("history", "history_sigma", "anchors", "times")}
        )
        look = read(step.teacher, rows, torch.cat([batch.text, torch.zeros(1, 5, 8)]))

        def velocity(latent: Latent, sigma: Sigma) -> Latent:
            return to_velocity(look(latent, sigma[:, 0, :, 0, 0]).prediction, "x0", latent, sigma)

        both = in_one_batch(velocity)
        predict = guided(lambda x, s: both(x, s).conditional, both, weight=float(case.guidance))
        state = LatentState.static(case.latent).start_from(case.latent, 1.0)
        state = replace(state, latent=case.latent, sigma=case.levels[0])
        sigmas = torch.stack([level[0, 0, 0, 0, 0] for level in case.levels[1:]])
        expected = sample_to_end(state, sigmas, predict, multistep).latent
    torch.testing.assert_close(end, expected, rtol=1e-5, atol=1e-5)


def landing(step: DistillStep, case: Case, text: Tensor) -> Latent:
    """Take the student's one step."""
    look = read(step.plain.model, case, text)
    sigma, sigma_next = case.levels[0], case.levels[-1]
    frames, frames_next = sigma[:, 0, :, 0, 0], sigma_next[:, 0, :, 0, 0]

    def velocity(latent: Latent, level: Sigma) -> Latent:
        prediction = look(latent, frames, scalars=told(frames, frames_next, case.guidance)).prediction
        return to_velocity(prediction, "x0", latent, level)

    return euler(velocity, Step(case.latent, sigma, sigma_next)).latent


def test_a_student_that_need_not_change_has_no_loss() -> None:
    """Without guidance, and with one substep to a step, it should do what the teacher does."""
    for plain in (OPEN, DiffusionConfig(kept=1.0, anchors=1.0)):
        step = a_step(DistillConfig(grids=(24,), max_guidance=1.0, plain=0.0), plain)
        for frames in (1, 9):
            for number in range(4):
                assert step(a_batch(frames), generator("loss", number)).loss.item() < 1e-8
    guided_step = a_step(DistillConfig(grids=(24,), plain=0.0))
    assert guided_step(a_batch(), generator("loss")).loss.item() > 1e-3


def test_the_student_learns_to_land_where_the_teacher_does() -> None:
    step = a_step(DistillConfig(grids=(4,), plain=0.0))
    batch = a_batch(num_samples=8)
    case = step.draw(batch, generator("held out"))
    with torch.no_grad():
        end = step.teach(case, batch.text)
        before = (landing(step, case, batch.text) - end).square().mean()

    class Same:
        def at(self, _index: int) -> LatentBatch:
            return batch

    model = step.plain.model
    config = TrainingConfig(
        samples=8 * 60, warm_up=0, optimiser=OptimiserConfig(learning_rate=2e-3, matrix_learning_rate=5e-3)
    )
    run = Run(model, config, matrices=linear_weights(model, "blocks."), dtype=torch.float32)
    metrics = list(train(run, step, Same()))
    assert all(name.startswith("landing_x0_error") for name in metrics[0].values)
    with torch.no_grad():
        after = (landing(step, case, batch.text) - end).square().mean()
    assert float(after) < 0.5 * float(before)


# ---------------------------------------------------------------------------------------- a past with errors


def test_a_distilled_teacher_lands_in_one_pass() -> None:
    step = a_step(DistillConfig(grids=(4,)))
    student = step.plain.model
    step = replace(step, teacher=student)
    case = step.draw(a_batch(), generator("case"))
    with torch.no_grad():
        torch.testing.assert_close(step.teach(case, a_batch().text), landing(step, case, a_batch().text))


def test_a_distilled_teacher_may_take_the_steps_of_one_that_was_not() -> None:
    step = a_step(DistillConfig(grids=(4,), teacher_walks=True))
    student = step.plain.model
    case = step.draw(a_batch(), generator("case"))
    with torch.no_grad():
        walked = replace(step, teacher=student).teach(case, a_batch().text)
        assert not torch.allclose(walked, landing(replace(step, teacher=student), case, a_batch().text))
        plain = VideoTransformer(replace(student.config, scalars=("sigma",)))
        known = plain.state_dict().keys()
        plain.load_state_dict({name: each for name, each in student.state_dict().items() if name in known})
        torch.testing.assert_close(walked, replace(step, teacher=plain).teach(case, a_batch().text))


def test_the_past_has_errors_where_it_is_not_given() -> None:
    step, batch = a_step(DistillConfig(recycle=RecycleConfig(share=1.0))), a_batch(num_samples=40)
    case = next(c for n in range(20) if (c := step.draw(batch, generator("case", n))).start == 5)
    given = case.history_sigma == 0
    assert bool(given.any())
    assert not bool(given.all())
    with torch.no_grad():
        spoiled = step.spoil(case, batch, generator("spoil"))
    before, after = case.history.movedim(1, -1), spoiled.history.movedim(1, -1)
    assert torch.equal(before[given], after[given])
    assert bool((before[~given] != after[~given]).any(-1).all())
    for name in ("latent", "levels", "guidance", "anchors", "times", "history_sigma"):
        assert getattr(case, name) is getattr(spoiled, name)


def test_a_film_has_no_past_at_its_beginning_and_without_recycling_it_is_real() -> None:
    batch = a_batch()
    always, never = a_step(DistillConfig(recycle=RecycleConfig(share=1.0))), a_step(DistillConfig())
    for number in range(20):
        case = always.draw(batch, generator("case", number))
        assert never.spoil(case, batch, generator("spoil")) is case
        assert (always.spoil(case, batch, generator("spoil")) is case) == (case.start == 0)


def a_window(num_samples: int = 2) -> LatentBatch:
    """Return windows of minutes, 40 and 41 latent frames after their first."""
    opening = torch.randn(num_samples, 4, 1, 4, 4, generator=generator("opening"))
    return replace(a_batch(num_samples=num_samples), opening=opening, ages=torch.arange(num_samples) + 40)


def test_the_student_sees_the_first_frame_of_the_minute_at_its_age() -> None:
    step, batch = a_step(DistillConfig(openings=1.0), replace(OPEN, anchors=1.0)), a_window()
    for number in range(12):
        case = step.draw(batch, generator("case", number))
        opened = step.with_opening(case, batch, generator("open"))
        assert (opened is None) == (case.start == 0), "a film that begins has not left its first frame behind"
        if opened is not None:
            assert opened.anchors is batch.opening
            assert opened.times.tolist() == [[-40], [-41]]
            assert opened.history is case.history


def test_without_a_minute_around_them_or_by_chance_clips_have_their_own_anchors() -> None:
    batch, source = a_window(), generator("open")
    always, never = a_step(DistillConfig(openings=1.0)), a_step(DistillConfig(openings=0.0))
    case = next(c for n in range(20) if (c := always.draw(batch, generator("case", n))).start)
    assert always.with_opening(case, a_batch(), source) is None
    assert never.with_opening(case, batch, source) is None
    half = a_step(DistillConfig(openings=0.5))
    opened = [half.with_opening(case, batch, source) is not None for _ in range(200)]
    assert 70 < sum(opened) < 130


def test_a_student_without_anchors_is_shown_none() -> None:
    step, batch = a_step(DistillConfig(openings=1.0)), a_window()
    case = next(c for n in range(20) if (c := step.draw(batch, generator("case", n))).start)
    blind = VideoTransformer(replace(CONFIG, anchors=False, scalars=("sigma", *SCALARS)))
    assert (
        replace(step, plain=replace(step.plain, model=blind)).with_opening(case, batch, generator("open"))
        is None
    )


def test_a_teacher_is_not_shown_so_old_a_frame() -> None:
    """Beside the student's own weights it lands elsewhere, but where it does without any anchor."""
    config = DistillConfig(grids=(24,), max_guidance=1.0, plain=0.0, openings=1.0)
    step, batch = a_step(config, replace(OPEN, anchors=1.0)), a_window()
    taught: list[Case] = []

    class Listening(DistillStep):
        def teach(self, case: Case, text: Tensor) -> Latent:
            taught.append(case)
            return DistillStep.teach(self, case, text)

    listening = Listening(teacher=step.teacher, plain=step.plain, config=config, shift=SHIFT)
    losses = [listening(batch, generator("loss", number)).loss.item() for number in range(12)]
    for case, loss in zip(taught, losses, strict=True):
        assert (case.times.shape[1] == 0) == (case.start > 0)
        assert (loss > 1e-6) == (case.start > 0)


def test_the_first_frame_too_has_errors_where_the_past_has_some() -> None:
    step = a_step(DistillConfig(openings=1.0, recycle=RecycleConfig(share=1.0)))
    batch = a_window(num_samples=8)
    case = next(c for n in range(20) if (c := step.draw(batch, generator("case", n))).start == 5)
    opened = step.with_opening(case, batch, generator("open"))
    assert opened is not None
    with torch.no_grad():
        spoiled = step.spoil(opened, batch, generator("spoil"), opened=True)
    assert spoiled.anchors.shape == batch.opening.shape  # type: ignore[union-attr]
    assert bool((spoiled.anchors != batch.opening).all(1).all())
    assert spoiled.times is opened.times
    assert not torch.equal(spoiled.history, opened.history)


def test_a_student_learns_to_land_beside_a_past_with_errors() -> None:
    """The teacher sees the real past: what the student makes of a spoiled one is an error."""
    recycle = RecycleConfig(share=1.0)
    step = a_step(DistillConfig(grids=(24,), max_guidance=1.0, plain=0.0, recycle=recycle))
    losses = [step(a_batch(9), generator("loss", number)).loss.item() for number in range(12)]
    assert max(losses) > 1e-6
    assert min(losses) < 1e-8  # some chunks are the first


def test_plain_batches_are_ordinary_training() -> None:
    step = a_step(DistillConfig(plain=1.0), DiffusionConfig())
    source = generator("plain")
    torch.rand((), generator=source)
    ordinary = step.plain(a_batch(), source)
    assert step(a_batch(), generator("plain")).loss.item() == ordinary.loss.item()


def test_errors_on_objects_count_more() -> None:
    batch, plain = a_batch(), replace(OPEN, object_weight=9.0)
    objects = torch.zeros(2, 1, 9, 4, 4, dtype=torch.bool)
    objects[..., :2, :] = True
    step = a_step(DistillConfig(plain=0.0), plain)
    weighed = step(replace(batch, objects=objects), generator("loss")).loss
    assert weighed.item() != step(batch, generator("loss")).loss.item()


@pytest.mark.parametrize("change", [{"grids": ()}, {"grids": (4, 0)}, {"substeps": 0}, {"max_guidance": 0.5}])
def test_impossible_distillations_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="there must be a grid"):
        replace(DistillConfig(), **change)


def test_the_teacher_learns_nothing() -> None:
    step = a_step(DistillConfig(plain=0.0), DiffusionConfig())
    step(a_batch(), generator("loss")).loss.backward()
    assert all(parameter.grad is None for parameter in step.teacher.parameters())
    scalars = step.plain.model.scalar_embedding["step"]
    assert scalars.down.weight.grad is not None
    assert float(scalars.down.weight.grad.abs().max()) > 0
