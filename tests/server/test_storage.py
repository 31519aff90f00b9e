import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fake_bucket
import pytest
from fake_bucket import FakeBucket
from fsspec.implementations.memory import MemoryFileSystem

from unstatic.core.errors import InputError
from unstatic.server.storage import MAX_KEY_LENGTH, PIECE_BYTES, MissingKeyError, Storage, StorageError

FILM = "jobs/job_1/2/video.mp4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def local(folder: Path) -> Storage:
    return Storage.at(f"file://{folder}")


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    pytest.importorskip("s3fs")
    with fake_bucket.running() as server:
        yield server


def in_bucket(server: FakeBucket) -> Storage:
    options = {"key": "key", "secret": "secret", "endpoint_url": server.url, "skip_instance_cache": True}
    return Storage.at("s3://films/prefix", options)


@pytest.fixture(params=["folder", "memory", "bucket"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    match request.param:
        case "folder":
            yield request.getfixturevalue("local")
        case "memory":
            yield Storage.at("memory://prefix")
            MemoryFileSystem.store.clear()
            MemoryFileSystem.pseudo_dirs[:] = [""]
        case _:
            yield in_bucket(request.getfixturevalue("bucket"))


def keys(storage: Storage, prefix: str) -> list[str]:
    return sorted(each.key for each in storage.list(prefix))


def all_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_what_is_put_is_there(storage: Storage, tmp_path: Path):
    data = os.urandom(1000)
    storage.put_bytes(FILM, data)
    assert storage.exists(FILM)
    assert storage.size(FILM) == 1000
    assert storage.read_bytes(FILM, 1000) == data

    (tmp_path / "new").write_bytes(b"another")
    storage.put_file(FILM, tmp_path / "new")
    storage.fetch(FILM, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"another"
    assert (tmp_path / "new").exists()


def test_a_stretch_is_read_in_pieces(storage: Storage):
    data = os.urandom(2 * 1024 * 1024 + 5)
    storage.put_bytes(FILM, data)
    for start, stop in ((0, None), (0, 1), (len(data) - 1, len(data)), (PIECE_BYTES - 1, 7 * PIECE_BYTES)):
        pieces = list(storage.open_range(FILM, start, stop))
        assert b"".join(pieces) == data[start:stop]
        assert max(len(piece) for piece in pieces) <= PIECE_BYTES
    assert list(storage.open_range(FILM, 3, 3)) == []


def test_an_empty_file_is_a_file(storage: Storage):
    storage.put_bytes(FILM, b"")
    assert storage.exists(FILM)
    assert storage.read_bytes(FILM, 0) == b""


def test_what_is_not_there_is_missing(storage: Storage, tmp_path: Path):
    storage.put_bytes(FILM, b"x")
    for key in ("jobs/job_1/3/video.mp4", "jobs/job_1/2", "jobs", f"{FILM}/more"):
        assert not storage.exists(key)
        for read in (storage.open, storage.size, partial(storage.fetch, path=tmp_path / "x")):
            with pytest.raises(MissingKeyError, match="nothing is stored under"):
                read(key)
    assert not (tmp_path / "x").exists()
    assert keys(storage, "nothing") == []


def test_more_than_the_memory_shall_hold_is_not_read(storage: Storage):
    storage.put_bytes(FILM, b"four")
    with pytest.raises(StorageError, match="has 4 bytes, more than 3"):
        storage.read_bytes(FILM, 3)


def test_a_list_is_of_what_lies_below_and_not_beside(storage: Storage):
    for key in (FILM, "jobs/job_1/2/preview/000000", "jobs/job_1/20/video.mp4", "uploads/a/b"):
        storage.put_bytes(key, b"xyz")
    assert keys(storage, "jobs/job_1/2") == ["jobs/job_1/2/preview/000000", FILM]
    assert len(keys(storage, "jobs")) == 3
    assert keys(storage, FILM) == []
    assert {each.size_bytes for each in storage.list("jobs")} == {3}


def test_files_have_ages(local: Storage, folder: Path):
    local.put_bytes(FILM, b"x")
    os.utime(folder / FILM, (time.time() - 100, time.time() - 100))
    assert next(local.list("jobs")).age_s == pytest.approx(100, abs=5)


def test_objects_have_ages(bucket: FakeBucket):
    in_bucket(bucket).put_bytes(FILM, b"x")
    written_s = 1767323045  # fake_bucket.WRITTEN
    assert next(in_bucket(bucket).list("jobs")).age_s == pytest.approx(time.time() - written_s, abs=5)


def test_a_tree_is_deleted_once_or_twice(storage: Storage):
    kept = ["jobs/job_1/20/video.mp4", "uploads/a/kept"]
    for key in (FILM, "jobs/job_1/2/preview/000000", "uploads/a/b", *kept):
        storage.put_bytes(key, b"x")
    for prefix in ("jobs/job_1/2", "uploads/a/b"):
        for _ in range(2):
            storage.delete_tree(prefix)
    assert [*keys(storage, "jobs"), *keys(storage, "uploads")] == kept


def test_a_tree_is_deleted_by_many_at_once(local: Storage):
    for number in range(200):
        local.put_bytes(f"jobs/a/1/{number // 20}/{number}", b"x")
    failures: list[Exception] = []

    def delete() -> None:
        try:
            local.delete_tree("jobs/a")
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert keys(local, "jobs") == []


def test_readers_see_one_whole_file_or_another(local: Storage):
    contents = {bytes([number]) * 300_000 for number in range(4)}
    local.put_bytes(FILM, next(iter(contents)))
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for content in contents:
                local.put_bytes(FILM, content)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = {local.read_bytes(FILM, 300_000) for _ in range(50)}
    finally:
        over.set()
        thread.join()
    assert seen <= contents


# -------------------------------------------------------------------------------------------------------- F36

NO_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "jobs/../../x",
    "jobs/./x",
    "jobs//x",
    "jobs/",
    "jobs/..",
    "a..b",
    ".hidden",
    "jobs/.hidden",
    "jobs\\x",
    "%2e%2e%2fx",
    "jobs/x\0",
    "jobs/x\n",
    "Jobs/x",
    "jobs/x y",
    "jobs/\uff0e\uff0e/x",
    "jobs/\u0661",
    "-rf",
    "~",
    "x" * (MAX_KEY_LENGTH + 1),
]


@pytest.mark.parametrize("key", NO_KEYS)
def test_f36_what_is_no_key_is_missing_and_writes_nothing(
    local: Storage, folder: Path, tmp_path: Path, key: str
):
    local.put_bytes("jobs/x", b"kept")
    source = tmp_path / "source"
    source.write_bytes(b"bad")
    before = all_below(tmp_path)
    deeds: list[Callable[[], object]] = [
        lambda: local.put_bytes(key, b"bad"),
        lambda: local.put_file(key, source),
        lambda: local.open(key),
        lambda: list(local.open_range(key)),
        lambda: local.size(key),
        lambda: local.read_bytes(key, 9),
        lambda: local.fetch(key, tmp_path / "fetched"),
        lambda: list(local.list(key)),
        lambda: local.delete_tree(key),
    ]
    for deed in deeds:
        with pytest.raises(MissingKeyError):
            deed()
    assert not local.exists(key)
    assert all_below(tmp_path) == before
    assert (folder / "jobs/x").read_bytes() == b"kept"


@pytest.mark.parametrize("key", ["a", "jobs/job_0a/12/preview/000000", "a-b/c.d-e_f", "x" * MAX_KEY_LENGTH])
def test_f36_what_is_a_key_can_be_stored(local: Storage, key: str):
    local.put_bytes(key, b"x")
    assert local.read_bytes(key, 1) == b"x"


@pytest.mark.parametrize("inside", [False, True])
def test_f36_a_symbolic_link_is_not_followed(local: Storage, folder: Path, tmp_path: Path, inside: bool):
    secret = (folder if inside else tmp_path) / "secret"
    secret.mkdir(parents=True)
    (secret / "file").write_bytes(b"secret")
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs/folder").symlink_to(secret)
    (folder / "jobs/file").symlink_to(secret / "file")
    (folder / "linked").symlink_to(secret)

    for key in ("jobs/folder/file", "jobs/file", "linked/file", "linked"):
        with pytest.raises(MissingKeyError):
            local.open(key)
    for prefix in ("jobs", "linked", "jobs/folder"):
        assert keys(local, prefix) == []
    for key in ("jobs/folder/file", "linked/new", "linked/new/below"):
        with pytest.raises(StorageError):
            local.put_bytes(key, b"bad")
    with pytest.raises(StorageError):
        local.delete_tree("jobs/folder/file")
    for prefix in ("jobs", "linked"):
        list(local.sweep(prefix, -1))
    assert {path.name for path in secret.iterdir()} == {"file"}

    # A link itself is replaced or deleted
    local.put_bytes("jobs/file", b"mine")
    local.delete_tree("linked")
    local.delete_tree("jobs")
    assert (secret / "file").read_bytes() == b"secret"
    assert {path.name for path in folder.iterdir()} <= {"secret"}


def test_f36_what_is_no_file_is_not_opened(local: Storage, folder: Path):
    folder.joinpath("jobs").mkdir()
    os.mkfifo(folder / "jobs/pipe")
    os.symlink("loop", folder / "jobs/loop")
    for key in ("jobs/pipe", "jobs/loop", "jobs"):
        with pytest.raises(MissingKeyError):
            local.open(key)


# --------------------------------------------------------------------------------------------------------- F8


@pytest.mark.parametrize("deed", ["put_bytes", "put_file", "fetch"])
def test_f8_a_full_disk_leaves_nothing_but_what_was_there(local: Storage, tmp_path: Path, deed: str):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"old")
    large.write_bytes(bytes(5000))
    local.put_file(FILM, small)
    local.put_file("jobs/large", large)
    before = {path: path.read_bytes() for path in all_below(tmp_path)}
    deeds: dict[str, Callable[[], None]] = {
        "put_bytes": lambda: local.put_bytes(FILM, bytes(5000)),
        "put_file": lambda: local.put_file(FILM, large),
        "fetch": lambda: local.fetch("jobs/large", small),
    }

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write jobs/.*: File too large") as caught:
            deeds[deed]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "storage_full"
    assert {path: path.read_bytes() for path in all_below(tmp_path)} == before
    deeds[deed]()  # as soon as there is room again


def test_f8_what_cannot_be_written_is_said_without_the_place(local: Storage, folder: Path):
    local.put_bytes("jobs/a/b", b"x")
    for key in ("jobs/a", "jobs/a/b/c"):
        with pytest.raises(StorageError, match=f"cannot write {key}: ") as caught:
            local.put_bytes(key, b"y")
        assert caught.value.code == "storage_failed"
        assert str(folder) not in str(caught.value)
    assert [path.name for path in all_below(folder)] == ["b"]


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (507, "XMinioStorageFull", "storage_full"),
        (403, "QuotaExceeded", "storage_full"),
        (403, "AccessDenied", "storage_failed"),
        (404, "NoSuchBucket", "storage_failed"),
    ],
)
def test_f8_a_bucket_that_is_full_or_closed(
    bucket: FakeBucket, tmp_path: Path, status: int, said: str, code: str
):
    storage = in_bucket(bucket)
    storage.put_bytes(FILM, b"old")
    bucket.fails = status, said
    (tmp_path / "film").write_bytes(b"new")
    for put in (
        lambda: storage.put_bytes(FILM, b"new"),
        lambda: storage.put_file(FILM, tmp_path / "film"),
    ):
        with pytest.raises(StorageError, match="cannot write") as caught:
            put()
        assert caught.value.code == code
        assert not isinstance(caught.value, MissingKeyError)
    assert storage.read_bytes(FILM, 3) == b"old"


def test_f8_a_bucket_that_nobody_serves(bucket: FakeBucket):
    options = {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1}}
    storage = Storage.at("s3://films", {"key": "k", "secret": "s", "endpoint_url": bucket.url, **options})
    bucket.shutdown()
    bucket.server_close()
    with pytest.raises(StorageError, match=f"cannot read {FILM}") as caught:
        storage.open(FILM)
    assert caught.value.code == "storage_failed"


# ---------------------------------------------------------------------------------------------- F3, F21, rest


def test_f3_a_process_that_is_killed_before_the_rename_leaves_no_file(local: Storage, folder: Path):
    local.put_bytes(FILM, b"old")
    code = (
        "import os, sys; from unstatic.server.storage import Storage;"
        f"os.replace = lambda *_: os.kill(os.getpid(), {signal.SIGKILL:d});"
        "Storage.at(sys.argv[1]).put_bytes(sys.argv[2], b'new')"
    )
    killed = subprocess.run([sys.executable, "-c", code, f"file://{folder}", FILM], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert local.read_bytes(FILM, 3) == b"old"
    assert keys(local, "jobs") == [FILM]
    assert len(all_below(folder)) == 2

    list(local.sweep("jobs", 60))
    assert len(all_below(folder)) == 2, "it may be a put that is under way"
    list(local.sweep("jobs", -1))
    assert all_below(folder) == [folder / FILM]


def test_sweeping_is_bit_by_bit_and_keeps_to_its_prefix(local: Storage, folder: Path):
    for name in ("jobs/job_1", "jobs/job_2", "uploads/acct_1"):
        (folder / name).mkdir(parents=True)
    sweep = local.sweep("jobs", -1)
    next(sweep)
    assert len(list((folder / "jobs").iterdir())) == 1
    list(sweep)
    assert list((folder / "jobs").iterdir()) == []
    assert (folder / "uploads/acct_1").exists()


def test_sweeping_takes_empty_folders_once_they_are_old(local: Storage, folder: Path):
    local.put_bytes(FILM, b"x")
    local.put_bytes("jobs/job_2/1/video.mp4", b"x")
    local.delete_tree("jobs/job_2/1")
    list(local.sweep("jobs", 60))
    assert (folder / "jobs/job_2").exists()
    list(local.sweep("jobs", -1))
    assert not (folder / "jobs/job_2").exists()
    assert keys(local, "jobs") == [FILM]


def test_f21_an_open_file_is_read_to_its_end_after_it_was_deleted(local: Storage):
    data = os.urandom(3 * PIECE_BYTES)
    local.put_bytes(FILM, data)
    with local.open(FILM) as opened:
        pieces = opened.pieces()
        first = next(pieces)
        local.delete_tree("jobs")
        assert first + b"".join(pieces) == data
    with pytest.raises(MissingKeyError):
        local.open(FILM)


def test_f21_an_object_that_was_deleted_ends_with_an_error(bucket: FakeBucket):
    storage = in_bucket(bucket)
    storage.put_bytes(FILM, bytes(5 * 1024 * 1024))
    pieces = storage.open_range(FILM)
    next(pieces)
    storage.delete_tree("jobs")
    with pytest.raises(MissingKeyError):
        list(pieces)


def test_a_file_that_is_cut_meanwhile_ends_with_an_error(local: Storage, folder: Path):
    local.put_bytes(FILM, bytes(2 * PIECE_BYTES))
    pieces = local.open_range(FILM)
    next(pieces)
    os.truncate(folder / FILM, PIECE_BYTES)
    with pytest.raises(StorageError, match=f"ends at byte {PIECE_BYTES}"):
        next(pieces)


@pytest.mark.parametrize("url", ["", "files", "/files", "file://files", "s3://", "s3:///", "ftp://host/x"])
def test_an_address_that_is_none_is_told_what_would_be(url: str):
    with pytest.raises(InputError, match=r"must be like file:///folder or s3://bucket/prefix"):
        Storage.at(url)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"folder .*file/files cannot be made: .*, name another"):
        Storage.at(f"file://{tmp_path}/file/files")


def test_a_bucket_without_its_package_says_which():
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from unstatic.core.errors import InputError; from unstatic.server.storage import Storage\n"
        "try: Storage.at('s3://films')\n"
        "except InputError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "the storage s3://films needs the package s3fs: pip install s3fs\n"
