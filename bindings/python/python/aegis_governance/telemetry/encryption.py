"""Sealing and opening the personal fields of events, and the DEKs for it."""

from __future__ import annotations

from typing import Any

from .._native import (
    ArrowStream,
    Catalogue,
    DEKRotator,
    Keyring,
    PIIDecryptor,
    PIIEncryptionEnricher,
    SearchTokens,
    inspect,
)

__all__ = [
    "ArrowStream",
    "Catalogue",
    "DEKRotator",
    "Keyring",
    "PIIDecryptor",
    "PIIEncryptionEnricher",
    "SearchTokens",
    "create_pii_enricher",
    "inspect",
]


def create_pii_enricher(public_key: bytes, dek_version: str, **options: Any) -> PIIEncryptionEnricher:
    """An enricher for the guide's twelve fields and one DEK. Its options are those of :class:`PIIEncryptionEnricher`.

    An enricher that follows the rotation of a keyring is :meth:`Keyring.enricher`.

    :param public_key: of the DEK, or of the KEK itself: 1,216 bytes
    :param dek_version: ``dek-v1-YYYYMMDD``, or ``dek-v1-YYYYMMDD-N``
    :raises KeyFormatError: the public key is none
    :raises OptionsError: the version is none, or options contradict one another
    """
    return PIIEncryptionEnricher(public_key, dek_version, **options)
