"""Pipelines from the configuration of `aegis pipeline run`, and the keyring of `aegis init` shared with its commands."""

from __future__ import annotations

import asyncio
import fcntl
import json
import random
import re
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, List

import pytest

import aegis_governance as aegis
from aegis_governance import errors

MINIMAL = """
[source]
kind = "stdin"

[[enricher]]
kind = "pii"

[[sink]]
kind = "file"
path = "sealed.jsonl"
"""


@pytest.fixture
def state(tmp_path: Path, kek: aegis.KEKProvider) -> Path:
    """A state directory with a keyring, as `aegis init` makes it."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    aegis.Keyring.create(str(directory / "keyring.sqlite"), kek)
    return directory


RESERVED: List[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that is free, and none of those that the kernel hands out by itself at any time.

    It is reserved while this process lives by the name that the tests in Rust reserve ports by (`test_services::guarded`).
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = [port for port in range(10_240, 65_536) if not first <= port <= last]
    for port in random.sample(ports, len(ports)):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0aegis test port {port}")
            with socket.socket() as free:
                free.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        RESERVED.append(reservation)
        return port
    raise AssertionError("all ports of 127.0.0.1 that a test may take are taken")


def configured(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    return path


def test_a_pipeline_is_what_its_configuration_says(tmp_path: Path, state: Path, kek: Any) -> None:
    text = MINIMAL.replace('kind = "pii"', 'kind = "pii"\nenvelope = "compact"\ntenant = "acme"') + """
[[sink]]
name = "collector"
kind = "http"
url = "http://127.0.0.1:9/ingest"

[pipeline]
spool = "spool"
dead_letters = "letters.jsonl"
drain_timeout = "7s"
metrics = "127.0.0.1:0"
"""
    pipeline = aegis.TelemetryPipeline.from_config(configured(tmp_path, text), state_dir=state)
    assert type(pipeline) is aegis.TelemetryPipeline and not pipeline.is_running and pipeline.drain_timeout == 7
    taken: List[Dict[str, Any]] = []
    # Beside what the file has: before its enricher, and one sink more.
    pipeline.add_enricher(lambda event: {**event, "host": "web-1"})
    pipeline.add_sink(taken.append, name="mine")
    with pipeline:
        for number in range(50):
            pipeline.emit({"number": number, "actor_id": f"user-{number}"})
        with pytest.raises(errors.AegisError):
            pipeline.emit({"actor_id": float("nan")})
        pipeline.emit("{")  # refused by the workers
        settled = pipeline.flush()
        assert settled.through == 51 and settled.refused == 1 and settled.letters_lost == 0
    keys = aegis.Keyring.in_state_dir(state, kek)
    opened = aegis.PIIDecryptor(keys, tenant="acme").decrypt_batch(taken)
    assert [event["actor_id"] for event in opened] == [f"user-{number}" for number in range(50)]
    assert {event["host"] for event in opened} == {"web-1"} and all("_aegis" in event for event in taken)
    lines = (tmp_path / "sealed.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == taken
    assert len((tmp_path / "letters.jsonl").read_text().splitlines()) == 1
    assert list((tmp_path / "spool" / "collector").iterdir()), "the receiver was away"
    assert keys.versions()[0]["messages"] == 50, "what was sealed is counted in the keyring"


def test_metrics_are_answered_while_it_runs(tmp_path: Path, state: Path) -> None:
    port = free_port()
    text = MINIMAL + f'[pipeline]\nmetrics = "127.0.0.1:{port}"\n'
    with aegis.TelemetryPipeline.from_config(configured(tmp_path, text), state_dir=state) as pipeline:
        pipeline.emit({"actor_id": 1})
        pipeline.flush()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            assert re.search(r"^aegis_telemetry_events_total 1$", answer.read().decode(), re.M)


def test_a_public_key_does_without_a_keyring(tmp_path: Path, pair: Any) -> None:
    import base64

    (tmp_path / "dek.pub").write_text(base64.b64encode(pair[1]).decode())
    text = MINIMAL.replace('kind = "pii"', 'kind = "pii"\ndek_version = "dek-v1-20260101"\npublic_key_file = "dek.pub"')

    class Mine(aegis.TelemetryPipeline):
        pass

    async def main() -> None:
        pipeline = Mine.from_config(str(configured(tmp_path, text)), state_dir=tmp_path / "nowhere")
        assert type(pipeline) is Mine
        async with pipeline:
            await pipeline.aemit({"actor_id": "alice"})

    asyncio.run(main())
    sealed = (tmp_path / "sealed.jsonl").read_text()
    assert json.loads(aegis.PIIDecryptor({"dek-v1-20260101": pair[0]})(sealed)) == {"actor_id": "alice"}


REFUSED = {
    "no TOML": ("[source", "pipeline.toml"),
    "nothing": ("", "source"),
    "no sink": (MINIMAL.split("[[sink]]")[0], "sink"),
    "no enricher": (MINIMAL.replace('[[enricher]]\nkind = "pii"', ""), "enricher"),
    "a key that means nothing": (MINIMAL + "colour = 1\n", "colour"),
    "a secret that is written down": (
        MINIMAL + '[[sink]]\nkind = "http"\nurl = "https://x/"\nbearer_token = "s3cret"\n',
        "bearer_token",
    ),
    "a path into the state directory": (MINIMAL.replace("sealed.jsonl", "state/keyring.sqlite"), "path"),
    "a directory that is not there": (MINIMAL.replace("sealed.jsonl", "nowhere/sealed.jsonl"), "nowhere"),
    "a scope without a DEK": (MINIMAL.replace('kind = "pii"', 'kind = "pii"\nscope = "other"'), "other"),
}


@pytest.mark.parametrize("text,said", REFUSED.values(), ids=REFUSED)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, state: Path, text: str, said: str) -> None:
    with pytest.raises((errors.PipelineError, errors.KeyringError)) as caught:
        aegis.TelemetryPipeline.from_config(configured(tmp_path, text), state_dir=state)
    assert said in str(caught.value) and "s3cret" not in str(caught.value)


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path, state: Path) -> None:
    with pytest.raises(errors.PipelineError):
        aegis.TelemetryPipeline.from_config(tmp_path / "none.toml", state_dir=state)
    with pytest.raises(errors.KeyringError):
        aegis.TelemetryPipeline.from_config(configured(tmp_path, MINIMAL), state_dir=tmp_path / "nowhere")
    with pytest.raises(TypeError):
        aegis.TelemetryPipeline.from_config(7)  # type: ignore[arg-type]


def audited(state: Path) -> List[str]:
    logs = sorted((state / "audit").rglob("*"))
    text = "".join(path.read_text(errors="replace") for path in logs if path.is_file())
    return re.findall(r'"action":"(dek\.\w+)"', text)


def test_a_rotator_takes_the_lock_of_the_commands_and_is_in_the_log(state: Path, kek: Any) -> None:
    told: List[Any] = []
    keyring = aegis.Keyring.in_state_dir(state, kek)
    keyring.enricher().encrypt_batch([{"actor_id": 1}] * 3)
    first = keyring.active_version()
    with open(state / "aegis.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rotator = aegis.DEKRotator(keyring, max_messages=1, on_rotation=lambda *versions: told.append(versions))
        rotator.start()
        time.sleep(0.5)
        assert not told and keyring.active_version() == first, "a command holds the lock"
        fcntl.flock(lock, fcntl.LOCK_UN)
        deadline = time.monotonic() + 20
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        rotator.stop()
    assert told == [(first, keyring.active_version())]
    assert audited(state) == ["dek.rotate"] and not list((state / "pending").iterdir())


def test_a_rotator_that_has_nothing_to_do_takes_no_lock(state: Path, kek: Any) -> None:
    with aegis.DEKRotator(aegis.Keyring.in_state_dir(state, kek), max_messages=10):
        time.sleep(0.2)
    assert not (state / "aegis.lock").exists() and not (state / "audit").exists()
