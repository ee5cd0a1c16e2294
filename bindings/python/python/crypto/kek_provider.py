"""Where the private half of a KEK rests while nothing runs.

A name of older programs. New ones import ``aegis_governance.crypto.kek_provider``, which is the same.
"""

from aegis_governance.crypto.kek_provider import *  # noqa: F403
from aegis_governance.crypto.kek_provider import __all__ as __all__
