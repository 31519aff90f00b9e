"""The documents keep their word: what they tell a reader to type works, and their links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from publish_evaluation import FACTS, with_figures, with_table
from typer.main import get_command

from unstatic.cli.main import app, run
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


def test_the_table_of_the_readme_is_that_of_the_evaluation():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<!-- evaluation -->" in readme
    assert with_table(readme, json.loads(FACTS.read_text(encoding="utf-8"))) == readme


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_that_were_measured(path: Path):
    text = path.read_text(encoding="utf-8")
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    assert with_figures(text, facts) == text
    assert facts["digest"] == find_model("nano").digest()


def test_every_claim_has_a_command_that_there_is_and_a_figure():
    text = (ROOT / "docs" / "explanation" / "claims.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 20
    assert "??" not in text
    for *_, figure in rows:
        assert "<!-- figure:" in figure or "](" in figure or "tests/" in figure, figure
    root = get_command(app)
    for command in re.findall(r"`((?:unstatic|python) [^`]+)`", text):
        program, name, *arguments = shlex.split(command)
        if program == "python":
            assert (ROOT / name).is_file(), command
        else:
            found = root.get_command(root.make_context("unstatic", [], resilient_parsing=True), name)
            found.make_context(name, arguments)  # raises for an option or a value that there is not


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
