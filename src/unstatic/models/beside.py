"""A transformer that reads pictures beside the latent: channels that are known stand next to those denoised.

Wan's image-to-video models see, for every latent cell, which of its frames are given (a mask of as many
channels as a latent frame stands for frames) and the latent of the video that is grey where nothing is.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unstatic.models.experts import Experts
from unstatic.models.transformer import (
    AnchorMemory,
    Ring,
    TextMemory,
    TransformerConfig,
    TransformerOutput,
    VideoTransformer,
)


class Beside(nn.Module):
    """Show `model` the same known channels, `1 k t h w`, beside the latent in every pass."""

    def __init__(self, model: VideoTransformer | Experts, known: Float[Tensor, "1 k t h w"]) -> None:
        super().__init__()
        self.model = model
        self.known = known

    @property
    def config(self) -> TransformerConfig:
        """The sizes of the model."""
        return self.model.config

    def encode_text(self, states: Float[Tensor, "b s e"]) -> TextMemory:
        """Let the model read a batch of prompts."""
        return self.model.encode_text(states)

    def encode_anchors(
        self, latent: Float[Tensor, "b c m h w"], times: Int[Tensor, "*b m"], text: TextMemory
    ) -> AnchorMemory:
        """Refuse: there is no such model that streams."""
        return self.model.encode_anchors(latent, times, text)

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b t"],
        text: TextMemory,
        *,
        start: int = 0,
        history: Ring | None = None,
        anchors: AnchorMemory | None = None,
        scalars: Mapping[str, Tensor] | None = None,
        remember: bool = False,
    ) -> TransformerOutput:
        """Predict what `VideoTransformer.forward` predicts."""
        known = self.known.to(latent)[:, :, start : start + latent.shape[2]].expand(
            len(latent), -1, -1, -1, -1
        )
        return self.model(
            torch.cat([latent, known], 1),
            sigma,
            text,
            start=start,
            history=history,
            anchors=anchors,
            scalars=scalars,
            remember=remember,
        )
