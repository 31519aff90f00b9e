"""Requests with files: who has a place, what is looked at, and where it lies meanwhile."""

import base64
import io
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from listening import listening
from PIL import Image
from serving import add_key, client_of, finish, write_image
from starlette.testclient import TestClient

from unstatic.server import asking
from unstatic.server.app import MOST_BODIES_BYTES, MOST_BODY_BYTES
from unstatic.server.database import Database
from unstatic.server.state import Server
from unstatic.server.tables import Account

MakeAccount = Callable[..., Account]


def picture(folder: Path) -> bytes:
    return write_image(folder / "a.png").read_bytes()


def send(client: Any, png: bytes, **fields: str) -> Any:
    return client.post("/v1/videos", data={"prompt": "x"} | fields, files={"input_reference": ("a", png)})


def stored(server: Server) -> list[str]:
    return [each.key for each in server.storage.list("uploads")]


@contextmanager
def asker(address: str, key: str) -> Iterator[httpx.Client]:
    """Yield a client of a server that listens."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address.removesuffix("/v1"), headers=headers, timeout=60) as client:
        yield client


def wait_for(true: Callable[[], object]) -> None:
    until_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.02)


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """Let this process write no larger files, as if there were no room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_f27_f28_files_that_wait_for_their_turn_keep_nobody_else_waiting(
    app: FastAPI,
    server: Server,
    database: Database,
    account: Account,
    make_account: MakeAccount,
    tmp_path: Path,
):
    png, other = picture(tmp_path), make_account()
    keys = [add_key(database, each.id) for each in (account, other)]
    answers: list[int] = []
    with listening(app) as address, asker(address, keys[0]) as ada, asker(address, keys[1]) as bob:
        uploads = [
            threading.Thread(target=lambda: answers.append(send(ada, png).status_code)) for _ in range(40)
        ]
        with server.turns.of("one"), server.turns.of("two"):  # two videos that take minutes
            for upload in uploads:
                upload.start()
            wait_for(lambda: len(answers) >= 36)
            assert answers == [429] * 36
            for path in ("/healthz", "/v1/models", "/v1/videos"):
                assert bob.get(path, timeout=10).status_code == 200
            one = threading.Thread(target=lambda: answers.append(send(bob, png).status_code))
            one.start()
            one.join(0.5)
            assert one.is_alive()  # he has a place
        for each in (*uploads, one):
            each.join()
    assert sorted(answers) == [200] * 5 + [429] * 36
    with server.examined.of(account.id, 4):  # all places are free again
        pass


def test_f42_who_may_ask_for_nothing_has_no_file_looked_at(
    app: FastAPI,
    server: Server,
    database: Database,
    make_account: MakeAccount,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    looked: list[object] = []
    examine = asking.examine_picture

    def counted(*given: Any, **more: Any) -> Any:
        looked.append(given)
        return examine(*given, **more)

    monkeypatch.setattr(asking, "examine_picture", counted)
    poor, png = make_account(balance=0), picture(tmp_path)
    with client_of(app, add_key(database, poor.id)) as client:
        url = "data:image/png;base64," + base64.b64encode(png).decode()
        answers = [
            send(client, png),
            client.post("/v1/videos", json={"prompt": "x", "input_reference": {"image_url": url}}),
            client.post("/v1/images/edits", data={"prompt": "x"}, files={"image": ("a", png)}),
        ]
    assert [each.json()["error"]["code"] for each in answers] == ["insufficient_quota"] * 3
    assert (looked, stored(server)) == ([], [])


def test_f42_who_may_ask_for_nothing_has_no_prompt_read(
    app: FastAPI, database: Database, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
):
    read: list[object] = []
    monkeypatch.setattr(asking, "plan", lambda *given: read.append(given))
    cards = [{"at": each, "prompt": "a ball"} for each in range(4)]
    with client_of(app, add_key(database, make_account(balance=0).id)) as client:
        answers = [
            client.post("/v1/videos", json={"prompt": "a ball"}),
            client.post("/v1/videos/storyboards", json={"seconds": 4, "cards": cards}),
            client.post("/v1/images/generations", json={"prompt": "a ball", "n": 4}),
        ]
    assert [each.json()["error"]["code"] for each in answers] == ["insufficient_quota"] * 3
    assert read == []


def test_f27_an_account_has_so_many_letters_read_at_a_time(
    app: FastAPI, server: Server, database: Database, account: Account, make_account: MakeAccount
):
    keys = [add_key(database, each.id) for each in (account, make_account())]
    with client_of(app, keys[0]) as ada, client_of(app, keys[1]) as bob:
        for left, status in ((5, 429), (6, 200)):
            with server.planned.of(account.id, asking.MOST_LETTERS - left):
                answer = ada.post("/v1/videos", json={"prompt": "a ball"})
                assert answer.status_code == status
                assert bob.post("/v1/videos", json={"prompt": "a ball"}).status_code == 200
        cards = [{"at": each / 4, "prompt": "ball " * 6_000} for each in range(4)]
        body = {"seconds": 4, "cards": cards}  # more letters than a share is read alone
        with server.planned.of(account.id):
            assert ada.post("/v1/videos/storyboards", json=body).json()["error"]["code"] == "busy"


@pytest.mark.parametrize("balance", [4, 5])  # what is left is nothing, or too little
def test_f42_who_lacks_credits_has_no_film_copied(
    balance: int,
    app: FastAPI,
    server: Server,
    database: Database,
    make_account: MakeAccount,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    copied: list[str] = []
    with client_of(app, add_key(database, make_account(balance=balance).id)) as client:
        video = client.post("/v1/videos", json={"prompt": "a ball"}).json()["id"]
        finish(server, tmp_path)
        monkeypatch.setattr(type(server.storage), "put_file", lambda _, key, __: copied.append(key))
        answers = [
            client.post(f"/v1/videos/{video}/remix", json={"prompt": "a cube"}),
            client.post("/v1/videos/edits", json={"prompt": "a cube", "video": {"id": video}}),
        ]
    assert [each.json()["error"]["code"] for each in answers] == ["insufficient_quota"] * 2
    assert copied == []


def test_f25_f42_what_was_asked_for_once_is_answered_again_when_the_credits_are_spent(
    app: FastAPI, database: Database, make_account: MakeAccount, tmp_path: Path
):
    spent, png = make_account(balance=4), picture(tmp_path)
    with client_of(app, add_key(database, spent.id)) as client:
        client.headers["Idempotency-Key"] = "once"
        first = send(client, png)
        assert first.status_code == 200
        assert send(client, png).json()["id"] == first.json()["id"]
        client.headers["Idempotency-Key"] = "twice"
        assert send(client, png).json()["error"]["code"] == "insufficient_quota"


def test_f8_a_disk_that_is_full_during_an_upload_is_503_and_leaves_nothing(
    client: TestClient, server: Server, tmp_path: Path
):
    raw = io.BytesIO()
    Image.effect_noise((800, 800), 90).save(raw, "PNG")  # more than the database has
    png = raw.getvalue()
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    asks: list[Callable[[], Any]] = [
        lambda: send(client, png),
        lambda: client.post("/v1/videos", json={"prompt": "x", "input_reference": {"image_url": url}}),
    ]
    for ask in asks:
        with files_up_to(len(png) - 1):
            answer = ask()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_room")
        assert 1 <= int(answer.headers["Retry-After"]) <= 120
        assert str(tmp_path) not in answer.text
        assert not server.spool.exists() or list(server.spool.iterdir()) == []
        assert stored(server) == []
        assert ask().status_code == 200  # as soon as there is room again
        server.storage.delete_tree("uploads")


def test_f8_a_request_without_files_needs_no_room(client: TestClient, server: Server):
    server.spool.write_bytes(b"")  # nothing can be made below it
    assert client.post("/v1/videos", json={"prompt": "x"}).status_code == 200
    assert client.post("/v1/videos", data={"prompt": "x"}).status_code == 200


def test_f1_all_that_is_kept_of_an_upload_while_it_is_looked_at_lies_in_the_spool(
    app: FastAPI, server: Server, database: Database, account: Account, tmp_path: Path
):
    png, key, answers = picture(tmp_path), add_key(database, account.id), list[Any]()
    with listening(app) as address, asker(address, key) as client:
        upload = threading.Thread(target=lambda: answers.append(send(client, png)))
        with server.turns.of("one"), server.turns.of("two"):
            upload.start()
            wait_for(lambda: list(server.spool.glob("request-*/unstatic-*/upload")))
            (folder,) = server.spool.iterdir()
            assert len(list(folder.iterdir())) == 2
        upload.join()
    assert answers[0].status_code == 200
    assert list(server.spool.iterdir()) == []


def begun(address: str, key: str, size_bytes: int) -> socket.socket:
    """Return the connection of a request that says its size and stands still after the first bytes."""
    host = address.removeprefix("http://").removesuffix("/v1")
    name, _, port = host.partition(":")
    opened = socket.create_connection((name, int(port)))
    opened.sendall(
        f"POST /v1/videos HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\nExpect: 100-continue\r\n"
        f"Content-Length: {size_bytes}\r\n\r\n".encode()
    )
    assert opened.recv(25).startswith(b"HTTP/1.1 100")  # its body is being read
    opened.sendall(b"--B\r\n")
    return opened


def test_f42_nobody_has_more_than_a_share_of_uploads_under_way(
    app: FastAPI, server: Server, database: Database, account: Account, make_account: MakeAccount
):
    keys = [add_key(database, each.id) for each in (account, make_account())]
    size_bytes = server.settings.max_upload
    with listening(app) as address, asker(address, keys[0]) as ada, asker(address, keys[1]) as bob:

        def is_full() -> bool:
            return ada.post("/v1/videos", json={}).status_code == 429  # else 400

        uploads = [begun(address, keys[0], size_bytes) for _ in range(4)]
        answer = ada.post("/v1/videos", json={"prompt": "x"})
        assert (answer.json()["error"]["code"], answer.headers["Retry-After"]) == ("busy", "5")
        assert bob.post("/v1/videos", json={"prompt": "x"}).status_code == 200
        assert ada.get("/v1/videos").status_code == 200
        uploads.pop().close()
        wait_for(lambda: not is_full())
        for upload in uploads:
            upload.close()
        wait_for(lambda: not server.spool.exists() or not list(server.spool.iterdir()))


def test_f27_large_bodies_of_all_accounts_have_an_end_and_words_always_pass(
    client: TestClient, server: Server, tmp_path: Path
):
    url = "data:image/png;base64," + base64.b64encode(picture(tmp_path).ljust(1_000_000, b"x")).decode()
    named = {"json": {"prompt": "x", "input_reference": {"image_url": url}}}
    bracketed = {"files": {"prompt": (None, "x"), "input_reference[image_url]": (None, url)}}

    @contextmanager
    def left(size_bytes: int) -> Iterator[None]:
        with ExitStack() as stack:
            for each in range(3):
                stack.enter_context(server.bodies.of(f"other {each}", MOST_BODY_BYTES))
            taken = 3 * MOST_BODY_BYTES + size_bytes
            stack.enter_context(server.bodies.of("another", MOST_BODIES_BYTES - taken))
            yield

    with left(2_000_000):
        assert [client.post("/v1/videos", **each).status_code for each in (named, bracketed)] == [200, 200]
    with left(1_999_999):
        for each in (named, bracketed):
            answer = client.post("/v1/videos", **each)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
        assert client.post("/v1/videos", json={"prompt": "x"}).status_code == 200
    with left(0):
        pass  # all was given back


def test_f22_who_expects_to_be_told_sends_a_body_only_when_it_is_wanted(
    app: FastAPI, database: Database, account: Account
):
    body = b'{"prompt": "a ball"}'
    with listening(app) as address:
        host = address.removeprefix("http://").removesuffix("/v1")
        name, _, port = host.partition(":")
        for key, told, status in (
            (add_key(database, account.id), b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200"),
            ("sk-unstatic-wrong", b"", b"HTTP/1.1 401"),
        ):
            with socket.create_connection((name, int(port)), timeout=30) as opened:
                opened.sendall(
                    f"POST /v1/videos HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
                    "Content-Type: application/json\r\nExpect: 100-continue\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                )
                if told:
                    assert opened.recv(len(told)) == told
                    opened.sendall(body)
                assert opened.recv(10_000).startswith(status)
