"""Fetch one file of a package index that the user has chosen for pip, and nothing more.

`pip download` would run the setup of a source archive to learn its name. Here only pip's settings are asked
for; the file is found on the index's simple page (PEP 503 and 691) and comes as it is.
"""

import ast
import base64
import hashlib
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from unstatic.core.errors import InputError
from unstatic.core.log import progress

DEFAULT_INDEX = "https://pypi.org/simple"
SCHEMES = ("https", "http", "file")
PAGE_TYPES = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
TIMEOUT_S = 60
BLOCK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageIndex:
    """Simple pages of an index, and how to reach them."""

    urls: tuple[str, ...] = (DEFAULT_INDEX,)
    certificates: str | None = None
    proxy: str | None = None


def configured_index() -> PackageIndex:
    """Return the index that pip uses here; PyPI where there is no pip.

    Raises InputError where pip is told to use no index at all.
    """
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = pip_settings(listing.stdout if listing.returncode == 0 else "")
    if settings.get("no-index", "0").lower() in ("1", "true", "yes", "on"):
        raise InputError("pip is set to use no index (no-index)")
    urls = [settings.get("index-url", DEFAULT_INDEX), *settings.get("extra-index-url", "").split()]
    return PackageIndex(
        urls=tuple(urls), certificates=settings.get("cert") or None, proxy=settings.get("proxy") or None
    )


def pip_settings(listing: str) -> dict[str, str]:
    """Return what `pip config list` says, as pip weighs it: environment, then "download", then "global"."""
    found: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if separator:
            found.setdefault(section, {})[key] = str(ast.literal_eval(value))
    return found.get("global", {}) | found.get("download", {}) | found.get(":env:", {})


def download(index: PackageIndex, project: str, file_name: str, target: Path, size_bytes: int) -> str:
    """Write a file of a project to `target` and return its sha256; `size_bytes` is for the progress bar.

    Raises InputError, saying what each index answered, when none has it or none can be reached.
    """
    reasons: list[str] = []
    for url in index.urls:
        try:
            page = f"{url.rstrip('/')}/{project}/"
            link = dict(_links(index, page)).get(file_name)
            if link is not None:
                return _save(index, link, target, size_bytes)
            reasons.append(f"{_shown(url)} does not have it")
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            reasons.append(f"{_shown(url)}: {reason}")
    raise InputError(f"cannot fetch {file_name} ({'; '.join(reasons)})")


def _links(index: PackageIndex, page: str) -> Iterator[tuple[str, str]]:
    """Yield the file names of a project's page, each with its address."""
    with _open(index, page) as response:
        is_json = "json" in response.headers.get("Content-Type", "")
        text = response.read().decode()
    if is_json:
        links = [each["url"] for each in json.loads(text)["files"]]
    else:
        reader = _LinkReader()
        reader.feed(text)
        links = reader.links
    for link in links:
        yield unquote(urlsplit(link).path.rpartition("/")[2]), urljoin(page, link)


class _LinkReader(HTMLParser):
    """Collects where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _save(index: PackageIndex, link: str, target: Path, size_bytes: int) -> str:
    digest = hashlib.sha256()
    blocks = -(-size_bytes // BLOCK_BYTES)
    with (
        _open(index, link) as response,
        target.open("wb") as file,
        progress(f"fetching {target.name}, MiB", blocks) as bar,
    ):
        while block := response.read(BLOCK_BYTES):
            digest.update(block)
            file.write(block)
            bar.advance()
    return digest.hexdigest()


def _open(index: PackageIndex, url: str) -> Any:
    """Open an address; a name and password in it are sent as a header, and to no other host."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"only {', '.join(SCHEMES)} are read")
    if parts.scheme == "file" and parts.path.endswith("/"):
        parts = parts._replace(path=parts.path + "index.html")

    request = Request(_address(parts.geturl()), headers={"Accept": PAGE_TYPES, "User-Agent": "unstatic"})
    if parts.username:
        account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = base64.b64encode(account.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")

    handlers: list[Any] = [HTTPSHandler(context=ssl.create_default_context(cafile=index.certificates))]
    if index.proxy:
        handlers.append(ProxyHandler({"http": index.proxy, "https": index.proxy}))
    return build_opener(*handlers).open(request, timeout=TIMEOUT_S)


def _address(url: str) -> str:
    """Take name and password, and what follows a "#", out of an address."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _shown(url: str) -> str:
    """Name an index by its host; whatever else is in its address may be secret."""
    return urlsplit(url).hostname or "a folder"
