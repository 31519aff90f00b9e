"""A request is checked once, completely, before any work is done."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue
from unstatic.generate.footage import Footage
from unstatic.generate.request import Plan, Request, plan
from unstatic.media.frames import fit
from unstatic.models.manifest import Distilled, Manifest, Window, read_manifest


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return read_manifest(tiny_model)


@pytest.fixture
def planned(manifest: Manifest) -> Callable[..., Plan]:
    return lambda prompt="a red ball", **changes: plan(Request(prompt=prompt, **changes), manifest)


def test_what_is_left_open_is_the_models_own_choice(planned: Callable[..., Plan]):
    made = planned()
    assert (made.fps, made.steps, made.guidance, made.solver) == (16, 3, 2.0, "euler")
    assert (made.native, made.size) == (Size(32, 32), Size(64, 64))


def test_a_distilled_model_takes_its_few_steps_unless_another_solver_is_asked_for(manifest: Manifest):
    few = replace(manifest, distilled=Distilled(steps=6, max_guidance=5.0))
    made = plan(Request(prompt="a ball"), few)
    assert (made.solver, made.steps, made.guidance) == ("distilled", 6, 2.0)
    assert plan(Request(prompt="a ball", steps=9), few).solver == "distilled"
    other = plan(Request(prompt="a ball", solver="heun"), few)
    assert (other.solver, other.steps) == ("heun", 3)
    told = replace(few, distilled=Distilled(steps=6, max_guidance=5.0, guidance=4.0))
    assert plan(Request(prompt="a ball"), told).guidance == 4.0
    assert plan(Request(prompt="a ball", solver="heun"), told).guidance == 2.0
    assert plan(Request(prompt="a ball", guidance=3), told).guidance == 3


def test_a_distilled_model_says_which_guidance_it_knows(manifest: Manifest):
    few = replace(manifest, distilled=Distilled(steps=6, max_guidance=5.0))
    for guidance in (0.5, 5.5):
        with pytest.raises(InputError, match="in few steps knows 1 to 5; take solver euler for any other"):
            plan(Request(prompt="a ball", guidance=guidance), few)
    assert plan(Request(prompt="a ball", guidance=5.5, solver="euler"), few).guidance == 5.5
    for guidance in (math.nan, 99.0):
        with pytest.raises(InputError, match="it must be between 0 and 30"):
            plan(Request(prompt="a ball", guidance=guidance), few)


def test_what_is_asked_for_is_planned(planned: Callable[..., Plan]):
    made = planned(size=Size(144, 96), fps=25, steps=7, guidance=1.0, solver="heun", seed=9)
    assert (made.native, made.warnings) == (Size(48, 32), ())
    assert (made.fps, made.steps, made.guidance, made.solver, made.seed) == (25, 7, 1.0, "heun", 9)


def test_a_prompt_is_expanded_only_if_asked_for_and_only_for_a_model_of_the_world(manifest: Manifest):
    worldly = replace(manifest, expander="world")
    asked = Request(prompt="a horsey", expand=True)
    for made in (plan(asked, manifest), plan(Request(prompt="a horsey"), worldly)):
        assert (made.prompt, made.text) == ("a horsey", "a horsey")
    made = plan(asked, worldly)
    assert made.prompt == "a horsey"
    assert made.text.startswith("a horse ")
    assert made.warnings == ()


def test_nothing_is_added_to_a_picture(manifest: Manifest):
    image = np.zeros((32, 32, 3), np.uint8)
    request = Request(prompt="the horsey runs", seconds=1, image=image, expand=True)
    assert plan(request, replace(manifest, expander="world")).text == "a horse gallops"


@pytest.mark.parametrize(
    ("seconds", "frames", "chunks"),
    [
        (0, 1, (1,)),
        (0.01, 1, (1,)),
        (1, 16, (1, 4)),
        (17 / 16, 17, (1, 4)),
        (18 / 16, 18, (1, 4, 4)),  # one frame more needs a chunk more, and chunks are whole
        (4, 64, (1, 4, 4, 4, 4)),
    ],
)
def test_chunks_cover_the_frames(
    planned: Callable[..., Plan], seconds: float, frames: int, chunks: tuple[int, ...]
):
    made = planned(seconds=seconds)
    assert (made.frames, made.chunks) == (frames, chunks)
    assert made.total_steps == 3 * len(chunks)


@pytest.mark.parametrize(
    ("fps", "frames", "chunks"), [(24, 64, (1, 4, 4, 4, 4)), (8, 63, (1, 4, 4, 4, 4)), (1, 49, (1, 4, 4, 4))]
)
def test_frames_after_the_last_one_shown_are_not_made(
    planned: Callable[..., Plan], fps: int, frames: int, chunks: tuple[int, ...]
):
    made = planned(seconds=4, fps=fps)
    assert (made.frames, made.chunks) == (frames, chunks)


def test_beside_footage_a_last_image_is_where_the_film_ends(planned: Callable[..., Plan], make_frames):
    (picture,), video = make_frames(1, 32, 32), make_frames(12, 32, 32)
    begun = planned(seconds=2, fps=3, last_image=picture, footage=(Footage(first=0, frames=video[:9]),))
    assert begun.frames == planned(seconds=2, fps=3, last_image=picture).frames == 27
    late = planned(seconds=2, fps=3, last_image=picture, footage=(Footage(first=17, frames=video),))
    assert late.frames == 29, "all footage is made"
    with pytest.raises(InputError, match="does not fit in 32: make the video longer"):
        planned(seconds=2, fps=3, footage=(Footage(first=21, frames=video),))


def test_a_first_picture_is_refused_where_others_come_before_the_film(
    planned: Callable[..., Plan], make_frames
):
    (picture,), video = make_frames(1, 32, 32), make_frames(9, 32, 32)
    for given in ({"lead": 9, "footage": (Footage(first=0, frames=video),)}, {"lead": 4}):
        with pytest.raises(InputError, match="comes before the film: leave it out, or the image to begin"):
            planned(seconds=2, image=picture, **given)
    with pytest.raises(InputError, match=r"begins at frame 1 \+ a multiple of 4: move it"):
        planned(seconds=2, image=picture, footage=(Footage(first=14, frames=video),))
    after = planned(seconds=2, image=picture, footage=(Footage(first=17, frames=video),))
    assert (after.skip, after.image is None) == (0, False)


def test_an_image_chooses_the_size_and_is_fitted_to_the_models_own(planned: Callable[..., Plan], make_frames):
    picture = make_frames(1, width=300, height=200)[0]
    made = planned(image=picture, last_image=picture[:, 50:250])
    assert (made.native, made.size) == (Size(48, 32), Size(96, 64))
    assert np.array_equal(made.image, fit(picture[None], Size(48, 32))[0])
    assert made.last_image.shape == (32, 48, 3)
    assert made.warnings == (
        "the last image is 200x200: 33% of it, top and bottom, is cut away to fit 96x64",
    )


def test_a_size_that_was_chosen_stays(planned: Callable[..., Plan], make_frames):
    made = planned(image=make_frames(1, width=300, height=200)[0], size=Size(128, 128))
    assert (made.size, made.image.shape) == (Size(128, 128), (32, 32, 3))
    assert made.warnings == ("the image is 300x200: 33% of it, left and right, is cut away to fit 128x128",)


def test_without_images_nothing_is_said(planned: Callable[..., Plan]):
    made = planned()
    assert (made.image, made.last_image, made.warnings) == (None, None, ())


def test_a_prompt_loses_the_space_around_it(planned: Callable[..., Plan]):
    assert planned("  a red ball \n").prompt == "a red ball"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n\t"}, "the prompt is empty"),
        ({"prompt": "a" * 100_000}, "has 100,000 characters: shorten it to at most 32,000"),
        ({"prompt": "a \0 ball"}, "bytes that are no text"),
        ({"prompt": "a \udcff ball"}, "bytes that are no text"),
        ({"seconds": -1}, "seconds is -1: tiny makes from 0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"seconds": math.inf}, "seconds is inf"),
        ({"seconds": 10.01}, "seconds is 10.01: .* to 10 seconds"),
        ({"size": Size(33, 32)}, "size 33x32 has an odd side: films have even sides, for example 34x32"),
        ({"size": Size(160, 160)}, "size 160x160 is too large for tiny: in this shape up to 128x128"),
        ({"size": Size(14, 14)}, "size 14x14 is too small: sides have at least 16 pixels"),
        ({"fps": 0}, "fps is 0: it must be between 1 and 120"),
        ({"fps": 1000}, "fps is 1000"),
        ({"steps": 0}, "steps is 0: it must be between 1 and 1000"),
        ({"steps": 1001}, "steps is 1001"),
        ({"guidance": math.nan}, "guidance is nan"),
        ({"guidance": -1.0}, r"guidance is -1\.0: it must be between 0 and 30"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"solver": "magic"}, "solver 'magic' is unknown: take one of ancestral, ddim"),
        ({"solver": ""}, "solver '' is unknown"),
        ({"solver": "distilled"}, "solver 'distilled' is unknown: take one of ancestral"),
        ({"image": np.zeros((1, 1, 3), np.uint8)}, "the image is 1x1: give one of at least 16x16"),
        ({"image": np.zeros((64, 64, 3), np.uint8), "seconds": 0}, "a video of 1 frame: make it longer"),
        ({"last_image": np.zeros((64, 64, 3), np.uint8), "seconds": 1, "fps": 1}, "a video of 1 frame"),
        (
            {"conditions": (Cue(at=1.0, prompt="snow"),)},
            "conditions hold a Cue: give it among the cues",
        ),
    ],
)
def test_bad_requests_name_the_value_and_the_fix(
    planned: Callable[..., Plan], changes: dict[str, object], message: str
):
    with pytest.raises(InputError, match=message) as caught:
        planned(**changes)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


def test_a_language_model_rewrites_first_and_the_models_own_words_come_after(planned):
    made = planned(prompt="ball!", rewriter=lambda text: f"a red {text.strip('!')}", expand=True)
    assert (made.prompt, made.text) == ("ball!", "a red ball")
    with pytest.raises(InputError, match="there is an expander and --no-expand: leave one of them out"):
        planned(prompt="ball!", rewriter=str.upper, expand=False)


def test_any_size_is_cut_from_the_nearest_shape_and_much_of_it_said(planned):
    made = planned(size=Size(96, 62))
    assert (made.native, made.size, made.warnings) == (Size(48, 32), Size(96, 62), ())
    made = planned(size=Size(160, 90))
    assert made.native == Size(48, 32)
    assert made.warnings == ("tiny films in 48x32: 16% of it is cut away to fill 160x90",)


def test_what_a_model_cannot_go_on_from_is_refused(manifest: Manifest, make_frames):
    (picture,) = make_frames(1, width=48, height=32)
    footage = (Footage(frames=picture[None], first=0),)
    words, pictures = replace(manifest, given="nothing"), replace(manifest, given="pictures")
    for request in (Request(prompt="a ball", image=picture), Request(prompt="a ball", footage=footage)):
        with pytest.raises(InputError, match="cannot go on from what is given"):
            plan(request, words)
    assert plan(Request(prompt="a ball", source=picture[None], strength=0.5), words).source is not None
    assert plan(Request(prompt="a ball", image=picture), pictures).image is not None
    both = plan(Request(prompt="a ball", image=picture, last_image=picture, seconds=2), pictures)
    assert (both.frames, plan(Request(prompt="a ball", image=picture, seconds=2), pictures).frames) == (
        33,
        32,
    )
    assert both.frames == pictures.compression.frames(sum(both.chunks)), "it ends where the model ends"
    with pytest.raises(InputError, match="begins with a picture: give it an image"):
        plan(Request(prompt="a ball", last_image=picture), pictures)
    with pytest.raises(InputError, match="cannot go on from what is given"):
        plan(Request(prompt="a ball", image=picture, footage=footage), pictures)


def test_a_student_goes_forward_from_a_beginning(manifest: Manifest, make_frames):
    video, (picture,) = make_frames(9, 32, 32), make_frames(1, 32, 32)
    student = replace(manifest, given="beginning", chunk=3, window=Window(first=3))
    asked = Request(prompt="a ball", seconds=2)
    assert plan(Request(prompt="a ball", seconds=0), student).chunks == (3,)
    assert plan(asked, student).chunks == (3, 3, 3)
    on = plan(replace(asked, footage=(Footage(first=0, frames=video),)), student)
    assert (on.skip, on.chunks) == (0, (3, 3, 3))
    assert plan(replace(asked, footage=(Footage(first=0, frames=video[:8]),)), student).skip == 1
    for refused in (
        replace(asked, last_image=picture),
        replace(asked, footage=(Footage(first=4, frames=video),)),
    ):
        with pytest.raises(InputError, match="goes forward only: take another model"):
            plan(refused, student)
    with pytest.raises(InputError, match="begins with 9 frames at once, not with one: extend a film"):
        plan(replace(asked, image=picture), student)
    alone = replace(student, window=Window(first=1, frames=7))
    assert plan(replace(asked, image=picture), alone).chunks == (1, 3, 3, 3)


def test_fresh_static_leaves_no_line_for_a_step_cache(manifest: Manifest):
    with pytest.raises(InputError, match="few steps of consistency are all needed: leave the step cache out"):
        plan(Request(prompt="a ball", solver="consistency", step_cache=2), manifest)


def test_levels_that_were_learned_are_as_many_as_the_steps(manifest: Manifest):
    defaults = replace(manifest.defaults, levels=(1.0, 0.757, 0.522))
    learned = replace(manifest, defaults=defaults)
    assert plan(Request(prompt="a ball"), learned).steps == 3
    with pytest.raises(InputError, match=r"steps is 4: .* learned 3 levels, leave steps out"):
        plan(Request(prompt="a ball", steps=4), learned)


def test_a_model_that_does_not_stream_makes_one_chunk(manifest: Manifest):
    made = plan(Request(prompt="a ball", seconds=2), replace(manifest, chunk=None))
    assert len(made.chunks) == 1
    assert made.total_steps == made.steps
    cued = Request(prompt="a ball", seconds=2, cues=(Cue(at=1.0, prompt="a cube"),))
    with pytest.raises(InputError, match="makes a film in one piece: it knows one prompt"):
        plan(cued, replace(manifest, chunk=None))


def test_a_step_cache_needs_a_network_of_ours_and_steps_to_spare(manifest: Manifest):
    assert plan(Request(prompt="a ball"), manifest).step_cache == 1
    assert plan(Request(prompt="a ball", step_cache=3, steps=20), manifest).step_cache == 3
    with pytest.raises(InputError, match="step_cache is 11: it must be between 1 and 10"):
        plan(Request(prompt="a ball", step_cache=11), manifest)
    few = replace(manifest, distilled=Distilled(steps=4, max_guidance=6.0))
    with pytest.raises(InputError, match="are all needed: leave the step cache out, or take solver"):
        plan(Request(prompt="a ball", step_cache=2), few)
    solver = few.defaults.solver
    assert plan(Request(prompt="a ball", step_cache=2, solver=solver, steps=20), few).solver == solver
    with pytest.raises(InputError, match="steps is 19: with a step cache take 20 or more"):
        plan(Request(prompt="a ball", step_cache=2, steps=19), manifest)
    with pytest.raises(InputError, match="not run by the native engine: leave the step cache out"):
        plan(Request(prompt="a ball", step_cache=2), replace(manifest, engine="diffusers"))


def test_guidance_leads_away_from_a_negative_prompt(manifest: Manifest):
    defaults = replace(manifest.defaults, negative="grey", late_guidance=2.0)
    model = replace(manifest, defaults=defaults)
    assert plan(Request(prompt="a ball"), model).negative == "grey"
    assert plan(Request(prompt="a ball"), model).late_guidance == 2.0
    made = plan(Request(prompt="a ball", negative=" still ", guidance=3.0), model)
    assert (made.negative, made.late_guidance) == ("still", None)
    with pytest.raises(InputError, match="a negative prompt needs two passes: take solver"):
        plan(Request(prompt="a ball", negative="still", guidance=1.0), model)


@pytest.mark.parametrize(
    ("expander", "asked", "found"),
    [("world", None, "nano"), ("", None, "realesr"), ("world", "realesr", "realesr")],
)
def test_films_of_the_world_are_enlarged_by_what_learned_from_it(
    manifest: Manifest, expander: str, asked: str | None, found: str
) -> None:
    manifest = replace(manifest, expander=expander)
    assert plan(Request(prompt="a red ball", upscaler=asked), manifest).finish.upscaler == found
