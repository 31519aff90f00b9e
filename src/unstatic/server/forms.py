"""What a request says, whatever its form: multipart, with or without bracket keys, urlencoded, or JSON.

    input_reference[image_url]=...    {"input_reference": {"image_url": "..."}}
    characters[][id]=a, characters[1][id]=b    {"characters": [{"id": "a"}, {"id": "b"}]}

Nothing is believed: bytes are counted while they arrive, what is no file is bounded before it is taken apart,
and files go into a folder of their own that is gone when the request is over.
"""

import asyncio
import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from unstatic.server.errors import ApiError
from unstatic.server.spool import room

MAX_FIELDS, MAX_TEXT_BYTES = 200, 200_000  # a prompt of 32,000 characters has up to 128,000 bytes
MAX_VALUE, MAX_PROMPT = 2_000, 32_000
MAX_DEPTH, MAX_JSON_ITEMS = 6, 1_000
MAX_PARSED_BYTES = 30_000_000  # what is no file: a picture of 20 MB in base64, and words
# Whatever makes a parser slow or its result large; base64 has some of the second kind
MAX_SIGNS, MAX_ESCAPES = 200_000, 1_000_000
AT_ONCE_BYTES, BLOCK_BYTES = 65_536, 1_000_000
PAUSE_S, SLOWEST_BYTES = 30.0, 10_000
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(\[[A-Za-z0-9_]{0,64}\]){0,4}", re.ASCII)
PARTS = re.compile(r"[A-Za-z0-9_]+|\[\]")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent: where it lies while the request lasts, and the SHA-256 of its bytes."""

    path: Path
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Form:
    """All that a request says: fields, as JSON has them, and files by the name of their field.

    What is in `folder` is gone when the request is over.
    """

    place: Path
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    files: dict[str, Upload] = field(default_factory=dict[str, Upload])

    @property
    def folder(self) -> Path:
        """The request's own folder, made when it is first asked for: most requests need none."""
        self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.place


@asynccontextmanager
async def reading(
    request: Request, *, spool: Path, max_bytes: int, hold: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[Form]:
    """Read the body of a request; its files lie in a private folder below `spool` until the block ends.

    `hold` is told how many bytes lie in memory, and raises if that is too much.

    Raises ApiError, 503 if the disk is full now or later in the block.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = Form(spool / f"request-{secrets.token_hex(8)}")
    try:
        with room():
            match kind:
                case b"multipart/form-data":
                    body = _counted(request, max_bytes)
                    await _multipart(body, options.get(b"boundary", b""), form, hold)
                case b"application/x-www-form-urlencoded":
                    form.fields.update(await _parsed(request, max_bytes, hold, _urlencoded))
                case b"application/json":
                    form.fields.update(await _parsed(request, max_bytes, hold, _json))
                case _:
                    message = "send multipart/form-data or application/json"
                    raise ApiError(415, message, code="unsupported_media_type")
            yield form
    finally:
        shutil.rmtree(form.place, ignore_errors=True)


def check_texts(value: object, name: str = "", depth: int = 0) -> int:
    """Return how many values there are. Raises ApiError for text that is none, or too long or too deep."""
    if depth > MAX_DEPTH:
        refuse("the body is nested too deeply", name)
    count = 1
    match value:
        case dict():
            items = cast("dict[str, object]", value).items()
            count += sum(check_texts(each, key, depth + 1) for key, each in items)
            check_texts("".join(cast("dict[str, object]", value)), "image_url")
        case list():
            count += sum(check_texts(each, name, depth + 1) for each in cast("list[object]", value))
        case str():
            longest = MAX_PROMPT if name.endswith("prompt") else MAX_VALUE
            if len(value) > longest and name != "image_url":
                refuse(f"{name[:80]!a} has {len(value):,} characters: at most {longest:,} are read", name)
            if "\0" in value or not _is_text(value):
                refuse(f"{name[:80]!a} holds bytes that are no text: write it in UTF-8", name)
        case _:
            pass
    if count > MAX_JSON_ITEMS:
        refuse(f"the body has more than {MAX_JSON_ITEMS:,} values", name)
    return count


def _is_text(value: str) -> bool:
    """Return whether nothing in a text is half a character, which JSON can name."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse(message: str, name: str | None = None) -> NoReturn:
    """Raise the answer to a body that cannot be read."""
    shown = ascii(name[:80])[1:-1] if name else None  # it may be no text
    raise ApiError(400, message, code="invalid_request", param=shown)


async def _counted(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body piece by piece. Raises ApiError 413 as soon as it is, or says that it is, too large.

    One that stands still, or comes too slowly for long, is refused with 400, which clients do not repeat.
    """
    said, count = request.headers.get("content-length", "0"), 0
    if not said.isascii() or not said.isdigit():
        refuse("the Content-Length is no number")
    too_large = ApiError(413, f"a request has at most {max_bytes:,} bytes", code="request_too_large")
    if len(said) > 18 or int(said) > max_bytes:
        raise too_large
    pieces, began_s = request.stream(), time.monotonic()
    while True:
        left_s = count / SLOWEST_BYTES + PAUSE_S - (time.monotonic() - began_s)
        try:
            async with asyncio.timeout(min(left_s, PAUSE_S)):
                piece = await anext(pieces, None)
        except TimeoutError:
            refuse(f"the body came too slowly: send at least {SLOWEST_BYTES:,} bytes a second")
        if piece is None:
            return
        count += len(piece)
        if count > max_bytes:
            raise too_large
        yield piece


async def _parsed(
    request: Request,
    max_bytes: int,
    hold: Callable[[int], None],
    parse: Callable[[bytes], dict[str, Any]],
) -> dict[str, Any]:
    """Return what a body says that holds no files; a long one is taken apart beside other answers."""
    data = bytearray()
    async for piece in _counted(request, min(max_bytes, MAX_PARSED_BYTES)):
        data += piece
        hold(len(data))
    if len(data) <= AT_ONCE_BYTES:
        return parse(bytes(data))
    return await run_in_threadpool(parse, bytes(data))


def _urlencoded(data: bytes) -> dict[str, Any]:
    if data.count(b"%") > MAX_ESCAPES:
        refuse("the body is too long: send what is large as a file")
    return _checked(_nested(_pairs(data)))


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    check_texts(fields)
    return fields


def _json(data: bytes) -> dict[str, Any]:
    """Read JSON as strictly as its definition. Raises ApiError."""
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_SIGNS or data.count(b"\\") > MAX_ESCAPES:
        refuse(f"the body has more than {MAX_JSON_ITEMS:,} values, or is too long")
    try:
        found: object = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        refuse("the body is no JSON")
    if not isinstance(found, dict):
        refuse('the body is no JSON object, as {"prompt": "..."}')
    return _checked(cast("dict[str, Any]", found))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        refuse("the body says something twice")
    if len(found) > MAX_FIELDS:
        refuse(f"the body has more than {MAX_FIELDS} fields")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _pairs(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the fields of an urlencoded body."""
    parts = data.split(b"&", MAX_FIELDS + 1) if data else []
    if len(parts) > MAX_FIELDS:
        refuse(f"the body has more than {MAX_FIELDS} fields")
    for part in parts:
        said, _, value = part.replace(b"+", b" ").partition(b"=")
        name = _text(unquote_to_bytes(said), "the name of a field")
        if len(value) > 3 * MAX_TEXT_BYTES and not _is_picture(name):
            refuse(f"{name[:80]!a} is too long", name)
        yield name, _text(unquote_to_bytes(value), "a field")


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        refuse(f"{what} is not UTF-8")


def _nested(pairs: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> dict[str, Any]:
    """Return what bracket keys mean. Raises ApiError for a key that says something twice, or is none."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        path = _path(name)
        place: Any = found
        for part, following in pairwise(path):
            fresh: Any = [] if following == "[]" or following.isdigit() else {}
            place = _inside(place, part, fresh, following, name)
        last = path[-1]
        if isinstance(place, list):
            values = cast("list[Any]", place)
            if last != "[]" and last != str(len(values)):
                refuse(f"{name} is given twice, or out of order", name)
            values.append(value)
        elif last in place or last == "[]":
            refuse(f"{name} is given twice", name)
        else:
            place[last] = value
    return found


def _inside(place: Any, part: str, fresh: Any, following: str, name: str) -> Any:
    """Return what lies at one part of a key, made if it is not there yet."""
    if isinstance(place, list):
        values = cast("list[Any]", place)
        number = int(part) if part.isdigit() else len(values)
        if part == "[]" and values and isinstance(values[-1], dict) and following not in values[-1]:
            number -= 1  # another field of the object that was begun
        if number > len(values):
            refuse(f"{name} leaves some out: count from 0", name)
        values += [fresh] if number == len(values) else []
        found = values[number]
    else:
        found = place.setdefault(part, fresh)
    if type(found) is not type(fresh):
        refuse(f"{name} is given in two ways", name)
    return found


def _is_picture(name: str) -> bool:
    """Return whether a field may hold a picture, which is longer than words are."""
    return name.endswith("image_url]")


def _path(name: str) -> list[str]:
    if KEY.fullmatch(name) is None:
        refuse(f"there is no field {name[:80]!a}", name)
    return PARTS.findall(name)


async def _multipart(
    body: AsyncIterator[bytes], boundary: bytes, form: Form, hold: Callable[[int], None]
) -> None:
    """Read a multipart body into `form`. Raises ApiError for one that is broken."""
    collector = _Collector(form, hold)
    try:
        parser = MultipartParser(
            boundary or b"-",
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.header_name,
                "on_header_value": collector.header_value,
                "on_header_end": collector.header_end,
                "on_headers_finished": collector.headers_finished,
                "on_part_data": collector.data,
                "on_part_end": collector.end,
                "on_end": collector.finish,
            },
        )
        async for piece in body:
            parser.write(piece)
    except FormParserError:
        refuse("the multipart body is broken")
    finally:
        collector.close()
    if not boundary or not collector.finished:
        refuse("the multipart body breaks off, or its boundary is missing")
    form.fields.update(_checked(_nested(collector.texts)))


class _Collector:
    """What a multipart parser calls: it keeps texts, and writes files."""

    def __init__(self, form: Form, hold: Callable[[int], None]) -> None:
        self.form, self.hold, self.finished = form, hold, False
        self.texts: list[tuple[str, str]] = []
        self._name, self._count = "", 0
        self._header, self._value, self._said = bytearray(), bytearray(), b""
        self._text, self._word_bytes, self._text_bytes = bytearray(), 0, 0
        self._file: BinaryIO | None = None
        self._digest, self._size = hashlib.sha256(), 0

    def begin(self) -> None:
        self._count += 1
        if self._count > MAX_FIELDS:
            refuse(f"the body has more than {MAX_FIELDS} fields")
        self._said, self._text = b"", bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._said = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        kind, options = parse_options_header(self._said)
        if kind != b"form-data" or b"name" not in options:
            refuse("a part of the multipart body has no name")
        self._name = _text(options[b"name"], "the name of a field")
        _path(self._name)
        if b"filename" in options:  # the name itself is not looked at
            self._file = (self.form.folder / str(self._count)).open("xb")
            self._digest, self._size = hashlib.sha256(), 0

    def data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._file is None:
            self._text += piece
            self._text_bytes += len(piece)
            self._word_bytes += 0 if _is_picture(self._name) else len(piece)
            if self._word_bytes > MAX_TEXT_BYTES or self._text_bytes > MAX_PARSED_BYTES:
                refuse(f"{self._name} is too long", self._name)
            self.hold(self._text_bytes)
            return
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def end(self) -> None:
        if self._file is None:
            self.texts.append((self._name, _text(bytes(self._text), self._name)))
            return
        self.close()
        name = self._name.replace("[]", "[0]")
        if name in self.form.files:
            refuse(f"{name} is given twice", name)
        path = self.form.folder / str(self._count)
        self.form.files[name] = Upload(path, self._size, self._digest.hexdigest())

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
