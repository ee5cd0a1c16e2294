"""X25519 + ML-KEM-768, and boxes under it."""

from __future__ import annotations

from .._native import HybridKEMProvider

__all__ = ["HybridKEMProvider"]
