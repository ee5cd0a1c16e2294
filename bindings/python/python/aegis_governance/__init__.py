"""Key management, and encryption of the personal fields of telemetry.

>>> from aegis_governance import get_kek_provider
>>> from aegis_governance.telemetry import TelemetryPipeline, create_pii_enricher

:mod:`aegis_governance.crypto` has keys, boxes and signatures, :mod:`aegis_governance.telemetry` has enrichers, decryptors
and pipelines, and :mod:`aegis_governance.errors` has what can go wrong. All names are here too.

The names ``crypto.kek_provider``, ``crypto.bip322_provider``, ``telemetry.encryption`` and ``telemetry.pipeline`` are the
same objects under the import paths of older programs.

What the crates log goes to :mod:`logging`, to loggers under ``aegis_governance``.
"""

from __future__ import annotations

from . import errors
from ._native import (
    KEK,
    AWSKMSKEKProvider,
    BIP322Provider,
    EnvironmentKEKProvider,
    FileKEKProvider,
    Health,
    HSMKEKProvider,
    HybridKEMProvider,
    InMemoryKEKProvider,
    KEKProvider,
    __version__,
    get_kek_provider,
    key_id,
)
from ._secret import SecretBytes
from .approval import DualChecks, DualSignatureValidator, OverrideRequest
from .errors import AegisError
from .telemetry import (
    ArrowStream,
    Catalogue,
    DEKRotator,
    FileSink,
    HTTPSink,
    Keyring,
    NATSSink,
    OTLPSink,
    PIIDecryptor,
    PIIEncryptionEnricher,
    SearchTokens,
    Settled,
    Sink,
    StdoutSink,
    TelemetryPipeline,
    create_pii_enricher,
    inspect,
)

__all__ = [
    "AWSKMSKEKProvider",
    "AegisError",
    "ArrowStream",
    "BIP322Provider",
    "Catalogue",
    "DEKRotator",
    "DualChecks",
    "DualSignatureValidator",
    "EnvironmentKEKProvider",
    "FileKEKProvider",
    "FileSink",
    "HSMKEKProvider",
    "HTTPSink",
    "Health",
    "HybridKEMProvider",
    "InMemoryKEKProvider",
    "KEK",
    "KEKProvider",
    "Keyring",
    "NATSSink",
    "OTLPSink",
    "OverrideRequest",
    "PIIDecryptor",
    "PIIEncryptionEnricher",
    "SearchTokens",
    "SecretBytes",
    "Settled",
    "Sink",
    "StdoutSink",
    "TelemetryPipeline",
    "__version__",
    "create_pii_enricher",
    "errors",
    "get_kek_provider",
    "inspect",
    "key_id",
]
