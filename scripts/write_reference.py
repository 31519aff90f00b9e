"""Write the reference pages from the code: all commands, and the settings, tiers and commands of the server.

    python scripts/write_reference.py

Writes docs/reference/commands.md, settings.md and admin.md. A test compares them with what this makes.
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from unstatic.cli.main import app
from unstatic.core.folders import server_folder
from unstatic.server.accounts import TIERS, Tier
from unstatic.server.settings import PREFIX, Settings

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
SERVER = ("serve", "worker", "admin")
# What a default is that depends on the machine
MADE: dict[object, str] = {server_folder: "`~/.local/share/unstatic/server`", dict: "`{}`"}
LIMITS = {
    "concurrency": "films made at a time",
    "weight": "share of the workers when there is a queue, beside 1 of a creator",
    "films": "films asked for a minute",
    "seconds": "seconds of film a day",
    "longest_s": "longest film, s",
    "waiting": "films that wait",
    "uploads": "may send pictures and videos",
    "characters": "characters that are kept",
    "credits": "credits at the beginning",
}

SETTINGS = """# Settings of the server

Written by `python scripts/write_reference.py` from `src/unstatic/server/settings.py`. `unstatic serve`,
`worker` and `admin` read them from the environment; nothing must be set, an empty variable counts as unset,
and what an option says counts more. Several processes of one server need the same ones. Times are in
seconds, names are separated by commas. How they belong together is in [how to
serve](../how-to/serving/README.md).

{tables}

Two more are not the server's own: `UNSTATIC_MODELS`, the folder of models that were pulled
(`~/.local/share/unstatic/models`), and `UNSTATIC_CACHE`, that of what can be fetched again
(`~/.cache/unstatic`). Where `XDG_DATA_HOME` and `XDG_CACHE_HOME` are set they, not `~/.local/share` and
`~/.cache`, hold these folders and that of the server.

## What the commands take

{commands}"""

COMMANDS = """# Commands

Written by `python scripts/write_reference.py` from the commands in the code; `unstatic COMMAND --help` says
the same. The path of what was made is printed alone on a line, `--json` prints one JSON object instead, and
everything else goes to stderr. A command that a wrong value stops exits with 2 and one line that says what to
do; one that is stopped by Ctrl-C leaves no half file. The commands of a server are described with [its
settings](settings.md#what-the-commands-take) and in [what its operator types](admin.md#commands).

{commands}"""

ADMIN = """# What the operator of a server types

Written by `python scripts/write_reference.py` from the commands and tiers in the code. `unstatic admin`
opens the database that [the settings](settings.md) name, whether a server runs or not: it needs the same
variables, or `--data`. What is made is printed alone on a line, an error is one line, and a command that a
wrong value stops exits with 2.

## Tiers

| | {tiers} |
|---|{rule}
{limits}

A second of up to 1280 x 720 pixels costs one credit, more pixels in proportion, and so do steps beyond the
model's own; what fails is paid back.
Of a film that is cancelled or deleted while it is made the share that was made until then is paid for, and
counts for the day.
Requests a minute of a key, and jobs that wait of all accounts together, are [settings](settings.md). As
long as no key was ever made one person uses the server, as the tier `admin`, with credits for ever.

## Commands

{commands}"""


def main() -> None:
    """Write all pages."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Return the text of every page by its path."""
    made = {"commands": commands_page(), "settings": settings_page(), "admin": admin_page()}
    return {REFERENCE / f"{name}.md": text for name, text in made.items()}


# -------------------------------------------------------------------------------------------------- settings


def settings_page() -> str:
    """Return the page of all variables, in the order and under the heads that the class has."""
    groups = grouped(inspect.getsource(Settings), Settings.model_fields)
    tables = ""
    for head, names in groups.items():
        rows = [setting_row(name, Settings.model_fields[name]) for name in names]
        tables += f"## {head}\n\n| variable | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
    tables = tables.rstrip("\n")
    commands = [described(name) for name in (("serve",), ("worker",))]
    return SETTINGS.format(tables=tables, commands="\n".join(commands))


def grouped(source: str, known: dict[str, FieldInfo]) -> dict[str, list[str]]:
    """Return the fields of a class under the comments that stand above them in its source."""
    groups: dict[str, list[str]] = {}
    head = ""
    for line in source.splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            head = comment[1]
        elif (field := re.match(r"    (\w+):", line)) and field[1] in known:
            groups.setdefault(head, []).append(field[1])
    assert sum(map(len, groups.values())) == len(known), "a setting is in no group"
    return groups


def setting_row(name: str, field: FieldInfo) -> str:
    """Return what a setting is as a row."""
    return f"| `{PREFIX}{name.upper()}` | {default_of(field)} | {field.description} |"


def default_of(field: FieldInfo) -> str:
    """Return the default of a setting as the environment would say it."""
    if field.default_factory is not None:
        return MADE[field.default_factory]
    value: Any = field.default
    if value is None or value == ():
        return ""
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


# -------------------------------------------------------------------------------------------------- commands


def commands_page() -> str:
    """Return the page of every command that is not the server's."""
    paths = [path for path in leaves(()) if path[0] not in SERVER]
    return COMMANDS.format(commands="\n".join(described(path) for path in paths))


def admin_page() -> str:
    """Return the page of the tiers and of every command of `unstatic admin`."""
    rows = []
    for each in fields(Tier):
        values = [shown(getattr(tier, each.name)) for tier in TIERS.values()]
        rows.append(f"| {LIMITS[each.name]} | " + " | ".join(values) + " |")
    commands = [described(path) for path in leaves(("admin",))]
    return ADMIN.format(
        tiers=" | ".join(f"`{name}`" for name in TIERS),
        rule="---|" * len(TIERS),
        limits="\n".join(rows),
        commands="\n".join(commands),
    )


def shown(value: Any) -> str:
    """Return a limit as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def found(path: tuple[str, ...]) -> Any:
    """Return the command of a path below `unstatic`."""
    command: Any = get_command(app)
    for name in path:
        command = command.commands[name]
    return command


def leaves(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all commands below one, in the order of their help."""
    command = found(path)
    if not isinstance(command, TyperGroup):
        yield path
        return
    for name in command.commands:
        yield from leaves((*path, name))


def described(path: tuple[str, ...]) -> str:
    """Return the section of a command: its words, its arguments and its options."""
    command = found(path)
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    options = [each for each in command.params if isinstance(each, TyperOption) and not each.hidden]
    taken = " ".join(("unstatic", *path, *(str(each.metavar) for each in arguments)))
    rows = [f"| `{each.metavar}` | | {each.help} |" for each in arguments]
    rows += [option_row(each) for each in options if "--help" not in each.opts]
    table = ["| | default | |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join([f"### `{taken}`\n", f"{command.help}\n", *table])


def option_row(option: TyperOption) -> str:
    """Return an option as a row."""
    value = "" if option.is_flag else f" {option.metavar or 'TEXT'}"
    default = "" if option.is_flag or option.default in (None, "") else f"`{option.default}`"
    default = "must be given" if option.required else default
    names = ", ".join([*option.opts, *option.secondary_opts])
    return f"| `{names}{value}` | {default} | {option.help} |"


if __name__ == "__main__":
    main()
