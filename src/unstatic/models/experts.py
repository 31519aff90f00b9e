"""Two transformers that share a film: one makes of static what can be seen, the other what is sharp in it.

Wan 2.2's models with 14 billion parameters are such pairs. To whoever samples, a pair is a transformer.
"""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models.transformer import (
    AnchorMemory,
    Ring,
    TextMemory,
    TransformerConfig,
    TransformerOutput,
    VideoTransformer,
)


def chosen(
    model: "VideoTransformer | Experts", part: Literal["", "early", "late"] = ""
) -> tuple[VideoTransformer, ...]:
    """Return the transformers of a model: both of a pair, or the one that is named.

    Raises InputError if one is named and there is no pair.
    """
    if isinstance(model, Experts):
        both = {"early": model.early, "late": model.late}
        return (both[part],) if part else (model.early, model.late)
    if part:
        raise InputError(f"the model is no pair of transformers: leave {part!r} out")
    return (model,)


class Experts(nn.Module):
    """Ask `early` down to the level `boundary` of the noisiest frame, and below it `late`."""

    def __init__(self, early: VideoTransformer, late: VideoTransformer, boundary: float) -> None:
        super().__init__()
        self.early = early
        self.late = late
        self.boundary = boundary

    @property
    def config(self) -> TransformerConfig:
        """The sizes of both."""
        return self.early.config

    def encode_text(
        self, states: Float[Tensor, "b s e"], pictures: Float[Tensor, "1 m i"] | None = None
    ) -> TextMemory:
        """Let the blocks of both read a batch of prompts, and pictures."""
        early, late = (model.encode_text(states, pictures) for model in (self.early, self.late))
        return TextMemory(early.blocks + late.blocks, early.pictures + late.pictures)

    def encode_anchors(
        self, latent: Float[Tensor, "b c m h w"], times: Int[Tensor, "*b m"], text: TextMemory
    ) -> AnchorMemory:
        """Refuse: there is no pair that streams."""
        return self.early.encode_anchors(latent, times, text)

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
        without: int | None = None,
    ) -> TransformerOutput:
        """Predict as the one does whose level it is; see `VideoTransformer.forward`."""
        is_early = bool(sigma.max() >= self.boundary)
        depth = len(self.early.blocks)
        own = slice(depth) if is_early else slice(depth, None)
        return (self.early if is_early else self.late)(
            latent,
            sigma,
            TextMemory(text.blocks[own], text.pictures[own]),
            start=start,
            history=history,
            anchors=anchors,
            scalars=scalars,
            remember=remember,
            without=without,
        )
