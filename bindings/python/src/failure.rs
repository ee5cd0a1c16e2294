//! From an error of the crates to the exception that stands for it. Messages, causes and advice are those of the crates.

use std::error::Error;

use aegis_approval::{
    NameError, NewRequestError, ReadRequestError, ReadSignedError, RegistryError, TextError,
};
use aegis_crypto::{
    Bip322PrivateKeyError, Bip322PublicKeyError, Bip322SignError, Bip322SignatureError, CustodianKeyError,
    CustodianPublicKeyError, CustodianSignError, DecapsulateError, EncapsulateError, HybridPrivateKeyError,
    HybridPublicKeyError, OpenError, RandomError, SealError, TaprootAddressError, WifError,
};
use aegis_deployment::{
    FollowError, KeyringError, MakeError, OpenPipelineError, OpeningError, PipelineConfigError, StateDirError,
};
use aegis_kek::{
    KekFileError, LoadError, SelectError, SettingsError, VariableError,
    aws_kms::{KmsProvisionError, KmsSettingsError},
    file::{KekFileWriteError, PassphraseError, PassphraseFault},
    pkcs11::{HsmProvisionError, HsmSettingsError, PinError},
};
use aegis_keyring::{
    ActiveDekError, EnrolKekError, MakeDekError, RotationPolicyError, RotatorError, ScopeError, StoreError,
};
use aegis_pii::{
    CatalogueConfigError, CatalogueError, DecryptError, DekNameError, EncryptError, OptionsError,
    PriorityError,
};
use aegis_telemetry::{
    DeadLetterFileError, EmitError, FileSinkError, FlushError, SpoolError, StartError, StdoutError,
    WebSettingsError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyTuple};

/// An error of the crates, and the exception for it.
pub(crate) trait Failure: Error {
    /// Its class in `aegis_governance.errors`.
    fn class(&self) -> &'static str;

    /// What to do about it.
    fn advice(&self) -> Option<String>;
}

macro_rules! failures {
    ($($error:ty => $class:literal,)*) => {$(
        impl Failure for $error {
            fn class(&self) -> &'static str {
                $class
            }

            fn advice(&self) -> Option<String> {
                self.help()
            }
        }
    )*};
}

failures! {
    ActiveDekError => "KeyringError",
    Bip322PrivateKeyError => "KeyFormatError",
    Bip322PublicKeyError => "KeyFormatError",
    Bip322SignatureError => "KeyFormatError",
    Bip322SignError => "SignError",
    CatalogueConfigError => "CatalogueError",
    CatalogueError => "CatalogueError",
    CustodianKeyError => "KeyFormatError",
    CustodianPublicKeyError => "KeyFormatError",
    CustodianSignError => "SignError",
    DeadLetterFileError => "PipelineError",
    DecapsulateError => "SealError",
    EncapsulateError => "SealError",
    EnrolKekError => "KeyringError",
    FileSinkError => "PipelineError",
    FlushError => "FlushError",
    FollowError => "KeyringError",
    HsmProvisionError => "KEKError",
    HsmSettingsError => "KEKSettingsError",
    HybridPrivateKeyError => "KeyFormatError",
    HybridPublicKeyError => "KeyFormatError",
    KekFileError => "KEKFileError",
    KekFileWriteError => "KEKFileError",
    KeyringError => "KeyringError",
    KmsProvisionError => "KEKError",
    KmsSettingsError => "KEKSettingsError",
    MakeDekError => "KeyringError",
    MakeError => "KeyringError",
    NewRequestError => "ApprovalError",
    OpenError => "NotAuthenticError",
    OpenPipelineError => "PipelineError",
    OpeningError => "KeyringError",
    OptionsError => "OptionsError",
    PassphraseError => "KEKSettingsError",
    PinError => "KEKSettingsError",
    PipelineConfigError => "PipelineError",
    RandomError => "AegisError",
    ReadRequestError => "ApprovalError",
    ReadSignedError => "ApprovalError",
    RegistryError => "ApprovalError",
    RotatorError => "RotatorError",
    SealError => "SealError",
    SettingsError => "KEKSettingsError",
    SpoolError => "PipelineError",
    StartError => "StartError",
    StateDirError => "KeyringError",
    StdoutError => "PipelineError",
    StoreError => "KeyringError",
    TaprootAddressError => "KeyFormatError",
    TextError => "ApprovalError",
    VariableError => "KEKSettingsError",
    WebSettingsError => "PipelineError",
    WifError => "KeyFormatError",
}

/// Those that say all there is to say in their message.
macro_rules! plain_failures {
    ($($error:ty => $class:literal,)*) => {$(
        impl Failure for $error {
            fn class(&self) -> &'static str {
                $class
            }

            fn advice(&self) -> Option<String> {
                None
            }
        }
    )*};
}

plain_failures! {
    DekNameError => "OptionsError",
    NameError => "ApprovalError",
    PassphraseFault => "KEKSettingsError",
    PriorityError => "CatalogueError",
    RotationPolicyError => "OptionsError",
    ScopeError => "OptionsError",
}

impl Failure for EmitError {
    fn class(&self) -> &'static str {
        match self {
            Self::Closed => "ClosedError",
            Self::Shed | Self::TooLong { .. } | Self::Failed(_) => "EmitError",
        }
    }

    fn advice(&self) -> Option<String> {
        None
    }
}

impl Failure for EncryptError {
    fn class(&self) -> &'static str {
        match self {
            Self::Event(_) | Self::EventId(_) => "EventError",
            Self::Dek(_) | Self::Seal(_) | Self::Clock(_) => "EncryptError",
        }
    }

    fn advice(&self) -> Option<String> {
        self.help()
    }
}

impl Failure for DecryptError {
    fn class(&self) -> &'static str {
        match self {
            Self::Event(_) | Self::EventId(_) => "EventError",
            Self::Field { .. } => "DecryptError",
        }
    }

    fn advice(&self) -> Option<String> {
        self.help()
    }
}

impl Failure for SelectError {
    fn class(&self) -> &'static str {
        match self {
            Self::Settings(_) | Self::Variable(_) => "KEKSettingsError",
            Self::Unknown(_)
            | Self::NotBuilt { .. }
            | Self::PublicKeyAlone
            | Self::NoPublicKey
            | Self::NotDurable
            | Self::Generate(_) => "KEKSelectionError",
        }
    }

    fn advice(&self) -> Option<String> {
        self.help()
    }
}

impl Failure for LoadError {
    fn class(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "KEKUnavailableError",
            Self::Denied { .. } => "KEKDeniedError",
            Self::Broken { .. } => "KEKBrokenError",
            Self::WrongKey { .. } => "KEKMismatchError",
        }
    }

    fn advice(&self) -> Option<String> {
        self.help()
    }
}

/// Passes an error on as an exception.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception for the error.
    ///
    /// # Errors
    ///
    /// The exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Failure> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error))
    }
}

/// The exception for an error.
pub(crate) fn exception(py: Python<'_>, error: &impl Failure) -> PyErr {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(behind) = cause {
        causes.push(behind.to_string());
        cause = behind.source();
    }
    let raised = Raised {
        class: error.class(),
        message: error.to_string(),
        causes,
        help: error.advice(),
        kind: kind_of(error),
    };
    raised.into_exception(py)
}

/// An error and its causes, for where no exception can go.
pub(crate) fn in_one_line(error: &impl Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(behind) = cause {
        line.push_str(": ");
        line.push_str(&behind.to_string());
        cause = behind.source();
    }
    line
}

/// An exception in the making.
pub(crate) struct Raised {
    pub(crate) class: &'static str,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) help: Option<String>,
    pub(crate) kind: String,
}

impl Raised {
    /// One that has no cause.
    pub(crate) fn new(class: &'static str, kind: &str, message: impl Into<String>, help: &str) -> Self {
        Self {
            class,
            message: message.into(),
            causes: Vec::new(),
            help: Some(help.to_owned()).filter(|help| !help.is_empty()),
            kind: kind.to_owned(),
        }
    }

    /// Makes it. If that fails, what is raised says why.
    pub(crate) fn into_exception(self, py: Python<'_>) -> PyErr {
        let Self { class, message, causes, help, kind } = self;
        let make = || {
            let fields = PyDict::new(py);
            fields.set_item("help", help)?;
            fields.set_item("kind", kind)?;
            fields.set_item("causes", PyTuple::new(py, causes)?)?;
            errors(py)?.getattr(class)?.call((message,), Some(&fields))
        };
        match make() {
            Ok(value) => PyErr::from_value(value),
            Err(error) => error,
        }
    }
}

/// The module `aegis_governance.errors`.
fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    ERRORS
        .get_or_try_init(py, || PyModule::import(py, "aegis_governance.errors").map(Bound::unbind))
        .map(|module| module.bind(py))
}

/// The name of the case, as it begins the error's `Debug`.
fn kind_of(error: &impl Error) -> String {
    let shown = format!("{error:?}");
    shown.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}
