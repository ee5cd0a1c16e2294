#!/usr/bin/env python3
"""Computes custodian-v1.json without any code of Aegis: BIP-322 by btclib, Ed25519 and ML-DSA-65 by OpenSSL.

Needs the packages btclib-wallet and cryptography. Keys and texts are fixed, and so is the randomness of BIP-340; ML-DSA
signatures are hedged, so a second run makes others, and the file is not to be made again.
"""

import base64
import hashlib
import json
import sys

from btclib.b32 import p2tr
from btclib.b58 import wif_from_prv_key
from btclib.script.script_pub_key import ScriptPubKey
from btclib.script.sig_hash import ALL, DEFAULT
from btclib.script.sig_hash import taproot as taproot_sig_hash
from btclib.script.taproot import (
    output_prvkey_from_merkle_root,
    output_pubkey_from_merkle_root_var,
)
from btclib.script.witness import Witness
from btclib_wallet import bip322
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from ecc.curves import bytes_from_prv_key_int
from ecc.ecc import ssa

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NETWORKS = ("mainnet", "testnet", "regtest")


def drawn(name: str, size: int = 32) -> bytes:
    """Bytes that look random and that anybody can make again."""
    return hashlib.shake_256(b"aegis custodian vectors v1 " + name.encode()).digest(size)


def statement(algorithm: str, number: int) -> str:
    return (
        "Aegis approval request\nkind: override\nsubject: deployment %d\nrequester: requester@example.org\n"
        "algorithm: %s\nhash: %s" % (number, algorithm, drawn("hash %d" % number).hex())
    )


def length_prefixed(*parts: bytes) -> bytes:
    return len(parts).to_bytes(8, "big") + b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def bip322_key(secret: int) -> dict:
    public = bytes_from_prv_key_int(secret, compressed=True)[1:]
    output_key, _ = output_pubkey_from_merkle_root_var(public)
    addresses = {network: p2tr(output_key, network) for network in NETWORKS}
    return {
        "private_key": secret.to_bytes(32, "big").hex(),
        "wif": {net: wif_from_prv_key(secret, net) for net in ("mainnet", "testnet")},
        "public_key": public.hex(),
        "key_id": hashlib.sha256(public).hexdigest(),
        "text": "bip322-p2tr:" + base64.b64encode(public).decode(),
        "addresses": addresses,
    }


def bip322_signature(key: int, secret: int, message: bytes, aux: bytes, hash_type: int) -> dict:
    public = bytes_from_prv_key_int(secret, compressed=True)[1:]
    address = p2tr(output_pubkey_from_merkle_root_var(public)[0])
    spend = bip322.to_spend(message, ScriptPubKey.from_address(address).script)
    unsigned = bip322.to_sign(spend)
    digest = taproot_sig_hash(unsigned, 0, spend.vout, hash_type, 0, b"", b"")
    signature = ssa.sign_(digest, output_prvkey_from_merkle_root(secret), aux=aux).serialize()
    if hash_type == ALL:
        signature += bytes([ALL])
    text = bip322.Sig(Witness([signature])).b64encode()
    assert bip322.verify(message, address, text)
    return {
        "key": key,
        "message": message.hex(),
        "aux": aux.hex(),
        "hash_type": hash_type,
        "to_spend": spend.id.hex(),
        "digest": digest.hex(),
        "signature": text,
    }


def hybrid_key(name: str) -> tuple[dict, Ed25519PrivateKey, MLDSA65PrivateKey]:
    seeds = drawn(name, 64)
    ed25519 = Ed25519PrivateKey.from_private_bytes(seeds[:32])
    ml_dsa = MLDSA65PrivateKey.from_seed_bytes(seeds[32:])
    public = ed25519.public_key().public_bytes_raw() + ml_dsa.public_key().public_bytes_raw()
    values = {
        "private_key": seeds.hex(),
        "public_key": public.hex(),
        "key_id": hashlib.sha256(public).hexdigest(),
        "text": "ed25519+ml-dsa-65:" + base64.b64encode(public).decode(),
    }
    return values, ed25519, ml_dsa


def main() -> None:
    secrets = [1, ORDER - 1] + [int.from_bytes(drawn("key %d" % n), "big") for n in range(3)]
    messages = [b"", b"Hello World", drawn("hash"), statement("bip322-p2tr", 1).encode()]
    signatures = [
        bip322_signature(
            key, secret, message, drawn("aux %d %d" % (key, number)), ALL if number == 1 else DEFAULT
        )
        for key, secret in enumerate(secrets)
        for number, message in enumerate(messages)
    ]
    hybrid_keys, hybrid_signatures = [], []
    for number in range(2):
        values, ed25519, ml_dsa = hybrid_key("hybrid %d" % number)
        hybrid_keys.append(values)
        text = statement("ed25519+ml-dsa-65", number)
        signed = length_prefixed(
            b"aegis/custodian-signature/v1",
            b"ed25519+ml-dsa-65",
            bytes.fromhex(values["public_key"]),
            text.encode(),
        )
        signature = ed25519.sign(signed) + ml_dsa.sign(signed)
        hybrid_signatures.append(
            {
                "key": number,
                "statement": text,
                "signed_sha256": hashlib.sha256(signed).hexdigest(),
                "signature": "ed25519+ml-dsa-65:" + base64.b64encode(signature).decode(),
            }
        )
    vectors = {
        "bip322_keys": [bip322_key(secret) for secret in secrets],
        "bip322_signatures": signatures,
        "hybrid_keys": hybrid_keys,
        "hybrid_signatures": hybrid_signatures,
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
