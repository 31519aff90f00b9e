"""Files under keys, in a local folder or in a bucket of an object store.

A file appears whole or not at all. Which files count says the database, so nothing is ever moved.
"""

import errno
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.files import atomic_path
from unstatic.server.places import Folder, Held, Place, open_bucket

PIECE_BYTES = 256 * 1024
MAX_KEY_LENGTH = 240

# No part begins with a dot: it would be "." or "..", or one of the temporary files of `atomic_path`
_KEY = re.compile(r"[a-z0-9_][a-z0-9_.-]*(/[a-z0-9_][a-z0-9_.-]*)*")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MISSING = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO)


class StorageError(UnstaticError):
    """A file could not be stored, read or deleted; `code` says why, "storage_full" or "storage_failed"."""

    def __init__(self, message: str, code: str = "storage_failed") -> None:
        super().__init__(message)
        self.code = code


class MissingKeyError(StorageError):
    """Nothing is stored under a key, or nothing can be: it is none."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing is stored under {key[:80]!a}", "storage_missing")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A file in a list, and how long ago it was written."""

    key: str
    size_bytes: int
    age_s: float


class Opened:
    """A file that is held open until `close`.

    On a local disk it can be read to its end even if it is deleted meanwhile; in a bucket it cannot.
    """

    def __init__(self, key: str, held: Held, read: Callable[[int, int], bytes]) -> None:
        self.key, self.size_bytes, self.close = key, held.size_bytes, held.close
        self._block_bytes, self._read = held.block_bytes, read

    def __enter__(self) -> "Opened":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read from byte `start` to before `stop`, `PIECE_BYTES` at a time. Raises StorageError."""
        at, stop = start, self.size_bytes if stop is None else stop
        while at < stop:
            block = memoryview(self._read(at, min(at + self._block_bytes, stop)))
            if not block:
                raise StorageError(f"{self.key} ends at byte {at}, before {stop}")
            for begin in range(0, len(block), PIECE_BYTES):
                yield bytes(block[begin : begin + PIECE_BYTES])
            at += len(block)


class Storage:
    """Files under keys such as jobs/<id>/<fence>/video.mp4. What is no key is a MissingKeyError."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @staticmethod
    def at(url: str, options: Mapping[str, Any] | None = None) -> "Storage":
        """Return the storage at file:///folder, s3://bucket/prefix or, for tests, memory://prefix.

        `options` are what fsspec knows for a bucket: key, secret, endpoint_url. Raises InputError.
        """
        kind, _, rest = url.partition("://")
        match kind:
            case "file" if rest.startswith("/"):
                return Storage(Folder(Path(rest)))
            case "s3" if rest.strip("/"):
                return Storage(open_bucket(url, options or {}))
            case "memory":
                return Storage(open_bucket(url, options or {}))
            case _:
                raise InputError(f"storage {url!a} must be like file:///folder or s3://bucket/prefix")

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of a file, which replaces what was there once it is whole. Raises StorageError."""
        with self._explained(key, reads=False):
            self.place.put(key, path)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store bytes, as `put_file` does."""
        with self._explained(key, reads=False):
            self.place.put(key, data)

    def open(self, key: str) -> Opened:
        """Hold a file open. Raises MissingKeyError."""
        with self._explained(key, reads=True):
            held = self.place.open(key)

        def read(start: int, stop: int) -> bytes:
            with self._explained(key, reads=True):
                return held.read(start, stop)

        return Opened(key, held, read)

    def open_range(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read a stretch in pieces; the file is opened with the first. Raises MissingKeyError."""
        with self.open(key) as opened:
            yield from opened.pieces(start, stop)

    def size(self, key: str) -> int:
        """Return how many bytes a file has. Raises MissingKeyError."""
        with self.open(key) as opened:
            return opened.size_bytes

    def exists(self, key: str) -> bool:
        """Return whether a file is stored under the key."""
        try:
            self.open(key).close()
        except MissingKeyError:
            return False
        return True

    def read_bytes(self, key: str, max_bytes: int) -> bytes:
        """Return a whole file. Raises MissingKeyError, and StorageError if it is larger than `max_bytes`."""
        with self.open(key) as opened:
            if opened.size_bytes > max_bytes:
                raise StorageError(f"{key} has {opened.size_bytes} bytes, more than {max_bytes}")
            return b"".join(opened.pieces())

    def fetch(self, key: str, path: Path) -> None:
        """Copy a file to the local `path`, whole or not at all. Raises MissingKeyError."""
        with (
            self.open(key) as opened,
            self._explained(key, reads=False),
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
        ):
            file.writelines(opened.pieces())

    def list(self, prefix: str) -> Iterator[Stored]:
        """List the files below a prefix, in no order; what comes and goes meanwhile may be among them."""
        with self._explained(prefix, reads=True):
            now_s = time.time()
            for key, size_bytes, written_s in self.place.list(prefix):
                yield Stored(key=key, size_bytes=size_bytes, age_s=now_s - written_s)

    def delete_tree(self, prefix: str) -> None:
        """Delete a file and all below its key; there need be none. Raises StorageError."""
        with self._explained(prefix, reads=False):
            self.place.delete_tree(prefix)

    def sweep(self, prefix: str, older_than_s: float | int) -> Iterator[None]:
        """Delete what killed processes left half written below a prefix, and empty folders, if they are old.

        One goes with every turn of the iterator. Raises StorageError.
        """
        with self._explained(prefix, reads=True):
            yield from self.place.sweep(prefix, older_than_s)

    @contextmanager
    def _explained(self, key: str, *, reads: bool) -> Generator[None]:
        """Check the key, and turn what the system says into a StorageError."""
        checked_key(key)
        try:
            yield
        except self.place.failures as error:
            number, said = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
            if reads and (isinstance(error, FileNotFoundError) or number in _MISSING):
                raise MissingKeyError(key) from None
            reason = " ".join((said or str(error)).split())
            code = "storage_full" if number in _FULL else "storage_failed"
            raise StorageError(f"cannot {'read' if reads else 'write'} {key}: {reason}", code) from error


def checked_key(key: str) -> str:
    """Return what is a key. Raises MissingKeyError for all else: nothing can be stored under it."""
    if len(key) > MAX_KEY_LENGTH or ".." in key or not _KEY.fullmatch(key):
        raise MissingKeyError(key)
    return key
