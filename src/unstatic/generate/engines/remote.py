"""The remote engine: any server with /v1/videos, behind our protocol (docs/reference/remote.md).

    http://host:8000/v1                      the server's first model, in the dialect that it says it speaks
    sglang+http://host:8000/v1#my-model      this dialect, this model

What is asked has the same names everywhere; a `Dialect` says how a server differs in what it does. What no
server is asked for is refused when a film is planned (`request.py`); the server refuses sizes and lengths.
"""

import io
import re
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.keys import server_key
from unstatic.generate.engine import Event, Frames, Progress, Warned
from unstatic.generate.engines.connection import Connection, GoneError, as_form, as_json, cleaned, words_of
from unstatic.generate.footage import retimed
from unstatic.generate.request import Plan
from unstatic.media.frames import fit
from unstatic.media.probe import Probe, probe
from unstatic.media.read import read_frames
from unstatic.models.manifest import Manifest
from unstatic.models.served import DIALECTS, Dialect, served_manifest

CONTAINER = "mp4"  # whatever the bytes claim to be, they are read as this
LONGEST_S, PACE_S, FASTEST_S, SLOWEST_S = 24 * 3600, 1.0, 0.1, 60.0
SILENT_S, MOST_SILENT = 15.0, 20  # ten minutes: every look asks for a quarter of a minute itself
MAX_SIDE, MAX_FPS, FRAMES_AT_ONCE, ROUNDING = 8192, 1_000, 16, 8
JOB = re.compile(r"\w[\w.-]{0,199}", re.ASCII)
STOPPED = ("cancelled", "canceled", "deleted", "expired")


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model on a server, and what is known of it."""

    manifest: Manifest
    dialect: Dialect
    connection: Connection
    name: str


def find_remote(address: str) -> RemoteModel:
    """Ask a server for its models. Raises InputError naming the fix, UnstaticError if it does not answer."""
    said, _, rest = address.rpartition("+http")
    base, _, wanted = (f"http{rest}" if said else address).partition("#")
    dialect = next((each for each in DIALECTS if each.name == said), None)
    known = ", ".join(each.name for each in DIALECTS)
    if said and dialect is None:
        raise InputError(f"dialect {said!r} is unknown: take one of {known}")
    connection = Connection(base=_checked(base), key=server_key())
    try:
        listed = connection.ask("GET", "/models", tries=2)[0].get("data")
    except GoneError:
        if dialect is None or not wanted:
            raise
        listed = [{"id": wanted}]

    # Which model, in which dialect
    listed = listed if isinstance(listed, list) else []
    cards = {str(each["id"]): each for each in listed if isinstance(each, dict) and each.get("id")}
    name = wanted or next(iter(cards), "")
    if name not in cards:
        has = cleaned(", ".join(cards)) or "none"
        raise InputError(f"{connection.base} has no model {wanted!r}: it has {has}")
    owner = cards[name].get("owned_by")
    dialect = dialect or next((each for each in DIALECTS if each.owner == owner), None)
    if dialect is None:
        raise InputError(f"{base} does not say what it speaks: write DIALECT+{base}, with one of {known}")
    return RemoteModel(served_manifest(cards[name], dialect), dialect, connection, name)


def _checked(base: str) -> str:
    """Return an address without a slash at its end, with /v1 if it has no path. Raises InputError."""
    try:
        parts = urlsplit(base)
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        right = right and parts.username is None and not parts.query and base.isascii()
    except ValueError:
        right = False
    if not right or " " in base or not base.isprintable():
        raise InputError("the address of a server is http://HOST:PORT/v1, maybe with #MODEL; no key is in it")
    return base.rstrip("/") if parts.path.strip("/") else f"{base.rstrip('/')}/v1"


class RemoteEngine:
    """A model on a server, ready to be asked."""

    def __init__(self, model: RemoteModel, device: torch.device) -> None:
        self.model, self.device, self.manifest = model, device, model.manifest

    def stream(self, plan: Plan, *, previews_per_s: float | int = 0) -> Iterator[Event]:
        """Yield progress as the server tells it, and all frames at the end; closing deletes the job."""
        del previews_per_s
        if not self.model.dialect.rewords and "wording" not in plan.left_open:
            said = "cannot be told to leave the prompt as it is: if it rewrites prompts, it rewrites this one"
            yield Warned(f"the server {said}")
        server, job, over = self.model.connection, self._submit(plan), False
        try:
            last = yield from self._followed(job, plan)
            over = True  # nothing is left to be stopped
        finally:
            if not over:
                with suppress(UnstaticError):
                    server.ask("DELETE", f"/videos/{job}", tries=2)
        if last["status"] == "failed":
            raise UnstaticError(f"{server.base} failed to make it: {words_of(last.get('error'))}")
        with TemporaryDirectory() as folder:
            film = Path(folder) / "film.mp4"
            server.download(f"/videos/{job}/content", film)
            yield from shown(film, plan, server.base)

    def _submit(self, plan: Plan) -> str:
        """Ask for the film, and return the name of the job."""
        dialect, server, image = self.model.dialect, self.model.connection, io.BytesIO()
        fields: dict[str, object] = {
            "model": self.model.name,
            "prompt": plan.text,
            "size": str(plan.native),
            "fps": plan.finish.native_fps,
            "num_frames": self.manifest.compression.frames_covering(plan.made),
            "seed": plan.seed,
        }
        fields |= {"negative_prompt": plan.negative} if plan.negative else {}
        fields |= {} if "steps" in plan.left_open else {"num_inference_steps": plan.steps}
        fields |= {} if "guidance" in plan.left_open else {"guidance_scale": plan.guidance}
        fields |= {"enhance_prompt": False} if dialect.rewords and "wording" not in plan.left_open else {}
        if plan.image is not None:
            Image.fromarray(plan.image).save(image, "PNG")
        pictures = {} if plan.image is None else {"input_reference": image.getvalue()}
        content, headers = as_form(fields, pictures) if pictures or dialect.forms_only else as_json(fields)
        headers["Idempotency-Key"] = secrets.token_hex(16)
        once = not dialect.idempotent
        job = server.ask("POST", "/videos", (content, headers), once=once)[0].get("id")
        if not isinstance(job, str) or not JOB.fullmatch(job):
            raise UnstaticError(f"{server.base} gives no name to its job: it is no server of videos")
        return job

    def _followed(self, job: str, plan: Plan) -> Generator[Event, None, dict[str, Any]]:
        """Yield progress at every look until the job is over, and return what the server says of it then."""
        server, told, pace_s, total = self.model.connection, 0, PACE_S, plan.total_steps
        until_s, silent = time.monotonic() + LONGEST_S, 0
        while time.monotonic() < until_s:
            try:
                said, headers = server.ask("GET", f"/videos/{job}")
                silent = 0
            except GoneError:
                said, headers = {"status": "deleted"}, {}  # by somebody, or with the memory of the server
            except InputError:
                raise
            except UnstaticError:  # it may come back, and the job may go on meanwhile
                silent += 1
                if silent == MOST_SILENT:
                    raise
                yield Progress(told, total)
                server.sleep(SILENT_S)
                continue
            status, percent = said.get("status"), said.get("progress")
            if status in STOPPED:
                raise UnstaticError(f"the job is {status} at {server.base}, maybe by a restart: ask again")
            share = min(percent / 100, 1) if isinstance(percent, int | float) and percent > 0 else 0
            done = total if status == "completed" else int(share * total)
            if status != "failed":  # also if there is none: who listens may want to stop it
                yield Progress(max(done, told), total)
            if status in ("completed", "failed"):
                return said
            told, asked = max(done, told), headers.get("openai-poll-after-ms") or ""
            wanted_s = int(asked[:9]) / 1000 if asked.isdecimal() else pace_s
            server.sleep(min(max(wanted_s, FASTEST_S), SLOWEST_S))
            pace_s = min(pace_s * 1.25, 5 * PACE_S)
        raise UnstaticError(f"{server.base} did not make it in {LONGEST_S / 3600:g} hours: ask for less")


def shown(path: Path, plan: Plan, base: str) -> Iterator[Event]:
    """Yield the film in a file as it was planned, saying what had to be changed for that.

    Raises UnstaticError for a file that is no film, or one too large to be taken.
    """
    made, last = 0, None
    try:
        film = probe(path, container=CONTAINER)
        if not 0 < (film.fps or 0) <= MAX_FPS or max(film.size.width, film.size.height) > MAX_SIDE:
            raise InputError(f"{film.size} at {film.fps} frames a second is too much")
        yield from map(Warned, changes(film, plan))
        frames = retimed(read_frames(path, container=CONTAINER), film.fps or 1, plan.finish.native_fps)
        fitted = (fit(frame[None], plan.native) for frame in islice(frames, plan.frames))
        while batch := list(islice(fitted, FRAMES_AT_ONCE)):
            yield Frames(made, np.concatenate(batch))
            made, last = made + len(batch), batch[-1]
    except InputError as error:
        why = cleaned(str(error).replace(str(path), "the file"))
        raise UnstaticError(f"what {base} sent for the film is none ({why}): try again") from None
    if last is None:
        raise UnstaticError(f"what {base} sent for the film has no frames: try again")
    for number in range(made, plan.frames):  # a server may round down
        yield Frames(number, last)


def changes(film: Probe, plan: Plan) -> Iterator[str]:
    """Say in what a film is another than was planned, beyond a few frames of rounding."""
    fps = plan.finish.native_fps
    if film.size != plan.native:
        yield f"the server filmed in {film.size}, not {plan.native}: it is cut and scaled"
    if film.fps and film.fps != fps:
        yield f"the server's film has {float(film.fps):g} frames a second, not {fps}: it is retimed"
    if film.fps and film.num_frames and abs(film.num_frames / film.fps * fps - plan.frames) > ROUNDING:
        lasts_s, wanted_s = float(film.num_frames / film.fps), plan.frames / fps
        what = "its end is cut off" if lasts_s > wanted_s else "its last frame stands still"
        yield f"the server's film lasts {lasts_s:.2f} seconds, not {wanted_s:.2f}: {what}"
