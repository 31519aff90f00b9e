"""/v1/videos: the frozen contract."""

from contextlib import ExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import bindparam, select
from sqlalchemy.orm import defer

from unstatic.server import jobs
from unstatic.server.asking import Asking
from unstatic.server.content import Stream, download, growing
from unstatic.server.errors import ApiError
from unstatic.server.jobs import Asked
from unstatic.server.routes.incoming import (
    ERRORS,
    ID,
    FoundVideo,
    Incoming,
    Known,
    Watch,
    WithBody,
    find_job,
    held_job,
    let_in,
    make_video,
    pace,
    server_of,
)
from unstatic.server.schemas import (
    CreateBody,
    EditBody,
    ExtensionBody,
    RemixBody,
    Video,
    VideoDeleted,
    VideoList,
    of_body,
    video_of,
)
from unstatic.server.storage import MissingKeyError
from unstatic.server.tables import Job

MAX_PIECE_BYTES = 100_000_000
LOOK = "look.webp"
# Of every variant its file, and its kind
FILES = {
    "video": ("video.mp4", "video/mp4"),
    "thumbnail": ("thumbnail.webp", "image/webp"),
    "spritesheet": ("spritesheet.jpg", "image/jpeg"),
}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for _, kind in FILES.values()}},
    206: {"description": "A range of it."},
}
Variant = Literal["video", "thumbnail", "spritesheet", "preview"]
LAST = 2**63 - 1
_OWN = (
    select(Job)
    .where(Job.account_id == bindparam("account_id"), Job.kind == "video", Job.deleted_at.is_(None))
    .options(defer(Job.spec, raiseload=True), defer(Job.facts, raiseload=True))
    .limit(bindparam("most"))
)
PAGES = {
    "asc": _OWN.where(Job.number > bindparam("after")).order_by(Job.number),
    "desc": _OWN.where(Job.number < bindparam("after")).order_by(Job.number.desc()),
}
router = APIRouter(prefix="/v1/videos", tags=["videos"], responses=ERRORS)


@router.post("", openapi_extra=of_body(CreateBody, files=("input_reference",)))
def create(sent: WithBody, response: Response) -> Video:
    """Ask for a film."""
    return make_video(sent, response, CreateBody, lambda asking, body: asking.create(body))


@router.post("/edits", openapi_extra=of_body(EditBody, files=("video", "mask")))
def edit(sent: WithBody, response: Response) -> Video:
    """Ask for a video to be made anew, or what a mask marks in it."""

    def ask(asking: Asking, body: EditBody) -> list[Asked]:
        return asking.remix(body, asking.clip("video", body.video))

    return make_video(sent, response, EditBody, ask)


@router.post("/extensions", openapi_extra=of_body(ExtensionBody, files=("video",)))
def extend(sent: WithBody, response: Response) -> Video:
    """Ask for a video to go on."""

    def ask(asking: Asking, body: ExtensionBody) -> list[Asked]:
        return asking.extend(body, asking.clip("video", body.video))

    return make_video(sent, response, ExtensionBody, ask)


@router.post("/{video_id}/remix", openapi_extra=of_body(RemixBody))
def remix(video_id: str, sent: WithBody, response: Response) -> Video:
    """Ask for a film to be made anew."""

    def ask(asking: Asking, body: RemixBody) -> list[Asked]:
        find_job(sent.incoming, video_id)  # not before: it may be deleted when this is sent again
        return asking.remix(body, asking.own(video_id), video_id)

    return make_video(sent, response, RemixBody, ask)


def listed(
    request: Request,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> VideoList:
    """Return a page of the caller's list. Raises ApiError."""
    with server_of(request).database.glancing() as session:
        account_id = let_in(session, request).account_id
        number = 0 if order == "asc" else LAST
        if after is not None:
            cursor = select(Job.number).where(Job.id == after, Job.account_id == account_id)
            number = session.scalar(cursor) if ID.fullmatch(after) else None
            if number is None:
                raise ApiError(400, "after is no video of this list", code="invalid_value", param="after")
        wanted = {"account_id": account_id, "after": number, "most": limit + 1}
        found = list(session.scalars(PAGES[order], wanted))
    data = [video_of(job) for job in found[:limit]]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoList(data=data, first_id=first, last_id=last, has_more=len(found) > limit)


@router.get("")
async def list_videos(page: Annotated[VideoList, Depends(listed)]) -> VideoList:
    """List films by when they were asked for; `after` may have been deleted since."""
    return page


@router.get("/{video_id}")
async def retrieve(found: FoundVideo, response: Response) -> Video:
    """Look at a film; one that failed is found as well, and says why."""
    pace(response)
    return video_of(found.job)


@router.delete("/{video_id}")
def delete(video_id: str, incoming: Known) -> VideoDeleted:
    """Delete a film, and stop whoever is making it."""
    with incoming.database.writing() as session:
        jobs.delete(session, held_job(session, incoming, video_id, lock=True), incoming.database.now())
    return VideoDeleted(id=video_id)


@router.head("/{video_id}/content", include_in_schema=False)
@router.get("/{video_id}/content", response_class=Response, responses=CONTENT)
def content(found: FoundVideo, variant: Variant = "video") -> Response:
    """Answer with a file of a film; the preview can be watched while the film is made."""
    incoming, job = found.incoming, found.job
    if variant == "preview" and job.status == jobs.IN_PROGRESS:
        return _preview(incoming, job)
    if variant == "thumbnail" and job.status == jobs.IN_PROGRESS:
        return _look(incoming, job)
    if job.status != jobs.COMPLETED:
        raise ApiError(404, f"{job.id} is {job.status}: there is no file yet", code="not_ready")
    if (job.expires_at or 0) <= incoming.database.now():
        raise ApiError(404, f"{job.id} has expired", code="expired")
    variant = "video" if variant == "preview" else variant
    file, kind = FILES[variant]
    return _file(incoming, job, f"{job.output}/{file}", kind, f"{job.fence}-{variant}")


def _file(incoming: Incoming, job: Job, key: str, kind: str, version: str) -> Response:
    """Answer with a file of a film."""
    name, etag = f"{job.id}.{key.rpartition('.')[2]}", f"{job.id}-{version}"
    storage = incoming.server.storage
    try:
        return download(incoming.request, storage, key, media_type=kind, name=name, etag=etag)
    except MissingKeyError:
        raise ApiError(404, f"{job.id} has no such file", code="not_found") from None


def _look(incoming: Incoming, job: Job) -> Response:
    """Answer with how the last frame looks at this moment."""
    key = f"{jobs.Lease(job.id, '', job.fence).prefix}/{LOOK}"
    return _file(incoming, job, key, "image/webp", f"{job.fence}-{job.beat}")


def _preview(incoming: Incoming, job: Job) -> Response:
    """Answer with what there is of a film, and what follows, until it or this attempt at it ends."""
    prefix = f"{jobs.Lease(job.id, '', job.fence).prefix}/preview"
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if incoming.request.method == "HEAD":
        answer = Response(headers=headers, media_type="video/mp4")
        del answer.headers["content-length"]  # nobody knows it
        return answer
    watch = Watch(incoming)

    def next_piece(number: int) -> bytes | None:
        try:
            return incoming.server.storage.read_bytes(f"{prefix}/{number:06d}", MAX_PIECE_BYTES)
        except MissingKeyError:
            return None

    def is_over() -> bool:
        if watch.is_out():
            return True
        with incoming.database.glancing() as session:
            now = jobs.find(session, incoming.account_id, job.id)
        return now is None or (now.status, now.fence) != (jobs.IN_PROGRESS, job.fence)

    held = ExitStack()
    held.enter_context(incoming.server.streams.of(incoming.account_id))
    pieces = growing(next_piece, is_over)
    return Stream(pieces, 200, headers, media_type="video/mp4", release=held.close)
