"""A worker: it claims a job, films it, publishes it, and looks for the next; models stay loaded."""

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from sqlalchemy.exc import SQLAlchemyError

from unstatic.core.errors import InputError, UnstaticError
from unstatic.generate.api import Model, load
from unstatic.generate.engine import Pace
from unstatic.generate.load import find
from unstatic.server import jobs, queue
from unstatic.server.database import Database
from unstatic.server.filming import film, plan_of
from unstatic.server.jobs import Lease, LostLeaseError, Made
from unstatic.server.settings import Settings
from unstatic.server.spec import read_spec
from unstatic.server.storage import Storage, StorageError
from unstatic.server.stores import open_stores
from unstatic.server.tables import Job
from unstatic.server.telemetry import log_to
from unstatic.server.tracing import Tracing, trace_to

BEATS_PER_S = 5
BEATS_A_LEASE = 6
NICENESS = 10  # where cores are shared, answers come before films
OUT_OF_ORDER = 70  # the exit code of a worker that must be started anew (EX_SOFTWARE)
log = logging.getLogger(__name__)


class ReturnedError(UnstaticError):
    """The worker was told to stop, and the job goes to another."""


def worker_name() -> str:
    """Return a name that no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Scratch:
    """The folder of one attempt, with what was given for it, each file in a folder of its own."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder, self.storage, self.given = folder, storage, dict[str, Path]()

    def local(self, key: str) -> Path:
        """Return where the file of a key is, once it is here."""
        if key not in self.given:
            folder = self.folder / f"given-{len(self.given)}"
            folder.mkdir()
            path = folder / key.rsplit("/", 1)[-1]
            self.storage.fetch(key, path)
            self.given[key] = path
        return self.given[key]

    def unnamed(self, message: str) -> str:
        """Return a message for strangers, who need not know where files lie."""
        for path in self.given.values():
            message = message.replace(str(path), f"the {path.stem}")
        return message.replace(str(self.folder), "the folder")


class Worker:
    """Makes the jobs of some models, one at a time, until `stop`; the first model is loaded at once.

    After `stop` a job may go on for `settings.drain` seconds, and is given back if that is not enough.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        storage: Storage,
        *,
        name: str,
        find_model: Callable[[str], Model] = load,
        tracing: Tracing | None = None,
    ) -> None:
        self.tracing = tracing or Tracing()
        self.settings, self.database, self.storage, self.name = settings, database, storage, name
        self.find_model, self.loaded = find_model, dict[str, Model]()
        # Clients call a model by its own name, whatever folder or server it is found in
        self.named = {find(each).manifest.name: each for each in settings.models}
        self.stop, self.stopped_s = threading.Event(), float("inf")

    def run(self) -> None:
        """Work until told to stop. Raises what leaves the process in a state that nobody knows."""
        self._model(next(iter(self.named)))
        while not self.stop.is_set():
            try:
                worked = self.work_once()
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", type(error).__name__)
                worked = False
                self.stop.wait(1)
            if not worked:
                self.stop.wait(self.settings.poll)

    def ask_to_stop(self) -> None:
        """End soon: after this job, or without it when the time to drain is over."""
        self.stopped_s = min(self.stopped_s, time.monotonic())
        self.stop.set()

    def work_once(self) -> bool:
        """Make one job, if there is one for this worker, and return whether there was."""
        with self.database.glancing() as session:
            if not queue.is_some_waiting(session, list(self.named)):
                return False
        with self.database.writing() as session:
            found = queue.claim(session, self.name, list(self.named), self.database.now())
        if found is None:
            return False
        lease, job = found
        log.info("begins %s, attempt %d", lease.job_id, job.attempts)
        try:
            with self.tracing.span("job", parent=job.trace) as span:
                self._make(lease, job)
                span.end("job", {"job.kind": job.kind, "job.model": job.model, "job.attempts": job.attempts})
        except LostLeaseError:
            log.info("stops %s: it was taken away", lease.job_id)
        except ReturnedError:
            log.info("gives %s back", lease.job_id)
        return True

    def _make(self, lease: Lease, job: Job) -> None:
        """Film a job and publish it, or say why that failed."""
        try:
            with tempfile.TemporaryDirectory(prefix="unstatic-") as name:
                made = self._film(lease, job, Scratch(Path(name), self.storage))
            # When this raises what is not known to be lost, the files may count already
            with self.database.writing() as session:
                jobs.complete(session, lease, made, self.database.now())
        except StorageError as error:
            self._fail(lease, error.code, "the server could not store it: ask again later", error)
        except InputError as error:
            self._fail(lease, "invalid_request", str(error), error)
        except (MemoryError, torch.OutOfMemoryError) as error:
            self._fail(lease, "out_of_memory", "there was not enough memory: ask for less", error)
            raise SystemExit(OUT_OF_ORDER) from error
        except (LostLeaseError, ReturnedError):
            self._forget(lease)
            raise
        except UnstaticError as error:
            self._fail(lease, "generation_failed", "it could not be made: ask again later", error)
        except RuntimeError as error:  # torch's, of a device that may be out of order
            self._fail(lease, "internal_error", "the server failed: ask again later", error)
            raise SystemExit(OUT_OF_ORDER) from error

    def _film(self, lease: Lease, job: Job, scratch: "Scratch") -> Made:
        pace, reached = Pace(BEATS_PER_S), 0

        def tell(percent: int) -> None:
            nonlocal reached
            reached = max(reached, percent)
            if pace.is_due():
                self._beat(lease, reached)

        try:
            with self._beating(lease):
                model = self._model(job.model)
                made = plan_of(read_spec(job.spec), model, scratch.local)
            filmed = film(model, made, self.storage, lease.prefix, scratch.folder, tell)
        except InputError as error:
            raise InputError(scratch.unnamed(str(error))) from error
        said = [scratch.unnamed(each) for each in filmed.warnings]
        return Made(
            facts={**filmed.facts, "text": made.text, "warnings": said}, keep_s=int(self.settings.keep)
        )

    def _beat(self, lease: Lease, percent: int) -> None:
        """Say that the worker lives. Raises LostLeaseError, ReturnedError when the time to drain is over."""
        if time.monotonic() - self.stopped_s > self.settings.drain:
            with self.database.writing() as session:
                jobs.give_back(session, lease)
            raise ReturnedError(lease.job_id)
        with self.database.writing() as session:
            jobs.beat(session, lease, percent)

    @contextmanager
    def _beating(self, lease: Lease) -> Generator[None]:
        """Say that the worker lives while something is done that tells nothing: loading a model, say."""
        over = threading.Event()

        def keep_on() -> None:
            while not over.wait(self.settings.lease / BEATS_A_LEASE):
                try:
                    with self.database.writing() as session:
                        jobs.beat(session, lease, 0)
                except (LostLeaseError, SQLAlchemyError):
                    return

        thread = threading.Thread(target=keep_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _model(self, name: str) -> Model:
        if name not in self.loaded:
            self.loaded[name] = self.find_model(self.named[name])
        return self.loaded[name]

    def _fail(self, lease: Lease, code: str, message: str, error: BaseException) -> None:
        log.warning("fails %s (%s): %s", lease.job_id, code, " ".join(str(error).split())[:500])
        with suppress(LostLeaseError), self.database.writing() as session:
            jobs.fail(session, lease, code, message, self.database.now())
        self._forget(lease)

    def _forget(self, lease: Lease) -> None:
        """Delete the files of an attempt that does not count; what this leaves is swept."""
        try:
            self.storage.delete_tree(lease.prefix)
        except StorageError as error:
            log.warning("leaves files of %s: %s", lease.job_id, error)


def die_with_parent() -> None:
    """Leave when the process that started this one is gone: it holds the other end of stdin."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not by Python's buffer, whose lock would be held at the end
            pass
        os._exit(OUT_OF_ORDER)

    threading.Thread(target=wait, daemon=True).start()


def run(settings: Settings, *, name: str | None = None, is_child: bool = False) -> None:
    """Work until SIGTERM or Ctrl-C; a child also ends with its parent."""
    log_to()
    if sys.platform != "win32":
        os.nice(NICENESS)
    stores = open_stores(settings)
    tracing = trace_to(settings.otlp_endpoint)
    worker = Worker(settings, *stores, name=name or worker_name(), tracing=tracing)

    def stop(_: int, __: object) -> None:
        worker.ask_to_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if is_child:
        die_with_parent()
    try:
        worker.run()
    finally:
        tracing.close()
        stores.database.close()
