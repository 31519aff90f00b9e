"""A video reads a text, and pictures beside it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanImageEmbedding
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.text_attention import PictureEmbedding, TextAttention
from unstatic.models.transformer import TransformerConfig, VideoTransformer

CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, width=24, depth=2, heads=2, ffn_width=32, text_width=8, picture_width=6
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_text_and_pictures_have_a_softmax_each() -> None:
    torch.manual_seed(0)
    reader, x = TextAttention(24, 2, sees=True), draw(2, 7, 24)
    text, shown = draw(2, 5, 24, seed=1), draw(1, 3, 24, seed=2)

    def heads(tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (2, -1)).transpose(1, 2)

    assert reader.pictures is not None
    query = heads(reader.query_norm(reader.query(x)))
    expected = torch.zeros(2, 7, 24)
    for part, tokens in ((reader, text), (reader.pictures, shown.expand(2, -1, -1))):
        read = F.scaled_dot_product_attention(
            query, heads(part.key_norm(part.key(tokens))), heads(part.value(tokens))
        )
        expected += read.transpose(1, 2).flatten(2)
    found = reader(x, reader.memory(text), reader.look(shown, rows=2))
    torch.testing.assert_close(found, reader.out(expected), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, reader(x, reader.memory(text), None), atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("positions", [None, 10])
def test_pictures_become_the_tokens_of_diffusers(positions: int | None) -> None:
    torch.manual_seed(1)
    theirs, ours = WanImageEmbedding(6, 24, positions), PictureEmbedding(6, 24, positions)
    pairs = {"first_norm": theirs.norm1, "up": theirs.ff.net[0].proj, "down": theirs.ff.net[2]}
    for name, layer in (pairs | {"last_norm": theirs.norm2}).items():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
        ours.get_submodule(name).load_state_dict(layer.state_dict())
    if positions is not None:
        theirs.pos_embed.copy_(draw(1, positions, 6, seed=4))
        assert ours.positions is not None
        ours.positions.copy_(theirs.pos_embed)
    states = draw(2, 5, 6, seed=3) if positions else draw(1, 5, 6, seed=3)
    torch.testing.assert_close(ours(states.flatten(0, 1)[None]), theirs(states), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_who_sees_must_be_shown_something_and_nobody_else() -> None:
    model, blind = VideoTransformer(CONFIG), VideoTransformer(replace(CONFIG, picture_width=None))
    said = "pictures beside the text are for transformers that see some, which need them"
    with pytest.raises(InputError, match=said):
        model.encode_text(draw(1, 5, 8))
    with pytest.raises(InputError, match=said):
        blind.encode_text(draw(1, 5, 8), draw(1, 3, 6))
    assert blind.encode_text(draw(1, 5, 8)).pictures == (None, None)
