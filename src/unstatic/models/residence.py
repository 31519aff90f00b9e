"""Where the blocks of a network are: those that do not fit come one by one, each while the one before works.

To a network a row of blocks that visit is what its `blocks` are otherwise: it goes through them in order.
Two are there at once: the one that works, and the next, which a thread brings. They come from files to the
CPU, or from the computer's memory to an accelerator. What they compute is the same to the last bit.

    model.blocks = from_files(model.blocks, ready)        # of a skeleton on the meta device
    model.blocks = from_memory(model.blocks, device)      # of blocks on the CPU
"""

import copy
import mmap
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

ALIGNMENT = 256  # bytes, what CUDA's own allocations have


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

    On CUDA their weights are locked, and copied on a stream of their own while the block before computes.
    """
    return _Travel(blocks, device).visiting()


class _Travel:
    """Weights that wait on the CPU, and how they go to a device and leave it."""

    def __init__(self, blocks: Iterable[nn.Module], device: torch.device) -> None:
        self.blocks, self.device = list(blocks), device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.home: list[dict[str, Tensor]] = []
        self.away: list[dict[str, Tensor]] = []
        self._leaving: deque[tuple[torch.cuda.Event, Mapping[str, Tensor]]] = deque()
        for block in self.blocks:  # one after the other: what is copied is let go at once
            self.home.append(self._waiting(block.state_dict()))
            self.away.append({name: _placeholder(each) for name, each in self.home[-1].items()})
            block.requires_grad_(False).load_state_dict(self.away[-1], assign=True)

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
        return home if self.stream is None else locked(home)


def _placeholder(weight: Tensor) -> Tensor:
    return torch.empty(weight.shape, dtype=weight.dtype, device="meta")


# --------------------------------------------------------------------------------------------- locked memory


def locked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors into one piece of memory that stays where it is, so that a GPU can fetch them by itself.

    The piece is as large as they are: PyTorch's own pinned memory rounds each tensor up to a power of two, in
    all to one and a half times a transformer. It is let go with the last of the tensors.
    """
    leaves = [leaf for each in state.values() for leaf in _leaves(each)]
    sizes = [-(-leaf.numel() * leaf.element_size() // ALIGNMENT) * ALIGNMENT for leaf in leaves]
    buffer = _Pages(-1, max(1, sum(sizes)))  # begins with a page, and shares none
    whole = torch.frombuffer(buffer, dtype=torch.uint8)
    lock_pages(whole.data_ptr(), len(buffer))
    buffer.locked_at = whole.data_ptr()
    room = iter(whole.split(sizes)) if sizes else iter(())

    def placed(leaf: Tensor) -> Tensor:
        there = next(room)[: leaf.numel() * leaf.element_size()].view(leaf.dtype).view(leaf.shape)
        return there.copy_(leaf)

    return {name: _rebuilt(each, placed) for name, each in state.items()}


class _Pages(mmap.mmap):
    """Memory that is unlocked before it is unmapped."""

    locked_at: int | None = None

    def __del__(self) -> None:
        if self.locked_at is not None and not sys.is_finalizing():
            unlock_pages(self.locked_at)


def lock_pages(address: int, size: int) -> None:
    """Let GPUs read some memory of this process by themselves; it is no longer moved."""
    torch.cuda.check_error(int(_cudart().cudaHostRegister(address, size, 0)))


def unlock_pages(address: int) -> None:
    """Undo `lock_pages`."""
    torch.cuda.check_error(int(_cudart().cudaHostUnregister(address)))


def _cudart() -> Any:
    return torch.cuda.cudart()


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that a tensor is made of: one in 8 bits has numbers and scales."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from _leaves(getattr(tensor, name))


def _rebuilt(tensor: Tensor, placed: Callable[[Tensor], Tensor]) -> Tensor:
    """Make such a tensor of others instead, asked for in the order of `_leaves`."""
    if not is_traceable_wrapper_subclass(tensor):
        return placed(tensor)
    names, about = tensor.__tensor_flatten__()
    inner = {name: _rebuilt(getattr(tensor, name), placed) for name in names}
    return type(tensor).__tensor_unflatten__(inner, about, tensor.shape, tensor.stride())
