"""One library for every CPython from 3.9 on: the stable ABI, and the one function that is in it since 3.10 only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aegis_governance as aegis

PROGRAM = """
import json, sys
import aegis_governance as aegis
from aegis_governance import errors
kek = aegis.InMemoryKEKProvider()
enricher = aegis.create_pii_enricher(kek.get_public_key(), "dek-v1-20260101")
decryptor = aegis.PIIDecryptor(kek)
event = {"actor_id": "\\u00fcber\\ud800\\u4e16", "x": ["\\U0001f512", {"signer_id": "y" * 3000}], "n": [1, 2.5, None, 10**30]}
sealed = enricher(event)
assert decryptor(sealed) == event == decryptor(json.loads(json.dumps(sealed)))
assert decryptor.decrypt_batch(enricher.encrypt_batch([event, json.dumps(event)])) == [event, json.dumps(event)]
for refused in [{"x": {1}}, {1: 2}, {"x": float("nan")}, "{"]:
    try: enricher(refused)
    except errors.EventError: continue
    raise SystemExit("not refused")
taken = []
with aegis.TelemetryPipeline() as pipeline:
    pipeline.add_enricher(enricher)
    pipeline.add_sink(taken.append)
    pipeline.emit(event)
assert decryptor(taken[0]) == event
print(*sys.version_info[:2])
"""


def test_other_versions_of_python_load_the_same_library() -> None:
    package = str(Path(aegis.__file__).parents[1])
    served = []
    for minor in range(9, 16):
        python = shutil.which(f"python3.{minor}")
        if python is None or minor == sys.version_info.minor:
            continue
        environment = {**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}
        # What stands for a version that is not there after all does not start.
        has_gil = "import sys; sys.exit(not getattr(sys, '_is_gil_enabled', lambda: True)())"
        if subprocess.run([python, "-c", has_gil], env=environment, capture_output=True, timeout=60).returncode != 0:
            continue
        done = subprocess.run([python, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout.split()) == (0, ["3", str(minor)]), done.stderr
        served.append(minor)
    if not served:
        pytest.skip("no other CPython from 3.9 on is on the path")
