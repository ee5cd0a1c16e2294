"""What can go wrong, in one tree under :class:`AegisError`.

Every exception says what failed in its message, with all causes in one line, and what to do about it in ``help``.
``kind`` names the case, so that a program need not look at messages. None of them holds a key, a passphrase, a PIN, or
anything of an event. All of them can be pickled, so that they cross from a worker process to its parent.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

__all__ = [
    "AegisError",
    "ApprovalError",
    "CatalogueError",
    "ClosedError",
    "DecryptError",
    "EmitError",
    "EncryptError",
    "EventError",
    "FlushError",
    "ForkedError",
    "KEKBrokenError",
    "KEKDeniedError",
    "KEKError",
    "KEKFileError",
    "KEKLoadError",
    "KEKMismatchError",
    "KEKSelectionError",
    "KEKSettingsError",
    "KEKUnavailableError",
    "KeyFormatError",
    "KeyringError",
    "NotAuthenticError",
    "OptionsError",
    "PIIError",
    "PipelineError",
    "RotatorError",
    "SealError",
    "SignError",
    "SinkRefusedError",
    "StartError",
]


class AegisError(Exception):
    """The root of the tree.

    :ivar help: what to do about it, or ``None`` if there is nothing to say
    :ivar kind: the case, a word such as ``"Denied"``; it does not change between versions
    :ivar causes: what is behind it, the nearest cause first
    """

    help: Optional[str]
    kind: Optional[str]
    causes: Tuple[str, ...]

    def __init__(
        self,
        message: str = "",
        *,
        help: Optional[str] = None,  # noqa: A002
        kind: Optional[str] = None,
        causes: Tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.help = help
        self.kind = kind
        self.causes = tuple(causes)

    @property
    def message(self) -> str:
        """What failed, without its causes."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        text = ": ".join((self.message, *self.causes))
        return f"{text}\nhelp: {self.help}" if self.help else text

    def __reduce__(self) -> Tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.help, self.kind, self.causes)


def _rebuild(
    of: type[AegisError], message: str, help: Optional[str], kind: Optional[str], causes: Tuple[str, ...]  # noqa: A002
) -> AegisError:
    return of(message, help=help, kind=kind, causes=causes)


# Keys


class KeyFormatError(AegisError, ValueError):
    """Bytes or a text that are no key, signature or address, or not of the right length. Nothing of them is shown."""


class SealError(AegisError):
    """Nothing was sealed."""


class NotAuthenticError(AegisError):
    """A box does not open: another key, another purpose, other associated data, or a changed bit. Which, nobody is told."""


class SignError(AegisError):
    """Nothing was signed."""


# KEKs


class KEKError(AegisError):
    """A KEK provider cannot do its work."""


class KEKSelectionError(KEKError):
    """There is no such provider, none is configured, or the one that is configured cannot be used.

    A weaker one is never taken in its place.
    """


class KEKSettingsError(KEKSelectionError):
    """The settings of a provider are missing (all of them are named) or cannot be used. No device was asked."""


class KEKFileError(KEKError):
    """A key file cannot be read or written."""


class KEKLoadError(KEKError):
    """The private half of a KEK was not loaded."""


class KEKUnavailableError(KEKLoadError):
    """The device or service gave no usable answer. The same call may go through later."""


class KEKDeniedError(KEKLoadError):
    """It answered, and said no: credentials, permission, PIN, passphrase, a disabled key."""


class KEKBrokenError(KEKLoadError):
    """What is stored or set cannot be used, now or later: a damaged wrapping, a missing key, a file that is no key."""


class KEKMismatchError(KEKLoadError):
    """What came out is not the private half of the public key that is set."""


# Keyrings


class KeyringError(AegisError):
    """A keyring cannot be reached, or does not do what it was asked for."""


class RotatorError(KeyringError):
    """A DEK that is due was not rotated."""


# Personal fields


class PIIError(AegisError):
    """Personal fields were not sealed or opened."""


class EventError(PIIError, ValueError):
    """An event is not JSON, is larger than the limits, or is an object that JSON cannot express."""


class EncryptError(PIIError):
    """An event was not sealed. It must go nowhere."""


class DecryptError(PIIError):
    """A field does not open, or there is no DEK for it."""


class OptionsError(PIIError, ValueError):
    """Options that contradict one another, or name what does not exist."""


class CatalogueError(OptionsError):
    """The list of personal fields cannot be used."""


# Pipelines


class PipelineError(AegisError):
    """A pipeline does not do what it was asked for."""


class StartError(PipelineError):
    """A pipeline was not started: no sink, nothing that seals, a name twice."""


class EmitError(PipelineError):
    """An event was not taken."""


class ClosedError(EmitError):
    """The pipeline is closed."""


class ForkedError(EmitError):
    """The pipeline belongs to the process from which this one was forked; it has no threads here.

    Make a pipeline after the fork, in each process.
    """


class FlushError(PipelineError):
    """Not every event is acknowledged.

    :ivar unsettled: how many are not
    """

    unsettled: int = 0


class SinkRefusedError(PipelineError):
    """For sinks that are Python functions: raised by one that will not take an event, however often it is asked.

    The event is given up, counted, and becomes a dead letter. Any other exception means: try again later.
    """


# Approvals


class ApprovalError(AegisError):
    """A request, a signature or a decision was refused."""
