"""The pipeline: from events that a program emits to sinks that have them, sealed."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from functools import partial
from typing import Any, Callable, Optional, TypeVar

from .. import _native
from .._native import FileSink, HTTPSink, NATSSink, OTLPSink, Settled, Sink, StdoutSink
from ..errors import AegisError

__all__ = [
    "FileSink",
    "HTTPSink",
    "NATSSink",
    "OTLPSink",
    "Settled",
    "Sink",
    "StdoutSink",
    "TelemetryPipeline",
]

T = TypeVar("T")

# Those that were started and not closed. A program that ends without closing one closes it here, so that what it has in
# memory is not lost; and none is collected while its threads work.
_running: set[TelemetryPipeline] = set()
_EXIT_TIMEOUT_SECS = 10.0


class TelemetryPipeline(_native.TelemetryPipeline):
    __doc__ = _native.TelemetryPipeline.__doc__

    def start(self) -> None:
        """Starts the threads now, not with the first event. What waits in spools is delivered from now on.

        :raises StartError: there is no sink, or nothing that seals
        """
        super().start()
        _running.add(self)

    def emit(self, event: Any, timeout: Optional[float] = None) -> int:
        number = super().emit(event, timeout)
        if number == 1:
            _running.add(self)
        return number

    def try_emit(self, event: Any) -> Optional[int]:
        number = super().try_emit(event)
        if number == 1:
            _running.add(self)
        return number

    def close(self, timeout: Optional[float] = 30.0) -> Settled:
        try:
            return super().close(timeout)
        finally:
            if not self.is_running:
                _running.discard(self)

    emit.__doc__ = _native.TelemetryPipeline.emit.__doc__
    try_emit.__doc__ = _native.TelemetryPipeline.try_emit.__doc__
    close.__doc__ = _native.TelemetryPipeline.close.__doc__

    async def aemit(self, event: Any, timeout: Optional[float] = None) -> int:
        """As :meth:`emit`, for coroutines: others run while it waits for room.

        :raises EmitError: it was not taken
        """
        number = self.try_emit(event)
        return number if number is not None else await _elsewhere(partial(self.emit, event, timeout))

    async def aflush(self, timeout: Optional[float] = 30.0) -> Settled:
        """As :meth:`flush`, for coroutines.

        :raises FlushError: not everything is acknowledged
        """
        return await _elsewhere(partial(self.flush, timeout))

    async def aclose(self, timeout: Optional[float] = 30.0) -> Settled:
        """As :meth:`close`, for coroutines.

        :raises FlushError: not everything is acknowledged
        """
        return await _elsewhere(partial(self.close, timeout))

    async def __aenter__(self) -> TelemetryPipeline:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose(self.drain_timeout)


async def _elsewhere(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _close_all() -> None:
    for pipeline in list(_running):
        try:
            pipeline.close(_EXIT_TIMEOUT_SECS)
        except AegisError as error:
            logging.getLogger("aegis_governance.telemetry").error(
                "a pipeline was closed at exit, and not everything was acknowledged: %s", error
            )


def _forget_all() -> None:
    # Their threads stayed in the parent, whose they are.
    _running.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
