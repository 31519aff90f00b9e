"""Workers that die, hang or are told to stop, as processes of their own with the real `nano`."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import crashing_worker
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from serving import add_key, client_of
from sqlalchemy import func, select

from unstatic.generate.api import Model
from unstatic.media.probe import probe
from unstatic.server import jobs, ledger, queue
from unstatic.server.database import Database
from unstatic.server.jobs import Asked
from unstatic.server.queue import Reaper
from unstatic.server.settings import Settings
from unstatic.server.spec import Spec
from unstatic.server.state import Server
from unstatic.server.storage import Storage
from unstatic.server.supervise import ChildPool, Chore, Household, dead_of_this_machine
from unstatic.server.sweep import Sweeper
from unstatic.server.tables import Account, Entry, Job
from unstatic.server.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.plain]

SPEC = Spec(task="create", prompt="a red ball bounces on grass", seed=3, seconds=0.25)
LONG = replace(SPEC, seconds=10.0)
SOON_S = 60.0
SQLITE_ONLY = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MakeAccount = Callable[..., Account]


@pytest.fixture
def clock() -> Callable[[], float]:
    """Return the clock of the other processes."""
    return time.time


@pytest.fixture
def storage(server: Server) -> Storage:
    return server.storage


@pytest.fixture
def settings(server: Server, database_url: str) -> Settings:
    return server.settings.model_copy(update={"database": SecretStr(database_url)})


def ask(database: Database, account: Account, spec: Spec = SPEC) -> str:
    assert spec.seconds is not None
    asked = Asked(
        kind="video",
        model="nano",
        prompt=spec.prompt,
        spec=spec.to_json(),
        size="128x128",
        seconds=spec.seconds,
        cost=2,
    )
    with database.writing() as session:
        return jobs.create(session, session.get_one(Account, account.id), asked, database.now()).id


def row(database: Database) -> Job:
    with database.reading() as session:
        return session.get_one(Job, 1)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    until_s = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < until_s, f"{what} does not come"
        time.sleep(0.05)


def lives(process: int) -> bool:
    """Return whether a process runs, and is not only waited for."""
    state = Path(f"/proc/{process}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    ("database_url", "point"),
    [*(("sqlite", point) for point in crashing_worker.POINTS), ("postgresql", "committing")],
    indirect=["database_url"],
)
def test_f2_f3_a_job_survives_its_worker_wherever_that_dies(
    point: str,
    app: FastAPI,
    settings: Settings,
    database: Database,
    storage: Storage,
    make_account: MakeAccount,
    nano: Model,
    tmp_path: Path,
):
    account = make_account(balance=5)
    job_id, committed = ask(database, account), point == "committed"
    command = [sys.executable, crashing_worker.__file__, point]
    with subprocess.Popen(command, env=os.environ | settings.as_environment()) as died:
        assert died.wait(SOON_S) == 9
    job = row(database)
    assert (job.status, job.attempts) == ("completed" if committed else "in_progress", 1)
    assert (job.output is None) is not committed
    with client_of(app, add_key(database, account.id)) as client:
        assert (client.get(f"/v1/videos/{job_id}/content").status_code == 200) is committed

    # It is known without waiting, by the number of the process
    reaper, dead = Reaper(database, lease_s=60, attempts=3), dead_of_this_machine(database)
    given = [re.search(rf"-{died.pid}[.-]", name) is not None for name in dead]
    assert given == ([] if committed else [True])
    assert len([lease for name in dead for lease in reaper.take_from(name)]) == len(dead)
    worker = Worker(settings, database, storage, name="second", find_model=lambda _: nano)
    assert worker.work_once() is not committed
    assert not worker.work_once()

    job = row(database)
    attempts = 1 if committed else 2
    assert (job.status, job.progress, job.attempts) == ("completed", 100, attempts)
    assert job.output == f"jobs/{job_id}/{attempts}"
    storage.fetch(f"{job.output}/video.mp4", tmp_path / "video.mp4")
    assert probe(tmp_path / "video.mp4").num_frames == 4
    Sweeper(database, storage, settings).look()
    assert {"/".join(each.key.split("/")[:3]) for each in storage.list("jobs")} == {job.output}
    with database.reading() as session:
        assert ledger.pots(session, account.id) == {"available": 3, "reserved": 0, "house": -3}
        assert session.get_one(Account, account.id).balance == 3
        closed = select(func.count()).where(Entry.job_id == job_id, Entry.step == "close")
        assert session.scalar(closed) == 2


@contextmanager
def household(
    settings: Settings, database: Database, count_deaths: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[Household, ChildPool]]:
    """Run a worker as `serve` does."""
    pool = ChildPool(settings)
    reaper = Reaper(database, lease_s=settings.lease, attempts=10)
    running = Household(pool, reaper, [], count_deaths=count_deaths)
    running.start()
    try:
        yield running, pool
    finally:
        if running.thread.is_alive():
            running.stop()


@SQLITE_ONLY
def test_f12_a_killed_and_a_hung_worker_are_replaced_and_f10_a_stop_gives_the_job_back(
    settings: Settings, database: Database, storage: Storage, make_account: MakeAccount
):
    ask(database, make_account(), LONG)
    settings = settings.model_copy(update={"lease": 3.0, "drain": 0.01})
    died: list[int] = []
    with household(settings, database, died.append) as (running, pool):
        films_next(pool, database, fence=1)
        assert strike(pool, database, signal.SIGKILL) < 2, "death is known at once"
        films_next(pool, database, fence=2)
        assert strike(pool, database, signal.SIGSTOP) >= 2, "silence is known after a while"
        films_next(pool, database, fence=3)
        assert row(database).attempts == 3
        assert sum(died) == 2
        running.stop()
        assert pool.children[0].process is None
    job = row(database)
    assert (job.status, job.worker, job.attempts, job.fence) == ("in_progress", None, 2, 3)
    assert [each for each in storage.list("jobs") if "/3/" in each.key] == [], "who stops tidies up"


def films_next(pool: ChildPool, database: Database, *, fence: int) -> None:
    """Wait until the job is filmed again, by the process that runs now."""
    before = row(database).beat

    def films() -> bool:
        job = row(database)
        return job.fence == fence and job.beat > before + 1

    until(films, "a worker that films")
    assert row(database).worker == pool.children[0].name


def strike(pool: ChildPool, database: Database, number: int) -> float:
    """Send the worker a signal, and return after how many seconds its job was given on."""
    process, name = pool.children[0].process, pool.children[0].name
    assert process is not None
    os.kill(process.pid, number)
    struck_s = time.monotonic()
    until(lambda: row(database).worker != name, "somebody who gives the job on")
    took_s = time.monotonic() - struck_s
    until(lambda: not lives(process.pid), "the end of it")
    return took_s


class Workers:
    """A pool that notes which workers it is told to end."""

    def __init__(self) -> None:
        self.looks, self.ended = 0, list[str]()

    def look_after(self) -> list[str]:
        self.looks += 1
        return []

    def end(self, name: str) -> None:
        self.ended.append(name)

    def stop(self) -> list[str]:
        return []


def test_f12_only_a_worker_that_beats_for_nothing_is_ended(database: Database, make_account: MakeAccount):
    account = make_account(concurrency=3)
    for _ in range(3):
        ask(database, account)

    def claim(worker: str) -> jobs.Lease:
        with database.writing() as session:
            found = queue.claim(session, worker, ["nano"], database.now())
        assert found is not None
        return found[0]

    left, hung, beats = claim("busy"), claim("hangs"), claim("busy")  # the first is one it could not end
    seconds = [0.0]
    reaper = Reaper(database, lease_s=60, attempts=3, monotonic=lambda: seconds[0])
    workers = Workers()
    running = Household(workers, reaper, [])
    running._look_for_lost()
    seconds[0] = 61
    with database.writing() as session:
        jobs.beat(session, beats, 50)
    running._look_for_lost()
    assert workers.ended == ["hangs"]
    with database.reading() as session:
        held = {job.id: job.worker for job in session.scalars(select(Job))}
    assert held == {left.job_id: None, hung.job_id: None, beats.job_id: "busy"}


@SQLITE_ONLY
def test_f12_a_chore_that_hangs_keeps_nobody_from_looking_after_workers(database: Database):
    hangs, begun, workers = threading.Event(), threading.Event(), Workers()

    def hang() -> None:
        begun.set()
        hangs.wait(SOON_S)

    running = Household(workers, Reaper(database, lease_s=60, attempts=3), [Chore(0.1, hang)])
    running.start()
    assert begun.wait(SOON_S)
    looks = workers.looks
    until(lambda: workers.looks > looks + 2, "a look after the workers")
    hangs.set()
    running.stop()


@SQLITE_ONLY
def test_f10_a_job_may_end_before_the_server_does(
    settings: Settings, database: Database, make_account: MakeAccount
):
    ask(database, make_account(), replace(SPEC, seconds=2.0))
    with household(settings, database) as (running, pool):
        until(lambda: row(database).beat > 0, "a worker that films")
        running.stop()
    job = row(database)
    assert (job.status, job.attempts, pool.children[0].process) == ("completed", 1, None)


def test_f1_a_server_that_is_killed_right_after_its_answer_makes_the_film_after_a_restart(
    settings: Settings, database: Database, storage: Storage, tmp_path: Path
):
    with serving_process(settings) as (serve, address):
        until(lambda: bool(children_of(serve)), "a worker")
        children = children_of(serve)
        body = {"prompt": "a red ball bounces on grass", "seconds": 0.25}
        assert httpx.post(f"{address}/videos", json=body).status_code == 200
        serve.kill()
    until(lambda: not any(lives(each) for each in children), "the end of its worker")
    with serving_process(settings) as (serve, _):
        until(lambda: row(database).status == "completed", "the film")
        children += children_of(serve)
        serve.terminate()
        assert serve.wait(SOON_S) == 0
    assert [lives(each) for each in children] == [False, False]
    storage.fetch(f"{row(database).output}/video.mp4", tmp_path / "video.mp4")
    assert probe(tmp_path / "video.mp4").num_frames == 4


@contextmanager
def serving_process(settings: Settings) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `unstatic serve`, and yield it with its address."""
    command = [sys.executable, "-m", "unstatic", "serve", "--port", "0"]
    environment = os.environ | settings.as_environment()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as serve:
        assert serve.stdout is not None
        try:
            yield serve, serve.stdout.readline().strip()
        finally:
            serve.kill()


def children_of(process: "subprocess.Popen[str]") -> list[int]:
    """Return the processes that a process has started in any of its threads."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]
