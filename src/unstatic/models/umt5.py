"""UMT5, the text encoder of Wan (2304.09151): token states of 512 tokens, zeros after the last.

The network is that of the package transformers, the tokenizer a file `tokenizer.json`; what is ours is how
Wan asks them: the prompt is cleaned as in its training, and encoded without padding, which is the same and
takes as long as the prompt is.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from unstatic.core.device import available_bytes
from unstatic.core.errors import InputError
from unstatic.models.residence import from_files
from unstatic.models.text import TextStates
from unstatic.models.umt5_keys import ROW, config_of, from_umt5, named
from unstatic.models.weight_files import Reader, check_fit, shapes, weight_files

MAX_TOKENS, KEPT_PROMPTS = 512, 64
END = "</s>"


class Umt5:
    """A `TextEncoder` made of a tokenizer and an encoder of transformers; make one with `load_umt5`."""

    def __init__(self, encoder: Any, tokenizer: Tokenizer, *, max_tokens: int = MAX_TOKENS) -> None:
        self.encoder = encoder
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()  # files may carry the settings of who saved them
        self._tokenizer.no_truncation()
        end = tokenizer.token_to_id(END)
        if end is None:
            raise InputError(f"the tokenizer has no token {END}: it is not UMT5's, pull the model again")
        self._end = end

    @property
    def width(self) -> int:
        """Channels of a token state."""
        return self.encoder.config.d_model

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts into `max_tokens` states each; what is longer loses its end."""
        pieces = [self._tokenizer.encode(cleaned(each), add_special_tokens=False).ids for each in prompts]
        room = self.max_tokens - 1
        states = [self._states([*each[:room], self._end]) for each in pieces]
        padded = [torch.nn.functional.pad(each, (0, 0, 0, self.max_tokens - len(each))) for each in states]
        device = padded[0].device
        lengths = torch.tensor([len(each) for each in states], device=device)
        dropped = torch.tensor([max(len(each) - room, 0) for each in pieces], device=device)
        return TextStates(torch.stack(padded), lengths, dropped)

    def _states(self, row: Sequence[int]) -> Float[Tensor, "s e"]:
        tokens = torch.tensor([row], device=self.encoder.device)
        return self.encoder(tokens, torch.ones_like(tokens)).last_hidden_state[0]


def cleaned(prompt: str) -> str:
    """Mend broken characters, resolve HTML's names of characters, and make every white space one blank."""
    ftfy = needed("ftfy")
    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip()


class BorrowedUmt5:
    """A `TextEncoder` that is in memory only while it encodes, unless there is plenty; it keeps its answers.

    Its eleven gigabytes would otherwise stand beside the transformer for one sentence. Read `by_block` they
    never stand there at once.
    """

    def __init__(self, encoder: Path, tokenizer: Path, *, dtype: torch.dtype, by_block: bool = False) -> None:
        self._places, self._dtype, self._by_block = (encoder, tokenizer), dtype, by_block
        self._files = weight_files(encoder)
        self.width: int = config_of(shapes(self._files))["d_model"]
        self._loaded: Umt5 | None = None
        self._kept: dict[str, TextStates] = {}

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts as `Umt5` does; those that were asked before cost nothing."""
        new = [each for each in dict.fromkeys(prompts) if each not in self._kept]
        if new:
            encoder = self._loaded or load_umt5(*self._places, dtype=self._dtype, by_block=self._by_block)
            for each in new:
                self._kept[each] = encoder.encode([each])
            self._loaded = encoder if self._is_affordable() else None
        found = [self._kept[each] for each in prompts]
        forgotten = [each for each in self._kept if each not in prompts]
        for each in forgotten[: max(0, len(self._kept) - KEPT_PROMPTS)]:
            del self._kept[each]
        return TextStates(*(torch.cat(rows) for rows in zip(*found, strict=True)))

    def _is_affordable(self) -> bool:
        """Return whether as much memory is free as the encoder takes twice."""
        free = available_bytes(torch.device("cpu"))
        return free is not None and free > 2 * sum(file.stat().st_size for file in self._files)


def load_umt5(
    encoder: Path, tokenizer: Path, *, dtype: torch.dtype = torch.float32, by_block: bool = False
) -> Umt5:
    """Load the encoder in one folder, in any published layout, and the tokenizer in another.

    With `by_block` its blocks are read when it is their turn, every time. Raises InputError when a package or
    a file is missing, or is not what it should be.
    """
    transformers = needed("transformers")
    file, files = tokenizer / "tokenizer.json", weight_files(encoder)
    if not file.is_file():
        raise InputError(f"there is no {file}: pull the model again")
    reader = Reader(files=files, dtype=dtype, rename=named)
    with torch.device("meta"):
        model = transformers.UMT5EncoderModel(transformers.UMT5Config(**config_of(shapes(files))))
    model.requires_grad_(False).eval()
    check_fit(model, from_umt5(reader.shapes()), encoder)
    model.load_state_dict(from_umt5(reader.outside(ROW)), strict=False, assign=True)

    def ready(block: nn.Module, number: int) -> None:
        block.load_state_dict(reader.below(f"{ROW}{number}."), assign=True)

    if by_block:
        model.encoder.set_submodule("block", from_files(model.encoder.block, ready))
    else:
        for number, block in enumerate(model.encoder.block):
            ready(block, number)
    return Umt5(model, Tokenizer.from_file(str(file)))


def needed(package: str) -> Any:
    """Import a package that open weights need, or say how it is installed."""
    try:
        return __import__(package)
    except ImportError:
        raise InputError(f"open weights need the package {package}: pip install 'unstatic[hub]'") from None
