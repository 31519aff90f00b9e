from pathlib import Path

import pytest
import torch

from unstatic.core import device
from unstatic.core.device import (
    available_bytes,
    compute_dtype,
    conv_rate,
    cpu_flags,
    gemm_rate,
    granted_bytes,
    pick_device,
    set_threads,
    warp_device,
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
    ("name", "rendered"),
    [("cpu", "cpu"), ("mps", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_clips_are_rendered_where_networks_compute_if_rays_can_be_cast_there(name: str, rendered: str):
    assert warp_device(torch.device(name)) == rendered


@pytest.mark.parametrize(
    ("flag", "dtype"),
    [("avx512_bf16", torch.bfloat16), ("amx_bf16", torch.bfloat16), ("avx512f", torch.float32)],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, flag: str, dtype: torch.dtype
):
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"sse2", flag}))
    assert compute_dtype(torch.device("cpu")) is dtype


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_that_only_imitates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, native: bool, dtype: torch.dtype
):
    """What is imitated is slow, and its attention takes a square of memory."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    assert compute_dtype(torch.device("cuda")) is dtype


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


def group(folder: Path, limit: str, used: int, cached: int = 0, *, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    new = version == 2
    (folder / ("memory.max" if new else "memory.limit_in_bytes")).write_text(f"{limit}\n")
    (folder / ("memory.current" if new else "memory.usage_in_bytes")).write_text(f"{used}\n")
    total = "" if new else "total_"
    halves = f"{total}inactive_file {cached // 5}\n{total}active_file {cached - cached // 5}\n"
    (folder / "memory.stat").write_text(f"anon 12345\n{halves}")


def test_a_job_of_a_cluster_has_the_memory_that_its_groups_are_granted(tmp_path: Path):
    """Its own group has no limit, the job's above it has: 8000 less 3000, of which 500 can be let go."""
    root, membership = tmp_path / "fs", tmp_path / "cgroup"
    membership.write_text("0::/slurm/job_7/step_0\n")
    assert granted_bytes(membership, root) is None, "nothing is mounted"
    group(root / "slurm" / "job_7" / "step_0", "max", 3000)
    assert granted_bytes(membership, root) is None
    group(root / "slurm" / "job_7", "8000", 3000, 500)
    assert granted_bytes(membership, root) == 5500
    group(root / "slurm", "6000", 5900)
    assert granted_bytes(membership, root) == 100
    group(root / "slurm", "6000", 6900)
    assert granted_bytes(membership, root) == 0


def test_a_container_has_the_memory_of_its_group_where_that_is_mounted_as_the_root(tmp_path: Path):
    root, membership = tmp_path / "fs", tmp_path / "cgroup"
    membership.write_text("12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n")
    group(root / "memory", "4000", 1000, 200, version=1)
    assert granted_bytes(membership, root) == 3200
    assert granted_bytes(tmp_path / "missing", root) is None


def test_free_memory_is_no_more_than_what_is_granted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device, "granted_bytes", lambda *_: 5)
    assert available_bytes(torch.device("cpu")) == 5


def test_this_system_says_how_much_memory_is_free():
    free = available_bytes(torch.device("cpu"))
    assert free is not None
    assert 10**8 < free < 10**14
    assert available_bytes(torch.device("meta")) is None
