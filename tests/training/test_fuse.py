import pytest
import torch
import torch._dynamo.utils as dynamo
from torch._inductor.exc import InvalidCxxCompiler

from unstatic.core.errors import InputError
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.training.fuse import check_compiler, fuse

CONFIG = TransformerConfig(
    in_channels=2,
    out_channels=2,
    width=24,
    depth=2,
    heads=2,
    ffn_width=32,
    text_width=8,
    frequency_width=16,
    chunk=2,
    anchors=True,
)


def build() -> VideoTransformer:
    generator = torch.Generator().manual_seed(0)
    model = VideoTransformer(CONFIG, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def loss_and_gradients(model: VideoTransformer) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    text = model.encode_text(torch.randn(2, 5, 8, generator=draw))
    latent, sigma = torch.randn(2, 2, 3, 4, 4, generator=draw), torch.rand(2, 3, generator=draw)
    anchors = model.encode_anchors(latent[:, :, :1], torch.tensor([[0], [2]]), text)
    loss = model(latent, sigma, text, anchors=anchors).prediction.square().mean()
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


def has_compiler() -> bool:
    try:
        check_compiler(torch.device("cpu"))
    except InputError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.plain
@pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_fused_blocks_give_the_same_loss_and_gradients():
    plain, fused = build(), build()
    fuse(fused)
    assert fused.state_dict().keys() == plain.state_dict().keys()
    dynamo.counters.clear()
    for one, other in zip(loss_and_gradients(plain), loss_and_gradients(fused), strict=True):
        assert torch.allclose(one, other, atol=2e-5, rtol=1e-3)
    assert not dynamo.counters["graph_break"]
    assert dynamo.counters["stats"]["unique_graphs"] == 3  # text, anchors, video: the same for all blocks


def test_without_a_compiler_the_fix_is_said(monkeypatch: pytest.MonkeyPatch):
    def none_found() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none_found)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler.*diffusion.compile=false"):
        fuse(build())
    check_compiler(torch.device("cuda"))
