from pathlib import Path

import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.evals.files import I3D, PINNED, load_arrays, with_inputs_second


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("UNSTATIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evals"


def test_a_missing_file_says_how_to_fetch_it(cache: Path):
    with pytest.raises(InputError, match=r"scripts/fetch_networks\.py") as failed:
        load_arrays(I3D)
    assert str(cache) in str(failed.value)


def test_a_damaged_file_is_named(cache: Path):
    cache.mkdir(parents=True)
    I3D.path.write_bytes(b"\x08")
    with pytest.raises(InputError, match="is damaged: delete it"):
        load_arrays(I3D)


def test_every_pin_is_complete():
    assert len({each.path for each in PINNED}) == len(PINNED)
    for each in PINNED:
        assert len(bytes.fromhex(each.sha256)) == 32
        assert each.member.startswith(each.archive.removesuffix(".tar.gz") + "/")


def test_kernels_are_turned():
    assert with_inputs_second(torch.zeros(7, 5, 3, 2, 4)).shape == (4, 2, 7, 5, 3)
    assert with_inputs_second(torch.arange(6.0).view(1, 2, 3))[2, 1] == 5.0
