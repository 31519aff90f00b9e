"""A small streaming autoencoder of the TAEHV family: 2-D convolutions, and memory of one frame per block.

    model = TinyAutoencoder(TinyAutoencoderConfig())
    latent = model.encode(video)                 # b 3 t h w in [-1, 1]  ->  b 16 (t-1)//4+1 h/8 w/8
    video = model.decode(latent)                 # 4 (t'-1) + 1 frames

    state = None
    for chunk in latents:                        # the same frames, as soon as known, in constant memory
        frames, state = model.decode_stream(chunk, state)

Encoder and decoder work on groups of `compression.time` frames. The first latent frame stands for one frame:
the encoder sees that frame `time` times, and of the decoder's first group only the last frame is kept.
Everything is causal, so the latent of a still is the first latent frame of every video that starts with it.

Latents leave `encode` with zero mean and unit variance per channel (`measure_latents`), clamped to +-4.
After madebyollin/taehv (MIT), whose published weights for other latents `taehv_keys.py` converts.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression
from unstatic.nn.causal import Convolution, Grow, Memory, MemoryBlock, Shrink, run

CLAMP = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyAutoencoderConfig:
    """Sizes from pixels to latents and back; the defaults are f8 t4, 16 channels.

    The encoder folds `encoder_patch` x `encoder_patch` pixels into channels; every stage then merges
    `encoder_merges` frames into one, halves height and width, and runs `encoder_blocks` memory blocks.
    `encoder_widths` has one entry more than there are stages, for the first convolution. The decoder mirrors
    this: blocks, then growth, per stage, and blocks at full size at the end; `decoder_patch` beyond the
    encoder's means larger pictures out than in. `lookahead` is how many frames beyond its own group's causal
    place a latent frame stands for: 0, or 3 for the published encoders, which then are not causal and cannot
    encode a stream.
    """

    latent_channels: int = 16
    encoder_patch: int = 2
    encoder_widths: tuple[int, ...] = (32, 64, 96)
    encoder_blocks: tuple[int, ...] = (1, 1)
    encoder_merges: tuple[int, ...] = (2, 2)
    decoder_patch: int = 2
    decoder_widths: tuple[int, ...] = (128, 64, 32)
    decoder_blocks: tuple[int, ...] = (2, 2, 1)
    decoder_growths: tuple[int, ...] = (2, 2)
    block_depth: int = 2
    lookahead: int = 0

    def __post_init__(self) -> None:
        stages, growths = len(self.encoder_merges), len(self.decoder_growths)
        if not len(self.encoder_blocks) == len(self.encoder_widths) - 1 == stages:
            raise InputError(
                f"encoder_blocks={self.encoder_blocks} must have as many entries as encoder_merges, {stages},"
                f" encoder_widths={self.encoder_widths} one more"
            )
        if not len(self.decoder_blocks) == len(self.decoder_widths) == growths + 1:
            raise InputError(
                f"decoder_blocks={self.decoder_blocks} and decoder_widths={self.decoder_widths} must have one"
                f" entry more than the {growths} decoder_growths"
            )
        if math.prod(self.encoder_merges) != math.prod(self.decoder_growths):
            raise InputError(
                f"decoder_growths={self.decoder_growths} must give back the frames that"
                f" encoder_merges={self.encoder_merges} merge"
            )

    @property
    def compression(self) -> Compression:
        """How many frames and pixels a side one latent cell stands for."""
        return Compression(
            time=math.prod(self.encoder_merges), space=self.encoder_patch * 2 ** len(self.encoder_merges)
        )


class EncoderState(NamedTuple):
    """What is left of a stream being encoded: frames that do not fill a group yet, and the blocks' memory."""

    waiting: Float[Tensor, "b 3 t h w"]
    memory: Memory | None


class Reconstruction(NamedTuple):
    """A video after its way through the latent, and that latent before normalisation."""

    video: Float[Tensor, "b 3 t h w"]
    latent: Float[Tensor, "b c lt lh lw"]


class Activation(nn.Module):
    """ReLU."""

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        return F.relu(x)


class Bound(nn.Module):
    """Limit smoothly to +-3."""

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        return torch.tanh(x / 3) * 3


class TinyAutoencoder(nn.Module):
    """Encode videos to latents and decode them again, whole or as a stream.

    Weights and results have one dtype, the one the module was moved to; videos and latents are converted to
    it. `generator` draws the first weights.
    """

    latent_frames_per_pass = 16  # more would only cost memory: 64 frames keep any processor busy
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TinyAutoencoderConfig, *, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        self.encoder = nn.ModuleList(_encoder_layers(config))
        self.decoder = nn.ModuleList(_decoder_layers(config))
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator | None) -> None:
        """Keep the variance of activations in every layer; blocks start near the identity, pictures grey."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, MemoryBlock):
                    last = module.rest[-1] if len(module.rest) else module.mix
                    next(last.parameters()).mul_(0.2)
            weight, bias = self.decoder[-1].parameters()
            weight.mul_(0.2)
            bias.fill_(0.5)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and results."""
        return next(self.parameters()).dtype

    def forward(
        self, video: Float[Tensor, "b 3 t h w"], noise: Float[Tensor, "b c lt lh lw"] | float = 0.0
    ) -> Reconstruction:
        """Send a video through the latent, adding `noise` to it on the way: the pass that is trained."""
        latent = self.compress(video)
        return Reconstruction(self.reconstruct(latent + noise), latent)

    # --- videos to latents

    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c lt lh lw"]:
        """Encode a video in [-1, 1] to normalised latents of shape b c (t-1)//4+1 h/8 w/8.

        A trailing partial group is dropped. Raises InputError for a height or width that is no multiple of
        `compression.space`. The work is done in pieces, so that memory beyond input and output does not grow
        with t.
        """
        return self._normalise(self.compress(video))

    def encode_stream(
        self, chunk: Float[Tensor, "b 3 t h w"], state: EncoderState | None
    ) -> tuple[Float[Tensor, "b c lt lh lw"], EncoderState]:
        """Encode the next frames of a stream; returns the latent frames that are complete now, perhaps none.

        `state` is None at the start of a stream. Raises InputError if the encoder looks ahead.
        """
        if self.config.lookahead:
            raise InputError(
                f"an encoder with lookahead={self.config.lookahead} cannot encode a stream: encode it whole"
            )
        latent, state = self._compress_stream(chunk, state)
        return self._normalise(latent), state

    def compress(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c lt lh lw"]:
        """Encode without normalisation and clamp: what training sees."""
        ahead = self.config.lookahead
        if ahead:
            video = torch.cat([video, video[:, :, -1:].expand(-1, -1, ahead, -1, -1)], dim=2)

        frames_per_pass = self.latent_frames_per_pass * self.config.compression.time
        latents, state = [], None
        for piece in video.split(frames_per_pass, dim=2):
            latent, state = self._compress_stream(piece, state)
            latents.append(latent)
        return torch.cat(latents, dim=2)

    def _compress_stream(
        self, chunk: Float[Tensor, "b 3 t h w"], state: EncoderState | None
    ) -> tuple[Float[Tensor, "b c lt lh lw"], EncoderState]:
        # The first frame fills the group of the first latent frame
        compression, patch = self.config.compression, self.config.encoder_patch
        if state is None:
            lead = compression.time - 1 - self.config.lookahead
            state = EncoderState(chunk[:, :, :1].expand(-1, -1, lead, -1, -1), None)
        frames = torch.cat([state.waiting, chunk], dim=2)

        # Incomplete groups wait
        width, height = compression.latent_size(frames.shape[-1], frames.shape[-2])
        groups = frames.shape[2] // compression.time
        ready, waiting = frames.tensor_split([groups * compression.time], dim=2)
        if groups == 0:
            empty = frames.new_zeros(
                (len(frames), self.config.latent_channels, 0, height, width), dtype=self.dtype
            )
            return empty, EncoderState(waiting, state.memory)

        pixels = (ready.to(self.dtype) + 1) / 2
        folded = rearrange(pixels, "b c t (h p) (w q) -> b t h w (c p q)", p=patch, q=patch)
        latent, memory = run(self.encoder, folded, state.memory)
        return latent.movedim(-1, 1), EncoderState(waiting.clone(), memory)

    # --- latents to videos

    def decode(self, latent: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b 3 t h w"]:
        """Decode normalised latents to 4 (lt-1) + 1 frames in [-1, 1].

        The work is done in pieces, so that memory beyond input and output does not grow with t.
        """
        return self.reconstruct(self._denormalise(latent)).clamp(-1, 1)

    def decode_stream(
        self, chunk: Float[Tensor, "b c lt lh lw"], state: Memory | None
    ) -> tuple[Float[Tensor, "b 3 t h w"], Memory]:
        """Decode the next latent frames of a stream; `state` is None at its start."""
        video, state = self._reconstruct_stream(self._denormalise(chunk), state)
        return video.clamp(-1, 1), state

    def reconstruct(self, latent: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b 3 t h w"]:
        """Decode latents that were never normalised, without clamping: what training sees."""
        videos, state = [], None
        for piece in latent.split(self.latent_frames_per_pass, dim=2):
            video, state = self._reconstruct_stream(piece, state)
            videos.append(video)
        return torch.cat(videos, dim=2)

    def _reconstruct_stream(
        self, chunk: Float[Tensor, "b c lt lh lw"], state: Memory | None
    ) -> tuple[Float[Tensor, "b 3 t h w"], Memory]:
        compression, patch = self.config.compression, self.config.decoder_patch
        folded, memory = run(self.decoder, chunk.to(self.dtype).movedim(1, -1), state)
        if state is None:
            folded = folded[:, compression.time - 1 :]
        pixels = rearrange(folded, "b t h w (c p q) -> b c t (h p) (w q)", p=patch, q=patch)
        return pixels * 2 - 1, memory

    # --- scale of the latents

    def _normalise(self, latent: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b c lt lh lw"]:
        mean, std = (rearrange(scale, "c -> c 1 1 1") for scale in (self.latent_mean, self.latent_std))
        return ((latent - mean) / std).clamp(-CLAMP, CLAMP)

    def _denormalise(self, latent: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b c lt lh lw"]:
        mean, std = (rearrange(scale, "c -> c 1 1 1") for scale in (self.latent_mean, self.latent_std))
        return latent.to(self.dtype) * std + mean

    @torch.no_grad()
    def measure_latents(self, videos: Iterable[Float[Tensor, "_ 3 _ _ _"]]) -> None:
        """Set mean and deviation of every channel from examples: the last act of training."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for video in videos:
            latent = self.compress(video).double()
            count += latent.numel() // latent.shape[1]
            total = total + reduce(latent, "b c t h w -> c", "sum")
            squares = squares + reduce(latent.square(), "b c t h w -> c", "sum")
        mean = total / count
        self.latent_mean.copy_(mean)
        self.latent_std.copy_((squares / count - mean.square()).clamp(min=1e-12).sqrt())


def _encoder_layers(config: TinyAutoencoderConfig) -> list[nn.Module]:
    widths = config.encoder_widths
    layers: list[nn.Module] = [Convolution(3 * config.encoder_patch**2, widths[0]), Activation()]
    for stage, (frames, blocks) in enumerate(zip(config.encoder_merges, config.encoder_blocks, strict=True)):
        layers += [Shrink(widths[stage], widths[stage + 1], frames=frames)]
        layers += [MemoryBlock(widths[stage + 1], depth=config.block_depth) for _ in range(blocks)]
    return [*layers, Convolution(widths[-1], config.latent_channels)]


def _decoder_layers(config: TinyAutoencoderConfig) -> list[nn.Module]:
    widths = config.decoder_widths
    layers: list[nn.Module] = [Bound(), Convolution(config.latent_channels, widths[0]), Activation()]
    for stage, blocks in enumerate(config.decoder_blocks):
        layers += [MemoryBlock(widths[stage], depth=config.block_depth) for _ in range(blocks)]
        if stage < len(config.decoder_growths):
            layers += [Grow(widths[stage], widths[stage + 1], frames=config.decoder_growths[stage])]
    return [*layers, Activation(), Convolution(widths[-1], 3 * config.decoder_patch**2)]
