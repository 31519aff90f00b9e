"""Which version of the code is running."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path

CHANGED = "+"


def current_version() -> str:
    """Return the commit that is checked out, with a "+" if the package is not as it was committed.

    "" outside a checkout. Without git nobody can tell what was changed, and nothing is said of it.
    """
    commit = current_commit()
    return commit + CHANGED if commit and _is_changed(Path(__file__).parents[1]) else commit


@cache
def code_digest() -> str:
    """Return a digest of the package's source files: equal code has an equal one, committed or not."""
    package, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()[:16]


def current_commit() -> str:
    """Return the first seven digits of the commit that is checked out; "" outside a checkout.

    It is the commit that HEAD names, whether or not files were changed since.
    """
    *_, source, checkout = Path(__file__).parents[:4]
    git = checkout / ".git"
    if source.name != "src":  # installed, perhaps among the packages of another project's checkout
        return ""
    if git.is_dir():
        return _head(git, git)[:7]
    if git.is_file():  # a further work tree: it has a HEAD of its own, and shares the branches
        own = checkout / git.read_text(encoding="utf-8").removeprefix("gitdir: ").strip()
        common = own / "commondir"
        shared = own / common.read_text(encoding="utf-8").strip() if common.is_file() else own
        return _head(own, shared)[:7] if (own / "HEAD").is_file() else ""
    return ""


def _is_changed(folder: Path) -> bool:
    command = ["git", "status", "--porcelain", "--", "."]
    try:
        told = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(told.stdout.strip())


def _head(own: Path, git: Path) -> str:
    """Follow HEAD to a commit, through a branch's own file or through the list of packed ones."""
    head = (own / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if (git / name).is_file():
        return (git / name).read_text(encoding="utf-8").strip()
    packed = git / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
