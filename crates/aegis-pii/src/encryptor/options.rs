//! How events are sealed.

use crate::Limits;
use crate::binding::FieldBinding;
use crate::catalogue::{Catalogue, Selector};
use crate::envelope::{EnvelopeForm, MEMBERS, PlaintextHash};

/// How events are sealed. The default is what the guide describes.
#[derive(Debug, Clone)]
pub struct EncryptorOptions {
    /// Which fields.
    pub catalogue: Catalogue,
    /// How they are laid out.
    pub form: EnvelopeForm,
    /// The digest beside each.
    pub plaintext_hash: PlaintextHash,
    /// Whether a field opens at its place only, or wherever it has its name.
    pub bind_by: FieldBinding,
    /// The tenant to which fields are bound.
    pub tenant: Option<String>,
    /// The member of the outermost object that holds the event's id, to which fields are bound. An event with fields to
    /// seal and without an id is then refused.
    pub event_id_member: Option<String>,
    /// What is too large.
    pub limits: Limits,
}

impl Default for EncryptorOptions {
    fn default() -> Self {
        Self {
            catalogue: Catalogue::guide(),
            form: EnvelopeForm::default(),
            plaintext_hash: PlaintextHash::default(),
            bind_by: FieldBinding::default(),
            tenant: None,
            event_id_member: None,
            limits: Limits::for_encryption(),
        }
    }
}

impl EncryptorOptions {
    /// What is weaker than it could be, for a log.
    pub fn warnings(&self) -> Vec<Warning> {
        match self.plaintext_hash {
            PlaintextHash::BareSha256 => vec![Warning::BareSha256],
            PlaintextHash::Keyed => Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        if self.tenant.as_deref() == Some("") {
            return Err(OptionsError::EmptyTenant);
        }
        let Some(member) = &self.event_id_member else { return Ok(()) };
        let is_sealed = self.catalogue.fields().iter().any(|field| match &field.selector {
            Selector::Name(name) => name == member,
            Selector::Pointer(pointer) => {
                let token = member.replace('~', "~0").replace('/', "~1");
                pointer.strip_prefix('/') == Some(token.as_str())
            }
        });
        if member.is_empty() || is_sealed || MEMBERS.contains(&member.as_str()) {
            return Err(OptionsError::EventIdMember { member: member.clone() });
        }
        Ok(())
    }
}

/// What is weaker than it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// [`PlaintextHash::BareSha256`].
    #[error(
        "plaintext_hash = \"sha256\": whoever guesses a value can check the guess; ids and names can be found by trying"
    )]
    BareSha256,
}

/// Options that contradict one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A tenant without a name.
    #[error("the tenant's name is empty")]
    EmptyTenant,
    /// It is empty, sealed itself, or used by envelopes.
    #[error("{member:?} cannot be the member that holds the event's id")]
    EventIdMember {
        /// Its name.
        member: String,
    },
}

impl OptionsError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::EmptyTenant => "leave the tenant out, or name it".to_owned(),
            Self::EventIdMember { .. } => "name a member that stays in the clear".to_owned(),
        })
    }
}
