"""What models on servers can do, and how the servers differ (`generate/engines/remote.py`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.models.manifest import Given, Manifest, SamplingDefaults

SIZE = re.compile(r"[1-9]\d{1,4}x[1-9]\d{1,4}", re.ASCII)
SIZES = (Size(832, 480), Size(480, 832), Size(640, 640))  # where nobody says any
TAKES: dict[object, Given] = {"T2V": "nothing", "I2V": "pictures"}  # SGLang's task_type


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """How a server differs.

    It calls itself `owner` in its list of models, may read forms only, may make a film once for one
    Idempotency-Key, rewrites prompts unless `enhance_prompt` is false if it `rewords`, and its models make
    one frame and groups of so many.
    """

    name: str
    owner: str
    forms_only: bool = False
    idempotent: bool = False
    rewords: bool = False
    group: int = 8  # of Wan's family 4, of LTX 8: this suits both, so that none rounds down


DIALECTS = (
    Dialect(name="sglang", owner="sglang"),
    Dialect(name="vllm-omni", owner="vllm", forms_only=True),
    Dialect(name="fastvideo", owner="fastvideo"),
    Dialect(name="unstatic", owner="unstatic", idempotent=True, rewords=True, group=1),
)


def served_manifest(card: Mapping[str, Any], dialect: Dialect) -> Manifest:
    """Say what a model can make: what its server says of it, else anything, which the server may refuse."""
    name = "".join(each for each in str(card["id"]) if each.isprintable())
    task, listed = card.get("task_type"), card.get("sizes")
    if isinstance(task, str) and not task.endswith("2V"):
        raise InputError(f"{name} makes no videos (its task is {task[:20]!a})")

    def stated(key: str, most: int, otherwise: int) -> float | int:
        value = card.get(key)
        return value if isinstance(value, int | float) and 1 <= value <= most else otherwise

    texts = [str(each) for each in listed] if isinstance(listed, list) else []
    return Manifest(
        name=name,
        preset="",
        summary=f"on a server, which speaks as {dialect.name} does",
        licence="see its server",
        text_encoder="",
        prediction="velocity",
        compression=Compression(time=dialect.group, space=16),
        chunk=None,
        sizes=tuple(Size.parse(each) for each in texts if SIZE.fullmatch(each)) or SIZES,
        fps=int(stated("fps", 120, 24)),
        max_seconds=float(stated("max_seconds", 3600, 3600)),
        enlarge=1,
        max_enlarge=1,
        defaults=SamplingDefaults(steps=100, guidance=5.0, solver="server", shift=1.0, history_sigma=0.0),
        given=TAKES.get(task, "picture") if isinstance(task, str) else "picture",
        engine="remote",
    )
