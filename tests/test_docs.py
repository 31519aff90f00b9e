"""The documents keep their word: what they tell a reader to type works, and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from unstatic.cli.main import run
from unstatic.media.write import write_picture
from unstatic.models.manifest import find_model

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
TUTORIALS = sorted(ROOT.glob("docs/tutorial/*.md"))
HOW_TOS = sorted(ROOT.glob("docs/how-to/*.md"))

# A training of seconds instead of half an hour; the commands stay what they are.
SHORT = (
    "world.clips=8",
    "world.shard_clips=8",
    "autoencoder.training.samples=32",
    "diffusion.training.samples=64",
)


def test_there_are_documents():
    assert len(DOCUMENTS) > 10
    assert TUTORIALS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [each for each in targets if "://" not in each and not (path.parent / each).exists()]
    assert missing == []


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_works_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line) for line in blocks(path, "sh")]
    assert len(commands) >= 3
    for name, *arguments in commands:
        assert name == "unstatic"
        code = run([*arguments, *(SHORT if arguments[0] == "train" else ())])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert (tmp_path / captured.out.strip()).exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", HOW_TOS, ids=lambda path: path.stem)
def test_a_how_to_works_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for name, content in files(path).items():
        Path(name).write_text(content, encoding="utf-8")
    sky = np.zeros((384, 384, 3), np.uint8)  # the mask of an example
    sky[:120] = 255
    write_picture(Path("sky.png"), sky)
    commands = [shlex.split(line) for line in blocks(path, "sh")]
    assert len(commands) >= 3
    for _, *arguments in commands:
        code = run(arguments)
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert captured.out.strip() == arguments[-1], "an example names its output last"
        assert Path(arguments[-1]).stat().st_size > 1_000


def test_the_figures_of_the_readme_are_those_of_the_report_on_the_shipped_weights():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    report = (ROOT / "docs" / "reference" / "evaluation.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- evaluation -->\n(.*?)<!-- /evaluation -->", readme, re.DOTALL)
    assert table.count("\n| ") > 8
    assert table in report
    assert f"weights `{find_model('nano').digest()}`" in report


def test_the_python_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks(ROOT / "README.md", "python"))
    assert "import unstatic" in source
    exec(source, {})  # noqa: S102 - it is our own document
    assert list(tmp_path.glob("*.mp4"))


def files(path: Path) -> dict[str, str]:
    """Return the fenced blocks that a document gives a file name."""
    pattern = r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```"
    return dict(re.findall(pattern, path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))


def blocks(path: Path, language: str) -> list[str]:
    """Return the lines of all fenced blocks in one language."""
    found = re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [line for block in found for line in block.splitlines() if line.strip()]
