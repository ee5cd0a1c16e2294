"""Keys and signatures of custodians (BIP-322).

A name of older programs. New ones import ``aegis_governance.crypto.bip322_provider``, which is the same.
"""

from aegis_governance.crypto.bip322_provider import *  # noqa: F403
from aegis_governance.crypto.bip322_provider import __all__ as __all__
