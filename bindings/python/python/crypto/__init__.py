"""Keys, boxes and signatures.

A name of older programs. New ones import ``aegis_governance.crypto``, which is the same.
"""

from aegis_governance.crypto import *  # noqa: F403
from aegis_governance.crypto import __all__ as __all__
