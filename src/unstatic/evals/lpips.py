"""LPIPS: how different two pictures look to AlexNet (Zhang et al., 2018, 1801.03924; version 0.1).

0 for equal pictures, about 0.1 for slight and 0.5 for strong changes. Pictures are compared at their own
size, as the authors' program does; at 64 x 64 the last features are 3 x 3, so figures are comparable only
among pictures of about one size.

    network = load_lpips()
    distance = network.between(real, made)
"""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from unstatic.evals.files import LPIPS_ALEXNET, State, load_arrays, with_inputs_second

WIDTHS = (64, 192, 384, 256, 256)
# The authors' normalisation of pictures in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPS = 1e-10
PICTURES_AT_ONCE = 32

Pictures = Float[Tensor, "n 3 h w"]
Frames = UInt8[np.ndarray, "t h w 3"]


class Lpips(nn.Module):
    """AlexNet up to its fifth convolution, and how much each channel counts."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, WIDTHS[0], 11, stride=4, padding=2),
                nn.Conv2d(WIDTHS[0], WIDTHS[1], 5, padding=2),
                *(nn.Conv2d(WIDTHS[i], WIDTHS[i + 1], 3, padding=1) for i in (1, 2, 3)),
            ]
        )
        self.weights = nn.ParameterList(torch.zeros(width) for width in WIDTHS)
        self.register_buffer("shift", rearrange(torch.tensor(SHIFT), "c -> c 1 1"), persistent=False)
        self.register_buffer("scale", rearrange(torch.tensor(SCALE), "c -> c 1 1"), persistent=False)

    def features(self, pictures: Pictures) -> list[Float[Tensor, "n c y x"]]:
        """Return what each convolution sees, scaled to length 1 at every place."""
        found: list[Tensor] = []
        hidden = (pictures - self.shift) / self.scale
        for number, convolution in enumerate(self.convolutions):
            if number in (1, 2):
                hidden = F.max_pool2d(hidden, 3, stride=2)
            hidden = F.relu(convolution(hidden))
            found.append(hidden / (hidden.norm(dim=1, keepdim=True) + EPS))
        return found

    def forward(self, first: Pictures, second: Pictures) -> Float[Tensor, "n"]:
        """Return the distance of each pair of pictures in [-1, 1]; both sides have at least 31 pixels."""
        pairs = zip(self.features(first), self.features(second), self.weights, strict=True)
        return sum(
            (reduce((one - other) ** 2, "n c y x -> n c", "mean") @ weight for one, other, weight in pairs),
            start=torch.zeros(len(first), device=first.device),
        )

    @torch.inference_mode()
    def between(self, real: Frames, made: Frames) -> float:
        """Return the mean distance between the frames of two clips of one length and size."""
        batches = [
            self(_pictures(real[start:][:PICTURES_AT_ONCE]), _pictures(made[start:][:PICTURES_AT_ONCE]))
            for start in range(0, len(real), PICTURES_AT_ONCE)
        ]
        return float(torch.cat(batches).mean())


def load_lpips() -> Lpips:
    """Load LPIPS on the CPU. Raises InputError if it was not fetched."""
    network = Lpips()
    network.load_state_dict(lpips_state(load_arrays(LPIPS_ALEXNET)))
    return network.eval().requires_grad_(False)


def lpips_state(arrays: State) -> State:
    """Return the stored arrays under the names of our network."""
    state: State = {}
    for number in range(len(WIDTHS)):
        name = f"AlexNet_0/Conv_{number}"
        state[f"convolutions.{number}.weight"] = with_inputs_second(arrays[f"{name}/kernel"])
        state[f"convolutions.{number}.bias"] = arrays[f"{name}/bias"].flatten()
        state[f"weights.{number}"] = arrays[f"NetLinLayer_{number}/Conv_0/kernel"].flatten()
    return state


def _pictures(frames: Frames) -> Pictures:
    return rearrange(torch.from_numpy(frames).float(), "t h w c -> t c h w") / 127.5 - 1
