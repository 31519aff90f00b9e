import os
import pickle

import numpy as np
import pytest
from pickled import read_arrays

from unstatic.core.errors import InputError

TREE = {
    "params": {
        "Conv_0": {
            "kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
            "bias": np.zeros(3, np.float32),
        },
        "again": {"kernel": np.full((1, 300), 2.5, np.float32)},
    },
    "count": np.array(3, np.float32),
}


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_tree_of_arrays_is_read(protocol: int):
    arrays = read_arrays(pickle.dumps(TREE, protocol))
    assert list(arrays) == ["params/Conv_0/kernel", "params/Conv_0/bias", "params/again/kernel", "count"]
    assert np.array_equal(arrays["params/Conv_0/kernel"], TREE["params"]["Conv_0"]["kernel"])
    assert np.array_equal(arrays["params/again/kernel"], TREE["params"]["again"]["kernel"])
    assert (arrays["count"].shape, arrays["count"].item()) == ((), 3.0)


def test_an_array_that_occurs_twice_is_read_twice():
    shared = np.ones(3, np.float32)
    arrays = read_arrays(pickle.dumps({"one": shared, "other": {"same": shared}}, 4))
    assert np.array_equal(arrays["one"], arrays["other/same"])


def test_nothing_is_ever_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"names (posix|nt)\.mkdir"):
        read_arrays(pickle.dumps({"weights": Harmful()}, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [3, "text", [np.zeros(2, np.float32)], np.zeros(2), np.zeros((2, 3), np.float32).T, np.zeros(2, ">f4")],
    ids=["number", "text", "list", "float64", "Fortran", "big-endian"],
)
def test_what_is_no_tree_of_arrays_is_refused(value: object):
    with pytest.raises(InputError):
        read_arrays(pickle.dumps({"value": value}, 4))


@pytest.mark.parametrize("end", [0, 1, 40, 150, -1])
def test_a_damaged_pickle_is_refused(end: int):
    with pytest.raises(InputError, match=r"damaged|only arrays"):
        read_arrays(pickle.dumps(TREE["params"], 4)[:end])
