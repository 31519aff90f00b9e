"""Characters: kept clips, seen by their account only."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import add_key, begin, client_of, write_film, write_image
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from unstatic.server.accounts import TIERS
from unstatic.server.state import Server
from unstatic.server.sweep import DAY_S, LINGER_S, STEADY_S, Sweeper
from unstatic.server.tables import Account, Character


def make(client: TestClient, film: Path, name: str = "Mossy", **headers: str):
    files = {"video": ("x.mp4", film.read_bytes())}
    return client.post("/v1/videos/characters", data={"name": name}, files=files, headers=headers)


def test_a_character_is_kept_and_used(client: TestClient, server: Server, tmp_path: Path):
    made = make(client, write_film(tmp_path / "film.mp4")).json()
    assert made == {
        "id": made["id"],
        "object": "character",
        "name": "Mossy",
        "description": None,
        "created_at": server.database.now(),
    }
    assert client.get(f"/v1/videos/characters/{made['id']}").json() == made
    assert len(list(server.storage.list("characters"))) == 1
    body = {"prompt": "MOSSY runs", "characters": [{"id": made["id"]}]}
    assert client.post("/v1/videos", json=body).status_code == 200
    said = client.post("/v1/videos", data={"prompt": "Mossy runs", "characters[][id]": made["id"]})
    assert said.status_code == 200
    said = client.post("/v1/videos", json=body | {"prompt": "a dog runs"})
    assert (said.status_code, said.json()["error"]["param"]) == (400, "characters")
    said = client.post("/v1/videos", json=body | {"prompt": "Mossyfoot runs"})
    assert (said.status_code, said.json()["error"]["param"]) == (400, "characters")


def test_a_description_goes_with_the_job(client: TestClient, server: Server, tmp_path: Path):
    film = write_film(tmp_path / "film.mp4").read_bytes()
    asked = {"name": "Mossy", "description": "a small green ball"}
    made = client.post("/v1/videos/characters", data=asked, files={"video": ("x.mp4", film)}).json()
    assert made["description"] == asked["description"]
    body = {"prompt": "Mossy rolls", "characters": [{"id": made["id"]}]}
    assert client.post("/v1/videos", json=body).status_code == 200
    found = begin(server)
    assert found is not None
    (role,) = found[1].spec["characters"]
    assert (role["name"], role["description"]) == ("Mossy", asked["description"])
    assert role["clip"].endswith("clip.mp4")
    assert found[1].prompt == "Mossy rolls"

    # As long as its prompt is what the model reads
    many = body | {"prompt": "Mossy " * 2_000}
    said = client.post("/v1/videos", json=many)
    assert (said.status_code, "shorten it" in said.json()["error"]["message"]) == (400, True)


def test_a_model_that_goes_on_from_no_clips_wants_words(client: TestClient, server: Server, tmp_path: Path):
    nano = server.manifests["nano"]
    assert isinstance(server.manifests, dict)
    server.manifests["wan"] = replace(nano, name="wan", expander="", given="nothing")
    files = {"video": ("x.mp4", write_film(tmp_path / "film.mp4").read_bytes())}
    answers = []
    for description in ({}, {"description": "a frog"}):
        data = {"name": "Mossy"} | description
        made = client.post("/v1/videos/characters", data=data, files=files).json()
        body = {"prompt": "Mossy rolls", "model": "wan", "characters": [{"id": made["id"]}]}
        answers.append(client.post("/v1/videos", json=body))
    assert [each.status_code for each in answers] == [400, 200]
    assert "wan goes on from no clips" in answers[0].json()["error"]["message"]


def test_a_film_that_goes_on_from_a_clip_begins_with_no_picture(
    client: TestClient, server: Server, tmp_path: Path
):
    assert isinstance(server.manifests, dict)
    server.manifests["plain"] = replace(server.manifests["nano"], name="plain", expander="")
    made = make(client, write_film(tmp_path / "film.mp4")).json()
    picture = {"input_reference": ("x.png", write_image(tmp_path / "x.png").read_bytes())}
    asked = {"prompt": "Mossy runs", "characters[][id]": made["id"]}
    assert client.post("/v1/videos", data=asked, files=picture).status_code == 200
    assert client.post("/v1/videos", data=asked | {"model": "plain"}).status_code == 200
    said = client.post("/v1/videos", data=asked | {"model": "plain"}, files=picture)
    assert (said.status_code, said.json()["error"]["param"]) == (400, "input_reference")
    assert "begins with no picture: leave it out" in said.json()["error"]["message"]


@pytest.mark.parametrize("description", ["", "x" * 501])
def test_descriptions_have_1_to_500_characters(client: TestClient, tmp_path: Path, description: str):
    files = {"video": ("x.mp4", write_film(tmp_path / "film.mp4").read_bytes())}
    data = {"name": "Mossy", "description": description}
    answer = client.post("/v1/videos/characters", data=data, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "description")


def test_two_characters_of_a_film_have_two_names(client: TestClient, tmp_path: Path):
    film = write_film(tmp_path / "film.mp4")
    ids = [{"id": make(client, film, name).json()["id"]} for name in ("Mossy", "MOSSY", "Rex")]
    same, other = {"characters": ids[:2]}, {"characters": ids[1:]}
    said = client.post("/v1/videos", json={"prompt": "Mossy meets Rex"} | same)
    assert (said.status_code, said.json()["error"]["param"]) == (400, "characters")
    assert client.post("/v1/videos", json={"prompt": "Mossy meets Rex"} | other).status_code == 200


def test_f15_one_key_makes_one_character(client: TestClient, tmp_path: Path, server: Server):
    film = write_film(tmp_path / "film.mp4")
    ids = {make(client, film, **{"Idempotency-Key": "k"}).json()["id"] for _ in range(2)}
    assert len(ids) == 1
    assert len(list(server.storage.list("characters"))) == 1
    assert make(client, film, "Other", **{"Idempotency-Key": "k"}).status_code == 422


def test_f18_a_key_of_a_character_that_was_deleted_makes_no_second(
    client: TestClient, tmp_path: Path, server: Server
):
    film, key = write_film(tmp_path / "film.mp4"), {"Idempotency-Key": "k"}
    made = make(client, film, **key).json()["id"]
    client.delete(f"/v1/videos/characters/{made}")
    assert make(client, film, **key).status_code == 404
    assert make(client, film).json()["id"] != made
    assert len(list(server.storage.list("characters"))) == 2  # the first one's is swept


def test_f21_a_character_is_deleted_once_and_films_that_wait_still_show_it(
    client: TestClient, server: Server, tmp_path: Path
):
    made = make(client, write_film(tmp_path / "film.mp4")).json()["id"]
    body = {"prompt": "Mossy runs", "characters": [{"id": made}]}
    assert client.post("/v1/videos", json=body).status_code == 200
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.delete(f"/v1/videos/characters/{made}"), range(4)))
    assert sorted(each.status_code for each in answers) == [200, 404, 404, 404]
    gone = {"id": made, "object": "character.deleted", "deleted": True}
    assert gone in [each.json() for each in answers]
    assert client.get(f"/v1/videos/characters/{made}").status_code == 404
    assert client.post("/v1/videos", json=body).status_code == 404
    assert len(list(server.storage.list("characters"))) == 1


def test_f42_an_account_keeps_as_many_characters_as_its_tier_may(
    client: TestClient, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(TIERS, "creator", replace(TIERS["creator"], characters=2))
    film = write_film(tmp_path / "film.mp4")
    with ThreadPoolExecutor(4) as pool:  # as many as may be looked at for one account
        answers = list(pool.map(lambda number: make(client, film, f"Mossy {number}"), range(6)))
    assert sorted(each.status_code for each in answers) == [200, 200, 403, 403, 403, 403]
    assert {each.json()["error"]["code"] for each in answers if each.status_code == 403} == {"tier_limit"}
    assert len(list(server.storage.list("characters"))) == 2
    kept = next(each.json()["id"] for each in answers if each.status_code == 200)
    assert client.delete(f"/v1/videos/characters/{kept}").status_code == 200
    assert make(client, film).status_code == 200


def test_f42_an_account_makes_no_more_than_twice_as_many_characters_a_day(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Any
):
    monkeypatch.setitem(TIERS, "creator", replace(TIERS["creator"], characters=2))
    film, codes = write_film(tmp_path / "film.mp4"), list[int]()
    for _ in range(6):
        answer = make(client, film)
        codes.append(answer.status_code)
        client.delete(f"/v1/videos/characters/{answer.json().get('id')}")
    assert codes == [200] * 4 + [429] * 2
    assert (answer.json()["error"]["code"], answer.headers["Retry-After"]) == ("daily_limit_exceeded", "120")
    clock.now_s += 86_400
    assert make(client, film).status_code == 200


def test_f42_a_clip_goes_soon_after_its_character_and_its_row_after_a_day(
    client: TestClient, server: Server, tmp_path: Path, clock: Any
):
    sweeper = Sweeper(server.database, server.storage, server.settings, monotonic=clock)
    sweeper.look()
    clock.now_s += STEADY_S
    film = write_film(tmp_path / "film.mp4")
    ids = [make(client, film, f"Mossy {number}").json()["id"] for number in range(3)]
    body = {"prompt": "Mossy 2 runs", "characters": [{"id": ids[2]}]}
    waiting = client.post("/v1/videos", json=body).json()["id"]

    def left() -> tuple[int, int]:
        with server.database.reading() as session:
            rows = session.scalar(select(func.count()).select_from(Character)) or 0
        return len(list(server.storage.list("characters"))), rows

    for name in ids[1:]:
        client.delete(f"/v1/videos/characters/{name}")
    for wait_s, clips in ((LINGER_S - 1, 3), (1, 2)):  # a film that waits shows one of them
        clock.now_s += wait_s
        sweeper.look()
        assert left() == (clips, 3)
    client.delete(f"/v1/videos/{waiting}")
    sweeper.look()
    assert left() == (1, 3)
    clock.now_s += DAY_S
    sweeper.look()
    assert left() == (1, 1)


@pytest.mark.parametrize("fault", ["database", "storage"])
def test_f8_a_character_that_could_not_be_kept_leaves_no_clip(
    client: TestClient, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
):
    def full(*_: object) -> None:
        raise (
            OperationalError("INSERT", {}, Exception("full")) if fault == "database" else OSError(28, "full")
        )

    if fault == "database":
        monkeypatch.setattr("unstatic.server.routes.characters._written", full)
    else:
        monkeypatch.setattr(server.storage.place, "put", full)
    assert make(client, write_film(tmp_path / "film.mp4")).status_code == 503
    assert list(server.storage.list("characters")) == []


def test_f32_another_accounts_character_is_not_there(
    client: TestClient, server: Server, make_account: Callable[..., Account], tmp_path: Path
):
    made = make(client, write_film(tmp_path / "film.mp4")).json()["id"]
    missing = "char_" + "0" * 32
    with client_of(client.app, add_key(server.database, make_account().id)) as stranger:
        answers = [stranger.get(f"/v1/videos/characters/{each}") for each in (made, missing)]
        assert answers[0].status_code == 404
        assert answers[0].text.replace(made, missing) == answers[1].text
        body = {"prompt": "Mossy runs", "characters": [{"id": made}]}
        assert stranger.post("/v1/videos", json=body).status_code == 404
        answers = [stranger.delete(f"/v1/videos/characters/{each}") for each in (made, missing, "../x")]
        assert [each.status_code for each in answers] == [404] * 3
        assert answers[0].text.replace(made, missing) == answers[1].text
    assert client.get(f"/v1/videos/characters/{made}").status_code == 200


@pytest.mark.parametrize("name", ["", "x" * 81])
def test_names_have_1_to_80_characters(client: TestClient, tmp_path: Path, name: str):
    answer = make(client, write_film(tmp_path / "film.mp4"), name)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")


def test_f40_a_clip_must_be_a_film(client: TestClient, server: Server, tmp_path: Path):
    for data in (b"ffconcat version 1.0\nfile 'a.mp4'\n", write_image(tmp_path / "a.png").read_bytes(), b""):
        answer = client.post("/v1/videos/characters", data={"name": "x"}, files={"video": ("x.mp4", data)})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "video")
    answer = client.post("/v1/videos/characters", data={"name": "x"})
    assert answer.status_code == 400
    assert list(server.storage.list("characters")) == []
