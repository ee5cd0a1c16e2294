"""Keys, boxes and signatures."""

from __future__ import annotations

from .bip322_provider import BIP322Provider
from .hybrid_kem import HybridKEMProvider
from .kek_provider import (
    KEK,
    AWSKMSKEKProvider,
    EnvironmentKEKProvider,
    FileKEKProvider,
    Health,
    HSMKEKProvider,
    InMemoryKEKProvider,
    KEKProvider,
    get_kek_provider,
)

__all__ = [
    "KEK",
    "AWSKMSKEKProvider",
    "BIP322Provider",
    "EnvironmentKEKProvider",
    "FileKEKProvider",
    "HSMKEKProvider",
    "Health",
    "HybridKEMProvider",
    "InMemoryKEKProvider",
    "KEKProvider",
    "get_kek_provider",
]
