"""What the loop asks of a training step and of its data: three small protocols and one result."""

from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOutput:
    """The scalar to descend, still attached to its graph, and numbers worth logging."""

    loss: Float[Tensor, ""]
    metrics: dict[str, float] = field(default_factory=dict)


# Not typing.Self, which the run-time shape checks of the tests cannot read
Same = TypeVar("Same")


@runtime_checkable
class Batch(Protocol):
    """Anything that knows how many samples it holds and can move to a device."""

    @property
    def num_samples(self) -> int: ...

    def to(self: Same, device: torch.device) -> Same: ...


BatchT = TypeVar("BatchT", bound=Batch)
AnyBatch = TypeVar("AnyBatch", bound=Batch, contravariant=True)
MadeBatch = TypeVar("MadeBatch", bound=Batch, covariant=True)


@runtime_checkable
class Step(Protocol[AnyBatch]):
    """Turn a batch into a loss; all randomness comes from `generator`, so a step can be repeated exactly."""

    def __call__(self, batch: AnyBatch, generator: torch.Generator) -> StepOutput: ...


@runtime_checkable
class Batches(Protocol[MadeBatch]):
    """Batches by number: `at(index)` is a pure function, hence a run resumes by knowing its index."""

    def at(self, index: int) -> MadeBatch: ...
