"""Invites become accounts, once."""

from concurrent.futures import ThreadPoolExecutor

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
        again = client.post("/v1/invites/redeem", json={"code": code, "name": "me"})
        assert (again.status_code, again.json()["error"]["code"]) == (404, "invalid_invite")
        key = {"Authorization": f"Bearer {said.json()['key']}"}
        assert client.get("/v1/videos", headers=key).json()["data"] == []
    with server.database.reading() as session:
        account = session.get_one(Account, said.json()["account_id"])
        assert (account.name, account.tier, account.balance) == ("me", "creator", 7)


def test_a_code_that_many_send_at_once_makes_one_account(app, server: Server):
    code = invited(server)
    with server.database.reading() as session:
        before = session.scalar(select(func.count()).select_from(Account))
    with client_of(app, key=None) as client, ThreadPoolExecutor(8) as pool:
        body = {"code": code, "name": "me"}
        answers = list(pool.map(lambda _: client.post("/v1/invites/redeem", json=body).status_code, range(8)))
    assert sorted(answers) == [200] + [404] * 7
    with server.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == (before or 0) + 1


def test_a_body_that_is_wrong_is_refused(client: TestClient):
    for body in ({}, {"code": "x"}, {"code": "x", "name": ""}, {"code": "x", "name": "a", "tier": "admin"}):
        assert client.post("/v1/invites/redeem", json=body).status_code == 400
