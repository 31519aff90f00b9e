"""Models: our own client plans with what is said of them."""

from starlette.testclient import TestClient

from unstatic.models.served import DIALECTS, served_manifest
from unstatic.server.state import Server


def test_our_own_client_understands_the_card(client: TestClient, server: Server):
    (card,) = client.get("/v1/models").json()["data"]
    assert client.get("/v1/models/nano").json() == card
    dialect = next(each for each in DIALECTS if each.owner == card["owned_by"])
    found, own = served_manifest(card, dialect), server.manifests["nano"]
    assert (found.name, found.fps, found.max_seconds) == ("nano", own.fps, own.max_seconds)
    assert str(found.sizes[0]) == "384x384"
    assert dialect.idempotent


def test_a_model_that_there_is_not(client: TestClient):
    answer = client.get("/v1/models/sora-2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
