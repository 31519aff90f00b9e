"""Actors of a real Ray cluster on this machine, with the real `nano`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector import Collecting, collecting
from pydantic import SecretStr

from unstatic.core.errors import InputError
from unstatic.server import jobs, queue, ray_pool
from unstatic.server.database import Database
from unstatic.server.jobs import Asked
from unstatic.server.queue import Reaper, Work
from unstatic.server.ray_pool import RayPool
from unstatic.server.settings import Settings
from unstatic.server.spec import Spec
from unstatic.server.state import Server
from unstatic.server.storage import Storage
from unstatic.server.supervise import Household
from unstatic.server.tables import Account, Job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.plain,
    # Of Ray's own code, and of the processes and sockets that it leaves to the end of this one
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
    ),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHORT_S, LONG_S, SOON_S = 0.25, 6.0, 120.0
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}
SQLITE_ONLY = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MakeAccount = Callable[..., Account]


@pytest.fixture
def collector() -> Iterator[Collecting]:
    """Run a collector of traces."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Run two nodes with a core each; skip where Ray is missing, but never in CI."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so that Ray keeps to the loopback address
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            from ray.cluster_utils import Cluster
        except ModuleNotFoundError:
            if os.environ.get("CI"):
                pytest.fail("ray is not installed: the extra dev brings it")
            pytest.skip("ray is not installed")
        running = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            yield running
        finally:
            running.shutdown()


@pytest.fixture
def clock() -> Callable[[], float]:
    """Return the clock of the other processes."""
    return time.time


@pytest.fixture
def storage(server: Server) -> Storage:
    return server.storage


@pytest.fixture
def settings(cluster: Any, server: Server, database_url: str) -> Settings:
    changed = {"database": SecretStr(database_url), "ray": cluster.address, "drain": SOON_S}
    return server.settings.model_copy(update=changed)


def ask(database: Database, account: Account, seconds: float) -> None:
    size = "128x128"  # three quarters of the time of a larger film are not the model's
    spec = Spec(task="create", prompt="a red ball bounces on grass", seed=3, seconds=seconds, size=size)
    asked = Asked(
        kind="video",
        model="nano",
        prompt=spec.prompt,
        spec=spec.to_json(),
        size=size,
        seconds=seconds,
        cost=1,
    )
    with database.writing() as session:
        jobs.create(session, session.get_one(Account, account.id), asked, database.now())


def rows(database: Database) -> list[Job]:
    with database.reading() as session:
        return list(session.query(Job).order_by(Job.number))


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    until_s = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < until_s, f"{what} does not come"
        time.sleep(0.05)


@contextmanager
def household(settings: Settings, database: Database) -> Iterator[tuple[Household, RayPool]]:
    """Look after actors as `serve` does."""

    def work() -> Work:
        with database.reading() as session:
            return queue.work(session)

    pool = RayPool(settings, work)
    running = Household(pool, Reaper(database, lease_s=settings.lease, attempts=3), [])
    running.start()
    try:
        yield running, pool
    finally:
        if running.thread.is_alive():
            running.stop()


@SQLITE_ONLY
def test_there_are_as_many_actors_as_jobs_that_can_be_made_and_a_stop_lets_them_end(
    cluster: Any,
    settings: Settings,
    database: Database,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
):
    if len(cluster.worker_nodes) == 0:
        cluster.add_node(**NODE)
    monkeypatch.setattr(ray_pool, "IDLE_LOOKS", 5)
    account = make_account(concurrency=2)
    settings = settings.model_copy(update={"workers": 0, "most_workers": 8})
    with household(settings, database) as (running, pool):
        time.sleep(1)
        assert pool.actors == {}
        for _ in range(6):
            ask(database, account, SHORT_S)
        until(lambda: len(pool.actors) == 2, "the second actor")
        most = 0
        while any(job.status != "completed" for job in rows(database)):
            most = max(most, len(pool.actors))
            time.sleep(0.05)
        assert most == 2, "the account has two made at once"
        until(lambda: pool.actors == {}, "the end of idle actors")

        ask(database, account, LONG_S)
        until(lambda: rows(database)[-1].beat > 0, "an actor that films")
        running.stop()
        assert pool.actors == {}
    assert [(job.status, job.attempts) for job in rows(database)] == [("completed", 1)] * 7


@SQLITE_ONLY
def test_what_a_lost_machine_made_is_made_by_another_and_nothing_twice(
    cluster: Any, settings: Settings, database: Database, storage: Storage, make_account: MakeAccount
):
    lost = cluster.add_node(**NODE) if len(cluster.worker_nodes) == 0 else next(iter(cluster.worker_nodes))
    account = make_account()
    for seconds in (LONG_S, LONG_S, *[SHORT_S] * 4):
        ask(database, account, seconds)
    settings = settings.model_copy(update={"workers": 2, "most_workers": 2})
    with household(settings, database) as (_, pool):
        until(lambda: all(job.beat > 0 for job in rows(database)[:2]), "an actor on either machine")
        held = {job.worker: job.number for job in rows(database)[:2]}
        assert set(held) == set(pool.actors)
        cluster.remove_node(lost, allow_graceful=False)
        until(lambda: not set(held) <= set(pool.actors), "the news of its death")
        (dead,) = set(held) - set(pool.actors)
        until(lambda: all(job.status == "completed" for job in rows(database)), "the last film")
        assert set(held) - set(pool.actors) == {dead}
    for job in rows(database):
        assert job.attempts == 1 + (job.number == held[dead])
        assert job.output == f"jobs/{job.id}/{job.attempts}"
        assert storage.size(f"{job.output}/video.mp4") > 1_000


def test_a_server_outlives_the_head_of_its_cluster_and_goes_on_with_the_next(
    tmp_path: Path, collector: Collecting
):
    """Ray ends every process that has lost its head; this cluster is another than that of the tests above."""
    script = str(Path(sys.executable).with_name("ray"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "2",
        "UNSTATIC_SERVE_DATA": str(tmp_path / "data"),
        "UNSTATIC_SERVE_LEASE": "3",
        "UNSTATIC_SERVE_OTLP_ENDPOINT": collector.endpoint,
    }
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets lie in it, whose paths must be short
    head = [script, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}"]
    head += ["--num-cpus=1", "--include-dashboard=false", f"--object-store-memory={80 * 2**20}"]
    command = [sys.executable, "-m", "unstatic", "serve", "--port", "0", "--workers", "0", "--ray", address]

    def start_head() -> None:
        subprocess.run([*head, f"--temp-dir={folder}"], env=environment, check=True, capture_output=True)

    def of_ray() -> list[int]:
        """Return the processes of this cluster, and the actors, whose names no longer tell that."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if f"{folder}/".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
                    for children in path.parent.glob("task/*/children"):
                        found += [int(number) for number in children.read_text().split()]
        return found

    def end_head() -> None:
        """End it as a loss of its machine would: actors left alone would go on for seconds."""
        for number in of_ray():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    start_head()
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        with httpx.Client(base_url=server.stdout.readline().strip(), timeout=30) as client:

            def film(seconds: float) -> str:
                body = {"prompt": "a red ball", "seconds": seconds, "size": "128x128"}
                return client.post("/videos", json=body).raise_for_status().json()["id"]

            def is_made(name: str) -> bool:
                return client.get(f"/videos/{name}").raise_for_status().json()["status"] == "completed"

            first = film(SHORT_S)
            until(lambda: is_made(first), "a film")
            end_head()
            waits = film(SHORT_S)
            time.sleep(6)  # the keeper of the actors has ended by now
            assert server.poll() is None
            assert not is_made(waits)
            start_head()
            until(lambda: is_made(waits), "a film of the next cluster")
    finally:
        server.terminate()
        server.wait(60)
        end_head()
        shutil.rmtree(folder, ignore_errors=True)
    asked = {span.trace_id for span in collector.spans if span.name.startswith("POST")}
    made = {span.trace_id for span in collector.spans if span.name == "job"}
    assert made, "actors send their spans, at the latest when they end"
    assert made <= asked


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: start one with `ray start --head`"),
        (
            "ray://127.0.0.1:10001",
            "ray is ray://127.0.0.1:10001: give HOST:PORT of a cluster, auto, or local",
        ),
        ("somewhere", "ray is somewhere: give HOST:PORT of a cluster, auto, or local"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_at_once(address: str, said: str):
    with pytest.raises(InputError) as refused:
        RayPool(Settings(ray=address), lambda: Work(0, frozenset()))
    assert str(refused.value) == said
