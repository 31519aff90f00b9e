"""The minute suite: a film that drifts, freezes or goes wild is told from one that holds."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from unstatic.evals import minute as module
from unstatic.evals.intervals import Score
from unstatic.evals.minute import Minutes, followed, motion, watch_minutes
from unstatic.evals.prompts import Prompt, Suite, load_suite
from unstatic.evals.readings import Frames, Reading, Thing
from unstatic.world.clip import Clip

PROMPT = next(prompt for prompt in load_suite("objects").prompts if prompt.asked["colour"] == "red")
SHAPE = str(PROMPT.asked["shape"])


class ByBrightness:
    """Reads "red" while films are bright, "blue" when they have grown dark."""

    def read(self, frames: Frames) -> Reading:
        colour = "red" if frames.mean() > 60 else "blue"
        action, direction = PROMPT.asked["event"], PROMPT.asked.get("direction", "")
        return Reading((Thing(colour, SHAPE),), (), str(action), str(direction), "still", {})


def a_film(seconds: int = 20, *, step: int = 2) -> Frames:
    """Return a white bar that moves by `step` pixels a frame over grey."""
    frames = np.full((16 * seconds, 32, 48, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        left = number * step % 40
        frame[8:24, left : left + 8] = 250
    return frames


def measured(frames: Frames) -> module.Film:
    return followed(PROMPT, frames, [ByBrightness()])


def test_a_film_that_holds_has_flat_curves():
    film = measured(a_film())
    assert (film.begins_right, film.ends_right) == (True, True)
    assert film.sharpness_ratio == pytest.approx(1, abs=0.05)
    assert film.colour.max() < 2
    assert film.motion.std() < 0.2 * film.motion.mean()


def test_a_film_that_darkens_loses_its_hero_and_its_colour():
    fading = (a_film() * np.linspace(1, 0.2, 320)[:, None, None, None]).astype(np.uint8)
    film = measured(fading)
    assert (film.begins_right, film.ends_right) == (True, False)
    assert np.diff(film.colour[5:]).min() > 0
    assert film.colour[-1] > 40


def test_a_film_that_blurs_loses_its_edges():
    frames = a_film().astype(float)
    weights = np.linspace(0, 1, 320)[:, None, None, None]
    blurred = (frames + np.roll(frames, 1, 2) + np.roll(frames, -1, 2) + np.roll(frames, 1, 1)) / 4
    film = measured(((1 - weights) * frames + weights * blurred).astype(np.uint8))
    assert film.sharpness_ratio > 1.3


def test_a_frozen_film_has_no_motion_and_a_fast_one_has_more():
    slow, frozen, fast = (Minutes("", (measured(a_film(step=step)),)) for step in (1, 0, 4))
    assert frozen.motion_ratio(slow) == 0
    assert fast.motion_ratio(slow) > 1.5


def test_other_heroes_that_come_do_not_make_up_for_those_that_go():
    bright = a_film()
    fading = (bright * np.linspace(1, 0.2, 320)[:, None, None, None]).astype(np.uint8)
    coming = fading[::-1].copy()
    films = Minutes("", tuple(measured(each) for each in (fading, coming)))
    assert films.begins == films.ends == Score(1, 2)
    assert films.stays == Score(0, 1)


def test_a_frozen_film_and_a_wild_one_do_not_make_up_for_each_other():
    slow, frozen, fast = (measured(a_film(step=step)) for step in (1, 0, 2))
    real = Minutes("", (slow, slow))
    assert Minutes("", (slow, slow)).moves_alike(real) == Score(2, 2)
    assert Minutes("", (frozen, fast)).moves_alike(real) == Score(0, 2)


def test_no_edges_give_no_figure_instead_of_an_error():
    film = measured(np.full((320, 32, 32, 3), 90, np.uint8))
    assert math.isnan(film.sharpness_ratio)
    assert math.isnan(Minutes("", (film,)).sharpness_ratio)
    assert Minutes("", (film,)).curve("sharpness") == [None] * 20


def test_motion_is_in_levels_of_change():
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1] = 10
    assert motion(frames) == 10


def test_all_makers_are_measured_beside_the_renders(monkeypatch: pytest.MonkeyPatch):
    def render(_: object, **__: int) -> Clip:
        return Clip(spec=PROMPT.spec, frames=a_film(), ids=np.zeros((320, 32, 48), np.uint8))

    monkeypatch.setattr(module, "make_clip", render)
    makers: dict[str, Callable[[Prompt], Frames]] = {
        "dark": lambda _: a_film() // 3,
        "same": lambda _: a_film(),
    }
    seen: list[int] = []
    result = watch_minutes(
        makers, Suite("minutes", (PROMPT, PROMPT)), [ByBrightness()], advance=lambda: seen.append(1)
    )
    facts = result.to_json()["makers"]
    assert list(facts) == ["real render", "dark", "same"]
    assert [facts[name]["ends"]["right"] for name in facts] == [2, 0, 2]
    assert facts["same"]["motion_ratio"] == pytest.approx(1)
    assert facts["dark"]["motion_ratio"] == pytest.approx(1 / 3, abs=0.02)
    assert len(facts["same"]["curves"]["motion"]) == 20
    assert facts["same"]["films"][1]["motion_ratio"] == pytest.approx(1)
    assert facts["dark"]["moves_alike"]["right"] == 0
    assert facts["dark"]["stays"]["total"] == 0
    assert len(seen) == 2
    assert "| motion, that of the renders = 1 | 1.00 | 0.33 | 1.00 |" in result.to_markdown()
