"""The rules of the house that no linter knows. CONTRIBUTING.md explains them."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted(path for room in ("scripts", "benchmarks") for path in (ROOT / room).rglob("*.py"))

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
# An alarm for every room (docs/adr/0008-an-alarm-for-every-room.md)
MAX_ROOM_LINES = {
    "cli": 2_750,
    "server": 9_500,
    "presets": 2_800,
    "training": 2_000,
    "generate": 6_650,
    "evals": 4_250,
    "data": 1_200,
    "world": 5_350,
    "safety": 1_400,
    "models": 6_350,
    "diffusion": 1_300,
    "nn": 650,
    "media": 1_400,
    "core": 1_250,
    "": 40,
}
VAGUE_NAME = re.compile(r"utils?|helpers?|common|misc|manager")
MACHINE_PATH = re.compile(r"/(home|Users|root|" + r"work)/\w|C:\\Users")

# The one package whose __init__.py is more than a docstring, and why: `unstatic.generate(...)` is public.
CALLABLE_ROOM = ROOT / "src/unstatic/generate/__init__.py"
# Test files that stand for no single module.
WHOLE = (
    "deploy",
    "diffusers_parity",
    "docs",
    "gate",
    "gate_films",
    "house",
    "openai_client",
    "openapi_fuzz",
    "public_api",
    "setup_environment",
    "wan_pipeline_parity",
    "wan_streaming_parity",
)
TESTS_OF_THE_WHOLE = {f"tests/test_{name}.py" for name in WHOLE}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """List what git knows or would add; what it ignores is no part of the project."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_stay_short():
    long = {short(path): count_lines(path) for path in SOURCES + TESTS + SCRIPTS}
    assert {name: lines for name, lines in long.items() if lines > MAX_FILE_LINES} == {}


def test_functions_stay_short():
    long = {
        f"{short(path)}:{function.lineno} {function.name}": lines
        for path in SOURCES + TESTS + SCRIPTS
        for function in functions(path)
        if (lines := function.end_lineno - function.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_every_room_stays_readable():
    lines = dict.fromkeys(MAX_ROOM_LINES, 0)
    for path in SOURCES:
        room, *inside = path.relative_to(ROOT / "src/unstatic").parts
        lines[room if inside else ""] += count_lines(path)
    assert {room: count for room, count in lines.items() if count > MAX_ROOM_LINES[room]} == {}


def test_names_say_what_is_inside():
    parts = {part: short(path) for path in tracked_files() for part in (path.stem, path.parent.name)}
    assert {part: path for part, path in parts.items() if VAGUE_NAME.fullmatch(part)} == {}


def test_tests_mirror_the_source():
    expected = {
        short(path): source_of(path)
        for path in TESTS
        if path.name.startswith("test_") and short(path) not in TESTS_OF_THE_WHOLE
    }
    assert [test for test, source in expected.items() if not source.is_file()] == []


def source_of(test: Path) -> Path:
    """Name what a test stands for: a module of the package, one of the scripts or of the benchmarks."""
    name = test.relative_to(ROOT / "tests").with_name(test.name[5:])
    return ROOT / name if name.parts[0] in ("scripts", "benchmarks") else ROOT / "src/unstatic" / name


def test_rooms_are_described_by_a_docstring_and_nothing_else():
    for path in (ROOT / "src/unstatic").glob("*/__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{short(path)} does not say what the room is"
        assert len(tree.body) == 1 or path == CALLABLE_ROOM, f"{short(path)} holds more than a docstring"


def test_whatever_can_be_run_reads_its_arguments_before_it_does_anything():
    """Or `--help` would run it: some of them replace files that are shipped."""
    for path in SCRIPTS:
        code = path.read_text()
        if '__name__ == "__main__"' in code:
            assert ".parse_args(" in code or ".parse_known_args(" in code, path


def test_every_file_of_the_package_is_in_a_room():
    allowed = {"__init__.py", "__main__.py", "py.typed"}
    assert {path.name for path in (ROOT / "src/unstatic").iterdir() if path.is_file()} <= allowed


def test_no_path_of_a_machine_is_written_down():
    found: list[str] = []
    for path in tracked_files():
        data = path.read_bytes()
        text = "" if b"\0" in data else data.decode(encoding="utf-8", errors="replace")
        lines = enumerate(text.splitlines(), start=1)
        found += [f"{short(path)}:{number}" for number, line in lines if MACHINE_PATH.search(line)]
    assert found == []


def test_code_is_ascii():
    assert [short(path) for path in SOURCES + SCRIPTS if not path.read_bytes().isascii()] == []


def test_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted} - {"unstatic"}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if re.fullmatch(r"[\w-]+==[\d.]+", line)}
    assert names - pinned == set()
    assert [line for line in lines if line and not line.startswith("#") and "==" not in line] == []


@pytest.mark.parametrize(
    ("room", "imported", "exit_code"),
    [
        ("models", "core", 0),
        ("core", "nn", 1),  # upwards
        ("nn", "media", 1),  # sideways
        ("diffusion", "models", 1),
        ("generate", "training", 1),
        ("attic", "core", 1),  # a room that the house does not have
    ],
)
def test_the_contract_of_the_layers_bites(tmp_path: Path, room: str, imported: str, exit_code: int):
    for name in ("core", "nn", "media", "models", "diffusion", "generate", "training", room):
        (tmp_path / "unstatic" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "unstatic" / name / "__init__.py").touch()
    (tmp_path / "unstatic/__init__.py").touch()
    (tmp_path / "unstatic" / room / "guest.py").write_text(f"import unstatic.{imported}\n")

    linter = ["lint-imports", "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    code = (
        f"import sys; sys.argv = {linter!r}; from importlinter.cli import lint_imports_command as run; run()"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
    assert result.returncode == exit_code, result.stdout.decode()
    assert (b"BROKEN" in result.stdout) == bool(exit_code)
