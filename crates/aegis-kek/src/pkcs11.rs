//! A KEK under an AES-256 key inside a PKCS#11 token.
//!
//! | module | what it holds | PKCS#11 |
//! |---|---|---|
//! | `settings`, `pin` | which token, which key, what it wrapped | |
//! | `raw` | calls into the module; the only unsafe code | 3.1 §5 |
//! | `answer` | return codes, and what each says about the device | 3.1 §5.1 |
//! | `connection` | the token by its label, the log-in, the key by its label | §5.5, §5.6, §5.7 |
//! | `mechanism` | the ways to wrap a few bytes | §6.13 |
//! | `probe` | which of them this token really has | RFC 5649 |
//! | `pool` | sessions, and what to do when they are lost | |
//! | `patience` | a limit to how long a device is waited for | |
//! | `provision` | wraps a new KEK; makes the wrapping key | |
//!
//! By default a token wraps 32 bytes and software the rest ([`Container`](crate::Container)): some HSMs cannot take
//! 2,432 bytes. A bare RFC 5649 blob of those is read always.

mod answer;
mod connection;
mod fault;
mod mechanism;
mod patience;
mod pin;
mod pool;
mod probe;
mod provision;
mod raw;
mod settings;

use std::fmt;
use std::sync::Arc;

use aegis_crypto::{
    HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey, Secret,
};

use crate::container::{ContainerError, WrapMethod};
use crate::fault::{LoadError, ProviderFault};
use crate::kek::Kek;
use crate::provider::{Health, KekProvider, LastWorked, ProviderKind};
use crate::settings::SettingsError;
use crate::variables::Variables;

use connection::Connection;
use fault::Outcome;
use patience::Patience;
use pool::{Pool, Trouble};
use probe::DATA_KEY_LEN;
use settings::Wrapped;

pub use answer::{DeviceAnswer, ReturnCode};
pub use fault::{HsmFault, ModuleFault, Refusal, Unfit};
pub use mechanism::{Mechanism, UnknownMechanism, VendorMechanism};
pub use pin::{MAX_PIN_LEN, Pin, PinError};
pub use probe::{Direct, Proof};
pub use provision::{HsmProvisionError, HsmWrap, generate_wrapping_key, provision};
pub use settings::{
    DEFAULT_ANSWER_WITHIN, DEFAULT_SESSION_POOL_SIZE, HsmSettings, HsmSettingsError, HsmToken,
};

const KIND: ProviderKind = ProviderKind::Hsm;

/// The KEK that a token unwraps.
pub struct HsmKekProvider {
    kept: Arc<Kept>,
    patience: Patience,
    last: LastWorked,
}

/// What a call needs, which may outlive the patience of its caller.
struct Kept {
    pool: Pool,
    wrapped: Wrapped,
    public_key: HybridPublicKey,
}

/// What was found out about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// How it wraps.
    pub mechanism: Mechanism,
    /// How well that is known.
    pub proof: Proof,
    /// Whether it takes a whole private key.
    pub direct: Direct,
}

impl HsmKekProvider {
    /// Takes settings as they are. Asks no device.
    ///
    /// # Errors
    ///
    /// [`HsmSettingsError`] if what is stored has neither of the two forms.
    pub fn new(settings: HsmSettings) -> Result<Self, HsmSettingsError> {
        let HsmSettings { token, wrapped_private_key, public_key } = settings;
        let patience = Patience::of(token.answer_within);
        let wrapped = Wrapped::parse(wrapped_private_key)?;
        let kept = Kept { wrapped, pool: Pool::new(token, public_key.key_id()), public_key };
        Ok(Self { kept: Arc::new(kept), patience, last: LastWorked::never() })
    }

    /// Takes settings from variables. Asks no device.
    ///
    /// `AEGIS_HSM_PKCS11_LIB`, `AEGIS_HSM_TOKEN_LABEL`, `AEGIS_HSM_PIN` (or `AEGIS_HSM_PIN_FILE`, or
    /// `AEGIS_HSM_PIN_FD`), `AEGIS_HSM_WRAPPING_KEY_LABEL`, `AEGIS_HSM_WRAPPED_PRIVATE_KEY` and
    /// `AEGIS_MASTER_KEK_PUBLIC` are needed; `AEGIS_HSM_SESSION_POOL_SIZE`, `AEGIS_HSM_MECHANISM` and
    /// `AEGIS_HSM_INIT_ARGS` may be set.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]: all that are missing at once, or the one that cannot be used.
    pub fn from_environment(variables: &Variables) -> Result<Self, SettingsError> {
        Self::new(HsmSettings::from_environment(variables)?).map_err(SettingsError::Hsm)
    }

    /// Connects, if that was not done, and says how the token wraps.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as [`load`](KekProvider::load) without what is stored.
    pub fn probe(&self) -> Result<Probed, LoadError> {
        self.wait_for(|kept| kept.pool.connection().map(|connection| connection.probed())).map_err(load_error)
    }

    /// Asks the device, and gives up waiting if it does not answer.
    fn wait_for<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Kept) -> Result<T, HsmFault> + Send + 'static,
    ) -> Result<T, HsmFault> {
        let kept = Arc::clone(&self.kept);
        self.patience.wait_for(move || work(&kept)).unwrap_or_else(|lost| {
            let token = self.kept.pool.settings().token_label.clone();
            Err(HsmFault::NoAnswer { token, waited_secs: lost.waited.as_secs() })
        })
    }
}

impl KekProvider for HsmKekProvider {
    fn kind(&self) -> ProviderKind {
        KIND
    }

    fn public_key(&self) -> &HybridPublicKey {
        &self.kept.public_key
    }

    fn load(&self) -> Result<Kek, LoadError> {
        let unwrapped = self.wait_for(|kept| unwrap(&kept.pool, &kept.wrapped, &kept.public_key));
        self.last.note(match unwrapped {
            Ok(Ok(private)) => Ok(Kek::new(private)),
            Ok(Err(source)) => Err(LoadError::WrongKey { kind: KIND, source }),
            Err(fault) => Err(load_error(fault)),
        })
    }

    fn health(&self) -> Health {
        let (standing, last_worked) = self.last.get();
        let Kept { pool, wrapped, public_key } = &*self.kept;
        let token = pool.settings();
        let form = match wrapped {
            Wrapped::TwoStep(container) => format!("two-step, {}", container.method().as_str()),
            Wrapped::Direct(_) => "direct, rfc5649".to_owned(),
        };
        let mut detail = vec![
            ("module", token.module.display().to_string()),
            ("token", token.token_label.clone()),
            ("wrapping_key", token.wrapping_key_label.clone()),
            ("wrapped", form),
            ("sessions", token.session_pool_size.to_string()),
        ];
        match pool.last_probed() {
            None => detail.push(("mechanism", "not yet probed".to_owned())),
            Some(Probed { mechanism, proof, direct }) => {
                detail.push(("mechanism", mechanism.to_string()));
                detail.push(("proven", proof.to_string()));
                detail.push(("direct", if direct == Direct::Proven { "yes" } else { "no" }.to_owned()));
            }
        }
        Health {
            kind: KIND,
            security_level: KIND.security_level(),
            key_id: public_key.key_id(),
            standing,
            last_worked,
            detail,
        }
    }
}

impl fmt::Debug for HsmKekProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HsmKekProvider")
            .field("token", self.kept.pool.settings())
            .field("key_id", &self.kept.public_key.key_id())
            .finish_non_exhaustive()
    }
}

/// Unwraps what is stored. The inner error is of a key that came out and is not the one that was asked for.
fn unwrap(
    pool: &Pool,
    wrapped: &Wrapped,
    public_key: &HybridPublicKey,
) -> Result<Result<HybridPrivateKey, HybridPrivateKeyError>, HsmFault> {
    match wrapped {
        Wrapped::TwoStep(container) => {
            let wanted = public_key.key_id();
            if container.kek() != wanted {
                return Err(HsmFault::Container(ContainerError::OtherKek {
                    inside: container.kek(),
                    wanted,
                }));
            }
            let data_key = pool.run(|session, connection| {
                let mechanism = for_method(connection, container.method())?;
                let wrapped = container.wrapped_key();
                let plain = mechanism.unwrap(session, connection.key, wrapped, DATA_KEY_LEN, pool.kek())?;
                Ok(Secret::<DATA_KEY_LEN>::try_fill(|to| {
                    let from = plain.first_chunk().ok_or(DeviceAnswer::OtherValue)?;
                    *to = *from;
                    Ok::<(), DeviceAnswer>(())
                })?)
            })?;
            match container.open(&data_key, public_key) {
                Ok(private) => Ok(Ok(private)),
                Err(ContainerError::PrivateKey(source)) => Ok(Err(source)),
                Err(source) => Err(HsmFault::Container(source)),
            }
        }
        Wrapped::Direct(wrapped) => {
            let plain = pool.run(|session, connection| {
                let mechanism = for_method(connection, WrapMethod::Rfc5649)?;
                Ok(mechanism.unwrap(session, connection.key, wrapped, HYBRID_PRIVATE_KEY_LEN, pool.kek())?)
            })?;
            Ok(HybridPrivateKey::import_for(&plain, public_key))
        }
    }
}

/// The mechanism of a token for bytes that were wrapped in a certain way.
fn for_method(connection: &Connection, wanted: WrapMethod) -> Result<Mechanism, Trouble> {
    let has = connection.finding.mechanism;
    match (wanted, has.method()) {
        // It authenticates what it opens, so it needs no proof. A token that was replaced by a better one still reads.
        (WrapMethod::AesGcm, _) => Ok(Mechanism::AesGcm),
        (wanted, method) if wanted == method => Ok(has),
        _ => Err(match connection.finding.passed_over.iter().find_map(Refusal::failure) {
            // Perhaps the right mechanism was passed over because the device failed at it. It is looked at again.
            Some(failure) => Trouble::Gone(failure),
            None => {
                let token = connection.token.label().to_owned();
                Trouble::Final(HsmFault::OtherMethod { token, wanted, has })
            }
        }),
    }
}

fn load_error(fault: HsmFault) -> LoadError {
    let outcome = fault.outcome();
    let (kind, source) = (KIND, ProviderFault::Hsm(fault));
    match outcome {
        Outcome::Unavailable => LoadError::Unavailable { kind, source },
        Outcome::Denied => LoadError::Denied { kind, source },
        Outcome::Broken => LoadError::Broken { kind, source },
    }
}
