"""Columns of data frames, through the Arrow PyCapsule interface."""

from __future__ import annotations

import json
from typing import Any, List

import pytest

import aegis_governance as aegis
from aegis_governance import errors

nanoarrow = pytest.importorskip("nanoarrow", reason="nanoarrow is not installed")

# A schema of two text columns, one with nulls, and one of numbers.
ROWS = [("alice", '{"actor_id":"alice"}', 1), (None, '{"n":1}', 2), ('b"o\\b\n\u00fc', None, 3)]


def table(rows: List[Any] = ROWS, text: Any = None) -> Any:
    """A stream of one record batch, as any library makes it."""
    text = text or nanoarrow.string()
    columns = [
        nanoarrow.c_array([row[0] for row in rows], text),
        nanoarrow.c_array([row[1] for row in rows], text),
        nanoarrow.c_array([row[2] for row in rows], nanoarrow.int64()),
    ]
    schema = nanoarrow.struct({"actor_id": text, "event": text, "n": nanoarrow.int64()}, nullable=False)
    array = nanoarrow.c_array_from_buffers(schema, len(rows), buffers=[None], children=columns)
    return nanoarrow.ArrayStream(nanoarrow.Array(array))


def rows_of(stream: Any) -> List[Any]:
    return [tuple(row.values()) for row in nanoarrow.ArrayStream(stream).read_all().to_pylist()]


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_columns_of_fields_become_envelopes_and_come_back(enricher: Any, decryptor: Any, kind: str) -> None:
    text = getattr(nanoarrow, kind)()
    sealed = rows_of(enricher.encrypt_arrow(table(text=text), fields=["actor_id"]))
    assert [row[1:] for row in sealed] == [row[1:] for row in ROWS] and sealed[1][0] is None
    envelope = json.loads(sealed[0][0])
    assert envelope["_encrypted"] is True and "alice" not in sealed[0][0]
    # It is bound as in any event.
    assert decryptor({"actor_id": envelope, "else": 1}) == {"actor_id": "alice", "else": 1}
    opened = rows_of(decryptor.decrypt_arrow(table(sealed, text), fields=["actor_id"]))
    assert opened == ROWS


def test_columns_of_events_are_sealed_event_by_event(enricher: Any, decryptor: Any) -> None:
    sealed = rows_of(enricher.encrypt_arrow(table(), events=["event"]))
    assert sealed[0][0] == "alice", "another column is left alone"
    assert "alice" not in sealed[0][1] and sealed[1][1] == '{"n":1}' and sealed[2][1] is None
    assert decryptor(sealed[0][1]) == '{"actor_id":"alice"}'
    assert rows_of(decryptor.decrypt_arrow(table(sealed), events=["event"])) == ROWS


def test_a_stream_may_pass_through_both(enricher: Any, decryptor: Any) -> None:
    sealed = enricher.encrypt_arrow(table(), fields=["actor_id"])
    assert rows_of(decryptor.decrypt_arrow(sealed, fields=["actor_id"])) == ROWS


def test_fields_of_a_compact_enricher_are_whole_envelopes(kek: Any, decryptor: Any) -> None:
    compact = aegis.create_pii_enricher(kek.get_public_key(), "dek-v1-20260101", form="compact")
    sealed = compact.encrypt_arrow(table(), fields=["actor_id"])
    assert rows_of(decryptor.decrypt_arrow(sealed, fields=["actor_id"])) == ROWS


def test_refuses_columns_that_would_stay_in_the_clear(enricher: Any, decryptor: Any) -> None:
    for columns in [{"fields": ["n"]}, {"fields": ["event"]}, {"fields": ["none"]}, {"events": ["n"]}, {"events": ["x"]}]:
        with pytest.raises(errors.OptionsError):
            enricher.encrypt_arrow(table(), **columns)
    with pytest.raises(errors.OptionsError):
        decryptor.decrypt_arrow(table(), fields=["n"])
    for wrong in [{}, {"fields": ["actor_id"], "events": ["event"]}]:
        with pytest.raises(TypeError):
            enricher.encrypt_arrow(table(), **wrong)
    for data in [7, [1], "text", {"actor_id": ["alice"]}]:
        with pytest.raises(TypeError):
            enricher.encrypt_arrow(data, fields=["actor_id"])
    with pytest.raises(errors.OptionsError):
        enricher.encrypt_arrow(nanoarrow.ArrayStream(["alice"], nanoarrow.string()), fields=["actor_id"])


def test_a_row_that_is_refused_is_named_and_not_shown(enricher: Any, decryptor: Any) -> None:
    rows = [*ROWS, ("x", '{"actor_id":"alice', 4)]
    with pytest.raises(Exception, match="row 3: .*byte") as caught:
        rows_of(enricher.encrypt_arrow(table(rows), events=["event"]))
    assert "alice" not in str(caught.value)
    with pytest.raises(Exception, match="row 0"):
        rows_of(decryptor.decrypt_arrow(table(), fields=["actor_id"]))
    sealed = rows_of(enricher.encrypt_arrow(table(), fields=["actor_id"]))
    swapped = [(sealed[0][0].replace('"_encrypted_at":"2', '"_encrypted_at":"1'), None, 1)]
    with pytest.raises(Exception, match="row 0"):
        rows_of(decryptor.decrypt_arrow(table(swapped), fields=["actor_id"]))


def test_a_stream_is_taken_once(enricher: Any) -> None:
    source = table()
    stream = enricher.encrypt_arrow(source, events=["event"])
    rows_of(stream)
    with pytest.raises(ValueError):
        stream.__arrow_c_stream__()


def test_an_empty_table_stays_empty(enricher: Any) -> None:
    assert rows_of(enricher.encrypt_arrow(table([]), fields=["actor_id"])) == []
