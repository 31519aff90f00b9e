"""The configuration of an autoencoder like that of nano, but tiny."""

from unstatic.models.tiny_autoencoder import TinyAutoencoderConfig

SMALL_AUTOENCODER = TinyAutoencoderConfig(
    latent_channels=4,
    encoder_widths=(8, 8, 8),
    encoder_blocks=(1, 1),
    decoder_widths=(8, 8, 8),
    decoder_blocks=(1, 1, 1),
)
