//! What a key took part in: every decision, what became of it, and what is to be done now that the key cannot be believed.
//!
//! | format | what it is for |
//! |---|---|
//! | text | reading |
//! | JSON | other programs: one document, one decision a line |
//! | CSV | spreadsheets, which must not take a field for a formula |
//!
//! Decisions that can no longer change are judged by who signed them, for the store took no signature that did not count
//! then; the others by their signatures, as everywhere.

mod csv;
mod finding;
mod json;
mod text;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use aegis_crypto::KeyId;
use jiff::Timestamp;

use crate::approvals::ApprovalsReader;
use crate::name::{PersonId, RequestId};
use crate::registry::{KeyState, Registry};
use crate::store::{Involvement, Rotation, StoreError};

use finding::{KnownKeys, States};

pub use finding::{Finding, OtherSigner, Remedy};

/// How many requests are read at once.
const PAGE: usize = 500;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// Comma-separated values (RFC 4180).
    Csv,
}

impl ReportFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Csv];

    /// The name on command lines, and the ending of files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// Whose key a report is about, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportHead {
    /// The key.
    pub key: KeyId,
    /// Whose it is.
    pub person: PersonId,
    /// What became of it.
    pub key_state: KeyState,
    /// Its emergency rotation, if one was begun.
    pub rotation: Option<Rotation>,
    /// When the report was made.
    pub made: Timestamp,
}

/// How many decisions a report has, and what is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportCounts {
    /// Decisions in all.
    pub decisions: u64,
    /// Of each remedy how many.
    pub remedies: BTreeMap<Remedy, u64>,
}

impl ReportCounts {
    fn add(&mut self, finding: &Finding) {
        self.decisions = self.decisions.saturating_add(1);
        let count = self.remedies.entry(finding.remedy()).or_default();
        *count = count.saturating_add(1);
    }
}

/// A report that can be written, as often as need be. It is read while it is written, a page at a time.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    reader: &'a ApprovalsReader,
    head: ReportHead,
    registry: Registry,
}

impl ApprovalsReader {
    /// The report of what a key took part in.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the key is nobody's, or the store failed.
    pub fn report(&self, key: KeyId, now: Timestamp) -> Result<Report<'_>, ReportError> {
        let registry = self.registry().map_err(ReportError::Store)?;
        let (custodian, held) = registry.holder(key).ok_or(ReportError::NobodysKey { key })?;
        let rotation = self.store().rotation(key).map_err(ReportError::Store)?;
        let (person, key_state) = (custodian.person.clone(), held.state.clone());
        let head = ReportHead { key, person, key_state, rotation, made: now };
        Ok(Report { reader: self, head, registry })
    }
}

impl Report<'_> {
    /// What it is about.
    pub const fn head(&self) -> &ReportHead {
        &self.head
    }

    /// Hands over one decision after another, in the order in which they were asked for.
    ///
    /// # Errors
    ///
    /// [`ReportError`], also one of `each`, which ends it.
    pub fn each(
        &self,
        each: &mut dyn FnMut(&Finding) -> Result<(), ReportError>,
    ) -> Result<ReportCounts, ReportError> {
        let with_key = finding::with_key_active(&self.registry, self.head.key);
        let keys = KnownKeys::of(&self.registry);
        let mut counts = ReportCounts::default();
        let mut after = None;
        loop {
            let page = self.reader.store().signed_by(self.head.key, after.as_ref(), PAGE);
            let page = page.map_err(ReportError::Store)?;
            let Some(last) = page.last() else { return Ok(counts) };
            after = Some(last.clone());
            for involvement in page {
                let finding = self.finding(involvement, &with_key, &keys)?;
                counts.add(&finding);
                each(&finding)?;
            }
        }
    }

    fn finding(
        &self,
        involvement: Involvement,
        with_key: &Registry,
        keys: &KnownKeys,
    ) -> Result<Finding, ReportError> {
        let made = self.head.made;
        let begun = self.head.rotation.as_ref().map_or(made, |rotation| rotation.started);
        let final_at = |at| finding::final_state(involvement.closed.as_ref(), involvement.usable_until, at);
        let states = match (final_at(begun), final_at(made)) {
            (Some(then), Some(now)) => States { then, now },
            (then, now) => {
                let record = self.reader.store().request(&involvement.id).map_err(ReportError::Store)?;
                let record = record.ok_or_else(|| ReportError::Gone { id: involvement.id.clone() })?;
                States {
                    then: then.unwrap_or_else(|| finding::state_at(&record, with_key, begun)),
                    now: now.unwrap_or_else(|| finding::state_at(&record, &self.registry, made)),
                }
            }
        };
        Ok(Finding::of(involvement, self.head.key, keys, states))
    }

    /// Writes it. It is not synced or closed; that is for whoever opened `out`.
    ///
    /// # Errors
    ///
    /// [`ReportError`]; what was written is not complete then.
    pub fn write_to(&self, format: ReportFormat, out: &mut dyn Write) -> Result<ReportCounts, ReportError> {
        let written = |result: io::Result<()>| result.map_err(ReportError::Write);
        // A decision is written in many small pieces.
        let out = &mut BufWriter::with_capacity(1 << 16, out);
        let counts = match format {
            ReportFormat::Text => {
                written(text::head(out, &self.head))?;
                let counts = self.each(&mut |finding| written(text::decision(out, &self.head, finding)))?;
                written(text::end(out, &counts))?;
                counts
            }
            ReportFormat::Json => {
                written(json::head(out, &self.head))?;
                let mut is_first = true;
                let counts = self.each(&mut |finding| {
                    written(json::decision(out, finding, std::mem::take(&mut is_first)))
                })?;
                written(json::end(out, &counts))?;
                counts
            }
            ReportFormat::Csv => {
                written(csv::head(out))?;
                let mut lines = csv::Lines::default();
                self.each(&mut |finding| written(lines.decision(out, &self.head, finding)))?
            }
        };
        written(out.flush())?;
        Ok(counts)
    }
}

/// Why there is no report, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The key is not registered, and never was.
    #[error("the key {} is no custodian's", key.fingerprint())]
    NobodysKey {
        /// The key.
        key: KeyId,
    },
    /// The store names a request that it does not have.
    #[error("the request {id} has a signature and is not there")]
    Gone {
        /// The request.
        id: RequestId,
    },
    /// The store did not answer, or not as it should.
    #[error(transparent)]
    Store(StoreError),
    /// It could not be written.
    #[error("the report could not be written")]
    Write(#[source] io::Error),
}

impl ReportError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NobodysKey { .. } => Some("name a key that is listed, also if it is revoked".to_owned()),
            Self::Gone { .. } => Some("restore the approvals from a backup".to_owned()),
            Self::Store(error) => error.help(),
            Self::Write(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that file system, then run it again".to_owned())
                }
                _ => None,
            },
        }
    }
}
