"""What is known of a video before it is made, as conditions: pictures and footage, encoded in place."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from unstatic.diffusion.condition import FirstFrame, LastFrame, Region, Span
from unstatic.diffusion.condition import Source as SourceCondition
from unstatic.generate.footage import Footage, covered
from unstatic.media.frames import to_tensor
from unstatic.models.parts import Encoder

HELD_LATENT_FRAMES = 4  # longer than an encoder's memory: at the end of them nothing but the image is known


def first_frame(encoder: Encoder, image: UInt8[ndarray, "h w 3"]) -> FirstFrame:
    """Encode an image, of a size that the model makes, as the start of a video."""
    return FirstFrame(latent=_encode(encoder, image[None]))


def beside(
    encoder: Encoder,
    first: UInt8[ndarray, "h w 3"],
    last: UInt8[ndarray, "h w 3"] | None,
    frames: int,
) -> Float[Tensor, "1 k t y x"]:
    """Return what a model that reads pictures beside the latent sees of a video of `frames` frames.

    A mask comes first, with a channel for each frame that a latent frame stands for; the first of all fills
    its own. Then comes the latent of the video, grey where nothing is given.
    """
    compression, numbers = (
        encoder.config.compression,
        {0: first} | ({frames - 1: last} if last is not None else {}),
    )
    video, mask = torch.zeros(1, 3, frames, *first.shape[:2]), torch.zeros(1, 1, frames)
    for number, picture in numbers.items():
        video[:, :, number] = to_tensor(picture[None])[None, :, 0]
        mask[:, :, number] = 1
    latent = _encoded(encoder, video)
    given = torch.cat([mask[:, :, :1].expand(-1, -1, compression.time), mask[:, :, 1:]], 2)
    channels = rearrange(given, "1 1 (t s) -> 1 s t 1 1", s=compression.time)
    return torch.cat([channels.to(latent).expand(-1, -1, -1, *latent.shape[3:]), latent], 1)


def last_frame(encoder: Encoder, image: UInt8[ndarray, "h w 3"]) -> LastFrame:
    """Encode an image, of a size that the model makes, as the end of a video that has come to rest."""
    frames = encoder.config.compression.frames(HELD_LATENT_FRAMES)
    return LastFrame(latent=_encode(encoder, image[None].repeat(frames, 0))[:, :, -1:])


def span(encoder: Encoder, footage: Footage) -> Span | None:
    """Encode all latent frames that footage covers whole; None if there are none.

    `footage.first` counts every frame that is made, and the frames have a size that the model makes. What
    comes before footage in the middle of a video is not known yet: it is encoded as if it stood still there.
    """
    compression, frames = encoder.config.compression, footage.frames
    start, stop = covered(footage.first, footage.stop, compression)
    if start >= stop:
        return None
    if start == 0:
        return Span(latent=_encode(encoder, frames[: compression.frames(stop)]), start=0)
    begin = compression.frames(start) - footage.first
    inside = frames[begin : begin + compression.time * (stop - start)]
    held = inside[:1].repeat(compression.frames(HELD_LATENT_FRAMES), 0)
    latent = _encode(encoder, np.concatenate([held, inside]))
    return Span(latent=latent[:, :, HELD_LATENT_FRAMES:], start=start)


def source(encoder: Encoder, frames: UInt8[ndarray, "t h w 3"], strength: float) -> SourceCondition:
    """Encode a whole video as what another one starts from."""
    return SourceCondition(latent=_encode(encoder, frames), strength=strength)


def outside(encoder: Encoder, frames: UInt8[ndarray, "t h w 3"], mask: Bool[ndarray, "h w"]) -> Region:
    """Encode a video of which all stays that lies outside a mask; a cell that the mask touches is new."""
    latent, space = _encode(encoder, frames), encoder.config.compression.space
    cells = F.max_pool2d(torch.from_numpy(mask)[None, None].float(), space)
    keep = rearrange(cells == 0, "1 1 h w -> 1 1 1 h w").expand(-1, -1, latent.shape[2], -1, -1)
    return Region(latent=latent, keep_mask=keep)


def _encode(encoder: Encoder, frames: UInt8[ndarray, "t h w 3"]) -> Float[Tensor, "1 c m y x"]:
    return _encoded(encoder, to_tensor(frames)[None])


@torch.inference_mode()
def _encoded(encoder: Encoder, video: Float[Tensor, "1 3 t h w"]) -> Float[Tensor, "1 c m y x"]:
    return encoder.encode(video.to(next(encoder.parameters()).device)).float()
