"""What a server costs: time that a job takes beyond its film, two workers beside one, reading while it works.

    python benchmarks/server_load.py
    python benchmarks/server_load.py --jobs 40 --seconds 4 --repeats 1

Starts `unstatic serve` and `unstatic worker` on this machine with folders of their own, and prints three
Markdown tables. Overhead: from POST to "completed", asked 50 times a second once the film could be there,
less what the same film takes in this process with as many threads and the same files written. Workers: films
a minute with one worker of one thread and with two, the same films, an even number, once all are seen at
work. Reading: GET of one job, of the list and of a thumbnail, 200 a second in all, while nothing is made and
while a worker of one thread makes films without a pause.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from unstatic.core.threads import SHORT_SPINS, quiet_threads

quiet_threads(spins=SHORT_SPINS)  # before torch comes in, as in a worker

import httpx  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from unstatic.generate.api import load  # noqa: E402
from unstatic.server.filming import film, plan_of  # noqa: E402
from unstatic.server.spec import Spec  # noqa: E402
from unstatic.server.storage import Storage  # noqa: E402

RATE, READ_S = 200, 10.0
SIZE = "128x128"
PROMPT = "a red ball bounces on grass"


def main() -> None:
    """Print the tables."""
    options = parsed()
    if options.alone:
        torch.set_num_threads(1)
        films_alone(options, ready=lambda: (print("ready", flush=True), sys.stdin.readline()))
        return
    for part in options.parts:
        {"overhead": overheads, "workers": workers, "reading": reading}[part](options)


@contextmanager
def serving(folder: Path, *, workers: int) -> Generator[httpx.Client]:
    """Run a server, and yield a client that speaks to it."""
    environment = os.environ | {"UNSTATIC_SERVE_DATA": str(folder), "UNSTATIC_SERVE_READS": "10000000"}
    command = [sys.executable, "-m", "unstatic", "serve", "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with httpx.Client(base_url=address, timeout=600) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


@contextmanager
def working(folder: Path) -> Generator[None]:
    """Run a worker of one thread."""
    environment = os.environ | {"UNSTATIC_SERVE_DATA": str(folder)}
    command = [sys.executable, "-m", "unstatic", "worker", "--threads", "1"]
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def asked(client: httpx.Client, seconds: float, seed: int) -> str:
    """Ask for a film and return the name of its job."""
    body = {"prompt": PROMPT, "seconds": str(seconds), "seed": seed, "size": SIZE}
    answer = client.post("/videos", json=body).raise_for_status()
    return str(answer.json()["id"])


def wait_for(client: httpx.Client, names: list[str], pause_s: float = 0.02) -> None:
    """Wait until jobs are completed."""
    for name in names:
        while (said := client.get(f"/videos/{name}").json())["status"] != "completed":
            if said["status"] == "failed":
                raise SystemExit(f"a job failed: {json.dumps(said['error'])}")
            time.sleep(pause_s)


def overheads(options: argparse.Namespace) -> None:
    """Print how long a job takes beyond its film."""
    print("| | job, s | film alone, s | overhead, ms |\n|---|---|---|---|")
    for repeat in range(options.repeats):
        by_itself = statistics.median(films_alone(options))
        with tempfile.TemporaryDirectory() as name, serving(Path(name), workers=1) as client:
            wait_for(client, [asked(client, options.seconds, 0)])
            took = []
            for seed in range(options.jobs):
                begun = time.perf_counter()
                job = asked(client, options.seconds, seed)
                time.sleep(by_itself)  # it cannot be there yet, and asking takes the film's own cores
                wait_for(client, [job])
                took.append(time.perf_counter() - begun)
        job_s = statistics.median(took)
        print(f"| run {repeat + 1} | {job_s:.3f} | {by_itself:.3f} | {1000 * (job_s - by_itself):.0f} |")
    print()


def films_alone(options: argparse.Namespace, ready: Callable[[], object] = lambda: None) -> list[float]:
    """Return how long each of the films takes here; `ready` is called after one that does not count."""
    model, took = load("nano"), []
    with tempfile.TemporaryDirectory() as name:
        storage = Storage.at(f"file://{name}/files", {})
        for seed in range(-1, options.jobs):
            spec = Spec(task="create", prompt=PROMPT, seed=max(seed, 0), seconds=options.seconds, size=SIZE)
            with tempfile.TemporaryDirectory() as scratch:
                begun = time.perf_counter()
                made = plan_of(spec, model, Path)
                film(model, made, storage, f"jobs/video_{seed + 1}/1", Path(scratch), lambda _: None)
                took.append(time.perf_counter() - begun)
            if seed < 0:
                ready()
    return took[1:]


def workers(options: argparse.Namespace) -> None:
    """Print how many films a minute one worker and two make."""
    print("| | one worker, films a minute | two | ratio | the same films without a server, ratio |")
    print("|---|---|---|---|---|")
    for repeat in range(options.repeats):
        rates = []
        for count in (1, 2):
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                client = stack.enter_context(serving(folder, workers=0))
                for _ in range(count):
                    stack.enter_context(working(folder))
                wait_for_workers(client, options.seconds, count)
                begun = time.perf_counter()
                wait_for(client, [asked(client, options.seconds, seed) for seed in range(options.jobs)], 0.2)
                rates.append(60 * options.jobs / (time.perf_counter() - begun))
        one, two = (processes_alone(options, count) for count in (1, 2))
        ratios = f"{rates[1] / rates[0]:.2f} | {two / one:.2f}"
        print(f"| run {repeat + 1} | {rates[0]:.1f} | {rates[1]:.1f} | {ratios} |")
    print()


def processes_alone(options: argparse.Namespace, count: int) -> float:
    """Return how many of the same films a second processes of one thread make, with nothing beside them."""
    command = [sys.executable, __file__, "--jobs", str(options.jobs // count), "--alone"]
    command += ["--seconds", str(options.seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    begun = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.communicate()
    return options.jobs / (time.perf_counter() - begun)


def wait_for_workers(client: httpx.Client, seconds: float, count: int) -> None:
    """Have films made until so many are made at the same time: all workers have loaded their model then."""
    most = 0
    while most < count:
        names = [asked(client, seconds, seed) for seed in range(2 * count)]
        states = [""]
        while not {"completed"}.issuperset(states):
            states = [client.get(f"/videos/{name}").json()["status"] for name in names]
            most = max(most, states.count("in_progress"))
            time.sleep(0.1)


def reading(options: argparse.Namespace) -> None:
    """Print how long reading takes while nothing is made, and while films are."""
    print("| | idle, half, ms | 99 of 100 | working, half | 99 of 100 | ratio of the last |")
    print("|---|---|---|---|---|---|")
    for repeat in range(options.repeats):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            client = stack.enter_context(serving(folder, workers=0))
            stack.enter_context(working(folder))
            name = asked(client, options.seconds, 0)
            wait_for(client, [name])
            idle = asyncio.run(read(str(client.base_url), name))
            over = threading.Event()
            busy = threading.Thread(target=keep_busy, args=(client, options.seconds, over))
            busy.start()
            time.sleep(1)
            working_times = asyncio.run(read(str(client.base_url), name))
            over.set()
            busy.join()
        quantiles = [1000 * np.quantile(each, q) for each in (idle, working_times) for q in (0.5, 0.99)]
        figures = " | ".join(f"{each:.1f}" for each in quantiles)
        print(f"| run {repeat + 1} | {figures} | {quantiles[3] / quantiles[1]:.2f} |")


def keep_busy(client: httpx.Client, seconds: float, over: threading.Event) -> None:
    """Keep four films waiting."""
    names: list[str] = []
    while not over.is_set():
        waiting = [each for each in names if client.get(f"/videos/{each}").json()["status"] == "queued"]
        names = waiting + [asked(client, seconds, 0) for _ in range(4 - len(waiting))]
        time.sleep(0.2)
    for each in names:
        client.delete(f"/videos/{each}")


async def read(base: str, name: str) -> list[float]:
    """Return how long each of `RATE` answers a second took, from when it was due."""
    paths = [f"/videos/{name}", "/videos?limit=20", f"/videos/{name}/content?variant=thumbnail"]
    lines, took = Lines(base), list[float]()

    async def once(path: str, due: float) -> None:
        await lines.get(path)
        took.append(time.perf_counter() - due)

    begun, tasks = time.perf_counter(), []
    for number in range(int(RATE * READ_S)):
        due = begun + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(once(paths[number % len(paths)], due)))
    await asyncio.gather(*tasks)
    lines.close()
    return took


class Lines:
    """Open connections: an asking side that costs little, as it shares the cores with what is measured."""

    def __init__(self, base: str) -> None:
        self.at = urlsplit(base.rstrip("/"))
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str) -> bytes:
        """Return the body of an answer, which must be 200."""
        assert self.at.hostname is not None
        line = self.idle.pop() if self.idle else await asyncio.open_connection(self.at.hostname, self.at.port)
        reader, writer = line
        writer.write(f"GET {self.at.path}{path} HTTP/1.1\r\nHost: {self.at.netloc}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if " 200 " not in head.partition("\r\n")[0]:
            raise SystemExit(f"{path} was answered {head.partition(chr(13))[0]}")
        body = await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
        self.idle.append(line)
        return body

    def close(self) -> None:
        """Close all."""
        for _, writer in self.idle:
            writer.close()


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parts = ["overhead", "workers", "reading"]
    parser.add_argument("--alone", action="store_true", help="make the films only: for the script itself")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
