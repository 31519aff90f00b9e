"""What tasks know beforehand, as conditions: pictures encoded as the latent frames they stand for."""

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from unstatic.diffusion.condition import FirstFrame, LastFrame
from unstatic.media.frames import to_tensor
from unstatic.models.tiny_autoencoder import TinyAutoencoder

HELD_LATENT_FRAMES = 4  # longer than an encoder's memory: at the end of them nothing but the image is known


def first_frame(autoencoder: TinyAutoencoder, image: UInt8[ndarray, "h w 3"]) -> FirstFrame:
    """Encode an image, of a size that the model makes, as the start of a video."""
    return FirstFrame(latent=_encode_held(autoencoder, image, 1))


def last_frame(autoencoder: TinyAutoencoder, image: UInt8[ndarray, "h w 3"]) -> LastFrame:
    """Encode an image, of a size that the model makes, as the end of a video that has come to rest."""
    return LastFrame(latent=_encode_held(autoencoder, image, HELD_LATENT_FRAMES)[:, :, -1:])


@torch.inference_mode()
def _encode_held(
    autoencoder: TinyAutoencoder, image: UInt8[ndarray, "h w 3"], latent_frames: int
) -> Float[Tensor, "1 c t latent_h latent_w"]:
    """Encode the video that shows the image all the time."""
    frames = autoencoder.config.compression.frames(latent_frames)
    video = to_tensor(image[None])[None].expand(-1, -1, frames, -1, -1)
    device = next(autoencoder.parameters()).device
    return autoencoder.encode(video.to(device)).float()
