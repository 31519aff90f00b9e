"""Prompts become token states: MiniLM, the small text encoder that ships inside the package.

MiniLM (all-MiniLM-L6-v2: 6 layers, width 384, 22 million parameters) is a BERT: a sum of token and position
embeddings, then PyTorch's own post-norm `nn.TransformerEncoder`; scripts/convert_text_encoder.py makes its
files.

    states = load_minilm().encode(["a red ball bounces"]).states   # [1, 64, 384], zeros after the last token

Its last layer was trained to be averaged over a sentence, so every token there knows of all others: of two
things one can hardly read whose colour is whose. In the middle each noun still has its own. "minilm+3" is the
last hidden state and, beside it, that after layer 3.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor, nn

from unstatic.core.config import from_dict
from unstatic.core.errors import InputError

MINILM_FOLDER = Path(__file__).parent.parent / "weights" / "minilm"
VOCABULARY_NAME = "vocabulary.txt"
KIND, FORMAT = "text-encoder", 1
MAX_TOKENS, WIDTH = 64, 384
ENCODERS: dict[str, tuple[int, ...]] = {"minilm": (), "minilm+3": (3,)}  # after which layers, beside the last


class TextStates(NamedTuple):
    """What a prompt looks like to a model.

    `states` have about unit variance and are exactly zero after each prompt's `lengths` tokens, start and end
    token included; `dropped` is how many tokens at the end of the prompt did not fit.
    """

    states: Float[Tensor, "b s e"]
    lengths: Int[Tensor, "b"]
    dropped: Int[Tensor, "b"]


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that turns prompts into token states of a fixed number s of tokens and of `width` e."""

    @property
    def width(self) -> int:
        """Channels of a token state."""
        ...

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode a batch; the empty prompt, two states, stands for "no text"."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """A BERT. `state_scale` brings its last hidden state to about unit variance."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    ffn_width: int
    positions: int
    norm_eps: float = 1e-12
    state_scale: float = 1.0


class Bert(nn.Module):
    """BERT without pooler (Devlin et al., 1810.04805); the one segment is a part of the positions."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        # Empty, since they are always loaded: drawing on the meta device imports torch's compiler, 1.5 s
        self.tokens = nn.Embedding.from_pretrained(torch.empty(config.vocabulary, config.width))
        self.positions = nn.Embedding.from_pretrained(torch.empty(config.positions, config.width))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.ffn_width,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=config.norm_eps,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)

    def forward(
        self, tokens: Int[Tensor, "b s"], is_padding: Bool[Tensor, "b s"], *, beside: Sequence[int] = ()
    ) -> Float[Tensor, "b s e"]:
        """Return the last hidden state, scaled, and those after the layers `beside`, normalised, beside it.

        All are exactly zero where `is_padding`.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.norm(self.tokens(tokens) + self.positions(places))
        inner: dict[int, Tensor] = {}
        if beside:  # layer by layer, else in PyTorch's faster way
            for number, layer in enumerate(self.encoder.layers, 1):
                hidden = layer(hidden, src_key_padding_mask=is_padding)
                if number in beside:
                    inner[number] = nn.functional.layer_norm(hidden, (self.config.width,))
        else:
            hidden = self.encoder(hidden, src_key_padding_mask=is_padding)
        states = torch.cat([hidden * self.config.state_scale, *(inner[number] for number in beside)], 2)
        return states.masked_fill(is_padding[..., None], 0.0)


class MiniLM:
    """A `TextEncoder` made of a tokenizer and a `Bert`; make one with `load_minilm`.

    States after the layers `beside` stand beside the last.
    """

    def __init__(
        self, bert: Bert, tokenizer: Tokenizer, *, max_tokens: int = MAX_TOKENS, beside: Sequence[int] = ()
    ):
        self.bert, self.beside = bert, tuple(beside)
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._start, self._end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")

    @property
    def width(self) -> int:
        """Channels of a token state."""
        return self.bert.config.width * (1 + len(self.beside))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts into `max_tokens` states each; what is longer loses its end."""
        pieces = [self._tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        room = self.max_tokens - 2
        rows = [[self._start, *each[:room], self._end] for each in pieces]
        lengths = torch.tensor([len(row) for row in rows])
        dropped = torch.tensor([max(len(each) - room, 0) for each in pieces])

        # Only as wide as the longest prompt needs
        tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for row, target in zip(rows, tokens, strict=True):
            target[: len(row)] = torch.tensor(row)
        is_padding = torch.arange(tokens.shape[1]) >= lengths[:, None]

        device = self.bert.positions.weight.device
        states = self.bert(tokens.to(device), is_padding.to(device), beside=self.beside)
        states = nn.functional.pad(states, (0, 0, 0, self.max_tokens - states.shape[1]))
        return TextStates(states, lengths.to(device), dropped.to(device))


def load_text_encoder(name: str, *, device: str | torch.device = "cpu") -> TextEncoder:
    """Load the text encoder that a model's manifest names. Raises InputError for a name that is unknown."""
    return load_minilm(device=device, beside=layers_beside(name))


def text_width(name: str) -> int:
    """Return the channels of a text encoder's states. Raises InputError for a name that is unknown."""
    return WIDTH * (1 + len(layers_beside(name)))


def layers_beside(name: str) -> tuple[int, ...]:
    """Return after which layers a text encoder has states beside the last. Raises InputError as above."""
    if name not in ENCODERS:
        raise InputError(f"there is no text encoder {name!r}: take one of {', '.join(ENCODERS)}")
    return ENCODERS[name]


def load_minilm(
    folder: Path = MINILM_FOLDER, *, device: str | torch.device = "cpu", beside: Sequence[int] = ()
) -> MiniLM:
    """Load a text encoder from files in `folder`, to compute in float32, with more states as `MiniLM` says.

    Raises InputError when files are missing, damaged or not those of a text encoder.
    """
    config, state = _read(folder)
    with torch.device("meta"):
        bert = Bert(config)
    _check_names(folder, bert, state)
    bert.load_state_dict(state, assign=True)
    bert = bert.requires_grad_(False).eval().to(device)
    return MiniLM(bert, _tokenizer(folder / VOCABULARY_NAME, config), beside=beside)


def _read(folder: Path) -> tuple[TextConfig, dict[str, Tensor]]:
    """Read all shards; int8 rows are multiplied by their scales, everything comes back as float32."""
    paths = sorted(folder.glob("encoder-*-of-*.safetensors"))
    if not paths or len(paths) != int(paths[0].stem.rpartition("-")[2]):
        raise InputError(f"the text encoder in {folder} is incomplete: {_fix(folder)}")
    stored: dict[str, Tensor] = {}
    configs: set[TextConfig] = set()
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                configs.add(_config(path, file.metadata()))
                stored |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            raise InputError(f"{path} is damaged: {_fix(folder)}") from None
    if len(configs) != 1:
        raise InputError(f"the files in {folder} do not belong together: {_fix(folder)}")
    state = {name: _dequantised(stored, name) for name in stored if not name.endswith(".scale")}
    return configs.pop(), state


def _config(path: Path, metadata: dict[str, str] | None) -> TextConfig:
    described = json.loads((metadata or {}).get("unstatic", "{}"))
    if (described.get("kind"), described.get("format")) != (KIND, FORMAT):
        raise InputError(f"{path} is not a {KIND} of format {FORMAT}: {_fix(path.parent)}")
    return from_dict(TextConfig, described["config"])


def _dequantised(stored: dict[str, Tensor], name: str) -> Tensor:
    weight = stored[name].float()
    return weight * stored[f"{name}.scale"].float()[:, None] if f"{name}.scale" in stored else weight


def _check_names(folder: Path, bert: Bert, state: dict[str, Tensor]) -> None:
    wanted = {name: weight.shape for name, weight in bert.state_dict().items()}
    wrong = wanted.items() ^ {name: weight.shape for name, weight in state.items()}.items()
    if wrong:
        name = min(each for each, _ in wrong)
        raise InputError(f"{name} is missing from, or wrong in, the text encoder in {folder}: {_fix(folder)}")


def _tokenizer(path: Path, config: TextConfig) -> Tokenizer:
    """Build BERT's uncased WordPiece; special tokens typed into a prompt are plain text."""
    if not path.is_file():
        raise InputError(f"there is no {path}: {_fix(path.parent)}")
    tokenizer = Tokenizer(WordPiece.from_file(str(path), unk_token="[UNK]"))
    if tokenizer.get_vocab_size() != config.vocabulary:
        raise InputError(f"{path} does not have {config.vocabulary} lines: {_fix(path.parent)}")
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _fix(folder: Path) -> str:
    if folder == MINILM_FOLDER:
        return "reinstall it with `pip install --force-reinstall unstatic`"
    return "make it again with scripts/convert_text_encoder.py"
