import gc
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
import uvicorn
from fsspec.implementations.memory import MemoryFileSystem
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from unstatic.server.content import MAX_NAME_LENGTH, Stream, disposition, download, growing
from unstatic.server.storage import MissingKeyError, Storage

KEY, ETAG = "jobs/a/1/video.mp4", '"a-1"'
DATA = os.urandom(1000)
LARGE = os.urandom(24 * 1024 * 1024)  # more than the buffers of both ends hold


class Shop:
    """A storage with one file, and an application that gives it away."""

    def __init__(self, storage: Storage, data: bytes) -> None:
        self.storage, self.name = storage, "film.mp4"
        storage.put_bytes(KEY, data)
        self.app = Starlette(routes=[Route("/film", self.film, methods=["GET"])])

    def film(self, request: Request) -> Response:
        try:
            return download(
                request, self.storage, KEY, media_type="video/mp4", name=self.name, etag=ETAG.strip('"')
            )
        except MissingKeyError:
            return Response(status_code=404)


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve on loopback, and yield host and port."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


def eventually(is_so: Callable[[], bool]) -> bool:
    """Return whether something comes true in a while."""
    until_s = time.monotonic() + 3
    while not is_so() and time.monotonic() < until_s:
        time.sleep(0.01)
    return is_so()


def num_open(path: Path) -> int:
    """Count how often this process has a file open, which may have been deleted."""
    links = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
    return sum(link.startswith(str(path)) for link in links)


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage.at(f"file://{tmp_path}/files")


@pytest.fixture
def client(local: Storage) -> Iterator[TestClient]:
    with TestClient(Shop(local, DATA).app) as opened:
        yield opened


def test_f43_a_whole_file_says_what_it_is(client: TestClient):
    answer = client.get("/film")
    assert answer.status_code == 200
    assert answer.content == DATA
    expected = {
        "accept-ranges": "bytes",
        "cache-control": "private",
        "content-disposition": 'attachment; filename="film.mp4"',
        "content-length": "1000",
        "content-type": "video/mp4",
        "etag": ETAG,
        "x-content-type-options": "nosniff",
    }
    assert dict(answer.headers) == expected


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=-1", 999, 1000),
        ("bytes=-1000", 0, 1000),
        ("bytes=-5000", 0, 1000),
        ("bytes=10-", 10, 1000),
        ("bytes=999-", 999, 1000),
        ("bytes=10-19", 10, 20),
        ("bytes=990-1000000", 990, 1000),
        ("bytes=0-" + "9" * 90, 0, 1000),
        ("BYTES= 5-6 ", 5, 7),
    ],
)
def test_f43_a_range_is_answered_with_its_bytes(client: TestClient, asked: str, first: int, stop: int):
    answer = client.get("/film", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == DATA[first:stop]
    assert answer.headers["content-range"] == f"bytes {first}-{stop - 1}/1000"
    assert answer.headers["content-length"] == str(stop - first)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-1000", "bytes=-0", "bytes=" + "9" * 50 + "-"])
def test_f43_a_range_past_the_end_is_told_the_size(client: TestClient, asked: str):
    answer = client.get("/film", headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */1000"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=0-,0-,0-,0-",
        "bytes=5-4",
        "bytes=-",
        "bytes=",
        "bytes",
        "bytes=a-b",
        "bytes=-1-2",
        "bytes=0x1-2",
        "bytes=" + "1" * 5000 + "-",
        "lines=0-1",
        "0-1",
        "",
    ],
)
def test_f43_several_ranges_and_what_is_none_get_the_whole_file(client: TestClient, asked: str):
    answer = client.get("/film", headers={"Range": asked})
    assert answer.status_code == 200
    assert answer.content == DATA
    assert "content-range" not in answer.headers


def test_f43_no_byte_can_be_had_of_an_empty_file(local: Storage):
    with TestClient(Shop(local, b"").app) as client:
        assert client.get("/film").headers["content-length"] == "0"
        for asked in ("bytes=0-0", "bytes=0-", "bytes=-1"):
            answer = client.get("/film", headers={"Range": asked})
            assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */0")


def test_f43_a_head_is_a_get_without_the_file(client: TestClient, tmp_path: Path):
    answer = client.head("/film", headers={"Range": "bytes=0-0"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert dict(answer.headers) == dict(client.get("/film").headers)
    assert num_open(tmp_path) == 0


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (ETAG, 304),
        (f"W/{ETAG}", 304),
        ("*", 304),
        (f'"b", {ETAG}', 304),
        ('"b"', 200),
        ("a-1", 200),
    ],
)
def test_f43_what_the_client_has_is_not_sent_again(
    client: TestClient, tmp_path: Path, asked: str, status: int
):
    answer = client.get("/film", headers={"If-None-Match": asked})
    assert answer.status_code == status
    assert answer.headers["etag"] == ETAG
    assert answer.content == (DATA if status == 200 else b"")
    assert ("content-length" in answer.headers) == (status == 200)
    assert num_open(tmp_path) == 0

    for ranged, otherwise in (("bytes=0-0", 206), ("bytes=5000-", 416)):
        answer = client.get("/film", headers={"If-None-Match": asked, "Range": ranged})
        assert answer.status_code == (304 if status == 304 else otherwise)


@pytest.mark.parametrize(
    ("asked", "status"),
    [(ETAG, 206), (f"W/{ETAG}", 200), ('"b"', 200), ("Tue, 15 Nov 1994 12:45:26 GMT", 200), ("", 200)],
)
def test_f43_a_download_goes_on_only_with_the_same_file(client: TestClient, asked: str, status: int):
    answer = client.get("/film", headers={"Range": "bytes=500-", "If-Range": asked})
    assert answer.status_code == status
    assert answer.content == (DATA[500:] if status == 206 else DATA)


@pytest.mark.parametrize(("asked", "status"), [(ETAG, 200), ("*", 200), (f"W/{ETAG}", 412), ('"b"', 412)])
def test_f43_who_wants_no_other_file_gets_none(client: TestClient, asked: str, status: int):
    assert client.get("/film", headers={"If-Match": asked}).status_code == status


# ------------------------------------------------------------------------------------------------- F35, names


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("film.mp4", "film.mp4"),
        ('a"; filename="b.exe', "a_; filename=_b.exe"),
        ("a\r\nSet-Cookie: x=1.mp4", "a__Set-Cookie_ x=1.mp4"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..\\..\\x.mp4", "_.._x.mp4"),
        ("C:\\CON", "C__CON"),
        ("-rf", "rf"),
        (".bashrc", "bashrc"),
        ("a\0b.mp4", "a_b.mp4"),
        ("a%00b.mp4", "a_00b.mp4"),
        ("<script>.mp4", "_script_.mp4"),
        ("", "download"),
        ("...", "download"),
        ("x" * 4000 + ".mp4", "x" * (MAX_NAME_LENGTH - 4) + ".mp4"),
        ("x" * 4000, "x" * MAX_NAME_LENGTH),
        ("." + "x" * 4000, "x" * MAX_NAME_LENGTH),
    ],
)
def test_f35_a_file_name_cannot_leave_its_place_in_the_header(name: str, plain: str):
    assert disposition(name) == f'attachment; filename="{plain}"'


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("b\u00e4r.mp4", "b\u00e4r.mp4"),
        ("\u718a.mp4", "\u718a.mp4"),
        ("\U0001f43b.mp4", "\U0001f43b.mp4"),
        ("gepj.\u202e4pm.exe", "gepj._4pm.exe"),
        ("zero\u200bwidth.mp4", "zero_width.mp4"),
        ("lone\ud800.mp4", "lone_.mp4"),
        ("\u718a" * 4000 + ".mp4", "\u718a" * (MAX_NAME_LENGTH - 4) + ".mp4"),
    ],
)
def test_f35_a_name_in_any_script_is_kept_without_what_nobody_sees(name: str, shown: str):
    header = disposition(name)
    assert header.isascii()
    plain, _, quoted = header.partition("; filename*=UTF-8''")
    assert plain.count('"') == 2
    assert (unquote(quoted) or plain.split('"')[1]) == shown


def test_f35_a_name_reaches_the_client_in_one_header(local: Storage):
    shop = Shop(local, DATA)
    shop.name = 'b\u00e4r"\r\nX-Evil: 1\r\n\r\n<html>.mp4'
    with TestClient(shop.app) as client:
        answer = client.get("/film")
    assert "x-evil" not in answer.headers
    assert answer.content == DATA


# ------------------------------------------------------------------------------------- over a real connection


def test_f43_a_download_that_broke_off_is_resumed_to_the_same_bytes(local: Storage):
    with serving(Shop(local, LARGE).app) as address:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/film")
        answer = connection.getresponse()
        had = answer.read(1_000_003)
        etag = answer.headers["ETag"]
        connection.close()

        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/film", headers={"Range": f"bytes={len(had)}-", "If-Range": etag})
        answer = connection.getresponse()
        assert answer.status == 206
        assert had + answer.read() == LARGE
        connection.close()


def test_f21_a_film_that_is_deleted_during_the_download_arrives_whole_from_a_disk(
    local: Storage, tmp_path: Path
):
    with serving(Shop(local, LARGE).app) as address:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/film")
        answer = connection.getresponse()
        had = answer.read(1)
        local.delete_tree("jobs/a")
        assert had + answer.read() == LARGE

        connection.request("GET", "/film")
        assert connection.getresponse().status == 404
        connection.close()
        assert eventually(lambda: num_open(tmp_path) == 0)


@pytest.fixture
def in_memory() -> Iterator[Storage]:
    yield Storage.at("memory://shop")
    MemoryFileSystem.store.clear()


def test_f21_a_film_that_is_deleted_in_a_bucket_breaks_the_download_off(
    in_memory: Storage, caplog: pytest.LogCaptureFixture
):
    with serving(Shop(in_memory, LARGE).app) as address:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/film")
        answer = connection.getresponse()
        had = answer.read(1)
        in_memory.delete_tree("jobs/a")
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        connection.close()
    assert LARGE.startswith(had + caught.value.partial)
    assert "an answer ends early: nothing is stored under 'jobs/a/1/video.mp4'" in caplog.messages
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_client_that_goes_away_lets_go_of_the_file(local: Storage, tmp_path: Path):
    with serving(Shop(local, LARGE).app) as address:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/film")
        answer = connection.getresponse()
        answer.read(1)
        assert num_open(tmp_path) == 1
        answer.close()
        connection.close()
        assert eventually(lambda: num_open(tmp_path) == 0)


def test_slow_clients_do_not_stop_others(local: Storage):
    with serving(Shop(local, LARGE).app) as address:
        # More than there are threads
        slow = [
            http.client.HTTPConnection(address, timeout=5) for _ in range(60)
        ]  # more than there are threads
        answers: list[http.client.HTTPResponse] = []
        for connection in slow:
            connection.request("GET", "/film")
            answers.append(connection.getresponse())

        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/film")
        assert connection.getresponse().read() == LARGE
        assert answers[0].read() == LARGE
        for each in (connection, *slow, *answers):
            each.close()


# -------------------------------------------------------------------------------- what is made at this moment


class Growth:
    """Pieces that a test adds while they are read, and how often it was asked for the next."""

    def __init__(self, storage: Storage) -> None:
        self.storage, self.is_over, self.asked = storage, False, 0

    def put(self, number: int, data: bytes) -> None:
        self.storage.put_bytes(f"jobs/a/1/preview/{number:06}", data)

    def next_piece(self, number: int) -> bytes | None:
        self.asked += 1
        try:
            return self.storage.read_bytes(f"jobs/a/1/preview/{number:06}", 1000)
        except MissingKeyError:
            return None

    @property
    def app(self) -> Starlette:
        async def preview(_: Request) -> Response:
            return Stream(growing(self.next_piece, lambda: self.is_over, poll_s=0.01), media_type="video/mp4")

        return Starlette(routes=[Route("/preview", preview)])


def test_pieces_arrive_before_the_next_is_there(local: Storage):
    growth = Growth(local)
    with serving(growth.app) as address:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/preview")
        answer = connection.getresponse()
        for number, data in enumerate((b"first", b"second", b"third")):
            growth.put(number, data)
            assert answer.read(len(data)) == data
        growth.is_over = True
        assert answer.read() == b""
        connection.close()


def test_the_last_piece_is_not_missed_when_it_came_with_the_end(local: Storage):
    growth = Growth(local)
    look = growth.next_piece

    def too_late(number: int) -> bytes | None:
        found = look(number)
        if found is None and not growth.is_over:  # all of this happens between two questions
            growth.put(0, b"one")
            growth.put(1, b"two")
            growth.is_over = True
        return found

    growth.next_piece = too_late
    with TestClient(growth.app) as client:
        assert client.get("/preview").content == b"onetwo"


def test_what_is_over_and_empty_is_an_empty_answer(local: Storage):
    growth = Growth(local)
    growth.is_over = True
    with TestClient(growth.app) as client:
        answer = client.get("/preview")
    assert (answer.status_code, answer.content) == (200, b"")


def test_nobody_looks_for_pieces_when_the_client_is_gone(local: Storage):
    growth = Growth(local)
    with serving(growth.app) as address:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/preview")
        connection.getresponse().close()
        connection.close()

        def is_quiet() -> bool:
            before = growth.asked
            time.sleep(0.1)
            return growth.asked == before

        assert eventually(is_quiet)
        assert growth.asked > 0
        gc.collect()


def test_a_storage_that_fails_breaks_the_stream_off(local: Storage, caplog: pytest.LogCaptureFixture):
    growth = Growth(local)
    growth.put(0, b"first")
    growth.put(1, bytes(1001))  # more than is read at once
    with serving(growth.app) as address, caplog.at_level(logging.WARNING):
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/preview")
        with pytest.raises(http.client.IncompleteRead) as caught:
            connection.getresponse().read()
        connection.close()
    assert caught.value.partial == b"first"
    assert any(message.startswith("an answer ends early: ") for message in caplog.messages)
