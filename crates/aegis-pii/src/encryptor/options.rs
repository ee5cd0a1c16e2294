//! How events are sealed.

use crate::Limits;
use crate::binding::FieldBinding;
use crate::catalogue::{Catalogue, Selector};
use crate::envelope::{CatalogueMark, EnvelopeForm, MEMBERS, PlaintextHash};
use crate::token::SearchTokens;

/// How events are sealed. The default is what the guide describes.
#[derive(Debug, Clone)]
pub struct EncryptorOptions {
    /// Which fields.
    pub catalogue: Catalogue,
    /// How they are laid out.
    pub form: EnvelopeForm,
    /// Whether self-contained envelopes name the catalogue.
    pub catalogue_mark: CatalogueMark,
    /// The digest beside each.
    pub plaintext_hash: PlaintextHash,
    /// Whether a field opens at its place only, or wherever it has its name.
    pub bind_by: FieldBinding,
    /// The tenant to which fields are bound.
    pub tenant: Option<String>,
    /// The member of the outermost object that holds the event's id, to which fields are bound. An event with fields to
    /// seal and without an id is then refused.
    pub event_id_member: Option<String>,
    /// The fields that get search tokens. None, unless it is asked for: equal values can then be told from different ones.
    pub search_tokens: Option<SearchTokens>,
    /// What is too large.
    pub limits: Limits,
}

impl Default for EncryptorOptions {
    fn default() -> Self {
        Self {
            catalogue: Catalogue::guide(),
            form: EnvelopeForm::default(),
            catalogue_mark: CatalogueMark::default(),
            plaintext_hash: PlaintextHash::default(),
            bind_by: FieldBinding::default(),
            tenant: None,
            event_id_member: None,
            search_tokens: None,
            limits: Limits::for_encryption(),
        }
    }
}

impl EncryptorOptions {
    /// What is weaker than it could be, for a log.
    pub fn warnings(&self) -> Vec<Warning> {
        let Self { plaintext_hash, search_tokens, .. } = self;
        let bare = (*plaintext_hash == PlaintextHash::BareSha256).then_some(Warning::BareSha256);
        let tokens = search_tokens.as_ref().map(|_| Warning::SearchTokens);
        bare.into_iter().chain(tokens).collect()
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        for name in self.search_tokens.iter().flat_map(|tokens| &tokens.fields) {
            // Of what a pointer selects, the name is that of the last member, or of the one around an element.
            let is_known = self.catalogue.fields().iter().any(|field| match &field.selector {
                Selector::Name(known) => known == name,
                Selector::Pointer(_) => true,
            });
            if !is_known {
                return Err(OptionsError::TokenField { field: name.clone() });
            }
        }
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
    /// [`EncryptorOptions::search_tokens`].
    #[error("search tokens: whoever reads sealed events sees which of them have equal values, and how often")]
    SearchTokens,
}

/// Options that contradict one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A tenant without a name.
    #[error("the tenant's name is empty")]
    EmptyTenant,
    /// A field that is to get tokens, and is not sealed.
    #[error("the field {field:?} is to get search tokens, and the catalogue has no such field")]
    TokenField {
        /// Its name.
        field: String,
    },
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
            Self::TokenField { .. } => "`aegis pii fields` lists the fields of the catalogue".to_owned(),
            Self::EventIdMember { .. } => "name a member that stays in the clear".to_owned(),
        })
    }
}
