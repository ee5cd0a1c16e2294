//! A public key on its way to a deployment or a host, with proof that whoever sends it holds the private half.

use std::collections::BTreeSet;

use aegis_crypto::{
    CustodianPrivateKey, CustodianPublicKey, CustodianPublicKeyError, CustodianSignError, CustodianSignature,
    CustodianSignatureError, CustodianVerifyError, PrivateMaterial, Statement,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::canonical::{parse_time, to_second, to_text};
use crate::name::{NameError, PersonId, Role};
use crate::registry::Registry;

/// A person's key and roles, which its holder signed. Only [`Registration::new`] and [`Registration::parse`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    person: PersonId,
    roles: BTreeSet<Role>,
    key: CustodianPublicKey,
    created: Timestamp,
    proof: CustodianSignature,
}

const TYPE: &str = "aegis-custodian-v1";

impl Registration {
    /// The most bytes of a file.
    pub const MAX_LEN: usize = 32 * 1024;

    /// Signs that this key is `person`'s, in these roles.
    ///
    /// # Errors
    ///
    /// [`NewRegistrationError`].
    pub fn new(
        key: &CustodianPrivateKey,
        person: PersonId,
        roles: BTreeSet<Role>,
        now: Timestamp,
    ) -> Result<Self, NewRegistrationError> {
        if roles.is_empty() || roles.len() > Registry::MAX_ROLES {
            return Err(NewRegistrationError::Roles { found: roles.len() });
        }
        let created = to_second(now);
        let public = key.public_key().clone();
        let proof = key.sign(&proof_statement(&person, &roles, &public, created));
        let proof = proof.map_err(NewRegistrationError::Sign)?;
        Ok(Self { person, roles, key: public, created, proof })
    }

    /// Takes a signature that a wallet made over [`proof_statement`].
    ///
    /// # Errors
    ///
    /// [`ReadRegistrationError::Proof`] if it is not by the key; [`ReadRegistrationError::Roles`].
    pub fn of_signature(
        person: PersonId,
        roles: BTreeSet<Role>,
        key: CustodianPublicKey,
        created: Timestamp,
        proof: CustodianSignature,
    ) -> Result<Self, ReadRegistrationError> {
        if roles.is_empty() || roles.len() > Registry::MAX_ROLES {
            return Err(ReadRegistrationError::Roles { found: roles.len() });
        }
        let created = to_second(created);
        key.verify(&proof_statement(&person, &roles, &key, created), &proof)
            .map_err(ReadRegistrationError::Proof)?;
        Ok(Self { person, roles, key, created, proof })
    }

    /// Reads a file and checks the proof. A file with a private key in it is refused as that.
    ///
    /// # Errors
    ///
    /// A [`ReadRegistrationError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadRegistrationError> {
        let text = String::from_utf8_lossy(bytes.get(..Self::MAX_LEN).unwrap_or(bytes));
        if let Some(found) = PrivateMaterial::in_text(&text) {
            return Err(ReadRegistrationError::Private { found });
        }
        if bytes.len() > Self::MAX_LEN {
            return Err(ReadRegistrationError::TooLong { found: bytes.len() });
        }
        let raw: RawRegistration = serde_json::from_slice(bytes)
            .map_err(|error| ReadRegistrationError::Json { line: error.line(), column: error.column() })?;
        let RawRegistration { r#type, person, roles, key, created, proof } = raw;
        if r#type != TYPE {
            return Err(ReadRegistrationError::Type);
        }
        let named = roles.len();
        let roles: BTreeSet<Role> = roles
            .iter()
            .map(|role| role.parse())
            .collect::<Result<_, _>>()
            .map_err(ReadRegistrationError::Name)?;
        if roles.len() != named {
            return Err(ReadRegistrationError::Roles { found: named });
        }
        Self::of_signature(
            person.parse().map_err(ReadRegistrationError::Name)?,
            roles,
            key.parse().map_err(ReadRegistrationError::Key)?,
            parse_time(&created).ok_or(ReadRegistrationError::Created)?,
            proof.parse().map_err(ReadRegistrationError::Signature)?,
        )
    }

    /// Who.
    pub const fn person(&self) -> &PersonId {
        &self.person
    }

    /// In which roles.
    pub const fn roles(&self) -> &BTreeSet<Role> {
        &self.roles
    }

    /// The public key.
    pub const fn key(&self) -> &CustodianPublicKey {
        &self.key
    }

    /// When it was signed.
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// The file: canonical JSON in one line.
    pub fn to_json(&self) -> String {
        let Self { person, roles, key, created, proof } = self;
        let mut text = to_text(&json!({
            "type": TYPE,
            "person": person.as_str(),
            "roles": roles.iter().map(Role::as_str).collect::<Vec<_>>(),
            "key": key.to_string(),
            "created": created.to_string(),
            "proof": proof.to_string(),
        }));
        text.push('\n');
        text
    }
}

/// What a custodian signs to show that the key is theirs.
pub fn proof_statement(
    person: &PersonId,
    roles: &BTreeSet<Role>,
    key: &CustodianPublicKey,
    created: Timestamp,
) -> Statement {
    // At most as many as a person can have: more are refused, and must not make the statement too long.
    let roles: Vec<_> = roles.iter().take(Registry::MAX_ROLES + 1).map(Role::as_str).collect();
    let text = format!(
        "{TYPE}\n\
         This key is mine, and what it signs is my decision.\n\
         person: {person}\n\
         roles: {roles}\n\
         created: {created}\n\
         {algorithm}\n\
         key: {key}",
        roles = roles.join(", "),
        created = to_second(created),
        algorithm = Statement::algorithm_line(key.algorithm()),
        key = key.key_id(),
    );
    Statement::new(text)
        .expect("every part is bounded printable ASCII in one line, and one line names the algorithm")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistration {
    r#type: String,
    person: String,
    roles: Vec<String>,
    key: String,
    created: String,
    proof: String,
}

/// Why a registration was not made.
#[derive(Debug, thiserror::Error)]
pub enum NewRegistrationError {
    /// No role, or too many.
    #[error("a custodian has 1 to {} roles, not {found}", Registry::MAX_ROLES)]
    Roles {
        /// How many.
        found: usize,
    },
    /// The key did not sign.
    #[error("the proof that the key is held was not made")]
    Sign(#[source] CustodianSignError),
}

impl NewRegistrationError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Roles { .. } => Some("name them, such as risk_lead".to_owned()),
            Self::Sign(error) => error.help(),
        }
    }
}

/// Why a file does not register anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadRegistrationError {
    /// A private key was sent. Nothing of it is kept.
    #[error("what must never be given away is in it: {}", found.name())]
    Private {
        /// In what form.
        found: PrivateMaterial,
    },
    /// More than a registration has.
    #[error("a registration has at most {} bytes, this one has {found}", Registration::MAX_LEN)]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Not the JSON of a registration.
    #[error("this is not the JSON of a registration, at line {line} column {column}")]
    Json {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// Something else, or of another version.
    #[error("the type of the registration is not {TYPE}")]
    Type,
    /// A name that breaks its rule.
    #[error("a name in the registration cannot be used")]
    Name(#[source] NameError),
    /// No role, one twice, or too many.
    #[error("a custodian has 1 to {} different roles, not these {found}", Registry::MAX_ROLES)]
    Roles {
        /// How many.
        found: usize,
    },
    /// Not a public key.
    #[error("the key of the registration cannot be used")]
    Key(#[source] CustodianPublicKeyError),
    /// Not a time.
    #[error("the field created of the registration is not a time such as 2026-01-01T00:00:00Z")]
    Created,
    /// Not a signature.
    #[error("the proof of the registration cannot be read")]
    Signature(#[source] CustodianSignatureError),
    /// The key did not sign this.
    #[error("the proof of the registration does not hold")]
    Proof(#[source] CustodianVerifyError),
}

impl ReadRegistrationError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Private { .. } => {
                    "nothing was kept; that key is compromised: its holder makes a new one, and sends the registration alone"
                }
                Self::Proof(_) => "ask its holder to make the registration again; any change breaks the proof",
                _ => "ask its holder for the file that `aegis custodian generate` wrote",
            }
            .to_owned(),
        )
    }
}
