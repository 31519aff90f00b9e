"""A worker: it claims a job, films it, publishes it, and looks for the next; models stay loaded."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from sqlalchemy.exc import SQLAlchemyError

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.files import WriteError
from unstatic.core.memory import give_back_memory, trim_memory
from unstatic.generate.api import Model, load
from unstatic.generate.engine import UnknownArgumentError
from unstatic.generate.engines.connection import ClosedError
from unstatic.generate.load import find
from unstatic.server import jobs, queue
from unstatic.server.database import Database
from unstatic.server.filming import film, plan_of
from unstatic.server.jobs import Lease, LostLeaseError, Made
from unstatic.server.processes import (
    OUT_OF_ORDER,
    clear_scratch,
    die_with_parent,
    scratch_of,
    worker_name,
)
from unstatic.server.pulse import Pulse, ReturnedError
from unstatic.server.settings import Settings
from unstatic.server.spec import read_spec
from unstatic.server.storage import Storage, StorageError
from unstatic.server.stores import open_stores
from unstatic.server.tables import Job
from unstatic.server.telemetry import log_to
from unstatic.server.tracing import Tracing, trace_to

NICENESS = 10  # where cores are shared, answers come before films
DATABASE_PAUSE_S = 1.0
log = logging.getLogger(__name__)


class UnfitError(UnstaticError):
    """The model cannot do what a job asks for; its client reads the message."""


class BrokenModelError(UnstaticError):
    """A model cannot be loaded, whatever a job asks of it."""


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

    def touch(self) -> None:
        """Say that its worker lives: what nobody touches for a day is deleted."""
        os.utime(self.folder.parent)

    def unnamed(self, message: str) -> str:
        """Return a message for strangers, who need not know where files lie."""
        for path in self.given.values():
            message = message.replace(str(path), f"the {path.stem}")
        return message.replace(str(self.folder), "the folder")


class Worker:
    """Makes the jobs of some models, one at a time, until it is asked to stop; the first is loaded at once.

    After that a job may go on for `settings.drain` seconds, and is given back if that is not enough.
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
        hangs: Callable[[], None] = lambda: None,
    ) -> None:
        self.hangs = hangs
        self.tracing = tracing or Tracing()
        self.settings, self.database, self.storage, self.name = settings, database, storage, name
        self.find_model, self.loaded = find_model, dict[str, Model]()
        # Clients call a model by its own name, whatever folder or server it is found in
        self.named = {find(each).manifest.name: each for each in settings.models}
        self.stopped_s = float("inf")

    def run(self) -> None:
        """Work until told to stop. Raises what leaves the process in a state that nobody knows."""
        clear_scratch(self.settings.data)
        self._model(next(iter(self.named)))
        while not self.is_asked_to_stop():
            try:
                worked = self.work_once()
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", type(error).__name__)
                worked = False
                time.sleep(DATABASE_PAUSE_S)
            if not worked:
                time.sleep(self.settings.poll)

    def ask_to_stop(self) -> None:
        """End soon: after this job, or without it when the time to drain is over.

        A signal may call this in the middle of whatever the worker does, so nothing here may take a lock.
        """
        self.stopped_s = min(self.stopped_s, time.monotonic())

    def is_asked_to_stop(self) -> bool:
        """Return whether this worker takes no other job."""
        return self.stopped_s < float("inf")

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
        trim_memory()  # what films free lies in pieces, and grew by 4 MB with each
        return True

    def _make(self, lease: Lease, job: Job) -> None:
        """Film a job and publish it, or say why that failed."""
        try:
            with self._pulse(lease) as pulse, scratch_of(self.settings.data, self.name) as folder:
                made = self._film(job, lease, pulse, Scratch(folder, self.storage))
            self._publish(lease, made)
        except StorageError as error:
            self._fail(lease, error.code, "the server could not store it: ask again later", error)
        except UnfitError as error:
            self._fail(lease, "invalid_request", str(error), error)
        except (BrokenModelError, ClosedError) as error:  # the next job would meet the same
            log.error("cannot make %s here: %s", lease.job_id, _line(error))
            self._give_on(lease)
            raise SystemExit(OUT_OF_ORDER) from error
        except InputError as error:  # of a server that makes the films: its words are for the operator
            message = "the model refused it: ask for another size, length or prompt"
            self._fail(lease, "generation_failed", message, error)
        except (MemoryError, torch.OutOfMemoryError) as error:
            if len(self.loaded) > 1:  # with the memory of the others it may be enough
                self._unload()
                self._give_on(lease)
                return
            self._fail(lease, "out_of_memory", "there was not enough memory: ask for less", error)
            raise SystemExit(OUT_OF_ORDER) from error
        except (LostLeaseError, ReturnedError):
            self._forget(lease)
            raise
        except (OSError, WriteError) as error:  # of the disk of this machine
            self._fail(lease, "storage_failed", "the server could not store it: ask again later", error)
        except UnstaticError as error:
            self._fail(lease, "generation_failed", "it could not be made: ask again later", error)
        except SQLAlchemyError:  # nothing can be written down, and all may count already
            raise
        except Exception as error:  # torch's of a device that may be out of order, or a mistake of ours
            if isinstance(error, RuntimeError) and "allocate memory" in str(error):  # torch's, of the CPU's
                self._fail(lease, "out_of_memory", "there was not enough memory: ask for less", error)
            else:
                log.exception("%s meets what nobody foresaw", lease.job_id)
                self._fail(lease, "internal_error", "the server failed: ask again later", error)
            raise SystemExit(OUT_OF_ORDER) from error

    def _publish(self, lease: Lease, made: Made) -> None:
        """Let the files of a job count; a film is worth asking a database again that did not answer.

        When it raises what is not known to be lost, the files may count already.
        """
        until_s = time.monotonic() + self.settings.patience
        while True:
            try:
                with self.database.writing() as session:
                    jobs.complete(session, lease, made, self.database.now())
                return
            except SQLAlchemyError as error:
                if time.monotonic() > until_s or self._drained_s() >= 0:
                    raise
                log.warning("the database does not take %s yet: %s", lease.job_id, type(error).__name__)
                time.sleep(DATABASE_PAUSE_S)

    def _film(self, job: Job, lease: Lease, pulse: Pulse, scratch: "Scratch") -> Made:
        def tell(percent: int) -> None:
            pulse.tell(percent)
            scratch.touch()

        try:
            model = self._model(job.model)
        except (UnstaticError, OSError) as error:
            raise BrokenModelError(str(error)) from error
        pulse.tell(0)
        try:
            made = plan_of(read_spec(job.spec), model, scratch.local)
        except InputError as error:
            raise UnfitError(scratch.unnamed(str(error))) from error
        pulse.tell(0)
        try:
            filmed = film(model, made, self.storage, lease.prefix, scratch.folder, tell)
        except UnknownArgumentError as error:
            raise UnfitError(str(error)) from error
        said = [scratch.unnamed(each) for each in filmed.warnings]
        return Made(
            facts={**filmed.facts, "text": made.text, "warnings": said}, keep_s=int(self.settings.keep)
        )

    def _pulse(self, lease: Lease) -> Pulse:
        return Pulse(self.database, lease, self.settings, drained_s=self._drained_s, hangs=self.hangs)

    def _drained_s(self) -> float:
        """Return for how long the worker has been over its time to drain, less than 0 while it is not."""
        return time.monotonic() - self.stopped_s - self.settings.drain

    def _model(self, name: str) -> Model:
        """Return a model, which stays loaded until another one needs its memory."""
        if name not in self.loaded:
            try:
                self.loaded[name] = self.find_model(self.named[name])
            except (MemoryError, torch.OutOfMemoryError, InputError):  # also what says there is no room
                if not self.loaded:
                    raise
                self._unload()
                self.loaded[name] = self.find_model(self.named[name])
        return self.loaded[name]

    def _unload(self) -> None:
        log.info("unloads %s: there is not enough memory for several models", ", ".join(self.loaded))
        self.loaded.clear()
        give_back_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, lease: Lease, code: str, message: str, error: BaseException) -> None:
        log.warning("fails %s (%s): %s", lease.job_id, code, _line(error))
        with suppress(LostLeaseError), self.database.writing() as session:
            jobs.fail(session, lease, code, message, self.database.now())
        self._forget(lease)

    def _give_on(self, lease: Lease) -> None:
        """Let a job be tried again, as after the loss of a worker."""
        with suppress(LostLeaseError), self.database.writing() as session:
            jobs.give_up(session, lease, self.settings.attempts, self.database.now())
        self._forget(lease)

    def _forget(self, lease: Lease) -> None:
        """Delete the files of an attempt that does not count; what this leaves is swept."""
        try:
            self.storage.delete_tree(lease.prefix)
        except StorageError as error:
            log.warning("leaves files of %s: %s", lease.job_id, error)


def _line(error: BaseException) -> str:
    """Return what an error says, for the log."""
    return " ".join(str(error).split())[:500]


def leave() -> None:
    """End this process at once, whatever its threads do."""
    os._exit(OUT_OF_ORDER)


def run(settings: Settings, *, name: str | None = None, is_child: bool = False) -> None:
    """Work until SIGTERM or Ctrl-C; a child also ends with its parent."""
    log_to()
    if sys.platform != "win32":
        os.nice(NICENESS)
    stores = open_stores(settings)
    tracing = trace_to(settings.otlp_endpoint)
    worker = Worker(settings, *stores, name=name or worker_name(), tracing=tracing, hangs=leave)

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
