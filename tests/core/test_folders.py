from pathlib import Path

import pytest

from unstatic.core.folders import cache_folder


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
