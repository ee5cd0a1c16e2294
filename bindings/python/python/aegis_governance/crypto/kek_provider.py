"""Where the private half of a KEK rests while nothing runs."""

from __future__ import annotations

from .._native import (
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
    "EnvironmentKEKProvider",
    "FileKEKProvider",
    "HSMKEKProvider",
    "Health",
    "InMemoryKEKProvider",
    "KEKProvider",
    "get_kek_provider",
]
