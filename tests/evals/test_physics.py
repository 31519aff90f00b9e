"""Each law on renders that keep it, and on films of the same frames that break it."""

import math
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from unstatic.evals.classical import load_classical
from unstatic.evals.follow import REAL
from unstatic.evals.physics import LAWS, Film, Flight, figures_of, flights, kept, measure_physics
from unstatic.evals.prompts import PHYSICS, Prompt, load_suite
from unstatic.evals.readings import Frames
from unstatic.world.clip import Clip, make_clip


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    """Return the render of the first prompt of each kind, by its first law."""
    return {each.atoms[0]: make_clip(each.spec, enlarge=2) for each in load_suite(PHYSICS).prompts[:4]}


def figure(law: str, frames: Frames) -> float:
    return figures_of(Film(frames, load_classical().tables), [law])[law]


def test_every_law_is_asked_for_and_kept_by_the_renders_themselves(clips: dict[str, Clip]) -> None:
    prompts = load_suite(PHYSICS).prompts
    assert {law for each in prompts for law in each.atoms} == set(LAWS)
    for each in prompts[:4]:
        for law in each.atoms:
            assert kept(law, figure(law, clips[each.atoms[0]].frames)), law


def backwards(clip: Clip) -> Frames:
    return clip.frames[::-1].copy()


def steadily(clip: Clip) -> Frames:
    """Let the thing as it looks at first go down and up again, every way at one speed."""
    ground = np.median(clip.frames, axis=0).astype(np.uint8)
    rows, columns = np.nonzero(clip.ids[0] == 1)
    lowest = max(np.nonzero(ids == 1)[0].max(initial=0) for ids in clip.ids)
    way = lowest - rows.max()
    frames = np.broadcast_to(ground, clip.frames.shape).copy()
    for time, frame in enumerate(frames):
        share = abs((time / 12 + 1) % 2 - 1)
        frame[rows + round(share * way), columns] = clip.frames[0, rows, columns]
    return frames


def turned_back(clip: Clip) -> Frames:
    return np.concatenate([clip.frames[:39], clip.frames[38:12:-1]])


def gone_for_a_while(clip: Clip) -> Frames:
    frames = clip.frames.copy()
    frames[20:28] = np.median(clip.frames, axis=0)
    return frames


def without_shadow(clip: Clip) -> Frames:
    """Cut the thing out and put it on the ground as it looks without it."""
    ground = np.broadcast_to(np.median(clip.frames, axis=0).astype(np.uint8), clip.frames.shape)
    return np.where(clip.ids[..., None] == 1, clip.frames, ground)


def without_image(clip: Clip) -> Frames:
    """Let the floor be as it is at the side of the picture."""
    return np.where(clip.ids[..., None] == 1, clip.frames, clip.frames[:, :, :1])


def in_waves(clip: Clip) -> Frames:
    frames = clip.frames.copy()
    for time, frame in enumerate(frames):
        shifts = (2.5 * np.sin(np.arange(len(frame)) / 9 + 0.7 * time)).round().astype(int)
        for row, shift in enumerate(shifts):
            frame[row] = np.roll(frame[row], shift, axis=0)
    return frames


def slid(clip: Clip) -> Frames:
    return np.stack([np.roll(clip.frames[0], time, axis=1) for time in range(65)])


def zoomed(clip: Clip) -> Frames:
    picture, side = PIL.Image.fromarray(clip.frames[0]), clip.frames.shape[1]
    boxes = [(edge, edge, side - edge, side - edge) for edge in np.linspace(0, side / 5, 65)]
    size = (clip.frames.shape[2], side)
    return np.stack([np.asarray(picture.resize(size, PIL.Image.Resampling.BICUBIC, box)) for box in boxes])


def empty(clip: Clip) -> Frames:
    return np.full_like(clip.frames, 120)


def static(clip: Clip) -> Frames:
    return np.random.default_rng(0).integers(0, 256, clip.frames.shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("law", "scene", "broken"),
    [
        ("parabola", "parabola", steadily),
        ("restitution", "parabola", backwards),
        ("prediction of bounces", "parabola", backwards),
        ("prediction of ways", "prediction of ways", turned_back),
        ("permanence", "prediction of ways", gone_for_a_while),
        ("shadow", "prediction of ways", without_shadow),
        ("mirror", "mirror", without_image),
        ("orbit", "orbit", in_waves),
        ("orbit", "orbit", slid),
        ("orbit", "orbit", zoomed),
        *((law, "orbit", make) for law in LAWS for make in (empty, static)),
    ],
)
def test_a_film_that_breaks_a_law_is_noticed(
    clips: dict[str, Clip], law: str, scene: str, broken: Callable[[Clip], Frames]
) -> None:
    assert not kept(law, figure(law, broken(clips[scene])))


def test_heights_are_cut_where_something_strikes_the_ground() -> None:
    times = np.arange(10)
    arc = 20 - 1.8 * times + 0.2 * times**2
    y = np.concatenate([arc, arc, arc])
    found = flights(y, size=6.0)
    assert found == [Flight(0, 10), Flight(10, 20), Flight(20, 29)]
    assert flights(np.linspace(0, 20, 30), size=6.0) == [Flight(0, 29)]


def test_films_are_counted_by_law_and_column() -> None:
    suite = load_suite(PHYSICS).first(2)
    advanced: list[int] = []

    def still(prompt: Prompt) -> Frames:
        return np.repeat(make_clip(prompt.spec, enlarge=2).frames[:1], 65, axis=0)

    found = measure_physics(
        {"still": still}, suite, load_classical().tables, enlarge=2, advance=lambda: advanced.append(1)
    )
    assert len(advanced) == 2
    assert list(found.columns) == [REAL, "still"]
    assert found.score(REAL, "restitution").right == found.score(REAL, "restitution").total == 1
    assert found.score("still", "restitution").right == found.score("still", "shadow").right == 0
    assert found.score("still", "permanence").right == 1
    assert len(found.to_markdown().splitlines()) == 2 + len(
        {law for each in suite.prompts for law in each.atoms}
    )
    facts = found.to_json()["laws"]["still"]["shadow"]
    assert facts == {"right": 0, "total": 1, "figures": [None]}
    assert not kept("shadow", math.nan)
