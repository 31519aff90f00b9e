"""Traces of OpenTelemetry, where somebody collects them: a span for every request and every job.

A job carries the context of the request that asked for it, so that both are one trace, whoever makes it.
"""

import importlib.util
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

log = logging.getLogger(__name__)


class Span:
    """A piece of work that is being done, or nothing where nobody collects traces."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def end(self, name: str, attributes: Mapping[str, str | int]) -> None:
        """Name it by what is known at its end."""
        if self._span is not None:
            self._span.update_name(name)
            self._span.set_attributes(dict(attributes))


class Tracing:
    """Makes spans. Without a provider it makes none, and costs nothing."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider

    @contextmanager
    def span(self, name: str, *, parent: str | None = None) -> Generator[Span]:
        """Trace a block, as part of `parent`, a traceparent of W3C. Errors are told by their kind only."""
        if self._provider is None:
            yield Span()
            return
        from opentelemetry.trace import Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {})
        tracer = self._provider.get_tracer("unstatic")
        with tracer.start_as_current_span(
            name, context=context, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield Span(span)
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def current(self) -> str | None:
        """Return the traceparent of the span that this runs in, for a job to carry."""
        if self._provider is None:
            return None
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider is not None:
            self._provider.shutdown()


def trace_to(endpoint: str | None) -> Tracing:
    """Return what traces to an OTLP endpoint (HTTP), or traces nothing if there is none."""
    if endpoint is None:
        return Tracing()
    if not all(_is_installed(package) for package in PACKAGES):
        log.warning("nothing is traced: install opentelemetry-exporter-otlp-proto-http")
        return Tracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    return Tracing(provider_of(BatchSpanProcessor(exporter)))


def provider_of(processor: "SpanProcessor") -> "TracerProvider":
    """Return what gives a processor every span."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(resource=Resource.create({"service.name": "unstatic"}))
    provider.add_span_processor(processor)
    return provider


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False
