"""Keyrings and the rotation of their DEKs."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any, List, Tuple

import pytest

import aegis_governance as aegis
from aegis_governance import errors


@pytest.fixture
def keyring(tmp_path: Path, kek: aegis.KEKProvider) -> aegis.Keyring:
    return aegis.Keyring.create(str(tmp_path / "keyring.db"), kek)


def test_new_events_are_sealed_under_the_new_dek_and_old_ones_stay_readable(keyring: Any) -> None:
    rotator, enricher, decryptor = aegis.DEKRotator(keyring), keyring.enricher(), aegis.PIIDecryptor(keyring)
    first = rotator.current_version
    before = enricher({"actor_id": "alice"})
    second = rotator.rotate()
    assert second != first and rotator.current_version == second == keyring.active_version()
    deadline = time.monotonic() + 20
    while enricher.dek_version != second:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    after = enricher({"actor_id": "bob"})
    assert [event["actor_id"]["_dek_version"] for event in (before, after)] == [first, second]
    assert [decryptor(event)["actor_id"] for event in (before, after)] == ["alice", "bob"]
    states = {record["version"]: record["state"] for record in keyring.versions()}
    assert states == {first: "decrypt_only", second: "active"}


def test_each_event_of_a_keyring_says_when_it_was_sealed(keyring: Any) -> None:
    """An enricher is kept for days, and its first event is not the time of all others."""
    enricher = keyring.enricher()
    first = enricher({"actor_id": 1})["actor_id"]["_encrypted_at"]
    deadline = time.monotonic() + 20
    while enricher({"actor_id": 1})["actor_id"]["_encrypted_at"] == first:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_dek_is_rotated_when_it_has_sealed_enough(keyring: Any) -> None:
    told: List[Tuple[str, str]] = []
    rotator = aegis.DEKRotator(keyring, max_messages=10, on_rotation=lambda *versions: told.append(versions))
    assert rotator.run_once() is None
    first = keyring.active_version()
    enricher = keyring.enricher()
    enricher.encrypt_batch([{"actor_id": 1}] * 10)
    del enricher  # what it counted reaches the keyring
    assert keyring.versions()[0]["messages"] == 10
    second = rotator.run_once()
    assert second is not None and told == [(first, second)]
    assert rotator.run_once() is None


def test_a_rotator_has_a_thread_of_its_own(keyring: Any) -> None:
    told: List[Tuple[str, str]] = []
    keyring.enricher().encrypt_batch([{"actor_id": 1}] * 3)
    with aegis.DEKRotator(keyring, max_messages=1, on_rotation=lambda *versions: told.append(versions)) as rotator:
        deadline = time.monotonic() + 20
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        rotator.start()  # a second time is nothing
    rotator.stop()
    assert told[0][1] == keyring.active_version()


def test_a_keyring_is_made_once_and_for_one_kek(tmp_path: Path, kek: Any) -> None:
    address = str(tmp_path / "keyring.db")
    first = aegis.Keyring.create(address, kek)
    again = aegis.Keyring.create(address, kek)
    assert again.active_version() == first.active_version() and len(again.versions()) == 1
    with pytest.raises(errors.KeyringError):
        aegis.Keyring.create(address, aegis.InMemoryKEKProvider())
    assert aegis.Keyring(address).active_version() == first.active_version()
    assert len(aegis.Keyring(address).active_public_key()) == 1216


def test_refuses_what_is_no_keyring(tmp_path: Path, kek: Any, keyring: Any) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no SQLite file at all" * 100)
    for address in [str(damaged), "mysql://x/y", "sqlite::memory:"]:
        with pytest.raises(errors.KeyringError):
            aegis.Keyring(address)
    with pytest.raises(errors.KeyringError):
        keyring.active_version("no-such-scope")
    with pytest.raises(errors.OptionsError):
        keyring.active_version("No Scope")
    with pytest.raises(errors.KeyringError):
        aegis.Keyring.in_state_dir(tmp_path / "state")
    with pytest.raises(ValueError):
        aegis.PIIDecryptor(aegis.Keyring(keyring.location))
    for policy in [{"max_age_days": 0}, {"max_messages": 0}, {"max_bytes": 0}]:
        with pytest.raises(errors.OptionsError):
            aegis.DEKRotator(keyring, **policy)


def test_scopes_have_deks_of_their_own(tmp_path: Path, kek: Any) -> None:
    address = str(tmp_path / "keyring.db")
    aegis.Keyring.create(address, kek)
    keyring = aegis.Keyring.create(address, kek, scope="billing")
    versions = {record["scope"]: record["version"] for record in keyring.versions()}
    assert set(versions) == {"default", "billing"}
    sealed = keyring.enricher("billing")({"actor_id": 1})
    assert sealed["actor_id"]["_dek_version"] == versions["billing"]
    assert len(keyring.versions("billing")) == 1
    assert aegis.PIIDecryptor(keyring)(sealed) == {"actor_id": 1}


def test_another_kek_opens_no_dek(tmp_path: Path, kek: Any, keyring: Any) -> None:
    sealed = keyring.enricher()({"actor_id": 1})
    other = aegis.Keyring(keyring.location, aegis.InMemoryKEKProvider())
    with pytest.raises(errors.DecryptError):
        aegis.PIIDecryptor(other)(sealed)


def test_nothing_of_a_keyring_can_be_pickled(keyring: Any) -> None:
    for thing in [keyring, keyring.enricher(), aegis.PIIDecryptor(keyring), aegis.DEKRotator(keyring)]:
        with pytest.raises(TypeError):
            pickle.dumps(thing)
