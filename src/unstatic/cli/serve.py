"""`unstatic serve` and `unstatic worker`: the Videos API on this machine, and who makes its films."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstatic.cli.options import number, whole
from unstatic.cli.output import warn
from unstatic.core.errors import InputError
from unstatic.core.threads import SHORT_SPINS, quiet_threads

if TYPE_CHECKING:
    from unstatic.server.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where jobs and films are kept; your data folder by default."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="A model that is offered, again for more; nano by default."),
]


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(parser=whole, metavar="INTEGER", help="The port; 0 finds a free one.")
    ] = 8000,
    model: Models = None,
    workers: Annotated[
        int | None, typer.Option(parser=whole, metavar="INTEGER", help="Worker processes; 0 if others work.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster: HOST:PORT, auto, or local for its own."),
    ] = None,
    data: Data = None,
    expose: Annotated[
        bool, typer.Option("--expose", help="Listen beyond this machine, though films are not moderated yet.")
    ] = False,
) -> None:
    """Serve the Videos API: POST /v1/videos and all that belongs to it."""
    settings = server_settings(data=data, models=tuple(model) if model else None, workers=workers, ray=ray)
    from unstatic.server.serving import run

    run(settings, host=host, port=port, expose=expose)


def worker(
    model: Models = None,
    data: Data = None,
    threads: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INTEGER", help="Threads that compute; all cores by default."),
    ] = None,
    lease: Annotated[
        float | None, typer.Option(parser=number, metavar="SECONDS", help="How long it may be silent.")
    ] = None,
    name: Annotated[str | None, typer.Option(hidden=True)] = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Make films for a server that has the same database and storage."""
    settings = server_settings(data=data, models=tuple(model) if model else None, lease=lease)
    if settings.ray is not None:  # the actors work: this process looks after them
        from unstatic.server.ray_pool import keep

        keep(settings, is_child=child)
        return
    import torch

    from unstatic.server.worker import run

    if threads is not None:
        if threads < 1:
            raise InputError(f"threads is {threads}: there must be at least one")
        torch.set_num_threads(threads)
    run(settings, name=name, is_child=child)


def server_settings(**given: object) -> "Settings":
    """Read the settings. Raises InputError naming the fix where the extra is missing."""
    quiet_threads(spins=SHORT_SPINS)
    try:
        from unstatic.server.settings import read_settings, unknown_variables
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'unstatic[server]'") from None
    for name in unknown_variables():
        warn(f"{name} is no setting of the server and has no effect")
    return read_settings(**given)
