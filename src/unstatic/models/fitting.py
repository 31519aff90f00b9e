"""A transformer is put together block by block: weights, LoRAs, 8 bits, and where it stays.

So never more than one block stands in memory in another form than the one it is used in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from unstatic.core.memory import trim_memory
from unstatic.models.lora import Lora, check_fits, fuse
from unstatic.models.prepare import join_attention, prepare_for_cpu
from unstatic.models.quantise import Kind, quantise
from unstatic.models.residence import from_files, from_memory
from unstatic.models.transformer import VideoTransformer

ROW = "blocks."
CPU = torch.device("cpu")

Fill = Callable[[nn.Module, str], None]
"""Gives a module the weights whose names begin with a prefix; with "" those outside of blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What makes a transformer smaller: weights in 8 bits, and blocks that come when it is their turn."""

    quantise: Kind | None = None
    offload: bool = False

    def __str__(self) -> str:
        options = (
            f"--quantise {self.quantise}" if self.quantise else "",
            "--offload" if self.offload else "",
        )
        return " ".join(filter(None, options))


WHOLE = Fit()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """What is done to a transformer while it is loaded: `loras` are fused, `prepare` is for CPUs."""

    device: torch.device = CPU
    fit: Fit = WHOLE
    loras: tuple[tuple[Lora, float], ...] = ()
    prepare: bool = False

    def put_together(self, model: VideoTransformer, fill: Fill) -> VideoTransformer:
        """Fill `model` and bring it to its device. Raises InputError, before that, for LoRAs of others."""
        for lora, _ in self.loras:
            check_fits(model, lora)
        model.requires_grad_(False)
        if self.fit.offload and self.device.type == "cpu":
            model.set_submodule("blocks", from_files(model.blocks, self._maker(fill)))
        else:
            ready = self._maker(fill)
            for number, block in enumerate(model.blocks):
                ready(block, number)
            if self.fit.offload:
                model.set_submodule("blocks", from_memory(model.blocks, self.device))

        # Outside of blocks
        fill(model, "")
        model.to(self.device).eval()
        for lora, weight in self.loras:
            outside = {name: each for name, each in lora.changes.items() if not name.startswith(ROW)}
            fuse(model, replace(lora, changes=outside), weight)
        return prepare_for_cpu(model) if self.prepare else model

    def _maker(self, fill: Fill) -> Callable[[nn.Module, int], None]:
        def ready(block: nn.Module, number: int) -> None:
            prefix = f"{ROW}{number}."
            fill(block, prefix)
            block.to(self.device).eval()
            for lora, weight in self.loras:
                fuse(block, lora.below(prefix), weight)
            if self.prepare:
                join_attention(block)
            if self.fit.quantise is not None:
                quantise(block, self.fit.quantise)
                trim_memory()  # what it was before, and what came in between, is larger than it is
            if self.prepare:
                prepare_for_cpu(block)
            if self.fit.offload:
                block.to(CPU)

        return ready


PLAIN = Fitting()
