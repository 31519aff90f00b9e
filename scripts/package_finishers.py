"""Turn the published weights of an upscaler and an interpolator into files of the package.

    python scripts/package_finishers.py realesr realesr-animevideov3-x4.param realesr-animevideov3-x4.bin
    python scripts/package_finishers.py rife train_log/flownet.pkl

The first are ncnn's files of Real-ESRGAN (github.com/xinntao/Real-ESRGAN, BSD 3-clause), the second that of
RIFE HDv3 (github.com/hzwer/ECCV2022-RIFE, MIT), a pickle, of which only tensors are read.
"""

import argparse
from pathlib import Path

import torch

from unstatic.generate.finish import FOLDER
from unstatic.models.compact_upscaler import from_ncnn
from unstatic.models.interpolator import Interpolator, InterpolatorConfig, from_rife
from unstatic.models.weights import save_model


def package(name: str, files: list[Path], folder: Path) -> None:
    """Write FOLDER/NAME.safetensors."""
    path = folder / f"{name}.safetensors"
    if name == "realesr":
        network = from_ncnn(*files)
        save_model(path, network, network.config, "compact-upscaler")
        return
    (file,) = files
    interpolator = Interpolator(InterpolatorConfig())
    interpolator.load_state_dict(from_rife(torch.load(file, map_location="cpu", weights_only=True)))
    save_model(path, interpolator, interpolator.config, "interpolator")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description="Turn published weights into files of the package.")
    parser.add_argument("name", choices=("realesr", "rife"))
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    package(options.name, options.files, options.output)


if __name__ == "__main__":
    main()
