"""The number of threads: found by trying, only while work is done, and never at the price of other bits."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from unstatic.core.device import set_threads
from unstatic.core.thread_choice import (
    PERIOD,
    TRIALS,
    ThreadChoice,
    equal_counts,
    free_to_choose,
    with_threads,
)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    set_threads(2)
    yield
    set_threads(before)


def chosen(choice: ThreadChoice, seconds: dict[int, float], pieces: int) -> list[int]:
    """Return with how many threads pieces are made that take `seconds` with each number of them."""
    counts: list[int] = []
    for _ in range(pieces):
        counts.append(choice.count)
        choice.note(counts[-1], seconds[counts[-1]])
    return counts


def test_all_are_tried_and_the_fastest_is_taken():
    counts = chosen(ThreadChoice((1, 2, 4)), {1: 3.0, 2: 1.0, 4: 2.0}, 10)
    assert counts == [1] * TRIALS + [2] * TRIALS + [4] * TRIALS + [2] * (10 - 3 * TRIALS)


def test_what_was_slow_is_tried_again():
    choice = ThreadChoice((1, 2))
    assert chosen(choice, {1: 1.0, 2: 9.0}, PERIOD)[-1] == 1
    assert chosen(choice, {1: 9.0, 2: 1.0}, PERIOD)[-1] == 2


def test_one_slow_piece_decides_nothing():
    choice = ThreadChoice((1, 2))
    for count, seconds in ((1, 1.0), (1, 50.0), (2, 3.0), (2, 2.0)):
        choice.note(count, seconds)
    assert choice.count == 1


def test_nothing_to_choose_from_is_no_trial():
    assert chosen(ThreadChoice((1,)), {1: 1.0}, 3 * PERIOD) == [1] * 3 * PERIOD


def counts_seen(choice: ThreadChoice | None) -> list[tuple[int, int]]:
    """Return how many threads there are while each of three items is made, and after it."""
    items = (torch.get_num_threads() for _ in range(3))
    return [(item, torch.get_num_threads()) for item in with_threads(choice, items)]


def test_threads_are_limited_only_while_an_item_is_made():
    assert counts_seen(ThreadChoice((1,))) == [(1, 2)] * 3
    assert counts_seen(None) == [(2, 2)] * 3


def test_the_time_of_every_item_is_noted():
    times = iter(range(100))
    choice = ThreadChoice((1, 2), clock=lambda: float(next(times)))
    list(with_threads(choice, range(2 * TRIALS), alike=lambda item: item % 2 == 0))
    assert choice.count == 2


def test_what_is_not_alike_is_not_compared():
    choice = ThreadChoice((1, 2))
    list(with_threads(choice, range(9), alike=lambda _: False))
    assert choice.count == 1


def test_there_are_never_more_threads_than_the_process_has():
    assert counts_seen(ThreadChoice((4,))) == [(2, 2)] * 3


def test_the_user_may_have_chosen(monkeypatch: pytest.MonkeyPatch):
    assert free_to_choose()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert not free_to_choose()
    monkeypatch.delenv("OMP_NUM_THREADS")
    set_threads(1)
    assert not free_to_choose()


def test_an_error_leaves_the_threads_as_they_were():
    with pytest.raises(ZeroDivisionError):
        list(with_threads(ThreadChoice((1,)), (1 // n for n in (1, 0))))
    assert torch.get_num_threads() == 2


def test_only_equal_bits_are_offered():
    def same() -> Tensor:
        return torch.ones(3)

    def other() -> Tensor:
        return torch.ones(3) / torch.get_num_threads()

    assert equal_counts(same, (1, 2, 4)) == (1, 2)
    assert equal_counts(other, (1, 2)) == (1,)
    assert equal_counts(same, (2,)) == (1, 2)
    assert torch.get_num_threads() == 2
