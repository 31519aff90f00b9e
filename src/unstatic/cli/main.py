"""The `unstatic` command, and the one place where errors become a line on stderr and an exit code."""

import errno
import os
import sys
from typing import Annotated

import typer

from unstatic import __version__
from unstatic.cli import admin, bench, doctor, edit, evaluate, generate, models, serve, static, train, world
from unstatic.cli.output import StoppedError, warn
from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.names import release_names
from unstatic.core.processes import code_of_end, end_in_order, end_together, this_process

SUMMARY = "Type a sentence, get a film. Edit it, serve it to others, train the model that makes it."

app = typer.Typer(
    help=SUMMARY,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
EDITS = (edit.extend, edit.loop, edit.blend, edit.remix, edit.repaint, edit.recut)
FILMING = {each.__name__: each for each in (generate.video, generate.image, *EDITS)}
for name, filming in FILMING.items():
    app.command(name)(filming)
SERVING = ("serve", "worker")  # they end in their own order
app.command("static")(static.static)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("doctor")(doctor.doctor)
app.add_typer(admin.app, name="admin")
app.add_typer(models.app, name="models")
app.add_typer(world.app, name="world")


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"unstatic {__version__}")
        raise typer.Exit
    return wanted


@app.callback(help=SUMMARY)
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Stand above all commands: hold the options that belong to none of them."""


def main() -> None:
    """Run the command line and exit: 0, 1 (failed), 2 (the user's input) or 130 (Ctrl-C)."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code: results go to stdout, everything else to stderr."""
    try:
        return _run(arguments)
    finally:
        release_names()


def _run(arguments: list[str]) -> int:
    place, named = this_process(), " ".join(arguments[:1])
    end_together(place)
    if place.size > 1 and named not in FILMING:
        return _complain(
            f"`unstatic {named}` runs in one process: start it without torchrun", InputError.exit_code
        )
    if place.size == 1 and named not in SERVING:
        end_in_order()
    try:
        # Ctrl-C and typer.Exit come back as a number, not as exceptions
        code = app(arguments, standalone_mode=False, prog_name="unstatic")
    except typer.TyperException as error:
        return _complain(_said(error), error.exit_code)
    except UnstaticError as error:
        return _complain(str(error), code_of_end() or error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _let_stdout_go()
        place = f" {error.filename}" if error.filename else ""
        return _complain(f"cannot write{place}: {error.strerror}, make room", UnstaticError.exit_code)
    if code == StoppedError.exit_code or code_of_end():
        return _complain("stopped, nothing was written", code_of_end() or code)
    return code or 0


def _let_stdout_go() -> None:
    """Throw away what stdout does not take, or Python complains of it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _said(error: typer.TyperException) -> str:
    """Return what is wrong, and what to do where a command was given more words than it takes, or fewer."""
    context, said = getattr(error, "ctx", None), error.format_message()
    if context is None or not said.startswith(("Got unexpected extra argument", "Missing ")):
        return said
    takes_prompt = any(each.name == "prompt" for each in context.command.params)
    if takes_prompt and not said.startswith("Missing "):
        return f"{said}: put a prompt of several words in quotes"
    return f"{said.removesuffix('.')}: see `{context.command_path} --help`"


def _complain(message: str, exit_code: int) -> int:
    if "\n" in message and not this_process().rank:  # the help of a group that was called without a command
        typer.echo(message, err=True)
    else:
        warn(message)
    return exit_code
