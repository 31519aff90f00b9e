"""Teach a finished few-step model to go on from its own films, as the last stage of `unstatic train` does.

    python scripts/train_for_length.py nano -o runs/longer

`unstatic.training.recycle` says why and `LengthRun` how. FOLDER/model is the model that was taught. Beside
windows of minutes in which something happens to the end (the mix `lively`) it sees other clips, if folders of
rendered ones of the model's size are named. With more --samples a finished run goes on.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unstatic.core.threads import quiet_threads

quiet_threads()

from unstatic.core.device import pick_device  # noqa: E402
from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.files import atomic_path  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.data.shards import Shard, open_shards  # noqa: E402
from unstatic.diffusion.distilled import SCALARS  # noqa: E402
from unstatic.models.manifest import InstalledModel, find_model, write_manifest  # noqa: E402
from unstatic.models.weights import find_files, is_saved, load_state  # noqa: E402
from unstatic.presets.nano import for_length, preset  # noqa: E402
from unstatic.presets.preset import LengthRun, Preset  # noqa: E402
from unstatic.presets.stages import (  # noqa: E402
    autoencoder_path,
    encode_with,
    load_transformer,
    teach_length,
    transformer_path,
)
from unstatic.training.recycle import RecycleConfig  # noqa: E402


def settings_of(
    model: InstalledModel, recycle: RecycleConfig, *, samples: int, minutes: int, seed: int
) -> tuple[Preset, LengthRun]:
    """Return the model's preset as its manifest says it was changed, and what is to be learned."""
    about, chosen = model.manifest, preset(model.manifest.preset)
    length = for_length(chosen.world.sizes, samples=samples, minutes=minutes)
    length = replace(
        length,
        training=replace(length.training, seed=seed),
        step=replace(length.step, recycle=recycle),
    )
    diffusion = replace(chosen.diffusion, text_encoder=about.text_encoder)
    diffusion = replace(diffusion, step=replace(diffusion.step, prediction=about.prediction))
    others = {"seed": seed, "compression": about.compression, "sampling": about.defaults}
    return replace(chosen, diffusion=diffusion, length=None, **others), length


def lay_out(model: InstalledModel, folder: Path) -> None:
    """Lay a model into a run's folder, as the run before its last stage leaves it.

    Raises InputError if another model lies there.
    """
    for name, path in (
        ("autoencoder", autoencoder_path(folder)),
        ("transformer", transformer_path(folder, "student")),
    ):
        source = model.weights(name)
        if not is_saved(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for file in find_files(source):
                with atomic_path(path.parent / file.name) as temporary:
                    shutil.copy(file, temporary)
        elif load_state(path)[0].digest != load_state(source)[0].digest:
            raise InputError(f"{folder} was begun with another {name}: take another folder")


def encoded(model: InstalledModel, folders: Sequence[Path], output: Path) -> list[Shard]:
    """Encode folders of clips with the model's autoencoder."""
    shards = list[Shard]()
    for number, clips in enumerate(folders, 1):
        latents = output / "latents" / f"{number}-{clips.resolve().name}"
        weights, compression = model.weights("autoencoder"), model.manifest.compression
        encode_with(weights, clips, latents, compression, pick_device(), name=model.manifest.name)
        shards += open_shards(latents, "latents")
    return shards


def main() -> None:
    """Train what is asked for and write the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="a few-step model's name or folder")
    parser.add_argument("--windows", type=int, default=640, help="windows of minutes to render")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="folders of other rendered clips")
    parser.add_argument("--samples", type=int, default=2_400, help="chunks to train on")
    parser.add_argument("--share", type=float, default=0.75, help="of all pasts, how many have errors")
    parser.add_argument("--rounds", type=int, default=3, help="how many times over, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for the run")
    options = parser.parse_args()
    keep_freed_memory()
    model = find_model(options.model)
    if not set(SCALARS) <= set(load_transformer(model.weights("transformer")).config.scalars):
        raise InputError(f"{options.model} was not distilled: this teaches few-step models")
    recycle = RecycleConfig(share=options.share, rounds=options.rounds)
    chosen, length = settings_of(
        model, recycle, samples=options.samples, minutes=options.windows, seed=options.seed
    )
    lay_out(model, options.output)
    others = encoded(model, options.clips, options.output)
    teach_length(chosen, length, options.output, pick_device(), others)
    write_manifest(options.output / "model", model.manifest)


if __name__ == "__main__":
    main()
