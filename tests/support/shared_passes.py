"""Passes of small transformers, in one process or, as a script that torchrun runs, shared by several.

The script's argument is the file into which the leader writes what came out.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from unstatic.core.collectives import joined
from unstatic.core.errors import InputError
from unstatic.core.processes import this_process
from unstatic.models.context_parallel import SharedTransformer
from unstatic.models.experts import Experts
from unstatic.models.parts import Transformer
from unstatic.models.prepare import prepare_for_cpu
from unstatic.models.residence import from_memory
from unstatic.models.transformer import TransformerConfig, VideoTransformer

WHOLE = TransformerConfig(
    in_channels=4, out_channels=4, width=60, depth=2, heads=5, ffn_width=32, text_width=8
)
SEEING = replace(WHOLE, picture_width=6)
STREAMING = TransformerConfig(
    in_channels=4,
    out_channels=4,
    width=60,
    depth=2,
    heads=5,
    ffn_width=32,
    text_width=8,
    scalars=("sigma", "guidance", "step"),
    chunk=2,
    anchors=True,
)
ONE_HEAD = TransformerConfig(
    in_channels=4, out_channels=4, width=12, depth=1, heads=1, ffn_width=8, text_width=8
)


def transformer(config: TransformerConfig, seed: int) -> VideoTransformer:
    model = VideoTransformer(config)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            drawn = torch.Generator().manual_seed(1000 * seed + number)
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=drawn))
    return model.eval()


def visiting(model: VideoTransformer) -> VideoTransformer:
    """Let the blocks come one by one, as they come to a GPU."""
    model.set_submodule("blocks", from_memory(model.blocks, torch.device("cpu")))
    return model


MODELS: dict[str, Callable[[], Experts | VideoTransformer]] = {
    "whole": lambda: transformer(WHOLE, 0),
    "prepared": lambda: prepare_for_cpu(transformer(WHOLE, 0)),
    "visiting": lambda: visiting(transformer(WHOLE, 0)),
    "seeing": lambda: transformer(SEEING, 3),
    "pair": lambda: Experts(transformer(WHOLE, 0), transformer(WHOLE, 1), 0.5),
    "streaming": lambda: transformer(STREAMING, 2),
}
BATCHES = (1, 2)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def passes(model: Transformer, batch: int) -> list[Tensor]:
    """Return what comes out; neither 15 tokens a frame nor 5 heads can be shared evenly by 2, 3 or 4."""
    latent, sigma = draw(1, batch, 4, 5, 6, 10), draw(2, batch, 5).sigmoid()
    out: list[Tensor] = []
    seen = draw(9, 1, 7, 6) if model.config.picture_width else None
    for seed in (3, 4):  # a second text makes the first forgotten
        text = model.encode_text(draw(seed, batch, 3, 8), seen)
        if model.config.chunk is None:
            out += [model(latent, level, text).prediction for level in (sigma, 0.1 * sigma)]
            out.append(model(latent, sigma, text, without=1).prediction)
            continue
        scalars = {"guidance": draw(5, batch), "step": draw(6, batch, 5)}
        for times in (torch.tensor([0, 9]), torch.arange(2 * batch).view(batch, 2)):
            anchors = model.encode_anchors(draw(7, batch, 4, 2, 6, 10), times, text)
            first = model(latent, sigma, text, anchors=anchors, scalars=scalars, remember=True)
            after = latent[:, :, :2], sigma[:, :2], text
            out.append(model(*after, start=5, history=first.ring, anchors=anchors, without=1).prediction)
            second = model(*after, start=5, history=first.ring, anchors=anchors, remember=True)
            third = model(*after, start=7, history=second.ring)
            other = model.encode_text(draw(8, batch, 3, 8))  # the prompt changes, and the film goes on
            fourth = model(latent[:, :, :2], sigma[:, :2], other, start=7, history=second.ring)
            out += [each.prediction for each in (first, second, third, fourth)]
            text = model.encode_text(draw(seed, batch, 3, 8))
    return out


def main(file: Path) -> None:
    place, found = this_process(), {}
    with joined():
        for name, make in MODELS.items():
            shared = SharedTransformer(make(), place)
            if place.rank:
                shared.follow()
                continue
            for batch in BATCHES:
                for number, each in enumerate(passes(shared, batch)):
                    found[f"{name} {batch} {number}"] = each.contiguous()
            shared.dismiss()

        # One head cannot be shared: all say so, and nobody waits for another
        shared = SharedTransformer(transformer(ONE_HEAD, 0), place)
        try:
            shared.follow() if place.rank else passes(shared, 1)
        except InputError as error:
            sys.stdout.write(f"{place.rank}: {error}\n")
    if place.rank == 0:
        save_file(found, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
