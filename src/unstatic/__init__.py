"""unstatic: words become a video. `unstatic.generate("a red ball bounces")` or `unstatic.load("nano")`.

`unstatic.Cue(at=1.5, prompt="it stops")` changes the prompt on the way. Importing the package costs nothing:
torch and the rooms are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unstatic.diffusion.condition import Cue
    from unstatic.generate.api import generate, load

__version__ = "0.1.0"
__all__ = ["Cue", "__version__", "generate", "load"]


def __getattr__(name: str) -> object:
    # `generate` is a room of the house as well as a verb. The import system binds that name here to the room
    # as soon as one of its files is imported, so the room itself can be called: see generate/__init__.py.
    if name == "generate":
        return import_module("unstatic.generate")
    if name == "load":
        return import_module("unstatic.generate.api").load
    if name == "Cue":
        return import_module("unstatic.diffusion.condition").Cue
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
