"""Workers on many machines: actors of a Ray cluster, as many as there is work for."""

import importlib
import importlib.util
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.threads import SHORT_SPINS, quiet_threads
from unstatic.server import queue
from unstatic.server.processes import die_with_parent, worker_name
from unstatic.server.queue import Reaper, Work
from unstatic.server.settings import Settings
from unstatic.server.stores import open_stores
from unstatic.server.supervise import FIRST_PAUSE_S, GRACE_S, HEALTHY_S, LONGEST_PAUSE_S, LOOK_S, Household
from unstatic.server.telemetry import log_to

IDLE_LOOKS = 150  # looks after which workers that have nothing to do are stopped: half a minute
REACH_S = 5.0
LOCAL, AUTO = "local", "auto"
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Actor:
    """A worker in the cluster: `running` is done when it has ended, however that came.

    `placed` is done when the cluster has had a place for it; `leaves` is what was asked to stop.
    """

    handle: Any
    placed: Any
    running: Any
    started_s: float
    leaves: bool = False


class RayPool:
    """Between `settings.workers` and `settings.most_workers` actors, each with what a worker needs.

    `work` says what there is to do: there is an actor for every job that can be made, and Ray's autoscaler
    adds machines for actors that find no place. An actor that dies, with its machine maybe, is replaced.
    """

    def __init__(self, settings: Settings, work: Callable[[], Work]) -> None:
        self.settings, self.work = settings, work
        self.actors: dict[str, Actor] = {}
        self.idle_looks, self.due_s, self.pause_s = 0, 0.0, FIRST_PAUSE_S
        self.ray = _connected(settings)

    def look_after(self) -> list[str]:
        """See `supervise.Pool`. Raises UnstaticError when Ray does not do what it is asked."""
        try:
            died = [name for name, actor in self.actors.items() if self._is_done(actor.running)]
            for name in died:
                self._bury(name)
        except self.ray.exceptions.RayError as error:
            raise UnstaticError(f"Ray fails: {' '.join(str(error).split())[:200]}") from error
        try:
            self._fit()
        except (self.ray.exceptions.RayError, SQLAlchemyError) as error:  # who died counts
            log.warning("the actors are not fitted to the work: %s", type(error).__name__)
        return died

    def end(self, name: str) -> None:
        """See `supervise.Pool`."""
        if name in self.actors:
            self.ray.kill(self.actors[name].handle)

    def stop(self) -> list[str]:
        """See `supervise.Pool`."""
        for actor in self.actors.values():
            self._ask_to_stop(actor)
        running = [actor.running for actor in self.actors.values()]
        if running:
            self.ray.wait(running, num_returns=len(running), timeout=self.settings.drain + GRACE_S)
        names = list(self.actors)
        for name in names:
            self.ray.kill(self.actors.pop(name).handle)
        self.ray.shutdown()
        return names

    def _bury(self, name: str) -> None:
        """Forget an actor that has ended; after one that fell, the next waits for a while that grows."""
        actor, now_s = self.actors.pop(name), time.monotonic()
        if actor.leaves:
            return
        healthy = now_s - actor.started_s > HEALTHY_S
        self.pause_s = FIRST_PAUSE_S if healthy else min(2 * self.pause_s, LONGEST_PAUSE_S)
        self.due_s = now_s + self.pause_s
        log.warning("worker %s ended, another starts in %.1f s", name, self.pause_s)

    def _fit(self) -> None:
        """Start actors for work that nobody does, and stop idle ones that there is none for."""
        work = self.work()
        staying = [name for name, actor in self.actors.items() if not actor.leaves]
        wanted = max(self.settings.workers, min(work.side_by_side, self.settings.most_workers))
        if time.monotonic() >= self.due_s:
            for _ in range(wanted - len(staying)):
                self._start()
        self.idle_looks = self.idle_looks + 1 if len(staying) > wanted else 0
        if self.idle_looks > IDLE_LOOKS:
            idle = [name for name in staying if name not in work.busy]
            for name in idle[wanted - len(staying) :]:
                self._ask_to_stop(self.actors[name])
            self.idle_looks = 0

    def _ask_to_stop(self, actor: Actor) -> None:
        """Let an actor end by itself; one that waits for a place would not hear it."""
        actor.leaves = True
        if self._is_done(actor.placed):
            actor.handle.ask_to_stop.remote()
        else:
            self.ray.kill(actor.handle)

    def _is_done(self, told: Any) -> bool:
        done, _ = self.ray.wait([told], timeout=0)
        return bool(done)

    def _start(self) -> None:
        name = worker_name()
        kind = self.ray.remote(RayWorker).options(
            num_cpus=self.settings.worker_cpus,
            num_gpus=self.settings.worker_gpus,
            max_concurrency=2,  # one makes films, the other takes the word to stop
            max_restarts=0,  # the pool does that, under another name
        )
        handle = kind.remote(self.settings, name)
        self.actors[name] = Actor(
            handle, handle.is_placed.remote(), handle.run.remote(), started_s=time.monotonic()
        )


def keep(settings: Settings, *, is_child: bool = False) -> None:
    """Look after a pool until SIGTERM or Ctrl-C; a child also ends with its parent.

    It is a process of its own, since Ray ends the process that it runs in when it loses the head of its
    cluster: the server answers all the same, and starts another until there is a cluster again.
    """
    log_to()
    stores, signals = open_stores(settings), list[int]()

    def work() -> Work:
        with stores.database.glancing() as session:
            return queue.work(session)

    pool = RayPool(settings, work)
    reaper = Reaper(stores.database, lease_s=settings.lease, attempts=settings.attempts)
    household = Household(pool, reaper, [])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    if is_child:
        die_with_parent()
    household.start()
    while not signals:
        time.sleep(LOOK_S)
    household.stop()
    stores.database.close()


class RayWorker:
    """What runs in the actor. The settings travel with it: the dashboard shows an environment to anybody."""

    def __init__(self, settings: Settings, name: str) -> None:
        quiet_threads(spins=SHORT_SPINS)
        from unstatic.server.tracing import trace_to
        from unstatic.server.worker import Worker, leave

        log_to()
        self.stores = open_stores(settings)
        self.tracing = trace_to(settings.otlp_endpoint)
        self.worker = Worker(settings, *self.stores, name=name, tracing=self.tracing, hangs=leave)

    def is_placed(self) -> bool:
        """Answer."""
        return True

    def run(self) -> None:
        """Work until asked to stop."""
        try:
            self.worker.run()
        finally:
            self.tracing.close()
            self.stores.database.close()

    def ask_to_stop(self) -> None:
        """End soon."""
        self.worker.ask_to_stop()


def _connected(settings: Settings) -> Any:
    """Return Ray, connected to its cluster. Raises InputError if it is not installed or does not answer."""
    check_ray(settings)
    address = settings.ray or LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers what runs here
    if address == LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on any system: loopback only
    elif address != AUTO:
        _reach(address)
    ray: Any = importlib.import_module("ray")
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            namespace="unstatic",
        )
    except ConnectionError as error:
        raise InputError(f"no Ray cluster answers at {address}: start one with `ray start --head`") from error
    except RuntimeError as error:
        raise UnstaticError(f"Ray does not start: {' '.join(str(error).split())[:200]}") from error
    return ray


def check_ray(settings: Settings) -> None:
    """Raise InputError for an address that is none, or if Ray is not installed."""
    host, _, port = (settings.ray or LOCAL).rpartition(":")
    if settings.ray not in (LOCAL, AUTO) and (not host or "/" in host or not port.isdecimal()):
        raise InputError(f"ray is {settings.ray}: give HOST:PORT of a cluster, auto, or local")
    if importlib.util.find_spec("ray") is None:
        raise InputError("ray is not installed: pip install 'unstatic[ray]'")


def _reach(address: str) -> None:
    """Raise InputError for an address where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError):
        raise InputError(f"no Ray cluster answers at {address}: start one with `ray start --head`") from None
