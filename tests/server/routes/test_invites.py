"""Invites become accounts, once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving import client_of
from sqlalchemy import func, select
from starlette.testclient import TestClient

from unstatic.server import accounts
from unstatic.server.state import Server
from unstatic.server.tables import Account


def invited(server: Server) -> str:
    """Return the code of a new invite."""
    with server.database.writing() as session:
        _, code = accounts.invite(session, "creator", server.database.now(), credits_=7)
    return code


def test_a_code_becomes_an_account_with_a_key_once(app, server: Server):
    code = invited(server)
    with client_of(app, key=None) as client:
        assert (
            client.post("/v1/invites/redeem", json={"code": "invite-other", "name": "me"}).status_code == 404
        )
        said = client.post("/v1/invites/redeem", json={"code": code, "name": "me"})
        assert said.status_code == 200
        key = {"Authorization": f"Bearer {said.json()['key']}"}
        assert client.get("/v1/videos", headers=key).json()["data"] == []
        again = client.post("/v1/invites/redeem", json={"code": code, "name": "me"})
        assert (again.status_code, again.json()["error"]["code"]) == (404, "invalid_invite")
    with server.database.reading() as session:
        account = session.get_one(Account, said.json()["account_id"])
        assert (account.name, account.tier, account.balance) == ("me", "creator", 7)


def test_f19_an_answer_that_got_lost_is_given_again_with_another_key(app, server: Server, clock: Any):
    body = {"code": invited(server), "name": "me"}
    with client_of(app, key=None) as client:
        lost = client.post("/v1/invites/redeem", json=body).json()
        clock.now_s += 1
        said = client.post("/v1/invites/redeem", json=body).json()
        assert said["account_id"] == lost["account_id"]
        for answer, status in ((lost, 401), (said, 200)):
            key = {"Authorization": f"Bearer {answer['key']}"}
            assert client.get("/v1/videos", headers=key).status_code == status
        body["code"] = invited(server)
        assert client.post("/v1/invites/redeem", json=body).status_code == 200
        clock.now_s += server.settings.retry_window + 1
        assert client.post("/v1/invites/redeem", json=body).status_code == 404


@pytest.mark.parametrize("name", ["guest", "guest {}"])
def test_a_code_that_many_send_at_once_makes_one_account(app, server: Server, name: str):
    code = invited(server)
    with server.database.reading() as session:
        before = session.scalar(select(func.count()).select_from(Account))
    with client_of(app, key=None) as client, ThreadPoolExecutor(8) as pool:

        def take(number: int) -> int:
            body = {"code": code, "name": name.format(number)}
            return client.post("/v1/invites/redeem", json=body).status_code

        answers = list(pool.map(take, range(8)))
    assert sorted(answers) == [200] + [404] * 7
    with server.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == (before or 0) + 1


def test_a_body_that_is_wrong_is_refused(client: TestClient):
    for body in ({}, {"code": "x"}, {"code": "x", "name": ""}, {"code": "x", "name": "a", "tier": "admin"}):
        assert client.post("/v1/invites/redeem", json=body).status_code == 400
