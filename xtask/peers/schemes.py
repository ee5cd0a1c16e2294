"""What people use today to seal a field, each written as its documentation tells.

A scheme is a function that makes its keys and returns `Scheme(seal, open, packages)`: `seal(name, text)` gives the token
that is written instead of the value, `open(name, token)` gives the text back. Keys, clients and caches are made once. Where
an interface takes associated data, the name of the field is bound. `cargo xtask bench peers` names them by function.
"""

import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Callable, NamedTuple


class Scheme(NamedTuple):
    seal: Callable[[str, bytes], str] | None
    open: Callable[[str, str], bytes] | None
    # The distributions whose versions are part of the result; with a space in it, a name and version as it stands.
    packages: tuple[str, ...]


class NotMeasured(Exception):
    """Why a scheme cannot be measured here, for a person."""


# ---- one hybrid encapsulation a field: what one would write in an afternoon ----


def _naive(encapsulate: Callable, decapsulate: Callable, packages: tuple[str, ...]) -> Scheme:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    private = X25519PrivateKey.generate()
    public = private.public_key()

    def key(secrets: bytes) -> AESGCM:
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"field").derive(secrets))

    def seal(name: str, text: bytes) -> str:
        kem_secret, kem_ciphertext = encapsulate()
        ephemeral = X25519PrivateKey.generate()
        box_key = key(kem_secret + ephemeral.exchange(public))
        nonce = os.urandom(12)
        box = box_key.encrypt(nonce, text, name.encode())
        return b64encode(ephemeral.public_key().public_bytes_raw() + kem_ciphertext + nonce + box).decode()

    def open_(name: str, token: str) -> bytes:
        raw = b64decode(token)
        theirs, kem_ciphertext, nonce, box = raw[:32], raw[32:1120], raw[1120:1132], raw[1132:]
        kem_secret = decapsulate(kem_ciphertext)
        box_key = key(kem_secret + private.exchange(X25519PublicKey.from_public_bytes(theirs)))
        return box_key.decrypt(nonce, box, name.encode())

    return Scheme(seal, open_, packages)


def naive_liboqs() -> Scheme:
    # Without its library, `import oqs` would clone and build one of its own.
    if not Path(os.environ.get("OQS_INSTALL_PATH", ""), "lib", "liboqs.so").is_file():
        raise NotMeasured("liboqs was not built")
    import oqs

    receiver = oqs.KeyEncapsulation("ML-KEM-768")
    public = receiver.generate_keypair()
    sender = oqs.KeyEncapsulation("ML-KEM-768")

    def encapsulate() -> tuple[bytes, bytes]:
        ciphertext, secret = sender.encap_secret(public)
        return secret, ciphertext

    version = f"liboqs {oqs.oqs_version()}"
    return _naive(encapsulate, receiver.decap_secret, ("liboqs-python", version, "cryptography"))


def naive_cryptography() -> Scheme:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

    private = MLKEM768PrivateKey.generate()
    return _naive(private.public_key().encapsulate, private.decapsulate, ("cryptography",))


# ---- hybrid public-key encryption by a library ----


def hpke_cryptography() -> Scheme:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        from cryptography.hazmat.primitives import hpke

        suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    except (ImportError, AttributeError) as error:
        raise NotMeasured("this version of cryptography has no HPKE with MLKEM768-X25519") from error
    private = hpke.MLKEM768X25519PrivateKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
    public = private.public_key()
    return Scheme(
        lambda name, text: b64encode(suite.encrypt(text, public, name.encode())).decode(),
        lambda name, token: suite.decrypt(b64decode(token), private, name.encode()),
        ("cryptography",),
    )


def hpke_tink() -> Scheme:
    import tink
    from tink import hybrid

    hybrid.register()
    private = tink.new_keyset_handle(hybrid.hybrid_key_templates.X_WING_HKDF_SHA256_HKDF_SHA256_AES_256_GCM)
    sender = private.public_keyset_handle().primitive(hybrid.HybridEncrypt)
    receiver = private.primitive(hybrid.HybridDecrypt)
    return Scheme(
        lambda name, text: b64encode(sender.encrypt(text, name.encode())).decode(),
        lambda name, token: receiver.decrypt(b64decode(token), name.encode()),
        ("tink",),
    )


# ---- a symmetric key, or an envelope under one ----


def _tink_aead() -> Any:
    import tink
    from tink import aead

    aead.register()
    return tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)


def _with_tink(aead: Any) -> Scheme:
    return Scheme(
        lambda name, text: b64encode(aead.encrypt(text, name.encode())).decode(),
        lambda name, token: aead.decrypt(b64decode(token), name.encode()),
        ("tink",),
    )


def tink_kms_envelope() -> Scheme:
    from tink import aead

    # A key in this process stands for the KMS: a real one would add a call over the network for each field.
    remote = _tink_aead()
    return _with_tink(aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote))


def tink_aead() -> Scheme:
    return _with_tink(_tink_aead())


def _aws_provider() -> Any:
    from aws_encryption_sdk.identifiers import EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

    wrapping_key = WrappingKey(
        wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        wrapping_key=os.urandom(32),
        wrapping_key_type=EncryptionKeyType.SYMMETRIC,
    )

    class Provider(RawMasterKeyProvider):
        provider_id = "benchmark"

        def _get_raw_key(self, key_id: bytes) -> WrappingKey:
            return wrapping_key

    provider = Provider()
    provider.add_master_key(b"key")
    return provider


def _with_aws(packages: tuple[str, ...], **options: Any) -> Scheme:
    import aws_encryption_sdk

    client = aws_encryption_sdk.EncryptionSDKClient()
    for_encryption = dict(options)
    algorithm = for_encryption.pop("algorithm", None)
    for_decryption = dict(for_encryption)
    if algorithm is not None:
        for_encryption["algorithm"] = algorithm

    def seal(name: str, text: bytes) -> str:
        sealed, _ = client.encrypt(source=text, encryption_context={"field": name}, **for_encryption)
        return b64encode(sealed).decode()

    def open_(name: str, token: str) -> bytes:
        text, header = client.decrypt(source=b64decode(token), **for_decryption)
        if header.encryption_context["field"] != name:
            raise ValueError("sealed for another field")
        return text

    return Scheme(seal, open_, packages)


def aws_esdk() -> Scheme:
    return _with_aws(("aws-encryption-sdk",), key_provider=_aws_provider())


def aws_esdk_caching() -> Scheme:
    import aws_encryption_sdk
    from aws_encryption_sdk.identifiers import AlgorithmSuite

    manager = aws_encryption_sdk.CachingCryptoMaterialsManager(
        master_key_provider=_aws_provider(),
        cache=aws_encryption_sdk.LocalCryptoMaterialsCache(1000),
        max_age=600.0,
    )
    return _with_aws(
        ("aws-encryption-sdk",),
        materials_manager=manager,
        algorithm=AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    )


def aws_esdk_mpl() -> Scheme:
    from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
    from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
    from aws_cryptographic_material_providers.mpl.models import AesWrappingAlg, CreateRawAesKeyringInput

    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    keyring = providers.create_raw_aes_keyring(
        input=CreateRawAesKeyringInput(
            key_namespace="benchmark",
            key_name="key",
            wrapping_key=os.urandom(32),
            wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
        )
    )
    return _with_aws(("aws-encryption-sdk", "aws-cryptographic-material-providers"), keyring=keyring)


def mongodb_csfle() -> Scheme:
    import bson
    from pymongocrypt.errors import MongoCryptError
    from pymongocrypt.options import MongoCryptOptions
    from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
    from pymongocrypt.synchronous.state_machine import MongoCryptCallback

    class KeyVault(MongoCryptCallback):
        """A collection with one data key, in memory: libmongocrypt asks for it and keeps it for a minute."""

        key = b""

        def fetch_keys(self, filter: bytes) -> Any:
            yield self.key

        def insert_data_key(self, data_key: bytes) -> Any:
            self.key = bytes(data_key)
            return bson.decode(self.key)["_id"]

        def bson_encode(self, doc: Any) -> bytes:
            return bson.encode(doc)

        def kms_request(self, kms_context: Any) -> None:
            raise MongoCryptError("no KMS is asked")

        def collection_info(self, database: Any, filter: Any) -> None:
            raise MongoCryptError("no collection is asked")

        def mark_command(self, database: Any, cmd: Any) -> None:
            raise MongoCryptError("no command is marked")

        def close(self) -> None:
            pass

    encrypter = ExplicitEncrypter(KeyVault(), MongoCryptOptions({"local": {"key": os.urandom(96)}}))
    key_id = bytes(encrypter.create_data_key("local"))
    algorithm = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"

    def seal(name: str, text: bytes) -> str:
        sealed = encrypter.encrypt(bson.encode({"v": text.decode()}), algorithm, key_id=key_id)
        return b64encode(bson.decode(sealed)["v"]).decode()

    def open_(name: str, token: str) -> bytes:
        document = bson.encode({"v": bson.Binary(b64decode(token), 6)})
        return bson.decode(encrypter.decrypt(document))["v"].encode()

    return Scheme(seal, open_, ("pymongocrypt", "pymongo"))


def jwe_a256kw() -> Scheme:
    import json

    from jwcrypto import jwe, jwk

    key = jwk.JWK.generate(kty="oct", size=256)
    header = json.dumps({"alg": "A256KW", "enc": "A256GCM"})

    def seal(name: str, text: bytes) -> str:
        return jwe.JWE(text, header, recipient=key).serialize(compact=True)

    def open_(name: str, token: str) -> bytes:
        received = jwe.JWE()
        received.deserialize(token, key=key)
        return received.payload

    return Scheme(seal, open_, ("jwcrypto", "cryptography"))


def fernet() -> Scheme:
    from cryptography.fernet import Fernet

    box = Fernet(Fernet.generate_key())
    return Scheme(
        lambda name, text: box.encrypt(text).decode(),
        lambda name, token: box.decrypt(token),
        ("cryptography",),
    )


def aes_gcm() -> Scheme:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    box = AESGCM(AESGCM.generate_key(256))

    def seal(name: str, text: bytes) -> str:
        nonce = os.urandom(12)
        return b64encode(nonce + box.encrypt(nonce, text, name.encode())).decode()

    def open_(name: str, token: str) -> bytes:
        raw = b64decode(token)
        return box.decrypt(raw[:12], raw[12:], name.encode())

    return Scheme(seal, open_, ("cryptography",))


# ---- classical public-key encryption ----


def pyrage() -> Scheme:
    import pyrage as age

    identity = age.x25519.Identity.generate()
    recipient = identity.to_public()
    return Scheme(
        lambda name, text: b64encode(age.encrypt(text, [recipient])).decode(),
        lambda name, token: age.decrypt(b64decode(token), [identity]),
        ("pyrage",),
    )


def nacl_sealed_box() -> Scheme:
    from nacl.public import PrivateKey, SealedBox

    private = PrivateKey.generate()
    sender, receiver = SealedBox(private.public_key), SealedBox(private)
    return Scheme(
        lambda name, text: b64encode(sender.encrypt(text)).decode(),
        lambda name, token: receiver.decrypt(b64decode(token)),
        ("PyNaCl",),
    )


# ---- no encryption at all: what parsing and printing alone cost ----


def json_alone() -> Scheme:
    return Scheme(None, None, ())


def orjson_alone() -> Scheme:
    import orjson  # noqa: F401

    return Scheme(None, None, ("orjson",))


SCHEMES: dict[str, Callable[[], Scheme]] = {
    scheme.__name__: scheme
    for scheme in (
        naive_liboqs,
        naive_cryptography,
        hpke_cryptography,
        hpke_tink,
        tink_kms_envelope,
        tink_aead,
        aws_esdk,
        aws_esdk_caching,
        aws_esdk_mpl,
        mongodb_csfle,
        pyrage,
        nacl_sealed_box,
        jwe_a256kw,
        fernet,
        aes_gcm,
        json_alone,
        orjson_alone,
    )
}
