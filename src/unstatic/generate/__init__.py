"""From a request to a stream of frames; the room can be called: `unstatic.generate("a red ball bounces")`."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unstatic.media.read import Video


class _CallableRoom(ModuleType):
    """This package as a module that can be called, so that `unstatic.generate` is one object, room and verb.

    The import system binds `unstatic.generate` to this module whenever one of its files is imported; a
    function of the same name would be replaced by it sooner or later, depending on who imported what first.
    """

    @property
    def __call__(self) -> "Callable[..., Video]":
        from unstatic.generate.api import generate  # here, because it brings torch

        return generate


sys.modules[__name__].__class__ = _CallableRoom
