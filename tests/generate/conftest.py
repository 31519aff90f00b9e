"""What tests of this room share: the tiny model, loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from unstatic.generate.native import NativeEngine, load_native
from unstatic.models.manifest import open_model
from unstatic.models.transformer import VideoTransformer


@pytest.fixture(scope="session")
def engine(tiny_model: Path) -> NativeEngine:
    """Return an engine with random weights."""
    return load_native(open_model(tiny_model), device="cpu")


@pytest.fixture
def passes(model: VideoTransformer) -> Iterator[list[int]]:
    """Note the rows of every pass through the transformer."""
    rows: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    yield rows
    handle.remove()
