"""A worker with the real `nano`, films of a quarter of a second."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_video_servers import MODEL, FakeServer, serving
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving import write_film
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError, UnstaticError
from unstatic.generate.api import Model
from unstatic.generate.engine import UnknownArgumentError
from unstatic.media.probe import probe
from unstatic.server import jobs
from unstatic.server.app import create_app
from unstatic.server.database import Database
from unstatic.server.filming import picture_bytes
from unstatic.server.jobs import Asked, LostLeaseError
from unstatic.server.settings import Settings
from unstatic.server.spec import Role, Spec
from unstatic.server.storage import Storage
from unstatic.server.tables import Account, Job
from unstatic.server.tracing import Tracing, provider_of
from unstatic.server.worker import OUT_OF_ORDER, Worker

pytestmark = pytest.mark.plain  # real films

SPEC = Spec(task="create", prompt="a red ball bounces on grass", seed=3, seconds=0.25)
MakeAccount = Callable[..., Account]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at(f"file://{tmp_path}/files", {})


@pytest.fixture
def worker(database: Database, storage: Storage, nano: Model, tmp_path: Path) -> Worker:
    settings = Settings(data=tmp_path)
    return Worker(settings, database, storage, name="worker", find_model=lambda _: nano)


def ask(database: Database, account: Account, spec: Spec = SPEC, *, model: str = "nano") -> str:
    asked = Asked(
        kind="image" if spec.task == "image" else "video",
        model=model,
        prompt=spec.prompt,
        spec=spec.to_json(),
        size="128x128",
        seconds=0.25,
        cost=1,
    )
    with database.writing() as session:
        return jobs.create(session, session.get_one(Account, account.id), asked, database.now()).id


def row(database: Database) -> Job:
    with database.reading() as session:
        return session.get_one(Job, 1)


def test_a_job_becomes_files(
    worker: Worker, database: Database, storage: Storage, make_account: MakeAccount, tmp_path: Path
):
    assert not worker.work_once()
    ask(database, make_account())
    assert worker.work_once()
    job = row(database)
    assert (job.status, job.progress, job.output) == ("completed", 100, f"jobs/{job.id}/1")
    assert job.expires_at is not None
    storage.fetch(f"{job.output}/video.mp4", tmp_path / "video.mp4")
    assert probe(tmp_path / "video.mp4").num_frames == 4 == job.facts["frames"]
    for name in ("thumbnail.webp", "spritesheet.jpg", "preview/000000"):
        assert storage.size(f"{job.output}/{name}") > 100


def test_f46_the_same_seed_makes_the_same_file_at_a_second_attempt(
    worker: Worker, database: Database, storage: Storage, make_account: MakeAccount
):
    account = make_account()
    made: list[bytes] = []
    for number in (1, 2):
        ask(database, account)
        worker.work_once()
        with database.reading() as session:
            made.append(storage.read_bytes(f"{session.get_one(Job, number).output}/video.mp4", 10**7))
    assert made[0] == made[1]


def test_an_extension_goes_on_from_a_file_of_the_storage(
    worker: Worker, database: Database, make_account: MakeAccount
):
    account = make_account()
    ask(database, account)
    worker.work_once()
    source = f"{row(database).output}/video.mp4"
    ask(database, account, replace(SPEC, task="extend", video=source, seconds=0.25))
    worker.work_once()
    with database.reading() as session:
        job = session.get_one(Job, 2)
    assert job.error_message is None
    assert job.facts["frames"] == 8


def test_a_film_of_one_frame_fails_and_is_paid_back(
    worker: Worker, database: Database, storage: Storage, make_account: MakeAccount
):
    account = make_account()
    ask(database, account, replace(SPEC, seconds=0.05))
    assert worker.work_once()
    job = row(database)
    assert (job.status, job.error_code, job.output) == ("failed", "invalid_request", None)
    assert "/v1/images" in (job.error_message or "")
    assert list(storage.list("jobs")) == []
    with database.reading() as session:
        assert session.get_one(Account, account.id).balance == 1_000


def test_a_character_is_filmed_in_words(
    worker: Worker, database: Database, storage: Storage, make_account: MakeAccount, tmp_path: Path
):
    storage.put_file("characters/x/clip.mp4", write_film(tmp_path / "clip.mp4"))
    roles = (
        Role(name="Mossy", clip="characters/x/clip.mp4", description="a green ball"),
        Role(name="Rex", clip="characters/x/clip.mp4"),
    )
    prompt = "Mossy rolls to the left on grass in daylight. Rex is behind it."
    ask(database, make_account(), replace(SPEC, prompt=prompt, characters=roles))
    worker.work_once()
    job = row(database)
    assert (job.status, job.error_message) == ("completed", None)
    assert job.facts["text"].startswith("a green ball rolls")
    assert any(each.startswith("Rex is filmed as a") for each in job.facts["warnings"])


def test_a_still_is_a_picture(
    worker: Worker, database: Database, storage: Storage, make_account: MakeAccount
):
    ask(database, make_account(), replace(SPEC, task="image", seconds=None))
    worker.work_once()
    assert storage.read_bytes(f"{row(database).output}/picture.png", 10**7).startswith(b"\x89PNG")


def test_a_picture_is_edited(worker: Worker, database: Database, storage: Storage, make_account: MakeAccount):
    storage.put_bytes("inputs/x/image.png", picture_bytes(np.full((128, 128, 3), 90, np.uint8), "PNG"))
    ask(database, make_account(), replace(SPEC, task="image", seconds=None, image="inputs/x/image.png"))
    worker.work_once()
    job = row(database)
    assert (job.status, job.error_message) == ("completed", None)
    assert storage.exists(f"{job.output}/picture.png")


def test_what_the_model_cannot_do_fails_and_names_no_folder(
    worker: Worker, database: Database, storage: Storage, make_account: MakeAccount
):
    storage.put_bytes("inputs/x/video.mp4", b"no film")
    ask(database, make_account(), replace(SPEC, task="extend", video="inputs/x/video.mp4"))
    worker.work_once()
    job = row(database)
    assert (job.status, job.error_code) == ("failed", "invalid_request")
    assert job.error_message is not None
    assert "the video" in job.error_message
    assert "/" not in job.error_message


def test_f21_a_job_that_is_deleted_meanwhile_stops_at_the_next_step_and_leaves_no_file(
    worker: Worker,
    database: Database,
    storage: Storage,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
):
    account = make_account(balance=1)
    ask(database, account)
    beats = 0
    beat = jobs.beat

    def delete_first(session, lease, progress):
        nonlocal beats
        beats += 1
        jobs.delete(session, session.get_one(Job, 1), database.now())
        session.flush()
        beat(session, lease, progress)

    def once_deleted(session, lease, progress):
        with pytest.raises(LostLeaseError):
            delete_first(session, lease, progress)
        session.commit()
        raise LostLeaseError(lease.job_id)

    monkeypatch.setattr(jobs, "beat", once_deleted)
    assert worker.work_once()
    job = row(database)
    assert (beats, job.status, job.error_code, job.prompt, job.output) == (1, "failed", "cancelled", "", None)
    assert list(storage.list("jobs")) == []
    with database.reading() as session:
        assert session.get_one(Account, account.id).balance == 1


@pytest.mark.parametrize(
    ("error", "code", "exits"),
    [
        (MemoryError(), "out_of_memory", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", True),
        (RuntimeError("CUDA error: device-side assert triggered"), "internal_error", True),
        (KeyError("m\u0131a"), "internal_error", True),
        (UnstaticError("the server of the model is away"), "generation_failed", False),
        (UnknownArgumentError("it knows no negative prompt: leave it out"), "invalid_request", False),
    ],
)
def test_f13_what_goes_wrong_has_a_code_and_a_broken_process_ends(
    worker: Worker,
    database: Database,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
    nano: Model,
    error: Exception,
    code: str,
    exits: bool,
):
    def fails(*_: object, **__: object):
        raise error

    monkeypatch.setattr(nano, "stream_plan", fails)
    ask(database, make_account())
    if exits:
        with pytest.raises(SystemExit) as left:
            worker.work_once()
        assert left.value.code == OUT_OF_ORDER
    else:
        worker.work_once()
    assert (row(database).status, row(database).error_code, row(database).attempts) == ("failed", code, 1)
    message = row(database).error_message or ""
    assert "CUDA" not in message
    assert ("leave it out" in message) == isinstance(error, UnknownArgumentError)


@pytest.mark.parametrize("where", ["of the storage", "of the worker"])
def test_f8_a_full_disk_fails_the_job_and_the_next_one_is_made(
    where: str,
    worker: Worker,
    database: Database,
    storage: Storage,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
):
    account = make_account()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    ask(database, account)
    with monkeypatch.context() as patched:
        if where == "of the storage":
            patched.setattr(type(storage.place), "put", full)
        else:
            patched.setattr("unstatic.media.write.av.open", full)
        worker.work_once()
    job = row(database)
    code = "storage_full" if where == "of the storage" else "storage_failed"
    assert (job.status, job.error_code) == ("failed", code)
    ask(database, account)
    worker.work_once()
    with database.reading() as session:
        assert session.get_one(Job, 2).status == "completed"


@pytest.mark.parametrize("answer", ["refused", "lost"])
def test_f9_a_film_outlives_a_database_that_fails_when_it_is_done(
    answer: str,
    worker: Worker,
    database: Database,
    storage: Storage,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
):
    """Whether nothing was written, or all was and only the answer did not come."""
    ask(database, make_account())
    complete, writing, failed = jobs.complete, database.writing, list[str]()

    def fail() -> None:
        failed.append(answer)
        raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    def refusing(*given: Any) -> None:
        if answer == "refused" and len(failed) < 2:
            fail()
        complete(*given)

    @contextmanager
    def losing() -> Iterator[Session]:
        with writing() as session:
            yield session
        if answer == "lost" and not failed and row(database).status == "completed":
            fail()

    monkeypatch.setattr(jobs, "complete", refusing)
    monkeypatch.setattr(database, "writing", losing)
    monkeypatch.setattr("unstatic.server.worker.DATABASE_PAUSE_S", 0.01)
    worker.work_once()
    job = row(database)
    assert (job.status, job.attempts, job.output) == ("completed", 1, f"jobs/{job.id}/1")
    assert storage.size(f"{job.output}/video.mp4") > 1_000
    assert failed


def test_f10_a_worker_that_is_told_to_stop_gives_its_job_back_as_if_it_had_not_begun(
    database: Database, storage: Storage, nano: Model, make_account: MakeAccount, tmp_path: Path
):
    settings = Settings(data=tmp_path, drain=1e-6)
    worker = Worker(settings, database, storage, name="worker", find_model=lambda _: nano)
    ask(database, make_account())
    worker.ask_to_stop()
    worker.work_once()
    job = row(database)
    assert (job.status, job.worker, job.attempts) == ("in_progress", None, 0)
    assert list(storage.list("jobs")) == []


def test_f10_a_signal_at_any_moment_stops_an_idle_worker(
    database: Database, storage: Storage, nano: Model, tmp_path: Path
):
    settings, dice = Settings(data=tmp_path, poll=0.001), random.Random(0)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        for _ in range(60):
            worker = Worker(settings, database, storage, name="worker", find_model=lambda _: nano)
            # As in `run`: in the thread that works, in the middle of anything
            signal.signal(signal.SIGUSR1, lambda _, __, one=worker: one.ask_to_stop())
            late = threading.Timer(dice.uniform(0, 0.02), os.kill, (os.getpid(), signal.SIGUSR1))
            late.start()
            worker.run()
            late.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_worker_beats_while_a_model_is_loaded(
    database: Database, storage: Storage, nano: Model, make_account: MakeAccount, tmp_path: Path
):
    arrived = threading.Event()

    def slow(_: str) -> Model:
        arrived.wait(0.3)
        return nano

    settings = Settings(data=tmp_path, lease=0.3)
    worker = Worker(settings, database, storage, name="worker", find_model=slow)
    ask(database, make_account())
    worker.work_once()
    assert row(database).beat >= 4
    assert row(database).status == "completed"


@pytest.mark.parametrize("error", [MemoryError(), InputError("the weights take 9 GB, and 4 GB are free")])
def test_a_model_for_which_there_is_no_room_is_loaded_when_the_others_are_gone(
    database: Database,
    storage: Storage,
    nano: Model,
    make_account: MakeAccount,
    tmp_path: Path,
    error: Exception,
):
    settings, loaded = Settings(data=tmp_path), list[list[str]]()

    def find_model(_: str) -> Model:
        loaded.append([*worker.loaded])
        if worker.loaded:
            raise error
        return nano

    worker = Worker(settings, database, storage, name="worker", find_model=find_model)
    worker.loaded["larger"] = nano
    ask(database, make_account())
    assert worker.work_once()
    assert loaded == [["larger"], []]
    assert row(database).status == "completed"


def test_a_model_on_another_server_is_offered_like_one_of_this_machine(
    database: Database, storage: Storage, make_account: MakeAccount, tmp_path: Path
):
    film = write_film(tmp_path / "film.mp4").read_bytes()
    with serving(FakeServer("sglang", lambda _: film, polls=0)) as other:
        settings = Settings(data=tmp_path, models=(other.url,))
        app = create_app(settings, database=database, storage=storage)
        assert list(app.state.server.manifests) == [MODEL]
        worker = Worker(settings, database, storage, name="worker")
        ask(database, make_account(), model=MODEL)
        assert worker.work_once()
    job = row(database)
    assert (job.status, job.error_message) == ("completed", None)
    assert storage.exists(f"{job.output}/video.mp4")


@pytest.mark.parametrize(
    "error",
    [
        InputError("there are no weights at /srv/other: reinstall the model"),
        UnstaticError("http://10.0.0.7/v1 does not answer"),
        OSError(5, "Input/output error", "/srv/other"),
    ],
)
def test_f13_f24_a_model_that_cannot_be_loaded_fails_no_job_at_once_and_says_nothing_to_clients(
    database: Database, storage: Storage, make_account: MakeAccount, tmp_path: Path, error: Exception
):
    """Else a worker whose disk or whose server is gone would fail the whole queue in a moment."""

    def broken(_: str) -> Model:
        raise error

    settings = Settings(data=tmp_path, attempts=2)
    worker = Worker(settings, database, storage, name="worker", find_model=broken)
    ask(database, make_account())
    for seen in (("in_progress", None, 1), ("failed", "worker_lost", 2)):
        with pytest.raises(SystemExit) as left:
            worker.work_once()
        assert left.value.code == OUT_OF_ORDER
        job = row(database)
        assert (job.status, job.error_code, job.attempts) == seen
        assert (job.worker, job.error_message) in ((None, None), (None, "the work on it broke off 2 times"))


@pytest.mark.parametrize(
    ("code", "seen"), [(401, "is kept"), (403, "is kept"), (404, "is kept"), (400, "fails"), (422, "fails")]
)
def test_f13_f24_what_another_server_refuses_is_said_to_the_operator_only(
    database: Database,
    storage: Storage,
    make_account: MakeAccount,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    code: int,
    seen: str,
):
    with serving(FakeServer("sglang", lambda _: b"", faults=[("POST /videos", code)])) as other:
        worker = Worker(Settings(data=tmp_path, models=(other.url,)), database, storage, name="worker")
        ask(database, make_account(), model=MODEL)
        if seen == "is kept":  # the next job would be refused too
            with pytest.raises(SystemExit):
                worker.work_once()
        else:
            assert worker.work_once()
    job = row(database)
    assert other.url in caplog.text
    if seen == "is kept":
        assert (job.status, job.worker, job.error_message) == ("in_progress", None, None)
    else:
        message = "the model refused it: ask for another size, length or prompt"
        assert (job.status, job.error_code, job.error_message) == ("failed", "generation_failed", message)


def test_a_job_goes_on_with_the_trace_that_its_row_carries(
    database: Database, storage: Storage, nano: Model, make_account: MakeAccount, tmp_path: Path
):
    exporter = InMemorySpanExporter()
    tracing = Tracing(provider_of(SimpleSpanProcessor(exporter)))
    worker = Worker(
        Settings(data=tmp_path), database, storage, name="worker", find_model=lambda _: nano, tracing=tracing
    )
    ask(database, make_account())
    with database.writing() as session:
        session.get_one(Job, 1).trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    worker.work_once()
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert dict(span.attributes or {}) == {"job.kind": "video", "job.model": "nano", "job.attempts": 1}
