"""What the machine can do: its device, its memory, its number formats and its measured speed."""

import re
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from unstatic.core.errors import InputError

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def pick_device(name: str | None = None) -> torch.device:
    """Return the device called `name` ("cpu", "cuda", "cuda:1", "mps"), by default CUDA if present.

    Apple's "mps" is taken only when asked for. Raises InputError for a device that this machine or this build
    of PyTorch does not have.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = _available_devices()
    if name not in available:
        raise InputError(f"device {name!r} is not available here, choose one of {', '.join(available)}")
    return torch.device(name)


def warp_device(device: torch.device) -> str:
    """Name what renders beside a device, as Warp does: an NVIDIA card itself, else the processor."""
    return f"cuda:{device.index or 0}" if device.type == "cuda" else "cpu"


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype networks compute in: bfloat16 where the hardware multiplies it, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if device.type == "cpu" and cpu_flags() & _BF16_FLAGS else torch.float32


def has_matrix_unit() -> bool:
    """Return whether this CPU multiplies tiles of bfloat16 (AMX): products are three times as fast there."""
    return "amx_bf16" in cpu_flags()


@cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags as Linux lists them; empty on other systems."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    listed = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(listed, "").split())


def available_bytes(device: torch.device) -> int | None:
    """Return how much memory a device has to give; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    about = Path("/proc/meminfo")
    if device.type != "cpu" or not about.is_file():
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", about.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        return None
    granted = granted_bytes(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return min([int(found[1]) * 1024, *([] if granted is None else [granted])])


def granted_bytes(membership: Path, root: Path) -> int | None:
    """Return how much memory a process may still take of what a container or a cluster's job is granted.

    The least of all control groups that it is in (version 2, or 1), whose cached files count as free: they
    make room. None without a limit. `membership` is /proc/PID/cgroup, `root` where groups are mounted.
    """
    rooms: list[int] = []
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.is_file() else []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        old = bool(controllers)  # version 1
        top, total = (root / "memory", "total_") if old else (root, "")
        limits = ("limit_in_bytes", "usage_in_bytes") if old else ("max", "current")
        inside = top / place.lstrip("/")
        # In a container its own group may be mounted as the root, and the path be the host's
        for group in [inside, *inside.parents][: len(Path(place).parts)]:
            try:
                limit, used = (
                    (group / f"memory.{name}").read_text(encoding="ascii").strip() for name in limits
                )
                about = (group / "memory.stat").read_text(encoding="ascii").splitlines()
            except OSError:
                continue
            stat = dict(line.split() for line in about)
            cached = sum(int(stat.get(f"{total}{name}", 0)) for name in ("active_file", "inactive_file"))
            if limit.isdecimal():
                rooms.append(max(0, int(limit) - int(used) + cached))
    return min(rooms, default=None)


def gemm_rate(dtype: torch.dtype, *, rows: int = 1088, inner: int = 256, columns: int = 1024) -> float:
    """Measure the CPU's matrix product rate in GFLOP/s at the shape of a transformer layer.

    Defaults: more tokens than a 4 s clip has at 64x64, nano's width and its feed-forward width.
    The median over 0.2 s of repeats is what the machine sustains beside whatever else it is doing.
    """
    tokens, weight = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
    return 2e-9 * rows * inner * columns / _median_s(lambda: torch.mm(tokens, weight))


def conv_rate(dtype: torch.dtype, *, frames: int = 4, channels: int = 64, side: int = 64) -> float:
    """Measure the CPU's rate of 3 x 3 convolutions in GFLOP/s, as decoders and upscalers make them.

    Channels come last. Otherwise as `gemm_rate`.
    """
    last = torch.channels_last
    pictures = torch.randn(frames, channels, side, side, dtype=dtype).contiguous(memory_format=last)
    kernel = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=last)
    with torch.inference_mode():
        taken_s = _median_s(lambda: torch.conv2d(pictures, kernel, padding=1))
    return 2e-9 * frames * side**2 * channels**2 * 9 / taken_s


def _median_s(work: Callable[[], object]) -> float:
    for _ in range(3):
        work()
    durations_s: list[float] = []
    deadline = time.perf_counter() + 0.2
    while len(durations_s) < 5 or time.perf_counter() < deadline:
        start = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - start)
    return statistics.median(durations_s)


def set_threads(count: int) -> None:
    """Let one CPU operator use `count` threads."""
    if count < 1:
        raise InputError(f"threads={count} must be at least 1")
    torch.set_num_threads(count)


def _available_devices() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if cuda else []), *cuda, *mps]
