"""`unstatic models`: what is installed and what it can do."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from unstatic.cli.output import warn
from unstatic.core.files import human_size

app = typer.Typer(no_args_is_help=True, help="Show the models that are installed, and make others.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the installed models with sizes, frame rate and licence."""
    from unstatic.models.manifest import installed_folders, open_model

    models = [open_model(folder) for folder in installed_folders()]
    if as_json:
        typer.echo(
            json.dumps([{"name": each.folder.name, "size_bytes": each.size_bytes()} for each in models])
        )
        return
    if not models:
        warn("no model is installed: reinstall unstatic, or train one with `unstatic train`")
    for model in models:
        manifest = model.manifest
        sizes = " ".join(str(size) for size in manifest.sizes)
        facts = (sizes, f"{manifest.fps} frames/s", human_size(model.size_bytes()), manifest.licence)
        typer.echo("  ".join((f"{model.folder.name:12}", *facts)))


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name or folder.")],
    as_json: AsJson = False,
) -> None:
    """Show everything that a model says about itself."""
    from unstatic.core.config import to_dict
    from unstatic.models.manifest import find_model
    from unstatic.models.parts import part_files
    from unstatic.models.weights import count_parameters

    model = find_model(name)
    facts = to_dict(model.manifest)
    facts["parameters"] = {part: count_parameters(files) for part, files in part_files(model).items()}
    facts["size_bytes"] = model.size_bytes()
    facts["folder"] = str(model.folder)
    typer.echo(json.dumps(facts) if as_json else "\n".join(_readable(facts)))


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
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files instead of linking them.")] = False,
) -> None:
    """Make a model of open weights that lie elsewhere, also in single files.

    The folder that is printed is the model's name from then on: unstatic video --model FOLDER.
    """
    from unstatic.models.convert import convert, sources_of

    sources = sources_of(
        folder,
        transformer=transformer,
        late=late_transformer,
        autoencoder=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    )
    convert(sources, output, copy=copy)
    typer.echo(output)


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
