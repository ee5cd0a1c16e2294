"""Telemetry whose personal fields are sealed before it goes anywhere.

A name of older programs. New ones import ``aegis_governance.telemetry``, which is the same.
"""

from aegis_governance.telemetry import *  # noqa: F403
from aegis_governance.telemetry import __all__ as __all__
