"""Measures the Python package beside what it is compared with: `cargo xtask bench python` runs this.

    python_package.py --events FILE --ours PROGRAM --rounds N --seconds S

One JSON line: events per second of processor, the median of the rounds. The package is on `PYTHONPATH`; PROGRAM is the Rust
library on the same events. Nothing is timed before every event came back as it was.
"""

import argparse
import json
import statistics

from peers import BATCH, Ours, filters, rate, verify
from schemes import SCHEMES

import aegis_governance as aegis

DEK = "dek-v1-20260101"
# Events of one call of `encrypt_batch`.
AT_ONCE = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", required=True)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6)
    options = parser.parse_args()
    with open(options.events, "rb") as file:
        events = file.read().splitlines()
    rust = Ours(options.ours, options.events, options.seconds / 2)
    fields = rust.fields()

    kek = aegis.InMemoryKEKProvider()
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK)
    decryptor = aegis.PIIDecryptor(kek)
    naive = filters(SCHEMES["naive_cryptography"](), "naive_cryptography", fields)["envelope"]
    theirs = verify(naive.encrypt, naive.decrypt, events, fields)
    sealed = verify(enricher, decryptor, events, fields)
    dicts = [json.loads(event) for event in events]
    sealed_dicts = [enricher(event) for event in dicts]
    if [decryptor(event) for event in sealed_dicts] != dicts:
        raise SystemExit("a dict came back changed")
    batches = [[events[(start + n) % len(events)] for n in range(AT_ONCE)] for start in range(len(events))]
    sealed_batches = [enricher.encrypt_batch(batch) for batch in batches]

    def json_alone(line: bytes) -> bytes:
        return json.dumps(json.loads(line)).encode()

    works = {
        "naive_encrypt": (naive.encrypt, events, 1),
        "naive_decrypt": (naive.decrypt, theirs, 1),
        "bytes_encrypt": (enricher, events, 1),
        "bytes_decrypt": (decryptor, sealed, 1),
        "dict_encrypt": (enricher, dicts, 1),
        "dict_decrypt": (decryptor, sealed_dicts, 1),
        "batch_encrypt": (enricher.encrypt_batch, batches, AT_ONCE),
        "batch_decrypt": (decryptor.decrypt_batch, sealed_batches, AT_ONCE),
        "json_alone": (json_alone, events, 1),
    }
    rates: dict[str, list[float]] = {name: [] for name in works}
    of_rust: dict[str, list[float]] = {"encrypt": [], "decrypt": []}
    for _ in range(options.rounds):
        # A B A B, so that a slow moment of the machine hits all.
        for name, (work, given, events_each) in works.items():
            rates[name].append(rate(work, given, options.seconds / BATCH if events_each > 1 else options.seconds) * events_each)
        for what, value in rust.rates().items():
            of_rust.setdefault(what, []).append(value)
    result = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    result |= {f"rust_{what}": round(statistics.median(values), 1) for what, values in of_rust.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
