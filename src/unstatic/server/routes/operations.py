"""What whoever operates the server asks: whether it lives, whether it can work, and how it fares."""

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unstatic.server.database import Database
from unstatic.server.jobs import COMPLETED, FAILED, IN_PROGRESS, QUEUED
from unstatic.server.routes.incoming import ERRORS, server_of
from unstatic.server.tables import Job

router = APIRouter(tags=["operations"], responses=ERRORS)
BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, float("inf"))


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> dict[str, str]:
    """Say that the database answers, too."""
    with server_of(request).database.reading() as session:
        session.execute(select(1))
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Tell Prometheus how many jobs and requests there are; nobody's name is among it."""
    registry = request.app.state.metrics
    assert isinstance(registry, CollectorRegistry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class JobsByStatus(Collector):
    """Counts jobs when it is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def describe(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily("unstatic_jobs", "Jobs by kind and status.", labels=["kind", "status"])]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        (family,) = self.describe()
        counted = select(Job.kind, Job.status, func.count()).group_by(Job.kind, Job.status)
        with self.database.reading() as session:
            found = {(kind, status): count for kind, status, count in session.execute(counted)}
        for kind in ("video", "image"):
            for status in (QUEUED, IN_PROGRESS, COMPLETED, FAILED):
                family.add_metric([kind, status], float(found.get((kind, status), 0)))
        yield family


class Measured:
    """Counts requests by route, not by address: ids are nobody's business."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        labels = ["method", "route", "status"]
        self.app = app
        self.count = Counter("unstatic_requests", "Requests that were answered.", labels, registry=registry)
        self.seconds = Histogram(
            "unstatic_request_seconds",
            "Seconds until an answer began.",
            ["route"],
            registry=registry,
            buckets=BUCKETS_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun_s = time.monotonic()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in METHODS else "other"
                self.count.labels(method, route, message["status"]).inc()
                self.seconds.labels(route).observe(time.monotonic() - begun_s)
            await send(message)

        await self.app(scope, receive, counted)


METHODS = ("GET", "HEAD", "POST", "DELETE")
