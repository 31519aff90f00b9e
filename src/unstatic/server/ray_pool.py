"""Workers on many machines: actors of a Ray cluster, as many as there is work for."""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unstatic.core.errors import InputError, UnstaticError
from unstatic.server.settings import Settings
from unstatic.server.worker import worker_name

IDLE_LOOKS = 150  # looks without work after which a worker beyond the least is stopped: half a minute
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Actor:
    """A worker in the cluster: `running` is done when it has ended, however that came."""

    handle: Any
    running: Any


class RayPool:
    """Between `settings.workers` and `settings.most_workers` actors, each with what a worker needs.

    `waiting` says how many jobs wait: for every one an actor is added, and Ray's autoscaler adds machines
    for actors that find no place. An actor that dies, with its machine maybe, is replaced.
    """

    def __init__(self, settings: Settings, waiting: Callable[[], int]) -> None:
        self.settings, self.waiting = settings, waiting
        self.actors: dict[str, Actor] = {}
        self.idle_looks = 0
        self.ray = _connected(settings)

    def look_after(self) -> list[str]:
        """See `supervise.Pool`."""
        died = [name for name, actor in self.actors.items() if self._has_ended(actor)]
        for name in died:
            log.warning("worker %s ended", name)
            del self.actors[name]
        waiting = self.waiting()
        wanted = min(self.settings.most_workers, max(self.settings.workers, len(self.actors) + waiting))
        while len(self.actors) < wanted:
            self._start()
        self.idle_looks = 0 if waiting else self.idle_looks + 1
        if self.idle_looks > IDLE_LOOKS and len(self.actors) > self.settings.workers:
            self.idle_looks = 0
            next(reversed(self.actors.values())).handle.ask_to_stop.remote()
        return died

    def end(self, name: str) -> None:
        """See `supervise.Pool`."""
        if name in self.actors:
            self.ray.kill(self.actors[name].handle)

    def stop(self) -> list[str]:
        """See `supervise.Pool`."""
        for actor in self.actors.values():
            actor.handle.ask_to_stop.remote()
        running = [actor.running for actor in self.actors.values()]
        if running:
            self.ray.wait(running, num_returns=len(running), timeout=self.settings.drain)
        for actor in self.actors.values():
            self.ray.kill(actor.handle)
        names = list(self.actors)
        self.actors.clear()
        self.ray.shutdown()
        return names

    def _has_ended(self, actor: Actor) -> bool:
        done, _ = self.ray.wait([actor.running], timeout=0)
        return bool(done)

    def _start(self) -> None:
        name = worker_name()
        kind = self.ray.remote(RayWorker).options(
            num_cpus=self.settings.worker_cpus,
            num_gpus=self.settings.worker_gpus,
            max_concurrency=2,  # one makes films, the other takes the word to stop
            max_restarts=0,  # the pool does that, under another name
            runtime_env={"env_vars": self.settings.as_environment()},
        )
        handle = kind.remote(name)
        self.actors[name] = Actor(handle, handle.run.remote())


class RayWorker:
    """What runs in the actor."""

    def __init__(self, name: str) -> None:
        from unstatic.server.settings import read_settings
        from unstatic.server.stores import open_stores
        from unstatic.server.worker import Worker

        settings = read_settings()
        stores = open_stores(settings)
        self.worker = Worker(settings, stores.database, stores.storage, name=name)

    def run(self) -> None:
        """Work until asked to stop."""
        self.worker.run()

    def ask_to_stop(self) -> None:
        """End soon."""
        self.worker.ask_to_stop()


def _connected(settings: Settings) -> Any:
    """Return Ray, connected to its cluster. Raises InputError if it is not installed or does not answer."""
    try:
        ray: Any = importlib.import_module("ray")
    except ModuleNotFoundError:
        raise InputError("ray is not installed: pip install 'unstatic[ray]'") from None
    address = None if settings.ray == "local" else settings.ray
    try:
        ray.init(address=address, log_to_driver=False, namespace="unstatic", ignore_reinit_error=True)
    except ConnectionError as error:
        raise InputError(
            f"no Ray cluster answers at {address!r}: start one with `ray start --head`"
        ) from error
    except RuntimeError as error:
        raise UnstaticError(f"Ray does not start: {' '.join(str(error).split())[:200]}") from error
    return ray
