"""A transformer so small that any test can run it: chunks of four, with anchors."""

import torch
from torch import Tensor

from unstatic.models.transformer import TransformerConfig, VideoTransformer

CONFIG = TransformerConfig(
    in_channels=4,
    out_channels=4,
    width=24,
    depth=2,
    heads=2,
    ffn_width=48,
    text_width=8,
    frequency_width=16,
    chunk=4,
    anchors=True,
)


def build(config: TransformerConfig) -> VideoTransformer:
    """Return a transformer whose weights are always the same."""
    model = VideoTransformer(config).eval().requires_grad_(False)
    source = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=source)
    return model


def texts(*seeds: int) -> Tensor:
    """Return token states of as many prompts."""
    return torch.stack([torch.randn(5, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
