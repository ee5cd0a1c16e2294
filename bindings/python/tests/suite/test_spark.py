"""Real Spark, in local mode. PySpark and Java are large: without them these tests are skipped, aloud."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

import aegis_governance as aegis
from aegis_governance.errors import OptionsError

pyspark = pytest.importorskip("pyspark", reason="PySpark is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from aegis_governance import spark as aegis_spark  # noqa: E402

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "spark.md"
# What PySpark 3.5 runs on. An older or newer one on the path is not our failure.
JAVAS = ("1.8", "11.", "17.")


def java_or_skip() -> None:
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if java is None or not Path(java).is_file():
        pytest.skip("Java is not installed")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60).stderr
    found = re.search(r'version "([^"]+)"', said)
    if found is None or not found[1].startswith(JAVAS):
        pytest.skip(f"Spark wants Java 8, 11 or 17, and here is {found[1] if found else 'another one'}")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    java_or_skip()
    directory = tmp_path_factory.mktemp("spark")
    builder = SparkSession.builder.master("local[2]").appName("aegis")
    for name, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        # A minute's life: compiling well what runs once costs more than it saves.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.driver.memory": "512m",
        "spark.local.dir": str(directory),
        "spark.sql.warehouse.dir": str(directory / "warehouse"),
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.adaptive.enabled": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        # The executors are to use this Python, and not the first one on the path.
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        session = builder.getOrCreate()
        gateway = session.sparkContext._gateway
        yield session
        session.stop()
        # Its Java would stay until the last test of all.
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(timeout=60)
        SparkContext._gateway = SparkContext._jvm = None


def keys_of(pair: Any, directory: Path) -> Any:
    """The private key is on no executor but where its file is; the function is what is sent."""
    key_file = directory / "key"
    key_file.write_bytes(base64.b64encode(pair[0]))

    def keys() -> Any:
        private = base64.b64decode(key_file.read_bytes())
        return {"dek-v1-20260101": private, "dek-v1-20260102": private}

    return keys


def test_columns_are_sealed_opened_and_sealed_anew(session: Any, pair: Any, tmp_path: Path) -> None:
    rows = [(f"user-{number}" if number % 7 else None, "web", number) for number in range(200)]
    df = session.createDataFrame(rows, "actor_id string, service string, n int").repartition(2)
    first = aegis.create_pii_enricher(pair[1], "dek-v1-20260101")
    sealed = aegis_spark.encrypt_columns(df, first)
    sealed.write.parquet(str(tmp_path / "sealed"))
    stored = session.read.parquet(str(tmp_path / "sealed"))
    found = {row.n: row for row in stored.collect()}
    assert json.loads(found[1].actor_id)["_dek_version"] == "dek-v1-20260101" and found[1].service == "web"
    assert [n for n, row in sorted(found.items()) if row.actor_id is None] == [row[2] for row in rows if row[0] is None]
    for file in (tmp_path / "sealed").glob("*.parquet"):
        assert b"user-" not in file.read_bytes()

    keys = keys_of(pair, tmp_path)
    opened = aegis_spark.decrypt_columns(stored, keys, fields=["actor_id"])
    assert sorted(map(tuple, opened.collect()), key=lambda row: row[2]) == rows
    second = aegis.create_pii_enricher(pair[1], "dek-v1-20260102")
    anew = aegis_spark.reencrypt_columns(stored, keys, second, fields=["actor_id"])
    assert json.loads(anew.where("n = 1").first()["actor_id"])["_dek_version"] == "dek-v1-20260102"
    assert sorted(map(tuple, aegis_spark.decrypt_columns(anew, keys, fields=["actor_id"]).collect()), key=lambda r: r[2]) == rows


def test_columns_of_events(session: Any, pair: Any) -> None:
    df = session.createDataFrame([(json.dumps({"actor_id": f"user-{n}", "n": n}),) for n in range(50)], "event string")
    enricher = aegis.create_pii_enricher(pair[1], "dek-v1-20260101", form="compact")
    sealed = aegis_spark.encrypt_columns(df, enricher, events=["event"])
    assert all("user-" not in row.event for row in sealed.collect())


def test_says_on_the_driver_what_would_fail_everywhere(session: Any, pair: Any) -> None:
    df = session.createDataFrame([(1, "x")], "actor_id int, other string")
    enricher = aegis.create_pii_enricher(pair[1], "dek-v1-20260101")
    for columns in [{"fields": ["none"]}, {"fields": ["actor_id"]}]:
        with pytest.raises(ValueError):
            aegis_spark.encrypt_columns(df, enricher, **columns)
    with pytest.raises(OptionsError):
        aegis_spark.encrypt_columns(df, enricher, fields=["other"])
    with pytest.raises(TypeError):
        aegis_spark.decrypt_columns(df, dict)


def test_the_job_of_the_guide_goes_on_after_a_failure(session: Any, pair: Any, tmp_path: Path) -> None:
    text = GUIDE.read_text().replace("s3a://events", str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    job = next(block for block in blocks if block.startswith("for day in days"))
    names: "dict[str, Any]" = {
        "days": ["2026-01-01", "2026-01-02", "2026-01-03"],
        "enricher": aegis.create_pii_enricher(pair[1], "dek-v1-20260101"),
        "encrypt_columns": aegis_spark.encrypt_columns,
        "exists": lambda path: Path(path).exists(),
        "spark": session,
    }
    for day in names["days"]:
        rows = session.createDataFrame([(f"user-{day}-{n}",) for n in range(20)], "actor_id string").coalesce(1)
        rows.write.parquet(str(tmp_path / "raw" / f"day={day}"))
    # The second day cannot be read: its first page is overwritten.
    (damaged,) = (tmp_path / "raw" / "day=2026-01-02").glob("*.parquet")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:4] + b"\xff" * 40 + whole[44:])
    for checksum in damaged.parent.glob(".*.crc"):
        checksum.unlink()
    with pytest.raises(Exception, match="(?i)parquet"):
        exec(compile(job, "Resuming", "exec"), names)
    sealed = tmp_path / "sealed"
    assert [day for day in names["days"] if (sealed / f"day={day}" / "_SUCCESS").exists()] == ["2026-01-01"]
    first = {file: file.stat().st_mtime_ns for file in (sealed / "day=2026-01-01").iterdir()}

    damaged.write_bytes(whole)
    exec(compile(job, "Resuming", "exec"), names)
    assert {file: file.stat().st_mtime_ns for file in (sealed / "day=2026-01-01").iterdir()} == first
    opened = aegis_spark.decrypt_columns(session.read.parquet(str(sealed)), keys_of(pair, tmp_path), fields=["actor_id"])
    wanted = sorted(f"user-{day}-{n}" for day in names["days"] for n in range(20))
    assert sorted(row.actor_id for row in opened.collect()) == wanted
