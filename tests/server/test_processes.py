"""Names of worker processes, the folders that killed ones leave, and orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unstatic.server.processes import (
    SCRATCH,
    clear_scratch,
    end_orphans,
    is_dead_here,
    scratch_of,
    worker_name,
)


def named(number: int) -> str:
    return f"{worker_name().rsplit('-', 2)[0]}-{number}-0123abcd"


def test_a_name_says_whether_its_process_lives():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert worker_name() != worker_name()
    assert not is_dead_here(worker_name())
    assert is_dead_here(named(ended.pid))
    assert not is_dead_here(f"another-machine-{ended.pid}-0123abcd")
    assert not is_dead_here("by hand")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_f1_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path):
    """As after a restart of a container, in which every server and worker is process 1."""
    place, process, word = worker_name().rsplit("-", 2)
    number, _, began = process.partition(".")
    before = f"{place}-{number}.{int(began) - 1}-{word}"
    assert number == str(os.getpid())
    assert is_dead_here(before)
    assert not is_dead_here(f"{place}-{number}.{began}-{word}")
    assert not is_dead_here(named(os.getpid()))  # a name as older versions gave it
    (tmp_path / SCRATCH / before / "attempt").mkdir(parents=True)
    clear_scratch(tmp_path)
    assert list((tmp_path / SCRATCH).iterdir()) == []


def test_a_name_needs_no_proc(monkeypatch: pytest.MonkeyPatch):
    with_proc = worker_name()
    monkeypatch.setattr("unstatic.server.processes._beginning_of", lambda _: None)
    assert worker_name().rsplit("-", 2)[1] == str(os.getpid())
    assert not is_dead_here(worker_name())
    assert not is_dead_here(with_proc)


def test_a_process_number_of_another_container_says_nothing(monkeypatch: pytest.MonkeyPatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    name, readlink = named(ended.pid), os.readlink
    assert is_dead_here(name)
    monkeypatch.setattr(
        os, "readlink", lambda path: "pid:[1]" if path == "/proc/self/ns/pid" else readlink(path)
    )
    assert not is_dead_here(name)


def test_a_folder_is_gone_after_an_attempt_and_those_of_dead_workers_are_cleared(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / SCRATCH / named(ended.pid) / "attempt"
    left.mkdir(parents=True)
    (left / "film.mp4").write_bytes(b"half")
    with scratch_of(tmp_path, worker_name()) as folder:
        (folder / "film.mp4").write_bytes(b"x")
        assert folder.stat().st_mode & 0o077 == 0
        clear_scratch(tmp_path)
        assert (folder / "film.mp4").exists()
        assert not left.exists()
    assert not folder.exists()
    clear_scratch(tmp_path, [worker_name(), folder.parent.name])
    assert not folder.parent.exists()


def test_what_nobody_touches_goes_after_a_day_wherever_it_is_from(tmp_path: Path):
    before, fresh, mine = "host-0123abcd-77-0123abcd", "host-0123abcd-78-0123abcd", worker_name()
    old = named(os.getpid())
    for name in (before, fresh, mine, old):
        (tmp_path / SCRATCH / name / "attempt").mkdir(parents=True)
        (tmp_path / SCRATCH / name / "attempt/film.mp4").write_bytes(b"half")
    for name in (before, old):
        os.utime(tmp_path / SCRATCH / name, (time.time() - 90_000,) * 2)
    clear_scratch(tmp_path)
    assert {path.name for path in (tmp_path / SCRATCH).iterdir()} == {fresh, mine}
    os.utime(tmp_path / SCRATCH / mine, (time.time() - 90_000,) * 2)
    with scratch_of(tmp_path, mine) as folder:
        assert time.time() - folder.parent.stat().st_mtime < 60


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_stopped_child_of_a_dead_server_is_ended_and_nobody_else():
    server = subprocess.Popen([sys.executable, "-c", ""])
    server.wait()
    orphan, kept = named(server.pid), named(os.getpid())
    waits = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]
    words = (["--child", "--name", orphan], ["--child", "--name", kept], ["--name", orphan])
    began = [subprocess.Popen([*waits, *each], stdout=subprocess.PIPE) for each in words]
    try:
        for process in began:
            assert process.stdout is not None
            assert process.stdout.readline() == b"1\n"
            process.send_signal(signal.SIGSTOP)
        end_orphans([orphan, kept, "by hand"])
        assert began[0].wait(20) == -signal.SIGKILL
        assert [process.poll() for process in began[1:]] == [None, None]
    finally:
        for process in began:
            process.kill()
            process.communicate()
