"""A real pre-forking server: the master imports, seals and opens before it forks, as `--preload` has it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List

import pytest

import aegis_governance as aegis

APPLICATION = """
import json, os
import aegis_governance as aegis

# In the master: a sender context, an opened key and a running pipeline are there before the fork.
kek = aegis.EnvironmentKEKProvider.from_environment()
enricher = aegis.create_pii_enricher(kek.get_public_key(), "dek-v1-20260101")
decryptor = aegis.PIIDecryptor(kek)
assert decryptor(enricher({"actor_id": "master"}))["actor_id"] == "master"
master = aegis.TelemetryPipeline()
master.add_enricher(enricher)
master.add_sink(aegis.FileSink("master.jsonl"))
master.emit({"actor_id": "master"})
master.flush()
mine = {}


def pipeline():
    if os.getpid() not in mine:
        made = mine[os.getpid()] = aegis.TelemetryPipeline(workers=1)
        made.add_enricher(enricher)
        made.add_sink(aegis.FileSink(f"worker-{os.getpid()}.jsonl"))
    return mine[os.getpid()]


def application(environ, start_response):
    event = {"pid": os.getpid(), "actor_id": environ["PATH_INFO"]}
    try:
        master.emit(event)
        refused = "not refused"
    except aegis.errors.ForkedError:
        refused = "ForkedError"
    pipeline().emit(event)
    sealed = enricher(event)
    assert decryptor(sealed) == event
    body = json.dumps({"pid": os.getpid(), "refused": refused, "sealed": sealed}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return json.load(answer)


def test_the_workers_of_gunicorn_seal_open_and_lose_nothing(tmp_path: Path, environment: Any) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (tmp_path / "application.py").write_text(APPLICATION)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3", "--bind", "127.0.0.1:0"]
    command += ["--max-requests", "15", "--graceful-timeout", "20", "--no-control-socket", "application"]
    with open(log, "w") as output:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        while not (found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert time.monotonic() < deadline and server.poll() is None, log.read_text()
            time.sleep(0.05)
        port = int(found[1])

        def ask(number: int) -> Any:
            while True:
                try:
                    return get(port, f"/{number}")
                except (urllib.error.URLError, ConnectionError):
                    # A worker that ends after its requests may take no more.
                    assert time.monotonic() < deadline, log.read_text()

        # More than three workers may answer, so that some end and others are forked meanwhile.
        with ThreadPoolExecutor(6) as pool:
            answers: List[Any] = list(pool.map(ask, range(90)))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    pids = {answer["pid"] for answer in answers}
    assert len(pids) > 3 and os.getpid() not in pids
    assert {answer["refused"] for answer in answers} == {"ForkedError"}
    decryptor = aegis.PIIDecryptor(aegis.EnvironmentKEKProvider.from_environment())
    boxes = [answer["sealed"]["actor_id"]["_ciphertext"] for answer in answers]
    assert len({box[:1492] for box in boxes}) >= len(pids), "no process goes on with the sender context of another"
    assert [decryptor(answer["sealed"])["actor_id"] for answer in answers] == [f"/{number}" for number in range(90)]
    # What each worker emitted is in its file: pipelines are closed when the worker ends.
    written = [json.loads(line) for path in tmp_path.glob("worker-*.jsonl") for line in path.read_text().splitlines()]
    assert {event["actor_id"] for event in decryptor.decrypt_batch(written)} >= {f"/{number}" for number in range(90)}
    assert len((tmp_path / "master.jsonl").read_text().splitlines()) == 1
