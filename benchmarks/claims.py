"""How much a database does for its workers: films, beats and idle looks a second, on SQLite and PostgreSQL.

    python benchmarks/claims.py
    python benchmarks/claims.py --workers 1 --waiting 10000 --database postgresql://me:SECRET@db/empty

So many processes do what workers do, with nothing filmed in between, for `--seconds` each: claim a job and
complete it (two transactions a film), while `--waiting` jobs of `--accounts` accounts wait at first; beat
(one transaction, up to five a second while a worker films); and look for a job where there is none (one
transaction every UNSTATIC_SERVE_POLL seconds while a worker is idle). PostgreSQL runs in a folder of its
own if it is installed; one that `--database` names must be empty, and is left full. Commits wait for the
disk.
"""

import argparse
import importlib
import multiprocessing
import multiprocessing.synchronize
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from unstatic.server import accounts, jobs, queue
from unstatic.server.database import Database
from unstatic.server.jobs import Asked, Made
from unstatic.server.tables import Account, Entry, Job

SUPPORT = Path(__file__).parent.parent / "tests" / "support"
MODEL = "nano"
ASKED = Asked(kind="video", model=MODEL, prompt="a red ball", spec={}, size="128x128", seconds=1.0, cost=1)
SPAWN = multiprocessing.get_context("spawn")
Work = Callable[[Database, str], Callable[[], bool]]


def main() -> None:
    """Print a row for every database and number of workers."""
    options = parsed()
    depths = " | ".join(f"films a second, {waiting} waiting" for waiting in options.waiting)
    print(f"| database | workers | {depths} | beats a second | idle looks a second |")
    print("|---|---|" + "---|" * (len(options.waiting) + 2))
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{folder}/jobs.sqlite", options)
    with postgresql(options.database) as url:
        if url is None:
            sys.exit("PostgreSQL is not installed here: name one with --database")
        measure("PostgreSQL", url, options)


def measure(name: str, url: str, options: argparse.Namespace) -> None:
    """Print the rows of a database."""
    database = Database(url)
    database.migrate()
    wanted = [(films, waiting) for waiting in options.waiting]
    for workers in options.workers:
        rates: list[float] = []
        for work, waiting in (*wanted, (beats, workers), (looks, 0)):
            refill(database, waiting, options.accounts)
            rates.append(together(work, url, workers, options.seconds))
        print(f"| {name} | {workers} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |", flush=True)
    database.close()


def refill(database: Database, waiting: int, of: int) -> None:
    """Leave nothing but so many jobs that wait, of so many accounts that may have any number made at once."""
    with database.writing() as session:
        for table in (Entry, Job, Account):
            session.execute(delete(table))
        now = database.now()
        for number in range(of):
            account = accounts.open_account(session, f"account {number}", "admin", now)
            account.concurrency = waiting + 1
            for _ in range(number, waiting, of):
                jobs.create(session, account, ASKED, now)


def together(work: Work, url: str, workers: int, seconds: float) -> float:
    """Return how many times a second so many processes do their work, all together."""
    ready, told = SPAWN.Barrier(workers), SPAWN.Queue()
    running = [
        SPAWN.Process(target=alone, args=(work, url, str(number), seconds, ready, told))
        for number in range(workers)
    ]
    for process in running:
        process.start()
    counts, lasts_s = zip(*(told.get(timeout=seconds + 60) for _ in running), strict=True)
    for process in running:
        process.join()
    return sum(counts) / (max(lasts_s) or seconds)


def alone(
    work: Work,
    url: str,
    name: str,
    seconds: float,
    ready: multiprocessing.synchronize.Barrier,
    told: Any,
) -> None:
    """Do one worker's work for a while, once all are there; tell how often, and until when there was some."""
    database = Database(url)
    once = work(database, name)
    ready.wait(60)
    begun_s, count, last_s = time.monotonic(), 0, 0.0
    while time.monotonic() - begun_s < seconds:
        if once():
            count, last_s = count + 1, time.monotonic() - begun_s
    told.put((count, last_s))
    database.close()


def films(database: Database, name: str) -> Callable[[], bool]:
    """Claim a job and complete it."""

    def once() -> bool:
        with database.writing() as session:
            found = queue.claim(session, name, [MODEL], database.now())
        if found is None:  # there is none, or others hold all accounts at this moment
            return False
        with database.writing() as session:
            jobs.complete(session, found[0], Made(keep_s=60), database.now())
        return True

    return once


def beats(database: Database, name: str) -> Callable[[], bool]:
    """Hold a job, and say that it goes on."""
    found = None
    while found is None:
        with database.writing() as session:
            found = queue.claim(session, name, [MODEL], database.now())
    lease = found[0]

    def once() -> bool:
        with database.writing() as session:
            jobs.beat(session, lease, 1)
        return True

    return once


def looks(database: Database, name: str) -> Callable[[], bool]:
    """Look for a job where there is none."""

    def once() -> bool:
        with database.writing() as session:
            return queue.claim(session, name, [MODEL], database.now()) is None

    return once


@contextmanager
def postgresql(url: str | None) -> Generator[str | None]:
    """Yield where an empty PostgreSQL is: the one that is named, or one that is started for this."""
    if url is not None:
        yield url
        return
    sys.path.append(str(SUPPORT))
    postgres = importlib.import_module("postgres")
    if (programs := postgres.found()) is None:
        yield None
        return
    with postgres.running(programs) as folder:
        yield postgres.url(folder, "postgres")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--waiting", type=int, nargs="+", default=[20, 1_000])
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--database")
    return parser.parse_args()


if __name__ == "__main__":
    main()
