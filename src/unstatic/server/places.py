"""The two places where a storage keeps files: a local folder, and a bucket by way of fsspec."""

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path, make_folders

# To ask a bucket takes long, however little it is asked for; but a thousand slow clients have a block each
_FOLDER_BLOCK_BYTES, _BUCKET_BLOCK_BYTES = 256 * 1024, 1024 * 1024
# How MinIO and Ceph say it; the store of Amazon has no end
_FULL_BUCKET = ("XMinioStorageFull", "QuotaExceeded")


class Held(NamedTuple):
    """A file that is held open: its size, how much of it is best read at once, and how to read and close it.

    `read` takes the first byte and the one after the last.
    """

    size_bytes: int
    block_bytes: int
    read: Callable[[int, int], bytes]
    close: Callable[[], None]


class Found(NamedTuple):
    """A file in a list, and when it was written, in Unix time."""

    key: str
    size_bytes: int
    written_s: float


@runtime_checkable
class Place(Protocol):
    """Files under keys that were checked. Everything may raise what is in `failures`."""

    failures: tuple[type[Exception], ...]

    def put(self, key: str, content: Path | bytes) -> None:
        """Store a file or bytes, whole or not at all; what was there is replaced."""
        ...

    def open(self, key: str) -> Held:
        """Hold a file open. Raises FileNotFoundError and its like."""
        ...

    def list(self, prefix: str) -> Iterator[Found]:
        """List the files below a prefix."""
        ...

    def delete_tree(self, prefix: str) -> None:
        """Delete a file and all below it, if there is any."""
        ...

    def sweep(self, prefix: str, older_than_s: float | int) -> Iterator[None]:
        """Delete what killed processes left below a prefix, if it is old enough, one after the other."""
        ...


class Folder:
    """A local folder, which is made if need be. No symbolic link in it is followed, wherever it leads."""

    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, root: Path) -> None:
        try:
            make_folders(root)
            self.root = root.resolve()
        except OSError as error:
            raise InputError(f"the folder {root} cannot be made: {error.strerror}, name another") from None

    def put(self, key: str, content: Path | bytes) -> None:
        path = self._path(key)
        make_folders(path.parent)
        with atomic_path(path) as temporary:
            if isinstance(content, bytes):
                temporary.write_bytes(content)
            else:
                shutil.copyfile(content, temporary)

    def open(self, key: str) -> Held:
        # Opening a named pipe would wait for somebody who writes
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(self._path(key), flags), "rb", buffering=0)
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise FileNotFoundError(errno.ENOENT, "it is no file")

        def read(start: int, stop: int) -> bytes:
            return os.pread(file.fileno(), stop - start, start)

        return Held(status.st_size, _FOLDER_BLOCK_BYTES, read, file.close)

    def list(self, prefix: str) -> Iterator[Found]:
        top = self._path(prefix)
        for folder, _, names in () if top.is_symlink() else os.walk(top):
            for path in (Path(folder, name) for name in names if not name.startswith(".")):
                with suppress(FileNotFoundError):
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode):
                        yield Found(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)

    def delete_tree(self, prefix: str) -> None:
        path = self._path(prefix)
        while os.path.lexists(path):
            with suppress(FileNotFoundError):  # another process is deleting it too
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def sweep(self, prefix: str, older_than_s: float | int) -> Iterator[None]:
        """Delete the temporary files of `atomic_path`, and folders that are empty."""
        before_s, top = time.time() - older_than_s, self._path(prefix)
        for folder, folders, names in () if top.is_symlink() else os.walk(top, topdown=False):
            hidden = (name for name in names if name.startswith("."))
            for path in (Path(folder, name) for name in (*hidden, *folders)):
                with suppress(OSError):  # it is in use: a folder that is not empty, say
                    if path.lstat().st_mtime < before_s:
                        (path.rmdir if path.is_dir() else path.unlink)()
                yield

    def _path(self, key: str) -> Path:
        path = self.root / key
        if path.parent.resolve() != path.parent:
            raise FileNotFoundError(errno.ENOENT, "a symbolic link is on the way")
        return path


class Bucket:
    """A bucket of an object store, or a part of one: a file system of fsspec in which a put is atomic."""

    def __init__(self, filesystem: Any, root: str, failures: tuple[type[Exception], ...] = ()) -> None:
        self.filesystem, self.root = filesystem, root.rstrip("/")
        self.failures = (OSError, *failures)

    def put(self, key: str, content: Path | bytes) -> None:
        try:
            if isinstance(content, bytes):
                self.filesystem.pipe_file(self._name(key), content)
            else:
                self.filesystem.put_file(str(content), self._name(key))
        except OSError as error:
            if any(code in str(error.__cause__) for code in _FULL_BUCKET):
                raise OSError(errno.ENOSPC, "the bucket is full") from error
            raise

    def open(self, key: str) -> Held:
        name = self._name(key)
        about = self.filesystem.info(name)
        if about["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "it is no file")

        def read(start: int, stop: int) -> bytes:
            return self.filesystem.cat_file(name, start=start, end=stop)

        return Held(about["size"], _BUCKET_BLOCK_BYTES, read, lambda: None)

    def list(self, prefix: str) -> Iterator[Found]:
        for name, about in self._files(prefix).items():
            if name != self._name(prefix):
                written: Any = about.get("LastModified", about.get("created"))
                written_s = written.timestamp() if isinstance(written, datetime) else written
                yield Found(name.removeprefix(f"{self.root}/"), about["size"], written_s)

    def delete_tree(self, prefix: str) -> None:
        names = list(self._files(prefix))
        if names:
            with suppress(FileNotFoundError):  # another process is deleting it too
                self.filesystem.rm(names)

    def sweep(self, prefix: str, older_than_s: float | int) -> Iterator[None]:
        """Do nothing: a rule of the bucket says for how long unfinished uploads are kept."""
        del prefix, older_than_s
        return iter(())

    def _name(self, key: str) -> str:
        return f"{self.root}/{key}"

    def _files(self, prefix: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.filesystem.find(self._name(prefix), detail=True)
        return {name: about for name, about in found.items() if about["type"] == "file"}


def open_bucket(url: str, options: Mapping[str, Any]) -> Bucket:
    """Return the bucket at an s3:// or memory:// URL. Raises InputError if a package is missing."""
    from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    find = cast(Callable[..., tuple[Any, str]], url_to_fs)
    try:
        # What it remembers of lists would hide what other processes do
        filesystem, root = find(url, **{"use_listings_cache": False, **options})
        return Bucket(filesystem, root, _failures_of_s3() if url.startswith("s3:") else ())
    except ImportError:
        raise InputError(f"the storage {url} needs the package s3fs: pip install s3fs") from None


def _failures_of_s3() -> tuple[type[Exception], ...]:
    """Return what s3fs lets through of the packages under it."""
    from aiohttp import ClientError as ClientConnectionError
    from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
        BotoCoreError,
        ClientError,
    )

    return BotoCoreError, ClientError, ClientConnectionError
