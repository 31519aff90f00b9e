"""Weights on disk: safetensors files whose header says what they are. Nothing is ever unpickled.

A model is called by one name, `transformer.safetensors`; when it is large it lies in several files,
`transformer-00001-of-00003.safetensors` and so on. Each carries, under the key "unstatic", the JSON

    {"format": 1, "kind": "transformer", "config": {...}, "digest": "..."}

`kind` names the architecture, `config` builds it, `digest` is that of all tensors together: files of
different saves do not mix, and a flipped bit is noticed.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unstatic.core.config import from_dict, to_dict
from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path, ensure_writable

FORMAT = 1
HEADER_KEY = "unstatic"
MAX_SHARD_BYTES = 15 * 2**20
HEADER_BYTES_PER_TENSOR = 256  # name, dtype, shape and place of one tensor; an upper bound

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What a weights file says about itself."""

    format: int
    kind: str
    config: dict[str, Any]
    digest: str


# ----------------------------------------------------------------------------------------------------- saving


def save_model(
    path: Path,
    module: nn.Module,
    config: object,
    kind: str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> list[Path]:
    """Write the weights of `module`, floating-point ones as `dtype`, and return the files in order.

    The same weights give the same bytes. Files stay below `max_shard_bytes` unless a single tensor is larger.
    Each appears whole or not at all; files of an earlier save under the same name are removed at the end.
    """
    ensure_writable(path)
    state = {name: _to_disk(tensor, dtype) for name, tensor in module.state_dict().items()}
    metadata = {"format": FORMAT, "kind": kind, "config": to_dict(config), "digest": _digest(state)}
    header = {HEADER_KEY: json.dumps(metadata, sort_keys=True)}

    shards = list(_cut(state, max_shard_bytes - len(header[HEADER_KEY])))
    files = [path] if len(shards) == 1 else [_shard_path(path, i, len(shards)) for i in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        with atomic_path(file) as temporary:
            save_file(shard, temporary, header)

    for stale in set(_files_named(path)) - set(files):
        stale.unlink()
    return files


def _to_disk(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    return (tensor.to(dtype) if tensor.is_floating_point() else tensor).clone(
        memory_format=torch.contiguous_format
    )


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _cut(state: Mapping[str, Tensor], max_bytes: int) -> Iterator[State]:
    """Cut a state into runs of at most `max_bytes`, in order; a run has at least one tensor."""
    shard: State = {}
    size = 0
    for name, tensor in state.items():
        cost = tensor.nbytes + HEADER_BYTES_PER_TENSOR
        if shard and size + cost > max_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += cost
    yield shard


# ---------------------------------------------------------------------------------------------------- loading


def load_model(
    path: Path, kind: str, config_class: type[Config], model_class: Callable[[Config], Model]
) -> Model:
    """Build the model whose weights are at `path`, in the dtype they were saved in, on the CPU.

    Raises InputError when the files are missing, damaged, of another kind, or do not fit the model exactly.
    """
    metadata, state = load_state(path)
    if metadata.kind != kind:
        raise InputError(f"{path} holds a {metadata.kind!r}, not a {kind!r}: name the right file")
    with _blaming(path), torch.device("meta"), _Undrawn():
        model = model_class(from_dict(config_class, metadata.config))
    wanted = model.state_dict()
    _check_fit(path, state, wanted)
    model.load_state_dict({name: _laid_out(state[name], wanted[name]) for name in wanted}, assign=True)
    return model


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Order the numbers in memory as in `like`: convolutions may want their channels last."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_strided(like.shape, like.stride(), dtype=tensor.dtype).copy_(tensor)


class _Undrawn(TorchFunctionMode):
    """Leave new weights undrawn: drawing them on the meta device imports torch's compiler, for a second."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def read_metadata(path: Path) -> Metadata:
    """Read what weights say about themselves, without a tensor. Raises InputError as `load_model` does."""
    file, *_ = find_files(path)
    with _opened(file) as handle:
        return _read_metadata(file, handle.metadata())


def load_state(path: Path) -> tuple[Metadata, State]:
    """Read what weights say about themselves, and every tensor. Raises InputError as `load_model` does."""
    state: State = {}
    headers: list[Metadata] = []
    for file in find_files(path):
        with _opened(file) as handle:
            headers.append(_read_metadata(file, handle.metadata()))
            state.update({name: handle.get_tensor(name) for name in handle.keys()})  # noqa: SIM118
    if any(header.digest != headers[0].digest for header in headers):
        raise InputError(f"the files of {path} come from different saves: restore them all from one place")
    if _digest(state) != headers[0].digest:
        raise InputError(f"the weights at {path} are damaged, their digest is wrong: reinstall the model")
    return headers[0], state


def count_parameters(files: Iterable[Path]) -> int:
    """Count the numbers in safetensors files without reading them."""
    total = 0
    for file in files:
        with _opened(file) as handle:
            total += sum(math.prod(handle.get_slice(name).get_shape()) for name in handle.keys())  # noqa: SIM118
    return total


def find_files(path: Path) -> list[Path]:
    """Return the files of the weights called `path`, in order. Raises InputError unless the set is whole."""
    files = _files_named(path)
    if not files:
        raise InputError(f"there are no weights at {path}: check the name, or reinstall the model")
    if files == [path]:
        return files
    totals = {int(file.stem[-5:]) for file in files if file != path}
    if path in files or len(totals) > 1:
        raise InputError(
            f"{path} is there more than once, in files of different saves: keep only one of them"
        )
    for index in range(total := totals.pop()):
        if _shard_path(path, index, total) not in files:
            raise InputError(
                f"{_shard_path(path, index, total)} is missing, one of {total}: reinstall the model"
            )
    return files


def is_saved(path: Path) -> bool:
    """Tell whether the weights called `path` are there, in full and once."""
    try:
        return bool(find_files(path))
    except InputError:
        return False


def _files_named(path: Path) -> list[Path]:
    numbered = re.compile(re.escape(path.stem) + r"-\d{5}-of-\d{5}" + re.escape(path.suffix))
    shards = sorted(file for file in path.parent.glob("*") if numbered.fullmatch(file.name))
    return [path, *shards] if path.is_file() else shards


def _shard_path(path: Path, index: int, total: int) -> Path:
    return path.with_name(f"{path.stem}-{index + 1:05d}-of-{total:05d}{path.suffix}")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a safetensors file; its header is checked against its length before anything is read."""
    try:
        with safe_open(file, framework="pt") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is not a whole safetensors file ({reason}): download it again") from error


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Name the file in errors about the config it carries."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} does not fit this version of unstatic: {error}") from error


def _read_metadata(file: Path, header: Mapping[str, str] | None) -> Metadata:
    text = (header or {}).get(HEADER_KEY)
    if text is None:
        raise InputError(f"{file} was not written by unstatic: its header has no {HEADER_KEY!r} entry")
    try:
        fields = json.loads(text)
        metadata = Metadata(
            format=fields["format"],
            kind=fields["kind"],
            config=dict(fields["config"]),
            digest=fields["digest"],
        )
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file} has a damaged {HEADER_KEY!r} header: reinstall the model") from None
    if metadata.format != FORMAT:
        raise InputError(
            f"{file} is in format {metadata.format}, this version reads {FORMAT}: update unstatic"
        )
    return metadata


def _check_fit(path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise InputError unless `state` has exactly the names and shapes of `wanted`."""
    _refuse(path, "lacks", wanted.keys() - state.keys())
    _refuse(path, "has an unknown", state.keys() - wanted.keys())
    _refuse(
        path, "has another shape of", (name for name in wanted if state[name].shape != wanted[name].shape)
    )


def _refuse(path: Path, complaint: str, names: Iterable[str]) -> None:
    first, *others = sorted(names) or [None]
    if first is not None:
        more = f" and {len(others)} more" if others else ""
        raise InputError(f"{path} {complaint} weight {first!r}{more}: use weights made for this config")
