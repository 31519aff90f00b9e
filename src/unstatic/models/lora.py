"""LoRA: small changes of a transformer's weights, in the files that others publish (2106.09685).

    lora = read_lora(Path("style.safetensors"))
    fuse(transformer, lora, weight=0.8)          # for good, and as fast as before
    attach(transformer, lora, weight=0.8)        # beside the weights: can be taken away again
    detach(transformer, "style")

A change of a weight W is W + weight (alpha / rank) up @ down; some files also hold whole differences of
weights and biases (`diff`, `diff_b`). The styles of diffusers and peft, of ComfyUI and of kohya are told by
their names.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models.open_manifest import read_json
from unstatic.models.transformer import VideoTransformer
from unstatic.models.wan_keys import DIFFUSERS, IN_A_BLOCK, ORIGINAL, OURS, OUTSIDE_BLOCKS
from unstatic.models.weight_files import header, read_weights

PREFIXES = ("base_model.model.", "transformer.", "transformer_2.", "diffusion_model.")
KOHYA = "lora_unet_"
LEAF = re.compile(
    r"(.+)\.(lora_A|lora_B|lora_down|lora_up)(?:\.default)?\.(weight|bias)|(.+)\.(alpha|diff|diff_b|diff_m)"
)


class Change(NamedTuple):
    """What is added to one layer: a product of two thin matrices, or a difference; and to its bias."""

    down: Float[Tensor, "r i"] | None
    up: Float[Tensor, "o r"] | None
    alpha: float | None
    difference: Tensor | None
    bias: Tensor | None

    def of_weight(self) -> Tensor | None:
        """Return what is added to the weight, at weight 1, in float32."""
        added = None if self.difference is None else self.difference.float()
        if self.down is None or self.up is None:
            return added
        if self.up.shape[1] != len(self.down):
            return self.up.new_zeros(0)  # fits nowhere
        product = self.scale * (self.up.float() @ self.down.float())
        return product if added is None else product + added

    @property
    def is_zero(self) -> bool:
        """Whether nothing is changed."""
        parts = (self.up, self.difference, self.bias)
        return not any(part is not None and bool(part.any()) for part in parts)

    def to(self, like: Tensor) -> "Change":
        """Return the same where and in the dtype of a tensor."""
        down, up, difference, bias = (
            None if part is None else part.to(like.device, like.dtype)
            for part in (self.down, self.up, self.difference, self.bias)
        )
        return Change(down, up, self.alpha, difference, bias)

    @property
    def scale(self) -> float:
        """How much of the product of the matrices counts."""
        assert self.down is not None, "only products are scaled"
        return 1.0 if self.alpha is None else self.alpha / len(self.down)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """All changes of one file, by the names of our layers."""

    name: str
    path: Path
    changes: Mapping[str, Change]

    def below(self, prefix: str) -> "Lora":
        """Return the changes of layers whose names begin so, by the rest of their names."""
        found = {name: each for name, each in self.changes.items() if name.startswith(prefix)}
        return replace(self, changes={name.removeprefix(prefix): each for name, each in found.items()})


class Use(NamedTuple):
    """A file, how much it counts, and for which transformer of a pair."""

    path: Path
    weight: float
    part: Literal["", "early", "late"]


def parse_use(text: str) -> Use:
    """Read FILE, FILE@WEIGHT, early:FILE or late:FILE@WEIGHT. Raises InputError for no number after the @."""
    part: Literal["", "early", "late"] = ""
    if text.startswith("early:"):
        part = "early"
    elif text.startswith("late:"):
        part = "late"
    name, at, weight = text.removeprefix(f"{part}:" if part else "").rpartition("@")
    if not at:
        return Use(Path(weight), 1.0, part)
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{weight!r} is no weight of a LoRA: write FILE@0.8, say")
    return Use(Path(name), number, part)


# ---------------------------------------------------------------------------------------------------- reading


def read_lora(path: Path) -> Lora:
    """Read a file of any style. Raises InputError for one that is damaged, or for another kind of model."""
    if not path.is_file():
        raise InputError(f"there is no LoRA {path}: check the name")
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_weights([path], torch.float32).items():
        match = LEAF.fullmatch(name)
        if match is None:
            raise InputError(f"{path} holds {name!r}, which is no part of a LoRA: use a LoRA of a Wan model")
        layer, leaf = _layer(match[1] or match[4], path), match[2] or match[5]
        found.setdefault(layer, {})[f"{leaf}.bias" if match[3] == "bias" else leaf] = tensor
    try:
        alpha = _stated_alpha(path)
        changes = {layer: _change(parts, alpha) for layer, parts in found.items()}
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, RuntimeError) as wrong:
        raise InputError(f"{path} is damaged ({' '.join(str(wrong).split())}): download it again") from None
    for layer, change in changes.items():
        if (change.down is None) != (change.up is None):
            raise InputError(f"{path} has one half of what changes {layer!r}: download it again")
        halves = [each for each in (change.down, change.up) if each is not None]
        if any(each.ndim < 2 or not each.numel() for each in halves):
            raise InputError(f"{path} has no matrices for {layer!r}: download it again")
    return Lora(name=path.stem, path=path, changes=changes)


def _change(parts: Mapping[str, Tensor], alpha: float | None) -> Change:
    own = parts.get("alpha")
    change = Change(
        down=parts.get("lora_A", parts.get("lora_down")),
        up=parts.get("lora_B", parts.get("lora_up")),
        alpha=alpha if own is None else float(own),
        difference=parts.get("diff", parts.get("diff_m")),
        bias=parts.get("diff_b"),
    )
    scaled = parts.get("lora_B.bias", parts.get("lora_up.bias"))
    if scaled is None or change.down is None:
        return change
    return change._replace(bias=scaled * change.scale)


def _stated_alpha(path: Path) -> float | None:
    """Return the alpha that diffusers and peft state for a whole file, in its header or in a file beside it.

    Raises InputError where they state another for some layers.
    """
    beside = path.with_name("adapter_config.json")
    about: dict[str, Any] = {}
    if (text := header(path).get("lora_adapter_metadata")) is not None:
        about = {name.rpartition(".")[2]: value for name, value in json.loads(text).items()}
    elif beside.is_file():
        about = read_json(beside)
    if about.get("alpha_pattern") or about.get("rank_pattern"):
        raise InputError(f"{path} has ranks of its own for some layers: merge it with its trainer first")
    alpha, rank = about.get("lora_alpha"), about.get("r")
    if alpha is None or not rank:
        return None
    return float(alpha) * (math.sqrt(rank) if about.get("use_rslora") else 1.0)


def _layer(theirs: str, path: Path) -> str:
    """Return our name of a layer. Raises InputError for one that no model of the family has."""
    name = theirs
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    kohya = name.startswith(KOHYA)
    name = name.removeprefix(KOHYA)
    if table := re.fullmatch(r"blocks\.(\d+)(?:\.modulation)?", name):  # `diff_m`, or `modulation.diff`
        return f"blocks.{table[1]}.scale_shift_table"
    match = re.fullmatch(r"blocks[._](\d+)[._](.+)", name)
    rows, part = (IN_A_BLOCK, match[2]) if match else (OUTSIDE_BLOCKS, name)
    for row in rows:
        names = {row[OURS], row[ORIGINAL], row[DIFFUSERS]}
        if part in (names if not kohya else {each.replace(".", "_") for each in names}):
            return f"blocks.{match[1]}.{row[OURS]}" if match else row[OURS]
    raise InputError(f"{path} changes {theirs!r}, which no Wan model has: it was made for another model")


# --------------------------------------------------------------------------------------------------- applying


@torch.no_grad()
def fuse(model: nn.Module, lora: Lora, weight: float = 1.0) -> None:
    """Add the changes to the weights. Raises InputError, with nothing changed, where they do not fit."""
    check_fits(model, lora)
    for target, added in _additions(model, lora):
        target.add_((weight * added.to(target.device)).to(target))


def check_fits(model: nn.Module, lora: Lora) -> None:
    """Raise InputError unless all changes fit; no product is computed."""
    shape = torch.empty(0, device="meta")
    bare = {name: change.to(shape) for name, change in lora.changes.items()}
    for _ in _additions(model, replace(lora, changes=bare)):
        pass


def attach(model: VideoTransformer, lora: Lora, weight: float = 1.0) -> None:
    """Let the changes count beside the weights, as `lora.name`. Raises InputError as `fuse` does.

    Attaching what is attached changes its weight. What is changed beside linear layers can only be fused, and
    is refused unless it is zero; so is another file of the same name.
    """
    check_fits(model, lora)
    layers = dict(model.named_modules())
    for name, change in lora.changes.items():
        if not isinstance(layers.get(name), nn.Linear | Adapted) and not change.is_zero:
            raise InputError(f"{lora.path} changes {name!r}, which can only be fused: load it not adaptable")
    if any(lora.path != path for path in _paths(model, lora.name)):
        raise InputError(f"another LoRA is called {lora.name!r} and attached: rename the file of one")

    detach(model, lora.name, missing_ok=True)
    for name, change in lora.changes.items():
        layer = None if change.is_zero else model.get_submodule(name)
        if isinstance(layer, nn.Linear | Adapted):
            adapted = layer if isinstance(layer, Adapted) else Adapted(layer)
            adapted.add(lora, name, weight)
            model.set_submodule(name, adapted)


def detach(model: VideoTransformer, name: str, *, missing_ok: bool = False) -> None:
    """Take away what was attached as `name`. Raises InputError if nothing was, unless that is all right."""
    if name not in attached(model):
        if missing_ok:
            return
        there = ", ".join(attached(model)) or "none"
        raise InputError(f"no LoRA {name!r} is attached: there is {there}")
    for place, module in list(model.named_modules()):
        if isinstance(module, Adapted):
            module.remove(name)
            if not module.weights:
                model.set_submodule(place, module.plain)


def attached(model: VideoTransformer) -> dict[str, float]:
    """Return the weights of everything that is attached, by name."""
    found: dict[str, float] = {}
    for module in model.modules():
        if isinstance(module, Adapted):
            found |= module.weights
    return found


class Adapted(nn.Module):
    """A linear layer and what is added to its output."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.plain = plain
        self.weights: dict[str, float] = {}
        self.paths: dict[str, Path] = {}
        self._changes: dict[str, Change] = {}

    @property
    def weight(self) -> Tensor:
        """The unchanged weight."""
        return self.plain.weight

    @property
    def bias(self) -> Tensor:
        """The unchanged bias."""
        return self.plain.bias

    def add(self, lora: Lora, layer: str, weight: float) -> None:
        """Let a change count, where and in the dtype in which the layer computes."""
        self._changes[lora.name] = lora.changes[layer].to(self.weight)
        self.weights[lora.name], self.paths[lora.name] = weight, lora.path

    def remove(self, name: str) -> None:
        """Take a change away; one that is not there is all right."""
        for kept in (self._changes, self.weights, self.paths):
            kept.pop(name, None)

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        y = self.plain(x)
        for name, change in self._changes.items():
            weight = self.weights[name]
            if change.down is not None and change.up is not None:
                y = y + weight * change.scale * ((x @ change.down.T) @ change.up.T)
            if change.difference is not None:
                y = y + weight * (x @ change.difference.T)
            if change.bias is not None:
                y = y + weight * change.bias
        return y


def _paths(model: VideoTransformer, name: str) -> set[Path]:
    """Return the files that are attached under a name."""
    modules = (module for module in model.modules() if isinstance(module, Adapted))
    return {module.paths[name] for module in modules if name in module.paths}


def _additions(model: nn.Module, lora: Lora) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every weight, bias and table, and what is added to it. Raises InputError unless all fit."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for name, change in lora.changes.items():
        module = modules.get(name)
        weight = parameters.get(name) if module is None else getattr(module, "weight", None)
        pairs = ((weight, change.of_weight()), (getattr(module, "bias", None), change.bias))
        for target, added in pairs:
            if added is None:
                continue
            if not isinstance(target, Tensor) or target.numel() != added.numel() or added.ndim > target.ndim:
                raise InputError(f"{lora.path} changes {name!r} otherwise than fits: it is for another model")
            if added.ndim == 2 and target.ndim == 2 and added.shape != target.shape:
                raise InputError(f"{lora.path} changes {name!r} otherwise than fits: it is for another model")
            yield target, added.reshape(target.shape)
