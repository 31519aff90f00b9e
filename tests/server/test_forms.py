"""Bodies of every form become one dict, and what is none is refused in one line."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import ClientDisconnect, Request

from unstatic.server import forms
from unstatic.server.errors import ApiError

Read = Callable[..., dict[str, Any]]


def request_of(content_type: str | None, pieces: list[bytes], headers: dict[str, str], *, ends: bool = True):
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages += [{"type": "http.request", "body": b"", "more_body": False}] if ends else []
    messages += [{"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    named = dict(headers) | ({} if content_type is None else {"content-type": content_type})
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def read(
    spool: Path, content_type: str | None, body: bytes | list[bytes], *, max_bytes: int = 10**7, **more: Any
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the fields, and the bytes of the files, of a body."""
    ends, headers = more.pop("ends", True), more.pop("headers", {})
    pieces = [body] if isinstance(body, bytes) else body

    async def run() -> tuple[dict[str, Any], dict[str, bytes]]:
        request = request_of(content_type, pieces, headers, ends=ends)
        async with forms.reading(request, spool=spool, max_bytes=max_bytes, **more) as form:
            assert (form.folder.stat().st_mode & 0o777) == 0o700
            files = {name: upload.path.read_bytes() for name, upload in form.files.items()}
            for name, upload in form.files.items():
                assert upload.digest == hashlib.sha256(files[name]).hexdigest()
            return form.fields, files

    try:
        return asyncio.run(run())
    finally:
        assert list(spool.iterdir()) == []  # nothing stays, whatever happened


def part(name: str, value: bytes, more: str = "") -> bytes:
    return b'--B\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
        name.encode(),
        more.encode(),
        value,
    )


MULTIPART = "multipart/form-data; boundary=B"
URLENCODED = "application/x-www-form-urlencoded"
END = b"--B--\r\n"


def refused(spool: Path, content_type: str | None, body: bytes | list[bytes], **more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(spool, content_type, body, **more)
    json.dumps(caught.value.body, ensure_ascii=False).encode()  # can be sent
    return caught.value


def test_multipart_with_a_file_and_any_cuts(tmp_path: Path):
    body = part("prompt", "größer".encode()) + part("video", b"\0\r\n--B\xff", '; filename="../../x"') + END
    for step in (1, 7, len(body)):
        pieces = [body[start : start + step] for start in range(0, len(body), step)]
        fields, files = read(tmp_path, MULTIPART, pieces)
        assert fields == {"prompt": "größer"}
        assert files == {"video": b"\0\r\n--B\xff"}


@pytest.mark.parametrize(
    "pairs",
    [
        [("input_reference[image_url]", "data:"), ("characters[][id]", "a"), ("characters[][id]", "b")],
        [("characters[0][id]", "a"), ("characters[1][id]", "b"), ("input_reference[image_url]", "data:")],
    ],
)
def test_bracket_keys_in_both_kinds_of_form_mean_what_json_says(tmp_path: Path, pairs: list[tuple[str, str]]):
    said = {"input_reference": {"image_url": "data:"}, "characters": [{"id": "a"}, {"id": "b"}]}
    multipart = b"".join(part(name, value.encode()) for name, value in pairs) + END
    for content_type, body in (
        (MULTIPART, multipart),
        (URLENCODED, urlencode(pairs).encode()),
        ("application/json; charset=utf-8", json.dumps(said).encode()),
    ):
        assert read(tmp_path, content_type, body)[0] == said


def test_fields_of_one_object_of_a_list_stay_together(tmp_path: Path):
    pairs = [("cards[][at]", "0"), ("cards[][prompt]", "a"), ("cards[][at]", "2"), ("cards[][prompt]", "b")]
    fields, _ = read(tmp_path, URLENCODED, urlencode(pairs).encode())
    assert fields == {"cards": [{"at": "0", "prompt": "a"}, {"at": "2", "prompt": "b"}]}


def test_an_empty_multipart_body_as_the_official_client_sends_it(tmp_path: Path):
    assert read(tmp_path, MULTIPART, END) == ({}, {})


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (MULTIPART, part("prompt", b"a") + part("prompt", b"b") + END),
        (MULTIPART, part("v", b"a", '; filename="x"') + part("v", b"a", '; filename="x"') + END),
        (MULTIPART, part("a", b"1") + part("a[b]", b"2") + END),
        (MULTIPART, part("a[1]", b"1") + END),
        (MULTIPART, part("a b", b"1") + END),
        (MULTIPART, part("a" * 100, b"1") + END),
        (MULTIPART, part("a[[b]]", b"1") + END),
        (MULTIPART, part("a", b"\xff") + END),
        (MULTIPART, part("a", b"x\0y") + END),
        (MULTIPART, part("a", b"x" * 2_001) + END),
        (MULTIPART, part("prompt", b"x" * 32_001) + END),
        (MULTIPART, part("prompt", b"x" * 300_000) + END),
        (MULTIPART, b"".join(part(f"a{number}", b"") for number in range(10_000)) + END),
        (MULTIPART, part("prompt", b"a")),  # breaks off after a part
        (MULTIPART, part("prompt", b"a")[:-4]),  # and within one
        (MULTIPART, b"--C\r\n\r\n--C--"),
        (MULTIPART, b"--B\r\nX: y\r\n\r\nvalue\r\n--B--\r\n"),
        (MULTIPART, b"--B\r\n" + b"X: y\r\n" * 100 + b"\r\nvalue\r\n--B--\r\n"),
        (MULTIPART, b""),
        ("multipart/form-data", part("prompt", b"a") + END),
        ("multipart/form-data; boundary=" + "B" * 4_000, END),
        (URLENCODED, b"a=1&a=2"),
        (URLENCODED, b"&".join(b"a%d=1" % number for number in range(10_000))),
        (URLENCODED, b"a=%ff"),
        (URLENCODED, b"a=%00"),
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b'{"seed": NaN}'),
        ("application/json", b'{"a": 1, "a": 2}'),
        ("application/json", b'{"a": "\\ud800"}'),
        ("application/json", b'{"\\ud800": 1}'),
        ("application/json", b'{"a": "\\u0000"}'),
        ("application/json", b'{"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}'),
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"a":' * 100_000),
        ("application/json", b'{"a": %s}' % (b"9" * 10_000)),
        ("application/json", b'{"a": [%s1]}' % (b"1," * 2_000)),
        ("application/json", b'{"prompt": "\xff"}'),
    ],
)
def test_f22_absurd_bodies_are_refused_in_one_line(tmp_path: Path, content_type: str, body: bytes):
    error = refused(tmp_path, content_type, body)
    assert error.status == 400
    assert "\n" not in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/xml", "multipart/mixed; boundary=B"]
)
def test_f22_an_unknown_content_type_is_415(tmp_path: Path, content_type: str | None):
    assert refused(tmp_path, content_type, b"{}").status == 415


def test_f42_too_many_bytes_are_413_said_or_counted(tmp_path: Path):
    body = part("video", b"x" * 1_000, '; filename="x"') + END
    assert read(tmp_path, MULTIPART, body, max_bytes=len(body))[1] == {"video": b"x" * 1_000}
    assert refused(tmp_path, MULTIPART, body, max_bytes=len(body) - 1).status == 413
    for said in ("1000000000000", "9" * 5_000):
        error = refused(tmp_path, MULTIPART, [], headers={"content-length": said})
        assert error.status == 413
    assert refused(tmp_path, MULTIPART, [], headers={"content-length": "-1"}).status == 400
    assert refused(tmp_path, "application/json", [b" " * 600] * 2, max_bytes=1_000).status == 413


def test_f42_nothing_stays_of_an_upload_that_breaks_off(tmp_path: Path):
    body = part("video", b"x" * 100_000, '; filename="x"')
    with pytest.raises(ClientDisconnect):
        read(tmp_path, MULTIPART, [body[:50_000]], ends=False)


def test_a_picture_in_the_body_may_be_long_and_other_texts_not(tmp_path: Path):
    url = "data:image/png;base64," + "A" * 500_000
    fields, _ = read(tmp_path, MULTIPART, part("input_reference[image_url]", url.encode()) + END)
    assert fields["input_reference"]["image_url"] == url
    said = json.dumps({"input_reference": {"image_url": url}}).encode()
    assert read(tmp_path, "application/json", said)[0]["input_reference"]["image_url"] == url
    assert refused(tmp_path, "application/json", json.dumps({"model": "x" * 2_001}).encode()).status == 400


def test_f22_a_picture_in_the_body_may_come_before_or_after_the_words(tmp_path: Path):
    parts = [
        part("input_reference[image_url]", b"data:image/png;base64," + b"A" * 300_000),
        part("prompt", b"a ball"),
        part("characters[][id]", b"char_1"),
    ]
    for some in (parts, parts[::-1]):
        assert read(tmp_path, MULTIPART, b"".join(some) + END)[0]["prompt"] == "a ball"


LISTS = b'{"a":[%s[]]}' % (b"[]," * 2_000_000)
ESCAPES = b'{"a":"%s"}' % (rb"\u0041" * 2_000_000)
MARKS = b"prompt=" + b"%41%41" * 1_000_000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/json", LISTS), ("application/json", ESCAPES), (URLENCODED, MARKS)],
)
def test_f22_a_body_that_would_grow_is_refused_before_it_is_taken_apart(
    tmp_path: Path, content_type: str, body: bytes
):
    began_s = time.process_time()
    assert refused(tmp_path, content_type, body, max_bytes=10**8).status == 400
    assert time.process_time() - began_s < 0.5


def test_f22_what_is_no_file_has_an_end_of_its_own(tmp_path: Path):
    long = b"x" * (forms.MAX_PARSED_BYTES + 1)
    for content_type in ("application/json", URLENCODED):
        assert refused(tmp_path, content_type, long, max_bytes=10**8).status == 413
    half = long[len(long) // 2 :]
    both = part("input_reference[image_url]", half) + part("mask[image_url]", half + b"x")
    for body in (part("input_reference[image_url]", long), both):
        assert refused(tmp_path, MULTIPART, body + END, max_bytes=10**8).status == 400
    assert refused(tmp_path, "application/json", b'{"a": [%s[]]}' % (b"[]," * 1_000)).status == 400


@pytest.mark.parametrize("content_type", ["application/json", URLENCODED, MULTIPART])
def test_f27_what_lies_in_memory_is_counted_as_it_comes(tmp_path: Path, content_type: str):
    held: list[int] = []

    def hold(size_bytes: int) -> None:
        held.append(size_bytes)
        if size_bytes > 1_500:
            raise ApiError(429, "too much", code="busy")

    pieces = [part("input_reference[image_url]", b"x").removesuffix(b"x\r\n"), *[b"x" * 1_000] * 9]
    assert refused(tmp_path, content_type, pieces, hold=hold).status == 429
    assert 1_500 < held[-1] < 2_500
    held.clear()
    read(tmp_path, MULTIPART, part("video", b"x" * 9_000, '; filename="a"') + END, hold=hold)
    assert not held  # a file is not in memory


def test_f28_others_are_answered_while_a_large_picture_is_read(tmp_path: Path):
    url = "data:image/png;base64," + "A" * 20_000_000
    said = json.dumps({"input_reference": {"image_url": url}}).encode()
    request = request_of("application/json", [said], {})
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before_s = time.thread_time()
            await asyncio.sleep(0.001)
            gaps.append(time.thread_time() - before_s)

    async def run() -> None:
        ticking = asyncio.create_task(tick())
        async with forms.reading(request, spool=tmp_path, max_bytes=10**8) as form:
            assert form.fields["input_reference"]["image_url"] == url
        ticking.cancel()

    asyncio.run(run())
    assert max(gaps) < 0.5


@pytest.mark.parametrize("content_type", ["application/json", MULTIPART])
def test_f28_a_body_that_stands_still_or_drips_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_type: str
):
    monkeypatch.setattr(forms, "PAUSE_S", 0.2)
    sent: list[int] = []

    def request(pause_s: float) -> Request:
        async def receive() -> dict[str, Any]:
            body = b"x" if sent else part("prompt", b"").removesuffix(b"\r\n")
            await asyncio.sleep(pause_s if sent else 0)
            sent.append(1)
            return {"type": "http.request", "body": body, "more_body": True}

        headers = [(b"content-type", content_type.encode())]
        return Request({"type": "http", "method": "POST", "headers": headers}, receive)

    async def run(pause_s: float) -> None:
        sent.clear()
        async with forms.reading(request(pause_s), spool=tmp_path, max_bytes=10**6):
            pass

    for pause_s in (3600, 0.02):
        with pytest.raises(ApiError, match="slowly") as caught:
            asyncio.run(run(pause_s))
        assert caught.value.status == 400  # which clients do not repeat
    assert len(sent) > 2
    assert list(tmp_path.iterdir()) == []
