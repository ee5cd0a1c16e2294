//! `[[enricher]]`: which fields are sealed, how, and under which DEK.

use std::path::Path;
use std::sync::Arc;

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPublicKey, Secret};
use aegis_kek::{SecretText, Variables};
use aegis_keyring::{DekVersion, Scope};
use aegis_pii::{
    Catalogue, CatalogueMark, DekUnavailable, EncryptorOptions, EnvelopeForm, Field, FieldBinding,
    OptionsError, PiiEncryptor, PlaintextHash, Priority, SealingDek, SealingDekSource, SearchTokens,
    Selector, TokenKey,
};
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::error::{ConfigFault, PipelineConfigError};
use super::secrets;
use super::section::Section;

/// Under which DEK events are sealed.
#[derive(Debug, Clone)]
pub enum DekChoice {
    /// The active one of a scope.
    Active {
        /// The scope.
        scope: Scope,
        /// The one that it has to be, and to stay. Without it, rotation is followed.
        pinned: Option<DekVersion>,
    },
    /// One whose public half is named. No keyring is needed, and none counts what is sealed.
    Fixed(Arc<SealingDek>),
}

impl DekChoice {
    /// Whether it is looked up in a keyring.
    pub const fn needs_keyring(&self) -> bool {
        matches!(self, Self::Active { .. })
    }
}

pub(super) fn read(
    section: Section<'_>,
    variables: &Variables,
) -> Result<(DekChoice, EncryptorOptions), PipelineConfigError> {
    let kind = section.choice("kind", &["pii"], &[()])?;
    section.required("kind", kind)?;
    let dek = dek(&section)?;
    let forms = [EnvelopeForm::SelfContained, EnvelopeForm::Compact];
    let form = section.choice("envelope", &["full", "compact"], &forms)?;
    let hashes = [PlaintextHash::Keyed, PlaintextHash::BareSha256];
    let hash = section.choice("plaintext_hash", &["keyed", "sha256"], &hashes)?;
    let bind = section.choice("bind", &["pointer", "name"], &[FieldBinding::Pointer, FieldBinding::Name])?;
    let catalogue_mark = match section.flag("name_catalogue")? {
        Some(true) => CatalogueMark::Write,
        Some(false) | None => CatalogueMark::Omit,
    };
    let options = EncryptorOptions {
        catalogue: catalogue(&section)?,
        form: form.map_or(EnvelopeForm::SelfContained, |at| at.value),
        catalogue_mark,
        plaintext_hash: hash.map_or(PlaintextHash::Keyed, |at| at.value),
        bind_by: bind.map_or(FieldBinding::Pointer, |at| at.value),
        tenant: section.text("tenant")?.map(|at| at.value),
        event_id_member: section.text("event_id_member")?.map(|at| at.value),
        search_tokens: search_tokens(&section, variables)?,
        ..EncryptorOptions::default()
    };
    if let Err(error) = check(&options) {
        let key = match &error {
            OptionsError::EmptyTenant => "tenant",
            OptionsError::TokenField { .. } => "token",
            OptionsError::EventIdMember { .. } => "event_id_member",
        };
        return Err(section.error(key, ConfigFault::Options(error)));
    }
    section.finish()?;
    Ok((dek, options))
}

fn dek(section: &Section<'_>) -> Result<DekChoice, PipelineConfigError> {
    let scope = section.text("scope")?;
    let version = section.text("dek_version")?;
    let public_key = section.file("public_key_file")?;
    if let (Some(at), Some(_)) = (&scope, &public_key) {
        return Err(section.error_at(at, ConfigFault::Excludes { other: "public_key_file" }));
    }
    let version = match version {
        None => None,
        Some(at) => {
            let parsed = at.value.parse::<DekVersion>();
            let version = parsed.map_err(|error| section.error_at(&at, ConfigFault::Version(error)))?;
            Some((at, version))
        }
    };
    match (public_key, version) {
        (Some(key), Some((at, version))) => {
            let public_key = public_key_of(&key.value).map_err(|fault| section.error_at(&key, fault))?;
            let name = version.to_string().parse();
            let name = name.map_err(|error| section.error_at(&at, ConfigFault::DekName(error)))?;
            Ok(DekChoice::Fixed(Arc::new(SealingDek { public_key, name })))
        }
        (Some(at), None) => Err(section.error_at(&at, ConfigFault::Needs { other: "dek_version" })),
        (None, version) => {
            let scope = match scope {
                None => Scope::default(),
                Some(at) => {
                    at.value.parse().map_err(|error| section.error_at(&at, ConfigFault::Scope(error)))?
                }
            };
            Ok(DekChoice::Active { scope, pinned: version.map(|(_, version)| version) })
        }
    }
}

/// The public half of a DEK: one line of base64, as `aegis dek show --json` has it.
fn public_key_of(path: &Path) -> Result<HybridPublicKey, ConfigFault> {
    // Room for a private key, so that it can be told from other things of a wrong length.
    let most = HYBRID_PRIVATE_KEY_LEN.div_ceil(3) * 4 + 2;
    let text = aegis_durable::read_bounded(path, most as u64)
        .map(Zeroizing::new)
        .map_err(ConfigFault::PublicKeyFile)?;
    let malformed = || ConfigFault::NotAPublicKey { path: path.to_owned() };
    let text = std::str::from_utf8(&text).map_err(|_| malformed())?;
    let raw = Base64::decode_vec(text.trim_ascii_end()).map(Zeroizing::new).map_err(|_| malformed())?;
    if raw.len() == HYBRID_PRIVATE_KEY_LEN {
        return Err(ConfigFault::PrivateKey { path: path.to_owned() });
    }
    HybridPublicKey::from_bytes(&raw).map_err(ConfigFault::PublicKey)
}

fn search_tokens(
    section: &Section<'_>,
    variables: &Variables,
) -> Result<Option<SearchTokens>, PipelineConfigError> {
    let fields = section.texts("token")?;
    let key = secrets::read_at(section, &secrets::TOKEN_KEY, variables)?;
    let epoch = section.number("token_epoch", 0, u32::MAX.into())?;
    match (fields, key) {
        (Some(fields), Some(at)) => {
            let epoch = epoch.and_then(|epoch| u32::try_from(epoch).ok()).unwrap_or(1);
            let key = token_key(&at.value, epoch).ok_or(ConfigFault::NotATokenKey);
            let key = key.map_err(|fault| section.error_at(&at, fault))?;
            Ok(Some(SearchTokens { key: Arc::new(key), fields: fields.value }))
        }
        (Some(at), None) => Err(section.error_at(&at, secrets::TOKEN_KEY.needed())),
        (None, Some(at)) => Err(section.error_at(&at, ConfigFault::Needs { other: "token" })),
        (None, None) if epoch.is_some() => {
            Err(section.error("token_epoch", ConfigFault::Needs { other: "token" }))
        }
        (None, None) => Ok(None),
    }
}

/// 64 hex digits.
fn token_key(text: &SecretText, epoch: u32) -> Option<TokenKey> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(text.expose().trim_ascii(), bytes.as_mut_slice()).ok()?;
    Some(TokenKey::new(&Secret::copy_of(&bytes), epoch))
}

/// Whether the options contradict one another, which an encryptor says when it is made; no DEK is looked up for that.
fn check(options: &EncryptorOptions) -> Result<(), OptionsError> {
    #[derive(Debug)]
    struct NoDek;
    impl SealingDekSource for NoDek {
        fn active(&self) -> Result<Arc<SealingDek>, DekUnavailable> {
            Err(DekUnavailable::Unknown)
        }
    }
    PiiEncryptor::new(Arc::new(NoDek), options.clone()).map(drop)
}

/// In the order of the options of `aegis pii encrypt`.
fn catalogue(section: &Section<'_>) -> Result<Catalogue, PipelineConfigError> {
    let mut chosen = Catalogue::guide();
    if let Some(at) = section.file("catalogue")? {
        let bytes = aegis_durable::read_bounded(&at.value, Catalogue::MAX_CONFIG_LEN as u64)
            .map_err(|error| section.error_at(&at, ConfigFault::ReadCatalogue(error)))?;
        chosen = Catalogue::from_json(&bytes)
            .map_err(|error| section.error_at(&at, ConfigFault::CatalogueFile(error)))?;
    }
    if let Some(at) = section.texts("also")? {
        let fields = at.value.iter().map(|text| Field {
            selector: match text.starts_with('/') {
                true => Selector::Pointer(text.clone()),
                false => Selector::Name(text.clone()),
            },
            description: String::new(),
            // What somebody takes the trouble to add is not left out by a minimum.
            priority: Priority::Critical,
        });
        chosen = chosen
            .extended(fields.collect::<Vec<_>>())
            .map_err(|error| section.error_at(&at, ConfigFault::Catalogue(error)))?;
    }
    let priorities = [Priority::Critical, Priority::High, Priority::Medium];
    if let Some(at) = section.choice("min_priority", &["critical", "high", "medium"], &priorities)? {
        chosen = chosen
            .at_least(at.value)
            .map_err(|error| section.error_at(&at, ConfigFault::Catalogue(error)))?;
    }
    type Narrow = fn(Catalogue, &[&str]) -> Result<Catalogue, aegis_pii::CatalogueError>;
    let narrowings: [(&'static str, Narrow); 2] =
        [("fields", Catalogue::only), ("without", Catalogue::without)];
    for (key, narrow) in narrowings {
        if let Some(at) = section.texts(key)? {
            let words: Vec<&str> = at.value.iter().map(String::as_str).collect();
            chosen = narrow(chosen, &words)
                .map_err(|error| section.error_at(&at, ConfigFault::Catalogue(error)))?;
        }
    }
    Ok(chosen)
}
