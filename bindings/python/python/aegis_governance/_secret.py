"""Bytes that are secret."""

from __future__ import annotations

import hmac
from typing import NoReturn

__all__ = ["SecretBytes"]


class SecretBytes(bytes):
    """Secret bytes that a program has to have in its hands, such as a private key to be stored.

    They are ``bytes`` in every respect, except that ``repr``, ``str`` and ``format`` do not show them, that they cannot
    be pickled or copied into another process by accident, and that they are compared in constant time.

    Python cannot erase them: whoever can, leaves keys where they are, in a provider or in a :class:`KEK`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (bytes, bytearray)) and hmac.compare_digest(bytes.__getitem__(self, slice(None)), other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = bytes.__hash__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("secret bytes cannot be pickled")

    def __reduce__(self) -> NoReturn:
        raise TypeError("secret bytes cannot be pickled")

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: object) -> SecretBytes:
        return self
