"""Prompt expansion by a language model: any server that speaks the OpenAI chat API, or a local model.

Open video models were trained on long captions and want a paragraph; a language model writes it from what the
user typed. `rewriter` makes one of a name that a user gives:

    http://127.0.0.1:11434/v1#llama3.2     a server, and after # the model it shall use
    models/SmolLM2-360M-Instruct           a folder with a model for the package transformers

The key for a server is read from the environment (UNSTATIC_CHAT_KEY); it goes nowhere else.
"""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from jinja2 import TemplateError

from unstatic.core.errors import InputError, UnstaticError

KEY_VARIABLE = "UNSTATIC_CHAT_KEY"
TIMEOUT_S = 180.0
MAX_TOKENS = 1_500  # who thinks aloud takes hundreds of them before the caption
MAX_ANSWER_BYTES, MAX_ANSWER_CHARACTERS = 1_000_000, 4_000
INSTRUCTION = """\
You rewrite what a user types into a caption for a text-to-video model. Answer with the caption alone: one \
paragraph of at most 120 English words, in the present tense. Keep what the user said; add what is \
needed to see it: the subject's look, what it does from beginning to end, the place, the light, and how the \
camera moves. One continuous shot. No lists, no quotation marks, no comments."""

Rewriter = Callable[[str], str]
"""Turn what a user typed into what a model reads. Raises UnstaticError if nothing can be had."""


def rewriter(name: str) -> Rewriter:
    """Return what rewrites prompts. Raises InputError for a name that is neither a server nor a folder."""
    if name.startswith(("http://", "https://")):
        base, _, model = name.partition("#")
        if not model:
            raise InputError(f"expander {name!r} names no model: write it after a #, as in URL#llama3.2")
        return ChatServer(base, model, key=os.environ.get(KEY_VARIABLE, ""))
    if Path(name).is_dir():
        return LocalModel(Path(name))
    raise InputError(f"expander {name!r} is neither a URL nor a folder: see `unstatic video --help`")


class ChatServer:
    """A server with POST {base}/chat/completions."""

    def __init__(self, base: str, model: str, *, key: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.base, self.model, self.key, self.timeout_s = base.rstrip("/"), model, key.strip(), timeout_s

    def __call__(self, prompt: str) -> str:
        """Ask the server."""
        body: dict[str, object] = {"model": self.model, "messages": messages(prompt)}
        body |= {"temperature": 0.4, "max_tokens": MAX_TOKENS}
        try:
            asked = urllib.request.Request(f"{self.base}/chat/completions", json.dumps(body).encode())
            asked.add_header("Content-Type", "application/json")
            if self.key:  # never sent on to where a redirect leads
                asked.add_unredirected_header("Authorization", f"Bearer {self.key}")
            with urllib.request.urlopen(asked, timeout=self.timeout_s) as answer:
                content = answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            error.close()
            hint = f": set {KEY_VARIABLE}" if error.code in (401, 403) else ""
            raise UnstaticError(f"the language model at {self.base} answered {error.code}{hint}") from None
        except (ValueError, http.client.HTTPException) as error:
            # Their words may hold the key
            kind = type(error).__name__
            raise UnstaticError(
                f"cannot ask {self.base}: check the URL and {KEY_VARIABLE} ({kind})"
            ) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise UnstaticError(f"cannot ask the language model at {self.base}: {reason}") from None
        text, is_cut = self._text(content)
        return cleaned(text, self.base, is_cut=is_cut)

    def _text(self, content: bytes) -> tuple[str, bool]:
        """Return what was answered, and whether it was cut off."""
        try:
            choice = cast(Any, json.loads(content))["choices"][0]
            text = choice["message"]["content"]
            return text if isinstance(text, str) else "", choice.get("finish_reason") == "length"
        except (ValueError, LookupError, TypeError):
            raise UnstaticError(f"{self.base} does not answer as a chat server does: check the URL") from None


class LocalModel:
    """An instruction-following model in a folder, run by transformers on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, prompt: str) -> str:
        """Load the model and ask it; it is not kept, for the video model needs the memory."""
        try:
            package: Any = import_module("transformers")
        except ImportError:
            advice = "pip install transformers"
            raise UnstaticError(f"a local language model needs transformers: {advice}") from None
        try:
            tokenizer = package.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            model = package.AutoModelForCausalLM.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"cannot load the language model in {self.folder}: {reason}") from None
        try:
            tokens: Any = tokenizer.apply_chat_template(
                messages(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        except (ValueError, TemplateError):  # there is none, or it refuses a system's words
            raise InputError(
                f"the model in {self.folder} has no chat template for instructions: take an instruct model"
            ) from None
        written: Any = model.generate(**tokens, max_new_tokens=MAX_TOKENS, do_sample=False)
        answer = written[0, tokens["input_ids"].shape[1] :]
        text = tokenizer.decode(answer, skip_special_tokens=True)
        return cleaned(str(text), str(self.folder), is_cut=len(answer) == MAX_TOKENS)


def messages(prompt: str) -> list[dict[str, str]]:
    """Return the conversation that asks for a caption."""
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": prompt}]


def cleaned(text: str, where: str, *, is_cut: bool = False) -> str:
    """Return the answer as one paragraph without quotation marks around it.

    What models think aloud before it is left out. Raises UnstaticError if it is empty or was cut off: that
    may be thoughts without any mark, where the chat template has begun them.
    """
    text = text.rpartition("</think>")[2]
    if is_cut or "<think>" in text:
        advice = "take a model that does not think aloud"
        raise UnstaticError(f"the language model at {where} was cut off before its answer ended: {advice}")
    answer = " ".join(text.split()).strip("\"'\u201c\u201d ")[:MAX_ANSWER_CHARACTERS]
    if not answer:
        raise UnstaticError(f"the language model at {where} answered nothing: use --no-expand or another one")
    return answer
