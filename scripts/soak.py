"""Kill a server and its workers at random while it makes real films, and prove that nothing is lost.

    python scripts/soak.py --jobs 20 --kills 6
    make soak                                      # three rounds of a hundred films

A server with a folder of its own is asked for films of a quarter of a second, again and again after every
failure, with one Idempotency-Key a film. Meanwhile `kill -9` hits the server (and with it its workers) or a
worker, at random moments. At the end every film must be completed once, with one file that plays; no state
may have gone back and no progress fallen in what anybody saw; every credit must be where it belongs; and
after sweeping no file may lie about that no job owns.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from unstatic.core.errors import UnstaticError
from unstatic.media.read import read_frames
from unstatic.server import ledger
from unstatic.server.settings import Settings
from unstatic.server.storage import Storage
from unstatic.server.stores import open_stores
from unstatic.server.sweep import Sweeper
from unstatic.server.tables import Account, Entry, Job

ORDER = {"queued": 0, "in_progress": 1, "completed": 2, "failed": 2}
SECONDS, FRAMES = 0.25, 4
# The least standard deviation of a frame, in levels of 255; those of nano have 30 and more
SHOWS = 5.0
LONGEST_S = 1800


def main() -> None:
    """Run the rounds; leaves with 1 if anything was lost."""
    options = parsed()
    print("| round | films | servers killed | workers killed | second attempts | took, s | wrong |")
    print("|---|---|---|---|---|---|---|")
    wrong: list[str] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            found = soak(Path(folder), options.jobs, options.kills, options.seed + number, options.database)
        wrong += found.wrong
        killed = f"{found.killed['server']} | {found.killed['worker']}"
        print(
            f"| {number + 1} | {options.jobs} | {killed} | {found.again}"
            f" | {found.took_s:.0f} | {len(found.wrong)} |",
            flush=True,
        )
    for each in wrong:
        print(each, file=sys.stderr)
    sys.exit(bool(wrong))


@dataclass
class Found:
    """What a round showed."""

    killed: Counter[str] = field(default_factory=Counter)
    again: int = 0
    took_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Victim:
    """A server that is killed and started again."""

    def __init__(self, folder: Path, database: str | None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.settings = Settings.model_validate(
            {"data": folder, "lease": 5, "attempts": 1_000, "drain": 5, "reads": 1_000_000}
            | ({"database": database} if database else {})
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "unstatic", "serve", "--port", str(self.port)]
        environment = os.environ | self.settings.as_environment()
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it without a warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_a_worker(self) -> bool:
        """Kill one of its workers; return whether there was one."""
        assert self.process is not None
        # Children are listed by the thread that started them
        listed = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = [each for path in listed for each in path.read_text().split()]
        for each in found[:1]:
            os.kill(int(each), signal.SIGKILL)
        return bool(found)

    def stop(self) -> None:
        """Let it end."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()


def soak(folder: Path, jobs: int, kills: int, seed: int, database: str | None = None) -> Found:
    """Ask for so many films, and kill so many times meanwhile."""
    found, victim, dice = Found(), Victim(folder, database), random.Random(seed)
    begun, over = time.monotonic(), threading.Event()
    victim.start()
    asking = threading.Thread(target=ask_for_all, args=(victim, jobs, found, over))
    asking.start()
    while not over.is_set() and sum(found.killed.values()) < kills:
        # Not always late enough for the model to be loaded
        over.wait(dice.uniform(0.5, 12))
        if over.is_set():
            break
        if dice.random() < 0.5:
            found.killed["server"] += 1
            victim.kill()
            victim.start()
        elif victim.kill_a_worker():
            found.killed["worker"] += 1
    asking.join()
    victim.stop()
    found.took_s = time.monotonic() - begun
    check(victim.settings, jobs, found)
    return found


def ask_for_all(victim: Victim, jobs: int, found: Found, over: threading.Event) -> None:
    """Ask for every film until it is known, then watch until all have ended."""
    until_s, names, last = time.monotonic() + LONGEST_S, dict[int, str](), dict[str, tuple[int, int]]()
    with httpx.Client(base_url=f"http://127.0.0.1:{victim.port}/v1", timeout=20) as client:
        while time.monotonic() < until_s and len(names) < jobs:
            number = len(names)
            body = {"prompt": f"a red ball bounces on grass, {number}", "seconds": SECONDS, "seed": number}
            try:
                answer = client.post("/videos", json=body, headers={"Idempotency-Key": f"film-{number}"})
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code != 200:
                found.wrong.append(
                    f"film {number} was answered with {answer.status_code}: {answer.text[:200]}"
                )
                break
            names[number] = answer.json()["id"]
        waiting = set(names.values())
        while waiting and time.monotonic() < until_s:
            for name in list(waiting):
                try:
                    answer = client.get(f"/videos/{name}")
                except httpx.TransportError:
                    time.sleep(0.1)
                    continue
                said = answer.json()
                if answer.status_code != 200:
                    found.wrong.append(f"{name} is answered with {answer.status_code}")
                    waiting.discard(name)
                    continue
                seen = ORDER[said["status"]], said["progress"]
                if seen < last.get(name, (0, 0)) or seen[1] < last.get(name, (0, 0))[1]:
                    found.wrong.append(f"{name} went back from {last[name]} to {seen}")
                last[name] = seen
                if seen[0] == 2:
                    waiting.discard(name)
            time.sleep(0.05)
    found.wrong += [f"{name} never ended" for name in waiting]
    over.set()


def check(settings: Settings, jobs: int, found: Found) -> None:
    """Look for what is lost, doubled or left over."""
    database, storage = open_stores(settings)
    with database.reading() as session:
        rows = list(session.scalars(select(Job)))
        found.again = sum(row.attempts - 1 for row in rows)
        if len(rows) != jobs:
            found.wrong.append(f"{len(rows)} jobs were made of {jobs} that were asked for")
        check_credits(found, session)
    for row in rows:
        if row.status != "completed" or row.output is None:
            found.wrong.append(f"{row.id} is {row.status}: {json.dumps(row.error_message)}")
            continue
        check_film(storage, row.output, found)
    Sweeper(database, storage, settings).look()
    kept = {"/".join(each.key.split("/")[:3]) for each in storage.list("jobs")}
    if left := kept - {row.output for row in rows}:
        found.wrong.append(f"files are left over: {sorted(left)}")
    database.close()


def check_film(storage: Storage, output: str, found: Found) -> None:
    """Look whether a film plays to its end, and shows something all the way."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "video.mp4"
        storage.fetch(f"{output}/video.mp4", path)
        try:
            frames = list(read_frames(path, container="mp4"))
        except UnstaticError as error:
            found.wrong.append(f"{output} does not play: {error}")
            return
        if len(frames) != FRAMES or min(float(np.std(frame)) for frame in frames) < SHOWS:
            found.wrong.append(f"{output} has {len(frames)} frames, or some that show nothing")


def check_credits(found: Found, session: Session) -> None:
    """Look whether credits add up."""
    for account in session.scalars(select(Account)):
        pots = ledger.pots(session, account.id)
        if sum(pots.values()) or pots["reserved"] or pots["available"] != account.balance:
            found.wrong.append(f"credits do not add up: {pots}, balance {account.balance}")
    closed = select(Entry.job_id).where(Entry.step == "close").group_by(Entry.job_id)
    if twice := list(session.scalars(closed.having(func.count() != 2))):
        found.wrong.append(f"closed more than once: {twice}")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="a URL; without it SQLite in the folder of the round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
