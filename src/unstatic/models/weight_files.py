"""Weights as others publish them: safetensors in one file or many, under a prefix, in fp8 with scales.

Pickles (.pth, .pt, .bin) are refused: whatever is published so is published as safetensors too. A weight in
fp8 may come with a scale, in the two forms of ComfyUI: `NAME.scale_weight` or `NAME.weight_scale` beside
`NAME.weight`; then it is multiplied out, unless it shall stay in 8 bits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models.open_manifest import read_json
from unstatic.models.quantise import FP8, as_published

SUFFIX, PICKLES = ".safetensors", (".pth", ".pt", ".bin", ".ckpt")
# Whose weights count in a checkpoint of a distillation: the student's, averaged where there is an average
STUDENTS = ("generator_ema.", "generator.")
# What single files put before the names of one part
PREFIXES = (*STUDENTS, "model.diffusion_model.", "diffusion_model.", "model.")
SCALES = (".scale_weight", ".weight_scale")
# Beside weights: how activations were scaled, a norm that nothing passes through, and marks
BESIDE = (".scale_input", ".input_scale", ".norm_added_q.weight", *SCALES)
MARKS = ("scaled_fp8", "spiece_model")

Shapes = Mapping[str, tuple[int, ...]]


def weight_files(folder: Path) -> list[Path]:
    """Return the weights of a part in order: those that its index names, or its only files.

    Raises InputError when there are none, when one is missing, or when the index points out of the folder.
    """
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        named = read_json(indices[0]).get("weight_map", {})
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise InputError(f"{indices[0]} names no files: pull the model again")
        files = [folder / name for name in sorted(set(named.values()))]
    else:
        files = sorted(folder.glob(f"*{SUFFIX}")) or sorted(
            each for each in folder.glob("*") if each.suffix in PICKLES
        )
    if not files:
        there = f"there are no weights in {folder}" if folder.is_dir() else f"there is no {folder}"
        raise InputError(f"{there}: check the name, or pull the model again")
    for file in files:
        if file.parent != folder or not file.is_file():
            raise InputError(f"{file} is missing: pull the model again")
    return files


def read_weights(
    files: Sequence[Path],
    dtype: torch.dtype,
    wanted: Callable[[str], bool] = lambda _: True,
    *,
    keep_fp8: bool = False,
    exact: Callable[[str], bool] = lambda _: False,
) -> dict[str, Tensor]:
    """Read weights as `dtype`, by their names without prefix: all, or those whose names are `wanted`.

    Matrices that are in fp8 stay so if asked; those whose names are `exact` become float32. Raises InputError
    for a damaged file.
    """
    found: dict[str, Tensor] = {}
    with _opened(files) as source:
        for name, handle in source.items():
            plain = without_prefix(name)
            if is_weight(plain) and wanted(plain):
                scales = [name.removesuffix(".weight") + each for each in SCALES]
                scale = next((source[each].get_tensor(each) for each in scales if each in source), None)
                weight = handle.get_tensor(name)
                kept = keep_fp8 and weight.dtype == FP8 and weight.ndim == 2
                if exact(plain):  # copied: few numbers would keep their whole file in memory
                    found[plain] = _scaled(weight, scale, torch.float32).clone()
                else:
                    found[plain] = (as_published if kept else _scaled)(weight, scale, dtype)
    return found


def shapes(files: Sequence[Path]) -> Shapes:
    """Return the shapes of all weights by their names without prefix; no number is read."""
    with _opened(files) as source:
        return {
            plain: tuple(handle.get_slice(name).get_shape())
            for name, handle in source.items()
            if is_weight(plain := without_prefix(name))
        }


def header(file: Path) -> Mapping[str, str]:
    """Return what a safetensors file says about itself."""
    with _opened([file]) as source:
        return next((handle.metadata() or {} for handle in source.values()), {})


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give a model without numbers those of `state`. Raises InputError unless they fit exactly."""
    check_fit(model, {name: tuple(tensor.shape) for name, tensor in state.items()}, path)
    model.load_state_dict(state, assign=True)


def check_fit(model: nn.Module, found: Shapes, path: Path) -> None:
    """Raise InputError unless weights of these shapes are exactly those of a model."""
    wanted = model.state_dict()
    if wrong := wanted.keys() ^ found.keys():
        raise InputError(f"{path} does not fit its config: see weight {min(wrong)!r}")
    if wrong := [each for each in wanted if tuple(wanted[each].shape) != found[each]]:
        raise InputError(f"{path} does not fit its config: weight {min(wrong)!r} has another shape")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads the weights of a part as `dtype` piece by piece, by the names that `rename` gives them.

    Those whose names are then `exact` are read as float32.
    """

    files: Sequence[Path]
    dtype: torch.dtype
    rename: Callable[[str], str]
    keep_fp8: bool = False
    exact: Callable[[str], bool] = lambda _: False

    def shapes(self) -> Shapes:
        """Return the shapes of all weights."""
        return {self.rename(name): shape for name, shape in shapes(self.files).items()}

    def outside(self, row: str) -> dict[str, Tensor]:
        """Read the weights whose names do not begin with `row`."""
        return self._read(lambda name: not name.startswith(row))

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Read the weights whose names begin so, by the rest of their names."""
        found = self._read(lambda name: name.startswith(prefix), keep_fp8=self.keep_fp8)
        return {name.removeprefix(prefix): tensor for name, tensor in found.items()}

    def _read(self, wanted: Callable[[str], bool], *, keep_fp8: bool = False) -> dict[str, Tensor]:
        found = read_weights(
            self.files,
            self.dtype,
            lambda name: wanted(self.rename(name)),
            keep_fp8=keep_fp8,
            exact=lambda name: self.exact(self.rename(name)),
        )
        return {self.rename(name): tensor for name, tensor in found.items()}


def without_prefix(name: str) -> str:
    """Return the name of a weight as the part itself would call it."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def is_weight(name: str) -> bool:
    """Tell weights from what stands beside them."""
    return name not in MARKS and not name.endswith(BESIDE)


@contextmanager
def _opened(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Open safetensors files; every name leads to the file that holds it."""
    with ExitStack() as stack:
        source: dict[str, Any] = {}
        for file in files:
            if file.suffix != SUFFIX:
                raise InputError(f"{file} is a pickle, which may run code: take the same as safetensors")
            try:
                handle: Any = stack.enter_context(safe_open(file, framework="pt"))
            except (SafetensorError, OSError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"{file} is not a whole safetensors file ({reason}): pull it again"
                ) from None
            source |= dict.fromkeys(handle.keys(), handle)
        students = ({name: source[name] for name in source if name.startswith(each)} for each in STUDENTS)
        yield next(filter(None, students), source)


def _scaled(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    if scale is None:
        return weight.to(dtype)
    rows = scale.float().reshape(-1, *[1] * (weight.ndim - 1)) if scale.numel() > 1 else scale.float()
    return (weight.float() * rows).to(dtype)
