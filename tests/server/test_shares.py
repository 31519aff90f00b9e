"""Shares of what is under way."""

import threading
import time

import pytest

from unstatic.server.errors import ApiError
from unstatic.server.shares import Shares, Turns


def test_f27_nobody_takes_more_than_a_share_and_what_ends_is_given_back():
    shares = Shares("too much is sent", most=3, in_all=5)
    with shares.of("ada", 2), shares.of("ada"):
        with pytest.raises(ApiError) as caught, shares.of("ada"):
            pass
        assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, "busy", 5)
        assert caught.value.message == "too much is sent at the moment: ask again later"
        with shares.of("bob", 2), pytest.raises(ApiError), shares.of("eve"):
            pass
        with shares.of("eve", 2):
            pass
    with pytest.raises(ZeroDivisionError), shares.of("ada", 3):
        raise ZeroDivisionError
    with shares.of("ada", 3):
        pass


def test_f27_a_share_that_grows_is_taken_in_blocks_and_given_back_whole():
    shares = Shares("too much is sent", most=30, in_all=40)
    with shares.growing("ada", free=10, block=10) as grow:
        grow(10)
        with shares.of("bob", 30), shares.of("eve", 10):
            pass  # so much is free
        grow(11)
        grow(19)
        with shares.of("ada", 20), pytest.raises(ApiError):
            grow(21)
        grow(40)
        with pytest.raises(ApiError):
            grow(41)
        with shares.of("bob", 10):
            pass
    with shares.of("ada", 30), shares.of("bob", 10):
        pass


def test_f27_an_account_has_one_turn_at_a_time_and_leaves_the_others():
    turns, over, began = Turns(2), threading.Event(), list[str]()

    def take(name: str) -> None:
        with turns.of(name):
            began.append(name)
            over.wait(30)

    def wait_for(names: list[str]) -> None:
        until_s = time.monotonic() + 30
        while sorted(began) != names:
            assert time.monotonic() < until_s
            time.sleep(0.01)

    threads = [threading.Thread(target=take, args=(name,)) for name in ("ada", "ada", "bob", "eve")]
    for thread in threads[:2]:
        thread.start()
    wait_for(["ada"])
    threads[2].start()
    wait_for(["ada", "bob"])
    threads[3].start()
    time.sleep(0.1)
    assert sorted(began) == ["ada", "bob"]  # and that is all there is
    over.set()
    for thread in threads:
        thread.join()
    assert sorted(began) == ["ada", "ada", "bob", "eve"]
