"""How strong a video is in what it remembers of itself: never stronger than it was at first."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstatic.diffusion.process import Latent

SOMETHING_NEW = 2.0  # times the deviation of a channel: that much is no error of the chunk before


class Contrast:
    """How strong each channel was at first under a text: what is remembered is never stronger.

    A chunk that came out a little too strong is copied by the next, which adds its own excess: in a minute
    edges grow hard and colours loud. Only the memory is damped, about its mean; what is shown is not. The
    measure is the first chunk of more than one frame, until a channel is so much stronger at once that
    something has come into the picture.
    """

    def __init__(self) -> None:
        self.most: Tensor | None = None

    def begin(self) -> None:
        """Start anew: another text may be another scene."""
        self.most = None

    def bounded(self, latent: Latent, given: Sequence[bool]) -> Latent:
        """Return a finished chunk as it shall be remembered: frames that were given as they are."""
        deviation, mean = torch.std_mean(latent, dim=(2, 3, 4), keepdim=True)
        if self.most is None:
            self.most = deviation if latent.shape[2] > 1 else None
            return latent
        self.most = torch.where(deviation > SOMETHING_NEW * self.most, deviation, self.most)
        damped = mean + (latent - mean) * (self.most / deviation.clamp_min(1e-6)).clamp_max(1.0)
        return torch.where(torch.tensor(given, device=latent.device)[:, None, None], latent, damped)
