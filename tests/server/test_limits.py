"""How much may be asked for, and how long to wait: what is said is when it works again."""

import base64
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import add_key, application, client_of, write_image
from starlette.testclient import TestClient

from unstatic.server import accounts, jobs, ledger, limits, queue
from unstatic.server.accounts import TIERS
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.jobs import Asked
from unstatic.server.limits import Rates
from unstatic.server.settings import Settings
from unstatic.server.tables import Account

MakeAccount = Callable[..., Account]


def opened(database: Database, tier: str) -> Account:
    with database.writing() as session:
        account = accounts.open_account(session, "Ada", tier, database.now())
        ledger.grant(session, account.id, 10**6, "test", database.now())
        return account


def ask(database: Database, account: Account, seconds: float = 1.0, **settings: object) -> str:
    asked = Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=seconds, cost=1)
    with database.writing() as session:
        held = session.get_one(Account, account.id, with_for_update=True)
        limits.check_new_job(session, held, seconds, database.now(), Settings(**settings))
        return jobs.create(session, held, asked, database.now()).id


def refusal(database: Database, account: Account, seconds: float = 1.0, **settings: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask(database, account, seconds, **settings)
    return caught.value


def end(database: Database, job_id: str) -> None:
    """End a job so that it waits no more, but counts."""
    with database.writing() as session:
        job = session.query(jobs.Job).filter_by(id=job_id).one()
        jobs.transition(session, job, jobs.IN_PROGRESS, database.now())
        jobs.transition(session, job, jobs.COMPLETED, database.now())


def check_wait(error: ApiError, code: str, wait_s: int) -> None:
    assert (error.status, error.code) == (429, code)
    assert error.headers == {"Retry-After": str(wait_s)}


# ----------------------------------------------------------------------------------------- requests of a key


def test_f25_a_bucket_says_when_it_has_one_again():
    now_s = [0.0]
    rates = Rates(30, monotonic=lambda: now_s[0])
    for _ in range(30):
        rates.take("one")
    with pytest.raises(ApiError) as caught:
        rates.take("one")
    check_wait(caught.value, "rate_limit_exceeded", 2)
    rates.take("other")
    now_s[0] = 1.5
    with pytest.raises(ApiError) as caught:
        rates.take("one")
    check_wait(caught.value, "rate_limit_exceeded", 1)
    now_s[0] = 2.0
    rates.take("one")
    now_s[0] = 10_000.0
    for _ in range(30):  # a long silence fills the bucket, not more
        rates.take("one")
    with pytest.raises(ApiError):
        rates.take("one")


def test_f25_threads_get_together_what_one_would_get():
    rates = Rates(500, monotonic=lambda: 0.0)

    def take(_: int) -> bool:
        try:
            rates.take("one")
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(5_000))) == 500


def test_buckets_of_many_keys_are_forgotten_the_oldest_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MOST_BUCKETS", 2)
    rates = Rates(1, monotonic=lambda: 0.0)
    for name in "abc":
        rates.take(name)
    rates.take("a")
    with pytest.raises(ApiError):
        rates.take("c")


def test_f25_requests_are_counted_by_key_over_http(database: Database, account: Account, tmp_path: Path):
    app = application(tmp_path, database, reads=3)
    with client_of(app, add_key(database, account.id)) as one:
        answers = [one.get("/v1/videos") for _ in range(4)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429]
        assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    with client_of(app, add_key(database, account.id)) as other:
        assert other.get("/v1/videos").status_code == 200


# --------------------------------------------------------------------------------------- films of an account


def test_f25_films_a_minute(database: Database, clock: Any):
    viewer, other = opened(database, "viewer"), opened(database, "viewer")
    for _ in range(TIERS["viewer"].films):
        ask(database, viewer)
        clock.now_s += 5
    check_wait(refusal(database, viewer), "rate_limit_exceeded", 40)
    ask(database, other)
    clock.now_s += 39
    check_wait(refusal(database, viewer), "rate_limit_exceeded", 1)
    clock.now_s += 1
    ask(database, viewer)
    check_wait(refusal(database, viewer), "rate_limit_exceeded", 5)


def test_f25_an_account_whose_tier_was_lowered_waits_for_as_many_as_are_too_many(
    database: Database, clock: Any
):
    account = opened(database, "creator")
    for _ in range(6):
        ask(database, account)
        clock.now_s += 5
    with database.writing() as session:
        accounts.change_tier(session, account.id, "viewer")
    check_wait(refusal(database, account), "rate_limit_exceeded", 40)  # until the third is a minute old
    clock.now_s += 40
    ask(database, account)


def test_f25_seconds_a_day_of_what_did_not_fail(database: Database, clock: Any):
    account, failed = opened(database, "viewer"), []
    for number in range(16):  # 16 x 8 s; one of them fails
        job_id = ask(database, account, 8.0)
        if number == 3:
            with database.writing() as session:
                found = jobs.find(session, account.id, job_id, lock=True)
                assert found is not None
                jobs.cancel(session, found, database.now())
            failed.append(job_id)
        else:
            end(database, job_id)
        clock.now_s += 1_000
    assert failed
    check_wait(refusal(database, account, 8.0), "daily_limit_exceeded", 120)  # in truth much longer
    clock.now_s += 86_400 - 16_000 - 10
    check_wait(refusal(database, account, 8.0), "daily_limit_exceeded", 10)
    check_wait(refusal(database, account, 2.0), "daily_limit_exceeded", 10)
    clock.now_s += 10
    ask(database, account, 8.0)


def test_f25_of_what_was_cancelled_the_share_that_was_made_counts(database: Database, clock: Any):
    viewer = opened(database, "viewer")
    for progress in (50, 100, 0):
        for _ in range(8):  # of 8 s each
            job_id = ask(database, viewer, 8.0)
            with database.writing() as session:
                job = jobs.find(session, viewer.id, job_id, lock=True)
                assert job is not None
                jobs.transition(session, job, jobs.IN_PROGRESS, database.now())
                job.progress = progress
                jobs.cancel(session, job, database.now())
            clock.now_s += 20
    for _ in range(3):  # 32 + 64 + 0, and 8 each, of 120
        ask(database, viewer, 8.0)
        clock.now_s += 20
    assert refusal(database, viewer, 1.0).code == "daily_limit_exceeded"


def test_f26_many_accounts_at_once_do_not_overfill_the_queue(database: Database):
    many = [opened(database, "creator") for _ in range(16)]
    for _ in range(9):
        ask(database, many[0])
    together = threading.Barrier(len(many))

    def take(account: Account) -> str:
        together.wait()
        try:
            ask(database, account, max_queue=10)
        except ApiError as error:
            return str(error.code)
        return "made"

    with ThreadPoolExecutor(len(many)) as pool:
        assert sorted(pool.map(take, many)) == ["made", *["queue_full"] * 15]


def test_f26_what_lost_its_worker_waits_again(database: Database):
    account = opened(database, "creator")
    ask(database, account)
    with database.writing() as session:
        assert queue.claim(session, "one", ["nano"], database.now()) is not None
        assert queue.waiting(session) == queue.waiting(session, account.id) == 0
    queue.Reaper(database, lease_s=60.0, attempts=3).take_from("one")
    with database.reading() as session:
        assert queue.waiting(session) == queue.waiting(session, account.id) == 1


def test_f26_a_full_queue(database: Database):
    one, other = opened(database, "creator"), opened(database, "admin")
    for account in (one, other):
        ask(database, account, max_queue=2)
    for account in (one, other):
        check_wait(refusal(database, account, max_queue=2), "queue_full", 30)
    ask(database, one, max_queue=3)


def test_f26_one_account_cannot_fill_the_queue(database: Database, clock: Any):
    viewer, other = opened(database, "viewer"), opened(database, "viewer")
    waiting = []
    for _ in range(TIERS["viewer"].waiting):
        waiting.append(ask(database, viewer))
        clock.now_s += 20
    check_wait(refusal(database, viewer), "queue_full", 30)
    ask(database, other)
    end(database, waiting[0])
    ask(database, viewer)


def test_f34_a_film_that_is_longer_than_the_tier_makes(database: Database):
    error = refusal(database, opened(database, "viewer"), 9.0)
    assert (error.status, error.code, error.param) == (403, "tier_limit", "seconds")
    ask(database, opened(database, "creator"), 9.0)


def test_f34_viewers_send_no_files_however_they_send_them(database: Database, app: Any, tmp_path: Path):
    key = add_key(database, opened(database, "viewer").id)
    picture = write_image(tmp_path / "a.png").read_bytes()
    inlined = {"image_url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}
    with client_of(app, key) as client:
        form = {"prompt": "a red ball", "seconds": "4"}
        answers = [
            client.post("/v1/videos", data=form, files={"input_reference": ("a.png", picture)}),
            client.post("/v1/videos", json=form | {"input_reference": inlined}),
            client.post("/v1/videos/characters", data={"name": "Ada"}, files={"video": ("a.mp4", picture)}),
        ]
        assert [each.status_code for each in answers] == [403, 403, 403]
        assert {each.json()["error"]["code"] for each in answers} == {"tier_limit"}
        assert client.post("/v1/videos", json=form).status_code == 200


def test_f25_limits_hold_over_http_and_nothing_is_left_of_what_was_refused(
    client: TestClient, database: Database, account: Account
):
    body = {"prompt": "a red ball", "seconds": 4}
    codes = [client.post("/v1/videos", json=body).status_code for _ in range(TIERS["creator"].films)]
    assert set(codes) == {200}
    answer = client.post("/v1/videos", json=body)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    with database.reading() as session:
        made = session.query(jobs.Job).count()
        assert made == TIERS["creator"].films
        assert session.get_one(Account, account.id).balance == 1_000 - 4 * made


def test_f25_too_few_credits_say_when_to_ask_again(client: TestClient, database: Database, account: Account):
    with database.writing() as session:
        ledger.grant(session, account.id, -998, "test", database.now())
    answer = client.post("/v1/videos", json={"prompt": "a red ball", "seconds": 4})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "120")
    assert answer.json()["error"]["code"] == "insufficient_quota"


def test_f25_many_at_once_get_no_more_than_one_by_one(database: Database):
    account = opened(database, "viewer")

    def take(_: int) -> bool:
        try:
            ask(database, account)
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(take, range(12))) == TIERS["viewer"].films


# ---------------------------------------------------------------------------------------- what steps take


def test_f27_who_asks_for_more_steps_pays_for_them_and_waits_behind_others(
    client: TestClient, database: Database, account: Account
):
    bodies = [{}, {"num_inference_steps": 1}, {"num_inference_steps": 60}, {"num_inference_steps": 1_000}]
    ids = [client.post("/v1/videos", json={"prompt": "a ball"} | each).json()["id"] for each in bodies]
    with database.writing() as session:
        costs = [session.query(jobs.Job).filter_by(id=each).one().cost for each in ids]
        session.get_one(Account, account.id).concurrency = len(ids)
    assert costs == [4, 4, 40, 667]  # of 4 seconds, for which `nano` takes 6 steps
    times = [0.0]
    for _ in ids:
        with database.writing() as session:
            assert queue.claim(session, "one", ["nano"], database.now()) is not None
            times.append(session.get_one(Account, account.id).virtual_time)
    assert [later - sooner for sooner, later in itertools.pairwise(times)] == costs
    picture = {"prompt": "a ball", "size": "96x64", "num_inference_steps": 1_000, "n": 2}
    answer = client.post("/v1/images/generations", json=picture)
    assert answer.json()["error"]["message"].startswith("this needs 167 credits")
