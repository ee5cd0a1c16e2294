"""Log records of other libraries, sealed: :mod:`logging`, ``structlog``, OpenTelemetry.

None of these libraries is needed to import this module; each part uses the one that its caller has.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Mapping, MutableMapping, Optional, Union

from .._native import PIIEncryptionEnricher
from ..errors import AegisError
from .pipeline import TelemetryPipeline

__all__ = ["AegisHandler", "OTelLogProcessor", "seal_event_dict"]

# What a `logging.LogRecord` has of its own; all else was given by the program, in `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_OWN_LOGGER = "aegis_governance"


def _plain(value: Any, depth: int = 0) -> Any:
    """A value that JSON can express. What it cannot becomes its ``str``."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if depth > 32:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner, depth + 1) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


class AegisHandler(logging.Handler):
    """A :mod:`logging` handler that emits each record as an event, whose personal fields are sealed on the way.

    What a program gives in ``extra`` are members of the event, so ``extra={"actor_id": …}`` is sealed. The message is
    **not** searched for what is personal: do not write it there.

    :param pipeline: where events go; the handler does not close it
    :param timeout: how long a record waits for room, in seconds. Then it is lost, and :meth:`logging.Handler.handleError`
        says so; ``None`` waits for ever
    """

    def __init__(
        self,
        pipeline: TelemetryPipeline,
        level: Union[int, str] = logging.NOTSET,
        timeout: Optional[float] = 5.0,
    ) -> None:
        super().__init__(level)
        self._pipeline = pipeline
        self._timeout = timeout

    def event_of(self, record: logging.LogRecord) -> Dict[str, Any]:
        """The event for a record: ``time``, ``level``, ``logger``, ``message``, ``exception`` and ``stack``, and what was in ``extra``."""
        event = {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}
        event["time"] = datetime.fromtimestamp(record.created, timezone.utc).isoformat()
        event["level"] = record.levelname
        event["logger"] = record.name
        event["message"] = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            # Where it was, and not what the exception said: that may hold what is personal.
            event["exception"] = record.exc_info[0].__qualname__
            frames = traceback.extract_tb(record.exc_info[2])
            event["stack"] = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        return event

    def handle(self, record: logging.LogRecord) -> bool:
        """Hands a record on, unless a pipeline has logged it about itself.

        That must not go through it again; and it must not wait here for the lock of a handler that waits for the pipeline.
        """
        if record.name.split(".", 1)[0] == _OWN_LOGGER:
            return False
        return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Emits a record as an event."""
        try:
            self._pipeline.emit(self.event_of(record), self._timeout)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says on standard error that a record was lost, without anything of it."""
        if logging.raiseExceptions and sys.stderr is not None:
            kind = sys.exc_info()[0]
            name = kind.__qualname__ if kind else "?"
            print(f"aegis_governance: a log record of {record.name!r} was lost ({name})", file=sys.stderr)

    def flush(self) -> None:
        """Waits until every record is acknowledged, 30 seconds at most."""
        if self._pipeline.is_running:
            try:
                self._pipeline.flush()
            except AegisError as error:
                print(f"aegis_governance: log records are not acknowledged: {error}", file=sys.stderr)


def seal_event_dict(
    enricher: PIIEncryptionEnricher,
) -> Callable[[Any, str, MutableMapping[str, Any]], Dict[str, Any]]:
    """A ``structlog`` processor that seals the personal members of each event. Put it right before the renderer.

    What JSON cannot express becomes its ``str`` first. An event that cannot be sealed raises
    :class:`~aegis_governance.errors.PIIError`, and so goes nowhere.
    """

    def processor(logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> Dict[str, Any]:
        sealed: Dict[str, Any] = enricher.encrypt(_plain(dict(event_dict)))
        return sealed

    return processor


class OTelLogProcessor:
    """An OpenTelemetry ``LogRecordProcessor`` that seals the personal attributes of each record, and its body if that is
    a mapping, before the processors behind it see the record.

    OpenTelemetry has no attributes inside one another, so an envelope stands as one JSON text in the attribute of the
    field's name. Add it before the processor that exports::

        provider.add_log_record_processor(OTelLogProcessor(enricher))
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))

    A record whose fields cannot be sealed loses those fields; that is logged.
    """

    def __init__(self, enricher: PIIEncryptionEnricher) -> None:
        self._enricher = enricher
        names = (field.get("name") for field in enricher.catalogue.fields)
        self._names = frozenset(name for name in names if name)

    def on_emit(self, log_record: Any) -> None:
        """Seals a record in place."""
        record = getattr(log_record, "log_record", log_record)
        attributes = record.attributes
        if attributes:
            personal = {name: _plain(attributes[name]) for name in attributes if name in self._names}
            if personal:
                sealed = self._seal(personal)
                kept = {name: value for name, value in attributes.items() if name not in personal}
                kept.update({name: json.dumps(envelope) for name, envelope in sealed.items()})
                record.attributes = kept
        if isinstance(record.body, Mapping):
            record.body = self._seal(_plain(record.body)) or None

    # Its name in older releases of OpenTelemetry.
    emit = on_emit

    def _seal(self, event: Dict[str, Any]) -> Dict[str, Any]:
        try:
            sealed: Dict[str, Any] = self._enricher.encrypt(event)
            return sealed
        except AegisError as error:
            logging.getLogger("aegis_governance.telemetry").error("personal attributes were dropped: %s", error)
            return {}

    def enabled(self, *arguments: Any, **keywords: Any) -> bool:
        """Every record is wanted."""
        return True

    def shutdown(self) -> None:
        """Nothing is held back, so there is nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True
