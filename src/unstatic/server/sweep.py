"""Deleting what nobody needs any more: films that expired, and what attempts, uploads and crashes left.

The database says what counts, so a sweeper may be killed anywhere: it looks again. What a job has committed
stays until the film expires or is deleted, and then until no job that is active takes it up. Files of jobs
that the database does not know are left alone: they might be another server's. A clip of a character stays
as long as a row that is not deleted, or an active job, names it.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice

from sqlalchemy import ColumnElement, Text, cast, delete, or_, select, tuple_, update
from sqlalchemy.orm import Session

from unstatic.generate.load import find
from unstatic.server import queue
from unstatic.server.database import Database
from unstatic.server.jobs import COMPLETED, ENDED
from unstatic.server.settings import Settings
from unstatic.server.storage import Storage, StorageError, Stored
from unstatic.server.tables import ACTIVE, BODIES, PICTURES, Character, Job, Remembered

AT_ONCE = 100
FILES_AT_ONCE = 1_000
DAY_S = 86_400
# Who follows a film that is being made still reads its pieces for a while
LINGER_S = 600
# By a clock that was set lately nothing expires: it might be wrong
JUMP_S, STEADY_S = 60, 600
ROUND_S = 3_600

log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps a little with every `look`, and `sweep` until little is left.

    Any number of sweepers share a database and a storage.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database, self.storage, self.settings, self.monotonic = database, storage, settings, monotonic
        # Jobs call a model by its own name
        self.offered = frozenset(find(each).manifest.name for each in settings.models)
        self._after, self._after_character, self._warned = 0, "", False
        self._offset_s, self._jumped_s = math.nan, 0.0
        self._rounds = {root: _Round(-math.inf) for root in ("jobs", "uploads", "characters")}
        self._unnamed_since_s: dict[str, float] = {}

    def sweep(self) -> None:
        """Look again as long as there is much to do."""
        while self.look() >= AT_ONCE:
            pass

    def look(self) -> int:
        """Sweep some of what is due, and return how many jobs, attempts, uploads and old answers it was."""
        steady = self._clock_is_steady()
        swept = self._sweep_jobs(steady) + self._sweep_attempts(self._some_files("jobs", steady))
        if steady:
            swept += self._sweep_uploads(self._some_files("uploads", steady)) + self._forget()
            swept += self._sweep_characters() + self._sweep_clips(self._some_files("characters", steady))
            swept += self._end_unoffered()
        return swept

    def _end_unoffered(self) -> int:
        """Fail jobs that waited long for a model that nobody offers, and warn of those that begin to wait."""
        now = self.database.now()
        with self.database.reading() as session:
            waiting = queue.unoffered(session, self.offered, now)
            over = queue.unoffered(session, self.offered, now - int(self.settings.unoffered))
        if waiting and not self._warned:
            log.warning("jobs wait for models that nobody offers (%s): after a while they fail", waiting[0])
        self._warned = bool(waiting)
        ended = 0
        for job_id in over:  # one by one: their accounts are held in no order
            with self.database.writing() as session:
                ended += queue.end_unoffered(session, job_id, now)
        return ended

    def _clock_is_steady(self) -> bool:
        """Return whether the clock went on as time does, for a while."""
        now_s = self.monotonic()
        offset_s = self.database.clock() - now_s
        if not abs(offset_s - self._offset_s) <= JUMP_S:
            self._jumped_s = now_s
        self._offset_s = offset_s
        return now_s - self._jumped_s >= STEADY_S

    def _sweep_jobs(self, steady: bool) -> int:
        """Sweep what jobs left that have ended, one after the other by their numbers."""
        now = self.database.now()
        due = _is_due(now, steady=steady)
        wanted = select(Job).where(due, Job.number > self._after).order_by(Job.number).limit(AT_ONCE)
        with self.database.reading() as session:
            found = session.scalars(wanted).all()
        self._after = found[-1].number if len(found) == AT_ONCE else 0
        tidied: list[int] = []
        swept: list[int] = []
        for job in found:
            expired = steady and job.expires_at is not None and job.expires_at <= now
            over = expired or job.deleted_at is not None or job.status != COMPLETED
            try:
                if self._sweep_job(job, over=over):
                    (swept if over else tidied).append(job.number)
            except StorageError as error:
                log.warning("%s is not swept yet: %s", job.id, error)
        with self.database.writing() as session:
            _mark(session, tidied, {"tidied_at": now})
            _mark(session, swept, {"tidied_at": now, "swept_at": now})
        return len(tidied) + len(swept)

    def _sweep_job(self, job: Job, *, over: bool) -> bool:
        """Delete what a job left, all of it if it is `over`. Returns False if somebody still needs it."""
        if (inputs := job.spec.get("inputs")) is not None and not self._named({inputs}):
            self.storage.delete_tree(inputs)
        folder = f"jobs/{job.id}"
        if over:
            if self._is_taken_up(job):
                return False
            self.storage.delete_tree(folder)
            return True
        attempts = {_attempt_of(each.key) for each in self.storage.list(folder)}
        for attempt in attempts - {job.output}:
            self.storage.delete_tree(attempt)
        self.storage.delete_tree(f"{job.output}/preview")
        return True

    def _is_taken_up(self, job: Job) -> bool:
        """Return whether an active job begins with this one's film."""
        return self._is_in_use(job.account_id, f"jobs/{job.id}")

    def _is_in_use(self, account_id: str, folder: str) -> bool:
        """Return whether an active job of an account names a file of a folder."""
        names_it = cast(Job.spec, Text).contains(f'"{folder}/', autoescape=True)
        using = select(Job.number).where(Job.account_id == account_id, ACTIVE, names_it).limit(1)
        with self.database.reading() as session:
            return session.scalar(using) is not None

    def _sweep_attempts(self, files: list[Stored]) -> int:
        """Delete attempts that do not count and were written after their job was swept, or never swept."""
        attempts = {_attempt_of(each.key) for each in files}
        owners = {attempt.split("/")[1] for attempt in attempts}
        with self.database.reading() as session:
            rows = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(owners)))}
        swept = 0
        for attempt in sorted(attempts):
            job = rows.get(attempt.split("/")[1])
            if job is not None and _is_orphan(attempt, job) and not self._is_taken_up(job):
                swept += self._try_to_delete(attempt)
        return swept

    def _sweep_uploads(self, files: list[Stored]) -> int:
        """Delete uploads of requests that broke off before there was a job, or whose job is deleted."""
        old = {_folder_of(each.key) for each in files if each.age_s > DAY_S}
        return sum(self._try_to_delete(folder) for folder in sorted(old - self._named(old)))

    def _sweep_characters(self) -> int:
        """Delete clips of characters that were deleted a while ago, and rows of those after a day."""
        now = self.database.now()
        due = (Character.deleted_at <= now - LINGER_S) & (Character.clip != "")
        wanted = select(Character).where(due, Character.id > self._after_character)
        with self.database.reading() as session:
            found = session.scalars(wanted.order_by(Character.id).limit(AT_ONCE)).all()
        self._after_character = found[-1].id if len(found) == AT_ONCE else ""
        swept: list[str] = []
        for row in found:
            folder = _folder_of(row.clip)
            if not self._is_in_use(row.account_id, folder) and self._try_to_delete(folder):
                swept.append(row.id)
        over = (Character.deleted_at <= now - DAY_S) & (Character.clip == "")
        with self.database.writing() as session:
            session.execute(update(Character).where(Character.id.in_(swept)).values(clip=""))
            session.execute(delete(Character).where(over))
        return len(swept)

    def _sweep_clips(self, files: list[Stored]) -> int:
        """Delete clips that no row names, a while after they were seen first: requests broke off."""
        old = {_folder_of(each.key): each.key.split("/")[1] for each in files if each.age_s > DAY_S}
        kept = select(Character.clip).where(Character.account_id.in_(set(old.values())))
        with self.database.reading() as session:
            named = {_folder_of(clip) for clip in session.scalars(kept)}
        swept, now_s = 0, self.monotonic()
        for folder in sorted(old.keys() - named):
            since_s = self._unnamed_since_s.setdefault(folder, now_s)
            if now_s - since_s >= LINGER_S and not self._is_in_use(old[folder], folder):
                del self._unnamed_since_s[folder]
                swept += self._try_to_delete(folder)
        return swept

    def _named(self, folders: set[str]) -> set[str]:
        """Return which folders of uploads an active job reads."""
        name = Job.spec["inputs"].as_string()
        with self.database.reading() as session:
            return set(session.scalars(select(name).where(ACTIVE, name.in_(folders))))

    def _try_to_delete(self, prefix: str) -> int:
        try:
            self.storage.delete_tree(prefix)
        except StorageError as error:
            log.warning("%s is not swept yet: %s", prefix, error)
            return 0
        return 1

    def _some_files(self, root: str, steady: bool) -> list[Stored]:
        """Return the next files of a round through the storage, which begins now and then.

        By a clock that is right it also takes what was never finished.
        """
        a_round = self._rounds[root]
        if a_round.files is None:
            if self.monotonic() < a_round.next_s:
                return []
            a_round.next_s, a_round.files = self.monotonic() + ROUND_S, self.storage.list(root)
            a_round.halves = self.storage.sweep(root, DAY_S) if steady else iter(())
        found: list[Stored] = []
        halves = 0
        try:
            found = list(islice(a_round.files, FILES_AT_ONCE))
            halves = sum(1 for _ in islice(a_round.halves, FILES_AT_ONCE))
        except StorageError as error:
            log.warning("%s cannot be listed: %s", root, error)
        if max(len(found), halves) < FILES_AT_ONCE:
            a_round.files = None
        return found

    def _forget(self) -> int:
        """Delete answers to keys, and to what is sent again without one, that are remembered no longer.

        Pictures are waited for, so that their clients may ask again for as long as there are keys.
        """
        now, written = self.database.now(), Remembered.created_at
        again = BODIES & ~PICTURES & (written < now - self.settings.retry_window)
        return self._forget_some(written < now - self.settings.remember) or self._forget_some(again)

    def _forget_some(self, old: ColumnElement[bool]) -> int:
        names = (Remembered.account_id, Remembered.key)
        with self.database.writing() as session:
            some = select(*names).where(old).limit(AT_ONCE)
            gone = delete(Remembered).where(tuple_(*names).in_(some)).returning(Remembered.key)
            return len(session.execute(gone).all())


class _Round:
    """A way through all files below a prefix: those still to come, and when the next one begins.

    `halves` deletes what was never finished.
    """

    def __init__(self, next_s: float) -> None:
        self.files: Iterator[Stored] | None = None
        self.halves: Iterator[None] = iter(())
        self.next_s = next_s


def _is_due(now: int, *, steady: bool) -> ColumnElement[bool]:
    """Take ended jobs that left something; films that are deleted, or expired by a clock that is right."""
    ended = Job.tidied_at.is_(None) & (Job.completed_at <= now - LINGER_S)
    expired = [Job.expires_at <= now] if steady else []
    return Job.swept_at.is_(None) & Job.status.in_(ENDED) & or_(ended, Job.deleted_at.is_not(None), *expired)


def _is_orphan(attempt: str, job: Job) -> bool:
    """Return whether an attempt can never count (any more)."""
    fence = attempt.split("/")[2]
    if job.status not in ENDED:
        return fence.isdecimal() and int(fence) < job.fence
    return job.swept_at is not None or job.deleted_at is not None or attempt != job.output


def _folder_of(key: str) -> str:
    """Return what was sent together: uploads/<account>/<random> or characters/<account>/<random>."""
    return "/".join(key.split("/")[:3])


def _attempt_of(key: str) -> str:
    """Return what a file belongs to: jobs/<id>/<fence>."""
    return "/".join((*key.split("/"), "", "")[:3])


def _mark(session: Session, numbers: list[int], values: dict[str, int]) -> None:
    if numbers:
        session.execute(update(Job).where(Job.number.in_(numbers)).values(values))
