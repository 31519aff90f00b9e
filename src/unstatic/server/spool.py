"""Where uploads lie while their request lasts: a folder of each server process, below `data`/spool."""

import errno
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from unstatic.server.errors import ApiError
from unstatic.server.processes import is_dead_here, worker_name

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAY_S = 86_400


@contextmanager
def room() -> Generator[None]:
    """Answer with 503 if the disk is full within the block."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        message = "the server has no room for files at the moment: ask again later"
        raise ApiError(503, message, code="no_room", retry_after_s=60) from None


def open_spool(data: Path) -> Path:
    """Return the folder of this process, made when it is first needed; what dead ones left is deleted."""
    (data / "spool").mkdir(exist_ok=True, mode=0o700)
    clear_spool(data)
    return data / "spool" / worker_name()


def clear_spool(data: Path) -> None:
    """Delete what killed servers left: at once if they ran on this machine, else after a day.

    Who lives and had no upload for a day makes the folder anew.
    """
    for path in (data / "spool").glob("*"):
        try:
            is_left = is_dead_here(path.name) or time.time() - path.stat().st_mtime > DAY_S
        except FileNotFoundError:  # another cleared it
            continue
        if is_left:
            shutil.rmtree(path, ignore_errors=True)
