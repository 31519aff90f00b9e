from pathlib import Path

import pytest
import tiny_wan

from unstatic.core.errors import InputError
from unstatic.generate.load import find, load_engine
from unstatic.generate.native import NativeEngine
from unstatic.models.manifest import open_model


def test_our_own_models_and_wans_are_run_natively(tiny_model: Path, tmp_path: Path) -> None:
    """Those of other families: test_bridge.py."""
    for folder in (tiny_model, tiny_wan.saved("2.1", tmp_path)):
        engine = load_engine(open_model(folder), device="cpu")
        assert isinstance(engine, NativeEngine)
        assert engine.manifest.engine == "native"
    with pytest.raises(InputError, match="there is no LoRA"):
        load_engine(open_model(tiny_model), device="cpu", loras=["nothing.safetensors"])


@pytest.mark.parametrize("name", ["localhost:8000/v1", "10.0.0.1:80", "host:8000/v1#model"])
def test_an_address_without_its_scheme_is_told(name: str):
    with pytest.raises(InputError, match=f"write http://{name}$"):
        find(name)
