"""What the frozen contract does not have: stopping a film, following it, and tasks with several videos."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from unstatic.server import jobs
from unstatic.server.asking import Asking
from unstatic.server.content import Stream
from unstatic.server.errors import ApiError
from unstatic.server.jobs import Asked
from unstatic.server.routes.incoming import (
    ERRORS,
    Incoming,
    Known,
    Watch,
    WithBody,
    find_job,
    held_job,
    make_video,
)
from unstatic.server.schemas import (
    BlendBody,
    LoopBody,
    RecutBody,
    StoryboardBody,
    Video,
    of_body,
    video_of,
)
from unstatic.server.tables import Job

router = APIRouter(prefix="/v1/videos", tags=["extras"], responses=ERRORS)
LOOK_S, SILENT_S = 0.25, 15.0


@router.post("/storyboards", openapi_extra=of_body(StoryboardBody))
def storyboard(sent: WithBody, response: Response) -> Video:
    """Ask for a film of several cards."""
    return make_video(sent, response, StoryboardBody, lambda asking, body: asking.storyboard(body))


@router.post("/loops", openapi_extra=of_body(LoopBody, files=("video",)))
def loop(sent: WithBody, response: Response) -> Video:
    """Ask for a video to flow into its own beginning."""

    def ask(asking: Asking, body: LoopBody) -> list[Asked]:
        return asking.loop(body, asking.clip("video", body.video))

    return make_video(sent, response, LoopBody, ask)


@router.post("/blends", openapi_extra=of_body(BlendBody, files=("video", "other")))
def blend(sent: WithBody, response: Response) -> Video:
    """Ask for what leads from one video to another."""

    def ask(asking: Asking, body: BlendBody) -> list[Asked]:
        return asking.blend(body, asking.clip("video", body.video), asking.clip("other", body.other))

    return make_video(sent, response, BlendBody, ask)


@router.post("/recuts", openapi_extra=of_body(RecutBody, files=("video",)))
def recut(sent: WithBody, response: Response) -> Video:
    """Ask for a span of a video, and what is new on its sides."""

    def ask(asking: Asking, body: RecutBody) -> list[Asked]:
        return asking.recut(body, asking.clip("video", body.video))

    return make_video(sent, response, RecutBody, ask)


@router.post("/{video_id}/cancel")
def cancel(video_id: str, incoming: Known) -> Video:
    """Stop a film: it is failed then, with the code "cancelled". One that has ended stays as it is."""
    with incoming.database.writing() as session:
        job = held_job(session, incoming, video_id, lock=True)
        jobs.cancel(session, job, incoming.database.now())
        return video_of(job)


@router.get("/{video_id}/events", response_class=StreamingResponse)
async def events(video_id: str, incoming: Known) -> StreamingResponse:
    """Follow a film (server-sent events): `progress` whenever it changed, and its end."""
    await run_in_threadpool(find_job, incoming, video_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    held = ExitStack()
    held.enter_context(incoming.server.streams.of(incoming.account_id))
    told = _told(incoming, video_id)
    return Stream(told, 200, headers, media_type="text/event-stream", release=held.close)


async def _told(incoming: Incoming, video_id: str) -> AsyncGenerator[str]:
    """Yield events until the film has ended or is deleted; a comment now and then keeps the line open."""
    last, silent_s, watch = None, 0.0, Watch(incoming)

    def look() -> dict[str, Any] | None:
        return None if watch.is_out() else _state(incoming, video_id)

    while True:
        try:
            said = await run_in_threadpool(look)
        except ApiError:
            yield "event: deleted\ndata: {}\n\n"
            return
        if said is None:
            return
        if (said["status"], said["progress"]) != last:
            last, silent_s = (said["status"], said["progress"]), 0.0
            ended = said["status"] in jobs.ENDED
            yield f"event: {said['status'] if ended else 'progress'}\ndata: {json.dumps(said)}\n\n"
            if ended:
                return
        elif silent_s >= SILENT_S:
            silent_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_S)
        silent_s += LOOK_S


def _state(incoming: Incoming, video_id: str) -> dict[str, Any]:
    """Return what is told of a film."""
    job = find_job(incoming, video_id)
    content = f"/v1/videos/{job.id}/content?variant="
    is_made = job.status == jobs.IN_PROGRESS
    error = {"code": job.error_code, "message": job.error_message} if job.status == jobs.FAILED else None
    return {
        "id": job.id,
        "status": job.status,
        "progress": job.progress,
        "time_left_s": time_left_s(job, incoming.database.now()),
        "preview": f"{content}preview" if is_made else None,
        "picture": f"{content}thumbnail" if is_made else None,
        "error": error,
    }


def time_left_s(job: Job, now: int) -> int | None:
    """Return how long a film will take yet, if it goes on as it went so far; nothing is known at first."""
    if job.status != jobs.IN_PROGRESS or not job.progress or job.started_at is None:
        return None
    return max(0, now - job.started_at) * (100 - job.progress) // job.progress
