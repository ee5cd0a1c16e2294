"""Overrides that two people sign."""

from __future__ import annotations

from ._native import DualChecks, DualSignatureValidator, OverrideRequest

__all__ = ["DualChecks", "DualSignatureValidator", "OverrideRequest"]
