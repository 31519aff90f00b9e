"""What whoever operates the server asks: whether it lives, whether it can work, and how it fares."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from sqlalchemy import select

from unstatic.server.errors import ApiError
from unstatic.server.routes.incoming import ERRORS, caller_of, check_origin, server_of

router = APIRouter(tags=["operations"], responses=ERRORS)


class State(BaseModel):
    """All is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> State:
    """Say that the process answers; no thread is needed for it."""
    return State()


@router.get("/readyz")
def readyz(request: Request) -> State:
    """Say that the database and the storage answer, too."""
    server = server_of(request)
    with server.database.reading() as session:
        session.execute(select(1))
    server.storage.exists("ready")  # no matter whether it is there
    return State()


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Tell Prometheus how many jobs and requests there are; nobody's name is among it.

    It asks from this machine, by a name of this machine, or with a key of the tier admin.
    """
    if not _is_local(request) and caller_of(request).caller.tier != "admin":
        message = "figures are for this machine and for keys of the tier admin"
        raise ApiError(403, message, code="tier_limit")
    return Response(server_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _is_local(request: Request) -> bool:
    """Return whether a program of this machine asks, and no page in its browser that another host sent."""
    try:
        check_origin(request)
    except ApiError:
        return False
    return True
