"""Files of strangers become known media: looked at and copied in a process of their own, within limits.

Nothing that came with a file is trusted: its kind is what its first bytes say, its name and content type
count for nothing, and what goes on is never the file but a PNG or mp4 that was written here.

`python -P -m unstatic.server.intake picture|video KIND LIMITS` is that process: it reads `upload` in the
folder in which it runs, and answers with a line when it begins to read and a line of JSON when it has read.
"""

import errno
import json
import logging
import math
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, cast, get_args

from unstatic.core.config import from_dict, to_dict
from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.shapes import Size

Picture = Literal["png", "jpeg", "webp"]
Film = Literal["mp4", "webm", "gif"]
Task = Literal["picture", "video"]
PICTURES, FILMS = get_args(Picture), get_args(Film)

_BEGUN = "reading"
_UPLOAD, _PICTURE, _VIDEO = "upload", "picture.png", "video.mp4"
_CONTAINERS = {"mp4": "mp4", "webm": "matroska", "gif": "gif"}  # as libav calls them
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # one of them is first in mp4 and mov
_PHOTOS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # pictures in the manner of mp4
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
log = logging.getLogger(__name__)


class IntakeError(InputError):
    """A file is refused. The one line is read by the stranger; `code` is for a program."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What files may be, and what reading one may cost."""

    max_pixels: int = 40_000_000  # of a picture
    max_side: int = 4096  # of a video, and at most `media.read.MAX_FRAME_SIDE`
    max_seconds: float = 60.0
    max_fps: int = 30  # a faster video loses frames
    kept_side: int = 1280  # a larger video is made smaller
    memory_bytes: int = 2 * 2**30
    written_bytes: int = 500_000_000
    time_s: float = 300.0


class ExaminedPicture(NamedTuple):
    """A PNG of our own, in RGB and upright, that exists until the block ends."""

    path: Path
    size: Size


class ExaminedVideo(NamedTuple):
    """An mp4 of our own, upright, with even sides and a steady rate, that exists until the block ends."""

    path: Path
    size: Size
    fps: Fraction
    num_frames: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return float(self.num_frames / self.fps)


# ------------------------------------------------------------------------------------ in the server's process


def kind_of(path: Path) -> Picture | Film | None:
    """Return what a file is by its first bytes; None for what is not taken in."""
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "mp4" if start[4:8] in _BOXES and start[8:12] not in _PHOTOS else None


@contextmanager
def examine_picture(
    path: Path,
    limits: Limits,
    *,
    turn: AbstractContextManager[object] | None = None,
    folder: Path | None = None,
) -> Generator[ExaminedPicture]:
    """Yield our own copy of a stranger's picture; it lies below `folder` and is gone after the block.

    `turn` is entered while the file is read: a semaphore keeps many at once from filling the memory. Raises
    IntakeError for what is no PNG, JPEG or WebP, is animated, damaged or larger than `limits` allows.
    """
    kind = kind_of(path)
    if kind is None or kind not in PICTURES:
        raise IntakeError("the file is no picture, give a PNG, JPEG or WebP", "invalid_image")
    with _examined("picture", path, kind, limits, turn, folder) as (made, facts):
        yield ExaminedPicture(made / _PICTURE, Size(facts["width"], facts["height"]))


@contextmanager
def examine_video(
    path: Path,
    limits: Limits,
    *,
    turn: AbstractContextManager[object] | None = None,
    folder: Path | None = None,
) -> Generator[ExaminedVideo]:
    """Yield our own copy of a stranger's video; it is gone after the block. `turn` and `folder` as above.

    Raises IntakeError for what is no MP4, MOV, WebM, Matroska or GIF, damaged or beyond `limits`.
    """
    kind = kind_of(path)
    if kind is None or kind not in FILMS:
        raise IntakeError("the file is no video, give an MP4, MOV, WebM or GIF", "invalid_video")
    with _examined("video", path, kind, limits, turn, folder) as (made, facts):
        size, fps = Size(facts["width"], facts["height"]), Fraction(facts["fps"])
        yield ExaminedVideo(made / _VIDEO, size, fps, facts["num_frames"])


def safe_name(name: str) -> str:
    """Return a stranger's file name as one that every disk, header and page bears.

    At most 100 of the characters A-Z a-z 0-9 . _ and -, first a letter or digit; "file" if nothing is left.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFKD", name[:4096]))[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", re.sub(r"[\u0300-\u036f]", "", last))
    stem, suffix = os.path.splitext(plain)
    short = (stem.strip("._-")[:80] or "file") + suffix[:16].rstrip("._-")
    return f"file-{short}" if _RESERVED.match(short) else short


@contextmanager
def _examined(
    task: Task,
    path: Path,
    kind: str,
    limits: Limits,
    turn: AbstractContextManager[object] | None,
    folder: Path | None,
) -> Generator[tuple[Path, dict[str, Any]]]:
    """Yield a new folder with the copy, which nobody else can enter, and the facts of it."""
    with TemporaryDirectory(prefix="unstatic-", dir=folder, ignore_cleanup_errors=True) as name:
        made = Path(name)
        (made / _UPLOAD).symlink_to(path.resolve())
        with turn or nullcontext():
            answer = _ask(task, kind, made, limits)
        if "refused" in answer:
            raise IntakeError(answer["refused"], answer["code"])
        yield made, answer


def _ask(task: Task, kind: str, folder: Path, limits: Limits) -> dict[str, Any]:
    """Let another process read the upload. Raises IntakeError if that ends it, however it does."""
    noun, code = ("picture", "invalid_image") if task == "picture" else ("video", "invalid_video")
    command = [sys.executable, "-P", "-m", __name__, task, kind, json.dumps(to_dict(limits))]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_bare_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.time_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"the {noun} takes more than {limits.time_s:g} s to read, give it shorter or smaller"
        raise IntakeError(reason, code) from None
    begun, *answer = done.stdout.decode("utf-8", errors="replace").splitlines() or [""]
    if begun != _BEGUN:
        log.error("the reader of uploads does not start: %s", done.stderr[-2000:].decode(errors="replace"))
        raise UnstaticError("the reader of uploads does not start")
    if done.returncode or len(answer) != 1:
        log.warning("a %s ended its reader with %d", noun, done.returncode)
        raise IntakeError(f"the {noun} cannot be read, give another file", code)
    facts = cast(dict[str, Any], json.loads(answer[0]))
    if "broken" in facts:
        raise UnstaticError(f"an upload cannot be read: {facts['broken']}")
    return facts


def _bare_environment() -> dict[str, str]:
    """Return the few variables that a reader needs: no secret of the server is among them."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if Path(entry).is_absolute()),
        "LANG": "C.UTF-8",
        # Every thread would reserve memory of its own
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


# ------------------------------------------------------------------------------------ in the reader's process


def _read(task: Task, kind: str, limits: Limits) -> dict[str, Any]:
    """Return the facts of the upload, or why it is refused."""
    code = "invalid_image" if task == "picture" else "invalid_video"
    try:
        return _read_picture(kind, limits) if task == "picture" else _read_video(kind, limits)
    except IntakeError as error:
        return {"refused": str(error), "code": error.code}
    except InputError as error:
        return {"refused": str(error), "code": code}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return {"broken": "the disk is full"}
    except MemoryError:
        return {"refused": "the file needs too much memory, give it smaller", "code": code}


def _read_picture(kind: str, limits: Limits) -> dict[str, Any]:
    import warnings

    from PIL import Image, UnidentifiedImageError

    from unstatic.media.read import read_picture

    # The header only; Pillow's own limit warns, and is not ours
    source, formats = Path(_UPLOAD), (kind.upper(),)
    warnings.simplefilter("ignore")
    try:
        with Image.open(source, formats=formats) as image:
            width, height = image.size
            small = width * height <= limits.max_pixels
            moves = small and image.format != "MPO" and _is_animated(image)
    except Image.DecompressionBombError:
        raise IntakeError("the picture has too many pixels, give it smaller", "image_too_large") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise IntakeError("the picture is damaged, give another file", "invalid_image") from None
    if not small:
        largest = f"{limits.max_pixels / 1e6:g} million pixels"
        raise IntakeError(
            f"the picture is {width}x{height}, give one of at most {largest}", "image_too_large"
        )
    if moves:
        raise IntakeError("the picture moves, give a still one", "invalid_image")

    frame = read_picture(source, formats=formats)[0]
    Image.fromarray(frame).save(_PICTURE, compress_level=1)  # a photo takes seconds at the usual level
    return {"width": frame.shape[1], "height": frame.shape[0]}


def _is_animated(image: Any) -> bool:
    """Return whether there is a second picture. An MPO, as phones write it, holds others on purpose."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _read_video(kind: str, limits: Limits) -> dict[str, Any]:
    from unstatic.media.probe import probe
    from unstatic.media.steady import read_steadily
    from unstatic.media.write import VideoWriter

    # What the file says of itself
    source, container = Path(_UPLOAD), _CONTAINERS[kind]
    said = probe(source, container=container)
    if max(said.size.width, said.size.height) > limits.max_side:
        reason = f"the video is {said.size}, give one with sides of at most {limits.max_side}"
        raise IntakeError(reason, "video_too_large")
    fps = min(max(said.fps or Fraction(25), Fraction(1)), Fraction(limits.max_fps)).limit_denominator(1001)
    too_long = IntakeError(f"the video is longer than {limits.max_seconds:g} s", "video_too_long")
    if said.duration_s is not None and said.duration_s > limits.max_seconds + 1:  # sound may end later
        raise too_long

    # What it really holds
    frames = read_steadily(source, container=container, fps=fps, longest=limits.kept_side)
    count, size = 0, said.size
    with VideoWriter(Path(_VIDEO), fps=fps) as writer:
        for count, frame in enumerate(frames, start=1):
            if count > math.ceil((limits.max_seconds + 0.5) * fps):
                raise too_long
            size = Size(frame.shape[1], frame.shape[0])
            writer.write(frame[None])
        if not count:
            raise IntakeError("the video has no frames, give another file", "invalid_video")
    return {"width": size.width, "height": size.height, "fps": str(fps), "num_frames": count}


def _restrain(limits: Limits) -> None:
    """Take from this process what reading a file does not need, for good."""
    import resource

    for which, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, math.ceil(limits.time_s) * 2),
        (resource.RLIMIT_FSIZE, limits.written_bytes),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(which)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (allowed, allowed))


def _main(task: str, kind: str, limits: str) -> None:
    restraint = from_dict(Limits, json.loads(limits))
    _restrain(restraint)
    sys.stdout.write(_BEGUN + "\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(_read(cast(Task, task), kind, restraint)) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
