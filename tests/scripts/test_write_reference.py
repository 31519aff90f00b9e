"""The reference pages are what the code says."""

from dataclasses import fields
from pathlib import Path

import pytest
import write_reference

from unstatic.server.accounts import TIERS, Tier
from unstatic.server.settings import PREFIX, Settings


@pytest.mark.parametrize("path", write_reference.pages(), ids=lambda path: path.name)
def test_the_pages_are_what_the_script_makes(path: Path):
    assert path.read_text(encoding="utf-8") == write_reference.pages()[path], (
        "python scripts/write_reference.py"
    )


def test_every_setting_has_a_row_that_says_what_it_is():
    page = write_reference.settings_page()
    for name, field in Settings.model_fields.items():
        assert field.description
        assert page.count(f"| `{PREFIX}{name.upper()}` |") == 1
    assert "| `UNSTATIC_SERVE_LEASE` | `60` |" in page


def test_every_limit_of_every_tier_is_in_the_table():
    page = write_reference.admin_page()
    assert set(write_reference.LIMITS) == {each.name for each in fields(Tier)}
    assert "| | " + " | ".join(f"`{name}`" for name in TIERS) + " |" in page
    assert "| films asked for a minute | 600 | 60 | 20 | 4 |" in page


def test_every_command_of_the_operator_is_described_and_hidden_options_are_not():
    page = write_reference.admin_page()
    for path in write_reference.leaves(("admin",)):
        assert f"### `unstatic {' '.join(path)}" in page
    assert page.count("### `") > 15
    assert "| `--tier TEXT` | must be given |" in page
    assert "--child" not in write_reference.settings_page()


def test_every_command_is_on_one_of_the_pages():
    pages = write_reference.pages().values()
    for path in write_reference.leaves(()):
        assert sum(f"### `unstatic {' '.join(path)}" in page for page in pages) == 1


def test_a_command_is_shown_with_what_it_takes():
    page = write_reference.commands_page()
    assert "### `unstatic video PROMPT`" in page
    assert "| `--seconds" in page
    assert "unstatic serve" not in page


def test_a_setting_under_no_head_is_noticed():
    source = "class Settings:\n    data: Path = 1\n"
    with pytest.raises(AssertionError):
        write_reference.grouped(source, Settings.model_fields)
