"""States as transformers gives them for the padded prompt, from the prompt alone."""

import sys
from pathlib import Path

import pytest
import tiny_wan
import torch
from tokenizers import Tokenizer

from unstatic.core.errors import InputError
from unstatic.models import umt5 as module
from unstatic.models.residence import Visiting
from unstatic.models.text import TextEncoder
from unstatic.models.umt5 import MAX_TOKENS, BorrowedUmt5, Umt5, cleaned, load_umt5

PROMPTS = ["a red ball", "", "x" * 600]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wan.saved("2.1", tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def umt5(folder: Path) -> Umt5:
    return load_umt5(folder / "text_encoder", folder / "tokenizer")


def test_settings_in_the_file_of_a_tokenizer_change_nothing(umt5: Umt5, tmp_path: Path) -> None:
    pipeline = tiny_wan.pipeline("2.1")
    pipeline.tokenizer("a", padding="max_length", max_length=8, truncation=True)  # is remembered, and saved
    pipeline.tokenizer.save_pretrained(tmp_path)
    other = Umt5(umt5.encoder, Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    assert other.encode(PROMPTS).lengths.tolist() == umt5.encode(PROMPTS).lengths.tolist()


@torch.no_grad()
def test_states_are_those_of_the_padded_prompts(umt5: Umt5) -> None:
    pipeline = tiny_wan.pipeline("2.1")
    tokens = pipeline.tokenizer(
        PROMPTS, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    expected = pipeline.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
    expected = expected * tokens.attention_mask[..., None]
    found = umt5.encode(PROMPTS)
    torch.testing.assert_close(found.states, expected, atol=1e-5, rtol=1e-5)
    assert found.lengths.tolist() == tokens.attention_mask.sum(1).tolist()
    assert found.dropped.tolist() == [0, 0, 601 - (MAX_TOKENS - 1)]  # a blank stands before the first word
    assert isinstance(umt5, TextEncoder)
    assert umt5.width == 16


def test_blocks_that_are_read_when_it_is_their_turn_change_nothing(folder: Path, umt5: Umt5) -> None:
    by_block = load_umt5(folder / "text_encoder", folder / "tokenizer", by_block=True)
    assert isinstance(by_block.encoder.encoder.block, Visiting)
    for _ in range(2):
        assert torch.equal(by_block.encode(PROMPTS).states, umt5.encode(PROMPTS).states)


def test_prompts_are_cleaned_as_in_training() -> None:
    assert (
        cleaned("  a\n ball&amp;lt;3\u00a0 \u201cred\u201d and caf\u00c3\u00a9 ")
        == 'a ball<3 "red" and caf\u00e9'
    )


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"there is no .*tokenizer.json: pull the model again"):
        load_umt5(folder / "text_encoder", tmp_path)
    with pytest.raises(InputError, match="there are no weights"):
        load_umt5(tmp_path, folder / "tokenizer")
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(InputError, match=r"need the package ftfy: pip install 'unstatic\[hub\]'"):
        cleaned("a ball")


@pytest.mark.parametrize(("free", "loads"), [(0, 3), (2**40, 1)])
def test_a_borrowed_encoder_is_in_memory_only_while_it_is_asked_unless_there_is_plenty(
    free: int, loads: int, folder: Path, umt5: Umt5, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []

    def load(*places: Path, dtype: torch.dtype, by_block: bool) -> Umt5:
        loaded.append(1)
        return load_umt5(*places, dtype=dtype, by_block=by_block)

    monkeypatch.setattr(module, "load_umt5", load)
    monkeypatch.setattr(module, "available_bytes", lambda _: free)
    monkeypatch.setattr(module, "KEPT_PROMPTS", 2)
    borrowed = BorrowedUmt5(folder / "text_encoder", folder / "tokenizer", dtype=torch.float32)
    assert isinstance(borrowed, TextEncoder)
    assert (borrowed.width, loaded) == (16, [])
    found, expected = borrowed.encode(PROMPTS[:2]), umt5.encode(PROMPTS[:2])
    assert torch.equal(found.states, expected.states)
    assert (found.lengths.tolist(), found.dropped.tolist()) == (expected.lengths.tolist(), [0, 0])
    borrowed.encode([PROMPTS[1], PROMPTS[0]])  # known
    borrowed.encode(["another"])
    borrowed.encode(["another", PROMPTS[0]])  # the oldest was forgotten
    assert len(loaded) == loads
