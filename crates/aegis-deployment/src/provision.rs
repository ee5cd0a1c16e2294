//! Making a KEK, or taking one that exists, and putting its private half where a provider finds it.

use std::path::{Path, PathBuf};

use aegis_audit::{Action, Outcome};
use aegis_crypto::{
    HYBRID_PRIVATE_KEY_LEN, HYBRID_SEED_LEN, HybridPrivateKey, HybridPrivateKeyError, KeyId, XWING_SEED_LEN,
};
use aegis_kek::aws_kms::{self, KmsAccess, KmsProvisionError, KmsWrap};
use aegis_kek::file::{KekFileWriteError, PassphraseError};
use aegis_kek::known_variables::{
    HSM_INIT_ARGS, HSM_MECHANISM, HSM_PKCS11_LIB, HSM_TOKEN_LABEL, HSM_WRAPPED_PRIVATE_KEY,
    HSM_WRAPPING_KEY_LABEL, KEK_FILE, KMS_ALLOW_PLAIN_HTTP, KMS_KEY_ID, KMS_WRAPPED_PRIVATE_KEY,
    MASTER_KEK_PUBLIC,
};
use aegis_kek::pkcs11::{self, HsmProvisionError, HsmWrap};
use aegis_kek::{
    EnvironmentKekProvider, FileKekProvider, HsmToken, PassphraseSource, ProviderKind, SettingsError,
    UnwritableSetting, VariableError, Variables, VariablesFile,
};
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use crate::change_log::{chain, is_failure};
use crate::deployment::Deployment;

/// Where the private half is to rest. What is `None` is taken from the variables of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Wrapped by AWS KMS.
    Kms {
        /// A key's ARN, alias or id.
        key_id: Option<String>,
        /// What KMS is to encrypt.
        wrap: KmsWrap,
    },
    /// Wrapped by a token.
    Hsm {
        /// The PKCS#11 library.
        library: Option<PathBuf>,
        /// The token's label.
        token: Option<String>,
        /// The label of its AES key.
        key: Option<String>,
        /// In how many steps.
        wrap: HsmWrap,
        /// Whether that key is made first.
        key_is: WrappingKey,
    },
    /// In a variable.
    Environment,
    /// In a file under a passphrase.
    File {
        /// The file, which is made.
        path: PathBuf,
    },
    /// Nowhere: refused.
    InMemory,
}

impl Place {
    /// The provider that will find it.
    pub const fn kind(&self) -> ProviderKind {
        match self {
            Self::Kms { .. } => ProviderKind::AwsKms,
            Self::Hsm { .. } => ProviderKind::Hsm,
            Self::Environment => ProviderKind::Environment,
            Self::File { .. } => ProviderKind::File,
            Self::InMemory => ProviderKind::InMemory,
        }
    }
}

/// Whether the wrapping key of a token is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrappingKey {
    /// It is.
    There,
    /// It is made, inside the token.
    ToBeMade,
}

/// A KEK that a provider will find, once these variables are set.
#[derive(Debug)]
pub struct Provisioned {
    /// The provider.
    pub provider: ProviderKind,
    /// The KEK.
    pub kek: KeyId,
    /// The variables. That of the private key, if it is among them, is secret.
    pub settings: VariablesFile,
}

impl Deployment {
    /// Makes a KEK, or takes the private key that is given, and puts it in its place.
    ///
    /// # Errors
    ///
    /// [`ProvisionError`].
    pub fn provision_kek(
        &self,
        place: &Place,
        import: Option<&[u8]>,
        passphrase_file: Option<&Path>,
    ) -> Result<Provisioned, ProvisionError> {
        let provisioned = make(place, import, passphrase_file);
        let log = self.change_log();
        let kind = place.kind().as_str();
        let event = match &provisioned {
            Ok(made) => {
                log.event(Action::KekProvision, made.kek.to_string()).detail("key_id", made.kek.to_string())
            }
            Err(error) => {
                let outcome = if is_failure(error) { Outcome::Failed } else { Outcome::Refused };
                log.event(Action::KekProvision, kind).outcome(outcome).reason(chain(error))
            }
        };
        log.append(&event.detail("provider", kind).detail("imported", import.is_some()));
        provisioned
    }
}

fn make(
    place: &Place,
    import: Option<&[u8]>,
    passphrase_file: Option<&Path>,
) -> Result<Provisioned, ProvisionError> {
    let private = match import {
        None => HybridPrivateKey::generate().map_err(ProvisionError::Generate)?,
        Some(bytes) => import_key(bytes)?,
    };
    let settings = match place {
        Place::Environment => EnvironmentKekProvider::provision(&private),
        Place::Kms { key_id, wrap } => kms(&private, key_id.as_deref(), *wrap)?,
        Place::Hsm { library, token, key, wrap, key_is } => {
            let mut variables = Variables::of_process();
            let library = library.as_deref().map(text_of).transpose()?;
            for (name, value) in [
                (HSM_PKCS11_LIB, library),
                (HSM_TOKEN_LABEL, token.as_deref()),
                (HSM_WRAPPING_KEY_LABEL, key.as_deref()),
            ] {
                if let Some(value) = value {
                    variables = variables.with(name, value);
                }
            }
            hsm(&private, &variables, *wrap, *key_is)?
        }
        Place::File { path } => file(&private, path, passphrase_file)?,
        Place::InMemory => return Err(ProvisionError::InMemory),
    };
    Ok(Provisioned { provider: place.kind(), kek: private.public_key().key_id(), settings })
}

fn kms(
    private: &HybridPrivateKey,
    key_id: Option<&str>,
    wrap: KmsWrap,
) -> Result<VariablesFile, ProvisionError> {
    let variables = Variables::of_process();
    let named = variables.text(KMS_KEY_ID).map_err(ProvisionError::Variable)?;
    let named = named.as_ref().map(aegis_kek::SecretText::expose);
    let missing = SettingsError::Missing { kind: ProviderKind::AwsKms, names: vec![KMS_KEY_ID] };
    let key_id = key_id.or(named).ok_or(ProvisionError::Settings(missing))?;
    let access = KmsAccess::from_environment(key_id, &variables).map_err(ProvisionError::Settings)?;
    let wrapped = aws_kms::provision(access, private, wrap).map_err(ProvisionError::Kms)?;
    let mut settings = VariablesFile::new();
    set(&mut settings, KMS_KEY_ID, key_id)?;
    copy(&mut settings, KMS_ALLOW_PLAIN_HTTP, &variables)?;
    set(&mut settings, KMS_WRAPPED_PRIVATE_KEY, &Base64::encode_string(&wrapped))?;
    set_public(&mut settings, private)?;
    Ok(settings)
}

fn hsm(
    private: &HybridPrivateKey,
    variables: &Variables,
    wrap: HsmWrap,
    key: WrappingKey,
) -> Result<VariablesFile, ProvisionError> {
    let token = HsmToken::from_environment(variables).map_err(ProvisionError::Settings)?;
    if key == WrappingKey::ToBeMade {
        pkcs11::generate_wrapping_key(&token).map_err(ProvisionError::Hsm)?;
    }
    let wrapped = pkcs11::provision(&token, private, wrap).map_err(ProvisionError::Hsm)?;
    let mut settings = VariablesFile::new();
    for name in [HSM_PKCS11_LIB, HSM_TOKEN_LABEL, HSM_WRAPPING_KEY_LABEL, HSM_MECHANISM, HSM_INIT_ARGS] {
        copy(&mut settings, name, variables)?;
    }
    set(&mut settings, HSM_WRAPPED_PRIVATE_KEY, &Base64::encode_string(&wrapped))?;
    set_public(&mut settings, private)?;
    Ok(settings)
}

fn file(
    private: &HybridPrivateKey,
    path: &Path,
    passphrase_file: Option<&Path>,
) -> Result<VariablesFile, ProvisionError> {
    let path = std::path::absolute(path)
        .map_err(|source| ProvisionError::NoPath { path: path.to_owned(), source })?;
    let mut settings = VariablesFile::new();
    // Before the key is made: a file that nothing can name is lost.
    set(&mut settings, KEK_FILE, text_of(&path)?)?;
    let mut variables = Variables::of_process();
    if let Some(file) = passphrase_file {
        variables = variables.with_passphrase_file(file).map_err(ProvisionError::Variable)?;
    }
    let source = PassphraseSource::of(&variables).map_err(ProvisionError::Passphrase)?;
    let passphrase = source.take_new(&path).map_err(ProvisionError::Passphrase)?;
    FileKekProvider::create(&path, &passphrase, private).map_err(ProvisionError::File)?;
    Ok(settings)
}

fn text_of(path: &Path) -> Result<&str, ProvisionError> {
    path.to_str().ok_or_else(|| ProvisionError::NotText { path: path.to_owned() })
}

fn set(settings: &mut VariablesFile, name: &'static str, value: &str) -> Result<(), ProvisionError> {
    settings.set(name, value).map_err(ProvisionError::Unwritable)
}

fn set_public(settings: &mut VariablesFile, private: &HybridPrivateKey) -> Result<(), ProvisionError> {
    set(settings, MASTER_KEK_PUBLIC, &Base64::encode_string(private.public_key().as_bytes()))
}

/// A setting that is needed again to reach the same device.
fn copy(settings: &mut VariablesFile, name: &'static str, from: &Variables) -> Result<(), ProvisionError> {
    match from.text(name).map_err(ProvisionError::Variable)? {
        Some(value) => set(settings, name, value.expose()),
        None => Ok(()),
    }
}

/// Takes a private key in any of its forms: the bytes themselves, or their base64 with any white space.
fn import_key(bytes: &[u8]) -> Result<HybridPrivateKey, ProvisionError> {
    // No base64 of a private key has the length of one.
    if [HYBRID_PRIVATE_KEY_LEN, HYBRID_SEED_LEN, XWING_SEED_LEN].contains(&bytes.len()) {
        return HybridPrivateKey::import(bytes).map_err(ProvisionError::Import);
    }
    let mut packed = Zeroizing::new(Vec::with_capacity(bytes.len()));
    packed.extend(bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    let mut raw = Zeroizing::new(vec![0; packed.len()]);
    let raw = Base64::decode(&*packed, &mut raw).map_err(|_| ProvisionError::NoKey { found: bytes.len() })?;
    HybridPrivateKey::import(raw).map_err(ProvisionError::Import)
}

/// Why no KEK was put in its place.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It would be lost when the process ends.
    #[error("a KEK in memory is lost when this command ends, and nothing could be read")]
    InMemory,
    /// No key was made.
    #[error("cannot make a KEK")]
    Generate(#[source] HybridPrivateKeyError),
    /// What is to be imported is no private key.
    #[error("what is to be imported is not the private key of a KEK")]
    Import(#[source] HybridPrivateKeyError),
    /// It is neither of the right length nor base64.
    #[error("what is to be imported has {found} bytes, not 2432, 96 or 32, and is no base64")]
    NoKey {
        /// Its length.
        found: usize,
    },
    /// The device is not well described.
    #[error(transparent)]
    Settings(SettingsError),
    /// A variable cannot be used.
    #[error(transparent)]
    Variable(VariableError),
    /// KMS did not wrap it.
    #[error(transparent)]
    Kms(KmsProvisionError),
    /// The token did not wrap it.
    #[error(transparent)]
    Hsm(HsmProvisionError),
    /// There is no passphrase for the key file.
    #[error("there is no passphrase for the KEK")]
    Passphrase(#[source] PassphraseError),
    /// The key file was not written.
    #[error(transparent)]
    File(KekFileWriteError),
    /// The path cannot be made absolute.
    #[error("cannot tell where {} is", path.display())]
    NoPath {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No variable can hold the path.
    #[error("the path {} is not valid UTF-8", path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// A variables file cannot hold a setting.
    #[error(transparent)]
    Unwritable(UnwritableSetting),
}

impl ProvisionError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InMemory => Some(
                "name kms, hsm, environment or file; for a test, a library makes one in memory by itself"
                    .to_owned(),
            ),
            Self::Generate(source) => source.help(),
            Self::Import(source) => source.help(),
            Self::NoKey { .. } => Some(
                "give a private key of 2,432 bytes, or its seed of 96 or 32, as it is or as base64"
                    .to_owned(),
            ),
            // Its own help leads here.
            Self::Settings(SettingsError::Missing { .. }) => {
                Some("set them, or give them as options: `aegis kek provision --help`".to_owned())
            }
            Self::Settings(source) => source.help(),
            Self::Variable(source) => source.help(),
            Self::Kms(source) => source.help(),
            Self::Hsm(source) => source.help(),
            Self::Passphrase(source) => source.help(),
            Self::File(source) => source.help(),
            Self::NoPath { .. } => None,
            Self::NotText { .. } => Some("choose another path".to_owned()),
            Self::Unwritable(source) => source.help(),
        }
    }
}
