//! The variables that are known, in the order of the guide, and after them those that it does not have.
//!
//! `aegis doctor` goes through this table, so a variable that a provider reads belongs here.

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey};

use crate::variables::{VariableError, VariableFault, Variables};

/// Key of AWS KMS: an ARN, an alias or an id.
pub const KMS_KEY_ID: &str = "AEGIS_KMS_KEY_ID";
/// The private key, wrapped by KMS.
pub const KMS_WRAPPED_PRIVATE_KEY: &str = "AEGIS_KMS_WRAPPED_PRIVATE_KEY";
/// `1` where the private key may travel to KMS without TLS: to an emulator in a network of its own.
pub const KMS_ALLOW_PLAIN_HTTP: &str = "AEGIS_KMS_ALLOW_PLAIN_HTTP";
/// The public key, for every provider but in-memory.
pub const MASTER_KEK_PUBLIC: &str = "AEGIS_MASTER_KEK_PUBLIC";
/// The private key, for the environment provider.
pub const MASTER_KEK_PRIVATE: &str = "AEGIS_MASTER_KEK_PRIVATE";
/// The PKCS#11 library of the HSM.
pub const HSM_PKCS11_LIB: &str = "AEGIS_HSM_PKCS11_LIB";
/// The label of the token.
pub const HSM_TOKEN_LABEL: &str = "AEGIS_HSM_TOKEN_LABEL";
/// The PIN of the token's user.
pub const HSM_PIN: &str = "AEGIS_HSM_PIN";
/// The label of the AES key in the token.
pub const HSM_WRAPPING_KEY_LABEL: &str = "AEGIS_HSM_WRAPPING_KEY_LABEL";
/// The private key, wrapped by the HSM.
pub const HSM_WRAPPED_PRIVATE_KEY: &str = "AEGIS_HSM_WRAPPED_PRIVATE_KEY";
/// A file that holds the PIN.
pub const HSM_PIN_FILE: &str = "AEGIS_HSM_PIN_FILE";
/// A descriptor to read the PIN from.
pub const HSM_PIN_FD: &str = "AEGIS_HSM_PIN_FD";
/// How many sessions the pool has.
pub const HSM_SESSION_POOL_SIZE: &str = "AEGIS_HSM_SESSION_POOL_SIZE";
/// A mechanism of one vendor, by name.
pub const HSM_MECHANISM: &str = "AEGIS_HSM_MECHANISM";
/// The initialisation string of modules that want one.
pub const HSM_INIT_ARGS: &str = "AEGIS_HSM_INIT_ARGS";
/// The key file under a passphrase.
pub const KEK_FILE: &str = "AEGIS_KEK_FILE";
/// Its passphrase.
pub const PASSPHRASE: &str = "AEGIS_PASSPHRASE";
/// A file that holds the passphrase.
pub const PASSPHRASE_FILE: &str = "AEGIS_PASSPHRASE_FILE";
/// `1` where no key may be lost when the process ends.
pub const REQUIRE_DURABLE_KEK: &str = "AEGIS_REQUIRE_DURABLE_KEK";

/// The most bytes that KMS makes of what it encrypts, and any wrapping with it.
pub const MAX_WRAPPED_PRIVATE_KEY_LEN: usize = 6144;
/// The most sessions of a pool.
pub const MAX_SESSIONS: u32 = 1024;

/// A variable that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownVariable {
    /// Its name.
    pub name: &'static str,
    /// What it is, in the words of the guide.
    pub purpose: &'static str,
    /// Who needs it, in the words of the guide.
    pub required_by: &'static str,
    /// What its value has to look like.
    pub form: Form,
}

impl KnownVariable {
    /// Whether its value is never shown.
    pub const fn is_secret(&self) -> bool {
        matches!(self.form, Form::PrivateKey | Form::Credential)
    }
}

/// What a value has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Base64 of a public key.
    PublicKey,
    /// Base64 of a private key.
    PrivateKey,
    /// Base64 of at most so many bytes.
    Base64(usize),
    /// A text on one line.
    Text,
    /// The path of a file.
    Path,
    /// A secret text on one line.
    Credential,
    /// `0` or `1`.
    Flag,
    /// A number in this range.
    Number(u32, u32),
}

impl Form {
    pub(crate) fn check(self, variables: &Variables, name: &str) -> Result<(), VariableError> {
        match self {
            Self::PublicKey => variables.public_key().map(|_| ()),
            Self::PrivateKey => match variables.base64(name, HYBRID_PRIVATE_KEY_LEN)? {
                None => Ok(()),
                Some(raw) => HybridPrivateKey::import(&raw)
                    .map(|_| ())
                    .map_err(|fault| VariableFault::PrivateKey(fault).of(name)),
            },
            Self::Base64(max_len) => variables.base64(name, max_len).map(|_| ()),
            Self::Text | Self::Path | Self::Credential => match variables.text(name)? {
                Some(text) if text.expose().chars().any(char::is_control) => {
                    Err(VariableFault::ControlCharacter.of(name))
                }
                _ => Ok(()),
            },
            Self::Flag => variables.flag(name).map(|_| ()),
            Self::Number(min, max) => variables.number(name, min..=max).map(|_| ()),
        }
    }
}

/// Every known variable: first the guide's, in its order and words, then ours.
pub const KNOWN_VARIABLES: &[KnownVariable] = &[
    KnownVariable {
        name: KMS_KEY_ID,
        purpose: "AWS KMS key ARN",
        required_by: "KMS KEK provider",
        form: Form::Text,
    },
    KnownVariable {
        name: KMS_WRAPPED_PRIVATE_KEY,
        purpose: "KMS-wrapped HybridKEM private key",
        required_by: "KMS KEK provider",
        form: Form::Base64(MAX_WRAPPED_PRIVATE_KEY_LEN),
    },
    KnownVariable {
        name: MASTER_KEK_PUBLIC,
        purpose: "HybridKEM public key (1,216 bytes, base64)",
        required_by: "All KEK providers except in-memory",
        form: Form::PublicKey,
    },
    KnownVariable {
        name: MASTER_KEK_PRIVATE,
        purpose: "HybridKEM private key (2,432 bytes, base64)",
        required_by: "Environment KEK provider",
        form: Form::PrivateKey,
    },
    KnownVariable {
        name: HSM_PKCS11_LIB,
        purpose: "Path to PKCS#11 library",
        required_by: "HSM KEK provider",
        form: Form::Path,
    },
    KnownVariable {
        name: HSM_TOKEN_LABEL,
        purpose: "HSM token label",
        required_by: "HSM KEK provider",
        form: Form::Text,
    },
    KnownVariable {
        name: HSM_PIN,
        purpose: "HSM user PIN",
        required_by: "HSM KEK provider",
        form: Form::Credential,
    },
    KnownVariable {
        name: HSM_WRAPPING_KEY_LABEL,
        purpose: "HSM AES wrapping key label",
        required_by: "HSM KEK provider",
        form: Form::Text,
    },
    KnownVariable {
        name: HSM_WRAPPED_PRIVATE_KEY,
        purpose: "HSM-wrapped HybridKEM private key",
        required_by: "HSM KEK provider",
        form: Form::Base64(MAX_WRAPPED_PRIVATE_KEY_LEN),
    },
    KnownVariable {
        name: KMS_ALLOW_PLAIN_HTTP,
        purpose: "1 admits a KMS endpoint on another host without TLS",
        required_by: "nobody",
        form: Form::Flag,
    },
    KnownVariable {
        name: HSM_PIN_FILE,
        purpose: "File that holds the HSM user PIN",
        required_by: "HSM KEK provider, if AEGIS_HSM_PIN is not set",
        form: Form::Path,
    },
    KnownVariable {
        name: HSM_PIN_FD,
        purpose: "Descriptor to read the HSM user PIN from",
        required_by: "HSM KEK provider, if neither is set",
        form: Form::Number(0, u32::MAX >> 1),
    },
    KnownVariable {
        name: HSM_SESSION_POOL_SIZE,
        purpose: "Sessions of the HSM pool (4)",
        required_by: "nobody",
        form: Form::Number(1, MAX_SESSIONS),
    },
    KnownVariable {
        name: HSM_MECHANISM,
        purpose: "Vendor mechanism of the HSM: cloudhsm-kwp or yubico-ccm",
        required_by: "AWS CloudHSM, YubiHSM 2",
        form: Form::Text,
    },
    KnownVariable {
        name: HSM_INIT_ARGS,
        purpose: "Initialisation string of the PKCS#11 library",
        required_by: "NSS softokn",
        form: Form::Text,
    },
    KnownVariable {
        name: KEK_FILE,
        purpose: "Key file under a passphrase",
        required_by: "File KEK provider",
        form: Form::Path,
    },
    KnownVariable {
        name: PASSPHRASE,
        purpose: "Passphrase of the key file",
        required_by: "File KEK provider, to open; or the next one, or a terminal",
        form: Form::Credential,
    },
    KnownVariable {
        name: PASSPHRASE_FILE,
        purpose: "File that holds the passphrase of the key file",
        required_by: "File KEK provider, to open; or the one before, or a terminal",
        form: Form::Path,
    },
    KnownVariable {
        name: REQUIRE_DURABLE_KEK,
        purpose: "1 refuses a KEK that is lost when the process ends",
        required_by: "nobody",
        form: Form::Flag,
    },
];

/// Ways to say one credential. Who sets one of a group has said where that credential is.
const CREDENTIAL_GROUPS: [&[&str]; 2] =
    [&[HSM_PIN, HSM_PIN_FILE, HSM_PIN_FD], &[PASSPHRASE, PASSPHRASE_FILE]];

/// The group of a credential, or `None` for any other setting.
pub(crate) fn credentials_with(name: &str) -> Option<&'static [&'static str]> {
    CREDENTIAL_GROUPS.into_iter().find(|group| group.contains(&name))
}

/// The entry of a name.
pub fn known_variable(name: &str) -> Option<&'static KnownVariable> {
    KNOWN_VARIABLES.iter().find(|known| known.name == name)
}
