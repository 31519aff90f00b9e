"""Where the blocks of a network are: those that do not fit come one by one, each while the one before works.

To a network a row of blocks that visit is what its `blocks` are otherwise: it goes through them in order.
Two are there at once: the one that works, and the next, which a thread brings. They come from files to the
CPU, or from the computer's memory to an accelerator. What they compute is the same to the last bit.

    model.blocks = from_files(model.blocks, ready)        # of a skeleton on the meta device
    model.blocks = from_memory(model.blocks, device)      # of blocks on the CPU
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor, nn


class Visiting(nn.Module):
    """A row of blocks that `bring` brings and `leave` lets go, by their numbers.

    One pass at a time goes through them, from the first to the last; one that breaks off does no harm.
    """

    def __init__(
        self, count: int, bring: Callable[[int], nn.Module], leave: Callable[[int, nn.Module], None]
    ) -> None:
        super().__init__()
        self.count, self._bring, self._leave = count, bring, leave
        self._courier = ThreadPoolExecutor(1, thread_name_prefix="blocks")
        self._ahead: tuple[int, Future[nn.Module]] | None = None
        self._here: tuple[int, nn.Module] | None = None

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[nn.Module]:
        for number in range(self.count):
            yield self._arrive(number)

    def _arrive(self, number: int) -> nn.Module:
        """Let the block before go, and send for the one after."""
        if self._here is not None:
            self._leave(*self._here)
            self._here = None
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] != number:  # a pass broke off
            self._leave(ahead[0], ahead[1].result())
            ahead = None
        coming = self._courier.submit(self._bring, number) if ahead is None else ahead[1]
        block = coming.result()
        self._here = number, block
        following = (number + 1) % self.count
        if following != number:
            self._ahead = following, self._courier.submit(self._bring, following)
        return block


def from_files(skeleton: Iterable[nn.Module], ready: Callable[[nn.Module, int], None]) -> Visiting:
    """Let blocks come that `ready` makes of copies of a skeleton, on the CPU."""
    shapes = list(skeleton)

    def bring(number: int) -> nn.Module:
        block = copy.deepcopy(shapes[number])
        ready(block, number)
        return block

    def leave(_: int, block: nn.Module) -> None:
        # Whoever passed through may still hold the block itself
        for name in [name for name, _ in block.named_children()]:
            delattr(block, name)

    return Visiting(len(shapes), bring, leave)


def from_memory(blocks: Iterable[nn.Module], device: torch.device) -> Visiting:
    """Let blocks that are on the CPU visit a device; they stay the same modules, with other weights inside.

    On CUDA their weights are pinned, and copied on a stream of their own while the block before computes.
    """
    return _Travel(blocks, device).visiting()


class _Travel:
    """Weights that wait on the CPU, and how they go to a device and leave it."""

    def __init__(self, blocks: Iterable[nn.Module], device: torch.device) -> None:
        self.blocks, self.device = list(blocks), device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.home = [self._waiting(block.state_dict()) for block in self.blocks]
        self.away = [{name: _placeholder(each) for name, each in home.items()} for home in self.home]
        self._leaving: deque[tuple[torch.cuda.Event, Mapping[str, Tensor]]] = deque()
        for block, away in zip(self.blocks, self.away, strict=True):
            block.requires_grad_(False).load_state_dict(away, assign=True)

    def visiting(self) -> Visiting:
        """Return the row."""
        return Visiting(len(self.blocks), self.bring, self.leave)

    def bring(self, number: int) -> nn.Module:
        """Copy a block's weights to the device; in the courier's thread."""
        for _ in range(len(self._leaving)):  # wait until the device is done with them: then they are free
            self._leaving[0][0].synchronize()
            self._leaving.popleft()
        with torch.no_grad(), torch.cuda.stream(self.stream):
            there = {
                name: each.to(self.device, non_blocking=True, copy=True)
                for name, each in self.home[number].items()
            }
        if self.stream is not None:
            self.stream.synchronize()
        self.blocks[number].load_state_dict(there, assign=True)
        return self.blocks[number]

    def leave(self, number: int, block: nn.Module) -> None:
        """Let a block's weights go as soon as the device has done what it was told until now."""
        if self.stream is not None:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self.device))
            self._leaving.append((event, block.state_dict()))
        block.load_state_dict(self.away[number], assign=True)

    def _waiting(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        home = {name: each.detach().to("cpu") for name, each in state.items()}
        return home if self.stream is None else {name: each.pin_memory() for name, each in home.items()}


def _placeholder(weight: Tensor) -> Tensor:
    return torch.empty(weight.shape, dtype=weight.dtype, device="meta")
