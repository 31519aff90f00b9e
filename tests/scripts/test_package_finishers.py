from pathlib import Path

import torch
from package_finishers import package

from unstatic.models.interpolator import Interpolator, InterpolatorConfig
from unstatic.models.weights import load_model


def test_the_interpolator_is_renamed_and_rounded(tmp_path: Path):
    """What `from_rife` takes is tested with it; here a file goes in and one comes out."""
    network = Interpolator(InterpolatorConfig())
    published = {as_published(name): tensor for name, tensor in network.state_dict().items()}
    torch.save(published | {"module.block_tea.conv0.0.0.weight": torch.zeros(1)}, tmp_path / "flownet.pkl")
    package("rife", [tmp_path / "flownet.pkl"], tmp_path)
    read = load_model(tmp_path / "rife.safetensors", "interpolator", InterpolatorConfig, Interpolator)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name].float(), tensor, atol=0, rtol=1 / 128)


def as_published(name: str) -> str:
    """Return what RIFE calls a tensor."""
    _, block, part, *rest = name.split(".")
    if part in ("flow", "mask"):
        return ".".join([f"module.block{block}", {"flow": "conv1", "mask": "conv2"}[part], *rest])
    if part == "residuals":
        number, *rest = rest
        part = f"convblock{number}"
    else:
        part = "conv0"
    index = int(rest[0])
    return ".".join([f"module.block{block}", part, str(index // 2), str(index % 2), *rest[1:]])
