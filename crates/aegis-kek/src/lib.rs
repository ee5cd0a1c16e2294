//! Where a KEK's private half rests while nothing runs, and how it is brought back.
//!
//! | module | what it holds | standard |
//! |---|---|---|
//! | `provider` | [`KekProvider`], what every provider is and says | |
//! | `kek` | [`Kek`], the key once it was loaded | |
//! | `fault` | why a provider is not usable, sorted | |
//! | `variables` | settings as they are read, from the process or from a file | |
//! | `variables_file` | a file of settings, for a service manager and a shell alike | |
//! | `known_variables` | every variable by name, with what it must look like | |
//! | `settings` | why the settings of a provider do not make one | |
//! | `private_file` | reading what only its owner may read | |
//! | `armour` | age files in text | RFC 7468 |
//! | `kek_file` | the text of a key file under a passphrase | age v1 |
//! | `base64_text` | base64 as people paste it | RFC 4648 §4 |
//! | `select` | [`get_kek_provider`]: KMS → HSM → environment → (file) → in-memory | |
//! | `container` | a private key under a 32-byte key that a device wrapped | SP 800-38D |
//! | `aws_kms`, `pkcs11`, `environment`, `in_memory`, `file` | one provider each | PKCS#11 2.40/3.0, RFC 5649, age v1 |
//!
//! What never happens here: a provider that is configured but broken is not replaced by a weaker one; a key whose
//! halves do not belong together is not given out; no message, log line or `Debug` has a secret in it.

mod armour;
#[cfg(feature = "kms")]
pub mod aws_kms;
mod base64_text;
mod container;
#[cfg(feature = "environment")]
mod environment;
mod fault;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "in-memory")]
mod in_memory;
mod kek;
mod kek_file;
pub mod known_variables;
#[cfg(feature = "hsm")]
pub mod pkcs11;
mod private_file;
mod provider;
mod select;
mod settings;
mod variables;
mod variables_file;

#[cfg(feature = "kms")]
pub use aws_kms::{AwsKmsKekProvider, AwsKmsSettings, KmsFault};
pub use container::{Container, ContainerError, MAX_CONTAINER_LEN, MAX_WRAPPED_KEY_LEN, WrapMethod};
#[cfg(feature = "environment")]
pub use environment::EnvironmentKekProvider;
pub use fault::{LoadError, ProviderFault};
#[cfg(feature = "file")]
pub use file::{FileKekProvider, Passphrase, PassphraseBox, PassphraseBoxFault, PassphraseSource};
#[cfg(feature = "in-memory")]
pub use in_memory::InMemoryKekProvider;
pub use kek::Kek;
pub use kek_file::{KekFile, KekFileError, KekFileFault, MAX_KEK_FILE_LEN};
pub use known_variables::{Form, KNOWN_VARIABLES, KnownVariable};
#[cfg(feature = "hsm")]
pub use pkcs11::{HsmFault, HsmKekProvider, HsmSettings, HsmToken};
pub use private_file::{PrivateFileError, read_private};
pub use provider::{Health, KekProvider, LastWorked, ProviderKind, SecurityLevel, Standing, UnknownProvider};
pub use select::{SelectError, get_kek_provider, master_public_key};
pub use settings::SettingsError;
pub use variables::{
    MAX_VALUE_LEN, NotUnicode, SecretText, VariableError, VariableFault, VariableState, Variables,
};
pub use variables_file::{
    LineFault, MAX_VARIABLES_FILE_LEN, SettingFault, UnwritableSetting, VariablesFile, VariablesFileError,
};
