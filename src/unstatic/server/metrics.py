"""What Prometheus is told: requests and webhooks as they are counted here, jobs as the database has them.

Jobs are made by other processes, and several servers may share a database: so all of them say the same of
jobs, also after a restart.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from unstatic.server.database import Database
from unstatic.server.jobs import ENDED, IN_PROGRESS, QUEUED
from unstatic.server.tables import ACTIVE, Job

REQUEST_BUCKETS_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
JOB_BUCKETS_S = (5, 15, 30, 60, 120, 300, 600, 1_800, 3_600)
FRESH_S = 10
# What is written just now may have a lower number than what can be seen
LATE = 1_000


class Metrics:
    """Every figure of one server, in a registry of its own."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "unstatic_requests",
            "Requests that were answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "unstatic_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("route", "method"),
            buckets=REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.worker_restarts = Counter(
            "unstatic_worker_restarts", "Workers that ended and were begun anew.", registry=self.registry
        )
        self.webhooks = Counter(
            "unstatic_webhook_attempts", "How sending of webhooks ended.", ("result",), registry=self.registry
        )
        self.registry.register(_Jobs(database, monotonic))

    def count_webhook(self, result: str) -> None:
        """Count what a `outbox.Sender` says."""
        self.webhooks.labels(result).inc()

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self.registry)


class _Jobs(Collector):
    """Reads the figures of jobs from the database, every `FRESH_S` at most."""

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self.database, self.monotonic = database, monotonic
        self._read: tuple[float, list[Metric]] | None = None
        self._counted, self._sums = 0, {status: [0] * (2 + len(JOB_BUCKETS_S)) for status in ENDED}
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Return them; where the database does not answer, only that."""
        up = GaugeMetricFamily("unstatic_database_up", "Whether the database answers.")
        found: list[Metric] = []
        with self._lock, suppress(SQLAlchemyError):
            found = self._fresh()
        up.add_metric([], bool(found))
        return [up, *found]

    def _fresh(self) -> list[Metric]:
        if self._read is None or self.monotonic() - self._read[0] >= FRESH_S:
            self._read = None
            self._read = (self.monotonic(), [*self._of_active(), *self._of_ended()])
        return self._read[1]

    def _of_active(self) -> list[Metric]:
        is_waiting = Job.worker.is_(None)
        wanted = (
            select(Job.status, func.count(), func.sum(case((is_waiting, 1), else_=0)))
            .add_columns(func.min(case((is_waiting, Job.created_at))))
            .where(ACTIVE)
            .group_by(Job.status)
        )
        with self.database.reading() as session:
            rows = {row[0]: tuple(row) for row in session.execute(wanted)}
        active = GaugeMetricFamily("unstatic_jobs_active", "Jobs that have not ended.", labels=["status"])
        for status in (QUEUED, IN_PROGRESS):
            active.add_metric([status], rows.get(status, (status, 0))[1])
        waiting = sum(row[2] for row in rows.values())
        oldest = min((row[3] for row in rows.values() if row[3] is not None), default=None)
        age_s = 0 if oldest is None else max(self.database.now() - oldest, 0)
        return [
            active,
            GaugeMetricFamily("unstatic_jobs_waiting", "Jobs that nobody works on.", value=waiting),
            GaugeMetricFamily("unstatic_oldest_waiting_seconds", "Age of the oldest of them.", value=age_s),
        ]

    def _of_ended(self) -> list[Metric]:
        """Count all that ever ended: their rows stay, so that this only grows."""
        sums = self._count()
        ended = CounterMetricFamily("unstatic_jobs_ended", "Jobs that have ended.", labels=["status"])
        seconds = HistogramMetricFamily(
            "unstatic_job_seconds", "Seconds from the first work on a job to its end.", labels=["status"]
        )
        for status, (count, total_s, *counts) in sums.items():
            ended.add_metric([status], count)
            buckets = [(str(float(edge)), n) for edge, n in zip(JOB_BUCKETS_S, counts, strict=True)]
            seconds.add_metric([status], [*buckets, ("+Inf", count)], sum_value=float(total_s))
        return [ended, seconds]

    def _count(self) -> dict[str, list[int]]:
        """Return by its end how many jobs there were, their seconds, and how many within each bucket.

        Nothing changes any more before the oldest job that is active: that is counted once, and kept.
        """
        with self.database.reading() as session:
            last = session.scalar(select(func.max(Job.number))) or 0
            active = select(func.min(Job.number)).where(ACTIVE, Job.number > self._counted)
            oldest = session.scalar(active) or last + 1
            settled = max(self._counted, min(oldest - 1, last - LATE))
            self._sums = _added(self._sums, _between(session, self._counted, settled))
            self._counted = settled
            return _added(self._sums, _between(session, settled, last))


def _between(session: Session, after: int, last: int) -> dict[str, list[int]]:
    """Return the sums of what has ended of the jobs with the numbers after one, up to another."""
    took_s = Job.completed_at - Job.started_at
    took_s = case((took_s < 0, 0), else_=func.coalesce(took_s, 0))  # by a clock that was set back
    within = [func.sum(case((took_s <= bucket, 1), else_=0)) for bucket in JOB_BUCKETS_S]
    wanted = (
        select(Job.status, func.count(), func.sum(took_s), *within)
        .where(Job.number > after, Job.number <= last, Job.status.in_(ENDED))
        .group_by(Job.status)
    )
    return {row[0]: [int(each) for each in row[1:]] for row in session.execute(wanted)}


def _added(sums: dict[str, list[int]], more: dict[str, list[int]]) -> dict[str, list[int]]:
    return {
        status: [a + b for a, b in zip(each, more.get(status, [0] * len(each)), strict=True)]
        for status, each in sums.items()
    }
