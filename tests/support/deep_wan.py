"""A transformer of Wan in a folder, small but of so many blocks that one is a small part of it."""

from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from unstatic.models.transformer import VideoTransformer

DEPTH, WIDTH = 8, 256


def made(seed: int = 0, seeing: int | None = None) -> WanTransformer3DModel:
    """Make one with random weights, in which all matter; `seeing` so many channels of pictures."""
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=WIDTH // 2,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=32,
        ffn_dim=4 * WIDTH,
        num_layers=DEPTH,
        rope_max_seq_len=32,
        image_dim=seeing,
        added_kv_proj_dim=WIDTH if seeing else None,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def saved(folder: Path, seed: int = 0) -> Path:
    """Save one."""
    made(seed).save_pretrained(folder)
    return folder


@torch.inference_mode()
def predicted(model: VideoTransformer) -> Tensor:
    """Predict something for two prompts."""
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(2, 4, 3, 8, 8, generator=generator)
    states = torch.randn(2, 5, 16, generator=generator)
    return model(latent, torch.full((2, 3), 0.7), model.encode_text(states)).prediction
