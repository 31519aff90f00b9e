"""From a body to a job: what the model cannot do is refused before there is one."""

import base64
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import write_film, write_image

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.request import Request, plan
from unstatic.generate.storyboard import IN_REQUEST, Storyboard, on_board
from unstatic.generate.storyboard import Card as Shown
from unstatic.server import schemas
from unstatic.server.asking import MAX_DRAWN_SEED, Asking, Clip, asking
from unstatic.server.errors import ApiError
from unstatic.server.forms import Form, Upload
from unstatic.server.jobs import Asked
from unstatic.server.schemas import CreateBody, read_body
from unstatic.server.spec import Spec, read_spec
from unstatic.server.state import Server
from unstatic.server.storage import StorageError

Open = Callable[..., Any]
CLIP = Clip("jobs/x/1/video.mp4", Size(96, 64), 2.0, "nano")


@pytest.fixture
def opened(server: Server, account: Any, tmp_path: Path) -> Open:
    """Return what opens a request with files."""

    @contextmanager
    def opening(**files: Path) -> Iterator[Asking]:
        folder = tmp_path / "form"
        folder.mkdir(exist_ok=True)
        uploads = {name: Upload(path, path.stat().st_size, "0" * 64) for name, path in files.items()}
        with asking(server, account.id, Form(folder, {}, uploads)) as one:
            yield one

    return opening


def create(opened: Open, **fields: object) -> tuple[Asked, Spec]:
    with opened() as one:
        (asked,) = one.create(read_body(CreateBody, {"prompt": "a red ball"} | fields))
    return asked, read_spec(asked.spec)


def test_a_film_with_nothing_said_is_decided_at_once(opened: Open):
    asked, spec = create(opened)
    assert (asked.kind, asked.model, asked.seconds, asked.size) == ("video", "nano", 4.0, "384x384")
    assert (spec.task, spec.seconds, spec.size, spec.inputs) == ("create", 4.0, "384x384", None)
    assert 0 <= spec.seed < MAX_DRAWN_SEED
    assert create(opened)[1].seed != spec.seed
    assert asked.cost == 4


def test_every_extra_field_reaches_the_worker(opened: Open):
    said = {"num_inference_steps": 4, "guidance_scale": 2, "enhance_prompt": "false"}
    _, spec = create(opened, seed=7, fps=24, num_frames=48, width=256, height=128, **said)
    assert (spec.seed, spec.steps, spec.guidance, spec.fps) == (7, 4, 2.0, 24)
    assert (spec.seconds, spec.size, spec.expand) == (2.0, "256x128", False)


def test_as_many_frames_as_were_asked_for_are_made(opened: Open, server: Server):
    manifest = server.manifests["nano"]
    for frames in (2, 15, 16, 17, 97):
        for extra in ({}, {"fps": manifest.fps}):
            _, spec = create(opened, num_frames=frames, **extra)
            assert plan(Request(prompt="x", seconds=spec.seconds or 0.0), manifest).frames == frames


def test_a_film_of_one_frame_is_refused_naming_what_makes_pictures(opened: Open, tmp_path: Path):
    for fields in ({"num_frames": 1}, {"seconds": 0.05}, {"seconds": 0.001}):
        with pytest.raises(InputError, match="/v1/images"):
            create(opened, **fields)
    picture = write_image(tmp_path / "a.png")
    shorter = pytest.raises(InputError, match="in a video of 1 frame: make it longer")
    with opened(**{"cards[0][image]": picture}) as one, shorter:
        one.storyboard(read_body(schemas.StoryboardBody, {"seconds": 0.05, "cards": [{"at": 0}]}))
    cards = [{"at": 0, "prompt": "a"}]
    with opened() as one:
        with pytest.raises(InputError, match="/v1/images"):
            one.storyboard(read_body(schemas.StoryboardBody, {"seconds": 0.05, "cards": cards}))
        with pytest.raises(InputError, match="/v1/images"):
            one.remix(schemas.RemixBody(prompt="x"), replace(CLIP, seconds=1 / 16))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"seconds": 1e9}, "from 0 (a still) to 60 seconds"),
        ({"seconds": 61}, "60"),
        ({"size": "1x1"}, "at least 16"),
        ({"size": "99999x99999"}, "up to"),
        ({"size": "129x65"}, "130x66"),
        ({"fps": 0}, "between 1 and 120"),
        ({"fps": 0, "num_frames": 5}, "at least 1"),
        ({"num_inference_steps": 0}, "between 1 and"),
        ({"guidance_scale": 31}, "between 0 and 30"),
        ({"negative_prompt": "grey"}, "negative"),
        ({"seconds": 4, "num_frames": 5}, "not both"),
        ({"model": "sora-2"}, "nano"),
    ],
)
def test_f22_what_the_model_cannot_do_is_refused_naming_what_it_can(
    opened: Open, fields: dict[str, object], says: str
):
    with pytest.raises((InputError, ApiError)) as caught:
        create(opened, **fields)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prompt_may_be_blank_as_the_contract_has_it(opened: Open, tmp_path: Path):
    asked, spec = create(opened, prompt=" ")
    assert (asked.prompt, spec.prompt) == (" ", "a film")
    with opened() as one:
        (still,) = one.images(read_body(schemas.ImageBody, {"prompt": "\n"}), edit=False)
    assert (still.prompt, read_spec(still.spec).prompt) == ("\n", "a film")
    with opened(input_reference=write_image(tmp_path / "a.png")) as one:  # which says what there is
        (moving,) = one.create(CreateBody(prompt=" "))
    assert read_spec(moving.spec).prompt == " "
    with opened() as one:
        (remixed,) = one.remix(schemas.RemixBody(prompt=" "), CLIP)
    assert (remixed.prompt, remixed.seconds) == (" ", 2.0)


def test_a_server_may_make_less_than_its_model(opened: Open, server: Server):
    settings = server.settings.model_copy(update={"max_seconds": 2.0})
    object.__setattr__(server, "settings", settings)
    with pytest.raises(InputError, match="up to 2"):
        create(opened, seconds=3)


def test_a_picture_in_the_body_is_one_that_was_sent(opened: Open, server: Server, tmp_path: Path):
    path = write_image(tmp_path / "a.png", Size(160, 96))
    url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    with opened() as one:
        (asked,) = one.create(read_body(CreateBody, {"prompt": "x", "input_reference": {"image_url": url}}))
        one.store()
    spec = read_spec(asked.spec)
    assert asked.size == "480x288"  # the shape of the picture
    assert spec.image is not None
    assert spec.image.startswith(f"uploads/{one.account_id}/")
    assert server.storage.size(spec.image) > 0
    one.drop()
    assert not server.storage.exists(spec.image)


@pytest.mark.parametrize(
    "reference",
    [
        {"file_id": "file-1"},
        {},
        {"image_url": "http://127.0.0.1/a.png"},
        {"image_url": "file:///etc/passwd"},
        {"image_url": "data:image/png;base64,!!"},
        {"image_url": "data:image/png;base64,"},
        {"image_url": "data:text/html;base64,PGI+"},
        {"image_url": "data:image/png;base64," + base64.b64encode(b"ffconcat version 1.0").decode()},
    ],
)
def test_f37_f40_other_references_are_refused(opened: Open, reference: dict[str, str]):
    with pytest.raises(ApiError) as caught:
        create(opened, input_reference=reference)
    assert caught.value.status == 400
    assert str(caught.value.param).startswith("input_reference")


def test_f8_a_storage_that_becomes_full_keeps_nothing_of_a_request(
    opened: Open, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put, left = server.storage.place.put, [1]

    def full(key: str, content: Path | bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        put(key, content)

    monkeypatch.setattr(server.storage.place, "put", full)
    cards = [{"at": 0, "prompt": "a"}, {"at": 2, "prompt": "b"}]
    picture = write_image(tmp_path / "a.png")
    with opened(**{"cards[0][image]": picture, "cards[1][image]": picture}) as one:
        one.storyboard(read_body(schemas.StoryboardBody, {"seconds": 4, "cards": cards}))
        with pytest.raises(StorageError) as caught:
            one.store()
    assert (caught.value.code, left) == ("storage_full", [0])
    assert list(server.storage.list("uploads")) == []


def test_files_that_nobody_asked_for_are_refused(opened: Open, tmp_path: Path):
    with opened(surprise=write_image(tmp_path / "a.png")) as one, pytest.raises(ApiError, match="surprise"):
        one.create(CreateBody(prompt="x"))


def test_each_task_knows_its_length_and_its_price(opened: Open):
    def asked(task: str, body: type[schemas.Body], *clips: Clip, **fields: object) -> tuple[Asked, Spec]:
        with opened() as one:
            (found,) = getattr(one, task)(read_body(body, {"prompt": "x"} | fields), *clips)
        return found, read_spec(found.spec)

    longer = replace(CLIP, seconds=3.0)
    for task, body, clips, fields, kind, seconds, cost in (
        ("remix", schemas.EditBody, (CLIP,), {"strength": 0.5}, "remix", 2.0, 2),
        ("extend", schemas.ExtensionBody, (CLIP,), {"seconds": 3}, "extend", 5.0, 3),
        ("extend", schemas.ExtensionBody, (CLIP,), {"seconds": 3, "backward": True}, "extend", 5.0, 3),
        ("loop", schemas.LoopBody, (CLIP,), {"seconds": 1}, "loop", 3.0, 1),
        ("blend", schemas.BlendBody, (CLIP, longer), {"seconds": 1}, "blend", 6.0, 1),
        (
            "recut",
            schemas.RecutBody,
            (CLIP,),
            {"start": 0.5, "end": 1.5, "before": 1, "after": 2},
            "recut",
            4.0,
            3,
        ),
    ):
        made, spec = asked(task, body, *clips, **fields)
        assert (spec.task, made.seconds, made.cost, made.size) == (kind, seconds, cost, "96x64")
        assert spec.video == f"{spec.inputs}/video.mp4"
    for task, body, clips, fields in (
        ("extend", schemas.ExtensionBody, (CLIP,), {"seconds": 59}),
        ("blend", schemas.BlendBody, (CLIP, replace(CLIP, seconds=58.0)), {"seconds": 1}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 1, "end": 1}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 1, "end": 3}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 1.999999, "end": 2, "after": 1}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 0, "end": 0.001, "after": 1}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 1.47, "end": 1.53, "after": 1}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 0, "end": 1, "before": 0.001}),
        ("recut", schemas.RecutBody, (CLIP,), {"start": 0, "end": 1, "after": 99_999}),
        ("extend", schemas.ExtensionBody, (CLIP,), {"seconds": 0.001}),
        ("loop", schemas.LoopBody, (replace(CLIP, seconds=0.2),), {"seconds": 1}),
    ):
        with pytest.raises(InputError, match=r"video|seconds"):
            asked(task, body, *clips, **fields)


def test_a_storyboard(opened: Open, tmp_path: Path):
    files = {
        "cards[1][image]": write_image(tmp_path / "a.png"),
        "cards[2][video]": write_film(tmp_path / "b.mp4"),
    }
    cards = [{"at": 0, "prompt": "a"}, {"at": 1, "prompt": "b", "cut": True}, {"at": 2}]
    body = read_body(schemas.StoryboardBody, {"seconds": 4, "cards": cards})
    with opened(**files) as one:
        (asked,) = one.storyboard(body)
    spec = read_spec(asked.spec)
    assert (asked.prompt, asked.seconds) == ("a / b", 4.0)
    assert [(each.at, each.prompt) for each in spec.cards] == [(0, "a"), (1, "b"), (2, None)]
    assert [each.cut for each in spec.cards] == [None, True, None]
    assert spec.cards[1].image == f"{spec.inputs}/1.png"
    assert spec.cards[2].video == f"{spec.inputs}/2.mp4"


@pytest.mark.parametrize(
    "cards",
    [
        [{"at": 0}],
        [{"at": 1, "prompt": "a"}, {"at": 1, "prompt": "b"}],
        [{"at": 0, "prompt": "a"}, {"at": 4, "prompt": "b"}],
        [{"at": 0, "prompt": "a"}, {"at": 2, "prompt": " "}],
    ],
)
def test_cards_without_order_or_meaning_are_refused(opened: Open, cards: list[dict[str, object]]):
    with opened() as one, pytest.raises(ApiError, match=r"^cards\[\d\]") as caught:
        one.storyboard(read_body(schemas.StoryboardBody, {"seconds": 4, "cards": cards}))
    assert (caught.value.status, caught.value.param) == (400, f"cards[{len(cards) - 1}]")


@pytest.mark.parametrize(("at", "fits"), [(1.03, False), (1.5, True)])
@pytest.mark.parametrize("later", ["image", "video"])
def test_a_card_that_begins_during_a_picture_is_refused(
    opened: Open, server: Server, tmp_path: Path, at: float, fits: bool, later: str
):
    check_overlap(opened, server, tmp_path, ("image", later), at, fits=fits)


@pytest.mark.parametrize(("at", "fits"), [(1.2, False), (1.5, False), (2.0, True)])
def test_a_card_that_begins_during_a_video_is_refused(
    opened: Open, server: Server, tmp_path: Path, at: float, fits: bool
):
    check_overlap(opened, server, tmp_path, ("video", "image"), at, fits=fits)


def check_overlap(
    opened: Open, server: Server, folder: Path, kinds: tuple[str, str], at: float, *, fits: bool
) -> None:
    """Show that the second of two cards, the first of which is at 1 s, is refused now as by the worker."""
    written = {"image": write_image(folder / "a.png"), "video": write_film(folder / "a.mp4")}
    seen = [Shown(at=time, **{kind: written[kind]}) for time, kind in zip((1.0, at), kinds, strict=True)]
    board = Storyboard(cards=(Shown(at=0.0, prompt="a"), *seen), seconds=4.0)
    cards = [{"at": 0, "prompt": "a"}, {"at": 1}, {"at": at}]
    body = read_body(schemas.StoryboardBody, {"seconds": 4, "cards": cards})
    nano = server.manifests["nano"]
    with opened(**{f"cards[{number}][{kind}]": written[kind] for number, kind in enumerate(kinds, 1)}) as one:
        if fits:
            on_board(Request(prompt=""), board, nano)
            one.storyboard(body)
            return
        with pytest.raises(InputError) as said:
            on_board(Request(prompt=""), board, nano, naming=IN_REQUEST)
        with pytest.raises(ApiError, match=r"^cards\[2\] .* begins before cards\[1\]") as caught:
            one.storyboard(body)
    assert str(caught.value)[:40] == str(said.value)[:40]
    assert (caught.value.status, caught.value.param) == (400, "cards[2]")


@pytest.mark.parametrize(
    ("at", "fits"), [(3.8, True), (3.9, True), (3.97, False), (4.0, False), (9.0, False)]
)
@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_card_begins_where_the_worker_lets_it(
    opened: Open, server: Server, tmp_path: Path, kind: str, at: float, fits: bool
):
    written = write_image(tmp_path / "a.png") if kind == "image" else write_film(tmp_path / "a.mp4")
    fits |= kind == "image" and at <= 4  # the end
    card = Shown(at=at, image=written) if kind == "image" else Shown(at=at, video=written)
    board = Storyboard(cards=(Shown(at=0.0, prompt="a"), card), seconds=4.0)
    body = {"seconds": 4, "cards": [{"at": 0, "prompt": "a"}, {"at": at}]}
    with opened(**{f"cards[1][{kind}]": written}) as one:
        if fits:
            on_board(Request(prompt=""), board, server.manifests["nano"])
            one.storyboard(read_body(schemas.StoryboardBody, body))
            return
        with pytest.raises(InputError, match="comes too late"):
            on_board(Request(prompt=""), board, server.manifests["nano"])
        with pytest.raises(
            ApiError, match=r"^cards\[1\] \(at .* s\) comes too late, the film ends at 4 s"
        ) as caught:
            one.storyboard(read_body(schemas.StoryboardBody, body))
    assert (caught.value.status, caught.value.param) == (400, "cards[1]")


def test_pictures_have_one_seed_and_each_its_variation(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    planned: list[object] = []
    monkeypatch.setattr("unstatic.server.asking.plan", lambda *given: planned.append(given) or plan(*given))
    body = read_body(schemas.ImageBody, {"prompt": "x", "n": 3, "size": "128x128"})
    with opened() as one:
        asked = one.images(body, edit=False)
    specs = [read_spec(each.spec) for each in asked]
    assert len(planned) == 1  # words are read once, whatever there is made of them
    assert [each.kind for each in asked] == ["image"] * 3
    assert [each.variation for each in specs] == [0, 1, 2]
    assert len({each.seed for each in specs}) == 1
    assert {each.seconds for each in specs} == {0.0}
    with opened(image=write_image(tmp_path / "a.png")) as one:
        (edited,) = one.images(read_body(schemas.ImageBody, {"prompt": "x"}), edit=True)
    assert edited.size == "96x64"
    with opened() as one, pytest.raises(ApiError, match="image"):
        one.images(body, edit=True)
