"""Wan's autoencoders: 3-D convolutions that are causal in time, for the latents of open weights.

    model = WanAutoencoder(WAN_2_1)
    latent = model.encode(video)                 # b 3 t h w in [-1, 1]  ->  b 16 (t-1)//4+1 h/8 w/8
    video = model.decode(latent)                 # 4 (t'-1) + 1 frames

    state = None
    for chunk in latents:                        # the same frames, in memory that does not grow
        frames, state = model.decode_stream(chunk, state)

Wan 2.1 (2503.20314, 4.1) is f8 t4 with 16 channels; Wan 2.2 5B, f16 t4 with 48 channels, folds 2 x 2 pixels
into channels first and adds shortcuts around its stages. The first frame of a video is a latent frame by
itself: layers that halve or double the frame rate let it pass.

What layers remember of the frames before goes in and comes out as a value; see `nn/causal3d.py`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.shapes import Compression
from unstatic.nn.causal import Memory
from unstatic.nn.causal3d import (
    CausalConvolution,
    DoubleFrames,
    DoubleSize,
    FrameAttention,
    HalveFrames,
    HalveSize,
    Norm,
    ResidualBlock,
    Stream,
    averaged,
    repeated,
)

# --------------------------------------------------------------------------------------------------- contract


@dataclass(frozen=True, kw_only=True, slots=True)
class WanAutoencoderConfig:
    """Sizes from pixels to latents and back.

    A stage is `blocks` residual blocks of `encoder_width` x its `multipliers`, then halves height and width,
    and the frame rate where `halves_time`; the last stage halves nothing, and the decoder goes back with one
    block more a stage. `patch` x `patch` pixels are folded into channels first; with `shortcuts` every stage
    adds its input, averaged or repeated to the size of its output. `latent_mean` and `latent_std` bring
    latents to zero mean and unit variance.
    """

    latent_channels: int
    encoder_width: int
    decoder_width: int
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    halves_time: tuple[bool, ...] = (False, True, True)
    patch: int = 1
    shortcuts: bool = False

    def __post_init__(self) -> None:
        assert len(self.halves_time) == len(self.multipliers) - 1, self
        assert len(self.latent_mean) == len(self.latent_std) == self.latent_channels, self

    @property
    def compression(self) -> Compression:
        """How many frames and pixels a side one latent cell stands for."""
        return Compression(time=2 ** sum(self.halves_time), space=self.patch * 2 ** len(self.halves_time))


class EncoderState(NamedTuple):
    """What is left of a stream being encoded: frames that fill no group yet, and the layers' memory."""

    waiting: Float[Tensor, "b 3 t h w"]
    memory: Memory | None


# ----------------------------------------------------------------------------------------------------- stages


class Down(nn.Module):
    """Residual blocks, then half the size, and half the frame rate if `time`; `space` is False at the end."""

    def __init__(
        self, channels: int, width: int, *, blocks: int, space: bool, time: bool, shortcut: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(channels if number == 0 else width, width) for number in range(blocks)
        )
        self.halve_size = HalveSize(width) if space else None
        self.halve_frames = HalveFrames(width) if time else None
        self.shortcut = shortcut

    def forward(
        self, x: Float[Tensor, "b t h w c"], stream: Stream
    ) -> Float[Tensor, "b frames height width d"]:
        given = x
        for block in self.blocks:
            x = block(x, stream)
        if self.halve_size is not None:
            x = self.halve_size(x)
        if self.halve_frames is not None:
            x = self.halve_frames(x, stream)
        frames = 1 if self.halve_frames is None else 2
        return x + averaged(given, x, frames=frames) if self.shortcut else x


class Up(nn.Module):
    """Residual blocks, twice the frame rate if `time`, and `grown` channels at twice the size unless None."""

    def __init__(
        self, channels: int, width: int, *, blocks: int, grown: int | None, time: bool, shortcut: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(channels if number == 0 else width, width) for number in range(blocks)
        )
        self.double_frames = DoubleFrames(width) if time else None
        self.double_size = DoubleSize(width, grown) if grown is not None else None
        self.shortcut = shortcut and grown is not None

    def forward(
        self, x: Float[Tensor, "b t h w c"], stream: Stream
    ) -> Float[Tensor, "b frames height width d"]:
        given = x
        for block in self.blocks:
            x = block(x, stream)
        if self.double_frames is not None:
            x = self.double_frames(x, stream)
        if self.double_size is not None:
            x = self.double_size(x)
        frames = 1 if self.double_frames is None else 2
        return x + repeated(given, x, frames=frames, starts=stream.starts) if self.shortcut else x


class Middle(nn.Module):
    """A residual block, attention inside every frame, a residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = ResidualBlock(width, width)
        self.attention = FrameAttention(width)
        self.after = ResidualBlock(width, width)

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b t h w c"]:
        return self.after(self.attention(self.before(x, stream)), stream)


class Encoder(nn.Module):
    """Folded pixels to the mean of a latent; its variance, which Wan also predicts, nothing needs."""

    def __init__(self, config: WanAutoencoderConfig) -> None:
        super().__init__()
        widths = [config.encoder_width * each for each in (1, *config.multipliers)]
        last = len(config.multipliers) - 1
        self.start = CausalConvolution(3 * config.patch**2, widths[0])
        self.stages = nn.ModuleList(
            Down(
                widths[number],
                widths[number + 1],
                blocks=config.blocks,
                space=number < last,
                time=number < last and config.halves_time[number],
                shortcut=config.shortcuts,
            )
            for number in range(last + 1)
        )
        self.middle = Middle(widths[-1])
        self.norm = Norm(widths[-1])
        self.end = CausalConvolution(widths[-1], 2 * config.latent_channels)
        self.mean = nn.Linear(2 * config.latent_channels, config.latent_channels)

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b lt lh lw d"]:
        x = self.start(x, stream)
        for stage in self.stages:
            x = stage(x, stream)
        return self.mean(self.end(F.silu(self.norm(self.middle(x, stream))), stream))


class Decoder(nn.Module):
    """A latent to folded pixels."""

    def __init__(self, config: WanAutoencoderConfig) -> None:
        super().__init__()
        widths = [config.decoder_width * each for each in (*config.multipliers, config.multipliers[-1])][::-1]
        last = len(config.multipliers) - 1
        self.latent = nn.Linear(config.latent_channels, config.latent_channels)
        self.start = CausalConvolution(config.latent_channels, widths[0])
        self.middle = Middle(widths[0])
        # Without shortcuts, enlarging also halves the channels
        grown = [width if config.shortcuts else width // 2 for width in widths[1:]]
        self.stages = nn.ModuleList(
            Up(
                widths[0] if number == 0 else grown[number - 1],
                widths[number + 1],
                blocks=config.blocks + 1,
                grown=grown[number] if number < last else None,
                time=number < last and config.halves_time[last - 1 - number],
                shortcut=config.shortcuts,
            )
            for number in range(last + 1)
        )
        self.norm = Norm(widths[-1])
        self.end = CausalConvolution(widths[-1], 3 * config.patch**2)

    def forward(self, x: Float[Tensor, "b lt lh lw d"], stream: Stream) -> Float[Tensor, "b t h w c"]:
        x = self.middle(self.start(self.latent(x), stream), stream)
        for stage in self.stages:
            x = stage(x, stream)
        return self.end(F.silu(self.norm(x)), stream)


# ------------------------------------------------------------------------------------------------------ model


class WanAutoencoder(nn.Module):
    """Encode videos to normalised latents and decode them again, whole or as a stream.

    Weights and results have one dtype, the one the module was moved to; videos and latents are converted to
    it. Latents are the mean of what the encoder predicts, never drawn.
    """

    latent_frames_per_pass = 1  # two or four at once were slower on a CPU

    def __init__(self, config: WanAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and results."""
        return next(self.parameters()).dtype

    # --- videos to latents

    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c lt lh lw"]:
        """Encode a video in [-1, 1] to normalised latents of shape b c (t-1)//4+1 h/8 w/8.

        A trailing partial group is dropped. Raises InputError for a height or width that is no multiple of
        `compression.space`. Memory beyond input and output does not grow with t.
        """
        first, rest = video.split([1, video.shape[2] - 1], 2)
        latents: list[Tensor] = []
        state = None
        for piece in (first, *rest.split(self.latent_frames_per_pass * self.config.compression.time, 2)):
            latent, state = self.encode_stream(piece, state)
            latents.append(latent)
        return torch.cat(latents, 2)

    def encode_stream(
        self, chunk: Float[Tensor, "b 3 t h w"], state: EncoderState | None
    ) -> tuple[Float[Tensor, "b c lt lh lw"], EncoderState]:
        """Encode the next frames of a stream; returns the latent frames that are complete now, perhaps none.

        `state` is None at the start of a stream.
        """
        compression, patch = self.config.compression, self.config.patch
        width, height = compression.latent_size(chunk.shape[-1], chunk.shape[-2])
        waiting, memory = (chunk[:, :, :0], None) if state is None else state
        frames = torch.cat([waiting, chunk], 2)

        # Incomplete groups wait; the first frame of all is one by itself
        first = 1 if memory is None else 0
        ready = first + (frames.shape[2] - first) // compression.time * compression.time
        frames, waiting = frames.tensor_split([ready if frames.shape[2] >= first else 0], 2)
        if frames.shape[2] == 0:
            empty = frames.new_zeros(len(frames), self.config.latent_channels, 0, height, width)
            return empty.to(self.dtype), EncoderState(waiting, memory)

        stream = Stream(memory)
        pixels = rearrange(frames.to(self.dtype), "b c t (h p) (w q) -> b t h w (c q p)", p=patch, q=patch)
        mean, std = self._scales()
        latent = (self.encoder(pixels, stream).movedim(-1, 1).float() - mean) / std
        return latent, EncoderState(waiting.clone(), stream.memory)

    # --- latents to videos

    def decode(self, latent: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b 3 t h w"]:
        """Decode normalised latents to 4 (lt-1) + 1 frames in [-1, 1].

        Memory beyond input and output does not grow with t.
        """
        state = None
        pieces = (latent[:, :, :1], *latent[:, :, 1:].split(self.latent_frames_per_pass, 2))
        frames = self.config.compression.frames(latent.shape[2])
        side = self.config.compression.space
        video = latent.new_empty(
            len(latent), 3, frames, latent.shape[3] * side, latent.shape[4] * side, dtype=self.dtype
        )
        made = 0
        for piece in filter(lambda piece: piece.shape[2], pieces):
            decoded, state = self.decode_stream(piece, state)
            video[:, :, made : made + decoded.shape[2]] = decoded
            made += decoded.shape[2]
        return video

    def decode_stream(
        self, chunk: Float[Tensor, "b c lt lh lw"], state: Memory | None
    ) -> tuple[Float[Tensor, "b 3 t h w"], Memory]:
        """Decode the next latent frames of a stream; `state` is None at its start."""
        folded, memory = self.decode_folded(chunk, state)
        return self.unfolded(folded), memory

    def decode_folded(
        self, chunk: Float[Tensor, "b c lt lh lw"], state: Memory | None
    ) -> tuple[Float[Tensor, "b t h w d"], Memory]:
        """Decode as `decode_stream` does, to pixels that are folded still and not cut to [-1, 1]."""
        stream = Stream(state)
        mean, std = self._scales()
        latent = (chunk.float() * std + mean).to(self.dtype)
        return self.decoder(latent.movedim(1, -1), stream), stream.memory

    def unfolded(self, folded: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b 3 t height width"]:
        """Return the video of folded pixels, which are used up."""
        patch = self.config.patch
        pixels = folded.clamp_(-1, 1)
        return rearrange(pixels, "b t h w (c q p) -> b c t (h p) (w q)", p=patch, q=patch)

    def _scales(self) -> Float[Tensor, "2 c 1 1 1"]:
        """Return mean and deviation of the latents; float32, for half of it would shift whole channels."""
        both = [self.config.latent_mean, self.config.latent_std]
        return torch.tensor(both, device=self.decoder.latent.weight.device)[..., None, None, None]


# ---------------------------------------------------------------------------------------------------- configs

WAN_2_1 = WanAutoencoderConfig(
    latent_channels=16,
    encoder_width=96,
    decoder_width=96,
    latent_mean=(
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ),
    latent_std=(
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    ),
)  # fmt: skip
"""Of Wan 2.1, and of Wan 2.2's 14-billion-parameter models."""

WAN_2_2 = WanAutoencoderConfig(
    latent_channels=48,
    encoder_width=160,
    decoder_width=256,
    patch=2,
    shortcuts=True,
    latent_mean=(
        -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
        0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
        -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
        -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
    ),
    latent_std=(
        0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
        0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
        0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
        0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
    ),
)  # fmt: skip
"""Of Wan 2.2's text-and-image-to-video model with 5 billion parameters."""
