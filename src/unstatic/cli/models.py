"""`unstatic models`: what is installed and what it can do."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unstatic.cli.output import stopping, warn
from unstatic.core.errors import InputError
from unstatic.core.files import human_size

if TYPE_CHECKING:
    from unstatic.core.log import Bar
    from unstatic.models.manifest import InstalledModel

app = typer.Typer(no_args_is_help=True, help="Show the models that are installed, and make others.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(
    others: Annotated[bool, typer.Option("--all", help="Also those that can be pulled.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the installed models: sizes, rate, memory, licence."""
    from unstatic.models.manifest import installed_folders, open_model
    from unstatic.models.pull import OFFERS
    from unstatic.models.room import described

    models: list[tuple[InstalledModel, int]] = []
    for folder in installed_folders():
        try:
            model = open_model(folder)
            models.append((model, max(described(model)["as it is"].values())))
        except InputError as error:
            warn(f"{folder.name}: {error}")
    if as_json:
        here = [
            {"name": each.folder.name, "size_bytes": each.size_bytes(), "memory_bytes": memory}
            for each, memory in models
        ]
        there = [{"name": offer.name, "repository": offer.repository} for offer in OFFERS if others]
        typer.echo(json.dumps([*here, *there]))
        return
    if not models:
        warn("no model is installed: reinstall unstatic, or train one with `unstatic train`")
    for model, memory in models:
        manifest = model.manifest
        sizes = " ".join(str(size) for size in manifest.sizes)
        takes = f"{human_size(model.size_bytes())} ({human_size(memory)} of memory)"
        facts = (sizes, f"{manifest.fps} frames/s", takes, manifest.licence)
        typer.echo("  ".join((f"{model.folder.name:12}", *facts)))
    for offer in OFFERS if others else ():
        facts = (f"{offer.parameters} parameters", offer.does, offer.licence, "unstatic models pull")
        typer.echo("  ".join((f"{offer.name:12}", *facts)))


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name or folder.")],
    as_json: AsJson = False,
) -> None:
    """Show what a model says about itself, and its memory need."""
    from unstatic.core.config import to_dict
    from unstatic.models.manifest import find_model
    from unstatic.models.parts import part_files
    from unstatic.models.room import described
    from unstatic.models.weights import count_parameters

    model = find_model(name)
    facts = to_dict(model.manifest)
    facts["parameters"] = {part: count_parameters(files) for part, files in part_files(model).items()}
    facts["size_bytes"] = model.size_bytes()
    facts["folder"] = str(model.folder)
    memory = described(model)
    if as_json:
        typer.echo(json.dumps(facts | {"memory_bytes": memory}))
    else:
        typer.echo("\n".join(_readable(facts | {"memory": _sizes(memory)})))


@app.command("pull")
def pull_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See list --all; or OWNER/NAME of a hub.")],
    revision: Annotated[
        str | None, typer.Option(help="A commit, branch or tag; the newest by default.")
    ] = None,
    called: Annotated[str | None, typer.Option("--name", help="What the model is called here.")] = None,
    accept: Annotated[bool, typer.Option("--yes", help="Accept the licence without being asked.")] = False,
    endpoint: Annotated[str | None, typer.Option(help="Another hub than huggingface.co.")] = None,
) -> None:
    """Fetch open weights, or go on with it.

    Says the licence and the size first; what was interrupted goes on where it stopped. Afterwards the name
    that is printed is a model's.
    """
    from unstatic.core.folders import models_folder
    from unstatic.core.log import progress
    from unstatic.models.pull import check_name, check_place, fetch, find_offer, inspect

    offer = find_offer(name)
    target = models_folder() / check_name(called or offer.name)
    check_place(target.parent)
    parcel = inspect(offer.repository, revision=revision, endpoint=endpoint)
    size = human_size(parcel.size_bytes)
    warn(f"{parcel.repository} at {parcel.revision[:12]}: {size}, licence {parcel.licence}")
    if not accept:
        ask_for_consent(parcel.licence)
    bar_of_all = progress(f"{target.name}, MB", round(parcel.size_bytes / 1e6))
    with bar_of_all as bar, stopping("stopped; the same command goes on where it was"):
        fetch(parcel, target, advance=Megabytes(bar))
    typer.echo(target.name)


class Megabytes:
    """Tell a bar of megabytes of bytes."""

    def __init__(self, bar: "Bar") -> None:
        self.bar, self.told, self.bytes = bar, 0, 0

    def __call__(self, size_bytes: int) -> None:
        """Advance by the whole megabytes that these bytes complete."""
        self.bytes += size_bytes
        whole = round(self.bytes / 1e6)
        self.bar.advance(whole - self.told)
        self.told = whole


def ask_for_consent(licence: str) -> None:
    """Ask a person for consent to a licence. Raises InputError where nobody can be asked, or says no."""
    if not sys.stdin.isatty():
        raise InputError(f"the licence is {licence}: accept it with --yes")
    if not typer.confirm(f"Accept the licence {licence}?", err=True):
        raise InputError("the licence was not accepted: nothing was fetched")


@app.command("convert")
def convert_model(
    output: Annotated[Path, typer.Option("-o", "--output", help="The new model's folder.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Weights as Wan itself lays them out.")
    ] = None,
    transformer: Annotated[Path | None, typer.Option(help="A safetensors file, or a folder of them.")] = None,
    late_transformer: Annotated[Path | None, typer.Option(help="Of a pair, the one for low noise.")] = None,
    autoencoder: Annotated[Path | None, typer.Option(help="Wan's VAE, a safetensors file.")] = None,
    text_encoder: Annotated[Path | None, typer.Option(help="UMT5-XXL, a safetensors file.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="A folder that holds tokenizer.json.")] = None,
    image_encoder: Annotated[
        Path | None, typer.Option(help="CLIP's, for 2.1's image-to-video: a folder of transformers.")
    ] = None,
    tiny_decoder: Annotated[
        Path | None, typer.Option(help="For previews: taew2_1, a safetensors file.")
    ] = None,
    chunk: Annotated[int | None, typer.Option(help="Latent frames that a student makes at a time.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files instead of linking them.")] = False,
) -> None:
    """Make a model of open weights in other files.

    They are Wan's own folders, or single files. The folder that is printed is the model's name from then on:
    unstatic video --model FOLDER.
    """
    from unstatic.models.convert import convert, sources_of

    sources = sources_of(
        folder,
        transformer=transformer,
        late=late_transformer,
        autoencoder=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        image_encoder=image_encoder,
        tiny=tiny_decoder,
        chunk=chunk,
    )
    convert(sources, output, copy=copy)
    typer.echo(output)


def _sizes(facts: dict[str, Any]) -> dict[str, Any]:
    """Write bytes the way people say them."""
    said: dict[str, Any] = {}
    for name, value in facts.items():
        inner = _sizes(cast(dict[str, Any], value)) if isinstance(value, dict) else value
        said[name] = human_size(inner) if isinstance(inner, int) else inner
    return said


def _readable(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Return a line for every fact, indented below the name of the group it belongs to."""
    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_readable(cast(dict[str, Any], value), indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_text(value)}")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in cast(list[Any], value))
    if isinstance(value, dict):
        return "x".join(_text(item) for item in cast(dict[str, Any], value).values())  # a size
    return str(value)
