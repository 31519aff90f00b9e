"""The text encoder equals BERT, does not depend on its batch, pads with zeros and knows a damaged file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from convert_text_encoder import SHARD_BYTES, from_bert, quantised, save_text_encoder
from safetensors.torch import load_file, save_file
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from unstatic.core.errors import InputError
from unstatic.models.text import (
    MINILM_FOLDER,
    Bert,
    MiniLM,
    TextConfig,
    load_minilm,
    load_text_encoder,
    text_width,
)

TINY = TextConfig(vocabulary=40, width=32, depth=2, heads=4, ffn_width=48, positions=20, state_scale=2.0)
LONG_PROMPT = "a red ball " * 40
PROMPTS = ["a red ball", "", "A shiny blue cube slides to the left across green grass.", LONG_PROMPT]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return load_minilm()


@pytest.fixture(scope="module")
def tiny_bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=TINY.vocabulary,
        hidden_size=TINY.width,
        num_hidden_layers=TINY.depth,
        num_attention_heads=TINY.heads,
        intermediate_size=TINY.ffn_width,
        max_position_embeddings=30,
        initializer_range=0.3,
    )
    bert = BertModel(config).eval()
    for name, weight in bert.named_parameters():
        if name.endswith("bias") or "LayerNorm" in name:
            torch.nn.init.normal_(weight, 0.5)
    return bert


@pytest.fixture
def tiny_folder(tiny_bert: BertModel, tmp_path: Path) -> Path:
    vocabulary = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "ball", "a", *(f"##{i}" for i in range(33))]
    vocabulary.write_text("\n".join(tokens) + "\n")
    folder = tmp_path / "encoder"
    save_text_encoder(folder, TINY, from_bert(tiny_bert.state_dict(), TINY), vocabulary)
    return folder


def test_states_after_inner_layers_stand_beside_the_last(tiny_bert):
    own = Bert(TINY)
    own.load_state_dict(from_bert(tiny_bert.state_dict(), TINY))
    tokens = torch.randint(0, TINY.vocabulary, (2, 9), generator=torch.Generator().manual_seed(1))
    is_padding = torch.arange(9) >= torch.tensor([9, 4])[:, None]
    with torch.no_grad():
        found = own.eval()(tokens, is_padding, beside=(1,))
        hidden = tiny_bert(
            tokens, attention_mask=(~is_padding).long(), output_hidden_states=True
        ).hidden_states
    inner = torch.nn.functional.layer_norm(hidden[1], (TINY.width,))
    expected = torch.cat([hidden[-1] * TINY.state_scale, inner], 2)
    torch.testing.assert_close(found[~is_padding], expected[~is_padding], atol=1e-5, rtol=1e-5)
    assert (found[is_padding] == 0).all()


def test_an_encoder_with_more_states_begins_with_those_of_the_other(minilm):
    more = load_text_encoder("minilm+3")
    assert more.width == 2 * minilm.width == text_width("minilm+3")
    assert minilm.width == text_width("minilm")
    few, many = minilm.encode(PROMPTS), more.encode(PROMPTS)
    torch.testing.assert_close(many.states[..., : minilm.width], few.states, atol=1e-4, rtol=1e-4)
    real = many.states[0, : many.lengths[0], minilm.width :]
    assert 0.95 < real.std() < 1.05
    assert (many.states[0, many.lengths[0] :] == 0).all()
    with pytest.raises(InputError, match=r"no text encoder 'minilm\+2': take one of minilm, minilm\+3"):
        load_text_encoder("minilm+2")


@pytest.mark.parametrize("with_grad", [True, False])
def test_equals_transformers(tiny_bert, with_grad):
    own = Bert(TINY)
    own.load_state_dict(from_bert(tiny_bert.state_dict(), TINY))
    tokens = torch.randint(0, TINY.vocabulary, (3, 11), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([11, 4, 7])
    is_padding = torch.arange(11) >= lengths[:, None]
    with torch.set_grad_enabled(with_grad):
        found = own.eval()(tokens, is_padding)
        expected = tiny_bert(tokens, attention_mask=(~is_padding).long()).last_hidden_state * TINY.state_scale
    assert expected.std() > 0.1
    torch.testing.assert_close(found[~is_padding], expected[~is_padding], atol=1e-5, rtol=1e-5)


def test_saved_and_loaded_weights_stay_close(tiny_bert, tiny_folder):
    loaded = load_minilm(tiny_folder)
    tokens = torch.tensor([[2, 6, 4, 5, 3]])
    expected = tiny_bert(tokens).last_hidden_state * TINY.state_scale
    found = loaded.encode(["A red ball"])
    assert found.lengths.tolist() == [5]
    assert torch.cosine_similarity(found.states[0, :5], expected[0], dim=-1).min() > 0.999


def test_quantised_rows_are_within_half_a_step():
    weight = (
        torch.randn(50, 32, generator=torch.Generator().manual_seed(2)) * torch.logspace(-3, 2, 50)[:, None]
    )
    small = quantised(weight)
    error = (small.weight.float() * small.scale.float()[:, None] - weight).abs()
    assert (error <= 0.51 * small.scale.float()[:, None] + 1e-7).all()


def test_a_batch_equals_its_prompts_one_by_one(minilm):
    together = minilm.encode(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        alone = minilm.encode([prompt])
        torch.testing.assert_close(together.states[index], alone.states[0], atol=1e-5, rtol=0)
        assert together.lengths[index] == alone.lengths[0]


def test_padding_is_exactly_zero_and_nothing_else_is(minilm):
    states, lengths, _ = minilm.encode(PROMPTS)
    assert states.shape == (4, 64, minilm.width)
    for row, length in zip(states, lengths, strict=True):
        assert (row[length:] == 0).all()
        assert (row[:length].abs().amax(dim=-1) > 0.1).all()


def test_lengths_and_dropped_tokens(minilm):
    _, lengths, dropped = minilm.encode(PROMPTS)
    assert lengths.tolist() == [5, 2, 14, 64]
    assert dropped.tolist() == [0, 0, 0, 120 - 62]


def test_the_end_of_a_long_prompt_does_not_matter(minilm):
    first, second = minilm.encode([LONG_PROMPT + "one end", LONG_PROMPT + "another"]).states
    assert torch.equal(first, second)


def test_states_have_about_unit_variance(minilm):
    states, lengths, _ = minilm.encode(PROMPTS[:3])
    real = torch.cat([row[:length] for row, length in zip(states, lengths, strict=True)])
    assert 0.8 < real.std() < 1.2


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("a red ball", "a crimson sphere", "a dog"),
        ("a red ball", "the red ball", "a blue ball"),
        ("a cube slides to the left", "a box glides left", "an orb bounces"),
    ],
)
def test_what_means_the_same_is_near(minilm, text, near, far):
    states, lengths, _ = minilm.encode([text, near, far])
    own, close, distant = states.sum(dim=1) / lengths[:, None]
    assert torch.cosine_similarity(own, close, dim=0) > torch.cosine_similarity(own, distant, dim=0) + 0.02


def test_case_and_special_tokens_in_a_prompt_are_text(minilm):
    plain, upper = minilm.encode(["a red ball", "A RED BALL"]).states
    # Two rows of a batch may be summed in another order
    torch.testing.assert_close(plain, upper, atol=1e-5, rtol=0)
    assert minilm.encode(["[SEP]"]).lengths.tolist() == [5]


def test_shipped_files_are_small():
    sizes = [path.stat().st_size for path in MINILM_FOLDER.glob("*.safetensors")]
    assert max(sizes) <= SHARD_BYTES
    assert sum(sizes) < 34e6


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_tensor(path: Path) -> None:
    with_metadata = {"unstatic": metadata_of(path)}
    save_file(
        {name: each for name, each in load_file(path).items() if name != "norm.weight"}, path, with_metadata
    )


def widen_a_tensor(path: Path) -> None:
    state = load_file(path)
    save_file(state | {"norm.weight": torch.ones(33)}, path, {"unstatic": metadata_of(path)})


def forget_what_it_is(path: Path) -> None:
    save_file(load_file(path), path)


def metadata_of(path: Path) -> str:
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    return json.loads(header[8 : 8 + length])["__metadata__"]["unstatic"]


@pytest.mark.parametrize("damage", [cut, drop_a_tensor, widen_a_tensor, forget_what_it_is, Path.unlink])
def test_damaged_weights_say_the_fix_in_one_line(tiny_folder, damage):
    damage(next(tiny_folder.glob("*.safetensors")))
    with pytest.raises(InputError, match="make it again with") as caught:
        load_minilm(tiny_folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")]
)
def test_a_wrong_vocabulary_says_the_fix(tiny_folder, damage):
    damage(tiny_folder / "vocabulary.txt")
    with pytest.raises(InputError, match="make it again with"):
        load_minilm(tiny_folder)


def test_loading_prints_nothing_and_imports_neither_transformers_nor_the_compiler():
    program = (
        "import sys; from unstatic.models.text import load_minilm; load_minilm().encode(['a red ball']);"
        "assert not {'transformers', 'torch._dynamo'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
