"""Let torch's compiler fuse the small operators of a transformer that is trained.

On a CPU a training step spends more time reading and writing activations than multiplying matrices. Every
shape of a batch is compiled once, the same code serves all blocks, and results stay on disk for the next run.
"""

import torch

from unstatic.core.errors import InputError
from unstatic.models.transformer import VideoTransformer

# Sizes of pictures times windows times numbers of anchors: a preset has some twenty
MOST_SHAPES = 128


def check_compiler(device: torch.device) -> None:
    """Raise InputError if fusing on `device` needs a C++ compiler that torch does not find."""
    if device.type != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError):
        raise InputError(
            "compile=true needs a C++ compiler: install one (g++, clang++, or MSVC's cl), name it in the"
            " variable CXX, or train with diffusion.compile=false"
        ) from None


def fuse(model: VideoTransformer) -> None:
    """Compile the blocks and the reading of texts, in place; names and values of weights stay the same.

    Raises InputError as `check_compiler` does.
    """
    check_compiler(next(model.parameters()).device)
    import torch._dynamo.config as dynamo  # a second of imports

    dynamo.cache_size_limit = MOST_SHAPES
    dynamo.accumulated_cache_size_limit = 8 * MOST_SHAPES
    dynamo.fail_on_recompile_limit_hit = True
    for block in model.blocks:
        block.compile(dynamic=False)
    model.encode_text = torch.compile(model.encode_text, dynamic=False)
