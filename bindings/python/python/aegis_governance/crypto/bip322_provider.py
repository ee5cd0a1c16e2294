"""Keys and signatures of custodians (BIP-322)."""

from __future__ import annotations

from .._native import BIP322Provider

__all__ = ["BIP322Provider"]
