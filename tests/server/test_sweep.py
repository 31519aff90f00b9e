"""What nobody needs is deleted, and nothing else, wherever a sweeper, a worker or a request is killed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from unstatic.server import jobs, queue
from unstatic.server.database import Database
from unstatic.server.jobs import Asked, Lease
from unstatic.server.settings import Settings, read_settings
from unstatic.server.storage import Storage, StorageError
from unstatic.server.sweep import AT_ONCE, DAY_S, LINGER_S, ROUND_S, STEADY_S, Sweeper
from unstatic.server.tables import Account, Character, Job, Remembered

MakeAccount = Callable[..., Account]
INPUTS = "uploads/acct_1/one"
KEEP_S = 5_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data=tmp_path)


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    name = f"{tmp_path.name}-{os.getpid()}-{time.monotonic_ns()}"
    return Storage.at(f"file://{tmp_path}/storage" if request.param == "file" else f"memory://{name}")


@pytest.fixture
def sweeper(database: Database, storage: Storage, settings: Settings, clock) -> Sweeper:
    """Return one whose clock has been right for long."""
    opened = Sweeper(database, storage, settings, monotonic=clock)
    opened.look()
    clock.now_s += STEADY_S
    opened.look()
    return opened


def ask(database: Database, account: Account, *, inputs: str | None = None, video: str | None = None) -> str:
    spec = {"inputs": inputs, "video": video}
    asked = Asked(kind="video", model="nano", prompt="p", spec=spec, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        return jobs.create(session, session.get_one(Account, account.id), asked, database.now()).id


def claim(database: Database) -> Lease:
    with database.writing() as session:
        found = queue.claim(session, "one", ["nano"], database.now())
    return found[0] if found else pytest.fail("nothing waits")


def write(storage: Storage, lease: Lease) -> None:
    """Write what a worker writes before it commits."""
    for name in ("video.mp4", "preview/000000", "preview/000001"):
        storage.put_bytes(f"{lease.prefix}/{name}", b"film")


def complete(database: Database, lease: Lease) -> None:
    with database.writing() as session:
        jobs.complete(session, lease, jobs.Made(keep_s=KEEP_S), database.now())


def lose(database: Database, lease: Lease, *, attempts: int = 3) -> None:
    reaper = queue.Reaper(database, lease_s=1.0, attempts=attempts)
    assert reaper.take_from("one") == [lease]


def delete(database: Database, account: Account, job_id: str) -> None:
    with database.writing() as session:
        job = jobs.find(session, account.id, job_id, lock=True)
        assert job is not None
        jobs.delete(session, job, database.now())


def keys(storage: Storage) -> list[str]:
    return sorted(each.key for root in ("jobs", "uploads") for each in storage.list(root))


def row(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.scalars(select(Job).where(Job.id == job_id)).one()


def make_film(database: Database, storage: Storage, account: Account, **asked: str) -> Lease:
    ask(database, account, **asked)
    lease = claim(database)
    write(storage, lease)
    complete(database, lease)
    return lease


def test_f3_of_what_a_killed_worker_left_nothing_stays_but_what_was_committed(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    ask(database, make_account(), inputs=INPUTS)
    storage.put_bytes(f"{INPUTS}/image.png", b"png")
    first = claim(database)
    write(storage, first)
    lose(database, first)
    second = claim(database)
    write(storage, second)
    sweeper.look()
    assert f"{second.prefix}/video.mp4" in keys(storage)  # it is being made
    assert f"{INPUTS}/image.png" in keys(storage)
    complete(database, second)

    sweeper.look()
    assert f"{second.prefix}/preview/000001" in keys(storage)  # somebody may be reading it
    clock.now_s += LINGER_S
    assert sweeper.look() == 1
    assert keys(storage) == [f"{second.prefix}/video.mp4"]
    assert sweeper.look() == 0
    assert row(database, second.job_id).swept_at is None


def test_f3_a_late_worker_writes_for_nobody(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    ask(database, make_account())
    late = claim(database)
    lose(database, late)
    lease = claim(database)
    write(storage, lease)
    complete(database, lease)
    clock.now_s += LINGER_S
    sweeper.look()
    write(storage, late)  # after its job was swept
    clock.now_s += ROUND_S
    sweeper.look()
    assert keys(storage) == [f"{lease.prefix}/video.mp4"]


def test_an_attempt_that_was_given_up_is_swept_while_the_next_is_made(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    ask(database, make_account())
    lost = claim(database)
    write(storage, lost)
    lose(database, lost)
    now = claim(database)
    storage.put_bytes(f"{now.prefix}/preview/000000", b"film")
    clock.now_s += ROUND_S
    assert sweeper.look() == 1
    assert keys(storage) == [f"{now.prefix}/preview/000000"]


def test_what_failed_leaves_nothing(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    ask(database, make_account(), inputs=INPUTS)
    storage.put_bytes(f"{INPUTS}/image.png", b"png")
    lease = claim(database)
    write(storage, lease)
    lose(database, lease, attempts=1)
    assert row(database, lease.job_id).status == "failed"
    clock.now_s += LINGER_S
    assert sweeper.look() == 1
    assert keys(storage) == []


def test_an_expired_film_goes_and_its_row_stays(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    lease = make_film(database, storage, make_account())
    clock.now_s += KEEP_S - 1
    sweeper.look()
    assert keys(storage) == [f"{lease.prefix}/video.mp4"]
    clock.now_s += 1
    assert sweeper.look() == 1
    assert keys(storage) == []
    found = row(database, lease.job_id)
    assert (found.status, found.deleted_at, found.swept_at) == ("completed", None, database.now())
    assert sweeper.look() == 0


def test_f11_by_a_clock_that_was_set_ahead_nothing_expires_at_once(
    database: Database, storage: Storage, settings: Settings, make_account: MakeAccount, clock
):
    lease = make_film(database, storage, make_account())
    own = [0.0]
    sweeper = Sweeper(database, storage, settings, monotonic=lambda: own[0])

    def go_on(seconds: float) -> None:
        own[0] += seconds
        clock.now_s += seconds
        sweeper.look()

    go_on(0.0)
    go_on(STEADY_S)
    clock.now_s += 365 * DAY_S
    for _ in range(5):
        go_on(STEADY_S / 6)
    assert f"{lease.prefix}/video.mp4" in keys(storage)
    clock.now_s -= 365 * DAY_S  # it is put right
    for _ in range(7):
        go_on(STEADY_S / 6)
    assert keys(storage) == [f"{lease.prefix}/video.mp4"]
    for _ in range(2):
        go_on(KEEP_S)
    assert keys(storage) == []


def test_f21_a_deleted_job_leaves_nothing_not_even_its_uploads(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount
):
    account = make_account()
    ended = make_film(database, storage, account)
    ask(database, account, inputs=INPUTS)
    storage.put_bytes(f"{INPUTS}/image.png", b"png")
    running = claim(database)
    write(storage, running)
    for job_id in (ended.job_id, running.job_id):
        delete(database, account, job_id)
    assert sweeper.look() == 2
    assert keys(storage) == []
    assert row(database, ended.job_id).swept_at == database.now()


def test_f21_what_a_running_worker_writes_after_the_deletion_goes_too(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    account = make_account()
    ask(database, account)
    running = claim(database)
    delete(database, account, running.job_id)
    sweeper.look()
    write(storage, running)
    clock.now_s += ROUND_S
    sweeper.look()
    assert keys(storage) == []


def test_f21_a_deleted_film_that_an_edit_takes_up_stays_until_the_edit_ends(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    account = make_account()
    source = make_film(database, storage, account)
    edit_id = ask(database, account, video=f"{source.prefix}/video.mp4")
    delete(database, account, source.job_id)
    for _ in range(2):
        clock.now_s += ROUND_S
        sweeper.look()
        assert f"{source.prefix}/video.mp4" in keys(storage)
    delete(database, account, edit_id)
    sweeper.look()
    assert keys(storage) == []


def test_f42_uploads_of_a_request_that_broke_off_go_after_a_day(
    database: Database, settings: Settings, tmp_path: Path, make_account: MakeAccount, clock
):
    storage = Storage.at(f"file://{tmp_path}/storage")
    account = make_account()
    ask(database, account, inputs="uploads/acct_1/named")
    for name in ("named", "broken", "young"):
        storage.put_bytes(f"uploads/acct_1/{name}/image.png", b"png")
    half = tmp_path / "storage/uploads/acct_1/broken/.half.png"
    half.touch()
    long_ago = time.time() - DAY_S - 60
    for name in ("named/image.png", "broken/image.png", "broken/.half.png"):
        os.utime(tmp_path / "storage/uploads/acct_1" / name, (long_ago, long_ago))
    sweeper = Sweeper(database, storage, settings, monotonic=clock)
    sweeper.look()
    clock.now_s += STEADY_S
    assert sweeper.look() == 1
    assert keys(storage) == ["uploads/acct_1/named/image.png", "uploads/acct_1/young/image.png"]
    assert not half.exists()


def test_f42_clips_that_no_character_and_no_active_job_names_go_after_a_day(
    database: Database, settings: Settings, tmp_path: Path, make_account: MakeAccount, clock
):
    storage, account = Storage.at(f"file://{tmp_path}/storage"), make_account()
    clips = {
        name: f"characters/{account.id}/{name}/clip.mp4"
        for name in ("kept", "taken", "orphan", "gone", "young")
    }
    for name, clip in clips.items():
        storage.put_bytes(clip, b"film")
        if name in ("kept", "gone"):
            keep_character(database, account, f"char_{name}", clip)
        if name != "young":
            os.utime(tmp_path / "storage" / clip, (time.time() - DAY_S - 60,) * 2)
    film = ask(database, account, video=clips["taken"])

    def left() -> list[str]:
        return sorted(each.key.split("/")[2] for each in storage.list("characters"))

    sweeper = Sweeper(database, storage, settings, monotonic=clock)
    for after_s in (0, STEADY_S, ROUND_S - 1):
        clock.now_s += after_s
        sweeper.look()
        assert left() == sorted(clips)  # whoever asked for a film just before it was deleted is served
    with database.writing() as session:
        session.delete(session.get_one(Character, "char_gone"))
    clock.now_s += 1
    assert sweeper.look() == 1
    assert left() == ["gone", "kept", "taken", "young"]
    delete(database, account, film)
    for _ in range(2):
        clock.now_s += ROUND_S
        sweeper.look()
    assert left() == ["kept", "young"]


def keep_character(database: Database, account: Account, name: str, clip: str) -> None:
    with database.writing() as session:
        session.add(Character(id=name, account_id=account.id, name="Mossy", clip=clip, created_at=1))


def test_two_jobs_that_share_uploads_need_them_both(
    database: Database, storage: Storage, sweeper: Sweeper, make_account: MakeAccount, clock
):
    account = make_account()
    storage.put_bytes(f"{INPUTS}/image.png", b"png")
    make_film(database, storage, account, inputs=INPUTS)
    other = ask(database, account, inputs=INPUTS)
    clock.now_s += LINGER_S
    sweeper.look()
    assert f"{INPUTS}/image.png" in keys(storage)
    delete(database, account, other)
    sweeper.look()
    assert f"{INPUTS}/image.png" not in keys(storage)


def test_f3_a_sweeper_killed_anywhere_is_gone_on_with(
    database: Database, storage: Storage, settings: Settings, make_account: MakeAccount, clock
):
    class Killed(BaseException):
        pass

    class Fragile(Storage):
        """Kills whoever deletes, after so many deletions."""

        left = 0

        def delete_tree(self, prefix: str) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1
            super().delete_tree(prefix)

    account = make_account()
    kept = make_film(database, storage, account, inputs=INPUTS)
    gone = make_film(database, storage, account, inputs="uploads/acct_1/two")
    for folder in (INPUTS, "uploads/acct_1/two"):
        storage.put_bytes(f"{folder}/image.png", b"png")
    delete(database, account, gone.job_id)
    storage.put_bytes(f"jobs/{kept.job_id}/7/video.mp4", b"orphan")
    clock.now_s += LINGER_S
    fragile = Fragile(storage.place)
    killed = 0
    for fragile.left in range(10):
        budget = fragile.left
        try:
            Sweeper(database, fragile, settings, monotonic=clock).look()
        except Killed:
            killed += 1
            assert f"{kept.prefix}/video.mp4" in keys(storage), budget
        else:
            break
    assert killed >= 3
    assert keys(storage) == [f"{kept.prefix}/video.mp4"]


def test_f8_a_storage_that_fails_keeps_nothing_else_from_being_swept(
    database: Database, storage: Storage, settings: Settings, make_account: MakeAccount, clock
):
    class Failing(Storage):
        """Fails for one job."""

        broken = ""

        def delete_tree(self, prefix: str) -> None:
            if self.broken and self.broken in prefix:
                raise StorageError("the disk is tired")
            super().delete_tree(prefix)

    account = make_account()
    films = [make_film(database, storage, account) for _ in range(3)]
    for film in films:
        delete(database, account, film.job_id)
    failing = Failing(storage.place)
    failing.broken = films[0].job_id
    sweeper = Sweeper(database, failing, settings, monotonic=clock)
    assert sweeper.look() == 2
    assert {each.split("/")[1] for each in keys(storage)} == {films[0].job_id}
    failing.broken = ""
    assert sweeper.look() == 1
    assert keys(storage) == []


def test_files_of_unknown_jobs_are_left_alone(storage: Storage, sweeper: Sweeper, clock):
    storage.put_bytes("jobs/video_of_another_server/1/video.mp4", b"film")
    clock.now_s += ROUND_S
    assert sweeper.look() == 0
    assert keys(storage) == ["jobs/video_of_another_server/1/video.mp4"]


def test_a_look_is_bounded_and_the_rest_has_its_turn(
    database: Database, settings: Settings, tmp_path: Path, make_account: MakeAccount, clock
):
    account, storage = make_account(), Storage.at(f"file://{tmp_path}/storage")
    for _ in range(AT_ONCE + 5):
        delete(database, account, ask(database, account))
    sweeper = Sweeper(database, storage, settings, monotonic=clock)
    assert [sweeper.look() for _ in range(3)] == [AT_ONCE, 5, 0]


def test_f18_keys_are_remembered_as_long_as_the_settings_say(
    database: Database, sweeper: Sweeper, make_account: MakeAccount, settings: Settings, clock
):
    account = make_account()
    with database.writing() as session:
        for number in range(AT_ONCE + 3):
            written = {"digest": "d", "status": 200, "body": {}, "created_at": database.now()}
            session.add(Remembered(account_id=account.id, key=f"key {number}", **written))
        session.flush()
        fresh = Remembered.key == "key 0"
        session.execute(update(Remembered).where(fresh).values(created_at=database.now() + 1))

    def left() -> int:
        with database.reading() as session:
            return session.scalar(select(func.count()).select_from(Remembered)) or 0

    clock.now_s += settings.remember
    sweeper.look()
    assert left() == AT_ONCE + 3
    clock.now_s += 1
    sweeper.look()
    assert left() == 3
    sweeper.look()
    assert left() == 1


def test_f20_what_tells_retries_apart_goes_as_soon_as_nothing_is_a_retry_of_it(
    database: Database, sweeper: Sweeper, make_account: MakeAccount, settings: Settings, clock
):
    account = make_account()
    with database.writing() as session:
        rows = {"key a": "video_1", "body a": "video_1", "body b": "char_1", "body of pictures": "image_1"}
        for key, made in rows.items():
            written = {"digest": "d", "status": 200, "body": {"ids": [made]}, "created_at": database.now()}
            session.add(Remembered(account_id=account.id, key=key, **written))
    clock.now_s += settings.retry_window
    assert sweeper.look() == 0
    clock.now_s += 1
    assert sweeper.look() == 2
    with database.reading() as session:
        kept = select(Remembered.key).order_by(Remembered.key)
        assert session.scalars(kept).all() == ["body of pictures", "key a"]
    clock.now_s += settings.remember
    assert sweeper.look() == 2


def test_sweeping_goes_on_until_little_is_left(
    database: Database, settings: Settings, tmp_path: Path, make_account: MakeAccount, clock
):
    account, storage = make_account(), Storage.at(f"file://{tmp_path}/storage")
    for _ in range(2 * AT_ONCE + 5):
        delete(database, account, ask(database, account))
    Sweeper(database, storage, settings, monotonic=clock).sweep()
    with database.reading() as session:
        assert session.scalar(select(func.count()).where(Job.swept_at.is_(None))) == 0


def test_f30_what_waits_for_a_model_that_nobody_offers_fails_after_a_while_and_is_paid_back(
    database: Database, make_account: MakeAccount, storage: Storage, settings: Settings, clock, caplog
):
    account, other = make_account(), make_account()
    offered, gone, elsewhere = [ask(database, account) for _ in range(3)]
    made = ask(database, other)
    with database.writing() as session:
        for job_id, model in ((gone, "gone"), (elsewhere, "elsewhere"), (made, "elsewhere")):
            session.execute(update(Job).where(Job.id == job_id).values(model=model))
        assert queue.claim(session, "another server's", ["elsewhere"], database.now()) is not None
    sweeper = Sweeper(database, storage, settings, monotonic=clock)
    sweeper.look()
    clock.now_s += STEADY_S
    for _ in range(2):
        sweeper.look()
    assert caplog.text.count("wait for models that nobody offers") == 1
    assert row(database, gone).status == "queued"
    clock.now_s += settings.unoffered
    sweeper.look()
    job = row(database, gone)
    assert (job.status, job.error_code) == ("failed", "model_not_found")
    assert {row(database, each).status for each in (offered, elsewhere, made)} == {"queued", "in_progress"}
    with database.reading() as session:
        assert session.get_one(Account, account.id).balance == 1_000 - 2
