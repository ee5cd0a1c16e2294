"""A second implementation of docs/formats.md, "Sealed box" and "Boxes and wrappings under a symmetric key".

It shares no code with the Rust one: ML-KEM-768 comes from kyber-py, X25519 and AES-GCM from OpenSSL through
`cryptography`, the hashes from Python. Slow, not constant-time, for test keys only.

    pip install kyber-py==1.2.0 cryptography
    python reference.py > sealed-box-v1.json      # every value is fixed, so a second run prints the same file
    python reference.py symmetric > symmetric-v1.json
"""

import hashlib
import hmac
import json
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from kyber_py.ml_kem import ML_KEM_768

ALGORITHM = "x25519+ml-kem-768+aes-256-gcm"


def fixed(name, length):
    """Bytes that nobody chose."""
    return hashlib.shake_256(b"aegis test vector: " + name.encode()).digest(length)


def length_prefixed(parts):
    return b"".join([len(parts).to_bytes(8, "big")] + [len(p).to_bytes(8, "big") + p for p in parts])


def x25519_public(scalar):
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def x25519(scalar, peer):
    return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(peer))


def key_of_seed(seed):
    """96 bytes, d || z || X25519 scalar, to (public 1,216, private 2,432)."""
    ek, dk = ML_KEM_768._keygen_internal(seed[:32], seed[32:64])
    return x25519_public(seed[64:]) + ek, seed[64:] + dk


def combine(ss_mlkem, ss_x25519, ct_x25519, pk_x25519):
    return hashlib.sha3_256(ss_mlkem + ss_x25519 + ct_x25519 + pk_x25519 + b"\\.//^\\").digest()


def encapsulate(public, randomness):
    """64 bytes of randomness: ML-KEM's m || ephemeral X25519 scalar."""
    ss_mlkem, ct_mlkem = ML_KEM_768._encaps_internal(public[32:], randomness[:32])
    ct_x25519 = x25519_public(randomness[32:])
    ss = combine(ss_mlkem, x25519(randomness[32:], public[:32]), ct_x25519, public[:32])
    return ct_x25519 + ct_mlkem, ss


def decapsulate(private, encapsulation):
    ss_mlkem = ML_KEM_768.decaps(private[32:], encapsulation[32:])
    ss_x25519 = x25519(private[:32], encapsulation[:32])
    return combine(ss_mlkem, ss_x25519, encapsulation[:32], x25519_public(private[:32]))


def hkdf_sha256(secret, info):
    """RFC 5869, no salt, 32 bytes."""
    prk = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")


def keys(shared_secret, purpose):
    def key(name):
        parts = [b"aegis/sealed-box/v1", ALGORITHM.encode(), purpose.encode(), name]
        return hkdf_sha256(shared_secret, length_prefixed(parts))

    return key(b"aead-key"), key(b"commitment-key")


def symmetric():
    """Boxes under a symmetric key, and keys wrapped as RFC 5649 says."""
    vectors = {"boxes": [], "wrappings": []}
    cases = [
        ([b"aegis/kek/v1", bytes(range(32))], fixed("a private key", 2432)),
        ([b"aegis/kek/v1", bytes(range(32))], b""),
        ([b"aegis/kek/v1", bytes(32)], fixed("a private key", 2432)),
        ([b""], b"x"),
    ]
    for number, (parts, plaintext) in enumerate(cases):
        key, nonce = fixed(f"symmetric key {number}", 32), fixed(f"symmetric nonce {number}", 12)
        associated_data = length_prefixed(parts)
        vectors["boxes"].append(
            {
                "key": key.hex(),
                "associated_data_parts": [part.hex() for part in parts],
                "associated_data": associated_data.hex(),
                "plaintext": plaintext.hex(),
                "box": (nonce + AESGCM(key).encrypt(nonce, plaintext, associated_data)).hex(),
            }
        )
    for length in [1, 7, 8, 9, 16, 32, 33, 2432, 8192]:
        kek, key = fixed(f"KEK for {length} bytes", 32), fixed(f"a key of {length} bytes", length)
        wrapped = aes_key_wrap_with_padding(kek, key)
        assert aes_key_unwrap_with_padding(kek, wrapped) == key
        vectors["wrappings"].append({"kek": kek.hex(), "key": key.hex(), "wrapped": wrapped.hex()})
    print(json.dumps(vectors, indent=1))


def main():
    vectors = {"format": "aegis/sealed-box/v1", "algorithm": ALGORITHM, "keys": [], "encapsulations": [], "boxes": []}
    public_keys = []
    for name in ["first", "second"]:
        xwing_seed = fixed(f"{name} X-Wing seed", 32)
        seed = hashlib.shake_256(xwing_seed).digest(96)
        public, private = key_of_seed(seed)
        public_keys.append(public)
        vectors["keys"].append(
            {
                "xwing_seed": xwing_seed.hex(),
                "seed": seed.hex(),
                "private_key": private.hex(),
                "public_key": public.hex(),
                "key_id": hashlib.sha256(public).hexdigest(),
            }
        )

    shared_secrets = []
    for key, name in [(0, "one"), (0, "two"), (1, "three")]:
        randomness = fixed(f"encapsulation {name}", 64)
        encapsulation, shared_secret = encapsulate(public_keys[key], randomness)
        assert decapsulate(bytes.fromhex(vectors["keys"][key]["private_key"]), encapsulation) == shared_secret
        shared_secrets.append((encapsulation, shared_secret))
        vectors["encapsulations"].append(
            {
                "key": key,
                "randomness": randomness.hex(),
                "encapsulation": encapsulation.hex(),
                "shared_secret": shared_secret.hex(),
            }
        )

    cases = [
        (0, "field", [b"actor_id", b"dek-v1-20260101"], b""),
        (0, "field", [b"actor_id", b"dek-v1-20260101"], b'"alice"'),
        (0, "dek-wrap", [b"actor_id", b"dek-v1-20260101"], b'"alice"'),
        (1, "dek-wrap", [b"aegis/dek/v1", b"dek-v1-20260101", bytes(32), bytes(range(32))], fixed("a DEK", 2432)),
        (1, "backup", [b""], fixed("a backup", 33)),
        (2, "field", [b"", b""], bytes(64)),
    ]
    for number, (index, purpose, parts, plaintext) in enumerate(cases):
        encapsulation, shared_secret = shared_secrets[index]
        aead_key, commitment_key = keys(shared_secret, purpose)
        nonce = fixed(f"nonce {number}", 12)
        associated_data = length_prefixed(parts)
        body = nonce + AESGCM(aead_key).encrypt(nonce, plaintext, associated_data)
        vectors["boxes"].append(
            {
                "encapsulation": index,
                "purpose": purpose,
                "associated_data_parts": [part.hex() for part in parts],
                "associated_data": associated_data.hex(),
                "aead_key": aead_key.hex(),
                "commitment_key": commitment_key.hex(),
                "plaintext": plaintext.hex(),
                "body": body.hex(),
                "commitment": hmac.digest(commitment_key, nonce + associated_data + plaintext, "sha256").hex(),
            }
        )
    print(json.dumps(vectors, indent=1))


if __name__ == "__main__":
    symmetric() if sys.argv[1:] == ["symmetric"] else main()
