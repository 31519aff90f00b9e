"""The package seen from outside: `import unstatic`."""

import subprocess
import sys

import pytest

import unstatic


def run(code: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_the_package_does_not_import_torch():
    run("import sys, unstatic; assert unstatic.__version__ and 'torch' not in sys.modules")


@pytest.mark.parametrize("first", ["unstatic", "unstatic.generate", "unstatic.generate.request"])
def test_generate_can_be_called_whatever_was_imported_first(first: str):
    both = "import unstatic; from unstatic import generate"
    run(f"import {first}; {both}; assert generate is unstatic.generate and callable(generate)")


def test_the_verbs_live_in_the_room_that_does_the_work():
    assert unstatic.load.__module__ == "unstatic.generate.api"
    assert unstatic.generate.__call__.__module__ == "unstatic.generate.api"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'unstatic' has no attribute 'genrate'"):
        unstatic.genrate  # noqa: B018


def test_the_public_names_are_listed():
    assert dir(unstatic) == ["Cue", "__version__", "generate", "load"]
    assert unstatic.Cue.__module__ == "unstatic.diffusion.condition"
