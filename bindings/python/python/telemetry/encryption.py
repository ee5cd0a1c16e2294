"""The module ``aegis_governance.telemetry.encryption`` under its older name. New programs import that, which is the same."""

from aegis_governance.telemetry.encryption import *  # noqa: F403
from aegis_governance.telemetry.encryption import __all__ as __all__
