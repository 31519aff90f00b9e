"""Shares of what is under way."""

import pytest

from unstatic.server.errors import ApiError
from unstatic.server.shares import Shares


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
