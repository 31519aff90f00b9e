"""Load whatever runs a model."""

import re
from collections.abc import Sequence

from unstatic.core.device import pick_device
from unstatic.core.errors import InputError
from unstatic.generate.engine import Engine
from unstatic.generate.engines.remote import RemoteEngine, RemoteModel, find_remote
from unstatic.generate.native import load_native
from unstatic.models.manifest import InstalledModel, find_model

BARE_ADDRESS = re.compile(r"[\w.-]+:\d+(/\S*)?", re.ASCII)


def find(name: str) -> InstalledModel | RemoteModel:
    """Return the model at a server's address, or the installed one as `find_model` does.

    Raises InputError naming value and fix, UnstaticError if the server does not answer.
    """
    if BARE_ADDRESS.fullmatch(name):
        raise InputError(f"{name!r} looks like the address of a server: write http://{name}")
    return find_remote(name) if "://" in name else find_model(name)


def load_engine(
    model: InstalledModel | RemoteModel,
    *,
    device: str | None = None,
    loras: Sequence[str] = (),
    adaptable: bool = False,
    quantise: str | None = None,
    offload: bool = False,
    tiled: bool = False,
) -> Engine:
    """Load the engine that a model's manifest names, with the model.

    See `load_native`. Raises InputError for what that engine cannot do, and for missing or damaged files.
    """
    saves = quantise is not None or offload
    where = "on a server" if isinstance(model, RemoteModel) else f"run by {model.manifest.engine}"
    if tiled and model.manifest.engine != "native":
        raise InputError(f"{model.manifest.name} is {where}, which decodes as it likes: leave --tiles out")
    if isinstance(model, RemoteModel):
        if saves:
            raise InputError(f"{model.manifest.name} is on a server: leave --quantise and --offload out")
        if loras or adaptable:
            raise InputError(f"{model.manifest.name} is on a server, which takes no LoRA: leave --lora out")
        return RemoteEngine(model, pick_device(device))
    if model.manifest.engine == "native":
        return load_native(
            model,
            device=device,
            loras=loras,
            adaptable=adaptable,
            quantise=quantise,
            offload=offload,
            tiled=tiled,
        )
    from unstatic.generate.engines.bridge import load_bridged

    if saves:
        raise InputError(
            f"{model.manifest.name} is run by diffusers, as it is: leave --quantise and --offload out"
        )
    if loras or adaptable:
        raise InputError(
            f"{model.manifest.name} is run by diffusers, which takes no LoRA here: leave --lora out"
        )
    return load_bridged(model, device=device)
