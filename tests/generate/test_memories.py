"""Passes of the prompts alone see what the rows of the prompts see beside the empty ones."""

from dataclasses import replace

import torch
from tiny_transformer import CONFIG

from unstatic.generate.memories import Memories
from unstatic.models.transformer import VideoTransformer


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_half_of_a_pass_is_a_pass_of_that_half():
    seeing = replace(CONFIG, chunk=None, anchors=False, picture_width=6)
    for config in (CONFIG, replace(CONFIG, chunk=None, anchors=False), seeing):
        model = VideoTransformer(config).eval()
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(0.2 * random(*parameter.shape, seed=number))
        states = random(4, 512, 8, seed=1)  # two prompts and two empty ones, of other lengths
        for row, length in enumerate((20, 7, 1, 3)):
            states[row, length:] = 0
        pictures = random(1, 5, 6, seed=5) if config.picture_width else None
        text = model.encode_text(states, pictures)
        assert text.blocks[0].bias is not None, "padding is not folded: the test needs more of it"
        anchors = ring = None
        if config.anchors:
            frames = random(2, 4, 2, 4, 4, seed=2).repeat(2, 1, 1, 1, 1)
            anchors = model.encode_anchors(frames, torch.tensor([0, 9]), text)
            first = random(2, 4, 1, 4, 4, seed=3).repeat(2, 1, 1, 1, 1)
            ring = model(first, torch.zeros(4, 1), text, remember=True).ring
        memories = Memories(text, anchors, ring)
        start = 0 if ring is None else ring.end

        latent, sigma = random(2, 4, 4, 4, 4, seed=4), torch.full((2, 4), 0.6)
        both = torch.cat([latent, latent]), torch.cat([sigma, sigma])
        whole = model(*both, memories.text, start=start, history=memories.ring, anchors=memories.anchors)
        for half, rows in ((memories.of_prompts(), slice(0, 2)), (memories.of_empty(), slice(2, 4))):
            alone = model(latent, sigma, half.text, start=start, history=half.ring, anchors=half.anchors)
            torch.testing.assert_close(alone.prediction, whole.prediction[rows], rtol=0, atol=1e-5)
        assert (whole.prediction[:2] - whole.prediction[2:]).abs().max() > 1e-2, (
            "the prompts make no difference"
        )


def test_halves_are_views():
    model = VideoTransformer(CONFIG)
    text = model.encode_text(random(2, 5, 8, seed=1))
    half = Memories(text, None, None).of_prompts().text
    for one, other in zip(half.blocks, text.blocks, strict=True):
        assert one.key.data_ptr() == other.key.data_ptr()
        assert len(one.key) == CONFIG.heads


def test_anchors_of_every_row_keep_their_own_times():
    model = VideoTransformer(CONFIG)
    text = model.encode_text(random(4, 5, 8, seed=1))
    times = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4]])
    anchors = model.encode_anchors(random(4, 4, 2, 4, 4, seed=2), times, text)
    half, other = (
        each.anchors
        for each in (Memories(text, anchors, None).of_prompts(), Memories(text, anchors, None).of_empty())
    )
    assert half is not None
    assert other is not None
    assert half.times.tolist() == [[0, 1], [0, 2]]
    assert other.times.tolist() == [[0, 3], [0, 4]]
