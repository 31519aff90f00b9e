import os
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.core.folders import cache_folder, models_folder, server_folder
from unstatic.models.manifest import installed_folders


def test_the_users_choice_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("UNSTATIC_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("UNSTATIC_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "unstatic"


@pytest.mark.parametrize("empty", [None, ""])
def test_without_a_choice_it_is_the_usual_folder(monkeypatch: pytest.MonkeyPatch, empty: str | None):
    for name in ("UNSTATIC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False) if empty is None else monkeypatch.setenv(name, empty)
    assert cache_folder() == Path.home() / ".cache" / "unstatic"


@pytest.mark.skipif(os.name != "posix", reason="homes of another system")
def test_a_user_without_a_home_is_told_so_and_has_the_models_that_ship(monkeypatch: pytest.MonkeyPatch):
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("UNSTATIC_CACHE", "XDG_CACHE_HOME", "UNSTATIC_MODELS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    for folder in (cache_folder, models_folder, server_folder):
        with pytest.raises(InputError, match="there is no home folder for ~/"):
            folder()
    assert [folder.name for folder in installed_folders()] == ["nano"]
    monkeypatch.setenv("UNSTATIC_MODELS", "~nobody-of-this-name/models")
    with pytest.raises(InputError, match="set HOME, or UNSTATIC_MODELS"):
        models_folder()
