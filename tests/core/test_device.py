import pytest
import torch

from unstatic.core import device
from unstatic.core.device import (
    available_bytes,
    compute_dtype,
    conv_rate,
    cpu_flags,
    gemm_rate,
    pick_device,
    set_threads,
)
from unstatic.core.errors import InputError


def test_the_default_device_can_compute():
    assert torch.ones(2, device=pick_device()).sum().item() == 2
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "cpu:0"])
def test_other_devices_are_refused(name: str):
    with pytest.raises(InputError, match="choose one of cpu"):
        pick_device(name)


@pytest.mark.parametrize(
    ("flag", "dtype"),
    [("avx512_bf16", torch.bfloat16), ("amx_bf16", torch.bfloat16), ("avx512f", torch.float32)],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, flag: str, dtype: torch.dtype
):
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"sse2", flag}))
    assert compute_dtype(torch.device("cpu")) is dtype


def test_flags_are_single_words():
    assert all(flag and not flag.isspace() and " " not in flag for flag in cpu_flags())


def test_the_measured_rate_is_that_of_a_computer():
    rate = gemm_rate(torch.float32, rows=64, inner=64, columns=64)
    assert 0.01 < rate < 1e6


def test_convolutions_have_a_rate_of_the_same_kind():
    assert 0.01 < conv_rate(torch.float32, frames=1, channels=8, side=16) < 1e6


def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch):
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    set_threads(2)
    assert counts == [2]
    with pytest.raises(InputError, match="threads=0"):
        set_threads(0)


def test_this_system_says_how_much_memory_is_free():
    free = available_bytes(torch.device("cpu"))
    assert free is not None
    assert 10**8 < free < 10**14
    assert available_bytes(torch.device("meta")) is None
