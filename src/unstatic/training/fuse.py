"""Let torch's compiler fuse the small operators of a transformer that is trained.

On a CPU a training step spends more time reading and writing activations than multiplying matrices. Every
shape of a batch is compiled once, the same code serves all blocks, and results stay on disk for the next run.
"""

import shutil
import sys

import torch
import torch._dynamo.config
from torch import nn

from unstatic.core.errors import InputError
from unstatic.models.transformer import VideoTransformer

COMPILERS = ("g++", "clang++", "c++", "cl")
# Sizes of pictures times windows times numbers of anchors; with more, torch would quietly stop compiling.
MOST_SHAPES = 128


def fuse(model: VideoTransformer) -> None:
    """Compile the blocks and the reading of texts, in place; names and values of weights stay the same.

    Raises InputError on a CPU without a C++ compiler.
    """
    if next(model.parameters()).device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        fix = "install Xcode's command line tools" if sys.platform == "darwin" else "install g++"
        raise InputError(f"compile=true needs a C++ compiler: {fix}, or train with diffusion.compile=false")
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    torch._dynamo.config.accumulated_recompile_limit = 8 * MOST_SHAPES
    for block in model.blocks:
        assert isinstance(block, nn.Module)
        block.compile(dynamic=False)
    model.encode_text = torch.compile(model.encode_text, dynamic=False)
