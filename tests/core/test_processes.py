import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from unstatic.core.processes import Place, end_together, stop_already, this_process

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Leave signals as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_torchrun_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_process() == Place(rank=0, size=1, local_rank=0, local_size=1)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert this_process() == Place(rank=5, size=8, local_rank=1, local_size=4)
    monkeypatch.delenv("MASTER_PORT")  # a scheduler may set some of them for reasons of its own
    assert this_process() == Place()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_leader_stops_once(number: signal.Signals) -> None:
    end_together(Place(rank=0, size=2))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)


def test_followers_leave_ctrl_c_to_the_leader() -> None:
    end_together(Place(rank=1, size=2))
    signal.raise_signal(signal.SIGINT)


def test_one_process_is_left_as_it_is() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    end_together(Place())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    stop_already()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


ENDING = """
import os, signal, sys, time
from unstatic.core import processes
processes.ORDER_S = float(sys.argv[1])
processes.end_in_order()
try:
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(9)
except KeyboardInterrupt:
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    print("in order", processes.code_of_end())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize(("patience", "code", "said"), [("60", 0, "in order 129\n"), ("0", -1, "")])
def test_what_comes_while_things_are_put_in_order_waits_but_not_for_ever(patience: str, code: int, said: str):
    """The end of a terminal may be told twice; whoever hangs is ended by the next signal."""
    ran = subprocess.run(
        [sys.executable, "-c", ENDING, patience], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout) == (code, said), ran.stderr
