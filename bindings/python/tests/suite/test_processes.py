"""Forks, threads, and the end of the interpreter: nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest

import aegis_governance as aegis

COMMON = """
import json, os, signal, sys, threading, time
import aegis_governance as aegis
from aegis_governance import errors
key = bytes.fromhex(open(sys.argv[1]).read())
enricher = aegis.create_pii_enricher(key, "dek-v1-20260101")
"""


@pytest.fixture
def key(tmp_path: Path, kek: Any) -> str:
    path = tmp_path / "key"
    path.write_text(kek.get_public_key().hex())
    return str(path)


Program = Callable[..., "subprocess.CompletedProcess[str]"]


def ok(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_child_seals_and_shares_no_nonce_with_its_parent(program: Program, key: str, decryptor: Any) -> None:
    output = ok(program(COMMON + """
import multiprocessing
def work(number):
    return [enricher({"actor_id": number, "n": n}) for n in range(50)]
for event in range(10):
    enricher({"actor_id": event})  # a sender context is there before the fork
with multiprocessing.get_context("fork").Pool(4) as pool:
    batches = pool.map(work, range(8))
batches.append(work("parent"))
print(json.dumps([event for batch in batches for event in batch]))
""", key))
    events = json.loads(output)
    assert len(events) == 450
    import base64

    boxes = [base64.b64decode(event["actor_id"]["_ciphertext"]) for event in events]
    assert len({box[:1120] + box[1120:1132] for box in boxes}) == 450
    assert len({box[:1120] for box in boxes}) >= 5, "no process goes on with the context of another"
    assert decryptor.decrypt_batch(events)[-1]["actor_id"] == "parent"


def test_threads_that_seal_do_not_lock_up_a_fork(program: Program, key: str) -> None:
    output = ok(program(COMMON + """
stop = threading.Event()
def busy():
    while not stop.is_set():
        enricher.encrypt_batch([{"actor_id": 1}] * 20)
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
codes = []
for _ in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if enricher({"actor_id": 2})["actor_id"]["_encrypted"] else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
for thread in threads: thread.join()
print(codes == [0] * 40)
""", key))
    assert output.strip() == "True"


def test_a_pipeline_stays_with_its_process(program: Program, key: str) -> None:
    output = ok(program(COMMON + """
taken = []
pipeline = aegis.TelemetryPipeline()
pipeline.add_enricher(enricher)
pipeline.add_sink(taken.append)
for number in range(100): pipeline.emit({"number": number})
child = os.fork()
if child == 0:
    signal.alarm(20)
    refused = 0
    for call in [lambda: pipeline.emit({}), lambda: pipeline.try_emit({}), pipeline.flush, pipeline.close]:
        try: call()
        except errors.ForkedError: refused += 1
    own = []
    with aegis.TelemetryPipeline() as mine:
        mine.add_enricher(enricher)
        mine.add_sink(own.append)
        for number in range(10): mine.emit({"number": number})
    del pipeline
    sys.exit(0 if refused == 4 and len(own) == 10 else 1)  # through atexit, which leaves the parent's alone
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
pipeline.close()
print(code, [event["number"] for event in taken] == list(range(100)))
""", key))
    assert output.strip() == "0 True"


def test_a_keyring_stays_with_its_process(program: Program, key: str, tmp_path: Path) -> None:
    output = ok(program(COMMON + """
kek = aegis.InMemoryKEKProvider()
keyring = aegis.Keyring.create(sys.argv[2], kek)
enricher, decryptor = keyring.enricher(), aegis.PIIDecryptor(keyring)
sealed = enricher({"actor_id": 1})
child = os.fork()
if child == 0:
    signal.alarm(20)
    refused = 0
    for call in [lambda: enricher({}), lambda: decryptor(sealed), keyring.rotate, keyring.active_version]:
        try: call()
        except errors.ForkedError: refused += 1
    # SQLite's locks would be lost to the parent if the child opened the very file again.
    try: aegis.Keyring(sys.argv[2], kek)
    except errors.KeyringError: refused += 1
    own = aegis.Keyring.create(sys.argv[2] + ".own", kek)
    sys.exit(0 if refused == 5 and aegis.PIIDecryptor(own)(own.enricher()({"actor_id": 1})) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), decryptor(sealed))
""", key, str(tmp_path / "keyring.db")))
    assert output.strip() == "0 {'actor_id': 1}"


def test_what_was_emitted_before_the_end_of_a_program_arrives(program: Program, key: str, tmp_path: Path) -> None:
    """It closes nothing, and ends with a daemon thread in the middle of its work."""
    path = tmp_path / "out.jsonl"
    ok(program(COMMON + """
pipeline = aegis.TelemetryPipeline()
pipeline.add_enricher(lambda event: {**event, "seen": True})
pipeline.add_enricher(enricher)
pipeline.add_sink(aegis.FileSink(sys.argv[2]))
for number in range(3000): pipeline.emit({"number": number, "actor_id": "alice"})
def late():
    while True: pipeline.emit({"number": -1})
threading.Thread(target=late, daemon=True).start()
time.sleep(0.05)
""", key, str(path)))
    numbers = [json.loads(line)["number"] for line in path.read_text().splitlines()]
    assert [number for number in numbers if number >= 0] == list(range(3000))


def test_a_program_that_is_interrupted_is_not_held_up(program: Program, key: str) -> None:
    output = ok(program(COMMON + """
# Whoever started the tests in the background had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
pipeline = aegis.TelemetryPipeline()
pipeline.add_enricher(enricher)
def down(event): raise OSError
pipeline.add_sink(down)
pipeline.emit({})
for call in [lambda: pipeline.flush(60), lambda: pipeline.close(60)]:
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try: call()
    except KeyboardInterrupt: print("interrupted", time.monotonic() - began < 20)
os._exit(0)
""", key))
    assert output.split() == ["interrupted", "True"] * 2


def test_nothing_acknowledged_is_lost_when_a_process_is_killed(key: str, tmp_path: Path, decryptor: Any) -> None:
    """Killed at ten moments while threads emit; what `flush` acknowledged is in the file."""
    program = tmp_path / "program.py"
    program.write_text(COMMON + """
pipeline = aegis.TelemetryPipeline()
pipeline.add_enricher(enricher)
pipeline.add_sink(aegis.FileSink(sys.argv[2]))
number = 0
while True:
    for _ in range(20):
        number += 1
        pipeline.emit({"number": number, "actor_id": "alice"})
    pipeline.flush()
    os.write(1, b"%d\\n" % number)
""")
    for round_number in range(10):
        path = tmp_path / f"{round_number}.jsonl"
        child = subprocess.Popen([sys.executable, str(program), key, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(0.013 * round_number)
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=30)
        acknowledged = int((first + rest).split(b"\n")[-2])
        whole = [line for line in path.read_bytes().split(b"\n")[:-1]]
        numbers = [json.loads(line)["number"] for line in whole]
        assert set(range(1, acknowledged + 1)) <= set(numbers)
        assert b"alice" not in path.read_bytes()
        assert decryptor(whole[0].decode())


def test_a_pre_forking_server_seals_in_every_worker(program: Program, key: str) -> None:
    """As such servers do: import and load in the master, fork workers, each with a pipeline of its own."""
    output = ok(program(COMMON + """
read, write = os.pipe()
workers = []
for number in range(3):
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(30)
        pipeline = aegis.TelemetryPipeline(workers=1)
        pipeline.add_enricher(enricher)
        pipeline.add_sink(lambda event: os.write(write, json.dumps(event).encode() + b"\\n"))
        for request in range(20): pipeline.emit({"worker": number, "request": request, "pad": "x"})
        sys.exit(0)
    workers.append(child)
os.close(write)
lines = os.fdopen(read).read().splitlines()
codes = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
events = [json.loads(line) for line in lines]
print(codes, sorted((e["worker"], e["request"]) for e in events) == [(w, r) for w in range(3) for r in range(20)])
""", key))
    assert output.strip() == "[0, 0, 0] True"


def test_the_interpreter_is_free_while_others_seal(enricher: Any) -> None:
    """A thread that counts gets on while another one seals: the interpreter is not held."""
    import threading

    event = json.dumps({"actor_id": "x" * 3_000_000}).encode()
    done = threading.Event()
    turns: List[int] = [0]

    def seal() -> None:
        for _ in range(8):
            enricher(event)
        done.set()

    thread = threading.Thread(target=seal)
    before = sys.getswitchinterval()
    # Nobody gives the interpreter up who is not made to, or does so himself.
    sys.setswitchinterval(1000)
    try:
        thread.start()
        while not done.is_set():
            turns[0] += 1
            done.wait(0.0005)
    finally:
        sys.setswitchinterval(before)
        thread.join()
    assert turns[0] > 3


def test_a_process_ends_while_its_threads_are_in_the_middle(program: Program, key: str) -> None:
    for _ in range(3):
        ok(program(COMMON + """
def busy():
    while True: enricher.encrypt_batch([{"actor_id": 1}] * 50)
for _ in range(4): threading.Thread(target=busy, daemon=True).start()
time.sleep(0.1)
""", key))
