"""Overrides that two people sign."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Tuple

import pytest

import aegis_governance as aegis
from aegis_governance import errors

BIP322 = aegis.BIP322Provider()


@pytest.fixture(scope="module")
def risk() -> Tuple[bytes, bytes]:
    return BIP322.generate_keypair()


@pytest.fixture(scope="module")
def security() -> Tuple[bytes, bytes]:
    return BIP322.generate_keypair()


def request(**changed: Any) -> aegis.OverrideRequest:
    given = {
        "subject": "deploy of service web",
        "justification": "the incident of this morning",
        "requested_by": "carol",
        "audience": "deployment:production",
        "failed_gates": ["risk"],
    }
    return aegis.OverrideRequest(**{**given, **changed})


@pytest.fixture
def validator(risk: Any, security: Any) -> aegis.DualSignatureValidator:
    return aegis.DualSignatureValidator("alice", risk[1], "bob", security[1])


def test_two_people_approve(validator: Any, risk: Any, security: Any) -> None:
    override = request()
    assert override.hash.hex() == override.hash_hex == hashlib.sha256(override.to_json().encode()).hexdigest()
    assert aegis.OverrideRequest.from_json(override.to_json()) == override
    signatures = [override.sign("bob", "security_lead", security[0]), override.sign("alice", "risk_lead", risk[0])]
    checks = validator.validate(override, signatures)
    assert checks and checks.is_valid and checks.failed == {}


def test_what_is_signed_is_what_a_wallet_signs(validator: Any, risk: Any) -> None:
    override = request()
    given = json.loads(override.sign("alice", "risk_lead", risk[0]))
    text = override.statement("alice", "risk_lead", given["signed"])
    assert text.endswith(f"hash: {override.hash_hex}") and "deploy of service web" in text
    assert BIP322.verify_message(given["signature"], text, risk[1])


@pytest.mark.parametrize(
    "signed,failed",
    [
        ([], {"risk_lead", "security_lead"}),
        (["risk"], {"security_lead"}),
        (["security"], {"risk_lead"}),
        (["risk", "risk"], {"risk_lead", "security_lead"}),
        (["risk", "other key"], {"security_lead"}),
        (["risk", "other role"], {"security_lead"}),
        (["risk", "rejects"], {"security_lead"}),
        (["risk", "other request"], {"security_lead"}),
        (["risk", "stranger"], {"security_lead"}),
    ],
)
def test_anything_less_is_refused(validator: Any, risk: Any, security: Any, signed: Any, failed: Any) -> None:
    override = request()
    made = {
        "risk": lambda: override.sign("alice", "risk_lead", risk[0]),
        "security": lambda: override.sign("bob", "security_lead", security[0]),
        "other key": lambda: override.sign("bob", "security_lead", risk[0]),
        "other role": lambda: override.sign("bob", "risk_lead", security[0]),
        "rejects": lambda: override.sign("bob", "security_lead", security[0], decision="reject"),
        "other request": lambda: request().sign("bob", "security_lead", security[0]),
        "stranger": lambda: override.sign("mallory", "security_lead", BIP322.generate_keypair()[0]),
    }
    checks = validator.validate(override, [made[name]() for name in signed])
    assert not checks and set(checks.failed) == failed and all(checks.failed.values())


def test_whoever_asks_cannot_sign(risk: Any) -> None:
    with pytest.raises(errors.ApprovalError) as caught:
        request().sign("carol", "risk_lead", risk[0])
    assert caught.value.kind == "Requester"


def test_one_person_or_one_key_is_not_two(risk: Any, security: Any) -> None:
    for pair in [("alice", risk[1], "alice", security[1]), ("alice", risk[1], "bob", risk[1])]:
        with pytest.raises(errors.ApprovalError):
            aegis.DualSignatureValidator(*pair)
    with pytest.raises(errors.KeyFormatError):
        aegis.DualSignatureValidator("alice", risk[1][:-1], "bob", security[1])


@pytest.mark.parametrize(
    "changed",
    [
        {"failed_gates": ["complexity"]},
        {"expires_in": 1},
        {"expires_in": 10**9},
        {"subject": "two\nlines"},
        {"subject": ""},
        {"justification": ""},
        {"requested_by": "not a name!"},
        {"audience": ""},
        {"failed_gates": ["risk"] + [f"g{n}" for n in range(20)]},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_a_request_that_breaks_a_rule_is_not_made(changed: Any) -> None:
    with pytest.raises(errors.ApprovalError):
        request(**changed)


def test_a_changed_request_is_another_one(validator: Any, risk: Any, security: Any) -> None:
    override = request()
    signatures = [override.sign("alice", "risk_lead", risk[0]), override.sign("bob", "security_lead", security[0])]
    text = override.to_json().replace("this morning", "yesterday")
    changed = aegis.OverrideRequest.from_json(text)
    assert set(validator.validate(changed, signatures).failed) == {"risk_lead", "security_lead"}
    for wrong in [text + " ", text[:-1], "{}", "x" * 20_000]:
        with pytest.raises(errors.ApprovalError):
            aegis.OverrideRequest.from_json(wrong)
    for wrong in ["", "{}", signatures[0] + " ", "x" * 20_000]:
        with pytest.raises(errors.ApprovalError):
            validator.validate(override, [wrong])
    with pytest.raises(ValueError):
        validator.validate(override, signatures * 21)
