"""A request and the job that it asks for are one trace."""

from collections.abc import Iterator

import pytest
from collector import collecting
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from unstatic.server import jobs
from unstatic.server.database import Database
from unstatic.server.metrics import Metrics
from unstatic.server.settings import read_settings
from unstatic.server.tables import Account
from unstatic.server.telemetry import Telemetry
from unstatic.server.tracing import Tracing, provider_of, trace_to

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    opened = Tracing(provider_of(SimpleSpanProcessor(exporter)))
    yield opened
    opened.close()


def test_a_job_goes_on_with_the_trace_of_its_request(
    database: Database, tracing: Tracing, exporter: InMemorySpanExporter, make_account
):
    app, account = FastAPI(), make_account()

    @app.post("/videos/{name}")
    def create(name: str) -> str:
        asked = jobs.Asked(
            kind="video",
            model="nano",
            prompt=name,
            spec={},
            size="128x128",
            seconds=4.0,
            cost=1,
            trace=tracing.current(),
        )
        with database.writing() as session:
            return jobs.create(session, session.get_one(Account, account.id), asked, database.now()).id

    app.add_middleware(Telemetry, metrics=Metrics(database), tracing=tracing)
    job_id = TestClient(app).post("/videos/fox", headers={"traceparent": PARENT}).json()
    with database.reading() as session:
        job = jobs.find(session, account.id, job_id)
    assert job is not None
    with tracing.span("job", parent=job.trace) as span:
        span.end("job", {"job.id": job.id})

    request, work = exporter.get_finished_spans()
    assert request.name == "POST /videos/{name}"
    assert request.attributes == {"http.route": "/videos/{name}", "http.status": 200}
    assert {f"{trace_of(each):032x}" for each in (request, work)} == {PARENT[3:35]}
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT[36:52]
    assert work.parent is not None
    assert request.context is not None
    assert work.parent.span_id == request.context.span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def test_f34_an_error_is_traced_without_its_words(tracing: Tracing, exporter: InMemorySpanExporter):
    with pytest.raises(ValueError, match="fox"), tracing.span("job"):
        raise ValueError("a red fox")
    [span] = exporter.get_finished_spans()
    assert span.status.description == "ValueError"
    assert "fox" not in span.to_json()


def test_without_an_endpoint_nothing_is_traced():
    tracing = trace_to(None)
    with tracing.span("job", parent=PARENT) as span:
        span.end("job", {"a": 1})
        assert tracing.current() is None
    tracing.close()


def test_the_usual_variable_says_where_traces_go(monkeypatch: pytest.MonkeyPatch):
    assert read_settings().otlp_endpoint is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://usual:4318")
    assert read_settings().otlp_endpoint == "http://usual:4318"
    monkeypatch.setenv("UNSTATIC_SERVE_OTLP_ENDPOINT", "http://own:4318")
    assert read_settings().otlp_endpoint == "http://own:4318"
    assert read_settings(otlp_endpoint="http://said:4318").otlp_endpoint == "http://said:4318"


def test_a_collector_receives_them():
    with collecting() as collector:
        tracing = trace_to(collector.endpoint)
        with tracing.span("job"):
            pass
        tracing.close()
    assert [span.name for span in collector.spans] == ["job"]
