"""Expansion by a language model: a real HTTP server on loopback, a real tiny model, and every bad answer."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from unstatic.core.errors import InputError, UnstaticError
from unstatic.generate.prompts.language_model import KEY_VARIABLE, ChatServer, LocalModel, cleaned, rewriter


class Server:
    """What a chat server answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.location = ""
        self.answer: tuple[int, Any] = (200, {"choices": [{"message": {"content": ' "A red\nball." '}}]})


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            state.asked.append((self.path, dict(self.headers), json.loads(self.rfile.read(length))))
            code, answer = state.answer
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(code)
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    http.server_close()


def test_a_server_is_asked_in_its_language(server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch):
    state, url = server
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert rewriter(f"{url}#some-model")("a ball") == "A red ball."
    ((path, headers, body),) = state.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "some-model"
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"] == "a ball"


def test_without_a_key_none_is_sent(server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch):
    state, url = server
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    rewriter(f"{url}#m")("a ball")
    assert "Authorization" not in state.asked[0][1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}), f"answered 401: set {KEY_VARIABLE}"),
        ((500, {}), "answered 500"),
        ((200, b"<html>"), "does not answer as a chat server does: check the URL"),
        ((200, {"choices": []}), "does not answer as a chat server does"),
        ((200, {"choices": [{"message": {"content": "  "}}]}), "answered nothing"),
        ((200, {"choices": [{"message": {"content": None}}]}), "answered nothing"),
        ((200, {"choices": [{"message": {"content": "<think>a long story</think>"}}]}), "answered nothing"),
    ],
)
def test_bad_answers_are_one_line(server: tuple[Server, str], answer: tuple[int, Any], message: str):
    state, url = server
    state.answer = answer
    with pytest.raises(UnstaticError) as caught:
        ChatServer(url, "m", key="secret")("a ball")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(UnstaticError, match="cannot ask the language model at http://127"):
        ChatServer("http://127.0.0.1:9", "m", timeout_s=2.0)("a ball")


def test_names_that_mean_nothing_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="names no model: write it after a #"):
        rewriter("http://127.0.0.1/v1")
    with pytest.raises(InputError, match="neither a URL nor a folder"):
        rewriter(str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot load the language model"):
        LocalModel(tmp_path)("a ball")


def test_a_local_model_is_loaded_and_asked(tmp_path: Path):
    """A random one, so its answer means nothing; that it answers the conversation is what counts."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "a", "ball", "red", "rolls", "over", "sand"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    fast.chat_template = "{% for each in messages %}{{ each.content }} {% endfor %}"
    fast.save_pretrained(tmp_path)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=1_024,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(tmp_path)
    answer = rewriter(str(tmp_path))("a red ball")
    assert set(answer.split()) <= set(words)
    assert len(answer.split()) > 100


def test_answers_are_one_paragraph_of_bounded_length():
    assert cleaned("“A  ball\n\nrolls.”", "x") == "A ball rolls."
    assert len(cleaned("word " * 5_000, "x")) <= 4_000


@pytest.mark.parametrize("url", ["http://local host/v1", "http://127.0.0.1:abc/v1", "http://[::1/v1"])
def test_addresses_that_are_none_are_one_line_without_the_key(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY_VARIABLE, "sec\nret")
    with pytest.raises(UnstaticError) as caught:
        rewriter(f"{url}#m")("a ball")
    assert "sec" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_key_does_not_follow_a_redirect(server: tuple[Server, str]):
    state, url = server
    seen: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=http.serve_forever, daemon=True).start()
    state.answer, state.location = (302, {}), f"http://127.0.0.1:{http.server_port}/"
    with pytest.raises(UnstaticError):
        ChatServer(url, "m", key="secret")("a ball")
    http.shutdown()
    http.server_close()
    assert seen == [None]
