import subprocess
from pathlib import Path

import pytest

from unstatic.core import commit

DIGITS = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "src" / "unstatic" / "core" / "commit.py"))
    return git


def test_a_branch_a_packed_branch_and_a_bare_commit_are_followed(checkout: Path) -> None:
    (checkout / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit.current_commit() == ""
    (checkout / "packed-refs").write_text(f"# pack-refs\n{DIGITS} refs/heads/main\n")
    assert commit.current_commit() == DIGITS[:7]
    (checkout / "refs" / "heads" / "main").write_text("f" + DIGITS[1:] + "\n")
    assert commit.current_commit() == "f123456"
    (checkout / "HEAD").write_text(DIGITS + "\n")
    assert commit.current_commit() == DIGITS[:7]


def test_a_further_work_tree_has_a_head_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "main" / ".git" / "worktrees" / "other"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/other\n")
    (own / "commondir").write_text("../..\n")
    (own.parent.parent / "packed-refs").write_text(f"{DIGITS} refs/heads/other\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".git").write_text("gitdir: ../main/.git/worktrees/other\n")
    file = tmp_path / "other" / "src" / "unstatic" / "core" / "commit.py"
    monkeypatch.setattr(commit, "__file__", str(file))
    assert commit.current_commit() == DIGITS[:7]


def test_a_package_that_was_changed_since_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "unstatic"
    file = package / "core" / "commit.py"
    file.parent.mkdir(parents=True)
    file.write_text("first")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(commit, "__file__", str(file))
    assert commit.current_version() == commit.current_commit() != ""
    (tmp_path / "README.md").write_text("not of the package")
    assert commit.current_version() == commit.current_commit()
    file.write_text("second")
    assert commit.current_version() == f"{commit.current_commit()}+"
    monkeypatch.setattr(commit.subprocess, "run", no_git)
    assert commit.current_version() == commit.current_commit()


def no_git(*_: object, **__: object) -> None:
    raise FileNotFoundError("git")


def test_outside_a_checkout_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "src" / "unstatic" / "core" / "commit.py"))
    assert commit.current_commit() == ""


def test_the_commit_of_a_project_that_has_it_installed_is_not_its_own(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "HEAD").write_text(DIGITS + "\n")
    assert commit.current_commit() == DIGITS[:7]
    packages = checkout.parent / ".venv" / "lib" / "python3" / "site-packages"
    for place in (packages, checkout.parent / "packages"):
        monkeypatch.setattr(commit, "__file__", str(place / "unstatic" / "core" / "commit.py"))
        assert commit.current_commit() == commit.current_version() == ""


def test_equal_code_has_an_equal_digest_and_every_change_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[str] = []
    for folder, files in (
        ("one", {"core/a.py": "1", "b.py": "2"}),
        ("two", {"b.py": "2", "core/a.py": "1", "notes.txt": "3"}),
        ("changed", {"core/a.py": "1", "b.py": "3"}),
        ("moved", {"core/b.py": "1", "b.py": "2"}),
        ("shifted", {"core/a.py": "", "b.py": "12"}),
    ):
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(commit, "__file__", str(tmp_path / folder / "core" / "commit.py"))
        digests.append(commit.code_digest.__wrapped__())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
