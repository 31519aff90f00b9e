import base64
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import package_index
import pytest
from package_index import DEFAULT_INDEX, PackageIndex, configured_index, download, pip_settings

from unstatic.core.errors import InputError

CONTENT = b"weights" * 300_000  # more than one block


@pytest.fixture
def folder_index(tmp_path: Path) -> str:
    """Return the address of an index that is a folder."""
    (tmp_path / "simple/some-net").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/some_net-1.0.tar.gz").write_bytes(CONTENT)
    page = '<a href="../../files/some_net-1.0.tar.gz#sha256=00">some_net-1.0.tar.gz</a><a>no link</a>'
    (tmp_path / "simple/some-net/index.html").write_text(page)
    return (tmp_path / "simple").as_uri()


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Serve an index as JSON to those who know the password; `server.asked` is what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            known = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:p@ss").decode()
            found = {"/simple/some-net/": PAGE, "/files/some_net-1.0.tar.gz": CONTENT}.get(self.path)
            self.send_response(401 if not known else 200 if found else 404)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.end_headers()
            self.wfile.write(found or b"" if known else b"")

        def log_message(self, *_):
            pass

    files = [{"filename": "some_net-1.0.tar.gz", "url": "/files/some_net-1.0.tar.gz"}]
    PAGE = json.dumps({"files": files}).encode()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(url: str, target: Path, name: str = "some_net-1.0.tar.gz") -> str:
    return download(PackageIndex(urls=(url,)), "some-net", name, target, len(CONTENT))


def test_a_file_comes_from_a_folder(folder_index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    digest = get(folder_index, tmp_path / "here.tar.gz")
    assert (tmp_path / "here.tar.gz").read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert "fetching here.tar.gz, MiB 3/3" in capsys.readouterr().err


def test_a_file_comes_from_a_server_that_wants_a_password(server: HTTPServer, tmp_path: Path):
    get(f"http://me:p%40ss@127.0.0.1:{server.server_port}/simple/", tmp_path / "here.tar.gz")
    assert (tmp_path / "here.tar.gz").read_bytes() == CONTENT
    assert server.asked == ["/simple/some-net/", "/files/some_net-1.0.tar.gz"]


def test_a_refusal_names_the_host_and_no_secret(server: HTTPServer, tmp_path: Path):
    with pytest.raises(InputError, match=r"127\.0\.0\.1: .*Unauthorized") as refused:
        get(f"http://me:wrong@127.0.0.1:{server.server_port}/simple", tmp_path / "here")
    assert "wrong" not in str(refused.value)


def test_the_next_index_is_asked_too(folder_index: str, server: HTTPServer, tmp_path: Path):
    index = PackageIndex(urls=(f"http://me:p%40ss@127.0.0.1:{server.server_port}/attic", folder_index))
    download(index, "some-net", "some_net-1.0.tar.gz", tmp_path / "here", len(CONTENT))
    assert (tmp_path / "here").read_bytes() == CONTENT


def test_what_no_index_has_is_an_error(folder_index: str, tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot fetch other\.tar\.gz .*a folder does not have it"):
        get(folder_index, tmp_path / "here", "other.tar.gz")
    with pytest.raises(InputError, match="only https, http, file are read"):
        get("ftp://127.0.0.1/simple", tmp_path / "here")


def test_pips_settings_are_weighed_as_pip_does():
    listing = "\n".join(
        [
            "global.index-url='https://global.example/simple'",
            "global.extra-index-url='https://one.example/simple\\nhttps://two.example/a=b'",
            "global.cert='bundle.pem'",
            "download.cert='other.pem'",
            "install.proxy='unused'",
            ":env:.index-url='https://mine.example/simple'",
        ]
    )
    assert pip_settings(listing) == {
        "index-url": "https://mine.example/simple",
        "extra-index-url": "https://one.example/simple\nhttps://two.example/a=b",
        "cert": "other.pem",
    }


def answer(monkeypatch: pytest.MonkeyPatch, listing: str, code: int = 0) -> None:
    result = subprocess.CompletedProcess([], code, stdout=listing, stderr="")
    monkeypatch.setattr(package_index.subprocess, "run", lambda *_, **__: result)


def test_the_configured_index_is_pips(monkeypatch: pytest.MonkeyPatch):
    answer(monkeypatch, "global.extra-index-url='https://more.example/simple'\nglobal.proxy='http://p:3128'")
    assert configured_index() == PackageIndex(
        urls=(DEFAULT_INDEX, "https://more.example/simple"), proxy="http://p:3128"
    )
    answer(monkeypatch, "No module named pip", code=1)
    assert configured_index() == PackageIndex()


def test_whoever_wants_no_index_gets_none(monkeypatch: pytest.MonkeyPatch):
    answer(monkeypatch, ":env:.no-index='1'")
    with pytest.raises(InputError, match="no-index"):
        configured_index()
