//! What can be wrong with an HSM, and whether trying again may help.

use std::io;
use std::path::PathBuf;

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, KEY_WRAP_OVERHEAD, RandomError};

use super::answer::{DeviceAnswer, Meaning, ReturnCode};
use super::mechanism::Mechanism;
use crate::container::{ContainerError, WrapMethod};

/// Bytes of a private key that was wrapped in one step, RFC 5649.
pub(super) const DIRECT_LEN: usize = HYBRID_PRIVATE_KEY_LEN + KEY_WRAP_OVERHEAD;

/// What the HSM provider met. No message has a PIN or any key material in it.
#[derive(Debug, thiserror::Error)]
pub enum HsmFault {
    /// The module could not be used.
    #[error("cannot use the PKCS#11 module {}", path.display())]
    Module {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: ModuleFault,
    },
    /// No token has the label.
    #[error("no token is labelled {label:?}; {}", listed("token", found))]
    NoToken {
        /// The label.
        label: String,
        /// Those that are there.
        found: Vec<String>,
    },
    /// More than one token has the label, and which is meant nobody can say.
    #[error("{count} tokens are labelled {label:?}")]
    SeveralTokens {
        /// The label.
        label: String,
        /// How many.
        count: usize,
    },
    /// The token refused the PIN. It is not offered again in this process.
    #[error("token {token:?} refused the PIN")]
    WrongPin {
        /// The token.
        token: String,
    },
    /// The token accepts no PIN any more.
    #[error("the PIN of token {token:?} is locked")]
    PinLocked {
        /// The token.
        token: String,
    },
    /// One more wrong PIN would lock the token, so none is tried.
    #[error("token {token:?} allows one more try of its PIN, and this program does not take it")]
    LastTry {
        /// The token.
        token: String,
    },
    /// The log-in failed, and whether the PIN was counted as a wrong one nobody knows. It is not offered again in this load.
    #[error("the log-in to token {token:?} failed")]
    LogIn {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
    /// The PIN has to be set or changed first.
    #[error("the PIN of token {token:?} has to be set first")]
    PinNotReady {
        /// The token.
        token: String,
    },
    /// The token has no key with this label.
    #[error("token {token:?} has no secret key labelled {label:?}; {}", listed("secret key", found))]
    NoKey {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// Those that it has.
        found: Vec<String>,
    },
    /// The key was there before.
    #[error("the key {label:?} of token {token:?} is gone since it was used last")]
    KeyGone {
        /// The token.
        token: String,
        /// The label.
        label: String,
    },
    /// More than one key has the label.
    #[error("token {token:?} has {count} secret keys labelled {label:?}")]
    SeveralKeys {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// How many.
        count: usize,
    },
    /// The key is not of AES.
    #[error("the key {label:?} of token {token:?} is not an AES key (its CKA_KEY_TYPE is {found:#x})")]
    NotAes {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// The type that it has.
        found: u64,
    },
    /// The key is too short for what it is to protect.
    #[error("the key {label:?} of token {token:?} has {found} bytes, and an AES-256 key has 32")]
    KeyLength {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// Its bytes.
        found: u64,
    },
    /// No mechanism of the token and this key wraps 32 bytes as it should.
    #[error("key {label:?} of token {token:?} wraps by no mechanism that is known: {}", refusals(tried))]
    NoMechanism {
        /// The token.
        token: String,
        /// The wrapping key's label.
        label: String,
        /// Every mechanism that was tried, and why it was passed over.
        tried: Vec<Refusal>,
    },
    /// What is stored was wrapped in a way that this token, or this key, does not have.
    #[error("the private key was wrapped by {}, and token {token:?} works by {has}", wanted.as_str())]
    OtherMethod {
        /// The token.
        token: String,
        /// How it was wrapped.
        wanted: WrapMethod,
        /// What was chosen for the token.
        has: Mechanism,
    },
    /// The device said no.
    #[error("token {token:?} refused")]
    Refused {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
    /// The device cannot do what it was asked for.
    #[error("token {token:?} cannot do this")]
    Unsuited {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
    /// The device is gone, or fails at what it could do before.
    #[error("token {token:?} does not work at the moment")]
    Device {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
    /// It does not answer, and nobody knows when it will.
    #[error("token {token:?} has not answered in {waited_secs} seconds")]
    NoAnswer {
        /// The token.
        token: String,
        /// How long it was waited for.
        waited_secs: u64,
    },
    /// Every session was in use for too long.
    #[error("all {sessions} sessions of token {token:?} were in use for {waited_secs} seconds")]
    Busy {
        /// The token.
        token: String,
        /// How many sessions there are.
        sessions: usize,
        /// How long this one waited.
        waited_secs: u64,
    },
    /// The token unwraps a check value under the same key, and not what is stored.
    #[error(
        "token {token:?} works, and does not unwrap what is stored: it was changed, or wrapped under another key"
    )]
    BadWrapping {
        /// The token.
        token: String,
        /// What it said of the wrapping.
        source: DeviceAnswer,
    },
    /// The container could not be read or opened.
    #[error("the wrapped private key cannot be used")]
    Container(#[source] ContainerError),
    /// No randomness for the values that the token is tried with.
    #[error("the token was not tried")]
    Random(#[source] RandomError),
}

/// What is to be told to the caller of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Unavailable,
    Denied,
    Broken,
}

impl HsmFault {
    /// Sorts what a token answered. What is unclear counts as a failure of the device.
    pub(super) fn of(token: &str, source: DeviceAnswer) -> Self {
        let token = token.to_owned();
        match source.meaning() {
            Meaning::Refused => Self::Refused { token, source },
            Meaning::Unsuited => Self::Unsuited { token, source },
            Meaning::Lost | Meaning::Full | Meaning::Unclear => Self::Device { token, source },
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::NoToken { .. }
            | Self::KeyGone { .. }
            | Self::Device { .. }
            | Self::LogIn { .. }
            | Self::NoAnswer { .. }
            | Self::Busy { .. }
            | Self::Random(_) => Outcome::Unavailable,
            Self::WrongPin { .. }
            | Self::PinLocked { .. }
            | Self::LastTry { .. }
            | Self::PinNotReady { .. }
            | Self::Refused { .. } => Outcome::Denied,
            Self::NoMechanism { tried, .. } if tried.iter().any(|refusal| refusal.failure().is_some()) => {
                Outcome::Unavailable
            }
            // It loads, so it is the right file; what it needs may be down. That it wants other arguments does not pass.
            Self::Module { source: ModuleFault::Answer(answer), .. }
                if answer.meaning() != Meaning::Unsuited =>
            {
                Outcome::Unavailable
            }
            Self::Module { .. }
            | Self::SeveralTokens { .. }
            | Self::NoKey { .. }
            | Self::SeveralKeys { .. }
            | Self::NotAes { .. }
            | Self::KeyLength { .. }
            | Self::NoMechanism { .. }
            | Self::OtherMethod { .. }
            | Self::Unsuited { .. }
            | Self::BadWrapping { .. }
            | Self::Container(_) => Outcome::Broken,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Module { source, .. } => return source.help(),
            Self::NoToken { .. } => {
                "check AEGIS_HSM_TOKEN_LABEL, and that the token is there and this user may see it".to_owned()
            }
            Self::SeveralTokens { .. } => "give the tokens different labels".to_owned(),
            Self::WrongPin { .. } => {
                "set the right PIN and start again; each wrong one counts against the token's lock".to_owned()
            }
            Self::PinLocked { .. } => "the token's security officer has to set a new PIN".to_owned(),
            Self::LastTry { .. } => {
                "log in once by hand with the right PIN, which resets the counter, then try again".to_owned()
            }
            Self::PinNotReady { .. } => "set the user PIN with the token's own tool".to_owned(),
            Self::NoKey { .. } => "check AEGIS_HSM_WRAPPING_KEY_LABEL, or make a key with \
                                   `aegis kek provision --provider hsm --hsm-create-key`"
                .to_owned(),
            Self::SeveralKeys { .. } => "give the keys different labels".to_owned(),
            Self::NotAes { .. } | Self::KeyLength { .. } => "name an AES-256 key".to_owned(),
            Self::NoMechanism { .. } => "check that the key may wrap and unwrap, or encrypt and decrypt; for AWS \
                                         CloudHSM set AEGIS_HSM_MECHANISM=cloudhsm-kwp, for a YubiHSM 2 yubico-ccm"
                .to_owned(),
            Self::OtherMethod { .. } => {
                "use the token that it was wrapped by, or wrap the KEK anew with `aegis kek rotate`".to_owned()
            }
            Self::Refused { .. } => "check what the token's policy lets this user do".to_owned(),
            Self::Unsuited { .. } => "check that the key may unwrap or decrypt".to_owned(),
            Self::LogIn { .. } => "check the device and the PIN before trying again: some devices count such a try".to_owned(),
            Self::KeyGone { .. } | Self::Device { .. } | Self::NoAnswer { .. } => {
                "check the device and its connection, then try again".to_owned()
            }
            Self::Busy { .. } => "try again, or raise AEGIS_HSM_SESSION_POOL_SIZE".to_owned(),
            Self::BadWrapping { .. } => "restore AEGIS_HSM_WRAPPED_PRIVATE_KEY from where it was kept, and check that \
                                         AEGIS_HSM_WRAPPING_KEY_LABEL names the key that it was wrapped under"
                .to_owned(),
            Self::Container(source) => return source.help(),
            Self::Random(source) => return source.help(),
        })
    }
}

/// Why a PKCS#11 module could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleFault {
    /// A name alone would be searched for in directories that others may be able to write to.
    #[error("its path is not absolute")]
    NotAbsolute,
    /// It is not there.
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    /// It is no library for this machine.
    #[error("it is not a library that can be loaded: {text}")]
    NoLibrary {
        /// What the loader said, on one line.
        text: String,
    },
    /// It is a library of something else.
    #[error("it has no PKCS#11 functions")]
    NotPkcs11,
    /// Its functions have another layout.
    #[error("it is of PKCS#11 {major}.{minor}, and only 2 and 3 are known")]
    Version {
        /// The part before the point.
        major: u8,
        /// The part after it.
        minor: u8,
    },
    /// The initialisation string has a zero byte in it.
    #[error("the initialisation string has a zero byte in it")]
    InitString,
    /// It loads, and does not initialise.
    #[error("it does not initialise")]
    Answer(#[source] DeviceAnswer),
}

impl ModuleFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::NotAbsolute | Self::Open(_) | Self::NoLibrary { .. } | Self::NotPkcs11 => {
                    "set AEGIS_HSM_PKCS11_LIB to the path of the device's PKCS#11 library, such as \
                     /usr/lib/softhsm/libsofthsm2.so"
                }
                Self::Version { .. } => "use a PKCS#11 2.40 or 3.x library of the device",
                Self::InitString => "check AEGIS_HSM_INIT_ARGS",
                Self::Answer(_) => {
                    "check the module's own configuration, and that this user may read it; NSS needs \
                     AEGIS_HSM_INIT_ARGS"
                }
            }
            .to_owned(),
        )
    }
}

/// Why a mechanism was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub mechanism: Mechanism,
    /// Why.
    pub why: Unfit,
}

/// What was wrong with a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The token would not.
    #[error("{0}")]
    Answer(DeviceAnswer),
    /// It wraps to other bytes than the standard says.
    #[error("it does not give the bytes of the standard")]
    OtherBytes,
    /// What it wrapped, it does not give back.
    #[error("it does not give back what it wrapped")]
    NoRoundTrip,
    /// It unwraps what was tampered with.
    #[error("it unwraps what was tampered with")]
    NotAuthenticated,
    /// Its number means different bytes on different tokens, and no known key could be made to see which.
    #[error("the token takes no known key ({0}), so its meaning cannot be checked")]
    CannotBeChecked(DeviceAnswer),
}

impl Refusal {
    /// What the device answered, if that says nothing about the mechanism: it failed, and may not another time.
    pub(super) fn failure(&self) -> Option<DeviceAnswer> {
        const FAILURES: [ReturnCode; 4] = [
            ReturnCode::GENERAL_ERROR,
            ReturnCode::FUNCTION_FAILED,
            ReturnCode::FUNCTION_CANCELED,
            ReturnCode::DEVICE_ERROR,
        ];
        match self.why {
            Unfit::Answer(answer) | Unfit::CannotBeChecked(answer) => Some(answer).filter(|answer| {
                matches!(answer.meaning(), Meaning::Lost | Meaning::Full)
                    || FAILURES.into_iter().any(|code| answer.is(code))
            }),
            Unfit::OtherBytes | Unfit::NoRoundTrip | Unfit::NotAuthenticated => None,
        }
    }
}

fn listed(what: &str, labels: &[String]) -> String {
    const SHOWN: usize = 8;
    if labels.is_empty() {
        return format!("no {what} is there");
    }
    let shown: Vec<String> = labels.iter().take(SHOWN).map(|label| format!("{label:?}")).collect();
    match labels.len().saturating_sub(SHOWN) {
        0 => format!("there is {}", shown.join(", ")),
        more => format!("there is {} and {more} more", shown.join(", ")),
    }
}

fn refusals(tried: &[Refusal]) -> String {
    let tried: Vec<String> =
        tried.iter().map(|Refusal { mechanism, why }| format!("{mechanism}: {why}")).collect();
    tried.join("; ")
}
