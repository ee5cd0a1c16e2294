"""KEK providers: what they refuse, and what they never show."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

import aegis_governance as aegis
from aegis_governance import errors


def test_names_all_that_is_missing_at_once() -> None:
    with pytest.raises(errors.KEKSettingsError) as caught:
        aegis.get_kek_provider("kms")
    for name in ["AEGIS_KMS_KEY_ID", "AEGIS_KMS_WRAPPED_PRIVATE_KEY", "AEGIS_MASTER_KEK_PUBLIC"]:
        assert name in str(caught.value)
    assert "aegis kek provision" in (caught.value.help or "")


def test_refuses_a_name_that_no_provider_has() -> None:
    with pytest.raises(errors.KEKSelectionError, match="vault") as caught:
        aegis.get_kek_provider("vault")
    assert caught.value.kind == "Unknown"


def test_never_falls_back_from_a_provider_that_is_broken(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEGIS_HSM_TOKEN_LABEL", "half a configuration")
    with pytest.raises(errors.KEKSettingsError):
        aegis.get_kek_provider()


def test_says_in_the_log_that_a_key_is_lost_with_the_process(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="aegis_governance"):
        aegis.get_kek_provider()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "NO KEK IS CONFIGURED" in warnings[0].getMessage()
    assert warnings[0].name == "aegis_governance.kek"
    assert warnings[0].aegis["provider"] == "in_memory"
    passed_over = [record.aegis["provider"] for record in caplog.records if "passed over" in record.getMessage()]
    assert passed_over == ["kms", "hsm", "environment", "file"]


def test_a_durable_key_can_be_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEGIS_REQUIRE_DURABLE_KEK", "1")
    with pytest.raises(errors.KEKSelectionError) as caught:
        aegis.get_kek_provider()
    assert caught.value.kind == "NotDurable"


def test_the_base_class_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError):
        aegis.KEKProvider()


def test_wraps_and_unwraps_what_is_bound_to_the_same_data(kek: aegis.KEKProvider) -> None:
    wrapped = kek.wrap(b"a key of somebody's", [b"their name", b"1"])
    assert len(wrapped) == 1148 + 19
    assert kek.unwrap(wrapped, (b"their name", b"1")) == b"a key of somebody's"
    assert kek.load().open(wrapped, [b"their name", b"1"]) == b"a key of somebody's"
    for bound in [b"their name", [b"their name1"], [b"1", b"their name"], [b"their name", b"2"]]:
        with pytest.raises(errors.NotAuthenticError):
            kek.unwrap(wrapped, bound)
    with pytest.raises(errors.NotAuthenticError):
        kek.load().open(wrapped, [b"their name", b"1"], purpose="field")
    with pytest.raises(errors.NotAuthenticError):
        aegis.InMemoryKEKProvider().unwrap(wrapped, [b"their name", b"1"])
    for nothing in [[], ()]:
        with pytest.raises(ValueError):
            kek.wrap(b"x", nothing)


@pytest.mark.parametrize("changed", [0, 31, 32, 1119, 1120, 1131, 1132, 1150])
def test_no_changed_byte_is_opened(kek: aegis.KEKProvider, changed: int) -> None:
    wrapped = bytearray(kek.wrap(b"key", b"name"))
    wrapped[changed] ^= 1
    with pytest.raises(errors.NotAuthenticError):
        kek.unwrap(wrapped, b"name")


@pytest.mark.parametrize("length", [0, 1, 1215, 1217, 2432])
def test_refuses_a_public_key_of_another_length(length: int) -> None:
    with pytest.raises(errors.KeyFormatError):
        aegis.create_pii_enricher(b"\x01" * length, "dek-v1-20260101")


def test_refuses_halves_that_do_not_belong_together(pair: Any) -> None:
    _, other = aegis.HybridKEMProvider().generate_keypair()
    with pytest.raises(errors.KeyFormatError):
        aegis.EnvironmentKEKProvider(public_key_bytes=other, private_key=pair[0])
    with pytest.raises(TypeError):
        aegis.EnvironmentKEKProvider(private_key=pair[0])


def test_a_key_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "kek.age"
    made = aegis.FileKEKProvider.create(path, "correct horse")
    assert path.stat().st_mode & 0o777 == 0o600
    assert aegis.FileKEKProvider(path, "correct horse").load().key_id == made.key_id
    with pytest.raises(errors.KEKDeniedError):
        aegis.FileKEKProvider(path, "wrong horse").load()
    with pytest.raises(errors.KEKFileError):
        aegis.FileKEKProvider.create(path, "correct horse")
    with pytest.raises(errors.KEKFileError):
        aegis.FileKEKProvider(tmp_path / "none.age", "x")
    with pytest.raises(TypeError):
        aegis.FileKEKProvider(path, "a", passphrase_file=path)


def test_a_kms_that_refuses_is_denied_and_one_that_is_gone_unavailable(kms: str, pair: Any) -> None:
    wrapped = aegis.AWSKMSKEKProvider.provision(kms, pair[0])
    gone = aegis.AWSKMSKEKProvider(kms, wrapped, pair[1], endpoint_url="http://127.0.0.1:1")
    with pytest.raises(errors.KEKUnavailableError):
        gone.load()
    assert gone.health().status == "failing" and gone.health().reason
    _, other = aegis.HybridKEMProvider().generate_keypair()
    with pytest.raises(errors.KEKLoadError):
        aegis.AWSKMSKEKProvider(kms, wrapped, other).load()
    with pytest.raises(errors.KEKBrokenError):
        aegis.AWSKMSKEKProvider(kms, wrapped[:-1], pair[1]).load()


def test_an_hsm_without_the_right_pin_is_denied(hsm: bytes, token: str, pair: Any) -> None:
    provider = aegis.HSMKEKProvider(
        pkcs11_lib=token,
        token_label="aegis-governance",
        pin="not the PIN",
        wrapping_key_label="aegis-kek-v1",
        wrapped_private_key=hsm,
        public_key_bytes=pair[1],
        session_pool_size=2,
    )
    with pytest.raises(errors.KEKDeniedError) as caught:
        provider.load()
    assert "not the PIN" not in str(caught.value)
    assert provider.health().detail["sessions"] == "2"


def test_health_is_plain_data(environment: Any) -> None:
    provider = aegis.EnvironmentKEKProvider.from_environment()
    assert provider.health().as_dict() == {
        "provider": "environment",
        "security_level": "software",
        "key_id": provider.key_id,
        "status": "untried",
        "reason": None,
        "last_worked": None,
        "detail": {"variable": "AEGIS_MASTER_KEK_PRIVATE"},
    }
    provider.load()
    assert provider.health().status == "working" and provider.health().last_worked


class TestSecrets:
    def test_none_is_in_a_repr(self, environment: Any, kek: aegis.KEKProvider) -> None:
        provider = aegis.EnvironmentKEKProvider()
        private = environment[0]
        shown = " ".join(
            f"{thing!r} {thing} {thing:>1}" if isinstance(thing, bytes) else f"{thing!r} {thing}"
            for thing in [provider, provider.load(), provider.health(), private, aegis.PIIDecryptor(provider)]
        )
        assert provider.key_id[:16] in shown
        raw = bytes(private[:])
        for form in [repr(raw[:8])[2:-1], raw[:8].hex(), base64.b64encode(raw)[:12].decode()]:
            assert form not in shown

    def test_none_can_be_pickled(self, environment: Any) -> None:
        provider = aegis.EnvironmentKEKProvider()
        for thing in [provider, provider.load(), environment[0], aegis.PIIDecryptor(provider)]:
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError):
                    pickle.dumps(thing, protocol)

    def test_none_is_in_a_traceback(self, monkeypatch: pytest.MonkeyPatch, pair: Any) -> None:
        private = bytes(pair[0][:])
        private = private[:1] + bytes([private[1] ^ 1]) + private[2:]
        encoded = base64.b64encode(private).decode()
        monkeypatch.setenv("AEGIS_MASTER_KEK_PRIVATE", encoded)
        monkeypatch.setenv("AEGIS_MASTER_KEK_PUBLIC", base64.b64encode(pair[1]).decode())
        try:
            aegis.EnvironmentKEKProvider()
        except errors.KEKSettingsError as error:
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
            assert "AEGIS_MASTER_KEK_PRIVATE" in shown
            assert encoded[:16] not in str(error) + repr(error) + repr(vars(error))
        else:
            pytest.fail("a changed key was taken")

    def test_secret_bytes_are_bytes(self) -> None:
        secret = aegis.SecretBytes(b"\x01\x02\x03")
        assert secret == b"\x01\x02\x03" and secret != b"\x01\x02\x04" and b"\x01\x02\x03" == secret
        assert secret[0] == 1 and bytes(secret[1:]) == b"\x02\x03" and hash(secret) == hash(b"\x01\x02\x03")
        assert f"{secret}" == str(secret) == repr(secret) == "<3 secret bytes>"
        assert f"{secret!r:>20}".strip() == "<3 secret bytes>"
        assert copy.deepcopy(secret) is secret


def test_every_exception_crosses_to_another_process() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)("what", help="do", kind="Case", causes=("why",))
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and isinstance(again, errors.AegisError)
        assert (again.message, again.help, again.kind, again.causes) == ("what", "do", "Case", ("why",))
        assert str(again) == "what: why\nhelp: do"
