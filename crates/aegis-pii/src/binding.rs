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

/// What the fields of an event are bound to together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common<'a> {
    pub(crate) by: FieldBinding,
    pub(crate) hash: PlaintextHash,
    pub(crate) dek: &'a [u8],
    pub(crate) sealed_at: &'a [u8],
    /// The catalogue's version, where the envelope or the header names it.
    pub(crate) catalogue: Option<&'a [u8]>,
    pub(crate) tenant: &'a [u8],
    pub(crate) event_id: &'a [u8],
}

impl Common<'_> {
    /// The list for a box, of what is common, the field's pointer or name, and its token if it has one. How many parts it has says which they are;
    /// `docs/formats.md` has the table.
    fn associated_data(&self, field: &[u8], token: &[u8]) -> AssociatedData {
        let Self { by, hash, dek, sealed_at, catalogue, tenant, event_id } = *self;
        let (mut by, algorithm) = (by.name(hash).as_bytes(), ALGORITHM.as_bytes());
        let with_token;
        if !token.is_empty() {
            with_token = [by, b"+token:", token].concat();
            by = &with_token;
        }
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
    /// What the entries of the current age have in common, each part after its length. Empty before the first.
    common: Vec<u8>,
    /// The same of those that come next; kept for its memory alone.
    next: Vec<u8>,
    /// Counts the changes of `common`.
    age: u64,
    entries: Vec<Entry>,
}

/// Whether two texts are equal. Two empty ones are not compared: an empty vector's address is no memory's, and some
/// processors take 70 ns to load nothing from there.
#[inline]
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

#[derive(Debug)]
struct Entry {
    age: u64,
    field: Vec<u8>,
    token: Vec<u8>,
    associated_data: AssociatedData,
}

impl BoundCache {
    /// Most entries that outlive an event.
    pub(crate) const KEPT: usize = 64;

    /// From now on fields have this in common.
    pub(crate) fn set_common(&mut self, common: &Common<'_>) {
        let Common { by, hash, dek, sealed_at, catalogue, tenant, event_id } = *common;
        self.next.clear();
        self.next.push(u8::from(catalogue.is_some()));
        let catalogue = catalogue.unwrap_or_default();
        for part in [by.name(hash).as_bytes(), dek, sealed_at, catalogue, tenant, event_id] {
            self.next.extend_from_slice(&(part.len() as u64).to_be_bytes());
            self.next.extend_from_slice(part);
        }
        if self.common != self.next {
            std::mem::swap(&mut self.common, &mut self.next);
            self.age += 1;
        }
    }

    /// Makes sure of the associated data of field `number` of an event. Numbers go up by one.
    pub(crate) fn set(&mut self, number: usize, common: &Common<'_>, field: &[u8], token: &[u8]) {
        match self.entries.get_mut(number) {
            Some(entry)
                if entry.age == self.age && is_same(&entry.field, field) && is_same(&entry.token, token) => {}
            Some(entry) => {
                entry.age = self.age;
                entry.field.clear();
                entry.field.extend_from_slice(field);
                entry.token.clear();
                entry.token.extend_from_slice(token);
                entry.associated_data = common.associated_data(field, token);
            }
            None => self.entries.push(Entry {
                age: self.age,
                field: field.to_vec(),
                token: token.to_vec(),
                associated_data: common.associated_data(field, token),
            }),
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
