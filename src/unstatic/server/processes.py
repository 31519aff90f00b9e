"""Worker processes of this machine: their names and folders, and what becomes of those without a parent."""

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

OUT_OF_ORDER = 70  # the exit code of a worker that must be started anew (EX_SOFTWARE)
SCRATCH = "scratch"
DAY_S = 86_400


def worker_name() -> str:
    """Return a name that no other worker has: this machine, this process (it may be the parent), a word.

    A process is its number and, where the system tells, when it began: in a container it is always the first.
    """
    number = os.getpid()
    began = _beginning_of(number)
    process = str(number) if began is None else f"{number}.{began}"
    return f"{_place()}-{process}-{secrets.token_hex(4)}"


def is_dead_here(name: str) -> bool:
    """Return whether a name was given on this machine by a process that runs no more."""
    place, _, process = name.rpartition("-")[0].rpartition("-")
    number, _, began = process.partition(".")
    if place != _place() or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's runs
        pass
    running = _beginning_of(int(number))
    return began != "" and running is not None and running != began


def end_orphans(names: Iterable[str]) -> None:
    """Kill children of dead servers of this machine: only those are left that somebody has stopped."""
    orphans = {name.encode() for name in names if is_dead_here(name)}
    for path in Path("/proc").glob("[0-9]*/cmdline") if orphans else ():
        with contextlib.suppress(OSError):  # others come and go
            words = path.read_bytes().split(b"\0")
            if b"--child" in words and not orphans.isdisjoint(words):
                os.kill(int(path.parent.name), signal.SIGKILL)


def _beginning_of(number: int) -> str | None:
    """Return when a process began, in ticks of its kernel, or None on a system without /proc."""
    with contextlib.suppress(OSError):
        said = Path(f"/proc/{number}/stat").read_bytes()
        return said.rpartition(b")")[2].split()[19].decode()  # field 22 (proc(5)); a name may hold anything
    return None


def _place() -> str:
    """Return where process numbers mean the same: this machine since it was started, this container."""
    host, marks = socket.gethostname(), list[str]()
    with contextlib.suppress(OSError):  # not on every system
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        marks.append(os.readlink("/proc/self/ns/pid"))
    return f"{host}-{hashlib.sha256(''.join(marks).encode()).hexdigest()[:8]}" if marks else host


@contextlib.contextmanager
def scratch_of(data: Path, name: str) -> Generator[Path]:
    """Yield a folder for one attempt of a worker, which is gone afterwards."""
    folder = data / SCRATCH / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.utime(folder)
    with TemporaryDirectory(dir=folder) as path:
        yield Path(path)


def clear_scratch(data: Path, ended: Iterable[str] = ()) -> None:
    """Delete what workers left that have ended, and those that died with their servers.

    Of other machines, and of this one before it was started, nobody can say who lives. Whoever does touches
    its folder at every step: what nobody has touched for a day goes.
    """
    known = frozenset(ended)
    for path in (data / SCRATCH).glob("*"):
        if path.name in known or is_dead_here(path.name) or _is_old(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_old(path: Path) -> bool:
    """Return whether nobody has touched a folder for a day."""
    try:
        return time.time() - path.stat().st_mtime > DAY_S
    except FileNotFoundError:  # another cleared it
        return False


def die_with_parent() -> None:
    """Leave when the process that started this one is gone: it holds the other end of stdin."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not by Python's buffer, whose lock would be held at the end
            pass
        os._exit(OUT_OF_ORDER)

    threading.Thread(target=wait, daemon=True).start()
