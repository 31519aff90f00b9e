"""A transformer so small that any test can run it: chunks of four, with anchors."""

from unstatic.models.transformer import TransformerConfig

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
