"""One diffusion transformer of the Wan 2.1/2.2 family (2503.20314), from nano to 14 billion parameters.

A latent video becomes tokens, `n` to a latent frame. Every block reads the video (self-attention with rotary
positions in time, height and width), reads the text (cross-attention) and thinks (MLP); the noise level of
each latent frame shifts, scales and gates the first and the last. Wan's own weights fit (see `wan_keys.py`).

With `TransformerConfig.chunk` the video can stream: a chunk of latent frames reads itself in both directions,
the chunks just before it, and anchors. Whatever a pass remembers goes in and comes out as a value:

    TextMemory    a batch of prompts, and pictures; made once by `encode_text`
    AnchorMemory  clean frames of the same video, past or future; made once by `encode_anchors`
    Ring          the last chunks of the stream, and its first if they are sinks: constant in size; made by
                  `forward(..., remember=True)`

A chunk is denoised in many passes with one ring, then passed once more at its final sigma to be remembered:

    for sigma, sigma_next in pairwise(sigmas):
        x0 = model(chunk, sigma, text, start=start, history=ring).prediction
        chunk = solve(chunk, x0, sigma, sigma_next)
    ring = model(chunk, sigma_next, text, start=start, history=ring, remember=True).ring
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Complex64, Float, Int
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.core.shapes import chunk_lengths
from unstatic.models.scalar_embedding import ScalarEmbedding
from unstatic.models.text_attention import PictureEmbedding, TextAttention
from unstatic.models.text_padding import fold_padding
from unstatic.nn.attention import KeyValue, attention, join, merge_heads, split, split_heads
from unstatic.nn.mlp import MLP
from unstatic.nn.norm import EPSILON, LayerNorm, RMSNorm, dtype_beside, gated, modulated_norm
from unstatic.nn.patch import Patch, PatchEmbedding, unpatch
from unstatic.nn.rope import grid_rotation, rotate, time_rotation

# --------------------------------------------------------------------------------------------------- contract


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """Everything that decides the shape of a transformer.

    `scalars` names the numbers embedded with every frame: "sigma", then others, which begin without effect
    and may all be left out of a pass.
    `chunk` is how many latent frames are denoised together, and `first_chunk` how many at the start; with
    None every pass is one chunk. A chunk reads the `history_chunks` before it, the first `sink_chunks` of
    all, and anchors with their age clamped to +-`max_age` latent frames.
    With `picture_width` the text comes with what an image encoder says of pictures, so many channels a token;
    with `picture_positions` of exactly so many tokens.
    """

    in_channels: int
    out_channels: int
    width: int
    depth: int
    heads: int
    ffn_width: int
    text_width: int
    patch: Patch = (1, 2, 2)
    frequency_width: int = 256
    scalars: tuple[str, ...] = ("sigma",)
    chunk: int | None = None
    history_chunks: int = 2
    anchors: bool = False
    max_age: int = 32
    first_chunk: int = 1
    sink_chunks: int = 0
    picture_width: int | None = None
    picture_positions: int | None = None

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise InputError(f"width {self.width} must be a multiple of twice the heads, {2 * self.heads}")
        if self.patch[0] != 1:
            raise InputError(f"patch {self.patch} must keep latent frames apart: use (1, rows, columns)")
        if self.scalars[:1] != ("sigma",) or len(set(self.scalars)) < len(self.scalars):
            raise InputError(f"scalars {self.scalars} must begin with 'sigma' and name each number once")
        if self.history_chunks < 1:
            raise InputError(f"history_chunks {self.history_chunks} must be at least 1")

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

    def chunks(self, frames: int) -> list[int]:
        """Cut the latent frames [0, frames) into the chunks that are denoised together."""
        return [frames] if self.chunk is None else chunk_lengths(frames, self.chunk, self.first_chunk)


class TextMemory(NamedTuple):
    """What every block reads of a batch of prompts, and of pictures if the model does."""

    blocks: tuple[KeyValue, ...]
    pictures: tuple[KeyValue | None, ...]


class AnchorMemory(NamedTuple):
    """What every block reads of clean frames. Their keys stand at time 0; each chunk turns them to their age.

    `times` are absolute latent times on the CPU, one row for the whole batch or one row per sample.
    """

    blocks: tuple[KeyValue, ...]
    times: Int[Tensor, "b m"]


class Ring(NamedTuple):
    """What every block reads of chunks: the sinks, then the last; they end just before latent frame `end`."""

    blocks: tuple[tuple[KeyValue, ...], ...]
    end: int


class TransformerOutput(NamedTuple):
    """A prediction for every latent frame, and the ring for the next chunk if it was asked for."""

    prediction: Float[Tensor, "b c t h w"]
    ring: Ring | None


# ----------------------------------------------------------------------------------------------------- layout


class Grid(NamedTuple):
    """How many tokens a pass has in time, height and width."""

    frames: int
    height: int
    width: int

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.height * self.width


class Layout(NamedTuple):
    """Where the tokens of a pass stand, and how they fall into chunks; the same for every block.

    A chunk reads itself, the first `sink_chunks`, up to `history_chunks` before it, and all anchors, turned
    by its own rotation.
    """

    rotation: Complex64[Tensor, "n 1 f"]
    chunk_tokens: list[int]
    history_chunks: int
    sink_chunks: int
    anchor_rotations: list[Complex64[Tensor, "h n f"]]


def chunks_in_pass(config: TransformerConfig, start: int, frames: int) -> list[int]:
    """Cut the latent frames [start, start + frames) into chunks; a chunk must begin at `start`."""
    if config.chunk is None:
        return [frames]
    lengths = config.chunks(start + frames)
    begins = list(accumulate(lengths[:-1], initial=0))
    if start not in begins:
        first, chunk = config.first_chunk, config.chunk
        raise InputError(f"start {start} is inside a chunk: use 0, or {first} plus a multiple of {chunk}")
    return lengths[begins.index(start) :]


def video_layout(
    config: TransformerConfig, grid: Grid, start: int, anchors: AnchorMemory | None, device: torch.device
) -> Layout:
    """Lay out a pass over the latent frames from `start` on."""
    lengths = chunks_in_pass(config, start, grid.frames)
    turns: list[Tensor] = []
    if anchors is not None:
        begins = accumulate(lengths[:-1], initial=start)
        turns = [anchor_rotation(config, grid, anchors.times, begin, device) for begin in begins]
    times = torch.arange(start, start + grid.frames, dtype=torch.float64)
    return Layout(
        rotation=grid_rotation(times, grid.height, grid.width, config.head_width, device)[:, None],
        chunk_tokens=[length * grid.frame_tokens for length in lengths],
        history_chunks=config.history_chunks,
        sink_chunks=config.sink_chunks,
        anchor_rotations=turns,
    )


def anchor_rotation(
    config: TransformerConfig, grid: Grid, times: Int[Tensor, "b m"], begin: int, device: torch.device
) -> Complex64[Tensor, "h n f"]:
    """Turn anchors, which stand at time 0, to where the chunk that begins at `begin` sees them."""
    age = (times - begin).clamp(-config.max_age, config.max_age)
    rotation = time_rotation((begin + age).double(), config.head_width, device)  # b m f
    heads = 1 if len(rotation) == 1 else config.heads
    return rotation.repeat_interleave(grid.frame_tokens, 1).repeat_interleave(heads, 0)


def anchor_layout(config: TransformerConfig, grid: Grid, device: torch.device) -> Layout:
    """Lay out frames that all stand at time 0 and read only themselves."""
    times = torch.zeros(grid.frames, dtype=torch.float64)
    return Layout(
        rotation=grid_rotation(times, grid.height, grid.width, config.head_width, device)[:, None],
        chunk_tokens=[grid.frame_tokens] * grid.frames,
        history_chunks=0,
        sink_chunks=0,
        anchor_rotations=[],
    )


# ------------------------------------------------------------------------------------------------------ parts


class SelfAttention(nn.Module):
    """Let every token read its chunk, the chunks before it and the anchors."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query_norm = RMSNorm(width)
        self.key_norm = RMSNorm(width)
        self.out = nn.Linear(width, width)
        self.read = read_chunks  # `context_parallel.py` puts its own in here

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        layout: Layout,
        history: Sequence[KeyValue],
        anchors: KeyValue | None,
    ) -> tuple[Float[Tensor, "b n d"], list[KeyValue]]:
        """Return what was read, and the chunks there were to read: the history's, then those of `x`."""
        value = self.value(x).unflatten(-1, (self.heads, -1))  # b n k e
        query = rotate(self.query_norm(self.query(x)).view(value.shape), layout.rotation)
        query = split_heads(query, value.dtype)  # before the keys come: rotated numbers are float32
        key = rotate(self.key_norm(self.key(x)).view(value.shape), layout.rotation)
        key, value = (split_heads(tokens, value.dtype) for tokens in (key, value))
        read, chunks = self.read(query, KeyValue(key, value), layout, history, anchors)
        return self.out(merge_heads(read, batch=len(x))), chunks


def read_chunks(
    query: Float[Tensor, "h n e"],
    own: KeyValue,
    layout: Layout,
    history: Sequence[KeyValue],
    anchors: KeyValue | None,
) -> tuple[Float[Tensor, "h n e"], list[KeyValue]]:
    """Let every query read what its chunk may; return that, and the history's chunks, then those of `own`."""
    chunks = [*history, *split(own, layout.chunk_tokens)]
    read: list[Tensor] = []
    for index, queries in enumerate(query.split(layout.chunk_tokens, 1)):
        last = len(history) + index
        visible = [*last_chunks(chunks[:last], layout.history_chunks, layout.sink_chunks), chunks[last]]
        if anchors is not None:
            visible = [turn(anchors, layout.anchor_rotations[index]), *visible]
        read.append(attention(queries, join(visible)))
    return torch.cat(read, 1), chunks


def last_chunks(chunks: list[KeyValue], history: int, sinks: int) -> list[KeyValue]:
    """Return the first `sinks` chunks and the last `history` of the others."""
    others = chunks[sinks:]
    return chunks[:sinks] + others[max(0, len(others) - history) :]


def turn(memory: KeyValue, rotation: Complex64[Tensor, "h n f"]) -> KeyValue:
    """Turn keys to where a chunk sees them."""
    return KeyValue(rotate(memory.key.float(), rotation).to(memory.key.dtype), memory.value)


class Block(nn.Module):
    """Read the video, read the text, think."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(1, 6, config.width))
        self.attention = SelfAttention(config.width, config.heads)
        self.text_norm = LayerNorm(config.width, EPSILON)
        sees = config.picture_width is not None
        self.text_attention = TextAttention(config.width, config.heads, sees=sees)
        self.mlp = MLP(config.width, config.ffn_width, config.width)

    def forward(
        self,
        x: Float[Tensor, "b t n d"],
        modulation: Float[Tensor, "b t 6 d"],
        text: KeyValue,
        pictures: KeyValue | None,
        layout: Layout,
        history: Sequence[KeyValue],
        anchors: KeyValue | None,
        keep: bool = True,
    ) -> tuple[Float[Tensor, "b t n d"], list[KeyValue]]:
        """Return the tokens for the next block, and to `keep` the chunks that `SelfAttention` returns."""
        rows = (modulation + self.scale_shift_table).to(dtype_beside(x, self.scale_shift_table))
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = rows.split(1, 2)  # b t 1 d each

        # No name may hold what is done with: of a large film each is a gigabyte
        read, chunks = self.attention(modulated_norm(x, shift, scale).flatten(1, 2), layout, history, anchors)
        x, chunks = gated(x, read.view_as(x), gate), chunks if keep else []
        del read
        x = x + self.text_attention(self.text_norm(x).flatten(1, 2), text, pictures).view_as(x)
        return gated(x, self.mlp(modulated_norm(x, mlp_shift, mlp_scale)), mlp_gate), chunks


class Head(nn.Module):
    """Turn tokens into patches of the prediction; here the time embedding itself shifts and scales."""

    def __init__(self, width: int, patch_width: int) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(1, 2, width))
        self.linear = nn.Linear(width, patch_width)

    def forward(self, x: Float[Tensor, "b t n d"], time: Float[Tensor, "b t d"]) -> Float[Tensor, "b t n p"]:
        rows = time[:, :, None].float() + self.scale_shift_table
        rows = rows.to(dtype_beside(x, self.scale_shift_table))
        shift, scale = rows.split(1, 2)
        return self.linear(modulated_norm(x, shift, scale))


# ------------------------------------------------------------------------------------------------------ model


class VideoTransformer(nn.Module):
    """Predict something of a noisy latent video, given how noisy each frame is and a text.

    Whether that is x0, velocity or eps is decided in training. `generator` draws the first weights.
    """

    def __init__(self, config: TransformerConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embedding = PatchEmbedding(config.in_channels, width, config.patch)
        self.text_embedding = MLP(config.text_width, width, width)
        shown, places = config.picture_width, config.picture_positions
        self.picture_embedding = None if shown is None else PictureEmbedding(shown, width, places)
        scalars = {name: ScalarEmbedding(config.frequency_width, width) for name in config.scalars}
        self.scalar_embedding = cast("Mapping[str, ScalarEmbedding]", nn.ModuleDict(scalars))
        self.time_projection = nn.Linear(width, 6 * width)
        self.anchor_embedding = nn.Parameter(torch.empty(width)) if config.anchors else None
        self.blocks = cast("Sequence[Block]", nn.ModuleList(Block(config) for _ in range(config.depth)))
        self.head = Head(width, math.prod(config.patch) * config.out_channels)
        initialise(self, generator)

    def encode_text(
        self, states: Float[Tensor, "b s e"], pictures: Float[Tensor, "1 m i"] | None = None
    ) -> TextMemory:
        """Let every block read a batch of prompts, once: token states, exactly zero where padded.

        `pictures` are what an image encoder says of those that all prompts share, for a model that sees them.
        """
        dtype = self.patch_embedding.weight.dtype
        shown = self.embed_pictures(pictures)
        states, bias = fold_padding(states.to(dtype), dtype)
        if bias is not None:
            bias = bias.repeat_interleave(self.config.heads, 0)[:, None]
        text = self.text_embedding(states)
        readers = (block.text_attention for block in self.blocks)
        both = [(each.memory(text), each.look(shown, rows=len(states))) for each in readers]
        memories = (KeyValue(words.key, words.value, bias) for words, _ in both)
        return TextMemory(tuple(memories), tuple(seen for _, seen in both))

    def encode_anchors(
        self, latent: Float[Tensor, "b c m h w"], times: Int[Tensor, "*b m"], text: TextMemory
    ) -> AnchorMemory:
        """Let every block read `m` clean latent frames, once; each frame reads only itself and the text.

        `times` are their absolute latent times, before or after the frames that will read them: `m` for the
        batch or `b m` for each sample. One passes at a time: kernels keep 6 MB for each number of tokens.
        """
        if self.anchor_embedding is None:
            raise InputError("this transformer has no anchors: build it with anchors=True")
        memories: list[list[KeyValue]] = [[] for _ in self.blocks]
        for part in [latent] if torch.is_grad_enabled() else latent.split(1, 2):
            x = self.embed_patches(part) + self.anchor_embedding
            modulation = self.project(self.scalar_embedding["sigma"](part.new_zeros(x.shape[:2])))
            layout = anchor_layout(self.config, self.grid(part), part.device)
            for number, block in enumerate(self.blocks):
                x, frames = block(x, modulation, text.blocks[number], text.pictures[number], layout, (), None)
                memories[number] += frames
        return AnchorMemory(tuple(map(join, memories)), torch.atleast_2d(times.cpu()))

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b t"],
        text: TextMemory,
        *,
        start: int = 0,
        history: Ring | None = None,
        anchors: AnchorMemory | None = None,
        scalars: Mapping[str, Tensor] | None = None,
        remember: bool = False,
        without: int | None = None,
    ) -> TransformerOutput:
        """Predict the latent frames [start, start + t) from their noisy state and one sigma per frame.

        A pass may hold any number of chunks; `start` is where its first one begins and where `history` ended.
        `scalars` gives every further number of the config a value per frame (`b t`) or per sample (`b`).
        `remember` asks for the ring that continues this pass, else block number `without` may be left out.
        The prediction has the dtype of `latent`.
        """
        assert history is None or history.end == start, "a ring continues where it ended"
        assert without is None or (without in range(self.config.depth) and not remember)
        grid = self.grid(latent)
        layout = video_layout(self.config, grid, start, anchors, latent.device)
        time = self.embed_scalars(sigma, scalars or {})
        modulation = self.project(time)

        # Blocks
        x = self.embed_patches(latent)
        pasts = history.blocks if history is not None else repeat((), self.config.depth)
        anchored = anchors.blocks if anchors is not None else repeat(None, self.config.depth)
        last: list[tuple[KeyValue, ...]] = []
        memories = zip(range(self.config.depth), text.blocks, text.pictures, pasts, anchored, strict=True)
        for block, (number, words, seen, past, anchor) in zip(self.blocks, memories, strict=True):
            if number == without:
                continue
            x, chunks = block(x, modulation, words, seen, layout, past, anchor, remember)
            if remember:
                last.append(copy_chunks(last_chunks(chunks, layout.history_chunks, layout.sink_chunks), past))

        # Prediction
        patches = self.head(x, time).to(latent.dtype)
        prediction = unpatch(patches, self.config.patch, grid.height, grid.width)
        return TransformerOutput(prediction, Ring(tuple(last), start + grid.frames) if remember else None)

    def grid(self, latent: Float[Tensor, "b c t h w"]) -> Grid:
        """Count the tokens of a latent along each axis."""
        (_, rows, columns), (frames, height, width) = self.config.patch, latent.shape[2:]
        if height % rows or width % columns:
            raise InputError(f"latent {width}x{height} must be a multiple of the patch {columns}x{rows}")
        return Grid(frames, height // rows, width // columns)

    def embed_patches(self, latent: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t n d"]:
        """Turn a latent into tokens, in the dtype of the weights."""
        return self.patch_embedding(latent.to(self.patch_embedding.weight.dtype))

    def embed_pictures(self, pictures: Float[Tensor, "1 m i"] | None) -> Float[Tensor, "1 m d"] | None:
        """Turn what is seen of pictures into tokens, in the dtype of the weights."""
        if pictures is None and self.picture_embedding is None:
            return None
        if pictures is None or self.picture_embedding is None:
            raise InputError("pictures beside the text are for transformers that see some, which need them")
        return self.picture_embedding(pictures.to(self.patch_embedding.weight.dtype))

    def embed_scalars(
        self, sigma: Float[Tensor, "b t"], scalars: Mapping[str, Tensor]
    ) -> Float[Tensor, "b t d"]:
        """Sum the embeddings of every number that is known about a frame."""
        further = self.config.scalars[1:]
        assert set(scalars) in (set(), set(further)), f"all or none of {further}, not {tuple(scalars)}"
        time = self.scalar_embedding["sigma"](sigma)
        for name, value in scalars.items():
            time = time + self.scalar_embedding[name](value if value.ndim == 2 else value[:, None])
        return time

    def project(self, time: Float[Tensor, "b t d"]) -> Float[Tensor, "b t 6 d"]:
        """Make the six vectors that every block adds its own table to; float32, as little is lost so."""
        bent = F.silu(time).to(self.patch_embedding.weight.dtype)
        return self.time_projection(bent).unflatten(-1, (6, -1)).float()


def copy_chunks(chunks: Sequence[KeyValue], past: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
    """Copy chunks out of the pass they are views of, so that the rest of it can be freed; the past stays."""
    copied = {id(chunk) for chunk in past}
    return tuple(
        chunk if id(chunk) in copied else KeyValue(chunk.key.clone(), chunk.value.clone()) for chunk in chunks
    )


@torch.no_grad()
def initialise(model: VideoTransformer, generator: torch.Generator | None) -> None:
    """Draw the first weights: Xavier's, but every branch and the head begin at zero (adaLN-zero, 2212.09748).

    A new transformer predicts zero, and a new scalar changes nothing. The embedding of anchors begins small
    instead, because it is all that tells them from the video.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model.patch_embedding.weight.flatten(1), generator=generator)
    if model.anchor_embedding is not None:
        nn.init.normal_(model.anchor_embedding, std=0.02, generator=generator)

    zero = [model.time_projection.weight, model.head.linear.weight, model.head.scale_shift_table]
    zero += [model.scalar_embedding[name].down.weight for name in model.config.scalars[1:]]
    for block in model.blocks:
        zero += [block.scale_shift_table, block.text_attention.out.weight]
    for parameter in zero:
        nn.init.zeros_(parameter)
