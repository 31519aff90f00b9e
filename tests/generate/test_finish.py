"""From the model's frames to those of the file: how many, how large, and the same in pieces as in one."""

import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.finish import (
    BICUBIC,
    INTERPOLATORS,
    REPEAT,
    UPSCALERS,
    Finish,
    Finisher,
    check_finish,
    in_its_colours,
    load_upscaler,
)
from unstatic.media.enlarge import enlarge
from unstatic.media.frames import fit, retime

NATIVE = Size(32, 24)


def a_finish(size: str = "32x24", fps: int = 16, **names: str) -> Finish:
    return Finish(native=NATIVE, native_fps=16, size=Size.parse(size), fps=fps, **names)


def finished(
    finish: Finish, frames: np.ndarray, pieces: tuple[int, ...] = (9,), **options: object
) -> np.ndarray:
    finisher, first, shown = Finisher(finish, len(frames), device=torch.device("cpu"), **options), 0, []
    for count in pieces:
        shown.append(finisher.next(frames[first : first + count], first))
        first += count
    return np.concatenate(shown)


@pytest.fixture
def frames(make_frames) -> np.ndarray:
    return make_frames(9, width=NATIVE.width, height=NATIVE.height)


@pytest.mark.parametrize(
    ("size", "upscaler", "enlarges"),
    [
        ("32x24", "realesr", False),
        ("30x24", "realesr", False),
        ("32x26", "realesr", True),
        ("64x48", "realesr", True),
        ("256x192", "realesr", True),
        ("256x192", BICUBIC, False),
    ],
)
def test_an_upscaler_works_only_for_what_is_larger(size: str, upscaler: str, enlarges: bool):
    assert a_finish(size, upscaler=upscaler).enlarges == enlarges


@pytest.mark.parametrize("pieces", [(9,), (1, 3, 5), (4, 4, 1)])
def test_between_two_scenes_there_is_nothing(frames: np.ndarray, pieces: tuple[int, ...]):
    finish = a_finish(fps=64)
    plain, cut = (finished(finish, frames, pieces, cuts=cuts) for cuts in (frozenset[int](), frozenset({4})))
    assert (cut[13:16] == frames[3]).all(), "the scene before stays until the next begins"
    assert not (plain[13:16] == frames[3]).all()
    kept = [number for number in range(len(plain)) if not 12 < number < 16]
    assert np.array_equal(cut[kept], plain[kept])


@pytest.mark.parametrize("pieces", [(9,), (1, 3, 5), (4, 4, 1)])
def test_after_the_last_frame_of_a_loop_comes_its_first(frames: np.ndarray, pieces: tuple[int, ...]):
    finish = a_finish(fps=64)
    once, again = (finished(finish, frames, pieces, loops=loops) for loops in (False, True))
    assert len(once) == len(again) == 4 * 9
    assert np.array_equal(once[:-3], again[:-3])
    assert (once[-3:] == frames[8]).all(), "nothing comes after it"
    twice = finished(finish, np.concatenate([frames, frames]), (18,))
    assert np.array_equal(again, twice[:36]), "as if it had been filmed twice"


def test_nothing_is_loaded_where_nothing_is_doubled(frames: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("unstatic.generate.finish.load_interpolator", lambda _: pytest.fail("it was loaded"))
    assert np.array_equal(finished(a_finish(), frames), frames)


@pytest.mark.parametrize(
    ("fps", "doublings"), [(8, 0), (16, 0), (24, 2), (25, 2), (30, 2), (32, 1), (60, 3), (64, 2), (120, 3)]
)
def test_rates_are_doubled_until_frames_can_be_picked_evenly(fps: int, doublings: int):
    assert a_finish(fps=fps).doublings == doublings
    assert a_finish(fps=fps, interpolator=REPEAT).doublings == 0


def test_nothing_to_do_is_nothing_done(frames: np.ndarray):
    assert np.array_equal(finished(a_finish(), frames), frames)
    assert np.array_equal(finished(a_finish(fps=8), frames), retime(frames, 0, 16, 8))
    assert np.array_equal(
        finished(a_finish("64x48", upscaler=BICUBIC), frames), enlarge(frames, 2, "bicubic")
    )
    assert np.array_equal(finished(a_finish("50x24", upscaler=BICUBIC), frames), fit(frames, Size(50, 24)))


@pytest.mark.parametrize(
    "finish",
    [
        a_finish(fps=32),
        a_finish(fps=24),
        a_finish(fps=60, interpolator=REPEAT),
        a_finish("64x48"),
        a_finish("80x80", fps=64),
        a_finish("256x192", fps=24),
    ],
    ids=str,
)
def test_pieces_give_what_the_whole_gives(frames: np.ndarray, finish: Finish):
    whole = finished(finish, frames)
    assert whole.shape == (len(retime(frames, 0, 16, finish.fps)), finish.size.height, finish.size.width, 3)
    pieces = finished(finish, frames, (1, 4, 4))
    assert np.abs(pieces.astype(int) - whole).max() <= 1, "convolutions may round otherwise"


def test_own_frames_stay_and_the_last_is_shown_to_its_end(frames: np.ndarray):
    made = finished(a_finish(fps=64), frames)
    assert np.array_equal(made[::4], frames)
    assert np.array_equal(made[-3:], np.repeat(frames[-1:], 3, axis=0))
    moving = np.abs(made[2].astype(int) - frames[0]).sum(), np.abs(made[2].astype(int) - frames[1]).sum()
    assert max(moving) < np.abs(frames[0].astype(int) - frames[1]).sum(), "a middle lies between"


def test_an_enlarged_video_has_the_colours_of_the_small_one_and_its_own_edges():
    small = torch.rand((2, 3, 2, 24, 32), generator=torch.Generator().manual_seed(0)) - 0.5
    large = small.repeat_interleave(4, 3).repeat_interleave(4, 4)
    torch.testing.assert_close(in_its_colours(large, small), large, atol=1e-6, rtol=0)
    torch.testing.assert_close(in_its_colours(large + 0.1, small), large, atol=1e-5, rtol=0)
    detail = 0.1 * torch.tensor([1.0, -1.0]).repeat(64)
    torch.testing.assert_close(in_its_colours(large + detail, small), large + detail, atol=1e-5, rtol=0)


def test_the_network_of_the_package_enlarges_a_picture_as_it_is(make_frames):
    large = make_frames(5, width=256, height=192)
    small = fit(large, Size(64, 48))
    factor = load_upscaler("realesr", torch.device("cpu")).config.factor
    size = Size(64 * factor, 48 * factor)
    finish = Finish(native=Size(64, 48), native_fps=16, size=size, fps=16)
    made = finished(finish, small, (5,)).astype(float)
    assert np.abs(made - fit(large, size)).mean() < 6


def test_a_still_is_a_still_at_every_rate(frames: np.ndarray):
    assert len(finished(a_finish(fps=64), frames[:1], (1,))) == 1


def test_nothing_that_comes_makes_nothing(frames: np.ndarray):
    assert np.array_equal(finished(a_finish(fps=32), frames, (0, 9)), finished(a_finish(fps=32), frames))


@pytest.mark.parametrize(("what", "names"), [("upscaler", UPSCALERS), ("interpolator", INTERPOLATORS)])
def test_unknown_names_are_refused_with_those_there_are(what: str, names: tuple[str, ...]):
    wrong = {"upscaler": BICUBIC, "interpolator": REPEAT, what: "magic"}
    with pytest.raises(InputError, match=f"{what} 'magic' is unknown: take one of {', '.join(names)}"):
        check_finish(**wrong)
