//! The search for personal values, for those who do something else with them than seal them.

use std::ops::Range;

use crate::catalogue::Catalogue;
use crate::search::Search;
use crate::{Limits, ScanError};

/// Finds the personal values of events. Keeps its memory from one event to the next.
#[derive(Debug)]
pub struct PersonalValues {
    catalogue: Catalogue,
    limits: Limits,
    search: Search,
}

/// A personal value in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalValue<'a> {
    /// Its JSON Pointer. An escaped surrogate without its partner is in it as three bytes that are no UTF-8.
    pub pointer: &'a [u8],
    /// Where its bytes are.
    pub bytes: Range<usize>,
}

impl PersonalValues {
    /// Looks for the fields of `catalogue`.
    pub fn new(catalogue: Catalogue, limits: Limits) -> Self {
        Self { catalogue, limits, search: Search::new("") }
    }

    /// The values in one event, in order; an envelope counts as a value.
    ///
    /// # Errors
    ///
    /// A [`ScanError`], exactly if `event` is no JSON text or over the limits.
    pub fn find(&mut self, event: &[u8]) -> Result<impl Iterator<Item = PersonalValue<'_>>, ScanError> {
        let Self { catalogue, limits, search } = self;
        search.run(event, catalogue, limits)?;
        let Search { found, places, .. } = &*search;
        Ok(found.iter().map(|found| PersonalValue {
            pointer: places.pointer(&found.place),
            bytes: found.start..found.end,
        }))
    }
}
