"""What killed servers leave of uploads, and full disks."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unstatic.server.errors import ApiError
from unstatic.server.processes import worker_name
from unstatic.server.spool import clear_spool, open_spool, room


def test_f1_f42_what_a_killed_server_left_is_cleared_and_what_a_living_one_reads_is_not(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, _, _ = worker_name().rsplit("-", 2)
    names = [f"{host}-{ended.pid}-0a1b2c3d", "another-machine-1-0a1b2c3d", "request-left", worker_name()]
    for name in (*names, "another-machine-2-0a1b2c3d"):
        folder = tmp_path / "spool" / name / "request-1"
        folder.mkdir(parents=True)
        (folder / "1").write_bytes(b"private")
    for name in names[1:3]:
        os.utime(tmp_path / "spool" / name, (time.time() - 90_000,) * 2)
    mine = open_spool(tmp_path)
    left = {path.name for path in (tmp_path / "spool").iterdir()}
    assert left == {names[3], "another-machine-2-0a1b2c3d"}
    assert mine.parent == tmp_path / "spool"
    clear_spool(tmp_path / "nowhere")


def test_f8_a_full_disk_is_503_and_other_failures_are_not():
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(ApiError) as caught, room():
            raise OSError(number, "full", "/srv/secret")
        assert (caught.value.status, caught.value.code) == (503, "no_room")
        assert "secret" not in caught.value.message
    with pytest.raises(PermissionError), room():
        raise PermissionError(errno.EACCES, "no")
