"""Every block of the guide, run as it stands."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, Dict

import pytest

import aegis_governance as aegis

GUIDE = Path(__file__).parent.parent / "guide"


def run(name: str, **defined: Any) -> Dict[str, Any]:
    file = GUIDE / name
    names: Dict[str, Any] = dict(defined)
    exec(compile(file.read_text(), str(file), "exec"), names)
    return names


def test_provider_selection(kms: str, hsm: bytes, environment: Any) -> None:
    from aegis_governance import get_kek_provider

    assert isinstance(run("1_provider_selection.py")["provider"], aegis.InMemoryKEKProvider)
    # What each of its lines stands for, with the device asked.
    auto = get_kek_provider()
    assert auto.name == "kms" and auto.load().key_id == auto.key_id
    for name, kind in [
        ("kms", aegis.AWSKMSKEKProvider),
        ("hsm", aegis.HSMKEKProvider),
        ("environment", aegis.EnvironmentKEKProvider),
        ("in_memory", aegis.InMemoryKEKProvider),
    ]:
        provider = get_kek_provider(name)
        assert type(provider) is kind and provider.name == name
        assert provider.load().public_key == provider.get_public_key()
        assert provider.health().status == "working"


def test_aws_kms(kms: str, pair: Any) -> None:
    wrapped = aegis.AWSKMSKEKProvider.provision(kms, pair[0], form="data-key")
    provider = run("2_aws_kms.py", wrapped_bytes=wrapped, public_bytes=pair[1])["provider"]
    assert isinstance(provider, aegis.AWSKMSKEKProvider) and provider.get_public_key() == pair[1]
    # The guide's key is none; with one that is there, the same call works.
    provider = aegis.AWSKMSKEKProvider(kms_key_id=kms, wrapped_private_key=wrapped, public_key_bytes=pair[1])
    assert provider.load().key_id == provider.key_id


def test_hsm(hsm: bytes) -> None:
    provider = run("3_hsm.py")["provider"]
    assert isinstance(provider, aegis.HSMKEKProvider)
    assert provider.load().key_id == provider.key_id
    health = provider.health()
    assert health.detail["sessions"] == "4"
    # RFC 5649: eight bytes more than the 2,432 of the key.
    assert len(hsm) == 2440


def test_environment(environment: Any) -> None:
    provider = run("4_environment.py")["provider"]
    assert isinstance(provider, aegis.EnvironmentKEKProvider)
    assert provider.load().public_key == environment[1]


def test_custodian_keypairs(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("5_custodian_keypairs.py")
    printed = capsys.readouterr().out
    for who, private, public in [
        ("Risk Lead", names["risk_priv"], names["risk_pub"]),
        ("Security Lead", names["sec_priv"], names["sec_pub"]),
    ]:
        assert isinstance(private, bytes) and isinstance(public, bytes)
        found = dict(re.findall(rf"{who} (private|public) key: (\S+)", printed))
        assert base64.b64decode(found["private"]) == private[:] and len(private) == 32
        assert base64.b64decode(found["public"]) == public and len(public) == 32
        assert names["provider"].public_key_of(private) == public
    assert names["risk_priv"] != names["sec_priv"]


def test_enabling_pii_encryption(environment: Any) -> None:
    names = run("6_enabling_pii_encryption.py")
    pipeline, kek = names["pipeline"], names["kek"]
    assert kek.name == "environment"
    sealed = []
    pipeline.add_sink(sealed.append)
    with pipeline:
        pipeline.emit({"agent_id": "agent-7", "actor_id": "alice", "requested_by": {"name": "bob"}})
    envelope = sealed[0]["actor_id"]
    assert sealed[0]["agent_id"] == "agent-7"
    assert list(envelope) == [
        "_encrypted", "_algorithm", "_dek_version", "_ciphertext", "_plaintext_hash", "_encrypted_at",
    ]
    assert envelope["_encrypted"] is True
    assert envelope["_algorithm"] == "x25519+ml-kem-768+aes-256-gcm"
    assert envelope["_dek_version"] == "dek-v1-20260101"
    assert len(base64.b64decode(envelope["_ciphertext"], validate=True)) == 1148 + len('"alice"')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", envelope["_encrypted_at"])
    assert "alice" not in json.dumps(sealed) and "bob" not in json.dumps(sealed)
    opened = aegis.PIIDecryptor(kek)(sealed[0])
    assert opened == {"agent_id": "agent-7", "actor_id": "alice", "requested_by": {"name": "bob"}}


@pytest.mark.parametrize("name", sorted(path.name for path in GUIDE.glob("*.py")))
def test_is_kept_word_for_word(name: str) -> None:
    """No formatter has been at them: the guide does not indent its arguments."""
    lines = (GUIDE / name).read_text().splitlines()
    assert lines and all(line == line.strip() for line in lines)


def test_the_older_import_paths_are_the_same_objects() -> None:
    import crypto
    import crypto.bip322_provider
    import crypto.hybrid_kem
    import crypto.kek_provider
    import telemetry
    import telemetry.encryption
    import telemetry.pipeline

    assert crypto.kek_provider.get_kek_provider is aegis.get_kek_provider
    assert crypto.bip322_provider.BIP322Provider is aegis.BIP322Provider
    assert crypto.hybrid_kem.HybridKEMProvider is aegis.crypto.HybridKEMProvider
    assert telemetry.encryption.create_pii_enricher is aegis.create_pii_enricher
    assert telemetry.encryption.DEKRotator is aegis.DEKRotator
    assert telemetry.pipeline.TelemetryPipeline is aegis.TelemetryPipeline
    assert crypto.__all__ == aegis.crypto.__all__ and telemetry.__all__ == aegis.telemetry.__all__
