from collections import Counter

import numpy as np
import pytest
import torch

from unstatic.core.seeds import generator
from unstatic.evals.intervals import Score
from unstatic.evals.possible import FRAMES, LAWS, Case, draw_case, draw_cases, judge, surprise
from unstatic.models.transformer import TransformerConfig, VideoTransformer

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


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {case.law: case for case in draw_cases(len(LAWS))}


def frame_counts(films: tuple[np.ndarray, ...]) -> Counter[bytes]:
    return Counter(frame.tobytes() for film in films for frame in film)


@pytest.mark.parametrize("law", LAWS)
def test_possible_and_impossible_films_are_made_of_the_same_frames(law: str, cases: dict[str, Case]) -> None:
    case = cases[law]
    assert len(case.possible) == len(case.impossible)
    assert frame_counts(case.possible) == frame_counts(case.impossible)
    films = [*case.possible, *case.impossible]
    assert all(film.shape == (FRAMES, 64, 64, 3) for film in films)
    assert len({film.tobytes() for film in films}) == len(films)
    assert case.prompt


def test_cases_can_be_filmed_at_the_size_of_a_model() -> None:
    (case,) = draw_cases(1, enlarge=2)
    assert {film.shape for film in (*case.possible, *case.impossible)} == {(FRAMES, 128, 128, 3)}


@pytest.mark.parametrize("law", ["permanence", "continuity", "colour", "shape"])
def test_a_broken_law_is_a_jump_in_the_middle(law: str, cases: dict[str, Case]) -> None:
    def leap(film: np.ndarray) -> float:
        change = np.abs(np.diff(film.astype(float), axis=0)).mean((1, 2, 3))
        return change[FRAMES // 2 - 1] / (np.delete(change, FRAMES // 2 - 1).mean() + 0.1)

    case = cases[law]
    assert min(map(leap, case.impossible)) > 2.0 > max(map(leap, case.possible)), law


def test_what_rolls_back_goes_on_from_where_it_was(cases: dict[str, Case]) -> None:
    for film in cases["inertia"].impossible:
        change = np.abs(np.diff(film.astype(float), axis=0)).mean((1, 2, 3))
        assert change[FRAMES // 2 - 1] < 3 * change.mean()


def test_cases_are_decided_by_their_seed() -> None:
    first, second = draw_case("colour", 930_000_100), draw_case("colour", 930_000_100)
    assert first.prompt == second.prompt
    assert all(np.array_equal(one, other) for one, other in zip(first.possible, second.possible, strict=True))


def test_a_judge_who_dislikes_leaps_is_right_and_one_who_likes_them_wrong(cases: dict[str, Case]) -> None:
    def largest_change(film: np.ndarray, _prompt: str, _seed: int) -> float:
        return float(np.abs(np.diff(film.astype(float), axis=0)).mean((1, 2, 3)).max())

    some = [cases[law] for law in ("permanence", "colour", "shape")]
    result = judge(some, largest_change)
    assert {law: score.share for law, score in result.scores.items()} == {case.law: 1.0 for case in some}
    assert judge(some, lambda *film: -largest_change(*film)).rows["all"].right == 0
    assert judge(some, lambda *_: 1.0).rows["all"].right == 0  # a tie is not right
    assert result.to_markdown().splitlines()[-1].startswith("| all | 100.0%")
    assert result.to_json()["all"] == {"right": 3, "total": 3, "share": 1.0}


def test_who_copies_frames_notices_leaps_and_nothing_else(cases: dict[str, Case]) -> None:
    """What a film that runs backwards is wrong in, no change from frame to frame tells: half by chance."""
    case = cases["arrow of time"]
    result = judge([*cases.values(), case], lambda *_: 1.0)
    assert result.copying["arrow of time"] == Score(1, 2)
    assert all(result.copying[law] == Score(1, 1) for law in ("permanence", "colour", "shape"))
    assert result.to_json()["copying"]["all"]["total"] == len(LAWS) + 1
    assert result.to_markdown().splitlines()[0].endswith("| who copies frames |")


def test_surprise_looks_at_every_chunk_but_the_first() -> None:
    model = VideoTransformer(TINY, generator=generator("model")).eval()
    for name, parameter in model.named_parameters():  # a new head predicts nothing
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator("disturb", name))
    latent, text = torch.randn(1, 4, 9, 4, 4, generator=generator("latent")), torch.zeros(1, 5, 8)
    base = surprise(model, latent, text, "x0", seed=1)
    assert surprise(model, latent, text, "x0", seed=1) == base
    assert surprise(model, latent, text, "x0", seed=2) != base
    for frame in (1, 4, 5, 8):
        other = latent.clone()
        other[:, :, frame] *= 3
        assert surprise(model, other, text, "x0", seed=1) > base
