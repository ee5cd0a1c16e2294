"""The module ``aegis_governance.telemetry.pipeline`` under its older name. New programs import that, which is the same."""

from aegis_governance.telemetry.pipeline import *  # noqa: F403
from aegis_governance.telemetry.pipeline import __all__ as __all__
