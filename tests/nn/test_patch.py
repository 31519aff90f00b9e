import torch
import torch.nn.functional as F
from einops import rearrange

from unstatic.nn.patch import PatchEmbedding, unpatch


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_patches_are_embedded_as_by_a_convolution() -> None:
    patch = PatchEmbedding(3, 10, (1, 2, 4))
    patch.weight.data, patch.bias.data = draw(10, 3, 1, 2, 4), draw(10)
    latent = draw(2, 3, 5, 6, 8, seed=1)
    expected = F.conv3d(latent, patch.weight, patch.bias, stride=(1, 2, 4))
    assert (patch(latent) - rearrange(expected, "b d t h w -> b t (h w) d")).abs().max() < 1e-5


def test_unpatch_puts_every_number_in_its_place() -> None:
    latent = draw(2, 3, 5, 6, 8)
    patches = rearrange(latent, "b c t (h r) (w s) -> b t (h w) (r s c)", r=2, s=4)
    assert torch.equal(unpatch(patches, (1, 2, 4), height=3, width=2), latent)
