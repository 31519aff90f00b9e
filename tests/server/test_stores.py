"""Opening what settings name."""

from pathlib import Path

import pytest

from unstatic.core.errors import InputError, UnstaticError
from unstatic.server.settings import read_settings
from unstatic.server.stores import open_stores


def test_a_database_that_does_not_answer_is_one_line_without_its_password(tmp_path: Path):
    url = f"postgresql://me:secret@/none?host={tmp_path}"
    with pytest.raises(UnstaticError, match=r"^the server's database cannot be used: conn") as said:
        open_stores(read_settings(data=tmp_path, database=url))
    assert "\n" not in str(said.value)
    assert "secret" not in str(said.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made: Not a directory, name another"):
        open_stores(read_settings(data=tmp_path / "file" / "data"))


def test_both_stores_outlive_their_process(tmp_path: Path):
    settings = read_settings(data=tmp_path / "data")
    first = open_stores(settings)
    first.storage.put_bytes("inputs/x", b"kept")
    first.database.close()
    second = open_stores(settings)
    assert second.storage.read_bytes("inputs/x", 10) == b"kept"
    second.database.close()
