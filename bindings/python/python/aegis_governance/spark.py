"""Columns of a Spark data frame, sealed and opened where the data is: ``mapInArrow`` functions.

Sealing needs a public key only, which goes to the executors with the job. Private keys are needed where decryption is asked
for, and nowhere else: :func:`decrypt_columns` and :func:`reencrypt_columns` take a function that *makes* the keys on each
executor, so that no private key is in a job's code, its plan, or the driver's memory.

A cell of a column that is called like a field becomes an envelope, a JSON text, and is bound to the field's name as in any
event. Null stays null. A row that is refused fails its task with the row's number and nothing of its content.

This module needs PySpark 3.4 or later, and ``pyarrow`` and ``pandas``, which PySpark asks for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence, Union

from ._native import KEK, KEKProvider, Keyring, PIIDecryptor, PIIEncryptionEnricher
from .errors import OptionsError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["decrypt_columns", "encrypt_columns", "reencrypt_columns"]

Keys = Union[KEKProvider, KEK, Keyring, Mapping[str, bytes]]
#: Makes the keys on an executor, such as ``aegis_governance.get_kek_provider``.
KeySource = Callable[[], Keys]
Batches = Iterator[Any]


def encrypt_columns(
    df: "DataFrame",
    enricher: PIIEncryptionEnricher,
    *,
    fields: Optional[Sequence[str]] = None,
    events: Optional[Sequence[str]] = None,
) -> "DataFrame":
    """Seals columns of ``df``.

    :param enricher: holds a public key and the DEK's version; it is sent to the executors
    :param fields: text columns that hold values of the personal fields of these names. If neither is given: the columns
        that the enricher's catalogue has
    :param events: text columns that hold whole events, a JSON text in each cell
    :raises OptionsError: a column is not there, or is no field of the catalogue
    """
    known = {field.get("name") for field in enricher.catalogue.fields}
    if fields is None and events is None:
        fields = [str(name) for name in df.columns if name in known]
    columns = _columns(fields, events)
    _check(df, fields, events)
    unknown = [name for name in fields or () if name not in known]
    if unknown:
        raise OptionsError(
            f"the catalogue has no field {unknown[0]!r}", help="extend the catalogue by it", kind="NoField"
        )
    return df.mapInArrow(_Seal(enricher, columns), df.schema)


def decrypt_columns(
    df: "DataFrame",
    keys: KeySource,
    *,
    fields: Optional[Sequence[str]] = None,
    events: Optional[Sequence[str]] = None,
    only: Optional[Sequence[str]] = None,
) -> "DataFrame":
    """Opens columns of ``df``.

    :param keys: makes what opens on each executor, once a task: a function such as ``get_kek_provider``
    :param fields: text columns whose cells are envelopes of the fields of these names
    :param events: text columns that hold whole events
    :param only: of events, the fields to open; all others stay sealed
    """
    _check(df, fields, events)
    return df.mapInArrow(_Open(keys, _columns(fields, events), only), df.schema)


def reencrypt_columns(
    df: "DataFrame",
    keys: KeySource,
    enricher: PIIEncryptionEnricher,
    *,
    fields: Optional[Sequence[str]] = None,
    events: Optional[Sequence[str]] = None,
) -> "DataFrame":
    """Opens columns of ``df`` and seals them anew, under another DEK, in one pass. Nothing is written in the clear.

    Of a column that holds events, whatever the catalogue of ``enricher`` has is sealed anew, and all else that was sealed
    is left in the clear: give the catalogue that it was sealed with, or a wider one.

    :param keys: makes what opens on each executor, once a task
    :param enricher: seals anew
    """
    _check(df, fields, events)
    columns = _columns(fields, events)
    return df.mapInArrow(_Chain(_Open(keys, columns, None), _Seal(enricher, columns)), df.schema)


def _columns(fields: Optional[Sequence[str]], events: Optional[Sequence[str]]) -> "dict[str, list[str]]":
    if (fields is None) == (events is None):
        raise TypeError("give fields, or events, and not both: the names of the columns")
    return {"fields": list(fields)} if fields is not None else {"events": list(events or ())}


def _check(df: "DataFrame", fields: Optional[Sequence[str]], events: Optional[Sequence[str]]) -> None:
    """Says on the driver what would fail on every executor."""
    for name in [*(fields or ()), *(events or ())]:
        if name not in df.columns:
            raise ValueError(f"there is no column {name!r}")
        kind = df.schema[name].dataType.typeName()
        if kind != "string":
            raise ValueError(f"the column {name!r} is no string, but {kind}")


class _Seal:
    """For one task. What is sent to the executors holds a public key."""

    def __init__(self, enricher: PIIEncryptionEnricher, columns: "dict[str, list[str]]") -> None:
        self.enricher = enricher
        self.columns = columns

    def __call__(self, batches: Iterable[Any]) -> Batches:
        return _through(batches, lambda reader: self.enricher.encrypt_arrow(reader, **self.columns))


class _Open:
    def __init__(self, keys: KeySource, columns: "dict[str, list[str]]", only: Optional[Sequence[str]]) -> None:
        self.keys = keys
        self.columns = columns
        self.only = list(only) if only is not None else None

    def __call__(self, batches: Iterable[Any]) -> Batches:
        decryptor = PIIDecryptor(self.keys(), fields=self.only)
        return _through(batches, lambda reader: decryptor.decrypt_arrow(reader, **self.columns))


class _Chain:
    def __init__(self, first: _Open, second: _Seal) -> None:
        self.first = first
        self.second = second

    def __call__(self, batches: Iterable[Any]) -> Batches:
        return self.second(self.first(batches))


def _through(batches: Iterable[Any], work: Callable[[Any], Any]) -> Batches:
    """Batches as they come, worked on one at a time."""
    import pyarrow

    for batch in batches:
        reader = pyarrow.RecordBatchReader.from_batches(batch.schema, [batch])
        yield from pyarrow.RecordBatchReader.from_stream(work(reader))
