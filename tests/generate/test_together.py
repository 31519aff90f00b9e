from pathlib import Path

import pytest
import shared_films
import tiny_wan
import torch
from safetensors.torch import load_file
from torchrun import torchrun

from unstatic.core.errors import InputError
from unstatic.core.processes import Place
from unstatic.generate.load import load_engine
from unstatic.generate.together import own_device, together
from unstatic.models.manifest import open_model


@pytest.mark.slow
def test_two_processes_make_the_film_of_one(tmp_path: Path) -> None:
    """Wan 2.1, the pair, the 5B form with a picture as its first frame, the pair with a picture beside.

    Guidance enlarges what rounding leaves: within 1e-5 of the largest value of a film.
    """
    for kind in {kind for kind, _ in shared_films.FILMS.values()}:
        tiny_wan.saved(kind, tmp_path)
    file = tmp_path / "films.safetensors"
    ended = torchrun(2, shared_films.__file__, tmp_path, file, folder=tmp_path)
    assert ended.code == 0, ended.err
    films = load_file(file)
    for name, (kind, options) in shared_films.FILMS.items():
        alone = shared_films.film(shared_films.load(tmp_path, kind), options)
        largest = float(alone.abs().max())
        torch.testing.assert_close(films[name], alone, atol=1e-5 * largest, rtol=0)


def test_alone_nothing_changes(tiny_model: Path) -> None:
    engine = load_engine(open_model(tiny_model), device="cpu")
    with together(engine, Place()) as same:
        assert same is engine


def test_every_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device("mps", Place()) == "mps"
    second = Place(rank=1, size=2, local_rank=1, local_size=2)
    assert own_device("cpu", second) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device(None, second) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device(None, second) == own_device("cuda", second) == "cuda:1"
    with pytest.raises(InputError, match="'cuda:0' is for one process, and there are 2: say cuda or cpu"):
        own_device("cuda:0", second)
