"""What the tests have in common. Each makes what it needs, and leaves nothing behind."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple

import pytest

import aegis_governance as aegis

DEK = "dek-v1-20260101"
PIN = "user-48151623"
REGION = "us-west-2"
SOFTHSM2 = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set where the tests run must not decide what they find."""
    for name in list(os.environ):
        if name.startswith(("AEGIS_", "AWS_")) and not name.startswith("AEGIS_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def pair() -> Tuple[bytes, bytes]:
    return aegis.HybridKEMProvider().generate_keypair()


@pytest.fixture(scope="session")
def kek() -> aegis.KEKProvider:
    return aegis.InMemoryKEKProvider()


@pytest.fixture
def enricher(kek: aegis.KEKProvider) -> aegis.PIIEncryptionEnricher:
    return aegis.create_pii_enricher(kek.get_public_key(), DEK)


@pytest.fixture
def decryptor(kek: aegis.KEKProvider) -> aegis.PIIDecryptor:
    return aegis.PIIDecryptor(kek)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, pair: Tuple[bytes, bytes]) -> Tuple[bytes, bytes]:
    """A KEK in the variables of this process."""
    monkeypatch.setenv("AEGIS_MASTER_KEK_PRIVATE", base64.b64encode(pair[0]).decode())
    monkeypatch.setenv("AEGIS_MASTER_KEK_PUBLIC", base64.b64encode(pair[1]).decode())
    return pair


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch, pair: Tuple[bytes, bytes]) -> str:
    """A KEK wrapped by a key in an emulator of KMS, and the variables set. Gives the key's ARN."""
    url = os.environ.get("AEGIS_TEST_KMS")
    if not url:
        pytest.skip("no KMS emulator: `cargo test -p aegis-python --test python` starts one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    signed = (
        f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/kms/aws4_request, SignedHeaders=host, Signature=0"
    )
    headers = {
        "X-Amz-Target": "TrentService.CreateKey",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": signed,
    }
    request = urllib.request.Request(url, b"{}", headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        arn: str = json.load(answer)["KeyMetadata"]["Arn"]
    wrapped = aegis.AWSKMSKEKProvider.provision(arn, pair[0])
    monkeypatch.setenv("AEGIS_KMS_KEY_ID", arn)
    monkeypatch.setenv("AEGIS_KMS_WRAPPED_PRIVATE_KEY", base64.b64encode(wrapped).decode())
    monkeypatch.setenv("AEGIS_MASTER_KEK_PUBLIC", base64.b64encode(pair[1]).decode())
    return arn


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SoftHSM2 token for this process. Gives its module; the label is `aegis-governance`."""
    module = next((path for path in SOFTHSM2 if Path(path).is_file()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed")
    directory = tmp_path_factory.mktemp("token")
    (directory / "tokens").mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\n")
    # The module reads it once, when it is loaded into this process.
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    label = ["--init-token", "--free", "--label", "aegis-governance", "--so-pin", "so-42108642", "--pin", PIN]
    subprocess.run(["softhsm2-util", *label], check=True, capture_output=True)
    return module


@pytest.fixture
def hsm(monkeypatch: pytest.MonkeyPatch, pair: Tuple[bytes, bytes], token: str) -> bytes:
    """A KEK wrapped by a key in the token, and the variables set. Gives what was wrapped."""
    made = getattr(hsm, "made", False)
    hsm.made = True  # type: ignore[attr-defined]
    wrapped = aegis.HSMKEKProvider.provision(
        token, "aegis-governance", PIN, "aegis-kek-v1", pair[0], direct=True, make_wrapping_key=not made
    )
    monkeypatch.setenv("AEGIS_HSM_PKCS11_LIB", token)
    monkeypatch.setenv("AEGIS_HSM_TOKEN_LABEL", "aegis-governance")
    monkeypatch.setenv("AEGIS_HSM_PIN", PIN)
    monkeypatch.setenv("AEGIS_HSM_WRAPPING_KEY_LABEL", "aegis-kek-v1")
    monkeypatch.setenv("AEGIS_HSM_WRAPPED_PRIVATE_KEY", base64.b64encode(wrapped).decode())
    monkeypatch.setenv("AEGIS_MASTER_KEK_PUBLIC", base64.b64encode(pair[1]).decode())
    return wrapped


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a program in a process of its own."""

    def run(text: str, *arguments: str, timeout: float = 60, **options: Any) -> "subprocess.CompletedProcess[str]":
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(text))
        command = [sys.executable, str(file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, **options)

    return run


@pytest.fixture
def events() -> Iterator[Any]:
    """Twenty events with personal fields everywhere that they can be."""
    yield [
        {
            "event": "override",
            "number": number,
            "actor_id": f"user-{number}@example.org",
            "decision_rationale": f"because of \"{number}\"\n\u00fc\U0001f512",
            "actor_assignments": {"risk_lead": f"person-{number}", "list": [1, 2.5, None, True, {"signer_id": "x"}]},
            "details": [{"requested_by": None}, {"requested_by": number}],
        }
        for number in range(20)
    ]
