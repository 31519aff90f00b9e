"""Blocks that come one by one compute what those that stay do, and only two are there at once."""

import gc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models import residence
from unstatic.models.quantise import KINDS, quantise
from unstatic.models.residence import ALIGNMENT, Visiting, from_files, from_memory, locked

CPU, META = torch.device("cpu"), torch.device("meta")
COUNT, WIDTH = 5, 16


def row(device: torch.device = CPU) -> nn.ModuleList:
    torch.manual_seed(0)
    with device:
        blocks = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(COUNT)]
    return nn.ModuleList(blocks).requires_grad_(False)


def passed(blocks: nn.ModuleList | Visiting) -> Tensor:
    x = torch.linspace(-1, 1, WIDTH)[None]
    with torch.inference_mode():
        for block in blocks:
            x = block(x)
    return x


def reading(states: list[dict[str, Tensor]]) -> Callable[[nn.Module, int], None]:
    return lambda block, number: block.load_state_dict(
        {name: each.clone() for name, each in states[number].items()}, assign=True
    )


def visiting(kind: str, blocks: nn.ModuleList) -> Visiting:
    """Let copies of blocks visit, from files or from memory."""
    if kind == "memory":
        return from_memory(blocks, CPU)
    states = [{name: each.clone() for name, each in block.state_dict().items()} for block in blocks]
    return from_files(row(META), reading(states))


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_what_is_computed_is_the_same_pass_after_pass(kind: str) -> None:
    expected, blocks = passed(row()), visiting(kind, row())
    assert len(blocks) == COUNT
    for _ in range(3):
        assert torch.equal(passed(blocks), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_8_bits_visit_too(kind: str) -> None:
    plain = row()
    for block in plain:
        quantise(block, kind)
    expected, blocks = passed(plain), from_memory(plain, CPU)
    assert torch.equal(passed(blocks), expected)
    assert torch.equal(passed(blocks), expected)


def test_weights_really_move_and_go() -> None:
    plain = row()
    homes = [block[0].weight.data_ptr() for block in plain]
    blocks = from_memory(plain, CPU)
    assert all(block[0].weight.is_meta for block in plain)
    for number, block in enumerate(blocks):
        assert block is plain[number], "what was hooked to a block stays"
        assert block[0].weight.data_ptr() not in homes
        there = [not each[0].weight.is_meta for each in plain]
        assert there[number]
        assert sum(there) <= 2


def test_at_most_two_blocks_are_there() -> None:
    there: list[int] = []
    most = 0

    def bring(number: int) -> nn.Module:
        nonlocal most
        there.append(number)
        most = max(most, len(there))
        return nn.Identity()

    blocks = Visiting(COUNT, bring, lambda number, _: there.remove(number))
    for number, _ in enumerate(blocks):
        blocks._courier.submit(lambda: None).result()  # whoever was sent for is there
        assert sorted(there) == sorted({number, (number + 1) % COUNT})
    assert most == 2


def test_whoever_holds_a_block_of_files_holds_no_weights_of_it() -> None:
    blocks = list(visiting("files", row()))
    assert [len(list(block.parameters())) for block in blocks] == [0] * (COUNT - 1) + [2]


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_a_pass_that_breaks_off_does_no_harm(kind: str) -> None:
    expected, blocks = passed(row()), visiting(kind, row())
    stale = iter(blocks)
    next(stale)
    next(stale)
    assert torch.equal(passed(blocks), expected)
    stale.close()
    assert torch.equal(passed(blocks), expected)


def test_the_next_is_brought_while_one_works() -> None:
    brought: list[int] = []

    def bring(number: int) -> nn.Module:
        brought.append(number)
        return nn.Identity()

    blocks = Visiting(COUNT, bring, lambda *_: None)
    for number, _ in enumerate(blocks):
        blocks._courier.submit(lambda: None).result()
        assert brought[-1] == (number + 1) % COUNT
    assert brought == [0, 1, 2, 3, 4, 0]
    assert all((one + 1) % COUNT == other for one, other in pairwise(brought))


class Pages:
    """Stands in for the CUDA runtime: which memory is locked, and how much was at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.locked: dict[int, int] = {}
        monkeypatch.setattr(residence, "lock_pages", self.lock)
        monkeypatch.setattr(residence, "unlock_pages", self.unlock)

    def lock(self, address: int, size: int) -> None:
        assert address % 4096 == 0, "a page is locked once"
        self.locked[address] = size

    def unlock(self, address: int) -> None:
        maps = Path("/proc/self/maps")
        spans = (
            [line.split()[0].split("-") for line in maps.read_text().splitlines()] if maps.exists() else []
        )
        there = any(int(begin, 16) <= address < int(end, 16) for begin, end in spans)
        assert there or not spans, "it is unlocked while it is there"
        del self.locked[address]


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_locked_weights_are_the_same_and_take_no_more_room(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's pinned memory rounds up to powers of two: 14 billion weights took 43 GB instead of 28."""
    pages, blocks = Pages(monkeypatch), row()
    for block in blocks if kind else ():
        quantise(block, kind)
        del block
    expected, state = passed(blocks), blocks.state_dict()
    there = locked(state)
    assert [(name, each.shape, each.dtype) for name, each in there.items()] == [
        (name, each.shape, each.dtype) for name, each in state.items()
    ]
    blocks.load_state_dict(there, assign=True)
    assert torch.equal(passed(blocks), expected)
    plain = sum(each.numel() * each.element_size() for each in state.values())
    assert len(pages.locked) == 1
    assert sum(pages.locked.values()) <= 4 * len(state) * ALIGNMENT + plain

    # With the last of them the memory is let go
    del state, there
    assert pages.locked
    del blocks
    gc.collect()
    assert not pages.locked


def test_nothing_and_what_is_empty_can_be_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    Pages(monkeypatch)
    assert locked({}) == {}
    made = locked({"none": torch.zeros(0, 3), "one": torch.tensor(7.0, dtype=torch.bfloat16)})
    assert made["none"].shape == (0, 3)
    assert made["one"] == 7


def test_one_block_alone_is_brought_every_time() -> None:
    plain = row()[:1]
    expected, blocks = passed(plain), from_memory(plain, CPU)
    assert torch.equal(passed(blocks), expected)
    assert torch.equal(passed(blocks), expected)


def test_what_goes_wrong_on_the_way_is_said() -> None:
    def ready(_: nn.Module, number: int) -> None:
        if number == 2:
            raise InputError("the file is gone: pull the model again")

    blocks = from_files([nn.Identity() for _ in range(COUNT)], ready)
    assert len(list(zip(range(2), blocks, strict=False))) == 2
    with pytest.raises(InputError, match="the file is gone"):
        passed(blocks)
