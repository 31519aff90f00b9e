"""What tests of this room share: the tiny model, loaded."""

from pathlib import Path

import pytest

from unstatic.generate.native import NativeEngine, load_native
from unstatic.models.manifest import open_model


@pytest.fixture(scope="session")
def engine(tiny_model: Path) -> NativeEngine:
    """Return an engine with random weights."""
    return load_native(open_model(tiny_model), device="cpu")
