//! What a sealed field is bound to, and cannot be moved away from.

use aegis_crypto::{ALGORITHM, AssociatedData};

use crate::envelope::PlaintextHash;

/// By what a field is known to its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldBinding {
    /// Its JSON Pointer within the event, such as `/approvals/0/actor_id`: it opens at that place only.
    #[default]
    Pointer,
    /// Its name: it opens in any member so called. For streams in which events are later put into others, or taken
    /// apart.
    Name,
}

impl FieldBinding {
    /// What else a field may be bound by.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Pointer => Self::Name,
            Self::Name => Self::Pointer,
        }
    }

    /// Its name in associated data. It says too which digest stands beside the box: the one that anybody can compute
    /// must not be put in the place of the keyed one, or it would confirm guesses.
    const fn name(self, hash: PlaintextHash) -> &'static str {
        match (self, hash) {
            (Self::Pointer, PlaintextHash::Keyed) => "pointer",
            (Self::Name, PlaintextHash::Keyed) => "name",
            (Self::Pointer, PlaintextHash::BareSha256) => "pointer+sha256",
            (Self::Name, PlaintextHash::BareSha256) => "name+sha256",
        }
    }
}

/// To whom and to which event fields are bound, besides their place. Sealing and opening have to be told the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventBinding<'a> {
    /// The tenant. An empty one is none.
    pub tenant: &'a str,
    /// The event's id. An empty one is none.
    pub event_id: &'a str,
}

/// Everything that one field is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) by: FieldBinding,
    pub(crate) hash: PlaintextHash,
    /// The pointer or the name.
    pub(crate) field: &'a [u8],
    pub(crate) dek: &'a [u8],
    pub(crate) sealed_at: &'a [u8],
    /// In the compact form, the catalogue's version.
    pub(crate) catalogue: Option<&'a [u8]>,
    pub(crate) tenant: &'a [u8],
    pub(crate) event_id: &'a [u8],
}

impl Bound<'_> {
    /// The list for the box. How many parts it has says which they are; `docs/formats.md` has the table.
    fn associated_data(&self) -> AssociatedData {
        let Self { by, hash, field, dek, sealed_at, catalogue, tenant, event_id } = *self;
        let (by, algorithm) = (by.name(hash).as_bytes(), ALGORITHM.as_bytes());
        match (catalogue, tenant.is_empty() && event_id.is_empty()) {
            (None, true) => AssociatedData::new([by, field, dek, algorithm, sealed_at]),
            (Some(catalogue), true) => AssociatedData::new([by, field, dek, algorithm, sealed_at, catalogue]),
            (None, false) => AssociatedData::new([by, field, dek, algorithm, sealed_at, tenant, event_id]),
            (Some(catalogue), false) => {
                AssociatedData::new([by, field, dek, algorithm, sealed_at, catalogue, tenant, event_id])
            }
        }
    }
}

/// Associated data of the fields of the last event, used again for the same field of the next one if nothing in it
/// differs. In a stream that is the rule, within a second.
#[derive(Debug, Default)]
pub(crate) struct BoundCache {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    by: FieldBinding,
    hash: PlaintextHash,
    has_catalogue: bool,
    /// Everything else that is bound, one after the other, and where each part ends.
    parts: Vec<u8>,
    ends: [usize; 6],
    associated_data: AssociatedData,
}

impl BoundCache {
    /// Most entries that outlive an event.
    const KEPT: usize = 64;

    /// Makes sure of the associated data of field `number` of an event, and says whether it could.
    pub(crate) fn set(&mut self, number: usize, bound: &Bound<'_>) {
        match self.entries.get_mut(number) {
            Some(entry) if entry.is_for(bound) => {}
            Some(entry) => entry.set(bound),
            // Fields are asked for in order, so this is the next.
            None => self.entries.push(Entry::new(bound)),
        }
    }

    /// What [`set`](Self::set) made of field `number`.
    pub(crate) fn associated_data(&self, number: usize) -> Option<&AssociatedData> {
        self.entries.get(number).map(|entry| &entry.associated_data)
    }

    pub(crate) fn trim(&mut self) {
        self.entries.truncate(Self::KEPT);
    }
}

impl Entry {
    fn new(bound: &Bound<'_>) -> Self {
        let mut entry = Self {
            by: bound.by,
            hash: bound.hash,
            has_catalogue: bound.catalogue.is_some(),
            parts: Vec::new(),
            ends: [0; 6],
            associated_data: bound.associated_data(),
        };
        entry.note(bound);
        entry
    }

    fn set(&mut self, bound: &Bound<'_>) {
        self.associated_data = bound.associated_data();
        self.note(bound);
    }

    fn note(&mut self, bound: &Bound<'_>) {
        self.by = bound.by;
        self.hash = bound.hash;
        self.has_catalogue = bound.catalogue.is_some();
        self.parts.clear();
        for (part, end) in parts(bound).iter().zip(&mut self.ends) {
            self.parts.extend_from_slice(part);
            *end = self.parts.len();
        }
    }

    fn is_for(&self, bound: &Bound<'_>) -> bool {
        let mut start = 0;
        self.by == bound.by
            && self.hash == bound.hash
            && self.has_catalogue == bound.catalogue.is_some()
            && parts(bound).iter().zip(self.ends).all(|(part, end)| {
                let is_same = self.parts.get(start..end) == Some(part);
                start = end;
                is_same
            })
    }
}

fn parts<'a>(bound: &Bound<'a>) -> [&'a [u8]; 6] {
    let Bound { by: _, hash: _, field, dek, sealed_at, catalogue, tenant, event_id } = *bound;
    [field, dek, sealed_at, catalogue.unwrap_or_default(), tenant, event_id]
}
