"""Let a finished decoder sharpen what it decodes: its last convolution is fitted anew, nothing else changes.

    python scripts/crispen_autoencoder.py nano --clips runs/nano/clips -o runs/crisp/autoencoder.safetensors

What it decodes is sharpened by an unsharp mask, and the last convolution, which is linear, is fitted to that
by least squares over some clips: a small mask is nearly what such a convolution can say, so that a film costs
as much as before. Outlines become steeper, noise too by a little; the latents and all that was trained on
them stay. `scripts/sharpen_autoencoder.py` trains instead, for hours, and can know where an edge lies.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from unstatic.core.threads import quiet_threads

quiet_threads()

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from einops import rearrange  # noqa: E402
from jaxtyping import Float  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.files import ensure_writable, make_folders  # noqa: E402
from unstatic.core.log import progress  # noqa: E402
from unstatic.data.encode import to_video  # noqa: E402
from unstatic.data.shards import open_shards  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402
from unstatic.models.tiny_autoencoder import TinyAutoencoder  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.nn.causal import Convolution  # noqa: E402
from unstatic.presets.stages import load_autoencoder  # noqa: E402

REACH = 2  # pixels to each side that the mask's blur sees
MOST_SIGMA = 1.0  # pixels; a wider blur is cut off
PULL = 1e-5  # towards the old weights, beside the mean square of what the convolution reads


def unsharp(video: Float[Tensor, "b c t h w"], amount: float, sigma: float) -> Float[Tensor, "b c t h w"]:
    """Add `amount` times what a Gaussian blur of `sigma` pixels takes away."""
    places = torch.arange(-REACH, REACH + 1, dtype=video.dtype, device=video.device)
    line = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = rearrange(torch.outer(line, line) / line.sum() ** 2, "y x -> 1 1 y x")
    pictures = rearrange(video, "b c t h w -> (b c t) 1 h w")
    blurred = F.conv2d(F.pad(pictures, (REACH,) * 4, mode="replicate"), kernel).view_as(video)
    return video + amount * (video - blurred)


@torch.no_grad()
def crispen(
    model: TinyAutoencoder, videos: Iterable[Float[Tensor, "1 3 t h w"]], *, amount: float, sigma: float
) -> None:
    """Fit the decoder's last convolution to what it decodes of these videos, sharpened."""
    last = model.decoder[-1]
    assert isinstance(last, Convolution)
    before, patch = _matrix(last.conv), model.config.decoder_patch
    squares, products = torch.zeros(len(before[0]), len(before[0])).double(), torch.zeros_like(before.T)
    for video in videos:
        copy, read = _decoded(model, last, video)
        rows = _windows(read[:, -copy.shape[2] :])
        wanted = (unsharp(copy, amount, sigma) + 1) / 2
        folded = rearrange(wanted, "b c t (h p) (w q) -> (b t h w) (c p q)", p=patch, q=patch)
        squares += (rows.T @ rows).double()
        products += (rows.T @ folded).double()
    pull = PULL * squares.diagonal().mean()
    found = torch.linalg.solve(squares + pull * torch.eye(len(squares)).double(), products + pull * before.T)
    assert last.conv.bias is not None
    last.conv.weight.copy_(found[:-1].T.reshape(last.conv.weight.shape))
    last.conv.bias.copy_(found[-1])


def _decoded(
    model: TinyAutoencoder, last: nn.Module, video: Float[Tensor, "1 3 t h w"]
) -> tuple[Float[Tensor, "1 3 t h w"], Float[Tensor, "1 frames y x c"]]:
    """Return the copy of a video, and what the last layer read: of frames before the first one too."""
    read: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor]) -> None:
        read.append(given[0])

    handle = last.register_forward_pre_hook(note)
    try:
        copy = model.reconstruct(model.compress(video))
    finally:
        handle.remove()
    return copy, torch.cat(read, dim=1)


def _matrix(conv: nn.Conv3d) -> Float[Tensor, "d n"]:
    """Return a convolution of single frames as a matrix, its bias last."""
    assert conv.bias is not None
    return torch.cat([rearrange(conv.weight, "d c 1 y x -> d (c y x)"), conv.bias[:, None]], dim=1).double()


def _windows(x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "m n"]:
    """Return what a 3 x 3 convolution sees at every place, and a 1 for its bias."""
    seen = F.unfold(rearrange(x, "b t h w c -> (b t) c h w"), 3, padding=1)
    return rearrange(F.pad(seen, (0, 0, 0, 1), value=1.0), "n k p -> (n p) k")


def main() -> None:
    """Fit what is asked for and write its weights."""
    parser = argparse.ArgumentParser(description="Let an autoencoder's decoder sharpen what it decodes.")
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--clips", type=Path, required=True, help="a folder of rendered clips")
    parser.add_argument("--count", type=int, default=192, help="clips, at most, as many of every shard")
    parser.add_argument("--frames", type=int, default=17, help="frames of each, from its first")
    parser.add_argument("--amount", type=float, default=0.25, help="how much is added of what a blur takes")
    parser.add_argument("--sigma", type=float, default=0.6, help="pixels of the blur")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a file for the weights")
    options = parser.parse_args()
    if not (options.amount >= 0 and 0 < options.sigma <= MOST_SIGMA):
        raise InputError(f"--amount must be 0 or more, --sigma above 0 and at most {MOST_SIGMA:g}")
    if options.count < 1 or options.frames < 1:
        raise InputError("--count and --frames must be 1 or more")
    make_folders(options.output.parent)
    ensure_writable(options.output)
    model = load_autoencoder(find_model(options.model).weights("autoencoder")).float()
    shards = open_shards(options.clips, "clips")
    each = -(-options.count // len(shards))
    places = [(shard, entry) for shard in shards for entry in range(min(each, len(shard)))][: options.count]
    with progress("clips", len(places)) as bar:

        def videos() -> Iterable[Tensor]:
            for shard, entry in places:
                yield to_video(torch.as_tensor(shard.read("frames", entry)[None, : options.frames]))
                bar.advance()

        crispen(model, videos(), amount=options.amount, sigma=options.sigma)
    save_model(options.output, model, model.config, "tiny_autoencoder")


if __name__ == "__main__":
    main()
