"""Of one process; several send each other something in test_context_parallel.py and test_together.py."""

import socket

import pytest
import torch
import torch.distributed as dist

from unstatic.core.collectives import exchange, joined
from unstatic.core.errors import InputError


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    named = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in named.items():
        monkeypatch.setenv(name, value)


def test_what_is_sent_arrives_in_its_shape() -> None:
    part = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    with joined():
        (same,) = exchange([part.T], [(3, 2)])
        assert torch.equal(same, part.T)
    assert not dist.is_initialized()


def test_a_problem_of_one_is_the_problem_of_all() -> None:
    with pytest.raises(InputError, match=r"^process 0: no room, é$"), joined("process 0: no room, é"):
        pytest.fail("it has joined")
    assert not dist.is_initialized()
