"""Addresses that clients name: what they may be, what is fetched from them and what is sent to them.

A name is resolved once. If any of its addresses is not public the name is refused, else the connection goes
to one of exactly these; a redirect is a new name. Bytes and time are limited on the wire, not by what the
other side says.
"""

import binascii
import http.client
import io
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import SplitResult, urljoin, urlsplit

from unstatic.core.errors import InputError

Resolver = Callable[[str, int], Sequence[str]]

_LONGEST_URL = 8192
_HEADERS_BYTES = _PIECE_BYTES = 65_536
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}")
_DATA = re.compile(r"data:image/(?:png|jpeg|webp);base64,", re.IGNORECASE)
_UNICAST, _NAT64 = IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96")
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))  # Teredo and 6to4: an IPv4 address inside


class FetchError(InputError):
    """An address is refused ("invalid_url") or nothing useful comes from it ("url_fetch_failed")."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What an operator allows. By default only `data:` URLs, which name no place.

    `allowed_networks` such as "10.0.0.0/8" count as public. `time_s` is for everything together, but the
    resolver keeps its own time.
    """

    http: bool = False
    ports: tuple[int, ...] = (80, 443)
    allowed_networks: tuple[str, ...] = ()
    max_bytes: int = 20_000_000
    time_s: float | int = 20
    max_redirects: int = 3

    def __post_init__(self) -> None:
        for network in self.allowed_networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise InputError(f"allowed network {network!r}: {error}, give one as 10.0.0.0/8") from None

    @property
    def networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks that count as public."""
        return [ip_network(network) for network in self.allowed_networks]


class Target(NamedTuple):
    """Where a URL leads, once and for all: `addresses` are the only ones that may be connected to."""

    secure: bool
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


class Answer(NamedTuple):
    """What whoever was sent something says: the status, and the header Retry-After."""

    status: int
    retry_after: str = ""


def fetch(url: str, folder: Path, policy: Policy, *, resolver: Resolver | None = None) -> Path:
    """Return a new file in `folder` with what a URL names; nobody looks at it here. Raises FetchError."""
    content = _inline(url, policy) if url[:5].lower() == "data:" else _download(url, policy, resolver)
    path = folder / f"fetched-{secrets.token_hex(8)}"
    path.write_bytes(content)
    return path


def post(
    url: str, body: bytes, headers: Mapping[str, str], policy: Policy, *, resolver: Resolver | None = None
) -> Answer:
    """Send `body` and return the answer, whose body is not read; a redirect is one.

    Raises FetchError if there is none.
    """
    deadline_s = time.monotonic() + policy.time_s
    target = check_target(url, policy, resolver=resolver)
    with _exchange("POST", target, policy, deadline_s, headers, body) as response:
        return Answer(response.status, response.headers.get("Retry-After", ""))


def check_target(url: str, policy: Policy, *, resolver: Resolver | None = None) -> Target:
    """Resolve a URL for one connection. Raises FetchError for what the policy does not allow."""
    if not policy.http:
        raise FetchError("addresses are not fetched here, send the file or a data: URL", "invalid_url")
    parts, port = _split(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    if port not in policy.ports:
        ports = " or ".join(str(allowed) for allowed in policy.ports)
        raise FetchError(f"the URL names port {port}, give one with port {ports}", "invalid_url")

    # A name that does not exist and one that is private look alike, so that nobody can map a network
    try:
        addresses = tuple(dict.fromkeys((resolver or _addresses)(host, port)))
    except (OSError, UnicodeError):
        addresses = ()
    networks = policy.networks
    if not addresses or not all(_is_public(address, networks) for address in addresses):
        raise FetchError(
            "the URL does not name a public host, give one that everybody reaches", "invalid_url"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, host.rstrip("."), port, path, addresses)


# ------------------------------------------------------------------------------------------------------ names


def _split(url: str) -> tuple[SplitResult, int]:
    """Take a URL apart, with its port. Raises FetchError if two programs could read it in two ways."""
    if len(url) > _LONGEST_URL or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        reason = f"the URL must be up to {_LONGEST_URL} characters of plain ASCII without spaces"
        raise FetchError(f"{reason}, write others as %XX", "invalid_url")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        if parts.scheme not in _PORTS:
            raise FetchError("the URL must begin with https://, http:// or data:", "invalid_url")
        if "@" in parts.netloc:
            raise FetchError("the URL holds a user name, give it without", "invalid_url")
        if "[" in parts.netloc:
            IPv6Address(host)
        if "%" in host or not (":" in host or _HOST.fullmatch(host)):
            raise ValueError(host)
    except FetchError:
        raise
    except ValueError:
        raise FetchError(
            "the URL has no valid host and port, give one as https://host/path", "invalid_url"
        ) from None
    return parts, _PORTS[parts.scheme] if port is None else port


def _addresses(host: str, port: int) -> list[str]:
    """Ask the system, which also knows 127.1, 0x7f000001 and 2130706433."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _is_public(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Return whether everybody may know what answers there."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        if mapped is None and parsed in _NAT64:
            mapped = ip_address(int(parsed) & 0xFFFF_FFFF)
        parsed = mapped or parsed
    if any(parsed in network for network in networks):
        return True
    if isinstance(parsed, IPv6Address) and (
        parsed not in _UNICAST or any(parsed in tunnel for tunnel in _TUNNELS)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast


# ------------------------------------------------------------------------------------------------------ bytes


def _inline(url: str, policy: Policy) -> bytes:
    """Return what a data: URL holds."""
    head = _DATA.match(url)
    if head is None:
        kinds = "image/png, image/jpeg or image/webp"
        raise FetchError(f"the data: URL must be data:TYPE;base64,... with {kinds}", "invalid_url")
    if (len(url) - head.end()) * 3 // 4 > policy.max_bytes:
        raise _too_large(policy)
    try:
        return binascii.a2b_base64(url[head.end() :].encode("ascii"), strict_mode=True)
    except ValueError:
        raise FetchError("the data: URL is not valid base64, encode it again", "invalid_url") from None


def _download(url: str, policy: Policy, resolver: Resolver | None) -> bytes:
    """Return what an address answers to GET, after redirects."""
    deadline_s = time.monotonic() + policy.time_s
    headers = {"Accept": "image/png, image/jpeg, image/webp", "Accept-Encoding": "identity"}
    for _ in range(policy.max_redirects + 1):
        target = check_target(url, policy, resolver=resolver)
        with _exchange("GET", target, policy, deadline_s, headers) as response:
            if response.status not in _REDIRECTS:
                return _body(response, policy)
            url = urljoin(url, response.getheader("Location") or "")
    raise FetchError(f"the URL redirects more than {policy.max_redirects} times", "url_fetch_failed")


def _body(response: http.client.HTTPResponse, policy: Policy) -> bytes:
    """Read the body of an answer as it is: nothing is unpacked."""
    if response.status != 200:
        raise FetchError(f"the URL answers with status {response.status}", "url_fetch_failed")
    if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
        raise FetchError("the URL answers with a packed body, which is not read", "url_fetch_failed")
    if (response.length or 0) > policy.max_bytes:
        raise _too_large(policy)

    # Piece by piece: memory for a whole chunk would be taken at once, however large it says it is
    content = bytearray()
    while piece := _piece(response):
        content += piece
        if len(content) > policy.max_bytes:
            raise _too_large(policy)
    if response.length:
        raise FetchError("the URL sends less than it announces", "url_fetch_failed")
    return bytes(content)


def _piece(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_PIECE_BYTES)
    except ValueError:  # a chunk of -5 bytes
        raise http.client.HTTPException from None


def _too_large(policy: Policy) -> FetchError:
    return FetchError(
        f"the URL holds more than {policy.max_bytes} bytes, give a smaller file", "url_fetch_failed"
    )


@contextmanager
def _exchange(
    method: str,
    target: Target,
    policy: Policy,
    deadline_s: float,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Generator[http.client.HTTPResponse]:
    """Send a request and yield the answer, its body unread; failures, in the block too, are FetchErrors."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    named = host if target.port == _PORTS["https" if target.secure else "http"] else f"{host}:{target.port}"
    connection = http.client.HTTPConnection(target.host, target.port)
    try:
        wire = _Wire(_connect(target, deadline_s), deadline_s, policy.max_bytes + _HEADERS_BYTES)
        connection.sock = cast(socket.socket, wire)
        ours = {"Host": named, "User-Agent": "unstatic", "Connection": "close"}
        connection.request(method, target.path, body, {**headers, **ours})
        with http.client.HTTPResponse(connection.sock, method=method) as response:
            response.begin()
            yield response
    except TimeoutError:
        reason = f"the URL takes more than {policy.time_s:g} s to answer"
        raise FetchError(reason, "url_fetch_failed") from None
    except _TooManyBytesError:
        raise _too_large(policy) from None
    except (OSError, http.client.HTTPException):
        raise FetchError("the URL does not answer as it should", "url_fetch_failed") from None
    finally:
        connection.close()


def _connect(target: Target, deadline_s: float) -> socket.socket:
    """Connect to the first address that answers. Raises OSError if none does."""
    for number, address in enumerate(target.addresses, start=1):
        share_s = _left_s(deadline_s) / (len(target.addresses) - number + 1)
        try:
            plain = socket.create_connection((address, target.port), timeout=share_s)
            break
        except OSError:
            if number == len(target.addresses):
                raise
    else:
        raise AssertionError("a target has addresses")
    if not target.secure:
        return plain
    try:
        plain.settimeout(_left_s(deadline_s))
        return ssl.create_default_context().wrap_socket(plain, server_hostname=target.host)
    except (OSError, ValueError):
        plain.close()
        raise


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _TooManyBytesError(Exception):
    """More came over the wire than is taken."""


class _Wire(io.RawIOBase):
    """What http.client needs of a socket, with one deadline for everything and an end to what is received.

    A time-out of a socket begins anew with every byte, and headers have no limit of their own.
    """

    def __init__(self, connected: socket.socket, deadline_s: float, max_bytes: int) -> None:
        self._socket, self._deadline_s, self._left_bytes = connected, deadline_s, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._socket.settimeout(_left_s(self._deadline_s))
        received = self._socket.recv_into(buffer)
        self._left_bytes -= received
        if self._left_bytes < 0:
            raise _TooManyBytesError
        return received

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left_s(self._deadline_s))
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        self._socket.close()
        super().close()
