"""/v1/images: pictures, made as films are, while the request waits.

Whoever hangs up and asks again waits for the same pictures, as long as they are made and a while longer
(`idempotency.py`). An address of a picture carries the time until which it is good and a signature
(HMAC-SHA256), so that a page can show it without a key.
"""

import asyncio
import base64
import hashlib
import hmac
import io
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from PIL import Image
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from unstatic.server import jobs
from unstatic.server.errors import ApiError, not_found
from unstatic.server.routes.incoming import (
    ERRORS,
    ID,
    Incoming,
    Sent,
    WithBody,
    check_query,
    make_jobs,
    server_of,
)
from unstatic.server.schemas import ImageBody, Picture, Pictures, of_body, read_body
from unstatic.server.state import Server
from unstatic.server.storage import MissingKeyError
from unstatic.server.tables import Job

router = APIRouter(prefix="/v1/images", tags=["images"], responses=ERRORS)
LONGEST_S, GOOD_S, AGAIN_S = 600.0, 3600, 5
# The longer pictures take, the less often somebody looks whether they are there
FIRST_LOOK_S, SLOWER, SLOWEST_LOOK_S = 0.1, 1.5, 1.0
MAX_PICTURE_BYTES = 200_000_000
PICTURE = "picture.png"
Format = Literal["png", "jpeg", "webp"]


@router.post("/generations", openapi_extra=of_body(ImageBody))
async def generate(sent: WithBody) -> Pictures:
    """Make pictures, and answer when they are there."""
    return await _made(sent, edit=False)


@router.post("/edits", openapi_extra=of_body(ImageBody, files=("image", "mask")))
async def edit(sent: WithBody) -> Pictures:
    """Make pictures from one, or what a mask marks in it."""
    return await _made(sent, edit=True)


@router.get("/{image_id}", response_class=Response)
def show(
    request: Request,
    image_id: str,
    expires: Annotated[int, Query(ge=0, le=2**40)],
    signature: Annotated[str, Query(max_length=64)],
    output_format: Annotated[Format, Query(alias="format")] = "png",
) -> Response:
    """Answer with a picture at a signed address."""
    check_query(request)
    server = server_of(request)
    right = hmac.compare_digest(_signature(server, image_id, expires, output_format), signature.encode())
    if not right or expires <= server.database.now():
        raise not_found("image", image_id)
    with server.database.reading() as session:
        wanted = select(Job).where(Job.id == image_id, Job.deleted_at.is_(None))
        job = session.scalars(wanted).one_or_none() if ID.fullmatch(image_id) else None
    if job is None or job.status != jobs.COMPLETED:
        raise not_found("image", image_id)
    server.rates.take(f"image {job.account_id}")  # whoever shows it: an address may be anywhere
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
    return Response(
        _content(server, job, output_format), media_type=f"image/{output_format}", headers=headers
    )


async def _made(sent: Sent, *, edit: bool) -> Pictures:
    incoming = sent.incoming
    body = read_body(ImageBody, sent.form.fields)
    with incoming.server.waits.of(incoming.account_id):  # who may not wait has nothing made, nor pays for it
        asked = await run_in_threadpool(make_jobs, sent, body, lambda asking: asking.images(body, edit=edit))
        done = await _ended(incoming, [job.id for job in asked])
    for job in done:
        if job.status != jobs.COMPLETED:
            code, message = job.error_code or "failed", job.error_message or "it could not be made"
            raise ApiError(400 if code == "content_policy_violation" else 500, message, code=code)
    pictures = [await run_in_threadpool(_picture, incoming, job, body) for job in done]
    return Pictures(
        created=incoming.database.now(), data=pictures, output_format=body.output_format, size=asked[0].size
    )


async def _ended(incoming: Incoming, ids: list[str]) -> list[Job]:
    """Wait until jobs have ended; no thread is held meanwhile. Raises ApiError 503 after a long time."""
    until_s, pause_s = time.monotonic() + LONGEST_S, FIRST_LOOK_S
    while time.monotonic() < until_s:
        found = await run_in_threadpool(_look, incoming, ids)
        if len(found) < len(ids):
            raise not_found("image", ids[0])
        if all(job.status in jobs.ENDED for job in found):
            return found
        if await incoming.request.is_disconnected():
            raise ClientDisconnect
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * SLOWER, SLOWEST_LOOK_S)
    message = "the pictures are not there yet: ask again, they are being made"
    raise ApiError(503, message, code="not_ready", retry_after_s=AGAIN_S)


def _look(incoming: Incoming, ids: list[str]) -> list[Job]:
    with incoming.database.glancing() as session:
        wanted = select(Job).where(
            Job.id.in_(ids), Job.account_id == incoming.account_id, Job.deleted_at.is_(None)
        )
        return list(session.scalars(wanted.order_by(Job.number)))


def _picture(incoming: Incoming, job: Job, body: ImageBody) -> Picture:
    server = incoming.server
    if body.response_format == "b64_json":
        return Picture(b64_json=base64.b64encode(_content(server, job, body.output_format)).decode())
    expires = incoming.database.now() + GOOD_S
    signature = _signature(server, job.id, expires, body.output_format).decode()
    base = (server.settings.public_url or str(incoming.request.base_url)).rstrip("/")
    query = f"expires={expires}&format={body.output_format}&signature={signature}"
    return Picture(url=f"{base}/v1/images/{job.id}?{query}")


def _content(server: Server, job: Job, output_format: str) -> bytes:
    """Return a picture in the format that was asked for. Raises ApiError 404 if it has expired."""
    expired = ApiError(404, f"{job.id} has expired: ask for it anew", code="expired")
    if (job.expires_at or 0) <= server.database.now():
        raise expired
    try:
        data = server.storage.read_bytes(f"{job.output}/{PICTURE}", MAX_PICTURE_BYTES)
    except MissingKeyError:  # it was swept
        raise expired from None
    if output_format == "png":
        return data
    out = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.convert("RGB").save(out, output_format.upper(), quality=95)
    return out.getvalue()


def _signature(server: Server, image_id: str, expires: int, output_format: str) -> bytes:
    said = f"{image_id} {expires} {output_format}".encode(errors="surrogateescape")
    return hmac.new(server.secret, said, hashlib.sha256).hexdigest().encode()
