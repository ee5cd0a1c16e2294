"""Log records of other libraries."""

from __future__ import annotations

import json
import logging
from typing import Any, Iterator, List

import pytest

import aegis_governance as aegis
from aegis_governance.telemetry.log_records import AegisHandler, OTelLogProcessor, seal_event_dict


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("program.of.somebody")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def test_a_handler_seals_what_was_given_in_extra(enricher: Any, decryptor: Any, logger: logging.Logger) -> None:
    taken: List[Any] = []
    pipeline = aegis.TelemetryPipeline()
    pipeline.add_enricher(enricher)
    pipeline.add_sink(taken.append)
    handler = AegisHandler(pipeline, level=logging.INFO)
    logger.addHandler(handler)
    logger.info("override %s", 7, extra={"actor_id": "alice", "tags": {"a"}, "when": object})
    logger.debug("not wanted")
    try:
        raise ValueError("alice in an exception")
    except ValueError:
        logger.exception("it failed")
    handler.flush()
    pipeline.close()
    first, second = taken
    assert first["message"] == "override 7" and first["level"] == "INFO" and first["logger"] == logger.name
    assert first["actor_id"]["_encrypted"] is True and first["tags"] == ["a"]
    assert decryptor(first)["actor_id"] == "alice"
    assert second["exception"] == "ValueError" and "test_log_records.py" in second["stack"][0]
    assert "alice" not in json.dumps(taken)


def test_a_handler_that_cannot_emit_says_so_and_not_what(enricher: Any, logger: logging.Logger, capsys: Any) -> None:
    pipeline = aegis.TelemetryPipeline()
    pipeline.add_enricher(enricher)
    pipeline.add_sink(print)
    pipeline.close()
    logger.addHandler(AegisHandler(pipeline))
    logger.info("secret message", extra={"actor_id": "alice"})
    said = capsys.readouterr().err
    assert "was lost (ClosedError)" in said and "secret" not in said and "alice" not in said


def test_what_a_pipeline_logs_does_not_go_through_it(enricher: Any) -> None:
    taken: List[Any] = []
    pipeline = aegis.TelemetryPipeline()
    pipeline.add_enricher(enricher)
    pipeline.add_sink(taken.append)
    root = logging.getLogger()
    handler = AegisHandler(pipeline)
    root.addHandler(handler)
    try:
        pipeline.emit("{")  # refused, which is logged
        assert pipeline.flush().refused == 1
    finally:
        root.removeHandler(handler)
        pipeline.close()
    assert taken == []


def test_a_full_pipeline_and_its_own_log_do_not_wait_for_each_other(enricher: Any) -> None:
    """The handler waits for room; the pipeline makes room only when what it logs got through."""
    taken: List[Any] = []
    pipeline = aegis.TelemetryPipeline(queue_events=1, workers=1)
    pipeline.add_enricher(lambda event: 1 / 0 if event.get("bad") else event)
    pipeline.add_enricher(enricher)
    pipeline.add_sink(taken.append)
    root = logging.getLogger()
    handler = AegisHandler(pipeline, timeout=20)
    root.addHandler(handler)
    try:
        for number in range(50):
            root.warning("record", extra={"bad": number % 2 == 0, "number": number})
        assert pipeline.flush().refused == 25
    finally:
        root.removeHandler(handler)
        pipeline.close()
    assert [event["number"] for event in taken] == list(range(1, 50, 2))


def test_a_structlog_processor_seals_before_the_renderer(enricher: Any, decryptor: Any) -> None:
    structlog = pytest.importorskip("structlog", reason="structlog is not installed")
    written: List[str] = []

    class Logger:
        def msg(self, text: str) -> None:
            written.append(text)

        info = msg

    log = structlog.wrap_logger(
        Logger(), processors=[seal_event_dict(enricher), structlog.processors.JSONRenderer()]
    )
    log.bind(actor_id="alice").info("override", requested_by={"name": "bob"}, at=object)
    event = json.loads(written[0])
    assert event["event"] == "override" and "alice" not in written[0] and "bob" not in written[0]
    assert decryptor(event)["requested_by"] == {"name": "bob"}


def test_an_opentelemetry_processor_seals_before_the_exporter(enricher: Any, decryptor: Any) -> None:
    logs = pytest.importorskip("opentelemetry.sdk._logs", reason="opentelemetry-sdk is not installed")
    export = pytest.importorskip("opentelemetry.sdk._logs.export")
    exporter = getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter
    exporter = exporter()
    provider = logs.LoggerProvider()
    provider.add_log_record_processor(OTelLogProcessor(enricher))
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(exporter))
    logger = logging.getLogger("otel.of.somebody")
    logger.propagate = False
    handler = logs.LoggingHandler(logger_provider=provider) if hasattr(logs, "LoggingHandler") else None
    if handler is None:
        pytest.skip("this OpenTelemetry has no handler for logging")
    logger.addHandler(handler)
    logger.warning("override", extra={"actor_id": "alice", "service": "web"})
    (finished,) = exporter.get_finished_logs()
    attributes = dict(finished.log_record.attributes)
    assert attributes["service"] == "web" and "alice" not in str(attributes)
    assert decryptor({"actor_id": json.loads(attributes["actor_id"])}) == {"actor_id": "alice"}
    provider.shutdown()
