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
from unstatic.generate.prompts import language_model
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
        ((200, {"choices": [{"message": {"content": "<think>a long st"}}]}), "was cut off before its answer"),
        (
            (200, {"choices": [{"message": {"content": "a long st"}, "finish_reason": "length"}]}),
            "was cut off before its answer ended: take a model that does not think aloud",
        ),
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


TEMPLATE = "{% for each in messages %}{{ each.content }} {% endfor %}"
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
WORDS = ("<unk>", "a", "ball", "red", "rolls", "over", "sand")


def local_model(folder: Path, template: str | None, *, ends_with: int | None = None) -> Path:
    """Save a random model, so its answer means nothing; it ends with a word of this number, or never."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=1_024,
        eos_token_id=ends_with,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_local_model_is_loaded_and_asked(tmp_path: Path):
    """That it answers the conversation is what counts."""
    answer = rewriter(str(local_model(tmp_path, TEMPLATE, ends_with=4)))("a red ball")
    assert set(answer.split()) <= set(WORDS)


def test_a_local_model_that_comes_to_no_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language_model, "MAX_TOKENS", 20)
    with pytest.raises(
        UnstaticError, match="was cut off before its answer ended: take a model that does not"
    ):
        rewriter(str(local_model(tmp_path, TEMPLATE)))("a red ball")


@pytest.mark.parametrize("template", [None, REFUSING])
def test_a_local_model_must_take_instructions(tmp_path: Path, template: str | None):
    with pytest.raises(InputError, match=r"has no chat template for instructions: take an instruct model"):
        rewriter(str(local_model(tmp_path, template)))("a red ball")


def test_answers_are_one_paragraph_of_bounded_length():
    assert cleaned("“A  ball\n\nrolls.”", "x") == "A ball rolls."
    assert len(cleaned("word " * 5_000, "x")) <= 4_000


@pytest.mark.parametrize("thoughts", ["<think>a </think> story</think>", "what their template began</think>"])
def test_thoughts_before_an_answer_are_left_out(thoughts: str):
    assert cleaned(f"{thoughts}\n\nA ball rolls.", "x") == "A ball rolls."


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
