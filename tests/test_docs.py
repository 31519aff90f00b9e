"""The documents keep their word: what they tell a reader to type works, and their links lead somewhere."""

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import typer
from publish_evaluation import FACTS, REPORT, page, sections, with_figures, with_table
from typer.main import get_command

from unstatic.cli.main import app, run
from unstatic.evals.intervals import Score
from unstatic.media.write import write_picture
from unstatic.models.manifest import find_model
from unstatic.server.database import Database
from unstatic.server.metrics import Metrics
from unstatic.server.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
TUTORIALS = sorted(ROOT.glob("docs/tutorial/*.md"))
HOW_TOS = sorted(ROOT.glob("docs/how-to/*.md"))
SERVING = sorted(ROOT.glob("docs/how-to/serving/*.md"))
DEPLOYED = [path for path in sorted((ROOT / "deploy").iterdir()) if path.is_file()]

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
@pytest.mark.plain
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
@pytest.mark.plain
@pytest.mark.timeout(900)
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
    source = "\n".join(blocks(path, "python"))
    exec(source, {})  # noqa: S102 - it is our own document
    for name in re.findall(r'save\("(.+?)"\)', source):
        assert Path(name).stat().st_size > 1_000


def test_the_table_of_the_readme_is_that_of_the_evaluation():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<!-- evaluation -->" in readme
    assert with_table(readme, json.loads(FACTS.read_text(encoding="utf-8"))) == readme


def test_the_head_of_the_evaluation_is_that_of_its_facts():
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    head = page(facts, {}).partition("![films")[0]
    assert REPORT.read_text(encoding="utf-8").startswith(head)


def test_the_tables_of_the_evaluation_are_those_of_its_facts():
    facts, text = json.loads(FACTS.read_text(encoding="utf-8")), REPORT.read_text(encoding="utf-8")
    assert text.startswith(page(facts, sections(text)))
    tables, suites = sections(text), 0
    for name, part in facts.items():
        columns = part.get("columns", {}) if isinstance(part, dict) else {}
        suites += bool(columns)
        for atom, score in columns.get("real render", {}).get("scores", {}).items():
            scores = [column["scores"].get(atom, {"total": 0}) for column in columns.values()]
            said = [str(Score(**{key: each[key] for key in ("right", "total")})) for each in scores]
            assert f"| {atom} | {' | '.join(said)} |" in tables[name] or not score["total"], (name, atom)
    assert suites >= 7


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


@pytest.mark.plain
def test_the_python_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks(ROOT / "README.md", "python"))
    assert "import unstatic" in source
    exec(source, {})  # noqa: S102 - it is our own document
    assert list(tmp_path.glob("*.mp4"))


# ---------------------------------------------------------------------------------------- pages of the server


def test_there_is_a_page_for_each_size_of_a_server():
    names = {"README", "on-this-machine", "for-a-team", "on-several-machines", "on-a-cluster"}
    assert {path.stem for path in SERVING} == names
    overview = (ROOT / "docs/how-to/serving/README.md").read_text(encoding="utf-8")
    assert {each for each in names if f"({each}.md)" in overview} == names - {"README"}


@pytest.mark.parametrize("path", [*SERVING, *DEPLOYED], ids=lambda path: path.stem)
def test_commands_of_the_server_are_those_that_there_are(path: Path):
    for words in commands(path.read_text(encoding="utf-8")):
        found: Any = get_command(app)
        while words and words[0] in getattr(found, "commands", {}):
            found = found.commands[words.pop(0)]
        if hasattr(found, "commands"):
            assert words == [], "a group has no such command"
        else:
            with contextlib.suppress(typer.Exit):  # of --help
                found.make_context("unstatic", words)  # raises for an option or an argument that there is not


def test_commands_are_found_wherever_they_stand():
    text = """
    sudo -u me unstatic serve --port 1
ExecStart=/opt/bin/unstatic worker --threads 2
x="$(unstatic admin key list --json | tail -n 1)"
`unstatic admin report` and docker compose run --rm server admin report --json
unstatic admin account new "two words" \\
  --key > made
"""
    assert list(commands(text)) == [
        ["serve", "--port", "1"],
        ["worker", "--threads", "2"],
        ["admin", "key", "list", "--json"],
        ["admin", "report"],
        ["admin", "report", "--json"],
        ["admin", "account", "new", "two words", "--key"],
    ]


@pytest.mark.parametrize("path", [*DOCUMENTS, *DEPLOYED], ids=lambda path: path.name)
def test_settings_that_are_named_are_those_that_there_are(path: Path):
    named = set(re.findall(rf"{PREFIX}([A-Z]\w*)", path.read_text(encoding="utf-8")))
    assert named <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("path", SERVING, ids=lambda path: path.stem)
def test_units_and_settings_of_a_page_are_what_they_should_be(path: Path):
    for name, content in files(path).items():
        if name.endswith(".service"):
            assert "unstatic " in unit(content)["ExecStart"]
        else:
            known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} | {"OMP_NUM_THREADS"}
            assert set(variables(content)) <= known
            given = {key.removeprefix(PREFIX).lower(): value for key, value in variables(content).items()}
            given.pop("omp_num_threads", None)
            given["storage_options"] = json.loads(given.get("storage_options", "{}"))
            Settings.model_validate(given)


def test_metrics_that_are_named_are_those_that_there_are(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/jobs.sqlite")
    database.migrate()
    there_are = set(re.findall(r"^# TYPE (\S+)", Metrics(database).text().decode(), re.MULTILINE))
    database.close()
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    named = {name for text in texts for name in re.findall(r"\bunstatic_[a-z_]+", text)}
    assert len(named) > 5
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= there_are


@pytest.mark.slow
@pytest.mark.plain
@pytest.mark.timeout(900)
def test_a_server_on_this_machine_works_from_top_to_bottom(tmp_path: Path):
    page, environment = SERVING[0].parent / "on-this-machine.md", programs(tmp_path)
    environment["UNSTATIC_SERVE_DATA"] = str(tmp_path / "server")
    (_, start), *steps = script(page)
    with serving(["unstatic", *shlex.split(start)[1:], "--port", "0"], environment) as address:
        said = follow(steps, tmp_path, environment, {"http://127.0.0.1:8000": address})
    assert "event: completed" in said
    assert (tmp_path / "ball.mp4").read_bytes()[4:8] == (tmp_path / "cube.mp4").read_bytes()[4:8] == b"ftyp"
    assert (tmp_path / "ball.webp").stat().st_size > 500
    assert (tmp_path / "ball.jpg").stat().st_size > 500


@pytest.mark.slow
@pytest.mark.plain
@pytest.mark.timeout(900)
def test_a_server_for_a_team_works_from_top_to_bottom(tmp_path: Path):
    page, environment = SERVING[0].parent / "for-a-team.md", programs(tmp_path)
    here = {
        name: str(tmp_path / name.strip("/").replace("/", "-"))
        for name in ("/var/lib/unstatic", "/var/backups")
    }
    here |= {"/etc/unstatic.env": str(tmp_path / "unstatic.env"), "/opt/unstatic/bin": str(tmp_path / "bin")}
    written = files(page)
    settings = replaced(written["/etc/unstatic.env"], here)
    Path(here["/etc/unstatic.env"]).write_text(settings, encoding="utf-8")
    environment |= variables(settings)
    start = replaced(unit(written["/etc/systemd/system/unstatic.service"])["ExecStart"], here)
    command = [{"8000": "0"}.get(word, word) for word in shlex.split(start)]
    with serving(command, environment) as address:
        said = follow(script(page), tmp_path, environment, here | {"https://films.example.org": address})
        assert httpx.get(f"{address}/v1/videos").status_code == 401
    assert "event: completed" in said

    # The backup is a server that has the film, and knows the key
    (backup,) = Path(here["/var/backups"]).glob("unstatic/*")
    key = next(line for line in said.splitlines() if line.startswith("sk-unstatic-"))
    with (
        serving(command, environment | {"UNSTATIC_SERVE_DATA": str(backup)}) as address,
        httpx.Client(base_url=f"{address}/v1", headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        (film,) = client.get("/videos").json()["data"]
        assert film["status"] == "completed"
        found = client.get(f"/videos/{film['id']}/content").content
    assert found == (tmp_path / "ball.mp4").read_bytes()


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words after `unstatic` of every command of the server in a text, fenced or not."""
    text = re.sub(r"\\\n\s*", "", text)
    pattern = r"(?<![\w'.-])unstatic ((?:serve|worker|admin)\b[^\n`|>;&)]*)|\bserver (admin [^\n`|>;&)]*)"
    for found in re.finditer(pattern, text):
        yield shlex.split(found[1] or found[2])


def script(path: Path) -> list[tuple[str, str]]:
    """Return what a page lets its reader run: the languages and texts of its blocks."""
    pattern = r"^```(sh|python)\n(.*?)^```"
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def follow(
    steps: list[tuple[str, str]], folder: Path, environment: dict[str, str], here: dict[str, str]
) -> str:
    """Run the blocks of a page in one shell, with other places, and return what was said."""
    lines = ["set -eu"]
    for number, (language, text) in enumerate(steps):
        if language == "python":
            (folder / f"step{number}.py").write_text(replaced(text, here), encoding="utf-8")
        lines.append(f"python3 step{number}.py" if language == "python" else replaced(text, here))
    ran = subprocess.run(
        ["sh"],
        input="\n".join(lines),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-2_000:] + ran.stderr[-2_000:]
    return ran.stdout


def programs(folder: Path) -> dict[str, str]:
    """Return an environment in which `unstatic` and `python3` are those of this test."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is not installed: .ci/run installs it")
        pytest.skip("curl is not installed")
    (folder / "bin").mkdir()
    for name, module in (("unstatic", " -m unstatic"), ("python3", "")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Start a server, and yield where it is."""
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    command = [program, *command[1:]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removesuffix("/v1")
        finally:
            process.terminate()


def replaced(text: str, here: dict[str, str]) -> str:
    """Return a text with other places."""
    for place, other in here.items():
        text = text.replace(place, other)
    return text


def variables(text: str) -> dict[str, str]:
    """Return what a file of an environment says."""
    return dict("".join(shlex.split(line)).split("=", 1) for line in text.splitlines())


def unit(text: str) -> configparser.SectionProxy:
    """Return the part of a unit of systemd that says what is run."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(text)
    return parser["Service"]


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
