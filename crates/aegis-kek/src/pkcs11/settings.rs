//! Which token, which key, and what was wrapped by it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use aegis_crypto::HybridPublicKey;

use super::fault::DIRECT_LEN;
use super::mechanism::VendorMechanism;
use super::pin::Pin;
use crate::container::{Container, ContainerError};
use crate::known_variables::{
    HSM_INIT_ARGS, HSM_MECHANISM, HSM_PIN, HSM_PKCS11_LIB, HSM_SESSION_POOL_SIZE, HSM_TOKEN_LABEL,
    HSM_WRAPPED_PRIVATE_KEY, HSM_WRAPPING_KEY_LABEL, MASTER_KEK_PUBLIC, MAX_SESSIONS,
    MAX_WRAPPED_PRIVATE_KEY_LEN,
};
use crate::provider::ProviderKind;
use crate::settings::SettingsError;
use crate::variables::{VariableError, VariableFault, Variables};

/// Sessions of the pool, if nothing else is set.
pub const DEFAULT_SESSION_POOL_SIZE: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

/// How long a load waits for the device, if nothing else is set. Some want a person to touch them first.
pub const DEFAULT_ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// A token and the AES-256 key in it that wraps.
#[derive(Debug, Clone)]
pub struct HsmToken {
    /// Absolute path of the device's PKCS#11 library.
    pub module: PathBuf,
    /// The token's label.
    pub token_label: String,
    /// The wrapping key's label. One secret key has it.
    pub wrapping_key_label: String,
    /// The user's PIN.
    pub pin: Pin,
    /// How many sessions work at once, [`DEFAULT_SESSION_POOL_SIZE`] if in doubt. One more is open and does nothing.
    pub session_pool_size: NonZeroUsize,
    /// How long a load waits for the device, [`DEFAULT_ANSWER_WITHIN`] if in doubt.
    pub answer_within: Duration,
    /// A mechanism that is tried only if it is named.
    pub mechanism: Option<VendorMechanism>,
    /// The initialisation string of modules that want one, such as NSS softokn.
    pub init_args: Option<String>,
}

/// All that the HSM provider needs.
#[derive(Debug)]
pub struct HsmSettings {
    /// The token and the wrapping key.
    pub token: HsmToken,
    /// What [`provision`](super::provision) made: a container, or 2,440 bytes of RFC 5649.
    pub wrapped_private_key: Vec<u8>,
    /// The KEK's public key.
    pub public_key: HybridPublicKey,
}

/// What is stored, in either form.
pub(super) enum Wrapped {
    /// A data key was wrapped by the token, and the private key by that.
    TwoStep(Container),
    /// The token wrapped the private key itself.
    Direct(Vec<u8>),
}

impl Wrapped {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, HsmSettingsError> {
        // The other form begins like one by an accident of 2⁻⁶⁴, which `provision` would notice: it reads what it made.
        if Container::is_one(&bytes) {
            Container::parse(&bytes).map(Self::TwoStep).map_err(HsmSettingsError::Container)
        } else if bytes.len() == DIRECT_LEN {
            Ok(Self::Direct(bytes))
        } else {
            Err(HsmSettingsError::UnknownForm { found: bytes.len() })
        }
    }
}

impl HsmToken {
    /// A token with what is needed, and the rest as it is if nothing else is set.
    pub const fn new(module: PathBuf, token_label: String, wrapping_key_label: String, pin: Pin) -> Self {
        Self {
            module,
            token_label,
            wrapping_key_label,
            pin,
            session_pool_size: DEFAULT_SESSION_POOL_SIZE,
            answer_within: DEFAULT_ANSWER_WITHIN,
            mechanism: None,
            init_args: None,
        }
    }

    /// Takes the token's settings from variables: all but what was wrapped.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]: all that are missing at once, or the one that cannot be used.
    pub fn from_environment(variables: &Variables) -> Result<Self, SettingsError> {
        require_all(variables, &TOKEN_VARIABLES)?;
        let text = |name| required_text(variables, name);
        let mechanism = match variables.text(HSM_MECHANISM).map_err(malformed)? {
            None => None,
            Some(name) => Some(name.expose().parse().map_err(|_| {
                malformed(VariableFault::NotOneOf { known: VendorMechanism::NAMES }.of(HSM_MECHANISM))
            })?),
        };
        let sessions = variables.number(HSM_SESSION_POOL_SIZE, 1..=MAX_SESSIONS).map_err(malformed)?;
        let init_args = variables.text(HSM_INIT_ARGS).map_err(malformed)?;
        Ok(Self {
            module: PathBuf::from(text(HSM_PKCS11_LIB)?),
            token_label: text(HSM_TOKEN_LABEL)?,
            wrapping_key_label: text(HSM_WRAPPING_KEY_LABEL)?,
            session_pool_size: sessions
                .and_then(|count| usize::try_from(count).ok())
                .and_then(NonZeroUsize::new)
                .unwrap_or(DEFAULT_SESSION_POOL_SIZE),
            answer_within: DEFAULT_ANSWER_WITHIN,
            mechanism,
            init_args: init_args.map(|text| text.expose().to_owned()),
            // Last: reading it from a pipe takes it from there.
            pin: Pin::from_variables(variables)
                .map_err(SettingsError::Pin)?
                .ok_or_else(|| missing(HSM_PIN))?,
        })
    }
}

impl HsmSettings {
    /// Takes all settings from variables. Asks no device.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]: all that are missing at once, or the one that cannot be used.
    pub fn from_environment(variables: &Variables) -> Result<Self, SettingsError> {
        let of_the_kek = [HSM_WRAPPED_PRIVATE_KEY, MASTER_KEK_PUBLIC];
        require_all(variables, &[TOKEN_VARIABLES.as_slice(), &of_the_kek].concat())?;
        let wrapped = variables
            .base64(HSM_WRAPPED_PRIVATE_KEY, MAX_WRAPPED_PRIVATE_KEY_LEN)
            .map_err(malformed)?
            .ok_or_else(|| missing(HSM_WRAPPED_PRIVATE_KEY))?;
        let public_key =
            variables.public_key().map_err(malformed)?.ok_or_else(|| missing(MASTER_KEK_PUBLIC))?;
        let token = HsmToken::from_environment(variables)?;
        Ok(Self { token, wrapped_private_key: wrapped.to_vec(), public_key })
    }
}

/// What a token needs besides a PIN, which comes from one of three places.
const TOKEN_VARIABLES: [&str; 3] = [HSM_PKCS11_LIB, HSM_TOKEN_LABEL, HSM_WRAPPING_KEY_LABEL];

/// Names all that are missing at once, the PIN among them.
fn require_all(variables: &Variables, names: &[&'static str]) -> Result<(), SettingsError> {
    let pin_is_set = Pin::VARIABLES.iter().any(|name| variables.is_set(name));
    let mut names: Vec<_> = names.iter().copied().filter(|name| !variables.is_set(name)).collect();
    if !pin_is_set {
        // In the place that the guide gives it.
        let at = names.iter().take_while(|name| [HSM_PKCS11_LIB, HSM_TOKEN_LABEL].contains(name)).count();
        names.insert(at, HSM_PIN);
    }
    if names.is_empty() { Ok(()) } else { Err(SettingsError::Missing { kind: KIND, names }) }
}

fn required_text(variables: &Variables, name: &'static str) -> Result<String, SettingsError> {
    let value = variables.text(name).map_err(malformed)?.ok_or_else(|| missing(name))?;
    if value.expose().chars().any(char::is_control) {
        return Err(malformed(VariableFault::ControlCharacter.of(name)));
    }
    Ok(value.expose().to_owned())
}

fn malformed(source: VariableError) -> SettingsError {
    SettingsError::Malformed { kind: KIND, source }
}

fn missing(name: &'static str) -> SettingsError {
    SettingsError::Missing { kind: KIND, names: vec![name] }
}

const KIND: ProviderKind = ProviderKind::Hsm;

/// Why what is stored cannot be what an HSM wrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HsmSettingsError {
    /// Neither of the two forms.
    #[error(
        "the wrapped private key has {found} bytes and does not begin with AEGISKEK; wrapped in one step it has {DIRECT_LEN}"
    )]
    UnknownForm {
        /// Its bytes.
        found: usize,
    },
    /// It begins like a container, and is none.
    #[error("the wrapped private key cannot be read")]
    Container(#[source] ContainerError),
}

impl HsmSettingsError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownForm { .. } => {
                Some("give all of what `aegis kek provision` wrote, as base64".to_owned())
            }
            Self::Container(source) => source.help(),
        }
    }
}
