"""Films from servers of four dialects, and everything that can go wrong on the way.

The servers are ours, on loopback, and do what the sources of each dialect say: docs/reference/remote.md.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import fake_video_servers
import numpy as np
import pytest
import torch
from fake_video_servers import MODEL, FakeServer, serving
from PIL import Image

import unstatic
from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.keys import KEY_VARIABLE
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue
from unstatic.generate.engine import Engine, Event, Frames, Progress, Warned
from unstatic.generate.engines.connection import TRIES
from unstatic.generate.engines.remote import MOST_SILENT, SILENT_S, RemoteEngine, find_remote
from unstatic.generate.footage import Footage
from unstatic.generate.load import find, load_engine
from unstatic.generate.request import Plan, Request, plan
from unstatic.media.write import write_video

NAMES = tuple(fake_video_servers.OWNERS)
SIZE = Size(64, 48)
Start = Callable[..., FakeServer]


@pytest.fixture
def start(
    tmp_path: Path, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Return a function that starts a server of a dialect, whose films show what was asked for."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)

    def film(asked: dict[str, Any]) -> bytes:
        size, path = Size.parse(asked["size"]), tmp_path / "made.mp4"
        write_video(path, make_frames(asked["num_frames"], size.width, size.height), fps=asked["fps"])
        return path.read_bytes()

    with ExitStack() as stack:
        yield lambda dialect, **options: stack.enter_context(
            serving(FakeServer(dialect, options.pop("film", film), **options))
        )


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest, start: Start) -> FakeServer:
    return start(request.param)


class Asking:
    """An engine that waits for nothing, and how long it would have waited."""

    def __init__(self, server: FakeServer, **options: Any) -> None:
        found = find_remote(server.url)
        self.waits_s: list[float] = []
        connection = replace(found.connection, sleep=self.waits_s.append, **options)
        self.engine = RemoteEngine(replace(found, connection=connection), torch.device("cpu"))
        server.asked.clear()

    def plan(self, **options: Any) -> Plan:
        asked: dict[str, Any] = {"prompt": "a red ball", "seconds": 1, "size": SIZE, "expand": True} | options
        return plan(Request(**asked), self.engine.manifest)

    def stream(self, **options: Any) -> Iterator[Event]:
        return self.engine.stream(self.plan(**options))

    def film(self, **options: Any) -> Any:
        """Make a film, and return its frames."""
        return np.concatenate([each.frames for each in self.stream(**options) if isinstance(each, Frames)])


def near(frames: Any, drawn: Any) -> bool:
    return frames.shape == drawn.shape and float(np.abs(frames.astype(float) - drawn).mean()) < 8


# ---------------------------------------------------------------------------------------------- what is asked


def test_a_sentence_becomes_a_film(server: FakeServer, make_frames: Callable[..., Any]) -> None:
    asking = Asking(server)
    assert isinstance(asking.engine, Engine)
    events = list(asking.stream(seed=5, fps=16))
    frames = np.concatenate([each.frames for each in events if isinstance(each, Frames)])
    assert near(frames, make_frames(16, SIZE.width, SIZE.height))
    assert [each for each in events if isinstance(each, Warned)] == []

    (asked,) = server.made
    assert {name: asked[name] for name in ("prompt", "model", "size", "fps", "seed")} == {
        "prompt": "a red ball",
        "model": MODEL,
        "size": "64x48",
        "fps": 16,
        "seed": 5,
    }
    assert asked["num_frames"] == (16 if server.dialect == "unstatic" else 17), "1 and a multiple of 8"
    unasked = {"num_inference_steps", "guidance_scale", "negative_prompt", "enhance_prompt"}
    assert not unasked & set(asked), "nobody asked"
    assert server.asked[0] == "POST /videos"
    assert server.asked[-1] == "GET /videos/video_1/content"
    assert set(server.jobs) == {"video_1"}, "what was made stays there"


def test_progress_is_what_the_server_tells_every_time_that_it_is_asked(server: FakeServer) -> None:
    told = [each for each in Asking(server).stream() if isinstance(each, Progress)]
    steps = [33, 66, 100] if server.dialect == "unstatic" else [0, 0, 100]
    assert told == [Progress(done, 100) for done in steps]
    told = [each for each in Asking(server).stream(steps=6) if isinstance(each, Progress)]
    assert told[-1] == Progress(6, 6)
    assert server.made[-1]["num_inference_steps"] == 6


def test_a_picture_is_sent_as_a_file(server: FakeServer, make_frames: Callable[..., Any]) -> None:
    picture = make_frames(1, 128, 96)[0]
    options = {"negative": "blur, \u00e9t\u00e9\r\nrain", "guidance": 4, "steps": 100, "expand": False}
    assert len(Asking(server).film(image=picture, **options)) == 24
    (asked,) = server.made
    name, kind, content = asked["input_reference"]
    assert (name, kind) == ("input_reference.png", "image/png")
    sent = np.asarray(Image.open(io.BytesIO(content)))
    assert sent.shape == (48, 64, 3)
    assert near(sent, make_frames(1, 64, 48)[0])
    assert (asked["negative_prompt"], asked["num_inference_steps"]) == ("blur, \u00e9t\u00e9\r\nrain", 100)
    assert float(asked["guidance_scale"]) == 4
    assert asked.get("enhance_prompt") == ("False" if server.dialect == "unstatic" else None)


@pytest.mark.parametrize("options", [{"expand": False}, {"rewriter": str.upper}])
def test_what_is_not_to_be_rewritten_or_was_is_left_alone(server: FakeServer, options: Any) -> None:
    said = [each.message for each in Asking(server).stream(**options) if isinstance(each, Warned)]
    (asked,) = server.made
    assert asked["prompt"] == ("A RED BALL" if "rewriter" in options else "a red ball")
    assert asked.get("enhance_prompt") is (False if server.dialect == "unstatic" else None)
    assert len(said) == (server.dialect != "unstatic")
    assert all("cannot be told to leave the prompt as it is: if it rewrites" in each for each in said)


def test_a_still_is_a_film_of_one_frame(server: FakeServer) -> None:
    assert Asking(server).film(seconds=0).shape == (1, 48, 64, 3)
    assert server.made[0]["num_frames"] == 1


def test_the_pace_is_the_servers_or_grows(start: Start) -> None:
    asking = Asking(start("unstatic", pace_ms=250))
    asking.film()
    assert asking.waits_s == [0.25, 0.25]
    asking = Asking(start("unstatic", pace_ms=10**8))
    asking.film()
    assert asking.waits_s == [60, 60], "it may not make us wait for ever"
    asking = Asking(start("sglang", polls=12))
    asking.film()
    assert asking.waits_s[:3] == [1, 1.25, 1.5625]
    assert asking.waits_s[-1] == 5


# ----------------------------------------------------------------------------------------------- what ends it


def test_closing_deletes_the_job(server: FakeServer) -> None:
    server.polls = 10
    asking = Asking(server)

    def stop(_: float) -> None:  # as Ctrl-C does while we wait
        raise KeyboardInterrupt

    connection = replace(asking.engine.model.connection, sleep=stop)
    stream = RemoteEngine(replace(asking.engine.model, connection=connection), torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        list(stream.stream(asking.plan()))
    assert server.asked[-1] == "DELETE /videos/video_1"
    assert server.jobs == {}


def test_closing_between_two_tellings_deletes_the_job(start: Start) -> None:
    server = start("unstatic", polls=5)
    stream = Asking(server).stream()
    assert isinstance(next(stream), Progress)
    stream.close()  # type: ignore[attr-defined]
    assert server.asked[-1] == "DELETE /videos/video_1"


@pytest.mark.parametrize("code", [400, 429, 500])
def test_a_failed_job_is_told_in_the_servers_words(server: FakeServer, code: int) -> None:
    server.failure = (code, "CUDA out of\n\x1b[31mmemory")
    with pytest.raises(UnstaticError, match=r"failed to make it: CUDA out of \[31mmemory$"):
        Asking(server).film()
    assert not any(each.startswith("DELETE") or each.endswith("/content") for each in server.asked)
    assert len(server.asked) == 4, "it was made once, and not asked for again after it failed"


def test_a_job_that_is_gone_is_told(server: FakeServer) -> None:
    server.faults = [("GET /videos/video_1", 404)]
    with pytest.raises(UnstaticError, match=r"the job is deleted at http.*: ask again"):
        Asking(server).film()


def test_an_outage_while_a_film_is_made_is_waited_for(start: Start) -> None:
    server = start("unstatic", polls=3)
    server.faults = [("GET /videos/video_1", 502)] * 6
    asking = Asking(server)
    assert len(asking.film()) == 24
    assert SILENT_S in asking.waits_s
    assert not any(each.startswith("DELETE") for each in server.asked)
    server.faults = [("GET /videos/video_2", 502)] * (MOST_SILENT * TRIES)
    with pytest.raises(UnstaticError):
        asking.film()


def test_a_refused_size_is_told_in_the_servers_words(server: FakeServer) -> None:
    with pytest.raises(InputError, match=r"refuses it \(400\): size 64x8192 is too much: take 64x64"):
        Asking(server).film(size=Size(64, 8192))


# ------------------------------------------------------------------------------------------------ what breaks


def test_a_busy_server_is_asked_again_when_it_says(server: FakeServer) -> None:
    server.faults = [("POST /videos", 429), ("POST /videos", 503), ("GET /videos/video_1", 429)]
    asking = Asking(server)
    assert len(asking.film()) == 24
    assert asking.waits_s[:3] == [7, 7, 7]
    assert len(server.made) == 1


def test_one_that_stays_busy_is_left(server: FakeServer) -> None:
    server.faults = [("POST /videos", 429)] * 5
    with pytest.raises(UnstaticError, match=r"cannot do it now \(429\): not now; try in 7 seconds"):
        Asking(server).film()
    server.faults, server.retry_after = [("POST /videos", 429)], "3600"
    with pytest.raises(UnstaticError, match="try in 3600 seconds"):
        Asking(server).film()


def test_broken_polls_are_asked_again(server: FakeServer) -> None:
    poll = "GET /videos/video_1"
    server.faults = [(poll, "break"), (poll, 500), (poll, 502), (poll, "break")]
    asking = Asking(server)
    assert len(asking.film()) == 24
    assert asking.waits_s[:2] == [1, 7], "nothing was said; then what the server says"
    assert len(server.made) == 1


def test_a_lost_answer_makes_no_second_film(server: FakeServer) -> None:
    server.faults = [("POST /videos", "lose")]
    if server.dialect == "unstatic":  # the same Idempotency-Key is the same job
        assert len(Asking(server).film()) == 24
    else:
        with pytest.raises(UnstaticError, match=r"was lost .*: it was not asked again, .*/v1/videos lists"):
            Asking(server).film()
    assert len(server.made) == 1
    assert server.asked.count("POST /videos") == (2 if server.dialect == "unstatic" else 1)


@pytest.mark.parametrize("code", [500, 502, 504])
def test_nor_does_an_error_that_says_nothing_of_it(server: FakeServer, code: int) -> None:
    server.faults = [("POST /videos", code)]
    if server.dialect == "unstatic":
        assert len(Asking(server).film()) == 24
    else:
        with pytest.raises(UnstaticError, match=rf"cannot do it now \({code}\): not now"):
            Asking(server).film()
        assert server.asked == ["POST /videos"]


def test_a_broken_download_goes_on(server: FakeServer) -> None:
    content = "GET /videos/video_1/content"
    server.faults = [(content, 600), (content, 500)]
    assert len(Asking(server).film()) == 24
    assert server.ranges == ["", "bytes=600-", "bytes=1100-"]


def test_without_a_tag_it_begins_anew(start: Start) -> None:
    server = start("sglang", etag=False, faults=[("GET /videos/video_1/content", 600)])
    assert len(Asking(server).film()) == 24
    assert server.ranges == ["", ""]


def test_a_film_that_never_comes_whole_is_given_up(start: Start) -> None:
    server = start("fastvideo", faults=[("GET /videos/video_1/content", 10)] * 5)
    with pytest.raises(UnstaticError, match=r"does not answer \(the connection broke\)"):
        Asking(server).film()


# --------------------------------------------------------------------------------------- what is not believed


@pytest.mark.parametrize(
    "content",
    [b"", b"no film", b"ffconcat version 1.0\nfile 'secret.mp4'\n", b"\0\0\0\x18ftypisom" + bytes(200)],
)
def test_what_is_no_film_is_told(server: FakeServer, content: bytes) -> None:
    server.film = lambda _: content
    with pytest.raises(UnstaticError, match=r"sent for the film is none \(cannot read the file as a video: "):
        Asking(server).film()


def test_a_film_in_another_container_is_none(start: Start, make_frames: Callable[..., Any]) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=24, width=64, height=48, pix_fmt="yuv420p")
        pictures = [av.VideoFrame.from_ndarray(each, format="rgb24") for each in make_frames(24, 64, 48)]
        for picture in (*pictures, None):
            container.mux(stream.encode(picture))
    with pytest.raises(UnstaticError, match="sent for the film is none"):
        Asking(start("sglang", film=lambda _: file.getvalue())).film()


def test_endless_content_is_capped(server: FakeServer) -> None:
    server.endless = True
    with pytest.raises(UnstaticError, match="sends more than 300 kB for the film: it was not taken"):
        Asking(server, max_film_bytes=300_000).film()
    server.endless = False
    with pytest.raises(UnstaticError, match="sends more than 100 bytes"):
        Asking(server, max_film_bytes=100).film()


def test_another_size_rate_and_length_are_mended_and_said(
    start: Start, tmp_path: Path, make_frames: Callable[..., Any]
) -> None:
    write_video(tmp_path / "other.mp4", make_frames(36, 96, 72), fps=12)
    server = start("vllm-omni", film=lambda _: (tmp_path / "other.mp4").read_bytes())
    events = list(Asking(server).stream(seconds=1))
    assert [each.message for each in events if isinstance(each, Warned)] == [
        "the server filmed in 96x72, not 64x48: it is cut and scaled",
        "the server's film has 12 frames a second, not 24: it is retimed",
        "the server's film lasts 3.00 seconds, not 1.00: its end is cut off",
    ]
    frames = np.concatenate([each.frames for each in events if isinstance(each, Frames)])
    assert frames.shape == (24, 48, 64, 3)
    assert np.array_equal(frames[0], frames[1]), "12 frames a second shown 24 times"

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        video = unstatic.load(server.url).generate("a red ball", seconds=4, size="64x48")
    assert "its last frame stands still" in str(caught[-1].message)
    assert (video.frames.shape, video.fps) == ((96, 48, 64, 3), 24)
    assert np.array_equal(video.frames[-1], video.frames[-20])


@pytest.mark.parametrize("name", [None, 7, "", "../models", "a/b", "x" * 201])
def test_a_job_without_a_proper_name_is_refused(
    start: Start, name: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("sglang")
    monkeypatch.setattr(server, "create", lambda *_: {"object": "video", "id": name})
    with pytest.raises(UnstaticError, match="gives no name to its job"):
        Asking(server).film()


@pytest.mark.parametrize("percent", [None, "half", float("nan"), float("inf"), -5, 1e300])
def test_odd_progress_harms_nothing(start: Start, percent: object, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start("unstatic")
    plain = server.job
    monkeypatch.setattr(server, "job", lambda name: plain(name) | {"progress": percent})
    told = [each.done for each in Asking(server).stream() if isinstance(each, Progress)]
    assert told == sorted(told)
    assert (len(told), told[-1]) == (3, 100)


# ---------------------------------------------------------------------------------------------------- the key


def test_the_key_is_sent_and_never_shown(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "sk-secret"
    with pytest.raises(InputError, match=rf"refuses the key \(Unauthorized\): set {KEY_VARIABLE}"):
        find_remote(server.url)
    monkeypatch.setenv(KEY_VARIABLE, "sk-wrong")
    with pytest.raises(InputError, match="refuses the key") as caught:
        find_remote(server.url)
    assert "sk-wrong" not in str(caught.value)
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    asking = Asking(server)
    assert len(asking.film()) == 24
    assert set(server.keys) == {None, "Bearer sk-wrong", "Bearer sk-secret"}
    assert "sk-secret" not in repr(asking.engine.model)


def test_a_redirect_does_not_carry_the_key(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    other = start("sglang")
    server = start("sglang", redirect=other.url.removesuffix("/v1"))
    assert find_remote(server.url).name == MODEL
    assert (server.keys, other.keys) == (["Bearer sk-secret"], [None])


# ---------------------------------------------------------------------------------- which server, which model


def test_the_dialect_is_what_the_server_says(server: FakeServer) -> None:
    found = find(server.url)
    assert found.dialect.name == server.dialect
    assert (found.manifest.name, found.manifest.engine) == (MODEL, "remote")
    assert find(server.url.removesuffix("/v1")).name == find(f"{server.url}/#{MODEL}").name == MODEL
    with pytest.raises(InputError, match=f"has no model 'sora-2': it has {MODEL}"):
        find(f"{server.url}#sora-2")


def test_an_unknown_kind_is_refused_unless_it_is_named(start: Start) -> None:
    server = start("another")
    with pytest.raises(
        InputError, match=r"does not say what it speaks: write DIALECT\+http.*, fastvideo, unst"
    ):
        find(server.url)
    assert find(f"vllm-omni+{server.url}").dialect.forms_only
    with pytest.raises(InputError, match="dialect 'sora' is unknown: take one of sglang, vllm-omni"):
        find(f"sora+{server.url}")
    server.faults = [("GET /models", 404)] * 3
    assert find(f"unstatic+{server.url}#hidden").name == "hidden"
    with pytest.raises(InputError, match="has no /models"):
        find(f"unstatic+{server.url}")


def test_what_the_server_says_of_its_model_counts(start: Start) -> None:
    card = {"sizes": ["128x96", "96x128", "0x4", 7], "fps": 12, "max_seconds": 5}
    manifest = find(start("unstatic", card=card).url).manifest
    assert manifest.sizes == (Size(128, 96), Size(96, 128))
    assert (manifest.fps, manifest.max_seconds) == (12, 5)
    with pytest.raises(InputError, match=r"makes from 0 .* to 5 seconds"):
        plan(Request(prompt="a ball", seconds=6), manifest)
    made = plan(Request(prompt="a ball", size=Size(1280, 720), fps=30, seconds=2), manifest)
    assert (made.native, made.frames, made.finish.native_fps) == (Size(1280, 720), 60, 30), "it may refuse"
    plain = find(start("unstatic", card={"sizes": "large", "fps": "many", "max_seconds": None}).url).manifest
    assert (plain.default_size, plain.fps) == (Size(832, 480), 24)


@pytest.mark.parametrize(
    ("task", "said"), [("T2V", "cannot go on"), ("I2V", "begins with a picture"), ("T2I", "makes no videos")]
)
def test_what_the_server_says_of_pictures_counts(
    start: Start, task: str, said: str, make_frames: Callable[..., Any]
) -> None:
    image = make_frames(1)[0] if task == "T2V" else None
    with pytest.raises(InputError, match=said):
        Asking(start("sglang", card={"task_type": task})).plan(image=image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cues": (Cue(at=0.3, prompt="a cube"),)}, "makes a film in one piece"),
        ({"variation": 2}, "does not know variations of a seed"),
        ({"source": np.zeros((9, 32, 64, 3), np.uint8)}, "does not know a source to start from"),
        (
            {"footage": (Footage(first=0, frames=np.zeros((9, 48, 64, 3), np.uint8)),)},
            "know footage: leave it",
        ),
        ({"last_image": np.zeros((48, 64, 3), np.uint8)}, "does not know a last image"),
        ({"solver": "euler"}, "has a solver of its own"),
    ],
)
def test_what_no_server_is_asked_for_is_refused(server: FakeServer, options: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Asking(server).plan(**options)
    assert server.asked == []


def test_what_is_no_address_is_refused() -> None:
    query = "http://h/v1?key=1"
    for each in ("ftp://h/v1", "http://", "http://h:port/v1", "http://key@h/v1", query, "http://a b"):
        with pytest.raises(InputError, match="the address of a server is http://HOST:PORT/v1"):
            find(each)


def test_a_server_that_is_not_there_is_told() -> None:
    with serving(FakeServer("sglang", lambda _: b"")) as server:
        url = server.url
    with pytest.raises(UnstaticError, match=rf"{url} does not answer .*: check the address, and that"):
        find(url)


def test_a_server_that_makes_no_videos_is_told(start: Start) -> None:
    server = start("vllm-omni", faults=[("POST /videos", 404)])
    with pytest.raises(InputError, match=r"has no /videos \(not now\): check the address"):
        Asking(server).film()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loras": ["style.safetensors"]}, "which takes no LoRA"),
        ({"quantise": "int8"}, "leave --quantise and --offload out"),
        ({"offload": True}, "leave --quantise and --offload out"),
        ({"tiled": True}, "which decodes as it likes: leave --tiles out"),
    ],
)
def test_what_is_done_to_models_of_this_machine_is_refused(start: Start, options: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"is on a server.*{said}"):
        load_engine(find(start("sglang").url), device="cpu", **options)
