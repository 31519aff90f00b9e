"""URLs that strangers name (fault F37), with a resolver of the test's own and real servers on loopback."""

import base64
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback_site import Answer, Site, endless, saying

from unstatic.core.errors import InputError
from unstatic.server.fetching import FetchError, Policy, check_target, fetch, post

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PUBLIC = "93.184.215.14"
OPEN = Policy(http=True)


@pytest.fixture
def open_site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(answer: Answer, context: ssl.SSLContext | None = None) -> Site:
        sites.append(Site(answer, context))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


def loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def refused(
    url: str, folder: Path, policy: Policy, resolver: Callable[..., list[str]] = loopback
) -> FetchError:
    """Return why a URL is refused: one line that names no address, and nothing is left."""
    with pytest.raises(FetchError) as caught:
        fetch(url, folder, policy, resolver=resolver)
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert "10.0.0" not in str(caught.value)
    assert list(folder.iterdir()) == []
    return caught.value


# ------------------------------------------------------------------------------------------------ data: URLs


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/WEBP"])
def test_data_urls_are_always_read(tmp_path: Path, kind: str):
    url = f"data:{kind};base64,{base64.b64encode(PNG).decode()}"
    assert fetch(url, tmp_path, Policy()).read_bytes() == PNG
    assert fetch("DATA" + url[4:], tmp_path, Policy()).read_bytes() == PNG
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "url",
    [
        "data:text/html;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64,AA AA",
        "data:image/png;base64,AAA",
        "data:image/png;base64,AAAA====AAAA",
        "data:image/png;base64,AA%2B=",
        "data:image/png;base64,\u0410\u0410\u0410\u0410",
        "data:image/png;base64,AAAA\n",
        "data:",
    ],
)
def test_f37_a_data_url_is_strict(tmp_path: Path, url: str):
    assert refused(url, tmp_path, Policy()).code == "invalid_url"


def test_f37_a_data_url_is_measured_before_it_is_unpacked(tmp_path: Path):
    url = "data:image/png;base64," + "A" * 4000
    assert "more than 2000 bytes" in str(refused(url, tmp_path, Policy(max_bytes=2000)))
    assert len(fetch(url, tmp_path, Policy(max_bytes=3000)).read_bytes()) == 3000


def test_f37_addresses_are_off_by_default(tmp_path: Path):
    for url in ("http://example.com/a.png", "https://example.com/a.png", "file:///etc/passwd"):
        assert "not fetched here" in str(refused(url, tmp_path, Policy()))


# ----------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # the metadata of clouds
        "100.64.0.1",
        "100.100.100.200",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001:0:7f00:1::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "no address",
    ],
)
def test_f37_what_is_not_public_is_refused(tmp_path: Path, address: str):
    for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
        error = refused("https://name.test/", tmp_path, OPEN, lambda *_, found=answer: found)
        assert error.code == "invalid_url"
        assert address not in str(error)


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_accepted(address: str):
    target = check_target("https://Name.test:443/a?b=c#d", OPEN, resolver=lambda *_: [address])
    assert target == (True, "name.test", 443, "/a?b=c", (address,))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "169.254.169.254",
        "2852039166",  # the same as a number
    ],
)
def test_f37_the_system_s_resolver_cannot_be_talked_into_it(host: str):
    with pytest.raises(FetchError, match="does not name a public host"):
        check_target(f"http://{host}/", OPEN)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "name.test/a.png",
        "//name.test/a.png",
        "ftp://name.test/a.png",
        "file:///etc/passwd",
        "gopher://name.test/_",
        "javascript:alert(1)",
        "http:///a.png",
        "http://:80/",
        "http://user@name.test/",
        "http://user:password@name.test/",
        "http://name.test@127.0.0.1/",
        "http://@name.test/",
        "http://name.test:8080/",
        "https://name.test:22/",
        "http://name.test:0/",
        "http://name.test:99999/",
        "http://name.test:x/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[v1.x]/",
        "http://name%2etest/",
        "http://na me.test/",
        "http://name.test/a\r\nX-Evil: 1",
        "http://name.test\\@127.0.0.1/",
        "http://name.test/\0",
        "http://127\u30020\u30020\u30021/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://-x/",
        "http://.name.test/",
        "http://name.test/" + "a" * 9000,
    ],
)
def test_f37_a_url_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, url: str):
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC]

    assert refused(url, tmp_path, OPEN, resolver).code == "invalid_url"
    assert asked == []


def test_f37_a_missing_name_and_a_private_one_look_alike(tmp_path: Path):
    def missing(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answers = [missing, lambda *_: [], lambda *_: ["10.0.0.1"]]
    errors = [refused("http://intranet/", tmp_path, OPEN, resolver) for resolver in answers]
    assert len({(str(error), error.code) for error in errors}) == 1


def test_an_operator_s_network_is_written_as_one():
    with pytest.raises(InputError, match=r"allowed network '10\.0\.0\.1/8'.*give one as 10\.0\.0\.0/8"):
        Policy(allowed_networks=("10.0.0.1/8",))
    inside = Policy(http=True, allowed_networks=("10.0.0.0/8", "fd00::/8"))
    for address in ("10.9.8.7", "::ffff:10.9.8.7", "fd00::7"):
        assert check_target("http://inside/", inside, resolver=lambda *_, a=address: [a]).addresses == (
            address,
        )
    with pytest.raises(FetchError):
        check_target("http://inside/", inside, resolver=lambda *_: ["10.9.8.7", "192.168.0.1"])


# --------------------------------------------------------------------------------------------------- fetching


def test_a_picture_is_fetched(tmp_path: Path, open_site: Callable[..., Site]):
    site = open_site(saying("HTTP/1.1 200 OK\nContent-Type: text/html", PNG))
    assert fetch(site.url("/a?b=c#d"), tmp_path, site.policy(), resolver=loopback).read_bytes() == PNG
    head = site.asked[0].decode()
    assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"Host: pictures.test:{site.port}\r\n" in head
    assert "Accept-Encoding: identity\r\n" in head
    assert "cookie" not in head.lower()
    assert "authorization" not in head.lower()


def test_chunks_are_put_together(tmp_path: Path, open_site: Callable[..., Site]):
    chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    site = open_site(saying("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", chunks))
    assert fetch(site.url(), tmp_path, site.policy(), resolver=loopback).read_bytes() == b"abcde"


def test_f37_a_name_that_changes_its_address_is_asked_once(tmp_path: Path, open_site: Callable[..., Site]):
    """Rebinding: the first answer is public, the next is not; only the first one counts."""
    site = open_site(saying("HTTP/1.1 200 OK", PNG))
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    fetch(site.url(), tmp_path, site.policy(), resolver=lambda *_: answers.pop(0))
    assert answers == [["10.0.0.1"]]


def test_the_next_address_is_tried_when_one_does_not_answer(tmp_path: Path, open_site: Callable[..., Site]):
    site = open_site(saying("HTTP/1.1 200 OK", PNG))
    policy = Policy(http=True, ports=(site.port,), allowed_networks=("127.0.0.1/32", "::1/128"))
    path = fetch(site.url(), tmp_path, policy, resolver=lambda *_: ["::1", "127.0.0.1"])
    assert path.read_bytes() == PNG


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(tmp_path: Path, open_site: Callable[..., Site], status: int):
    def answer(connection: socket.socket, head: bytes) -> None:
        moved = f"HTTP/1.1 {status} Moved\nLocation: next/b"
        saying("HTTP/1.1 200 OK" if b"/a/next/b" in head else moved, PNG)(connection, head)

    site = open_site(answer)
    assert fetch(site.url("/a/b"), tmp_path, site.policy(), resolver=loopback).read_bytes() == PNG


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://inside.test:{port}/",
        "http://pictures.test:22/",
        "http://user@pictures.test:{port}/",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "gopher://pictures.test/",
        "//10.0.0.1/",
    ],
)
def test_f37_each_redirect_is_checked_like_a_url(
    tmp_path: Path, open_site: Callable[..., Site], location: str
):
    site = open_site(
        lambda connection, head: saying(
            "HTTP/1.1 302 Found\nLocation: " + location.replace("{port}", str(site.port))
        )(connection, head)
    )

    def resolver(host: str, _port: int) -> list[str]:
        return {"pictures.test": ["127.0.0.1"], "inside.test": ["10.0.0.1"]}.get(host, [host])

    assert refused(site.url(), tmp_path, site.policy(), resolver).code == "invalid_url"
    assert len(site.asked) == 1


@pytest.mark.parametrize("location", ["\nLocation: /again", ""])
def test_f37_redirects_come_to_an_end(tmp_path: Path, open_site: Callable[..., Site], location: str):
    site = open_site(saying("HTTP/1.1 302 Found" + location))
    assert "redirects more than 2 times" in str(refused(site.url(), tmp_path, site.policy(max_redirects=2)))
    assert len(site.asked) == 3


OK = b"HTTP/1.1 200 OK\r\n"
TOO_MUCH = {
    "body": endless(OK + b"\r\n", b"x" * 1000),
    "chunks": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nxx\r\n"),
    "chunk": endless(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n", b"x" * 1000),
    "trailers": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
    "continues": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "length": saying("HTTP/1.1 200 OK\nContent-Length: 1000000000000", b"x"),
    "negative length": endless(OK + b"Content-Length: -1\r\n\r\n", b"x" * 1000),
    "a little": saying("HTTP/1.1 200 OK", b"x" * 10_001),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_f37_too_many_bytes_are_not_taken(tmp_path: Path, open_site: Callable[..., Site], what: str):
    site = open_site(TOO_MUCH[what])
    error = refused(site.url(), tmp_path, site.policy())
    assert (str(error), error.code) == (
        "the URL holds more than 10000 bytes, give a smaller file",
        "url_fetch_failed",
    )


WRONG = {
    "short": saying("HTTP/1.1 200 OK\nContent-Length: 100", PNG),
    "short chunk": saying("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"ff\r\nabc"),
    "negative chunk": saying("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"-5\r\nabc"),
    "headers": endless(OK, b"a: b\r\n"),
    "a long header": endless(OK + b"a: ", b"b" * 1000),
    "not HTTP": saying("SSH-2.0-OpenSSH_9.6"),
    "nothing": lambda _connection, _head: None,
    "gzip": saying("HTTP/1.1 200 OK\nContent-Encoding: gzip", b"\x1f\x8b"),
    "404": saying("HTTP/1.1 404 Not Found"),
    "206": saying("HTTP/1.1 206 Partial Content", PNG),
}


@pytest.mark.parametrize("what", WRONG)
def test_f37_an_answer_that_is_wrong_is_refused(tmp_path: Path, open_site: Callable[..., Site], what: str):
    site = open_site(WRONG[what])
    assert refused(site.url(), tmp_path, site.policy()).code == "url_fetch_failed"


def test_f37_more_than_was_announced_is_left(tmp_path: Path, open_site: Callable[..., Site]):
    site = open_site(saying("HTTP/1.1 200 OK\nContent-Length: 3", b"abcdef"))
    assert fetch(site.url(), tmp_path, site.policy(), resolver=loopback).read_bytes() == b"abc"


@pytest.mark.parametrize("start", [b"", OK, OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"])
def test_f37_a_slow_drip_is_stopped(tmp_path: Path, open_site: Callable[..., Site], start: bytes):
    site = open_site(endless(start, b"1", pause_s=0.05))
    begin_s = time.monotonic()
    assert "takes more than 0.5 s" in str(refused(site.url(), tmp_path, site.policy(time_s=0.5)))
    assert time.monotonic() - begin_s < 2


def test_f37_redirects_share_one_time(tmp_path: Path, open_site: Callable[..., Site]):
    def answer(connection: socket.socket, head: bytes) -> None:
        time.sleep(0.25)
        saying("HTTP/1.1 302 Found\nLocation: /")(connection, head)

    site = open_site(answer)
    policy = site.policy(time_s=0.6, max_redirects=20)
    assert "takes more than 0.6 s" in str(refused(site.url(), tmp_path, policy))


def test_f37_a_server_that_is_not_there_says_nothing_of_itself(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    policy = Policy(http=True, ports=(port,), allowed_networks=("127.0.0.0/8",))
    error = refused(f"http://pictures.test:{port}/", tmp_path, policy)
    assert (str(error), error.code) == ("the URL does not answer as it should", "url_fetch_failed")


@pytest.fixture
def certified(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return a context of a server that is pictures.test, whom this machine trusts."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("certificate")
    names = ["-subj", "/CN=pictures.test", "-addext", "subjectAltName=DNS:pictures.test"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "own.pem")]
    make = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(make, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "own.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem", folder / "key.pem")
    return context


def test_f37_a_certificate_is_for_the_name_not_for_the_address(
    tmp_path: Path, open_site: Callable[..., Site], certified: ssl.SSLContext
):
    asked: list[str] = []
    certified.sni_callback = lambda _socket, name, _context: asked.append(name)
    site = open_site(saying("HTTP/1.1 200 OK", PNG), certified)
    for host in ("pictures.test", "pictures.test."):
        url = site.url(scheme="https", host=host)
        fetch(url, tmp_path, site.policy(), resolver=loopback).unlink()
    assert asked == ["pictures.test"] * 2
    error = refused(site.url(scheme="https", host="other.test"), tmp_path, site.policy())
    assert error.code == "url_fetch_failed"
    assert len(site.asked) == 2


# ---------------------------------------------------------------------------------------------------- sending


@pytest.mark.parametrize("status", [200, 204, 302, 410, 500])
def test_a_webhook_gets_its_body_and_answers_with_a_status(open_site: Callable[..., Site], status: int):
    headed = f"HTTP/1.1 {status} X\nLocation: http://10.0.0.1/\nRetry-After: 7"
    site = open_site(saying(headed, b"not read"))
    headers = {"webhook-id": "event_1", "Content-Type": "application/json"}
    answer = post(site.url("/hook"), b'{"a": 1}', headers, site.policy(), resolver=loopback)
    assert answer == (status, "7")
    head, _, body = site.asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"webhook-id: event_1\r\n" in head
    assert body == b'{"a": 1}'


def test_f37_a_webhook_is_sent_to_public_hosts_only(open_site: Callable[..., Site]):
    site = open_site(saying("HTTP/1.1 200 OK"))
    policy = Policy(http=True, ports=(site.port,))
    with pytest.raises(FetchError, match="does not name a public host"):
        post(site.url(), b"{}", {}, policy, resolver=loopback)
    assert site.asked == []


SLOW = {
    "silent": lambda connection, _: connection.recv(1),
    "continues": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.05),
    "a letter now and then": endless(b"", b"a", pause_s=0.05),
}


@pytest.mark.parametrize("what", SLOW)
def test_f37_a_receiver_that_never_answers_is_left(open_site: Callable[..., Site], what: str):
    site = open_site(SLOW[what])
    with pytest.raises(FetchError, match=r"takes more than 0\.4 s"):
        post(site.url(), b"{}", {}, site.policy(time_s=0.4), resolver=loopback)


def test_f37_an_endless_answer_to_a_webhook_is_not_read(open_site: Callable[..., Site]):
    site = open_site(endless(OK + b"\r\n", b"x" * 1000))
    assert post(site.url(), b"{}", {}, site.policy(), resolver=loopback).status == 200
