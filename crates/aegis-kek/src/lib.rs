//! Where a KEK's private half rests while nothing runs, and how it is brought back.
//!
//! | module | what it holds | standard |
//! |---|---|---|
//! | `provider` | [`KekProvider`], what every provider is and says | |
//! | `kek` | [`Kek`], the key once it was loaded | |
//! | `fault` | why a provider is not usable, sorted | |
//! | `variables` | settings as they are read: from the process, from a file | |
//! | `select` | [`get_kek_provider`]: KMS → HSM → environment → (file) → in-memory | |
//! | `container` | a private key under a 32-byte key that a device wrapped | SP 800-38D |
//! | `aws_kms`, `pkcs11`, `environment`, `in_memory`, `file` | one provider each | PKCS#11 2.40/3.0, RFC 5649, age v1 |
//!
//! What never happens here: a provider that is configured but broken is not replaced by a weaker one; a key whose
//! halves do not belong together is not given out; no message, log line or `Debug` has a secret in it.

mod fault;
mod kek;
mod provider;
mod variables;

pub use fault::{LoadError, ProviderFault};
pub use kek::Kek;
pub use provider::{Health, KekProvider, LastWorked, ProviderKind, SecurityLevel, Standing, UnknownProvider};
pub use variables::{NotUnicode, SecretText, Variables};
