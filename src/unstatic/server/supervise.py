"""What goes on beside the answers: workers that are kept alive, lost ones, and chores."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from unstatic.core.errors import UnstaticError
from unstatic.server.database import Database
from unstatic.server.processes import clear_scratch, end_orphans, is_dead_here, worker_name
from unstatic.server.queue import Reaper
from unstatic.server.settings import Settings
from unstatic.server.tables import HELD, Job

LOOK_S, LOOKS_A_LEASE = 0.2, 6
FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S, GRACE_S = 0.2, 30.0, 60.0, 5.0
log = logging.getLogger(__name__)


@runtime_checkable
class Pool(Protocol):
    """Workers that somebody keeps alive."""

    def look_after(self) -> list[str]:
        """Start what does not run, and return the names of workers that have died since the last look."""
        ...

    def end(self, name: str) -> None:
        """Stop a worker at once if it is one of these: it hangs."""
        ...

    def stop(self) -> list[str]:
        """Let all workers end their jobs or give them back, stop them, and return their names."""
        ...


@dataclass(slots=True)
class Chore:
    """Something that is done every `every_s` seconds, whatever happens to it."""

    every_s: float
    do: Callable[[], object]
    due_s: float = field(default=0.0)


class Household:
    """Looks after the workers in a thread of its own; each of the chores has one too, as it may take long."""

    def __init__(
        self,
        pool: Pool,
        reaper: Reaper,
        chores: Sequence[Chore],
        *,
        count_deaths: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.pool, self.reaper, self.count_deaths = pool, reaper, count_deaths
        self.dead: list[str] = []
        looking = Chore(reaper.lease_s / LOOKS_A_LEASE, self._look_for_lost)
        self.over = threading.Event()
        self.thread = self._thread("household", Chore(LOOK_S, self._look_after_workers), looking)
        self.chores = [self._thread("chore", each) for each in chores]

    def start(self) -> None:
        """Begin, with what died with the server before this one."""
        for name in dead_of_this_machine(self.reaper.database):
            self.reaper.take_from(name)
        for thread in (self.thread, *self.chores):
            thread.start()

    def stop(self) -> None:
        """End the workers and the threads; a chore that takes too long may be broken off anywhere."""
        self.over.set()
        self.thread.join()
        for name in self.pool.stop():
            self.reaper.take_from(name)
        until_s = time.monotonic() + GRACE_S
        for thread in self.chores:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _thread(self, name: str, *chores: Chore) -> threading.Thread:
        return threading.Thread(target=self._run, args=(chores,), name=name, daemon=True)

    def _run(self, chores: Sequence[Chore]) -> None:
        while not self.over.wait(LOOK_S / 2):
            now_s = time.monotonic()
            for chore in chores:
                if now_s >= chore.due_s:
                    chore.due_s = now_s + chore.every_s
                    self._do(chore)

    def _do(self, chore: Chore) -> None:
        try:
            chore.do()
        except (SQLAlchemyError, UnstaticError, OSError) as error:  # and again next time
            log.warning("a chore failed (%s), it is tried again", type(error).__name__)
        except Exception:  # a mistake of ours: the other chores go on, this one too next time
            log.exception("a chore failed")

    def _look_after_workers(self) -> None:
        died = self.pool.look_after()
        self.dead += died
        self.count_deaths(len(died))
        while self.dead:  # a name stays until the database has answered
            self.reaper.take_from(self.dead[0])
            del self.dead[0]

    def _look_for_lost(self) -> None:
        for lease in self.reaper.look():
            log.warning("worker %s is silent: %s goes to another", lease.worker, lease.job_id)
            if lease.worker not in self.reaper.alive:
                self.pool.end(lease.worker)


@dataclass(slots=True)
class Child:
    """A worker process of this server."""

    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    due_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it; it ends by itself when this process does, because that closes its stdin."""
        self.name, self.started_s = worker_name(), time.monotonic()
        command = [sys.executable, "-m", "unstatic", "worker", "--child", "--name", self.name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)

    def end(self) -> None:
        """Make sure that it is no more."""
        if self.process is not None:
            self.process.kill()
            with suppress(subprocess.TimeoutExpired):  # one that waits for a driver ends when that answers
                self.process.wait(GRACE_S)
            if self.process.stdin is not None:
                self.process.stdin.close()
            self.process = None


class ChildPool:
    """Worker processes of this server, started anew when they end, after a pause that grows."""

    def __init__(self, settings: Settings, count: int | None = None, *, grace_s: float = GRACE_S) -> None:
        self.data, self.patience_s = settings.data, settings.drain + grace_s
        self.environment = os.environ | settings.as_environment()
        self.children = [Child() for _ in range(settings.workers if count is None else count)]

    def look_after(self) -> list[str]:
        """See `Pool`."""
        died: list[str] = []
        for child in self.children:
            now_s = time.monotonic()
            if child.process is not None and child.process.poll() is not None:
                died.append(child.name)
                child.end()
                healthy = now_s - child.started_s > HEALTHY_S
                child.pause_s = FIRST_PAUSE_S if healthy else min(2 * child.pause_s, LONGEST_PAUSE_S)
                child.due_s = now_s + child.pause_s
                log.warning("worker %s ended, another starts in %.1f s", child.name, child.pause_s)
                clear_scratch(self.data, died)
            if child.process is None and now_s >= child.due_s:
                child.start(self.environment)
        return died

    def end(self, name: str) -> None:
        """See `Pool`; the next look notices."""
        for child in self.children:
            if child.name == name and child.process is not None:
                child.process.kill()

    def stop(self) -> list[str]:
        """See `Pool`."""
        running = [child for child in self.children if child.process is not None]
        for child in running:
            if child.process is not None:
                child.process.terminate()
        until_s = time.monotonic() + self.patience_s
        for child in running:
            with suppress(subprocess.TimeoutExpired):
                if child.process is not None:
                    child.process.wait(max(0.1, until_s - time.monotonic()))
            child.end()
        names = [child.name for child in running]
        clear_scratch(self.data, names)
        return names


def dead_of_this_machine(database: Database) -> list[str]:
    """Return workers of this machine that hold jobs and run no more, by the process number in their names."""
    with database.reading() as session:
        held = select(Job.worker).where(HELD).distinct()
        names = [name for name in session.scalars(held) if name is not None]
    end_orphans(names)
    return [name for name in names if is_dead_here(name)]
