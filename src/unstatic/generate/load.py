"""Load whatever runs a model."""

from collections.abc import Sequence

from unstatic.core.errors import InputError
from unstatic.generate.engine import Engine
from unstatic.generate.native import load_native
from unstatic.models.manifest import InstalledModel


def load_engine(
    model: InstalledModel, *, device: str | None = None, loras: Sequence[str] = (), adaptable: bool = False
) -> Engine:
    """Load the engine that a model's manifest names, with the model.

    See `load_native`. Raises InputError for what that engine cannot do, and for missing or damaged files.
    """
    if model.manifest.engine == "native":
        return load_native(model, device=device, loras=loras, adaptable=adaptable)
    from unstatic.generate.engines.bridge import load_bridged

    if loras:
        raise InputError(
            f"{model.manifest.name} is run by diffusers, which takes no LoRA here: leave --lora out"
        )
    return load_bridged(model, device=device)
