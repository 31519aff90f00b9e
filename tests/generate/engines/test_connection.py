"""What goes over the line: forms as another reader reads them, errors in every shape that there is."""

import time
from email.message import Message
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from fake_video_servers import FakeServer, form_of, serving

from unstatic.core.errors import InputError, UnstaticError
from unstatic.generate.engines.connection import (
    ClosedError,
    Connection,
    GoneError,
    RefusedError,
    as_form,
    as_json,
    cleaned,
    words_of,
)


def test_a_form_is_read_as_it_was_written() -> None:
    fields = {"prompt": "caf\u00e9\r\n--\r\n\U0001f3ac", "seed": 3}
    content, headers = as_form(fields, {"input_reference": b"\x89PNG\r\n\r\n--"})
    assert form_of(headers["Content-Type"], content) == {
        "prompt": "caf\u00e9\r\n--\r\n\U0001f3ac",
        "seed": "3",
        "input_reference": ("input_reference.png", "image/png", b"\x89PNG\r\n\r\n--"),
    }
    assert as_json({"seed": 3}) == (b'{"seed": 3}', {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"error": {"message": "too large", "type": "x", "code": 400}}', "too large"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": "Video not found"}', "Video not found"),
        (b'{"object": "error", "message": "no", "error": null}', "no"),
        (b'{"detail": [{"loc": ["body", "size"], "msg": "wrong"}, 3]}', "wrong ['body', 'size']"),
        (b"<h1>Bad\n gateway</h1>", "<h1>Bad gateway</h1>"),
        (b"\xff\x1b[2J", "\ufffd[2J"),
        (b"[" * 100_000, "[" * 300),
        (b"", "no reason given"),
        ({"code": 500, "message": "out of memory"}, "out of memory"),
        (None, "no reason given"),
        ({"message": {"detail": []}}, "no reason given"),
    ],
)
def test_an_error_is_told_in_one_line(said: Any, words: str) -> None:
    assert words_of(said) == words


def test_a_strangers_words_do_nothing_to_a_terminal() -> None:
    assert cleaned("a\r\nb\x1b]0;title\x07 \u202ec" + "x" * 999).startswith("a b]0;title cxxx")
    assert len(cleaned("x" * 999)) == 300


@pytest.mark.parametrize(("asked", "wait_s"), [("3", 3.0), ("", None), ("-1", None), ("soon", None)])
def test_the_wait_is_what_the_server_asks(asked: str, wait_s: float | None) -> None:
    headers = Message()
    headers["Retry-After"] = asked
    assert RefusedError(429, b"", headers).wait_s == wait_s


@pytest.mark.parametrize(
    "date",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
@pytest.mark.parametrize(
    ("now", "wait_s"),
    [("08:49:07", 30.0), ("08:49:37", 0.0), ("09:00:00", 0.0), ("06:49:36", 7201.0)],
)
def test_a_date_to_wait_for_is_meant_by_the_servers_clock(date: str, now: str, wait_s: float) -> None:
    headers = Message()
    headers["Retry-After"], headers["Date"] = date, f"Sun, 06 Nov 1994 {now} GMT"
    assert RefusedError(503, b"", headers).wait_s == wait_s


@pytest.mark.parametrize("told", [None, "noon"])
def test_without_its_clock_a_date_is_meant_by_ours(told: str | None) -> None:
    headers = Message()
    headers["Retry-After"] = formatdate(time.time() + 30, usegmt=True)
    if told is not None:
        headers["Date"] = told
    assert RefusedError(503, b"", headers).wait_s == pytest.approx(30, abs=5)


@pytest.mark.parametrize(
    "asked",
    ["Sun, 99 Nov 1994 08:49:37 GMT", "Nov 06 08:49:37 1994 99999999999999 ,", "Sun, 06 Nov", "3.5", "1e9"],
)
def test_what_is_no_date_asks_for_no_wait(asked: str) -> None:
    headers = Message()
    headers["Retry-After"] = asked
    assert RefusedError(503, b"", headers).wait_s is None


@pytest.mark.parametrize(
    ("code", "kind"), [(401, ClosedError), (403, ClosedError), (404, GoneError), (405, GoneError)]
)
def test_what_is_closed_to_everybody_is_told_from_what_is_asked_for(
    code: int, kind: type[InputError]
) -> None:
    with serving(FakeServer("sglang", lambda _: b"")) as server:
        server.faults = [("GET /models", code), ("GET /models", 400)]
        with pytest.raises(kind, match="not now") as closed:
            Connection(base=server.url).ask("GET", "/models")
        with pytest.raises(InputError, match="refuses it") as refused:
            Connection(base=server.url).ask("GET", "/models")
    assert isinstance(closed.value, ClosedError)
    assert not isinstance(refused.value, ClosedError)


def test_a_date_is_waited_for_unless_it_is_far() -> None:
    slept: list[float] = []
    with serving(FakeServer("sglang", lambda _: b"")) as server:
        connection = Connection(base=server.url, sleep=lambda wait_s: slept.append(wait_s))
        server.jobs["video_1"], get = 0, "GET /videos/video_1"
        server.faults, server.retry_after = [(get, 503)], formatdate(time.time() + 30, usegmt=True)
        assert connection.ask("GET", "/videos/video_1")[0]["id"] == "video_1"
        assert slept == [pytest.approx(30, abs=5)]
        server.faults, server.retry_after = [(get, 503)], formatdate(time.time() + 9e6, usegmt=True)
        with pytest.raises(UnstaticError, match=r"cannot do it now \(503\).*; try in \d{7} seconds"):
            connection.ask("GET", "/videos/video_1")
    assert len(slept) == 1


def test_what_is_no_json_is_told(tmp_path: Path) -> None:
    with serving(FakeServer("sglang", lambda _: b"a page")) as server:
        server.made, server.jobs = [{}], {"video_1": 0}
        with pytest.raises(
            UnstaticError, match="does not answer in JSON: check the address, it may end in /v1"
        ):
            Connection(base=server.url).ask("GET", "/videos/video_1/content")
        Connection(base=server.url).download("/videos/video_1/content", tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == b"a page"
