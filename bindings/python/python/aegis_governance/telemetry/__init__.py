"""Telemetry whose personal fields are sealed before it goes anywhere."""

from __future__ import annotations

from .encryption import (
    ArrowStream,
    Catalogue,
    DEKRotator,
    Keyring,
    PIIDecryptor,
    PIIEncryptionEnricher,
    SearchTokens,
    create_pii_enricher,
    inspect,
)
from .log_records import AegisHandler, OTelLogProcessor, seal_event_dict
from .pipeline import (
    FileSink,
    HTTPSink,
    NATSSink,
    OTLPSink,
    Settled,
    Sink,
    StdoutSink,
    TelemetryPipeline,
)

__all__ = [
    "AegisHandler",
    "ArrowStream",
    "Catalogue",
    "DEKRotator",
    "FileSink",
    "HTTPSink",
    "Keyring",
    "NATSSink",
    "OTLPSink",
    "OTelLogProcessor",
    "PIIDecryptor",
    "PIIEncryptionEnricher",
    "SearchTokens",
    "Settled",
    "Sink",
    "StdoutSink",
    "TelemetryPipeline",
    "create_pii_enricher",
    "inspect",
    "seal_event_dict",
]
