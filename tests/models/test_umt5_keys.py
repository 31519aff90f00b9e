import pytest
import tiny_wan
import torch
from transformers import UMT5Config, UMT5EncoderModel

from unstatic.core.errors import InputError
from unstatic.models.umt5_keys import config_of, from_umt5, named

# As they stand in Wan's models_t5_umt5-xxl-enc (github.com/Wan-Video/Wan2.2, wan/modules/t5.py)
ORIGINAL = {
    "token_embedding.weight": "shared.weight",
    "norm.weight": "encoder.final_layer_norm.weight",
    "blocks.7.norm1.weight": "encoder.block.7.layer.0.layer_norm.weight",
    "blocks.7.attn.q.weight": "encoder.block.7.layer.0.SelfAttention.q.weight",
    "blocks.7.pos_embedding.embedding.weight": (
        "encoder.block.7.layer.0.SelfAttention.relative_attention_bias.weight"
    ),
    "blocks.23.ffn.gate.0.weight": "encoder.block.23.layer.1.DenseReluDense.wi_0.weight",
    "blocks.23.ffn.fc1.weight": "encoder.block.23.layer.1.DenseReluDense.wi_1.weight",
    "blocks.23.ffn.fc2.weight": "encoder.block.23.layer.1.DenseReluDense.wo.weight",
    "blocks.23.norm2.weight": "encoder.block.23.layer.1.layer_norm.weight",
}


def test_both_layouts_have_the_names_of_transformers() -> None:
    for original, theirs in ORIGINAL.items():
        assert named(original) == named(theirs) == theirs


def test_published_weights_load_strictly_with_the_sizes_read_off_them() -> None:
    theirs = tiny_wan.pipeline("2.1").text_encoder.state_dict()
    published = tiny_wan.original_text_encoder()
    assert published.keys().isdisjoint(theirs)
    fields = config_of({name: tuple(tensor.shape) for name, tensor in published.items()})
    state = from_umt5(published)
    UMT5EncoderModel(UMT5Config(**fields)).load_state_dict(state)
    assert all(torch.equal(state[name], theirs[name]) for name in theirs)


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(InputError, match=r"'decoder\.x\.weight' has no place in a UMT5 encoder"):
        from_umt5({"decoder.x.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="the table of tokens is missing"):
        from_umt5({"norm.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="are not the weights of a UMT5 encoder"):
        config_of({"norm.weight": (1,)})
