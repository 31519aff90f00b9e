"""The official client as a black box, over a real connection to a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from httpx2 import ReadTimeout
from listening import listening, working
from serving import application, begin, fail, finish, write_film, write_image

from unstatic.core.shapes import Size
from unstatic.generate.engine import Frames
from unstatic.generate.engines.remote import RemoteEngine, find_remote
from unstatic.generate.request import Request, plan
from unstatic.server import jobs
from unstatic.server.state import Server

# The service that the client was made for has ended: its methods say so
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return application(tmp_path_factory.mktemp("app"))


@pytest.fixture
def server(app: Any) -> Server:
    """Return the server, with nothing waiting in it."""
    with app.state.server.database.writing() as session:
        for job in session.query(jobs.Job).filter(jobs.Job.status.not_in(jobs.ENDED)):
            jobs.cancel(session, job, 0)
    return app.state.server


@pytest.fixture(scope="module")
def client(app: Any) -> Iterator[openai.OpenAI]:
    with listening(app) as address, openai.OpenAI(api_key="any", base_url=address, max_retries=0) as opened:
        yield opened


def test_create_look_download_delete(client: openai.OpenAI, server: Server, tmp_path: Path):
    said = client.videos.create(prompt="a red ball", seconds="4", size="1280x720", model="nano")
    assert (said.status, said.seconds, said.size, said.object) == ("queued", "4", "1280x720", "video")
    files = finish(server, tmp_path)
    seen = client.videos.retrieve(said.id)
    assert (seen.status, seen.progress, seen.error) == ("completed", 100, None)
    for variant in ("video", "thumbnail", "spritesheet"):
        assert client.videos.download_content(said.id, variant=variant).read() == files[variant]
    gone = client.videos.delete(said.id)
    assert (gone.id, gone.deleted, gone.object) == (said.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError) as caught:
        client.videos.retrieve(said.id)
    assert caught.value.code == "not_found"


def test_create_and_poll_waits_for_the_end(client: openai.OpenAI, server: Server, tmp_path: Path):
    with working(server, tmp_path):
        done = client.videos.create_and_poll(prompt="a red ball", seconds="4")
    assert done.status == "completed"


def test_a_failed_film_is_no_exception(client: openai.OpenAI, server: Server):
    said = client.videos.create(prompt="a red ball")
    fail(server, "out_of_memory", "it needs more memory")
    seen = client.videos.retrieve(said.id)
    assert seen.status == "failed"
    assert seen.error is not None
    assert (seen.error.code, seen.error.message) == ("out_of_memory", "it needs more memory")


def test_lists_are_paged(client: openai.OpenAI, server: Server):
    del server
    ids = [client.videos.create(prompt=f"ball {number}").id for number in range(5)]
    found = [each.id for each in client.videos.list(limit=2)]  # the client asks for every page
    assert found[:5] == ids[::-1]
    upwards = [each.id for each in client.videos.list(limit=100, order="asc")]
    assert upwards[-5:] == ids


def test_a_picture_goes_along(client: openai.OpenAI, server: Server, tmp_path: Path):
    path = write_image(tmp_path / "first.png")
    with path.open("rb") as file:
        said = client.videos.create(prompt="it falls", input_reference=file, size="96x64")  # pyright: ignore
    assert said.size == "96x64"
    found = begin(server)
    assert found is not None
    assert server.storage.size(found[1].spec["image"]) > 0


def test_dict_references_go_by_extra_body(client: openai.OpenAI, server: Server, tmp_path: Path):
    said = client.videos.create(prompt="a red ball", size="96x64")  # pyright: ignore
    finish(server, tmp_path)
    more = {"video": {"id": said.id}}
    edited = client.post("/videos/edits", body={"prompt": "in snow"} | more, cast_to=openai.types.Video)
    assert (edited.status, edited.size) == ("queued", "96x64")
    headers = {"Content-Type": "multipart/form-data"}
    extended = client.post(
        "/videos/extensions",
        body={"prompt": "on", "seconds": "4"} | more,
        files=[],
        options={"headers": headers},
        cast_to=openai.types.Video,
    )
    assert extended.seconds == "8"


def test_edit_extend_remix(client: openai.OpenAI, server: Server, tmp_path: Path):
    film = write_film(tmp_path / "film.mp4", frames=16)
    with film.open("rb") as file:
        assert client.videos.edit(prompt="in snow", video=file).seconds == "1"
    with film.open("rb") as file:
        extended = client.videos.extend(prompt="it goes on", seconds="4", video=file)
    assert extended.seconds == "5"
    finish(server, tmp_path)
    finish(server, tmp_path)
    remixed = client.videos.remix(extended.id, prompt="at night")
    assert remixed.remixed_from_video_id == extended.id
    assert remixed.seconds == "5"


def test_characters(client: openai.OpenAI, server: Server, tmp_path: Path):
    with write_film(tmp_path / "film.mp4").open("rb") as file:
        made = client.videos.create_character(name="Mossy", video=file)
    assert made.id is not None
    assert client.videos.get_character(made.id).name == "Mossy"
    more: dict[str, object] = {"characters": [{"id": made.id}]}
    assert client.videos.create(prompt="mossy runs", extra_body=more).status == "queued"
    found = begin(server)
    assert found is not None
    assert len(found[1].spec["characters"]) == 1
    with pytest.raises(openai.BadRequestError, match="Mossy"):
        client.videos.create(prompt="a dog runs", extra_body=more)


def test_images(client: openai.OpenAI, server: Server, tmp_path: Path):
    with working(server, tmp_path):
        made = client.images.generate(prompt="a cube", n=2, size="128x128", output_format="webp")  # pyright: ignore
    assert made.data is not None
    assert [bool(each.b64_json) for each in made.data] == [True, True]


def test_models(client: openai.OpenAI):
    (card,) = client.models.list()
    assert (card.id, card.owned_by) == ("nano", "unstatic")
    assert client.models.retrieve("nano").id == "nano"


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"seconds": "-1"}, openai.BadRequestError, "invalid_value"),
        ({"seconds": "1000000000"}, openai.BadRequestError, "invalid_value"),
        ({"size": "1280X720"}, openai.BadRequestError, "invalid_value"),
        ({"size": "1x1"}, openai.BadRequestError, "invalid_value"),
        ({"prompt": ""}, openai.BadRequestError, "invalid_value"),
        ({"prompt": "x" * 32_001}, openai.BadRequestError, "invalid_request"),
        ({"prompt": "a\0b"}, openai.BadRequestError, "invalid_request"),
        ({"model": "sora-2"}, openai.BadRequestError, "model_not_found"),
        ({"extra_body": {"sedd": 1}}, openai.BadRequestError, "unknown_parameter"),
    ],
)
def test_f22_absurd_values_are_errors_of_the_client(
    client: openai.OpenAI, fields: dict[str, Any], error: type[openai.APIStatusError], code: str
):
    with pytest.raises(error) as caught:
        client.videos.create(**({"prompt": "a ball"} | fields))
    assert caught.value.code == code
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("prompt", ["\u202eright to left", "zero\u200bwidth", "\U0001f3a5", " padded "])
def test_f22_strange_but_good_prompts_come_back_as_they_were(client: openai.OpenAI, prompt: str):
    assert client.videos.create(prompt=prompt).prompt == prompt


def test_f19_f20_an_answer_that_gets_lost_makes_no_second_job(client: openai.OpenAI, server: Server):
    del server
    seen: list[str] = []

    def lose(response: Any) -> None:
        seen.append(response.request.headers["x-stainless-retry-count"])
        if len(seen) == 1:
            raise ReadTimeout("the line broke", request=response.request)

    http_client = openai.DefaultHttpxClient(event_hooks={"response": [lose]})
    before = len(list(client.videos.list(limit=100)))
    patient = openai.OpenAI(api_key="any", base_url=client.base_url, max_retries=2, http_client=http_client)
    with patient:
        made = patient.videos.create(prompt="only once")
    assert seen == ["0", "1"]
    listed = list(client.videos.list(limit=100))
    assert listed[0].id == made.id
    assert len(listed) == before + 1


def test_f36_ids_reach_the_server_raw_and_are_not_found(client: openai.OpenAI):
    for name in ("../videos", "a/b", "..%2f..", "x" * 3_000):
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve(name)


def test_our_own_client_makes_the_film_that_it_planned(client: openai.OpenAI, server: Server, tmp_path: Path):
    model = find_remote(str(client.base_url))
    planned = plan(Request(prompt="a red ball", seconds=1, size=Size(96, 64), seed=5), model.manifest)

    with working(server, tmp_path) as asked:
        events = list(RemoteEngine(model, torch.device("cpu")).stream(planned))
    (spec,) = asked
    assert (spec["seconds"], spec["seed"], spec["size"]) == (1.0, 5, "96x64")
    assert sum(len(each.frames) for each in events if isinstance(each, Frames)) == 16
