"""Context parallelism: several processes make one film, each with all weights and a share of the tokens.

Between its blocks a transformer looks at one token at a time, so every process keeps a share of every latent
frame there. For self-attention they change places: each gets all tokens of some heads, reads as one process
would, with chunks, ring and anchors, and sends every token's answer home (Ulysses, 2309.14509). What later
passes remember stays where its heads are. With guidance a pass has a batch of two halves; then one half of
the processes takes each, and those exchange nothing but predictions.

One process leads and samples: to it a `SharedTransformer` is a transformer. The others `follow`: they are
told the inputs of every call and compute their part, so that nobody but the leader decides anything.

    with joined():
        shared = SharedTransformer(transformer, place)
        shared.follow() if place.rank else make_a_film_with(shared)
        shared.dismiss()  # by the leader
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from unstatic.core.collectives import PATIENCE, exchange, listen, tell
from unstatic.core.errors import InputError
from unstatic.core.processes import Place
from unstatic.models.experts import Experts, chosen
from unstatic.models.transformer import (
    AnchorMemory,
    Layout,
    Ring,
    TextMemory,
    TransformerConfig,
    TransformerOutput,
    VideoTransformer,
    read_chunks,
)
from unstatic.nn.attention import KeyValue

EVERY_BLOCK = -1  # none is left out
SCALAR = "scalar "  # begins the names under which scalars are told


def shares(total: int, count: int) -> list[int]:
    """Cut a number into `count` shares that differ by at most one."""
    return [total // count + (index < total % count) for index in range(count)]


class Circle(NamedTuple):
    """The processes that share the tokens of a pass, and which of them this one is."""

    size: int
    index: int
    group: dist.ProcessGroup | None

    def own(self, tensor: Tensor, axis: int) -> Tensor:
        """Return this process's share of an axis."""
        return tensor.split(shares(tensor.shape[axis], self.size), axis)[self.index]


class TokenSharing:
    """Changes a transformer for good, from outside: its passes are shared by the processes of `circle`."""

    def __init__(self, model: VideoTransformer, circle: Circle) -> None:
        self.circle, self.heads = circle, model.config.heads
        self.frame_tokens = 0  # of the pass that is under way
        model.patch_embedding.register_forward_hook(self._deal)
        model.head.register_forward_hook(self._gather)
        for block in model.blocks:
            block.attention.register_forward_pre_hook(self._place)
            block.attention.read = self.read

    def _deal(self, _layer: nn.Module, _inputs: Any, tokens: Float[Tensor, "b t n d"]) -> Tensor:
        """Keep this process's share of every frame."""
        self.frame_tokens = tokens.shape[2]
        size, heads = self.circle.size, len(tokens) * self.heads
        if size > min(heads, self.frame_tokens):
            raise InputError(
                f"{size} processes cannot share {heads} heads and {self.frame_tokens} tokens a frame:"
                " start fewer"
            )
        return self.circle.own(tokens, 2)

    def _place(self, _layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Turn the tokens of the share as their places in the whole film want it."""
        x, layout, *memories = inputs
        whole = layout.rotation.unflatten(0, (-1, self.frame_tokens))  # t n 1 f
        return x, layout._replace(rotation=self.circle.own(whole, 1).flatten(0, 1)), *memories

    def read(
        self,
        query: Float[Tensor, "h n e"],
        own: KeyValue,
        layout: Layout,
        history: Sequence[KeyValue],
        anchors: KeyValue | None,
    ) -> tuple[Float[Tensor, "h n e"], list[KeyValue]]:
        """Read as `read_chunks` does, but the chunks returned are all tokens of this process's heads."""
        (count, index, group), width = self.circle, query.shape[-1]
        if count == 1:
            return read_chunks(query, own, layout, history, anchors)
        frames = sum(layout.chunk_tokens) // self.frame_tokens
        heads, tokens = shares(len(query), count), shares(self.frame_tokens, count)

        # From some tokens of all heads to all tokens of some heads
        sent = torch.stack((query, own.key, own.value)).split(heads, 1)
        received = exchange(sent, [(3, heads[index], frames, each, width) for each in tokens], group)
        query, key, value = torch.cat(received, 3).flatten(2, 3)  # h n e each

        turns = [each if len(each) == 1 else self.circle.own(each, 0) for each in layout.anchor_rotations]
        layout = layout._replace(anchor_rotations=turns)
        read, chunks = read_chunks(query, KeyValue(key, value), layout, history, anchors)

        # And back
        sent = read.unflatten(1, (frames, -1)).split(tokens, 2)
        received = exchange(sent, [(each, frames, tokens[index], width) for each in heads], group)
        return torch.cat(received).flatten(1, 2), chunks

    def _gather(self, _layer: nn.Module, _inputs: Any, patches: Float[Tensor, "b t n p"]) -> Tensor:
        """Bring the predictions of all shares together, in every process."""
        count, _, group = self.circle
        if count == 1:
            return patches
        batch, frames, _, width = patches.shape
        shapes = [(batch, frames, tokens, width) for tokens in shares(self.frame_tokens, count)]
        return torch.cat(exchange([patches] * count, shapes, group), 2)


class SharedTransformer(nn.Module):
    """One process's part of a transformer or pair.

    The leader calls it as it would call that, and gives back what it returned last; the others `follow`.
    """

    def __init__(self, model: VideoTransformer | Experts, place: Place) -> None:
        super().__init__()
        self.model, self.place = model, place
        self.half_size = place.size // 2
        self.everyone = self.own_half = Circle(place.size, place.rank, None)
        if place.size % 2 == 0:
            members = [*range(self.half_size)], [*range(self.half_size, place.size)]
            groups = [dist.new_group(each, timeout=PATIENCE) for each in members]
            half, index = divmod(place.rank, self.half_size)
            self.own_half = Circle(self.half_size, index, cast("dist.ProcessGroup", groups[half]))
        self.sharings = [TokenSharing(each, self.everyone) for each in chosen(model)]
        self.is_halved = False
        self.text: TextMemory | None = None
        self.anchors: AnchorMemory | None = None
        self.ring: Ring | None = None

    @property
    def config(self) -> TransformerConfig:
        """The sizes of the transformer."""
        return self.model.config

    def encode_text(
        self, states: Float[Tensor, "b s e"], pictures: Float[Tensor, "1 m i"] | None = None
    ) -> TextMemory:
        tell({"states": states} | ({} if pictures is None else {"pictures": pictures}))
        return self._encode_text(states, pictures)

    def encode_anchors(
        self, latent: Float[Tensor, "b c m h w"], times: Int[Tensor, "*b m"], text: TextMemory
    ) -> AnchorMemory:
        assert text is self.text, "the others remember the last text only"
        tell({"latent": latent, "times": times})
        return self._encode_anchors(latent, times)

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
        assert text is self.text, "the others remember the last text only"
        assert history is None or history is self.ring, "and the last ring"
        assert anchors is None or anchors is self.anchors, "and the last anchors"
        left_out = EVERY_BLOCK if without is None else without
        facts = torch.tensor([start, history is not None, anchors is not None, remember, left_out])
        message = {f"{SCALAR}{name}": value for name, value in (scalars or {}).items()}
        message |= {"latent": latent, "sigma": sigma, "facts": facts}
        tell(message)
        return self._pass(message)

    def dismiss(self) -> None:
        """Tell the followers that there is nothing more to do."""
        tell({})

    @torch.inference_mode()
    def follow(self) -> None:
        """Do what the leader calls for until it dismisses the others. Raises LostError if it ends."""
        device = chosen(self.model)[0].patch_embedding.weight.device
        while told := {name: value.to(device) for name, value in listen().items()}:
            if "states" in told:
                self._encode_text(told["states"], told.get("pictures"))
            elif "times" in told:
                self._encode_anchors(told["latent"], told["times"])
            else:
                self._pass(told)

    def _encode_text(
        self, states: Float[Tensor, "b s e"], pictures: Float[Tensor, "1 m i"] | None
    ) -> TextMemory:
        self.is_halved = len(states) % 2 == 0 and self.place.size % 2 == 0
        for sharing in self.sharings:
            sharing.circle = self.own_half if self.is_halved else self.everyone
        self.anchors = self.text = None  # before there are others: they are large
        self.text = self.model.encode_text(self._own(states), pictures)
        return self.text

    def _encode_anchors(self, latent: Float[Tensor, "b c m h w"], times: Int[Tensor, "*b m"]) -> AnchorMemory:
        assert self.text is not None, "anchors are read under a text"
        own_times = times if times.ndim == 1 else self._own(times)
        self.anchors = self.model.encode_anchors(self._own(latent), own_times, self.text)
        return self.anchors

    def _pass(self, told: Mapping[str, Tensor]) -> TransformerOutput:
        assert self.text is not None, "a pass reads a text"
        start, continues, anchored, remember, left_out = told["facts"].tolist()
        rows = {name: self._own(value) for name, value in told.items() if name != "facts"}
        self.ring = self.ring if continues else None  # a film begins: the last one is forgotten
        output = self.model(
            rows["latent"],
            rows["sigma"],
            self.text,
            start=start,
            history=self.ring,
            anchors=self.anchors if anchored else None,
            scalars={name.removeprefix(SCALAR): rows[name] for name in rows if name.startswith(SCALAR)},
            remember=bool(remember),
            without=None if left_out == EVERY_BLOCK else left_out,
        )
        self.ring = output.ring if remember else self.ring
        return TransformerOutput(self._both_halves(output.prediction), output.ring)

    def _own(self, batch: Tensor) -> Tensor:
        """Return the rows of a batch that this process takes part in."""
        return batch.chunk(2)[self.place.rank // self.half_size] if self.is_halved else batch

    def _both_halves(self, prediction: Float[Tensor, "b c t h w"]) -> Float[Tensor, "rows c t h w"]:
        """Bring the other half of a batch to the leader, from the first process that has it."""
        if not self.is_halved:
            return prediction
        none, ranks = prediction[:0], range(self.place.size)
        sends, hears = self.place.rank == self.half_size, self.place.rank == 0
        sent = [prediction if sends and rank == 0 else none for rank in ranks]
        heard = [prediction if hears and rank == self.half_size else none for rank in ranks]
        return torch.cat([prediction, *exchange(sent, [tuple(each.shape) for each in heard])])
