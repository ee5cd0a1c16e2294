//! A KEK that is wrapped by a symmetric key in AWS KMS, which leaves no hardware module.
//!
//! | form | what is stored | asked of KMS |
//! |---|---|---|
//! | `direct` | `CiphertextBlob` of the 2,432 bytes | `kms:Encrypt`, `kms:Decrypt` |
//! | `data-key` | a [`Container`], whose data key is a `CiphertextBlob` | `kms:GenerateDataKey`, `kms:Decrypt` |
//!
//! Both have the encryption context `aegis:kek` = id of the KEK, so that a wrapping of one KEK is not taken for that of
//! another, and so that a key policy can say which KEKs it admits. A direct form without context, as it was made
//! by hand before, still opens, with a warning.
//!
//! Region, endpoint and credentials come from the settings, and else from the standard chain of AWS: variables,
//! profiles, web identity (IRSA), SSO, containers, a program, the instance.

mod answers;
mod fault;
mod key_name;
mod provision;
mod quiet;
mod session;
mod settings;
mod wire;

use std::sync::{Mutex, PoisonError};

use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey};

pub use fault::{CredentialsTrouble, KmsAction, KmsFault, Oddity};
pub use provision::{KmsProvisionError, KmsWrap, provision};
pub use session::CONTEXT_NAME as KMS_CONTEXT_NAME;
pub use settings::{KmsAccess, KmsSettingsError, Patience, PlainHttp, StaticCredentials};

use crate::container::{Container, ContainerError, WrapMethod};
use crate::fault::{LoadError, ProviderFault};
use crate::kek::Kek;
use crate::known_variables::{
    KMS_ALLOW_PLAIN_HTTP, KMS_KEY_ID, KMS_WRAPPED_PRIVATE_KEY, MASTER_KEK_PUBLIC, MAX_WRAPPED_PRIVATE_KEY_LEN,
};
use crate::provider::{Health, KekProvider, LastWorked, ProviderKind};
use crate::settings::{SettingsError, require};
use crate::variables::{VariableError, Variables};
use session::{Binding, Decrypted, Place, Session, converse, secret_32};
use settings::{MAX_CIPHERTEXT_LEN, Target};

const KIND: ProviderKind = ProviderKind::AwsKms;

/// What makes an [`AwsKmsKekProvider`].
pub struct AwsKmsSettings {
    /// Which KMS key, and how it is reached.
    pub access: KmsAccess,
    /// The private key, wrapped, in either form.
    pub wrapped_private_key: Vec<u8>,
    /// The public key that belongs to it.
    pub public_key: HybridPublicKey,
}

/// A KEK that is wrapped by a key in AWS KMS.
pub struct AwsKmsKekProvider {
    target: Target,
    wrapped: Wrapped,
    public_key: HybridPublicKey,
    last: LastWorked,
    seen: Mutex<Seen>,
}

/// What loads have shown.
#[derive(Debug, Default)]
struct Seen {
    place: Place,
    key_arn: Option<String>,
    binding: Option<Binding>,
}

impl AwsKmsKekProvider {
    /// Takes settings that are given. Asks nobody.
    ///
    /// # Errors
    ///
    /// A [`KmsSettingsError`] for what cannot be right.
    pub fn new(settings: AwsKmsSettings) -> Result<Self, KmsSettingsError> {
        let AwsKmsSettings { access, wrapped_private_key, public_key } = settings;
        Ok(Self {
            target: Target::check(access)?,
            wrapped: Wrapped::parse(wrapped_private_key)?,
            public_key,
            last: LastWorked::never(),
            seen: Mutex::default(),
        })
    }

    /// Takes settings from variables. Asks nobody.
    ///
    /// `AEGIS_KMS_KEY_ID`, `AEGIS_KMS_WRAPPED_PRIVATE_KEY` and `AEGIS_MASTER_KEK_PUBLIC` are needed. Of the variables of
    /// AWS, `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` are looked for here first; the SDK reads these and all others
    /// from the process.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]: all that are missing at once, or the one that cannot be used.
    pub fn from_environment(variables: &Variables) -> Result<Self, SettingsError> {
        require(variables, KIND, &[KMS_KEY_ID, KMS_WRAPPED_PRIVATE_KEY, MASTER_KEK_PUBLIC])?;
        let malformed = |source: VariableError| SettingsError::Malformed { kind: KIND, source };
        let missing = |name| SettingsError::Missing { kind: KIND, names: vec![name] };

        let key = variables.text(KMS_KEY_ID).map_err(malformed)?.ok_or_else(|| missing(KMS_KEY_ID))?;
        let access = KmsAccess::from_environment(key.expose(), variables)?;
        let wrapped = variables
            .base64(KMS_WRAPPED_PRIVATE_KEY, MAX_WRAPPED_PRIVATE_KEY_LEN)
            .map_err(malformed)?
            .ok_or_else(|| missing(KMS_WRAPPED_PRIVATE_KEY))?;
        let public_key =
            variables.public_key().map_err(malformed)?.ok_or_else(|| missing(MASTER_KEK_PUBLIC))?;
        Self::new(AwsKmsSettings { access, wrapped_private_key: wrapped.to_vec(), public_key })
            .map_err(SettingsError::Kms)
    }

    fn unwrap_kek(&self) -> Result<Kek, LoadError> {
        let (place, said) =
            converse(&self.target, self.public_key.key_id(), async |session: &Session<'_>| {
                unwrap(session, &self.wrapped, &self.public_key).await
            });
        if let (Some(named), Some(used)) = (&self.target.region, &place.region)
            && named != used
        {
            tracing::info!(
                "KMS key {} is in {used}, as its ARN says; the configured region {named} was not used",
                self.target.key
            );
        }
        let unwrapped = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.place = place;
            let unwrapped = said.map_err(load_error)?;
            seen.key_arn.clone_from(&unwrapped.key_arn);
            seen.binding = Some(unwrapped.binding);
            unwrapped
        };
        let private = unwrapped.key.map_err(|source| LoadError::WrongKey { kind: KIND, source })?;
        if unwrapped.binding == Binding::Unbound {
            tracing::warn!(
                "the wrapping of KEK {} has no encryption context, so nothing binds it to that KEK; make a new one with \
                 `aegis kek provision --provider kms` or rotate the KEK",
                self.public_key.key_id()
            );
        }
        Ok(Kek::new(private))
    }
}

impl KmsAccess {
    /// Which of the variables of AWS are set, for a key.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Malformed`], or [`SettingsError::Kms`] if only half of the credentials is set.
    pub fn from_environment(kms_key_id: &str, variables: &Variables) -> Result<Self, SettingsError> {
        let text = |name: &str| {
            let found = variables.text(name);
            found.map_err(|source| SettingsError::Malformed { kind: KIND, source })
        };
        let first = |names: [&str; 2]| -> Result<Option<String>, SettingsError> {
            for name in names {
                if let Some(value) = text(name)? {
                    return Ok(Some(value.expose().to_owned()));
                }
            }
            Ok(None)
        };
        let ignored = text("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")?
            .is_some_and(|value| value.expose().eq_ignore_ascii_case("true"));
        let endpoint = if ignored { None } else { first(["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"])? };
        let credentials = match (text("AWS_ACCESS_KEY_ID")?, text("AWS_SECRET_ACCESS_KEY")?) {
            (None, None) => None,
            (Some(id), Some(secret_access_key)) => Some(StaticCredentials {
                access_key_id: id.expose().to_owned(),
                secret_access_key,
                session_token: text("AWS_SESSION_TOKEN")?,
            }),
            _ => return Err(SettingsError::Kms(KmsSettingsError::HalfCredentials)),
        };
        let plain_http = variables
            .flag(KMS_ALLOW_PLAIN_HTTP)
            .map_err(|source| SettingsError::Malformed { kind: KIND, source })?;
        Ok(Self {
            region: first(["AWS_REGION", "AWS_DEFAULT_REGION"])?,
            endpoint,
            credentials,
            plain_http: if plain_http { PlainHttp::Anywhere } else { PlainHttp::LoopbackOnly },
            ..Self::new(kms_key_id)
        })
    }
}

impl KekProvider for AwsKmsKekProvider {
    fn kind(&self) -> ProviderKind {
        KIND
    }

    fn public_key(&self) -> &HybridPublicKey {
        &self.public_key
    }

    fn load(&self) -> Result<Kek, LoadError> {
        self.last.note(self.unwrap_kek())
    }

    fn health(&self) -> Health {
        let (standing, last_worked) = self.last.get();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Place { region, endpoint } = &seen.place;
        let region = region.as_deref().or(self.target.key.region()).or(self.target.region.as_deref());
        let endpoint = endpoint.as_ref().or(self.target.endpoint.as_ref());
        let bound = seen.binding.map(|binding| match binding {
            Binding::Bound => "bound to the KEK",
            Binding::Unbound => "not bound",
        });
        let facts = [
            ("kms_key", Some(self.target.key.to_string())),
            ("kms_key_arn", seen.key_arn.clone()),
            ("region", region.map(str::to_owned)),
            ("endpoint", endpoint.cloned()),
            ("form", Some(self.wrapped.form().as_str().to_owned())),
            ("context", bound.map(str::to_owned)),
        ];
        Health {
            kind: KIND,
            security_level: KIND.security_level(),
            key_id: self.public_key.key_id(),
            standing,
            last_worked,
            detail: facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        }
    }
}

/// A wrapped private key in either of its forms.
enum Wrapped {
    Direct(Vec<u8>),
    DataKey(Container),
}

impl Wrapped {
    fn parse(bytes: Vec<u8>) -> Result<Self, KmsSettingsError> {
        if !(1..=MAX_CIPHERTEXT_LEN).contains(&bytes.len()) {
            return Err(KmsSettingsError::WrappedLength { found: bytes.len() });
        }
        // A ciphertext of KMS begins otherwise: with its version, 1, or the id of the key.
        if !Container::is_one(&bytes) {
            return Ok(Self::Direct(bytes));
        }
        let container = Container::parse(&bytes).map_err(KmsSettingsError::Container)?;
        match container.method() {
            WrapMethod::KmsDataKey => Ok(Self::DataKey(container)),
            method => Err(KmsSettingsError::OtherDevice { method }),
        }
    }

    const fn form(&self) -> KmsWrap {
        match self {
            Self::Direct(_) => KmsWrap::Direct,
            Self::DataKey(_) => KmsWrap::DataKey,
        }
    }
}

/// What came out of a wrapping.
struct Unwrapped {
    key: Result<HybridPrivateKey, HybridPrivateKeyError>,
    key_arn: Option<String>,
    binding: Binding,
}

/// Unwraps with one call of KMS, or two if the first says that the ciphertext is not bound as it should be.
async fn unwrap(
    session: &Session<'_>,
    wrapped: &Wrapped,
    public_key: &HybridPublicKey,
) -> Result<Unwrapped, KmsFault> {
    match wrapped {
        Wrapped::Direct(ciphertext) => {
            let (Decrypted { plaintext, key_arn }, binding) = decrypt_direct(session, ciphertext).await?;
            let key = HybridPrivateKey::import_for(&plaintext, public_key);
            Ok(Unwrapped { key, key_arn, binding })
        }
        Wrapped::DataKey(container) => {
            let wanted = public_key.key_id();
            if container.kek() != wanted {
                return Err(KmsFault::Container(ContainerError::OtherKek {
                    inside: container.kek(),
                    wanted,
                }));
            }
            // No second try: every data key was bound from the first version on.
            let Decrypted { plaintext, key_arn } =
                session.decrypt(container.wrapped_key(), Binding::Bound).await?;
            let data_key = secret_32(&plaintext).map_err(|found| KmsFault::Unexpected {
                action: KmsAction::Decrypt,
                oddity: Oddity::Length { part: "Plaintext", found },
            })?;
            let key = match container.open(&data_key, public_key) {
                Ok(key) => Ok(key),
                Err(ContainerError::PrivateKey(source)) => Err(source),
                Err(error) => return Err(KmsFault::Container(error)),
            };
            Ok(Unwrapped { key, key_arn, binding: Binding::Bound })
        }
    }
}

async fn decrypt_direct(session: &Session<'_>, ciphertext: &[u8]) -> Result<(Decrypted, Binding), KmsFault> {
    let first = match session.decrypt(ciphertext, Binding::Bound).await {
        Ok(decrypted) => return Ok((decrypted, Binding::Bound)),
        Err(fault @ KmsFault::InvalidCiphertext { .. }) => fault,
        Err(fault) => return Err(fault),
    };
    match session.decrypt(ciphertext, Binding::Unbound).await {
        Ok(decrypted) => Ok((decrypted, Binding::Unbound)),
        // A key policy may demand the context. What is wrong is what the first answer said.
        Err(KmsFault::AccessDenied { .. }) => Err(first),
        Err(fault) => Err(fault),
    }
}

fn load_error(fault: KmsFault) -> LoadError {
    let sort = fault.sort();
    let source = ProviderFault::Kms(fault);
    match sort {
        fault::Sort::Unavailable => LoadError::Unavailable { kind: KIND, source },
        fault::Sort::Denied => LoadError::Denied { kind: KIND, source },
        fault::Sort::Broken => LoadError::Broken { kind: KIND, source },
    }
}
