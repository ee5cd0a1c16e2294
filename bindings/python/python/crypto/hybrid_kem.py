"""X25519 + ML-KEM-768, and boxes under it.

A name of older programs. New ones import ``aegis_governance.crypto.hybrid_kem``, which is the same.
"""

from aegis_governance.crypto.hybrid_kem import *  # noqa: F403
from aegis_governance.crypto.hybrid_kem import __all__ as __all__
