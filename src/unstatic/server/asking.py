"""From what a request says to a job: what the model cannot do is refused now, not after an hour in the queue.

Nothing is filmed here. Pictures and videos are looked at by `intake.py`, and the plan is made with black ones
of their shape. What was sent, and videos of the account that are used, are copied to a place of the job's
own before its row is written: a source may be deleted while an edit of it waits.
"""

import secrets
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue
from unstatic.generate.defaults import DEFAULT_SECONDS
from unstatic.generate.edit import new_frames, whole_groups
from unstatic.generate.request import Request, plan
from unstatic.models.manifest import Manifest
from unstatic.server import jobs, schemas
from unstatic.server.cards import places
from unstatic.server.characters import goes_on, is_named, recast
from unstatic.server.errors import ApiError, not_found
from unstatic.server.fetching import FetchError, Policy, fetch
from unstatic.server.forms import Form
from unstatic.server.intake import IntakeError, Limits, examine_picture, examine_video
from unstatic.server.jobs import Asked
from unstatic.server.ledger import price
from unstatic.server.schemas import CardBody, Named, Reference, Sampling
from unstatic.server.spec import ONE_FRAME, Card, Role, Spec, Task
from unstatic.server.standins import black, black_footage, size_as
from unstatic.server.state import Server
from unstatic.server.storage import MissingKeyError, StorageError
from unstatic.server.tables import Character

MAX_DRAWN_SEED = 2**31
VIDEO = "video.mp4"
BLANK = "a film"
LONGEST_LOOK_S = 30.0  # at a picture; a video may take longer
MOST_LETTERS = 2 * schemas.MAX_PROMPT  # of an account's prompts that are read at a moment


@dataclass(frozen=True, slots=True)
class Clip:
    """A video that a job begins with: a file that was sent, or a key of the storage."""

    source: Path | str
    size: Size
    seconds: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a job begins with."""

    path: Path
    size: Size


@contextmanager
def asking(
    server: Server, account_id: str, form: Form, *, check: Callable[[], None] = lambda: None
) -> Generator["Asking"]:
    """Yield what makes jobs of a request; copies of its files that it looks at are gone after the block.

    `check` is called before the first file is looked at or fetched.
    """
    with ExitStack() as stack:
        yield Asking(server, account_id, form, stack, check)


class Asking:
    """One request on its way to be jobs: each task is a method that checks it."""

    def __init__(
        self, server: Server, account_id: str, form: Form, stack: ExitStack, check: Callable[[], None]
    ) -> None:
        self.server, self.account_id, self.form, self.stack = server, account_id, form, stack
        self.check, self.admitted = check, False
        self.files = dict(form.files)
        self.folder = f"uploads/{account_id}/{secrets.token_hex(16)}"
        self.waiting: dict[str, Path | str] = {}

    # ---------------------------------------------------------------------------------------- the tasks

    def create(self, body: schemas.CreateBody) -> list[Asked]:
        manifest = self.model(body.model)
        picture = self.picture("input_reference", body.input_reference)
        size = _size(schemas.size_of(body))
        if picture is not None and size not in (None, picture.size):
            message = f"input_reference is {picture.size} and size {size}: make them equal"
            raise ApiError(400, message, code="invalid_value", param="input_reference")
        spec = Spec(
            **self.sampling(body, "create", _said(body.prompt, picture)),
            seconds=_seconds(body, manifest),
            size=None if size is None else str(size),
            fps=body.fps,
            image=self.keep("image.png", picture),
            characters=self.characters(body),
        )
        told = {role.name: role.description for role in spec.characters if role.description is not None}
        request = replace(
            _request(spec),
            prompt=recast(spec.prompt, told),
            image=None if picture is None else black(picture.size),
        )
        if any(goes_on(role, manifest) for role in spec.characters):
            if manifest.given not in ("frames", "beginning"):
                message = f"{manifest.name} goes on from no clips: take characters that have a description"
                raise ApiError(400, message, code="invalid_value", param="characters")
            if picture is not None:
                message = "a film that goes on from a character's clip begins with no picture: leave it out"
                raise ApiError(400, message, code="invalid_value", param="input_reference")
            known = black_footage(0, 2 * manifest.compression.time + 1, manifest)
            request = replace(request, footage=(known,), lead=known.stop)
        return self.asked(manifest, spec, request, made_s=spec.seconds or 0.0, words=body.prompt)

    def remix(
        self, body: schemas.EditBody | schemas.RemixBody, clip: Clip, remixed_from: str | None = None
    ) -> list[Asked]:
        manifest, mask = self.model(body.model or clip.model), self.picture("mask", None)
        if mask is not None and mask.size != clip.size:
            message = f"the mask is {mask.size} and the video {clip.size}: make them equal"
            raise ApiError(400, message, code="invalid_value", param="mask")
        spec = Spec(
            **self.sampling(body, "remix" if mask is None else "repaint", body.prompt),
            size=str(size_as(clip.size, manifest)),
            strength=body.strength,
            video=self.keep(VIDEO, clip),
            mask=self.keep("mask.png", mask),
        )
        request = replace(_request(spec, clip.seconds), source=black(Size(16, 16))[None])
        return self.asked(manifest, spec, request, made_s=clip.seconds, remixed_from=remixed_from)

    def extend(self, body: schemas.ExtensionBody, clip: Clip) -> list[Asked]:
        manifest = self.model(body.model or clip.model)
        new, old = new_frames(body.seconds, manifest), round(clip.seconds * manifest.fps)
        spec = self.spec_of(body, "extend", clip, manifest, seconds=body.seconds, backward=body.backward)
        request = _request(spec, (old + new) / manifest.fps)
        footage = black_footage(new if body.backward else 0, old, manifest)
        return self.asked(manifest, spec, replace(request, footage=(footage,)), made_s=body.seconds)

    def loop(self, body: schemas.LoopBody, clip: Clip) -> list[Asked]:
        manifest = self.model(body.model or clip.model)
        new, old = whole_groups(body.seconds, manifest), round(clip.seconds * manifest.fps)
        if old < 2 * manifest.compression.time:
            raise InputError(f"video lasts {clip.seconds:g} seconds: a loop needs a longer one to begin with")
        spec = self.spec_of(body, "loop", clip, manifest, seconds=body.seconds)
        request = _request(spec, (old + new) / manifest.fps)
        footage = black_footage(0, old, manifest)
        return self.asked(manifest, spec, replace(request, footage=(footage,)), made_s=body.seconds)

    def blend(self, body: schemas.BlendBody, clip: Clip, other: Clip) -> list[Asked]:
        manifest = self.model(body.model or clip.model)
        new = whole_groups(body.seconds, manifest)
        one, two = (round(each.seconds * manifest.fps) for each in (clip, other))
        spec = self.spec_of(body, "blend", clip, manifest, seconds=body.seconds)
        spec = replace(spec, other=self.keep("other.mp4", other))
        request = _request(spec, (one + new + two) / manifest.fps)
        footage = black_footage(0, one, manifest), black_footage(one + new, two, manifest)
        request = replace(request, footage=footage, source=black(Size(16, 16))[None])
        return self.asked(manifest, spec, request, made_s=body.seconds)

    def recut(self, body: schemas.RecutBody, clip: Clip) -> list[Asked]:
        manifest = self.model(body.model or clip.model)
        if not body.start < body.end <= clip.seconds:
            raise InputError(
                f"{body.start:g} to {body.end:g} is no span of a video of {clip.seconds:g} seconds"
            )
        begin, end = (round(each * manifest.fps) for each in (body.start, body.end))
        if begin == end:
            raise InputError(f"{body.start:g} to {body.end:g} is less than a frame of the video: keep more")
        first, _ = (new_frames(each, manifest) if each else 0 for each in (body.before, body.after))
        kept = (body.start, body.end)
        spec = self.spec_of(body, "recut", clip, manifest, keep=kept, before=body.before, after=body.after)
        request = _request(spec, body.end - body.start + body.before + body.after)
        footage = (black_footage(first, end - begin, manifest),)
        made_s = body.before + body.after
        return self.asked(manifest, spec, replace(request, footage=footage), made_s=made_s)

    def storyboard(self, body: schemas.StoryboardBody) -> list[Asked]:
        manifest, size = self.model(body.model), _size(schemas.size_of(body))
        drawn = [self.card(number, each) for number, each in enumerate(body.cards)]
        cards = tuple(card for card, _ in drawn)
        # A film of one frame is refused below, as everywhere
        lengths = [None if clip is None else clip.seconds for _, clip in drawn]
        seen = places(cards, lengths, max(2, round(body.seconds * manifest.fps)), manifest)
        prompt = next((each.prompt for each in cards if each.prompt), "")
        spec = Spec(
            **self.sampling(body, "storyboard", prompt),
            seconds=body.seconds,
            size=None if size is None else str(size),
            fps=body.fps,
            cards=cards,
        )
        cues = tuple(Cue(at=c.at, prompt=c.prompt, cut=c.cut) for c in cards if c.prompt and c.at)
        footage = tuple(black_footage(first, length, manifest) for first, length in seen)
        request = replace(_request(spec), cues=cues, footage=footage)
        words = " / ".join(each.prompt for each in cards if each.prompt)[: schemas.MAX_PROMPT]
        return self.asked(manifest, spec, request, made_s=body.seconds, words=words)

    def images(self, body: schemas.ImageBody, *, edit: bool) -> list[Asked]:
        """Return one job for each picture; all of them have one seed."""
        manifest, picture = self.model(body.model), self.picture("image", None) if edit else None
        size, mask = _size(schemas.size_of(body)), self.picture("mask", None) if edit else None
        if edit and picture is None:
            raise ApiError(400, "send the picture as the file image", code="missing_parameter", param="image")
        if picture is not None and mask is not None and mask.size != picture.size:
            message = f"the mask is {mask.size} and the image {picture.size}: make them equal"
            raise ApiError(400, message, code="invalid_value", param="mask")
        spec = Spec(
            **self.sampling(body, "image", _said(body.prompt, picture)),
            seconds=0.0,
            size=str(size or picture.size) if picture else None if size is None else str(size),
            image=self.keep("image.png", picture),
            mask=self.keep("mask.png", mask),
        )
        request = _request(spec)
        if picture is not None:  # a model remixes a few frames, the first of which is the picture
            few_s = manifest.compression.frames(2) / manifest.fps
            request = replace(request, seconds=few_s, source=black(picture.size)[None])
        (made,) = self.asked(manifest, spec, request, made_s=0.0, words=body.prompt, is_still=True)
        made = replace(made, kind="image", seconds=0.0)
        return [replace(made, spec=made.spec | {"variation": each}) for each in range(body.n)]

    # --------------------------------------------------------------------------------------- their parts

    def model(self, name: str | None) -> Manifest:
        """Return what a model can do, the first of the server's without a name."""
        manifests = self.server.manifests
        found = manifests.get(name) if name else next(iter(manifests.values()))
        if found is None:
            message = f"model {name!a} is not offered here: take one of {', '.join(manifests)}"
            raise ApiError(400, message, code="model_not_found", param="model")
        return found

    def sampling(self, body: Sampling, task: Task, prompt: str) -> dict[str, Any]:
        """Return what every spec has; a seed is drawn now, so that a second attempt makes the same film."""
        return {
            "task": task,
            "prompt": prompt,
            "seed": secrets.randbelow(MAX_DRAWN_SEED) if body.seed is None else body.seed,
            "steps": body.num_inference_steps,
            "guidance": body.guidance_scale,
            "negative": body.negative_prompt,
            "expand": body.enhance_prompt,
        }

    def spec_of(self, body: Any, task: Task, clip: Clip, manifest: Manifest, **more: Any) -> Spec:
        """Return the spec of an edit of a video."""
        size, key = str(size_as(clip.size, manifest)), self.keep(VIDEO, clip)
        return Spec(**self.sampling(body, task, body.prompt), size=size, video=key, **more)

    def picture(self, name: str, named: Reference | None) -> Picture | None:
        """Return a picture that was sent as a file or in the body, looked at. Raises ApiError."""
        upload = self.files.pop(name, None) or self.files.pop(f"{name}[0]", None)
        if upload is not None and named is not None:
            raise ApiError(400, f"{name} is given twice", code="invalid_value", param=name)
        if upload is None and named is None:
            return None
        self.admit()
        try:
            path = upload.path if upload is not None else self.named_picture(name, named)
            limits = Limits(max_pixels=self.server.settings.max_pixels, time_s=LONGEST_LOOK_S)
            turn = self.server.turns.of(self.account_id)
            looked = examine_picture(path, limits, turn=turn, folder=self.form.folder)
            found = self.stack.enter_context(looked)
        except (IntakeError, FetchError) as error:
            raise ApiError(400, str(error), code=error.code, param=name) from None
        return Picture(found.path, found.size)

    def named_picture(self, name: str, named: Reference | None) -> Path:
        """Return the file of a picture that stands in the body, or where the operator allows it elsewhere."""
        if named is None or named.image_url is None or named.file_id is not None:
            message = f"{name} takes a file or image_url: files are not kept here, so leave file_id out"
            raise ApiError(400, message, code="invalid_value", param=name)
        settings = self.server.settings
        policy = Policy(http=settings.fetch_urls, allowed_networks=settings.allowed_networks)
        return fetch(named.image_url, self.form.folder, policy)

    def clip(self, name: str, named: Named | None) -> Clip:
        """Return a video that was sent, or one of the account. Raises ApiError."""
        upload = self.files.pop(name, None)
        if (upload is None) == (named is None):
            message = f"give {name} once: as a file, or as the id of a film that you have"
            raise ApiError(400, message, code="invalid_value", param=name)
        if upload is None:
            assert named is not None
            return self.own(named.id)
        self.admit()
        try:
            limits = Limits(max_seconds=self.server.settings.max_seconds)
            turn = self.server.turns.of(self.account_id)
            looked = examine_video(upload.path, limits, turn=turn, folder=self.form.folder)
            found = self.stack.enter_context(looked)
        except IntakeError as error:
            raise ApiError(400, str(error), code=error.code, param=name) from None
        return Clip(found.path, found.size, found.seconds)

    def admit(self) -> None:
        """Take a place among those whose files are looked at, once. Raises ApiError 429 if there is none."""
        if not self.admitted:
            self.check()
            self.stack.enter_context(self.server.examined.of(self.account_id))
            self.admitted = True

    def own(self, job_id: str) -> Clip:
        """Return a film of the account that can be used. Raises ApiError."""
        with self.server.database.reading() as session:
            job = jobs.find(session, self.account_id, job_id)
        if job is None or job.kind != "video":
            raise not_found("video", job_id)
        if job.status != jobs.COMPLETED or (job.expires_at or 0) <= self.server.database.now():
            state = job.status if job.status != jobs.COMPLETED else "expired"
            message = f"{job.id} is {state}: only films that are completed can be used"
            raise ApiError(400, message, code="video_not_usable", param="video")
        model = job.model if job.model in self.server.manifests else None
        return Clip(f"{job.output}/{VIDEO}", Size.parse(job.size), job.seconds, model)

    def characters(self, body: schemas.CreateBody) -> tuple[Role, ...]:
        """Return the characters of a film, which its prompt names. Raises ApiError."""
        wanted = [each.id for each in body.characters]
        with self.server.database.reading() as session:
            own = select(Character).where(Character.account_id == self.account_id, Character.id.in_(wanted))
            own = own.where(Character.deleted_at.is_(None))
            rows = {row.id: row for row in session.scalars(own)}
        for name in wanted:
            if name not in rows:
                raise not_found("character", name)
            if not is_named(body.prompt, rows[name].name):
                message = f"the prompt does not name the character {rows[name].name!a}: say what it does"
                raise ApiError(400, message, code="invalid_value", param="characters")
        found = [rows[name] for name in wanted]
        if len({row.name.casefold() for row in found}) < len(found):
            message = f"two characters are called {found[0].name!a}: take one of them"
            raise ApiError(400, message, code="invalid_value", param="characters")
        return tuple(Role(name=row.name, clip=row.clip, description=row.description) for row in found)

    def card(self, number: int, body: CardBody) -> tuple[Card, Clip | None]:
        """Return a card of a storyboard, and its video."""
        name = f"cards[{number}]"
        picture = self.picture(f"{name}[image]", body.image)
        clip = None
        if body.video is not None or f"{name}[video]" in self.files:
            clip = self.clip(f"{name}[video]", body.video)
        image, video = self.keep(f"{number}.png", picture), self.keep(f"{number}.mp4", clip)
        return Card(at=body.at, prompt=body.prompt, cut=body.cut, image=image, video=video), clip

    def keep(self, name: str, what: Clip | Picture | None) -> str | None:
        """Return the key under which the job will find a file."""
        if what is None:
            return None
        key = f"{self.folder}/{name}"
        self.waiting[key] = what.source if isinstance(what, Clip) else what.path
        return key

    # ------------------------------------------------------------------------------------------ the end

    def asked(
        self,
        manifest: Manifest,
        spec: Spec,
        request: Request,
        *,
        made_s: float,
        remixed_from: str | None = None,
        words: str | None = None,
        is_still: bool = False,
    ) -> list[Asked]:
        """Return the job, which the model can make. Raises InputError naming what it can, or ApiError."""
        self.check_files()
        letters = min(_letters(request), MOST_LETTERS)
        with self.server.planned.of(self.account_id, letters):
            planned = plan(request, manifest)
        most = self.server.settings.max_seconds
        if request.seconds > most:
            raise InputError(f"that makes {request.seconds:g} seconds: this server makes up to {most:g}")
        if planned.frames == 1 and not is_still:
            raise InputError(ONE_FRAME)
        spec = replace(spec, size=str(planned.size), inputs=self.folder if self.waiting else None)
        return [
            Asked(
                kind="video",
                model=manifest.name,
                prompt=spec.prompt if words is None else words,
                spec=spec.to_json(),
                size=str(planned.size),
                seconds=float(request.seconds),
                cost=price(made_s, planned.size, steps=planned.steps, usual=_usual_steps(manifest)),
                remixed_from=remixed_from,
                trace=self.server.tracing.current(),
            )
        ]

    def check_files(self) -> None:
        """Raise ApiError for files that nobody asked for."""
        for name in self.files:
            message = f"{name} takes no file here: leave it out"
            raise ApiError(400, message, code="unknown_parameter", param=name)

    def store(self) -> None:
        """Copy what the job needs to where it will find it, all or nothing.

        Raises StorageError, and ApiError if a source has gone.
        """
        try:
            for key, source in self.waiting.items():
                self.server.storage.put_file(key, self.local(source))
        except MissingKeyError:
            self.drop()
            raise ApiError(400, "the video was deleted meanwhile", code="video_not_usable") from None
        except StorageError:
            self.drop()
            raise

    def local(self, source: Path | str) -> Path:
        """Return a file on this machine's disk, fetched from the storage if it is a key."""
        if isinstance(source, Path):
            return source
        path = self.form.folder / f"fetched-{secrets.token_hex(8)}"
        self.server.storage.fetch(source, path)
        return path

    def drop(self) -> None:
        """Take back what was stored; what cannot be is swept later."""
        if self.waiting:
            with suppress(StorageError):
                self.server.storage.delete_tree(self.folder)


def _request(spec: Spec, seconds: float | None = None) -> Request:
    """Return a request with everything that a model may refuse, but without pictures."""
    return Request(
        prompt=spec.prompt,
        seconds=seconds if seconds is not None else spec.seconds or 0.0,
        size=None if spec.size is None else Size.parse(spec.size),
        fps=spec.fps,
        seed=spec.seed,
        steps=spec.steps,
        guidance=spec.guidance,
        negative=spec.negative,
    )


def _letters(request: Request) -> int:
    """Return how much there is to read before a film can be planned."""
    return sum(map(len, (request.prompt, request.negative or "", *(cue.prompt for cue in request.cues))))


def _usual_steps(manifest: Manifest) -> int:
    """Return how many steps a model takes when nobody says otherwise."""
    return manifest.distilled.steps if manifest.distilled else manifest.defaults.steps


def _said(prompt: str, picture: Picture | None) -> str:
    """Return what a model reads: of blanks, which the contract allows, as little as can be said."""
    return prompt if prompt.strip() or picture is not None else BLANK


def _seconds(body: schemas.CreateBody, manifest: Manifest) -> float:
    if body.num_frames is None:
        return DEFAULT_SECONDS if body.seconds is None else body.seconds
    if body.seconds is not None:
        raise ApiError(400, "give seconds or num_frames, not both", code="invalid_value", param="num_frames")
    fps = manifest.fps if body.fps is None else body.fps
    if fps < 1:
        raise InputError(f"fps is {fps}: it must be at least 1")
    return body.num_frames / fps


def _size(text: str | None) -> Size | None:
    return None if text is None else Size.parse(text)
