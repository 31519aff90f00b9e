"""Read a clip: which colour and shape its hero has, what it does, and where it goes.

A small network that has only ever seen renders. It judges models and is never a loss of one.

It reads one object: every shape, colour and event that the world had when it was trained is a class of its
own, and in the renders a fair judge can tell all of them apart (a ball or a cone that spins is always
checkered). Animals, second objects and cameras it cannot read. A direction is read among four ways, whether
or not anything moves: it is only judged where the prompt names one.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.evals.parser_network import DIRECTIONS, READ_EVENTS, ParserConfig, ParserNet, smaller, sure
from unstatic.evals.readings import Reading, Thing
from unstatic.models.weights import load_model
from unstatic.world.spec import COLOURS, SHAPES

PARSER_WEIGHTS = Path(__file__).parent.parent / "weights" / "parser" / "parser.safetensors"
KIND = "parser"
VOCABULARY = {"colour": COLOURS, "shape": SHAPES, "event": READ_EVENTS, "direction": DIRECTIONS}

# Pictures are brought to about this many pixels, both sides to multiples of SIDE_STEP.
AREA, SIDE_STEP = 64 * 64, 16
# Of 16 frames a second every third is looked at, together with its change since the frame before.
FRAME_STEP = 3


class Parser:
    """A trained network, ready to read clips: `load_parser().read(frames)`."""

    def __init__(self, network: ParserNet):
        self.network = network

    @torch.inference_mode()
    def read(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Reading:
        """Read a clip at 16 frames a second, of any size and of at least one frame."""
        pairs = fitted(frames[pair_numbers(len(frames))])
        pictures = rearrange(pairs[:, 1::2], "c t h w -> t c h w")
        found = self.network.find(pictures)
        shapes = self.network.look(pictures, sure(found.mask))
        motion = self.network.watch(smaller(pairs[None]))
        chances = {
            "colour": found.colour.mean(0).softmax(0),
            "shape": shapes.mean(0).softmax(0),
            "event": motion.event[0].softmax(0),
            "direction": motion.direction[0].softmax(0),
        }
        best = {atom: int(chance.argmax()) for atom, chance in chances.items()}
        words = {atom: VOCABULARY[atom][index] for atom, index in best.items()}
        return Reading(
            objects=(Thing(words["colour"], words["shape"]),),
            animals=(),
            event=words["event"],
            direction=words["direction"],
            camera="",
            confidences={atom: round(float(chances[atom][index]), 4) for atom, index in best.items()},
        )


def pair_numbers(frames: int) -> list[int]:
    """Return which frames of a clip are looked at: pairs of neighbours, one in every `FRAME_STEP` frames."""
    seconds = range(min(1, frames - 1), frames, FRAME_STEP)
    return [max(0, second - before) for second in seconds for before in (1, 0)]


def fitted(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "3 t height width"]:
    """Return frames as a video in [-1, 1], at the size that the network reads."""
    height, width = frames.shape[1:3]
    scale = (AREA / (height * width)) ** 0.5
    size = [max(1, round(side * scale / SIDE_STEP)) * SIDE_STEP for side in (height, width)]
    pictures = rearrange(torch.from_numpy(frames).float(), "t h w c -> t c h w") / 127.5 - 1
    if size != [height, width]:
        pictures = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
    return rearrange(pictures, "t c h w -> c t h w")


def load_parser(path: Path = PARSER_WEIGHTS) -> Parser:
    """Load a parser on the CPU. Raises InputError when its file is missing, damaged or something else."""
    network = load_model(path, KIND, ParserConfig, ParserNet)
    return Parser(network.float().eval())
