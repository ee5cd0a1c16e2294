"""Real Spark, in local mode. PySpark and Java are large: these tests run where somebody has installed them."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

import aegis_governance as aegis
from aegis_governance.errors import OptionsError

pyspark = pytest.importorskip("pyspark", reason="PySpark is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from aegis_governance import spark as aegis_spark  # noqa: E402


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    # The executors are to use this Python, and not the first one on the path.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").appName("aegis").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    yield session
    session.stop()
    del os.environ["PYSPARK_PYTHON"], os.environ["PYSPARK_DRIVER_PYTHON"]


def test_columns_are_sealed_opened_and_sealed_anew(session: Any, pair: Any, tmp_path: Path) -> None:
    rows = [(f"user-{number}" if number % 7 else None, "web", number) for number in range(1000)]
    df = session.createDataFrame(rows, "actor_id string, service string, n int").repartition(3)
    first = aegis.create_pii_enricher(pair[1], "dek-v1-20260101")
    sealed = aegis_spark.encrypt_columns(df, first)
    sealed.write.parquet(str(tmp_path / "sealed"))
    stored = session.read.parquet(str(tmp_path / "sealed"))
    some = stored.where("n = 1").first()
    assert json.loads(some["actor_id"])["_dek_version"] == "dek-v1-20260101" and some["service"] == "web"
    assert stored.where("actor_id is null").count() == len([row for row in rows if row[0] is None])
    for file in (tmp_path / "sealed").glob("*.parquet"):
        assert b"user-" not in file.read_bytes()

    # The private key is on no executor but where its file is; the function is what is sent.
    key_file = tmp_path / "key"
    key_file.write_bytes(base64.b64encode(pair[0]))

    def keys() -> Any:
        import aegis_governance

        private = base64.b64decode(key_file.read_bytes())
        return {"dek-v1-20260101": private, "dek-v1-20260102": private}

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
