import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.transformer import (
    AnchorMemory,
    Ring,
    TextMemory,
    TransformerConfig,
    VideoTransformer,
)

CONFIG = TransformerConfig(
    in_channels=4,
    out_channels=4,
    width=48,
    depth=3,
    heads=2,
    ffn_width=64,
    text_width=12,
    frequency_width=16,
    chunk=4,
    anchors=True,
)
CHUNKS = (1, 4, 4, 4, 4)
EDGES = (0, 1, 5, 9, 13, 17)


def build(config: TransformerConfig = CONFIG, seed: int = 0) -> VideoTransformer:
    """Make a transformer in which every weight matters, those that begin at zero too."""
    generator = torch.Generator().manual_seed(seed)
    model = VideoTransformer(config, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise / max(parameter[0].numel(), 16) ** 0.5)
    return model


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def levels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


@pytest.fixture(autouse=True)
def no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


@pytest.fixture(scope="module")
def model() -> VideoTransformer:
    return build()


@pytest.fixture(scope="module")
def text(model: VideoTransformer) -> TextMemory:
    with torch.no_grad():
        return model.encode_text(draw(2, 8, 12, seed=3))


LATENT, SIGMA = draw(2, 4, 17, 4, 6, seed=1), levels(2, 17, seed=2)
ANCHORS = draw(2, 4, 2, 4, 6, seed=4)


def stream(
    model: VideoTransformer, text: TextMemory, *, start: int = 0, anchors: AnchorMemory | None = None
) -> tuple[Tensor, Ring]:
    """Pass LATENT chunk by chunk."""
    ring: Ring | None = None
    parts: list[Tensor] = []
    lengths = CHUNKS if start == 0 else (4, 4, 4, 4, 1)
    for begin, end in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
        part, ring = model(
            LATENT[:, :, begin:end],
            SIGMA[:, begin:end],
            text,
            start=start + begin,
            history=ring,
            anchors=anchors,
            remember=True,
        )
        parts.append(part)
    assert ring is not None
    return torch.cat(parts, 2), ring


# -------------------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("start", [0, 1, 41, 4001])
@pytest.mark.parametrize("anchored", [False, True])
def test_streaming_equals_the_whole(
    model: VideoTransformer, text: TextMemory, start: int, anchored: bool
) -> None:
    times = torch.tensor([start + 2, start + 60])
    anchors = model.encode_anchors(ANCHORS, times, text) if anchored else None
    whole = model(LATENT, SIGMA, text, start=start, anchors=anchors, remember=True)
    streamed, ring = stream(model, text, start=start, anchors=anchors)

    assert difference(streamed, whole.prediction) <= 1e-5
    assert whole.ring is not None
    assert whole.ring.end == ring.end == start + 17
    for ours, theirs in zip(ring.blocks, whole.ring.blocks, strict=True):
        for chunk, expected in zip(ours, theirs, strict=True):
            assert difference(chunk.key, expected.key) <= 1e-5
            assert difference(chunk.value, expected.value) <= 1e-5


def test_several_chunks_may_follow_a_ring(model: VideoTransformer, text: TextMemory) -> None:
    whole = model(LATENT, SIGMA, text).prediction
    ring = model(LATENT[:, :, :5], SIGMA[:, :5], text, remember=True).ring
    rest = model(LATENT[:, :, 5:], SIGMA[:, 5:], text, start=5, history=ring).prediction
    assert difference(rest, whole[:, :, 5:]) <= 1e-5


def test_a_chunk_may_be_passed_many_times_before_it_is_remembered(
    model: VideoTransformer, text: TextMemory
) -> None:
    ring = model(LATENT[:, :, :9], SIGMA[:, :9], text, remember=True).ring
    chunk = LATENT[:, :, 9:13]
    first = model(chunk, SIGMA[:, 9:13], text, start=9, history=ring)
    model(-chunk, SIGMA[:, :4], text, start=9, history=ring, remember=True)
    again = model(chunk, SIGMA[:, 9:13], text, start=9, history=ring)
    assert first.ring is None
    assert torch.equal(first.prediction, again.prediction)


def test_the_ring_does_not_grow(model: VideoTransformer, text: TextMemory) -> None:
    def size_bytes(ring: Ring) -> int:
        tensors = [
            tensor for block in ring.blocks for chunk in block for tensor in chunk if tensor is not None
        ]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    ring = model(LATENT, SIGMA, text, remember=True).ring
    older = ring.blocks[0][-1].key
    later = model(LATENT[:, :, :4], SIGMA[:, :4], text, start=17, history=ring, remember=True).ring
    assert later.blocks[0][-2].key is older, "what is remembered is copied once"
    tokens = 2 * 4 * 6  # two chunks of four latent frames of 2 x 3 tokens
    assert size_bytes(ring) == CONFIG.depth * 2 * 2 * tokens * CONFIG.width * 4
    for start in range(17, 200, 4):
        ring = model(LATENT[:, :, :4], SIGMA[:, :4], text, start=start, history=ring, remember=True).ring
        assert size_bytes(ring) == CONFIG.depth * 2 * 2 * tokens * CONFIG.width * 4


@pytest.mark.parametrize("start", [101, 1001, 9001])
def test_only_differences_of_time_matter(model: VideoTransformer, text: TextMemory, start: int) -> None:
    here = model(LATENT, SIGMA, text, start=1).prediction
    there = model(LATENT, SIGMA, text, start=start).prediction
    assert difference(here, there) <= 1e-4


def test_a_ring_continues_only_where_it_ended(model: VideoTransformer, text: TextMemory) -> None:
    ring = model(LATENT[:, :, :5], SIGMA[:, :5], text, remember=True).ring
    with pytest.raises(AssertionError, match="continues"):
        model(LATENT[:, :, :4], SIGMA[:, :4], text, start=9, history=ring)


def test_a_first_chunk_may_be_long_and_stay_in_sight() -> None:
    """Streaming equals the whole with sinks too, and the ring holds them and no more."""
    sinks = build(replace(CONFIG, chunk=3, first_chunk=3, history_chunks=1, sink_chunks=1))
    text = sinks.encode_text(draw(2, 8, 12))
    latent, sigma = LATENT[:, :, :15], SIGMA[:, :15]
    whole = sinks(latent, sigma, text, remember=True)
    ring, parts = None, []
    for begin in range(0, 15, 3):
        cut = slice(begin, begin + 3)
        passed = sinks(latent[:, :, cut], sigma[:, cut], text, start=begin, history=ring, remember=True)
        ring, parts = passed.ring, [*parts, passed.prediction]
        assert [len(block) for block in ring.blocks] == [min(2, begin // 3 + 1)] * CONFIG.depth
    assert difference(torch.cat(parts, 2), whole.prediction) <= 1e-5
    for ours, theirs in zip(ring.blocks, whole.ring.blocks, strict=True):
        assert difference(ours[0].key, theirs[0].key) <= 1e-5
    with pytest.raises(InputError, match="start 4 is inside a chunk: use 0, or 3 plus a multiple of 3"):
        sinks(latent, sigma, text, start=4)

    # One layer: the first chunk reaches the last, the second does not
    shallow = build(replace(CONFIG, depth=1, chunk=3, first_chunk=3, history_chunks=1, sink_chunks=1))
    text, answers = shallow.encode_text(draw(2, 8, 12)), []
    for place in (None, 0, 3):
        changed = latent.clone()
        if place is not None:
            changed[:, :, place] += 1
        answers.append(shallow(changed, sigma, text).prediction[:, :, 12:])
    assert difference(answers[0], answers[1]) > 1e-3
    assert torch.equal(answers[0], answers[2])


@pytest.mark.parametrize("start", [2, 3, 4, 6])
def test_a_pass_cannot_begin_inside_a_chunk(model: VideoTransformer, text: TextMemory, start: int) -> None:
    with pytest.raises(InputError, match=f"start {start} is inside a chunk"):
        model(LATENT, SIGMA, text, start=start)


# -------------------------------------------------------------------------------------------------- causality


def reached(model: VideoTransformer, text: TextMemory, chunk: int) -> list[bool]:
    """Tell for every chunk whether its prediction changes with the latent of `chunk`; bit for bit."""
    changed = LATENT.clone()
    changed[:, :, EDGES[chunk] : EDGES[chunk + 1]] += 1
    a, b = (model(latent, SIGMA, text).prediction for latent in (LATENT, changed))
    return [not torch.equal(a[:, :, i:j], b[:, :, i:j]) for i, j in itertools.pairwise(EDGES)]


@pytest.mark.parametrize("chunk", range(5))
def test_nothing_reaches_an_earlier_chunk(model: VideoTransformer, text: TextMemory, chunk: int) -> None:
    assert reached(model, text, chunk) == [False] * chunk + [True] * (5 - chunk)


def test_one_layer_reaches_two_chunks_ahead_and_two_layers_four() -> None:
    """What a chunk remembers was itself computed from the chunks before it, so the reach grows with depth."""
    for depth, reach in ((1, [True, True, True, False, False]), (2, [True] * 5)):
        shallow = build(replace(CONFIG, depth=depth))
        assert reached(shallow, shallow.encode_text(draw(2, 8, 12)), chunk=0) == reach


def test_inside_a_chunk_attention_goes_both_ways(model: VideoTransformer, text: TextMemory) -> None:
    changed = LATENT.clone()
    changed[:, :, 8] += 1  # the last frame of chunk 2
    a, b = (model(latent, SIGMA, text).prediction for latent in (LATENT, changed))
    assert torch.equal(a[:, :, :5], b[:, :, :5])
    assert difference(a[:, :, 5], b[:, :, 5]) > 1e-3


def test_without_chunks_every_frame_reaches_every_frame() -> None:
    whole = build(replace(CONFIG, chunk=None, depth=1))
    text = whole.encode_text(draw(2, 8, 12))
    changed = LATENT.clone()
    changed[:, :, 16] += 1
    a, b = (whole(latent, SIGMA, text).prediction for latent in (LATENT, changed))
    assert all(difference(a[:, :, frame], b[:, :, frame]) > 1e-4 for frame in range(17))


# ---------------------------------------------------------------------------------------------------- anchors


def with_anchors(model: VideoTransformer, text: TextMemory, times: Sequence[int], latent: Tensor) -> Tensor:
    anchors = model.encode_anchors(latent, torch.tensor(times), text)
    return model(LATENT, SIGMA, text, start=101, anchors=anchors).prediction


def test_anchors_reach_every_chunk(model: VideoTransformer, text: TextMemory) -> None:
    plain = model(LATENT, SIGMA, text, start=101).prediction
    seen = with_anchors(model, text, [90, 140], ANCHORS)
    other = with_anchors(model, text, [90, 140], -ANCHORS)
    for frame in (0, 4, 8, 12, 16):
        assert difference(plain[:, :, frame], seen[:, :, frame]) > 1e-3
        assert difference(other[:, :, frame], seen[:, :, frame]) > 1e-3


def test_the_age_of_an_anchor_has_a_sign(model: VideoTransformer, text: TextMemory) -> None:
    past = with_anchors(model, text, [91], ANCHORS[:, :, :1])
    future = with_anchors(model, text, [111], ANCHORS[:, :, :1])
    assert difference(past, future) > 1e-3


def test_the_age_of_an_anchor_is_clamped(model: VideoTransformer, text: TextMemory) -> None:
    one = ANCHORS[:, :, :1]
    assert torch.equal(with_anchors(model, text, [0], one), with_anchors(model, text, [69], one))
    assert difference(with_anchors(model, text, [70], one), with_anchors(model, text, [69], one)) > 1e-4
    assert torch.equal(with_anchors(model, text, [149], one), with_anchors(model, text, [9000], one))


def test_the_age_of_an_anchor_is_counted_from_each_chunk(model: VideoTransformer, text: TextMemory) -> None:
    here = model.encode_anchors(ANCHORS, torch.tensor([3, 30]), text)
    there = model.encode_anchors(ANCHORS, torch.tensor([4003, 4030]), text)
    a = model(LATENT, SIGMA, text, start=1, anchors=here).prediction
    b = model(LATENT, SIGMA, text, start=4001, anchors=there).prediction
    assert difference(a, b) <= 1e-4


def test_anchors_do_not_see_each_other(model: VideoTransformer, text: TextMemory) -> None:
    both = model.encode_anchors(ANCHORS, torch.tensor([3, 9]), text)
    second = model.encode_anchors(ANCHORS[:, :, 1:], torch.tensor([9]), text)
    for pair, single in zip(both.blocks, second.blocks, strict=True):
        assert difference(pair.key[:, 6:], single.key) <= 1e-5
        assert difference(pair.value[:, 6:], single.value) <= 1e-5


def test_every_sample_may_have_its_own_times(model: VideoTransformer, text: TextMemory) -> None:
    own = model.encode_anchors(ANCHORS, torch.tensor([[90, 140], [107, 99]]), text)
    prediction = model(LATENT, SIGMA, text, start=101, anchors=own).prediction
    assert difference(prediction[0], with_anchors(model, text, [90, 140], ANCHORS)[0]) <= 1e-5
    assert difference(prediction[1], with_anchors(model, text, [107, 99], ANCHORS)[1]) <= 1e-5


def test_anchors_need_a_model_that_has_them() -> None:
    plain = build(replace(CONFIG, anchors=False))
    with pytest.raises(InputError, match="anchors=True"):
        plain.encode_anchors(ANCHORS, torch.tensor([0, 1]), plain.encode_text(draw(2, 8, 12)))


# ------------------------------------------------------------------------------------------- text and numbers


def test_a_prompt_is_encoded_once_for_many_passes(model: VideoTransformer) -> None:
    states = draw(2, 8, 12, seed=5)
    text = model.encode_text(states)
    model(-LATENT, SIGMA, text)
    again = model(LATENT, SIGMA, text).prediction
    assert torch.equal(again, model(LATENT, SIGMA, model.encode_text(states)).prediction)


def test_the_text_matters_token_by_token(model: VideoTransformer, text: TextMemory) -> None:
    states = draw(2, 8, 12, seed=3)
    states[1, 6] = 0
    prediction = model(LATENT, SIGMA, text).prediction
    changed = model(LATENT, SIGMA, model.encode_text(states)).prediction
    assert difference(prediction[0], changed[0]) <= 1e-5
    assert difference(prediction[1], changed[1]) > 1e-4


def test_a_batch_of_four_equals_four_batches_of_one(model: VideoTransformer) -> None:
    latent, sigma, states = draw(4, 4, 9, 4, 6), levels(4, 9), draw(4, 8, 12)
    frames, times = draw(4, 4, 1, 4, 6, seed=1), torch.tensor([[0], [3], [40], [7]])

    def predict(rows: slice) -> Tensor:
        text = model.encode_text(states[rows])
        anchors = model.encode_anchors(frames[rows], times[rows], text)
        return model(latent[rows], sigma[rows], text, anchors=anchors).prediction

    singles = torch.cat([predict(slice(row, row + 1)) for row in range(4)])
    assert difference(predict(slice(None)), singles) <= 1e-5


def test_every_frame_has_its_own_sigma() -> None:
    blind = build(replace(CONFIG, chunk=1, history_chunks=1, depth=1))  # a frame reads one frame back
    text = blind.encode_text(draw(2, 8, 12))
    changed = SIGMA.clone()
    changed[1, 7] = 1 - changed[1, 7]
    a, b = (blind(LATENT, sigma, text).prediction for sigma in (SIGMA, changed))
    moved = [(sample, frame) for sample in (0, 1) for frame in range(17) if (a - b)[sample, :, frame].any()]
    assert moved == [(1, 7), (1, 8)]


def test_a_new_scalar_changes_nothing_until_it_is_trained(model: VideoTransformer, text: TextMemory) -> None:
    wider = VideoTransformer(replace(CONFIG, scalars=("sigma", "guidance")))
    wider.load_state_dict(model.state_dict(), strict=False)
    prediction = wider(LATENT, SIGMA, text, scalars={"guidance": torch.tensor([3.0, 7.0])}).prediction
    assert torch.equal(prediction, model(LATENT, SIGMA, text).prediction)


def test_scalars_are_given_per_sample_or_per_frame() -> None:
    config = replace(CONFIG, scalars=("sigma", "guidance"))
    model = build(config)
    text = model.encode_text(draw(2, 8, 12))

    def predict(guidance: Tensor) -> Tensor:
        return model(LATENT, SIGMA, text, scalars={"guidance": guidance}).prediction

    weights = torch.tensor([0.1, 0.7])
    assert difference(predict(weights), predict(weights[:, None].expand(-1, 17))) <= 1e-5
    assert difference(predict(weights), predict(weights.flip(0))) > 1e-3
    assert difference(predict(weights), model(LATENT, SIGMA, text).prediction) > 1e-3
    with pytest.raises(AssertionError, match="step"):
        model(LATENT, SIGMA, text, scalars={"step": weights})


def test_a_still_is_one_latent_frame(model: VideoTransformer, text: TextMemory) -> None:
    still = model(LATENT[:, :, :1], SIGMA[:, :1], text).prediction
    assert difference(still, model(LATENT, SIGMA, text).prediction[:, :, :1]) <= 1e-5


def test_a_latent_must_be_whole_patches(model: VideoTransformer, text: TextMemory) -> None:
    with pytest.raises(InputError, match="5x4 must be a multiple of the patch 2x2"):
        model(draw(2, 4, 1, 4, 5), SIGMA[:, :1], text)


# --------------------------------------------------------------------------------------------------- training


def loss(model: VideoTransformer, scalars: dict[str, Tensor] | None = None) -> Tensor:
    text = model.encode_text(draw(2, 8, 12))
    anchors = model.encode_anchors(ANCHORS, torch.tensor([2, 20]), text)
    return model(LATENT, SIGMA, text, anchors=anchors, scalars=scalars).prediction.square().mean()


def test_gradient_reaches_every_weight() -> None:
    model = build(replace(CONFIG, scalars=("sigma", "guidance")))
    loss(model, {"guidance": torch.tensor([0.2, 0.4])}).backward()
    dead = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert dead == []


def test_gradient_flows_through_anchors_and_history() -> None:
    model = build()
    frames, chunk = ANCHORS.clone().requires_grad_(), LATENT[:, :, :1].clone().requires_grad_()
    text = model.encode_text(draw(2, 8, 12))
    anchors = model.encode_anchors(frames, torch.tensor([2, 20]), text)
    ring = model(chunk, SIGMA[:, :1], text, remember=True).ring
    model(
        LATENT[:, :, 1:5], SIGMA[:, 1:5], text, start=1, history=ring, anchors=anchors
    ).prediction.sum().backward()
    assert frames.grad is not None
    assert chunk.grad is not None
    assert frames.grad.abs().min() > 0
    assert chunk.grad.abs().min() > 0


def test_a_new_model_predicts_zero_and_depends_on_its_generator_alone() -> None:
    first, second = (VideoTransformer(CONFIG, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert not first(LATENT, SIGMA, first.encode_text(draw(2, 8, 12))).prediction.any()
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


@pytest.mark.parametrize("cast", [torch.autocast("cpu", torch.bfloat16), None], ids=["autocast", "weights"])
def test_bfloat16_is_near_float32(cast: torch.autocast | None) -> None:
    exact = build()
    rough = exact if cast is not None else build().bfloat16()

    def predict(model: VideoTransformer) -> Tensor:
        text = model.encode_text(draw(2, 8, 12))
        anchors = model.encode_anchors(ANCHORS, torch.tensor([2, 20]), text)
        return model(LATENT, SIGMA, text, anchors=anchors).prediction

    expected = predict(exact)
    if cast is None:
        prediction = predict(rough)
    else:
        with cast:
            prediction = predict(rough)
    assert prediction.dtype == torch.float32
    assert (prediction - expected).norm() / expected.norm() < 0.05


# ----------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: replace(CONFIG, heads=5), "multiple of twice the heads"),
        (lambda: replace(CONFIG, patch=(2, 2, 2)), "keep latent frames apart"),
        (lambda: replace(CONFIG, scalars=("guidance",)), "begin with 'sigma'"),
        (lambda: replace(CONFIG, scalars=("sigma", "sigma")), "once"),
        (lambda: replace(CONFIG, history_chunks=0), "at least 1"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        change()


def test_a_pass_without_a_block_is_that_of_the_other_blocks() -> None:
    model, (latent, sigma, states) = build(), (draw(1, 4, 5, 4, 4), levels(1, 5), draw(1, 3, 12))
    fewer = build(replace(CONFIG, depth=2))
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("blocks.1.")}
    fewer.load_state_dict({name.replace("blocks.2.", "blocks.1."): value for name, value in weights.items()})
    said = model(latent, sigma, model.encode_text(states), without=1).prediction
    for number, remember in ((3, False), (-1, False), (1, True)):
        with pytest.raises(AssertionError):
            model(latent, sigma, model.encode_text(states), without=number, remember=remember)
    assert torch.equal(said, fewer(latent, sigma, fewer.encode_text(states)).prediction)
    assert difference(said, model(latent, sigma, model.encode_text(states)).prediction) > 1e-2


def test_a_pass_holds_nothing_that_it_is_done_with():
    """Keys and values of all tokens are gone where the widest layer begins: of a large film gigabytes.

    There are the tokens of before the block, those after attention, and what the layer reads.
    """
    model, text = build(replace(CONFIG, depth=2)), draw(1, 5, 12)
    latent, size = draw(1, 4, 17, 16, 16), 17 * 8 * 8 * CONFIG.width * 4
    seen: list[float] = []

    def count(*_: object) -> None:
        gc.collect()
        large = [each for each in gc.get_objects() if issubclass(type(each), Tensor) and each.nbytes >= size]
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in large}
        seen.append(sum(storages.values()) / size)

    count()
    for block in model.blocks:
        block.mlp.register_forward_pre_hook(count)
    model(latent, levels(1, 17), model.encode_text(text))
    before, *during = seen
    assert len(during) == 2
    assert max(during) - before <= 3
