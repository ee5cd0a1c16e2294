"""Keys and signatures of custodians, and the hybrid KEM."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

import aegis_governance as aegis
from aegis_governance import errors

# BIP-322, test vectors of the text: the key of address bc1ppv6… has no published signature that is deterministic, so
# what is known of a key is its address (BIP-86, first test vector's internal key).
BIP_86_INTERNAL = bytes.fromhex("cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115")
BIP_86_ADDRESS = "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"


def test_derives_the_address_of_bip_86() -> None:
    assert aegis.BIP322Provider().address(BIP_86_INTERNAL) == BIP_86_ADDRESS


def test_a_signature_is_that_of_one_key_over_one_hash() -> None:
    provider = aegis.BIP322Provider()
    private, public = provider.generate_keypair()
    _, other = provider.generate_keypair()
    digest = hashlib.sha256(b"request").digest()
    signature = provider.sign(digest, private)
    assert signature.startswith("smp")
    assert provider.verify(signature, digest, public)
    assert provider.verify(signature.encode(), digest, public)
    assert not provider.verify(signature, hashlib.sha256(b"another").digest(), public)
    assert not provider.verify(signature, digest, other)
    text = provider.sign_message("I approve", private)
    assert provider.verify_message(text, "I approve", public)
    assert not provider.verify_message(text, "I approve!", public)
    assert not provider.verify_message(signature, "I approve", public)


@pytest.mark.parametrize("signature", ["", "smp", "smpAAAA", "x" * 20_000, b"\xff\xfe", "fulAAAA"])
def test_refuses_what_is_no_signature(signature: Any) -> None:
    provider = aegis.BIP322Provider()
    _, public = provider.generate_keypair()
    with pytest.raises(errors.KeyFormatError):
        provider.verify(signature, bytes(32), public)


@pytest.mark.parametrize("private", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_refuses_what_is_no_private_key(private: bytes) -> None:
    with pytest.raises(errors.KeyFormatError):
        aegis.BIP322Provider().sign(bytes(32), private)


def test_both_ends_of_an_encapsulation_have_one_secret(pair: Any) -> None:
    provider = aegis.HybridKEMProvider()
    encapsulation, secret = provider.encapsulate(pair[1])
    assert len(encapsulation) == 1120 and len(secret) == 32
    assert provider.decapsulate(encapsulation, pair[0]) == secret
    changed = bytearray(encapsulation)
    changed[40] ^= 1
    assert provider.decapsulate(changed, pair[0]) != secret
    with pytest.raises(errors.KeyFormatError, match="1120"):
        provider.decapsulate(encapsulation[:-1], pair[0])


def test_a_box_opens_for_its_key_purpose_and_data_only(pair: Any) -> None:
    provider = aegis.HybridKEMProvider()
    sealed = provider.encrypt(pair[1], b"text", b"data")
    assert provider.decrypt(pair[0], sealed, b"data") == b"text"
    other, _ = provider.generate_keypair()
    for private, data, purpose in [
        (other, b"data", "field"),
        (pair[0], b"date", "field"),
        (pair[0], b"data", "backup"),
    ]:
        with pytest.raises(errors.NotAuthenticError):
            provider.decrypt(private, sealed, data, purpose=purpose)
    with pytest.raises(ValueError, match="purpose"):
        provider.encrypt(pair[1], b"text", b"data", purpose="x")
    with pytest.raises(TypeError):
        provider.encrypt(pair[1], b"text", "data")


def test_a_private_key_has_its_public_key_and_id(pair: Any) -> None:
    provider = aegis.HybridKEMProvider()
    assert provider.public_key_of(pair[0]) == pair[1]
    assert provider.key_id(pair[1]) == hashlib.sha256(pair[1]).hexdigest() == aegis.key_id(pair[1])
    assert provider.algorithm_name == "x25519+ml-kem-768+aes-256-gcm"


def test_bytes_may_be_seen_through_other_types(pair: Any) -> None:
    provider = aegis.HybridKEMProvider()
    for kind in [bytes, bytearray, memoryview]:
        assert provider.key_id(kind(pair[1])) == aegis.key_id(pair[1])
    for wrong in ["text", 7, None, [1, 2]]:
        with pytest.raises(TypeError):
            provider.key_id(wrong)
