"""Telemetry whose personal fields are sealed before it goes anywhere."""

from __future__ import annotations

from .encryption import (
    Catalogue,
    DEKRotator,
    Keyring,
    PIIDecryptor,
    PIIEncryptionEnricher,
    create_pii_enricher,
)
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
    "Catalogue",
    "DEKRotator",
    "FileSink",
    "HTTPSink",
    "Keyring",
    "NATSSink",
    "OTLPSink",
    "PIIDecryptor",
    "PIIEncryptionEnricher",
    "Settled",
    "Sink",
    "StdoutSink",
    "TelemetryPipeline",
    "create_pii_enricher",
]
