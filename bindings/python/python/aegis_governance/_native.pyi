"""Types of the compiled part. The documentation is in its docstrings; the names are public in ``aegis_governance``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Union, final, overload

from typing_extensions import Self

from ._secret import SecretBytes

__version__: Final[str]

_Bytes = Union[bytes, bytearray, memoryview]
_Bound = Union[_Bytes, Sequence[_Bytes]]
_Purpose = Literal["field", "dek-wrap", "backup"]
_Path = Union[str, PathLike[str]]
_Form = Literal["self-contained", "compact"]
_Hash = Literal["hmac-sha256", "sha256"]
_BindBy = Literal["pointer", "name"]
_EventForm = Literal["dict", "str", "bytes"]
_OnError = Literal["raise", "return"]
_Event = Union[dict[str, Any], str, _Bytes]
_Keys = Union["KEKProvider", "KEK", "Keyring", Mapping[str, _Bytes]]

class _ArrowSource(Protocol):
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

# KEKs

def get_kek_provider(
    name: Literal["kms", "hsm", "environment", "file", "in_memory"] | str | None = None,
) -> KEKProvider: ...
def key_id(public_key: _Bytes) -> str: ...

class KEKProvider:
    def get_public_key(self) -> bytes: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def key_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def security_level(self) -> str: ...
    def health(self) -> Health: ...
    def load(self) -> KEK: ...
    def wrap(self, key: _Bytes, associated_data: _Bound) -> bytes: ...
    def unwrap(self, wrapped: _Bytes, associated_data: _Bound) -> SecretBytes: ...

@final
class AWSKMSKEKProvider(KEKProvider):
    def __new__(
        cls,
        kms_key_id: str,
        wrapped_private_key: _Bytes,
        public_key_bytes: _Bytes,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        allow_plain_http: bool = False,
    ) -> Self: ...
    @classmethod
    def from_environment(cls) -> AWSKMSKEKProvider: ...
    @staticmethod
    def provision(
        kms_key_id: str,
        private_key: _Bytes,
        *,
        form: Literal["direct", "data-key"] = "direct",
        region: str | None = None,
        endpoint_url: str | None = None,
        allow_plain_http: bool = False,
    ) -> bytes: ...

@final
class HSMKEKProvider(KEKProvider):
    def __new__(
        cls,
        pkcs11_lib: _Path,
        token_label: str,
        pin: str,
        wrapping_key_label: str,
        wrapped_private_key: _Bytes,
        public_key_bytes: _Bytes,
        *,
        session_pool_size: int = 4,
        init_args: str | None = None,
    ) -> Self: ...
    @classmethod
    def from_environment(cls, session_pool_size: int | None = None) -> HSMKEKProvider: ...
    @staticmethod
    def provision(
        pkcs11_lib: _Path,
        token_label: str,
        pin: str,
        wrapping_key_label: str,
        private_key: _Bytes,
        *,
        direct: bool = False,
        make_wrapping_key: bool = False,
        init_args: str | None = None,
    ) -> bytes: ...

@final
class EnvironmentKEKProvider(KEKProvider):
    def __new__(cls, *, public_key_bytes: _Bytes | None = None, private_key: _Bytes | None = None) -> Self: ...
    @classmethod
    def from_environment(cls) -> EnvironmentKEKProvider: ...

@final
class FileKEKProvider(KEKProvider):
    def __new__(
        cls, path: _Path, passphrase: str | None = None, *, passphrase_file: _Path | None = None
    ) -> Self: ...
    @classmethod
    def from_environment(cls) -> FileKEKProvider: ...
    @classmethod
    def create(cls, path: _Path, passphrase: str, private_key: _Bytes | None = None) -> FileKEKProvider: ...

@final
class InMemoryKEKProvider(KEKProvider):
    def __new__(cls) -> Self: ...

@final
class KEK:
    @property
    def key_id(self) -> str: ...
    @property
    def public_key(self) -> bytes: ...
    def open(self, sealed: _Bytes, associated_data: _Bound, *, purpose: _Purpose = "dek-wrap") -> SecretBytes: ...

@final
class Health:
    @property
    def provider(self) -> str: ...
    @property
    def security_level(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def status(self) -> Literal["untried", "working", "failing"]: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def last_worked(self) -> str | None: ...
    @property
    def detail(self) -> dict[str, str]: ...
    def as_dict(self) -> dict[str, Any]: ...

# Keys, boxes and signatures

@final
class HybridKEMProvider:
    PUBLIC_KEY_LEN: Final[int]
    PRIVATE_KEY_LEN: Final[int]
    ENCAPSULATION_LEN: Final[int]
    BOX_OVERHEAD: Final[int]
    def __new__(cls) -> Self: ...
    @property
    def algorithm_name(self) -> str: ...
    def generate_keypair(self) -> tuple[SecretBytes, bytes]: ...
    def public_key_of(self, private_key: _Bytes) -> bytes: ...
    def key_id(self, public_key: _Bytes) -> str: ...
    def encapsulate(self, public_key: _Bytes) -> tuple[bytes, SecretBytes]: ...
    def decapsulate(self, encapsulation: _Bytes, private_key: _Bytes) -> SecretBytes: ...
    def encrypt(
        self, public_key: _Bytes, plaintext: _Bytes, associated_data: _Bound, *, purpose: _Purpose = "field"
    ) -> bytes: ...
    def decrypt(
        self, private_key: _Bytes, sealed: _Bytes, associated_data: _Bound, *, purpose: _Purpose = "field"
    ) -> bytes: ...

@final
class BIP322Provider:
    def __new__(cls) -> Self: ...
    @property
    def algorithm_name(self) -> str: ...
    def generate_keypair(self) -> tuple[SecretBytes, bytes]: ...
    def public_key_of(self, private_key: _Bytes) -> bytes: ...
    def key_id(self, public_key: _Bytes) -> str: ...
    def address(
        self, public_key: _Bytes, network: Literal["mainnet", "testnet", "regtest"] = "mainnet"
    ) -> str: ...
    def sign(self, message_hash: _Bytes, private_key: _Bytes) -> str: ...
    def verify(self, signature: str | _Bytes, message_hash: _Bytes, public_key: _Bytes) -> bool: ...
    def sign_message(self, text: str, private_key: _Bytes) -> str: ...
    def verify_message(self, signature: str | _Bytes, text: str, public_key: _Bytes) -> bool: ...
    def private_key_from_wif(self, wif: str) -> SecretBytes: ...

# Personal fields

@final
class Catalogue:
    def __new__(cls) -> Self: ...
    @staticmethod
    def from_json(config: str) -> Catalogue: ...
    @staticmethod
    def of(fields: Sequence[str], *, priority: Literal["critical", "high", "medium"] = "critical") -> Catalogue: ...
    def extended(
        self, fields: Sequence[str], *, priority: Literal["critical", "high", "medium"] = "critical"
    ) -> Catalogue: ...
    def at_least(self, priority: Literal["critical", "high", "medium"]) -> Catalogue: ...
    def only(self, fields: Sequence[str]) -> Catalogue: ...
    def without(self, fields: Sequence[str]) -> Catalogue: ...
    @property
    def version(self) -> str: ...
    @property
    def fields(self) -> list[dict[str, str]]: ...
    def __len__(self) -> int: ...

@final
class ArrowStream:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class SearchTokens:
    def __new__(cls, key: _Bytes, fields: Sequence[str], *, epoch: int = 1) -> Self: ...
    def token(self, field: str, value: object, *, tenant: str | None = None) -> str: ...
    @property
    def fields(self) -> list[str]: ...
    @property
    def epoch(self) -> int: ...

def inspect(event: _Event, *, catalogue: Catalogue | None = None) -> dict[str, Any]: ...

@final
class PIIEncryptionEnricher:
    def __new__(
        cls,
        public_key: _Bytes,
        dek_version: str,
        *,
        catalogue: Catalogue | None = None,
        form: _Form = "self-contained",
        plaintext_hash: _Hash = "hmac-sha256",
        bind_by: _BindBy = "pointer",
        tenant: str | None = None,
        event_id_member: str | None = None,
        catalogue_mark: bool = False,
        search_tokens: SearchTokens | None = None,
        max_event_len: int | None = None,
    ) -> Self: ...
    @property
    def dek_version(self) -> str: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @overload
    def encrypt(self, event: dict[str, Any]) -> dict[str, Any]: ...
    @overload
    def encrypt(self, event: str) -> str: ...
    @overload
    def encrypt(self, event: _Bytes) -> bytes: ...
    @overload
    def __call__(self, event: dict[str, Any]) -> dict[str, Any]: ...
    @overload
    def __call__(self, event: str) -> str: ...
    @overload
    def __call__(self, event: _Bytes) -> bytes: ...
    def encrypt_batch(self, events: Iterable[_Event], *, errors: _OnError = "raise") -> list[Any]: ...
    def encrypt_arrow(
        self, data: _ArrowSource, *, events: Sequence[str] | None = None, fields: Sequence[str] | None = None
    ) -> ArrowStream: ...

@final
class PIIDecryptor:
    def __new__(
        cls,
        keys: _Keys,
        *,
        fields: Sequence[str] | None = None,
        unopenable: Literal["refuse", "leave"] = "refuse",
        tenant: str | None = None,
        event_id_member: str | None = None,
        max_event_len: int | None = None,
    ) -> Self: ...
    @overload
    def decrypt(self, event: dict[str, Any]) -> dict[str, Any]: ...
    @overload
    def decrypt(self, event: str) -> str: ...
    @overload
    def decrypt(self, event: _Bytes) -> bytes: ...
    @overload
    def __call__(self, event: dict[str, Any]) -> dict[str, Any]: ...
    @overload
    def __call__(self, event: str) -> str: ...
    @overload
    def __call__(self, event: _Bytes) -> bytes: ...
    def decrypt_batch(self, events: Iterable[_Event], *, errors: _OnError = "raise") -> list[Any]: ...
    def decrypt_arrow(
        self, data: _ArrowSource, *, events: Sequence[str] | None = None, fields: Sequence[str] | None = None
    ) -> ArrowStream: ...
    def forget(self) -> None: ...

@final
class Keyring:
    def __new__(cls, address: str | None = None, kek_provider: KEKProvider | None = None) -> Self: ...
    @staticmethod
    def in_state_dir(state_dir: _Path, kek_provider: KEKProvider | None = None) -> Keyring: ...
    @staticmethod
    def create(address: str, kek_provider: KEKProvider, *, scope: str = "default") -> Keyring: ...
    def active_version(self, scope: str = "default") -> str: ...
    def active_public_key(self, scope: str = "default") -> bytes: ...
    def rotate(self, scope: str = "default") -> str: ...
    def versions(self, scope: str | None = None) -> list[dict[str, Any]]: ...
    def enricher(
        self,
        scope: str = "default",
        *,
        catalogue: Catalogue | None = None,
        form: _Form = "self-contained",
        plaintext_hash: _Hash = "hmac-sha256",
        bind_by: _BindBy = "pointer",
        tenant: str | None = None,
        event_id_member: str | None = None,
        catalogue_mark: bool = False,
        search_tokens: SearchTokens | None = None,
        max_event_len: int | None = None,
    ) -> PIIEncryptionEnricher: ...
    @property
    def location(self) -> str: ...

@final
class DEKRotator:
    def __new__(
        cls,
        keyring: Keyring | None = None,
        *,
        scope: str = "default",
        max_age_days: float = 90.0,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        on_rotation: Callable[[str, str], object] | None = None,
    ) -> Self: ...
    def run_once(self) -> str | None: ...
    def rotate(self) -> str: ...
    @property
    def current_version(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...

# Pipelines

class Sink: ...

@final
class FileSink(Sink):
    def __new__(
        cls,
        path: _Path,
        *,
        max_bytes: int | None = None,
        max_age: float | None = None,
        keep: int | None = None,
        sync: Literal["each-batch", "never"] = "each-batch",
    ) -> Self: ...

@final
class StdoutSink(Sink):
    def __new__(cls) -> Self: ...

@final
class HTTPSink(Sink):
    def __new__(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        bearer_token: str | None = None,
        basic: tuple[str, str] | None = None,
        form: Literal["lines", "array"] = "lines",
        timeout: float = 10.0,
        ca_file: _Path | None = None,
    ) -> Self: ...

@final
class OTLPSink(Sink):
    def __new__(
        cls,
        url: str,
        *,
        resource: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        bearer_token: str | None = None,
        basic: tuple[str, str] | None = None,
        timeout: float = 10.0,
        ca_file: _Path | None = None,
    ) -> Self: ...

@final
class NATSSink(Sink):
    def __new__(
        cls,
        urls: str | Sequence[str],
        subject: str,
        *,
        stream: str | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        timeout: float = 10.0,
        ca_file: _Path | None = None,
    ) -> Self: ...

class TelemetryPipeline:
    def __new__(
        cls,
        *,
        workers: int | None = None,
        queue_events: int = 8192,
        queue_bytes: int = 16777216,
        when_full: Literal["block", "shed"] = "block",
        max_event_len: int | None = None,
        dead_letters: _Path | None = None,
    ) -> Self: ...
    @classmethod
    def from_config(cls, path: _Path, *, state_dir: _Path | None = None) -> Self: ...
    @property
    def drain_timeout(self) -> float: ...
    def add_enricher(
        self, enricher: PIIEncryptionEnricher | Callable[[Any], Any], *, form: _EventForm = "dict"
    ) -> None: ...
    def add_sink(
        self,
        sink: Sink | Callable[[Any], object],
        *,
        name: str | None = None,
        form: _EventForm = "dict",
        batch: bool = False,
        spool: _Path | None = None,
        batch_events: int = 512,
        linger: float = 0.0,
    ) -> None: ...
    def start(self) -> None: ...
    def emit(self, event: _Event, timeout: float | None = None) -> int: ...
    def try_emit(self, event: _Event) -> int | None: ...
    def flush(self, timeout: float | None = 30.0) -> Settled: ...
    def close(self, timeout: float | None = 30.0) -> Settled: ...
    @property
    def acknowledged(self) -> int: ...
    @property
    def is_running(self) -> bool: ...
    def metrics(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...

@final
class Settled:
    @property
    def through(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def letters_lost(self) -> int: ...
    @property
    def shed(self) -> int: ...
    @property
    def shed_by_spools(self) -> int: ...

# Approvals

@final
class OverrideRequest:
    def __new__(
        cls,
        subject: str,
        justification: str,
        requested_by: str,
        *,
        audience: str,
        failed_gates: Sequence[str] = ...,
        expires_in: int = 86400,
    ) -> Self: ...
    @staticmethod
    def from_json(text: str) -> OverrideRequest: ...
    def to_json(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def hash_hex(self) -> str: ...
    @property
    def requested_by(self) -> str: ...
    @property
    def justification(self) -> str: ...
    @property
    def expires(self) -> str: ...
    @property
    def risk(self) -> str: ...
    def statement(
        self, signer: str, role: str, signed: str, *, decision: Literal["approve", "reject"] = "approve"
    ) -> str: ...
    def sign(
        self, signer: str, role: str, private_key: _Bytes, *, decision: Literal["approve", "reject"] = "approve"
    ) -> str: ...

@final
class DualSignatureValidator:
    def __new__(
        cls, risk_lead: str, risk_lead_key: _Bytes, security_lead: str, security_lead_key: _Bytes
    ) -> Self: ...
    def validate(self, request: OverrideRequest, signatures: Sequence[str]) -> DualChecks: ...

@final
class DualChecks:
    @property
    def is_valid(self) -> bool: ...
    @property
    def failed(self) -> dict[str, str]: ...
    def __bool__(self) -> bool: ...
