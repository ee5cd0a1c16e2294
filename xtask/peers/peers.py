"""Measures one scheme beside ours: `cargo xtask bench peers` runs this once for each.

    peers.py SCHEME --events FILE --ours PROGRAM --rounds N --seconds S

One JSON line: events per second of processor to encrypt and to decrypt, and how many times that ours did, measured right
before and right after; or why it was not measured. Nothing is timed before it gave every event back as it was.

Each is measured in two forms: `envelope` writes what ours writes, the members of the guide with a digest and a time, and
checks the digest; `token` writes what the scheme gives, and nothing beside it. What encrypts nothing is a `copy`.
"""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any, NamedTuple

from schemes import SCHEMES, NotMeasured, Scheme

# The clock is asked after so many events.
BATCH = 8

Line = Callable[[bytes], bytes]


class Filter(NamedTuple):
    """From one JSON line to another, as the program of a user would: parse, replace, print."""

    encrypt: Line
    decrypt: Line | None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scheme", choices=SCHEMES)
    parser.add_argument("--events", required=True)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6)
    options = parser.parse_args()
    result: dict[str, object] = {"peer": options.scheme}
    try:
        # Some libraries greet on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            result |= measure(options)
    except ImportError as error:
        result["not_measured"] = plain(f"cannot be imported: {error}")
    except NotMeasured as error:
        result["not_measured"] = plain(str(error))
    print(json.dumps(result))


def measure(options: argparse.Namespace) -> dict[str, object]:
    scheme = SCHEMES[options.scheme]()
    with open(options.events, "rb") as file:
        events = file.read().splitlines()
    ours = Ours(options.ours, options.events, options.seconds / 2)
    result: dict[str, object] = {"packages": plain(packages(scheme))}
    works: dict[tuple[str, str], tuple[Line, list[bytes]]] = {}
    fields = ours.fields()
    for form, filter_ in filters(scheme, options.scheme, fields).items():
        works[form, "encrypt"] = filter_.encrypt, events
        if filter_.decrypt:
            sealed = verify(filter_.encrypt, filter_.decrypt, events, fields)
            works[form, "decrypt"] = filter_.decrypt, sealed
            result[f"{form}_bytes"] = round(statistics.fmean(map(len, sealed)))
    rates = {key: [] for key in works}
    times = {key: [] for key in works}
    before = ours.rates()
    all_of_ours = [before]
    for _ in range(options.rounds):
        theirs = {key: rate(work, lines, options.seconds) for key, (work, lines) in works.items()}
        after = ours.rates()
        all_of_ours.append(after)
        for (form, what), value in theirs.items():
            rates[form, what].append(value)
            times[form, what].append((before[what] + after[what]) / 2 / value)
        before = after
    for form, what in works:
        result[f"{form}_{what}"] = round(statistics.median(rates[form, what]), 1)
        result[f"{form}_{what}_times"] = round(statistics.median(times[form, what]), 3)
    for what in before:
        result[f"ours_{what}"] = statistics.median(of_ours[what] for of_ours in all_of_ours)
    return result


class Ours:
    """Our library on the same events, as a program that prints its rates."""

    def __init__(self, program: str, events: str, seconds: float) -> None:
        self.command = [program, events, str(seconds)]

    def fields(self) -> list[str]:
        """The members of an event that are personal."""
        return [name for (name,) in self._words(self.command[:2])]

    def rates(self) -> dict[str, float]:
        return {what: float(value) for what, value in self._words(self.command)}

    def _words(self, command: Sequence[str]) -> list[list[str]]:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        return [line.split() for line in done.stdout.splitlines()]


def filters(scheme: Scheme, name: str, fields: list[str]) -> dict[str, Filter]:
    """By the form of what they write."""
    if name == "orjson_alone":
        import orjson

        return {"copy": Filter(lambda line: orjson.dumps(orjson.loads(line)), None)}
    loads, dumps = json.loads, json.dumps
    seal, open_ = scheme.seal, scheme.open
    if seal is None or open_ is None:
        return {"copy": Filter(lambda line: dumps(loads(line)).encode(), None)}

    def seal_in_envelope(field: str, text: bytes) -> dict[str, Any]:
        return {
            "_encrypted": True,
            "_algorithm": name,
            "_dek_version": "dek-v1-20260101",
            "_ciphertext": seal(field, text),
            "_plaintext_hash": "sha256:" + sha256(text).hexdigest(),
            "_encrypted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    def open_envelope(field: str, envelope: dict[str, Any]) -> bytes:
        text = open_(field, envelope["_ciphertext"])
        if "sha256:" + sha256(text).hexdigest() != envelope["_plaintext_hash"]:
            raise ValueError("the digest is of another text")
        return text

    def pair(seal_one: Callable[[str, bytes], Any], open_one: Callable[[str, Any], bytes]) -> Filter:
        def encrypt(line: bytes) -> bytes:
            event = loads(line)
            for field in fields:
                event[field] = seal_one(field, event[field].encode())
            return dumps(event).encode()

        def decrypt(line: bytes) -> bytes:
            event = loads(line)
            for field in fields:
                event[field] = open_one(field, event[field]).decode()
            return dumps(event).encode()

        return Filter(encrypt, decrypt)

    return {"envelope": pair(seal_in_envelope, open_envelope), "token": pair(seal, open_)}


def verify(encrypt: Line, decrypt: Line, events: list[bytes], fields: list[str]) -> list[bytes]:
    """Every event comes back as it was, and nothing personal can be read in between. Returns the events, sealed."""
    sealed = [encrypt(event) for event in events]
    for event, box in zip(events, sealed, strict=True):
        before, between, after = json.loads(event), json.loads(box), json.loads(decrypt(box))
        if before != after:
            raise NotMeasured("an event came back changed")
        for field in fields:
            text = before[field].encode()
            if text in box or text in decoded(between[field]):
                raise NotMeasured(f"{field} was not sealed")
            del before[field], between[field]
        if before != between:
            raise NotMeasured("a member that is not personal was changed")
    if sealed[0] == encrypt(events[0]):
        raise NotMeasured("the same event was sealed to the same bytes twice")
    return sealed


def decoded(sealed: Any) -> bytes:
    """The bytes of a token: base64, and parts between full stops in a JWE."""
    token = sealed["_ciphertext"] if isinstance(sealed, dict) else sealed
    parts = token.translate(str.maketrans("-_", "+/")).split(".")
    return b"".join(b64decode(part + "==") for part in parts)


def rate(work: Line, lines: list[bytes], seconds: float) -> float:
    """Lines per second of processor, of all threads of this process."""
    done = 0
    start = time.process_time()
    while True:
        for _ in range(BATCH):
            work(lines[done % len(lines)])
            done += 1
        spent = time.process_time() - start
        if spent >= seconds:
            return done / spent


def packages(scheme: Scheme) -> str:
    named = [name if " " in name else f"{name} {importlib.metadata.version(name)}" for name in scheme.packages]
    return ", ".join(named) or f"Python {platform.python_version()}"


def plain(text: str) -> str:
    """What needs no escape in JSON, on one line and not long: the reader has no JSON parser."""
    kept = "".join(c if c.isprintable() and c.isascii() and c not in '"\\' else " " for c in text)
    return " ".join(kept.split())[:200]


if __name__ == "__main__":
    main()
