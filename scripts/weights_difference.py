"""Keep trained weights as their difference from others: smaller, and without loss.

    python scripts/weights_difference.py write OLD NEW FILE
    python scripts/weights_difference.py apply OLD FILE NEW

OLD and NEW are weights of one network, such as nano/transformer.safetensors. A training that was broken
off, or whose weights are not evaluated yet, can be kept so and handed on. A bfloat16 and its neighbour differ
by one as whole numbers, and a short training moves most weights by a few: FILE has these numbers, compressed,
and the digests of both ends, so that it only ever gives NEW back.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int16
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path
from unstatic.models.weights import load_state, save_model
from unstatic.presets.stages import load_autoencoder, load_transformer

MAGIC = b"unstatic weights difference 1\n"
LOAD = {"transformer": load_transformer, "tiny_autoencoder": load_autoencoder}


def write_difference(old: Path, new: Path, file: Path) -> None:
    """Write what `new` has beyond `old`. Raises InputError if they are not weights of one network."""
    (about_old, before), (about_new, after) = load_state(old), load_state(new)
    if about_old.kind not in LOAD:
        raise InputError(f"{old} holds a {about_old.kind!r}: differences are of {' and '.join(LOAD)}")
    networks = [
        (about.kind, about.config, {name: each.shape for name, each in state.items()})
        for about, state in ((about_old, before), (about_new, after))
    ]
    if networks[0] != networks[1]:
        raise InputError(f"{new} is another network than {old}: name two trainings of one")
    parts = [_as_integers(after[name]) - _as_integers(before[name]) for name in sorted(before)]
    numbers = np.concatenate([part.ravel() for part in parts]).astype("<i2")
    numbers = numbers << 1 ^ numbers >> 15  # the sign last, so that small numbers have no high byte
    planes = np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, 2).T)  # all low bytes, then all high
    ends = json.dumps({"old": about_old.digest, "new": about_new.digest}).encode()
    with atomic_path(file) as temporary:
        temporary.write_bytes(MAGIC + ends + b"\n" + lzma.compress(planes.tobytes()))


def apply_difference(old: Path, file: Path, new: Path) -> None:
    """Write the weights that `file` makes of `old`. Raises InputError if it was made for others."""
    content = file.read_bytes()
    if not content.startswith(MAGIC):
        raise InputError(f"{file} is no difference of weights: write one with this script")
    ends, _, packed = content[len(MAGIC) :].partition(b"\n")
    digests = json.loads(ends)
    about, before = load_state(old)
    if about.digest != digests["old"]:
        raise InputError(f"{old} has the digest {about.digest}, but {file} begins at {digests['old']}")
    try:
        unpacked = lzma.decompress(packed)
    except lzma.LZMAError as error:
        raise InputError(f"{file} is damaged ({error}): fetch it again") from error
    planes = np.frombuffer(unpacked, np.uint8).reshape(2, -1)
    folded = np.ascontiguousarray(planes.T).view("<u2").ravel()
    numbers = ((folded >> 1) ^ (0 - (folded & 1))).astype("<u2").view("<i2")
    model = LOAD[about.kind](old)
    start, state = 0, {}
    for name in sorted(before):
        tensor = before[name]
        difference = numbers[start : start + tensor.numel()].reshape(tensor.shape)
        state[name] = torch.from_numpy(_as_integers(tensor) + difference).view(torch.bfloat16)
        start += tensor.numel()
    model.to(torch.bfloat16).load_state_dict(state)
    save_model(new, model, model.config, about.kind)
    assert load_state(new)[0].digest == digests["new"], "xz checks what it unpacks, and OLD was checked"


def _as_integers(tensor: Tensor) -> Int16[np.ndarray, "..."]:
    """Return bfloat16 numbers as whole ones, in which neighbours differ by one; overflow wraps around."""
    if tensor.dtype != torch.bfloat16:
        raise InputError(f"these weights are {tensor.dtype}: only bfloat16 is kept as a difference")
    return tensor.contiguous().view(torch.int16).numpy()


def main() -> None:
    """Write or apply a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("write", "apply"))
    parser.add_argument("paths", type=Path, nargs=3, help="OLD NEW FILE to write, OLD FILE NEW to apply")
    options = parser.parse_args()
    {"write": write_difference, "apply": apply_difference}[options.what](*options.paths)


if __name__ == "__main__":
    main()
