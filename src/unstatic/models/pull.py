"""Fetch open weights from the Hugging Face hub, or from a server that speaks as it does.

    offer = find_offer("wan2.1-1.3b")
    parcel = inspect(offer.repository)            # what is there: revision, licence, files; a few kilobytes
    fetch(parcel, models_folder() / offer.name)   # gigabytes; goes on where it was stopped

Only what the parts of a pipeline need is fetched (safetensors, JSON, vocabularies, licences), at one
revision, and every file is checked against the hash that the server states for it. The folder appears when
all of it is there.
"""

import hashlib
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.files import ensure_writable, human_size
from unstatic.models.bridged import FAMILIES
from unstatic.models.manifest import EMBEDDED_MODELS, INDEX_NAME
from unstatic.models.open_manifest import PIPELINES, RECORD, read_json

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
ABOUT = (INDEX_NAME, "LICENSE*", "NOTICE*")
VARIANTS = (".fp16.", ".bf16.", ".non_ema.")  # of weights that are there plain, too
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
MAX_INDEX_BYTES = 1 << 20
RUNNABLE = (*PIPELINES, *(name for name in FAMILIES if name not in PIPELINES))
SPARE_BYTES = 256 * 2**20
PIECE = 1 << 22
TRIES, TIMEOUT_S = 5, 30
PASSING = (408, 429, 500, 502, 503, 504)

Advance = Callable[[int], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A model that is known to work in this engine, and where it is."""

    name: str
    repository: str
    parameters: str
    licence: str
    does: str


OFFERS = (
    Offer(
        name="wan2.1-1.3b",
        repository="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        parameters="1.4 billion",
        licence="Apache-2.0",
        does="text to video, 480p",
    ),
    Offer(
        name="wan2.1-14b",
        repository="Wan-AI/Wan2.1-T2V-14B-Diffusers",
        parameters="14 billion",
        licence="Apache-2.0",
        does="text to video, 720p",
    ),
    Offer(
        name="wan2.2-5b",
        repository="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        parameters="5 billion",
        licence="Apache-2.0",
        does="text and pictures to video, edits, 704p",
    ),
    Offer(
        name="wan2.2-14b",
        repository="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        parameters="2 x 14 billion",
        licence="Apache-2.0",
        does="text to video, 720p",
    ),
    Offer(
        name="wan2.2-14b-i2v",
        repository="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        parameters="2 x 14 billion",
        licence="Apache-2.0",
        does="pictures to video, 720p",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file on the server: its size, and the hash that it states, of the bytes or of git's blob."""

    size_bytes: int
    sha256: str | None
    blob: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """All that would be fetched, at one revision."""

    repository: str
    revision: str
    licence: str
    files: Mapping[str, RemoteFile]
    endpoint: str | None

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.size_bytes for file in self.files.values())


def find_offer(name: str) -> Offer:
    """Return the offer of that name, or one for a repository OWNER/NAME. Raises InputError."""
    known = {offer.name: offer for offer in OFFERS}
    if name in known:
        return known[name]
    if name.count("/") == 1 and all(name.split("/")):
        short = name.split("/")[1].lower()
        return Offer(name=short, repository=name, parameters="", licence="", does="")
    nearest = get_close_matches(name, known, n=1, cutoff=0.0)
    raise InputError(
        f"there is no model {name!r} to pull: did you mean {nearest[0]}, or OWNER/NAME of a hub?"
    )


def check_name(name: str) -> str:
    """Return what a model shall be called here. Raises InputError for no plain name, or one that ships."""
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a model: take letters, digits, dots and dashes (--name)")
    if (EMBEDDED_MODELS / name).exists():
        raise InputError(f"{name} ships with unstatic: choose another name with --name")
    return name


def inspect(repository: str, *, revision: str | None = None, endpoint: str | None = None) -> Parcel:
    """Ask the server what a repository holds, and return what would be fetched of it.

    Raises InputError for a repository or revision that is not there or not open, and for one of another
    family; UnstaticError when the server cannot be reached.
    """
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise InputError(f"{endpoint!r} is no address of a hub: write http://{endpoint}, or https")
    hub = _hub()
    with _said(repository, revision):
        api = hub.HfApi(endpoint=endpoint, token=_token(endpoint))
        info = api.model_info(repository, revision=revision, files_metadata=True)
    there = {file.rfilename: _remote(file) for file in info.siblings}
    if stray := [name for name in there if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise InputError(f"{repository} names a file outside of itself, {stray[0]!r}: do not trust it")
    if INDEX_NAME not in there:
        raise InputError(f"{repository} has no {INDEX_NAME}: take the repository in diffusers' layout")
    if there[INDEX_NAME].size_bytes > MAX_INDEX_BYTES:
        raise InputError(f"{INDEX_NAME} of {repository} is too large for an index: do not trust it")

    # The index says which folders are parts
    parcel = Parcel(
        repository=repository,
        revision=info.sha,
        licence=_licence(info.card_data or {}),
        files={INDEX_NAME: there[INDEX_NAME]},
        endpoint=endpoint,
    )
    with TemporaryDirectory() as folder:
        index = read_json(_fetch_one(parcel, INDEX_NAME, Path(folder), lambda _: None))
    if (kind := index.get("_class_name")) not in RUNNABLE:
        raise InputError(f"{repository} holds a {kind}: only {', '.join(RUNNABLE)} can be pulled")
    return replace(parcel, files={name: there[name] for name in there if _is_wanted(name, index, there)})


def _remote(file: Any) -> RemoteFile:
    sha256 = file.lfs.sha256 if file.lfs else None
    return RemoteFile(size_bytes=file.size or 0, sha256=sha256, blob=file.blob_id)


def _licence(card: Any) -> str:
    """Return what a repository says of its licence: its name, and where it can be read."""
    named = card.get("license_name") if card.get("license") == "other" else card.get("license")
    return " ".join(filter(None, (str(named or "not stated"), card.get("license_link"))))


def _is_wanted(name: str, index: Mapping[str, Any], there: Mapping[str, object]) -> bool:
    """Tell whether a file belongs to a part of the pipeline, or says what it is."""
    part, _, inside = name.partition("/")
    if not inside:
        return any(fnmatch(name, each) for each in ABOUT)
    plain = next((name.replace(each, ".") for each in VARIANTS if each in name), None)
    described = isinstance(index.get(part), list) and index[part][:1] != [None]
    return described and plain not in there and any(fnmatch(Path(name).name, each) for each in WANTED)


def _token(endpoint: str | None) -> bool | None:
    """Return False where the user's token must not go: it is for the hub that the library knows."""
    return None if endpoint is None else False


def check_place(folder: Path) -> None:
    """Make a folder for what is pulled. Raises InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ensure_writable(folder / RECORD)
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else "nothing can be written there"
        raise InputError(f"cannot make {folder} ({reason}): set UNSTATIC_MODELS to another place") from None


def fetch(parcel: Parcel, target: Path, *, advance: Advance = lambda _: None) -> None:
    """Fetch a parcel into the new folder `target`; `advance` is told the bytes that arrived.

    What is interrupted goes on where it stopped when it is asked for again. Raises InputError for a target
    that exists and for too little room, UnstaticError when the server fails or sends something else than it
    stated.
    """
    if target.exists():
        raise InputError(f"{target} exists: it was pulled before, or choose another name with --name")
    unfinished = target.with_name(f".{target.name}.{parcel.revision[:12]}")
    other = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}")
    for stale in target.parent.glob(f".{target.name}.*"):
        if other.fullmatch(stale.name) and stale != unfinished:  # of a revision that is no longer the one
            shutil.rmtree(stale)
    check_place(unfinished)
    _check_room(parcel, unfinished)

    for name in sorted(parcel.files):
        _fetch_one(parcel, name, unfinished, advance)
    record = {"repository": parcel.repository, "revision": parcel.revision, "licence": parcel.licence}
    (unfinished / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    unfinished.rename(target)


def _fetch_one(parcel: Parcel, name: str, folder: Path, advance: Advance) -> Path:
    """Fetch a file unless it is there already, whole, and check it."""
    file, stated = folder / name, parcel.files[name]
    if file.is_file() and is_whole(file, stated):
        advance(stated.size_bytes)
        return file
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.part")
    with _said(parcel.repository, parcel.revision):
        _download(parcel, name, partial, stated.size_bytes, advance)
    if not is_whole(partial, stated):
        partial.unlink()
        raise UnstaticError(f"{name} of {parcel.repository} is not what its server states: pull it again")
    return partial.replace(file)


def _download(parcel: Parcel, name: str, partial: Path, size_bytes: int, advance: Advance) -> None:
    """Append to `partial` what it lacks. Raises OSError when the server fails `TRIES` times on end.

    Ours and not the hub library's, because that begins a file anew whenever it was interrupted.
    """
    hub = _hub()
    url = hub.hf_hub_url(parcel.repository, name, revision=parcel.revision, endpoint=parcel.endpoint)
    secrets: Mapping[str, str] = hub.utils.build_hf_headers(token=_token(parcel.endpoint))
    partial.touch()
    tries, there = 0, partial.stat().st_size
    advance(there)
    while there < size_bytes:
        asked = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
        for key, value in secrets.items():
            asked.add_unredirected_header(key, value)  # never sent on to where a redirect leads
        try:
            answer = urllib.request.urlopen(asked, timeout=TIMEOUT_S)
        except OSError as error:
            tries = _tried(tries, error)
            continue
        with answer, partial.open("ab") as file:
            if there and answer.status != HTTPStatus.PARTIAL_CONTENT:
                file.truncate(0)
                advance(-there)
                there = 0
            try:
                while piece := answer.read(PIECE):
                    there, tries = there + file.write(piece), 0
                    advance(len(piece))
            except (ConnectionError, TimeoutError, HTTPException) as error:
                tries = _tried(tries, error)
                continue
        if there < size_bytes:
            tries = _tried(tries, ConnectionError("the connection broke"))


def _tried(tries: int, error: Exception) -> int:
    """Wait before the next try, and return how many there were. Raises the error where none would help."""
    hopeless = False
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        hopeless = error.code not in PASSING
    if hopeless or tries + 1 >= TRIES:
        raise error
    time.sleep(tries + 1)
    return tries + 1


def is_whole(path: Path, stated: RemoteFile) -> bool:
    """Tell whether a file has the size and the hash that were stated for it."""
    if path.stat().st_size != stated.size_bytes:
        return False
    if stated.sha256 is not None:
        return _hash(path, hashlib.sha256()) == stated.sha256
    header = f"blob {stated.size_bytes}\0".encode()
    return stated.blob is None or _hash(path, hashlib.sha1(header, usedforsecurity=False)) == stated.blob


def _hash(path: Path, found: Any) -> str:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def _check_room(parcel: Parcel, folder: Path) -> None:
    there = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    needed, free = parcel.size_bytes - there + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder.parent} has room for {human_size(free)}, but {human_size(needed)} are needed:"
            " free some, or set UNSTATIC_MODELS to another place"
        )


@contextmanager
def _said(repository: str, revision: str | None) -> Generator[None]:
    """Turn what the hub's library raises into one line that says what to do."""
    errors = _hub().errors
    try:
        yield
    except errors.HFValidationError:
        raise InputError(f"{repository!r} is no name of a repository: take OWNER/NAME") from None
    except errors.GatedRepoError:
        raise InputError(f"{repository} is gated: accept its terms at the hub, then set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise InputError(
            f"{repository} has no revision {revision!r}: leave it out, or name another"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{repository} is not there, or closed to you: check the name, or set HF_TOKEN"
        ) from None
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise InputError(
                f"{repository} is gated: accept its terms at the hub, then set HF_TOKEN"
            ) from None
        raise UnstaticError(f"cannot fetch {repository} (the server says {error.code}): try later") from None
    except (OSError, HTTPException, errors.HTTPError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UnstaticError(
            f"cannot fetch {repository} ({reason}): the same command goes on where it stopped"
        ) from None


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise InputError("pulling needs the package huggingface_hub: pip install 'unstatic[hub]'") from None
    return huggingface_hub
