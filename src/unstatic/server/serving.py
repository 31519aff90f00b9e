"""`unstatic serve`: one process that answers, its workers, and the chores, until SIGTERM."""

import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from functools import partial

import uvicorn
from fastapi import FastAPI

from unstatic.core.errors import InputError
from unstatic.server.accounts import is_single_user
from unstatic.server.app import create_app
from unstatic.server.connections import TAKE_S, Connection, most_connections
from unstatic.server.fetching import post
from unstatic.server.metrics import Metrics
from unstatic.server.outbox import Sender
from unstatic.server.processes import clear_scratch
from unstatic.server.queue import Reaper
from unstatic.server.ray_pool import check_ray
from unstatic.server.settings import Settings
from unstatic.server.spool import clear_spool
from unstatic.server.stores import Stores, open_stores
from unstatic.server.supervise import GRACE_S, ChildPool, Chore, Household
from unstatic.server.sweep import Sweeper
from unstatic.server.telemetry import log_to
from unstatic.server.webhooks import policy_of

SWEEP_S, TELL_S, CLEAR_S, CLOSE_S, BACKLOG = 30.0, 0.5, 3600.0, 5, 2048
# Longer than proxies and clients keep idle connections, so that none closes as a request comes
IDLE_S = 75
log = logging.getLogger(__name__)


def run(settings: Settings, *, host: str, port: int, expose: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises InputError naming the fix for what is not safe or not free."""
    log_to()
    if settings.ray is not None:
        check_ray(settings)
    stores = open_stores(settings)
    _check_door(host, expose=expose, single=is_single_user(stores.database))
    app = create_app(settings, database=stores.database, storage=stores.storage)
    listening = _listen(host, port)
    send = partial(post, policy=policy_of(settings))
    sender = Sender(stores.database, send, count=app.state.server.metrics.count_webhook)
    household = _household(settings, stores, sender, app.state.server.metrics)
    server = uvicorn.Server(config_of(app, most=most_connections()))

    def hear(number: int, _: object) -> None:
        """Stop before the server takes signals itself; it raises them again at its end."""
        del number
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
    household.start()
    sys.stdout.write(f"{_address(listening)}\n")
    sys.stdout.flush()
    try:
        with contextlib.closing(listening):
            server.run(sockets=[listening])
    finally:
        household.stop()
        sender.close()
        stores.database.close()


def config_of(app: FastAPI, *, most: int) -> uvicorn.Config:
    """Return how an application is served on at most so many connections."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=most,
        timeout_graceful_shutdown=CLOSE_S,
        timeout_keep_alive=IDLE_S,
    )


def _address(listening: socket.socket) -> str:
    """Return what clients call the base of all addresses."""
    where, port = listening.getsockname()[:2]
    return f"http://{f'[{where}]' if ':' in where else where}:{port}/v1"


def _household(settings: Settings, stores: Stores, sender: Sender, metrics: Metrics) -> Household:
    """Return what goes on beside the answers."""
    reaper = Reaper(stores.database, lease_s=settings.lease, attempts=settings.attempts)
    sweeper = Sweeper(stores.database, stores.storage, settings)
    clears = [Chore(CLEAR_S, partial(clear, settings.data)) for clear in (clear_spool, clear_scratch)]
    chores = [Chore(SWEEP_S, sweeper.sweep), Chore(TELL_S, sender.look), *clears]
    count_deaths = metrics.worker_restarts.inc
    # With Ray the one child keeps the actors, and ends them when it is asked to end
    pool = ChildPool(settings) if settings.ray is None else ChildPool(settings, 1, grace_s=3 * GRACE_S)
    return Household(pool, reaper, chores, count_deaths=count_deaths)


def _check_door(host: str, *, expose: bool, single: bool) -> None:
    """Raise InputError for a door that is open wider than it may be."""
    if is_loopback(host):
        return
    if not expose:
        raise InputError(
            f"host is {host}: films are not moderated or marked yet, so that only this machine is served;"
            " add --expose if only people you trust can reach it"
        )
    if single:
        raise InputError(f"host is {host}, and anybody could come in: unstatic admin account new NAME --key")


def is_loopback(host: str) -> bool:
    """Return whether an address or a name is this machine's own."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises InputError where that is not possible."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Else the second packet of an answer waits 40 ms: asyncio only knows sockets that name their protocol
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":  # what is left of an answer when it ends is not kept for ever
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(TAKE_S * 1000))
        return listening
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in (socket.EAI_NONAME, socket.EAI_AGAIN):
            raise InputError(f"host is {host}, which nobody knows: take another --host") from None
        reason = error.strerror if isinstance(error, OSError) else "there are ports up to 65535"
        raise InputError(f"cannot listen on {host}:{port}: {reason}, take another --port") from None
