//! What can be said of an event without any key.

use std::collections::BTreeMap;

use aegis_crypto::ALGORITHM;

use crate::catalogue::Catalogue;
use crate::dek::DekName;
use crate::envelope::{EnvelopeForm, PlaintextHash, ReadForm, Said, StoredHash};
use crate::envelope_search::EnvelopeSearch;
use crate::place::{Place, Places};
use crate::search::Search;
use crate::{Limits, ScanError};

/// What is sealed in an event, and what should be and is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// The version of the catalogue by which it was sealed, if the event says so: the compact form does, and the other one
    /// if that was wanted. That of the first field, should they differ.
    pub catalogue: Option<String>,
    /// The envelopes, in order.
    pub sealed: Vec<SealedField>,
    /// Values that the catalogue calls personal and that are in the clear, in order.
    pub clear: Vec<ClearField>,
    /// Objects that say they are encrypted and are no envelope.
    pub malformed: usize,
}

/// A sealed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedField {
    /// Its JSON Pointer in the event.
    pub pointer: String,
    /// Its name, or that of the member around the array that it is in.
    pub name: String,
    /// Under which DEK.
    pub dek: DekName,
    /// By which algorithm.
    pub algorithm: &'static str,
    /// When, as the envelope has it.
    pub sealed_at: String,
    /// By which version of the catalogue it was chosen, if the event says so.
    pub catalogue: Option<String>,
    /// In which form.
    pub form: EnvelopeForm,
    /// Which digest stands beside it.
    pub plaintext_hash: PlaintextHash,
    /// Its search token, if it has one.
    pub token: Option<String>,
    /// Bytes of the sealed value.
    pub plaintext_len: usize,
    /// Where its envelope begins.
    pub offset: usize,
}

/// A personal value in the clear. What it is, this does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearField {
    /// Its JSON Pointer in the event.
    pub pointer: String,
    /// Its name, or that of the member around the array that it is in.
    pub name: String,
    /// Where it begins.
    pub offset: usize,
}

/// Looks at events without any key.
#[derive(Debug)]
pub struct Inspector {
    catalogue: Catalogue,
    limits: Limits,
    envelopes: EnvelopeSearch,
    search: Search,
}

impl Inspector {
    /// Expects the fields of `catalogue` to be sealed.
    pub fn new(catalogue: Catalogue, limits: Limits) -> Self {
        Self { catalogue, limits, envelopes: EnvelopeSearch::new(""), search: Search::new("") }
    }

    /// Says what is sealed in one event, and what is not.
    ///
    /// # Errors
    ///
    /// A [`ScanError`].
    pub fn inspect(&mut self, event: &[u8]) -> Result<Inspection, ScanError> {
        let Self { catalogue, limits, envelopes, search } = self;
        envelopes.run(event, limits)?;
        search.run(event, catalogue, limits)?;
        let EnvelopeSearch { places, reader, malformed, .. } = &*envelopes;
        let sealed = reader.claims.iter().map(|claim| {
            let Said { dek, sealed_at, catalogue, encapsulation: _ } = reader.said(claim.form);
            let form = match claim.form {
                ReadForm::SelfContained(_) => EnvelopeForm::SelfContained,
                ReadForm::Compact => EnvelopeForm::Compact,
            };
            SealedField {
                pointer: text(places.pointer(&claim.place)),
                name: text(places.name(&claim.place)),
                dek: text(dek).parse().expect("only well-formed names are read"),
                algorithm: ALGORITHM,
                sealed_at: text(sealed_at),
                catalogue: catalogue.map(text).filter(|catalogue| !catalogue.is_empty()),
                form,
                plaintext_hash: match claim.hash {
                    StoredHash::Keyed(_) => PlaintextHash::Keyed,
                    StoredHash::BareSha256(_) => PlaintextHash::BareSha256,
                },
                token: Some(text(reader.text(&claim.token))).filter(|token| !token.is_empty()),
                plaintext_len: reader.body_len(claim) - aegis_crypto::BODY_OVERHEAD,
                offset: claim.start,
            }
        });
        let is_sealed = |start| reader.claims.binary_search_by_key(&start, |claim| claim.start).is_ok();
        let clear = search.found.iter().filter(|found| !is_sealed(found.start)).map(|found| ClearField {
            pointer: pointer_of(&search.places, &found.place),
            name: text(search.places.name(&found.place)),
            offset: found.start,
        });
        let sealed: Vec<SealedField> = sealed.collect();
        Ok(Inspection {
            catalogue: sealed.iter().find_map(|field| field.catalogue.clone()),
            sealed,
            clear: clear.collect(),
            malformed: *malformed,
        })
    }
}

/// Counts over many events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Sealed fields under each DEK.
    pub sealed_by_dek: BTreeMap<DekName, u64>,
    /// Sealed fields of each name.
    pub sealed_by_name: BTreeMap<String, u64>,
    /// Events under each version of a catalogue, of those that say it.
    pub events_by_catalogue: BTreeMap<String, u64>,
    /// Personal values in the clear, of each name.
    pub clear_by_name: BTreeMap<String, u64>,
    /// Objects that say they are encrypted and are no envelope.
    pub malformed: u64,
    /// Whether there were more different names, or versions, than are counted.
    pub is_cut: bool,
}

impl Tally {
    /// Most different keys in each of the maps. A stream of hostile events can name as many as it likes.
    pub const MAX_KEYS: usize = 10_000;

    /// Adds one event.
    pub fn add(&mut self, inspection: &Inspection) {
        let Self {
            events,
            sealed_by_dek,
            sealed_by_name,
            events_by_catalogue,
            clear_by_name,
            malformed,
            is_cut,
        } = self;
        *events += 1;
        *malformed += inspection.malformed as u64;
        for field in &inspection.sealed {
            count(sealed_by_dek, &field.dek, is_cut);
            count(sealed_by_name, &field.name, is_cut);
        }
        for field in &inspection.clear {
            count(clear_by_name, &field.name, is_cut);
        }
        if let Some(catalogue) = &inspection.catalogue {
            count(events_by_catalogue, catalogue, is_cut);
        }
    }
}

fn count<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, key: &K, is_cut: &mut bool) {
    if let Some(count) = counts.get_mut(key) {
        *count += 1;
    } else if counts.len() < Tally::MAX_KEYS {
        counts.insert(key.clone(), 1);
    } else {
        *is_cut = true;
    }
}

fn pointer_of(places: &Places, place: &Place) -> String {
    text(places.pointer(place))
}

/// Escaped surrogates without a partner become a replacement character.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
