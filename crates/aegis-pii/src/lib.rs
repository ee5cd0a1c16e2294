//! Personal fields of JSON events: found, sealed and opened in place, with every other byte copied.
//!
//! An event is one JSON text. Encryption replaces the values of the fields in a [`Catalogue`] by envelopes; decryption
//! puts back the very bytes. Nothing here reads a file, a network or a keyring: DEKs come from a
//! [`SealingDekSource`] or an [`OpeningDekSource`], times in a [`Moment`].
//!
//! | module | what it holds |
//! |---|---|
//! | `json` | the scanner: RFC 8259, strict, linear, no recursion |
//! | `catalogue` | which fields are personal, by name or JSON Pointer (RFC 6901) |
//! | `search`, `envelope_search` | values to seal, envelopes to open, and where they stand |
//! | `binding` | what a sealed field cannot be moved away from |
//! | `envelope` | the two forms, read strictly and written in one spelling |
//! | `encryptor` | [`PiiEncryptor`], [`create_pii_enricher`] |
//! | `token` | search tokens, off by default: equal values of a field can be joined and counted |
//! | `decryptor` | [`PiiDecryptor`], with rights to some fields only |
//! | `inspect` | what is sealed and what is not, without a key |
//! | [`stream`] | events from readers to a writer, on one thread or several, in order |
//!
//! What never happens: a value that the catalogue calls personal is in what [`PiiEncryptor`] wrote, or anything is
//! written when something failed; an object is taken for an envelope, and so left alone, that is not one in every
//! member; a field opens at another place, in another event or for another tenant than it was bound to, or with a bit
//! changed.
//!
//! What nobody can know without the key: whether a well-formed envelope is genuine. One that a producer made up is
//! copied as it is, and does not open.

mod binding;
mod catalogue;
mod decryptor;
mod dek;
mod encryptor;
mod envelope;
mod envelope_search;
mod inspect;
mod json;
mod limits;
mod moment;
mod outermost;
mod place;
mod search;
pub mod stream;
mod token;
mod values;

pub use binding::{EventBinding, FieldBinding};
pub use catalogue::{
    Catalogue, CatalogueConfigError, CatalogueError, CatalogueVersion, Field, Priority, PriorityError,
    Selector,
};
pub use decryptor::{
    DecryptError, Decrypted, DecryptorOptions, FieldFault, FieldRights, PiiDecryptor, Unopenable,
};
pub use dek::{DekName, DekNameError, DekUnavailable, OpeningDekSource, SealingDek, SealingDekSource};
pub use encryptor::{
    EncryptError, Encrypted, EncryptorOptions, OptionsError, PiiEncryptor, Warning, create_pii_enricher,
};
pub use envelope::{CatalogueMark, EnvelopeForm, PlaintextHash};
pub use inspect::{ClearField, Inspection, Inspector, SealedField, Tally};
pub use json::{ScanError, ScanFault};
pub use limits::Limits;
pub use moment::{ClockError, Moment};
pub use outermost::EventIdError;
pub use token::{SearchTokens, TokenKey};
pub use values::{PersonalValue, PersonalValues};
