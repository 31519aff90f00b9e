"""Films of the part of an evaluation that is being measured: stopped and begun again, it goes on from there.

A part makes hours of films, and reads them in less. So films are kept, each in a file of its own, lossless
and with the time that it took, until their part is done; what reads them begins anew.
"""

import hashlib
import json
import shutil
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unstatic.core.files import atomic_path, writing_to
from unstatic.evals.follow import Make
from unstatic.evals.prompts import Prompt
from unstatic.evals.readings import Frames
from unstatic.evals.speed import FilmTimes

DIGEST_BYTES = hashlib.sha256().digest_size
LEVEL = 1  # of zlib: half of the size, in little time

Keep = Callable[[str, Make], Make]
"""Turn what makes the films of a column into what makes each of them but once."""


@dataclass(frozen=True, slots=True)
class FilmStore:
    """Films on disk if there is a `folder`, which is theirs alone.

    `key` says of which weights, code and device they are: films of another are not found.
    """

    folder: Path | None
    key: str

    def keeping(self, part: str, times: FilmTimes | None = None) -> Keep:
        """Return how the films of a part are made but once; the time that each took then is counted.

        Within a part, a column and a prompt name a film.
        """

        def keep(column: str, make: Make) -> Make:
            def kept(prompt: Prompt) -> Frames:
                frames, seconds = _once(self.path_of(part, column, prompt), partial(make, prompt))
                if times is not None:
                    times.add(column, seconds)
                return frames

            return kept

        return keep

    def path_of(self, part: str, column: str, prompt: Prompt) -> Path | None:
        """Return where a film lies, or would lie."""
        if self.folder is None:
            return None
        asked = json.dumps([self.key, column, prompt.text, prompt.spec.seed])
        return self.folder / part / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.film"

    def forget(self, part: str) -> None:
        """Delete the films of a part that is done, of whatever key."""
        if self.folder is not None:
            shutil.rmtree(self.folder / part, ignore_errors=True)
            with suppress(OSError):  # other parts have films
                self.folder.rmdir()


def _once(path: Path | None, make: Callable[[], Frames]) -> tuple[Frames, float]:
    """Return a film and the seconds that it took, read from disk or made and written."""
    if path is not None and (found := _read(path)) is not None:
        return found
    started = time.perf_counter()
    frames = make()
    seconds = time.perf_counter() - started
    if path is not None:
        _write(path, frames, seconds)
    return frames, seconds


def _read(path: Path) -> tuple[Frames, float] | None:
    """Return a film and its time; None if it is not there, or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, rest = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(rest).digest() != digest:
        return None
    head, _, packed = rest.partition(b"\n")
    about, unpacked = json.loads(head), bytearray(zlib.decompress(packed))
    return np.frombuffer(unpacked, np.uint8).reshape(about["shape"]), about["seconds"]


def _write(path: Path, frames: Frames, seconds: float) -> None:
    """Write a film, if its part is not done elsewhere, by another process, in the meantime."""
    head = json.dumps({"shape": frames.shape, "seconds": seconds}).encode()
    rest = head + b"\n" + zlib.compress(frames.tobytes(), LEVEL)
    with writing_to(path), suppress(FileNotFoundError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(hashlib.sha256(rest).digest() + rest)
