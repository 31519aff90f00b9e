"""Spoil renders on purpose: what the parser reads later, samples of a model, is softer and noisier."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Video = Float[Tensor, "b 3 t h w"]


def spoil(video: Video, source: torch.Generator) -> Video:
    """Make renders as imperfect as samples may be: off in colour, wobbly, doubled, soft, blocky or noisy."""
    gain, offset = (0.06 * (2 * torch.rand((len(video), n, 1, 1, 1), generator=source) - 1) for n in (3, 1))
    video = video * (1 + gain.to(video)) + offset.to(video)
    soft, blocky, noisy, *amounts, wobbly, doubled, most, share = torch.rand(10, generator=source).tolist()
    if wobbly < 0.5:
        video = wobble(video, most, source)
    if doubled < 0.25:
        video = leave_ghosts(video, share, source)
    if soft < 0.5:
        video = lose_resolution(video, amounts[0])
    if blocky < 0.5:
        video = quantise_blocks(video, amounts[1])
    if noisy < 0.5:
        video = add_noise(video, amounts[2], source)
    return video


def recolour(pictures: Float[Tensor, "n 3 h w"], source: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """Shuffle and stretch the colour channels of each picture, a quarter of them to their negative."""
    order = torch.rand((len(pictures), 3), generator=source).argsort(1)
    gain = 0.6 + 0.6 * torch.rand((len(pictures), 3), generator=source)
    sign = 1 - 2 * (torch.rand((len(pictures), 1), generator=source) < 0.25).float()
    chosen = order.to(pictures.device)[:, :, None, None].expand_as(pictures)
    return pictures.gather(1, chosen) * (sign * gain).to(pictures)[:, :, None, None]


def lose_resolution(video: Video, amount: float) -> Video:
    """Scale down, to half at an amount of 1, and up again."""
    pictures = rearrange(video, "b c t h w -> (b t) c h w")
    size = [max(8, round(side * (1 - amount / 2))) for side in pictures.shape[2:]]
    small = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
    large = F.interpolate(small, size=pictures.shape[2:], mode="bilinear")
    return rearrange(large, "(b t) c h w -> b c t h w", b=len(video))


def quantise_blocks(video: Video, amount: float) -> Video:
    """Round the cosine transform of 8 x 8 blocks, to multiples of 0.3 at an amount of 1, as codecs do."""
    step, basis = 0.02 + 0.28 * amount, cosine_basis(8).to(video)
    blocks = rearrange(video, "b c t (h p) (w q) -> b c t h w p q", p=8, q=8)
    rounded = ((basis @ blocks @ basis.T) / step).round() * step
    return rearrange(basis.T @ rounded @ basis, "b c t h w p q -> b c t (h p) (w q)")


def cosine_basis(size: int) -> Float[Tensor, "size size"]:
    """Return the orthonormal DCT-II matrix."""
    rows, columns = torch.arange(size)[:, None], torch.arange(size)[None, :]
    basis = (math.pi * (columns + 0.5) * rows / size).cos() * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def wobble(video: Video, amount: float, source: torch.Generator) -> Video:
    """Push every place to a side, by up to some two pixels of 64 at an amount of 1; sides change slowly."""
    batch, _, frames, height, width = video.shape
    cells = torch.randn((batch, 2, frames // 6 + 2, height // 8 + 1, width // 8 + 1), generator=source)
    push = F.interpolate(cells, size=video.shape[2:], mode="trilinear", align_corners=True)
    push = rearrange(push, "b side t h w -> (b t) h w side") * (0.04 * amount)
    straight = F.affine_grid(torch.eye(2, 3)[None], [1, 1, height, width], align_corners=False)
    pictures = rearrange(video, "b c t h w -> (b t) c h w")
    pushed = F.grid_sample(
        pictures, (straight + push).to(video), mode="bilinear", padding_mode="border", align_corners=False
    )
    return rearrange(pushed, "(b t) c h w -> b c t h w", b=batch)


def leave_ghosts(video: Video, amount: float, source: torch.Generator) -> Video:
    """Show in some soft-edged places what was there some frames ago; at an amount of 1 in half of them."""
    batch, _, frames, height, width = video.shape
    cells = torch.rand((batch, 1, frames // 8 + 2, height // 16 + 1, width // 16 + 1), generator=source)
    where = F.interpolate(cells, size=video.shape[2:], mode="trilinear", align_corners=True)
    ghost = (8 * (where - 1 + amount / 2) + 0.5).clamp(0, 1).to(video)
    ago = int(torch.randint(1, max(2, frames // 4), (), generator=source))
    before = torch.cat([video[:, :, :1].expand(-1, -1, ago, -1, -1), video[:, :, :-ago]], dim=2)
    return torch.lerp(video, before, 0.7 * ghost)


def add_noise(video: Video, amount: float, source: torch.Generator) -> Video:
    """Add noise of up to 0.08 at every pixel, and as much again that changes slowly over space and time."""
    batch, channels, frames, height, width = video.shape
    fine = torch.randn(video.shape, generator=source)
    cells = (batch, channels, frames // 4 + 1, height // 8, width // 8)
    coarse = F.interpolate(torch.randn(cells, generator=source), size=video.shape[2:], mode="trilinear")
    return video + 0.08 * amount * (fine + coarse).to(video)
