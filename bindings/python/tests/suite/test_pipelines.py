"""Pipelines: order, refusals, sinks that fail, coroutines."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

import aegis_governance as aegis
from aegis_governance import errors


def started(enricher: Any, sink: Any, **options: Any) -> aegis.TelemetryPipeline:
    pipeline = aegis.TelemetryPipeline(**options)
    pipeline.add_enricher(enricher)
    pipeline.add_sink(sink)
    return pipeline


def test_events_arrive_sealed_in_order_and_once(enricher: Any, decryptor: Any) -> None:
    taken: List[Dict[str, Any]] = []
    with started(enricher, taken.append, workers=4) as pipeline:
        for number in range(1, 2001):
            event = {"number": number, "actor_id": f"user-{number}"}
            form = [event, json.dumps(event), json.dumps(event).encode()][number % 3]
            assert pipeline.emit(form) == number
        settled = pipeline.flush()
        assert settled.through == 2000 == pipeline.acknowledged
        assert "user-" not in json.dumps(taken)
    assert [event["number"] for event in taken] == list(range(1, 2001))
    assert decryptor.decrypt_batch(taken)[-1]["actor_id"] == "user-2000"
    assert not pipeline.is_running and pipeline.close().through == 2000


def test_functions_change_events_before_they_are_sealed(enricher: Any, decryptor: Any) -> None:
    def add_host(event: Dict[str, Any]) -> Dict[str, Any]:
        return {**event, "host": "h1", "signer_id": "from an enricher"}

    def count(event: bytes) -> str:
        return event.decode()[:-1] + ',"counted":true}'

    taken: List[Any] = []
    pipeline = aegis.TelemetryPipeline()
    pipeline.add_enricher(add_host)
    pipeline.add_enricher(count, form="bytes")
    pipeline.add_enricher(enricher)
    pipeline.add_sink(taken.append, form="bytes")
    pipeline.add_sink(lambda batch: taken.extend(batch), name="all", form="str", batch=True)
    with pipeline:
        pipeline.emit({"actor_id": "alice"})
    texts = sorted(taken, key=lambda text: isinstance(text, str))
    assert [type(text) for text in texts] == [bytes, str] and texts[0].decode() == texts[1]
    opened = json.loads(decryptor(texts[0]))
    assert opened == {"actor_id": "alice", "host": "h1", "signer_id": "from an enricher", "counted": True}
    assert b"from an enricher" not in texts[0]


@pytest.mark.parametrize(
    "function",
    [lambda event: 1 / 0, lambda event: None, lambda event: [event], lambda event: "{", lambda event: {1: 2}],
    ids=["raises", "returns nothing", "returns a list", "returns no JSON", "returns no event"],
)
def test_an_event_that_an_enricher_fails_at_goes_nowhere(enricher: Any, tmp_path: Path, function: Any) -> None:
    taken: List[Any] = []
    pipeline = aegis.TelemetryPipeline(dead_letters=tmp_path / "dead.jsonl")
    pipeline.add_enricher(lambda event: function(event) if event["bad"] else event)
    pipeline.add_enricher(enricher)
    pipeline.add_sink(taken.append)
    with pipeline:
        for bad in [False, True, False]:
            pipeline.emit({"bad": bad, "actor_id": "alice"})
        assert pipeline.flush().refused == 1
    assert [event["bad"] for event in taken] == [False, False]
    letters = (tmp_path / "dead.jsonl").read_text()
    assert len(letters.splitlines()) == 1 and "alice" not in letters


def test_nothing_is_sent_that_nothing_sealed(enricher: Any) -> None:
    pipeline = aegis.TelemetryPipeline()
    pipeline.add_sink(print)
    with pytest.raises(errors.StartError) as caught:
        pipeline.emit({})
    assert caught.value.kind == "NotSealedLast"
    pipeline.add_enricher(enricher)
    pipeline.add_enricher(lambda event: {**event, "actor_id": "back again"})
    with pytest.raises(errors.StartError) as caught:
        pipeline.start()
    assert caught.value.kind == "NotSealedLast"
    nowhere = aegis.TelemetryPipeline()
    nowhere.add_enricher(enricher)
    with pytest.raises(errors.StartError) as caught:
        nowhere.emit({})
    assert caught.value.kind == "NoSink"
    # What was missing can be added, and it goes on.
    taken: List[Any] = []
    nowhere.add_sink(taken.append)
    with nowhere:
        nowhere.emit({"a": 1})
    assert taken == [{"a": 1}]


def test_refuses_what_is_no_enricher_and_no_sink(enricher: Any) -> None:
    pipeline = aegis.TelemetryPipeline()
    for add in [pipeline.add_enricher, pipeline.add_sink]:
        with pytest.raises(TypeError):
            add(7)
        with pytest.raises(ValueError):
            add(print, form="xml")
    pipeline.add_sink(print, name="out")
    with pytest.raises(errors.StartError):
        pipeline.add_sink(print, name="out")
    for options in [{"when_full": "drop"}, {"workers": 10**6}]:
        with pytest.raises(ValueError):
            aegis.TelemetryPipeline(**options)
    pipeline.add_enricher(enricher)
    pipeline.add_sink(print, name="No Name")
    with pytest.raises(errors.StartError):
        pipeline.start()


def test_a_sink_that_fails_is_offered_the_event_again(enricher: Any, caplog: pytest.LogCaptureFixture) -> None:
    taken: List[int] = []
    failures = iter([True, True, False])

    def sink(event: Dict[str, Any]) -> None:
        if event["number"] == 5 and next(failures, False):
            raise ConnectionError("secret-token at /var/data")
        taken.append(event["number"])

    with started(enricher, sink) as pipeline:
        for number in range(10):
            pipeline.emit({"number": number})
    assert taken == list(range(10)), "in order, and none that was taken comes again"
    assert "ConnectionError" in caplog.text and "secret-token" not in caplog.text


def test_an_event_that_a_sink_refuses_for_good_is_given_up(enricher: Any) -> None:
    taken: List[int] = []

    def sink(event: Dict[str, Any]) -> None:
        if event["number"] in (3, 7):
            raise errors.SinkRefusedError("too odd")
        taken.append(event["number"])

    with started(enricher, sink) as pipeline:
        for number in range(10):
            pipeline.emit({"number": number})
        assert pipeline.flush().refused == 2
    assert taken == [0, 1, 2, 4, 5, 6, 8, 9]


def test_a_sink_that_is_down_is_said_and_its_spool_keeps_events(enricher: Any, tmp_path: Path) -> None:
    is_down = True
    taken: List[int] = []

    def sink(event: Dict[str, Any]) -> None:
        if is_down:
            raise OSError
        taken.append(event["number"])

    pipeline = started(enricher, sink)
    pipeline.emit({"number": 1})
    with pytest.raises(errors.FlushError, match="sink-1") as caught:
        pipeline.flush(0.2)
    assert caught.value.unsettled == 1
    with pytest.raises(errors.FlushError):
        pipeline.close(0.1)
    spooled = aegis.TelemetryPipeline()
    spooled.add_enricher(enricher)
    spooled.add_sink(sink, name="down", spool=tmp_path / "spool")
    for number in range(5):
        spooled.emit({"number": number, "actor_id": "alice"})
    assert spooled.flush().through == 5, "what is in a spool is acknowledged"
    spooled.close()
    assert b"alice" not in b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir() if path.is_file())
    # Whoever opens the spool next delivers what is in it.
    is_down = False
    later = aegis.TelemetryPipeline()
    later.add_enricher(enricher)
    later.add_sink(sink, name="down", spool=tmp_path / "spool")
    later.start()
    deadline = time.monotonic() + 20
    while len(taken) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    later.close()
    assert taken == [0, 1, 2, 3, 4]


def test_a_full_queue_makes_those_who_emit_wait_or_says_so(enricher: Any) -> None:
    gate = threading.Event()
    taken: List[Any] = []

    def sink(event: Any) -> None:
        gate.wait()
        taken.append(event)

    pipeline = started(enricher, sink, queue_events=4, workers=1)
    for number in range(4):
        assert pipeline.try_emit({"number": number}) == number + 1
    assert pipeline.try_emit({"number": 4}) is None
    with pytest.raises(errors.EmitError) as caught:
        pipeline.emit({"number": 4}, timeout=0.05)
    assert caught.value.kind == "NoRoom"
    waiting = threading.Thread(target=lambda: pipeline.emit({"number": 4}))
    waiting.start()
    gate.set()
    waiting.join()
    pipeline.close()
    assert [event["number"] for event in taken] == [0, 1, 2, 3, 4]
    with pytest.raises(errors.ClosedError):
        pipeline.emit({})
    with pytest.raises(errors.ClosedError):
        pipeline.add_sink(print)


def test_shedding_is_counted(enricher: Any) -> None:
    gate = threading.Event()
    pipeline = started(enricher, lambda event: gate.wait(), queue_events=2, when_full="shed")
    pipeline.emit({})
    pipeline.emit({})
    with pytest.raises(errors.EmitError) as caught:
        pipeline.emit({})
    assert caught.value.kind == "Shed"
    gate.set()
    assert pipeline.close().shed == 1


def test_hostile_events_are_refused_and_hold_up_nobody(enricher: Any, decryptor: Any) -> None:
    taken: List[Any] = []
    with started(enricher, taken.append) as pipeline:
        for event in [b"", "{", b"\xff", b"[" * 100_000, '{"actor_id":01}', b'{"a":1}\n{"b":2}']:
            pipeline.emit(event)
        for event in [{1: 2}, {"x": float("nan")}]:
            with pytest.raises(errors.EventError):
                pipeline.emit(event)
        with pytest.raises(errors.EmitError):
            pipeline.emit(b" " * (5 << 20))
        with pytest.raises(TypeError):
            pipeline.emit(7)
        pipeline.emit({"good": 1})
        assert pipeline.flush().refused == 7
    assert taken == [{"good": 1}]


def test_closing_wakes_those_who_wait_for_room(enricher: Any) -> None:
    gate = threading.Event()
    pipeline = started(enricher, lambda event: gate.wait(), queue_events=1)
    pipeline.emit({})
    raised: List[Any] = []

    def emit() -> None:
        try:
            pipeline.emit({})
        except errors.AegisError as error:
            raised.append(error)

    waiting = threading.Thread(target=emit)
    waiting.start()
    time.sleep(0.1)
    with pytest.raises(errors.FlushError):
        pipeline.close(0.3)
    waiting.join(10)
    gate.set()
    assert [type(error) for error in raised] == [errors.ClosedError]


def test_coroutines_emit_without_holding_up_the_loop(enricher: Any) -> None:
    taken: List[Any] = []
    gate = threading.Event()

    def sink(event: Any) -> None:
        gate.wait()
        taken.append(event["number"])

    async def main() -> int:
        pipeline = started(enricher, sink, queue_events=8)
        async with pipeline:
            emitting = [asyncio.ensure_future(pipeline.aemit({"number": n})) for n in range(50)]
            for turns in range(20):  # others run, although the queue is full
                await asyncio.sleep(0.005)
            gate.set()
            await asyncio.gather(*emitting)
            settled = await pipeline.aflush()
            assert settled.through == 50
        return turns

    assert asyncio.run(main()) == 19
    assert sorted(taken) == list(range(50))


def test_a_file_has_a_line_an_event(enricher: Any, decryptor: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = aegis.FileSink(path)
    with started(enricher, sink) as pipeline:
        for number in range(10):
            pipeline.emit({"number": number, "actor_id": "alice", "text": "two\nlines"})
    lines = path.read_text().splitlines()
    assert path.stat().st_mode & 0o777 == 0o600 and "alice" not in path.read_text()
    assert [json.loads(decryptor(line))["number"] for line in lines] == list(range(10))
    again = aegis.TelemetryPipeline()
    with pytest.raises(errors.StartError):
        again.add_sink(sink)
    with pytest.raises(errors.PipelineError):
        aegis.FileSink(tmp_path / "none" / "events.jsonl")


@pytest.fixture
def receiver() -> Iterator[Any]:
    """An HTTP server that fails at first."""
    requests: List[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(503 if len(requests) == 1 else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_receiver_gets_batches_and_the_same_key_when_it_is_asked_again(enricher: Any, receiver: Any) -> None:
    url, requests = receiver
    with started(enricher, aegis.HTTPSink(url + "/in", headers={"X-Team": "red"})) as pipeline:
        pipeline.emit({"actor_id": "alice"})
    assert len(requests) == 2 and requests[0][2] == requests[1][2]
    keys = {headers["idempotency-key"] for _, headers, _ in requests}
    assert len(keys) == 1 and requests[1][0] == "/in" and requests[1][1]["x-team"] == "red"
    assert b"alice" not in requests[1][2] and requests[1][2].count(b"\n") == 1


def test_sinks_refuse_settings_that_would_leak(enricher: Any) -> None:
    for make in [
        lambda: aegis.HTTPSink("http://example.org/", bearer_token="token-of-somebody"),
        lambda: aegis.HTTPSink("http://user:password@127.0.0.1/"),
        lambda: aegis.HTTPSink("gopher://127.0.0.1/"),
        lambda: aegis.OTLPSink("https://example.org", ca_file="/does/not/exist.pem"),
    ]:
        with pytest.raises(errors.PipelineError) as caught:
            make()
        assert "token-of-somebody" not in str(caught.value) and "password@" not in str(caught.value)
    with pytest.raises(TypeError):
        aegis.HTTPSink("https://example.org", bearer_token="a", basic=("b", "c"))
    with pytest.raises(TypeError):
        aegis.NATSSink("nats://127.0.0.1:1", "events", user="u")


def test_a_pipeline_follows_a_rotation_while_it_runs(kek: Any, tmp_path: Path) -> None:
    keyring = aegis.Keyring.create(str(tmp_path / "keyring.db"), kek)
    enricher = keyring.enricher()
    taken: List[Any] = []
    with started(enricher, taken.append) as pipeline:
        pipeline.emit({"actor_id": 0})
        second = keyring.rotate()
        deadline = time.monotonic() + 20
        number = 0
        while not taken or taken[-1]["actor_id"]["_dek_version"] != second:
            assert time.monotonic() < deadline
            number += 1
            pipeline.emit({"actor_id": number})
            pipeline.flush()
            time.sleep(0.02)
    opened = aegis.PIIDecryptor(keyring).decrypt_batch(taken)
    assert [event["actor_id"] for event in opened] == list(range(number + 1))
    assert len({event["actor_id"]["_dek_version"] for event in taken}) == 2


def test_metrics_are_those_of_the_crate(enricher: Any) -> None:
    pipeline = started(enricher, lambda event: None)
    assert pipeline.metrics() == ""
    pipeline.emit({"actor_id": 1})
    pipeline.flush()
    assert "aegis" in pipeline.metrics()
    pipeline.close()


def test_what_goes_wrong_is_in_the_log_without_its_content(enricher: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="aegis_governance"):
        with started(enricher, lambda event: None) as pipeline:
            pipeline.emit(b'{"actor_id":"alice in the log"')
    assert any(record.aegis.get("reason") == "not_json" for record in caplog.records)
    assert "alice" not in caplog.text
