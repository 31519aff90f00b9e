"""What operators set, by the environment or by a command."""

from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.server import settings as module
from unstatic.server.settings import PREFIX, Settings, read_settings, unknown_variables


def test_a_child_has_the_settings_of_its_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    settings = read_settings(
        data=tmp_path,
        models=("nano", "other"),
        database="postgresql://me:secret@db/x",
        lease=5.0,
        storage_options={"key": "k", "client_kwargs": {"region_name": "eu-1"}, "anon": False},
    )
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


def test_what_a_command_says_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(f"{PREFIX}WORKERS", "3")
    assert read_settings(data=tmp_path).workers == 3
    assert read_settings(data=tmp_path, workers=0).workers == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease", "soon"),
        ("attempts", "0"),
        ("workers", "-1"),
        ("storage_options", "not json"),
        ("storage_options", '["a", "list"]'),
    ],
)
def test_what_is_wrong_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)
    with pytest.raises(InputError, match=rf"^the setting {PREFIX}{name.upper()} is wrong: ") as said:
        read_settings()
    assert "\n" not in str(said.value)


def test_a_password_is_not_shown():
    assert "secret" not in repr(Settings(database="postgresql://me:secret@db/x"))  # type: ignore[arg-type]


def test_what_is_misspelt_is_known_for_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}WORKER", "4")
    monkeypatch.setenv(f"{PREFIX}WORKERS", "4")
    assert unknown_variables() == [f"{PREFIX}WORKER"]


def test_secrets_of_a_container_are_read_from_files_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(module, "SECRETS", tmp_path)
    (tmp_path / "unstatic_serve_database").write_text("postgresql://me:hidden@db/x")
    (tmp_path / "unstatic_serve_storage_options").write_text('{"secret": "hidden"}')
    settings = read_settings()
    assert settings.database_url == "postgresql://me:hidden@db/x"
    assert settings.storage_options == {"secret": "hidden"}
    assert "hidden" not in repr(settings)
