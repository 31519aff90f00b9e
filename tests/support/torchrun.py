"""Run something in several processes on the CPU, as torchrun starts them; nothing outlives its time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SUPPORT = Path(__file__).parent
SOURCES = SUPPORT.parent.parent / "src"
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


class Ended(NamedTuple):
    """What the processes did: the exit code of torchrun, which is 0 or 1, and what all printed."""

    code: int
    out: str
    err: str

    @property
    def ours(self) -> list[str]:
        """The lines on stderr that are not torchrun's."""
        return [line for line in self.err.splitlines() if line.startswith(("unstatic: ", "sampling "))]


@contextmanager
def started(count: int, *arguments: object, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run a script, or `-m` and a module, with its arguments in `count` processes of one thread each.

    At the end of the block all are ended that still run.
    """
    places = [str(SOURCES), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [*LAUNCH, str(count), *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # torchrun ends what it has started


def wait(process: "subprocess.Popen[str]", timeout_s: float) -> Ended:
    """Wait for the end. Raises TimeoutExpired."""
    out, err = process.communicate(timeout=timeout_s)
    return Ended(process.returncode, out, err)


def torchrun(count: int, *arguments: object, folder: Path) -> Ended:
    """Run to the end, which comes soon unless the machine is very busy."""
    with started(count, *arguments, folder=folder) as process:
        return wait(process, timeout_s=200)


def workers(process: "subprocess.Popen[str]") -> dict[int, int]:
    """Return the process ids of what torchrun has started, by rank (Linux)."""
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended, or is another user's
            continue
        ranks = [int(each.removeprefix(b"RANK=")) for each in variables if each.startswith(b"RANK=")]
        if parent == process.pid and ranks:
            found[ranks[0]] = int(folder.name)
    return found
