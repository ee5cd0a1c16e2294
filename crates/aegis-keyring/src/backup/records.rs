//! The plaintext of a backup: one record a line, each line with one spelling, all lines in one order.
//!
//! ```text
//! aegis-keyring 1
//! made TIME
//! kek KEYID STATE PROVIDER CREATED CHANGED GRACE-UNTIL PUBLIC-KEY
//! dek VERSION SCOPE STATE CREATED CHANGED DESTROY-AFTER MESSAGES BYTES PUBLIC-KEY
//! wrapping KEK-KEYID SEALED-BOX
//! end KEKS DEKS WRAPPINGS
//! ```
//!
//! KEKs are in the order of enrolment, DEKs in that of their versions, the wrappings of each after it in the order of the
//! KEKs. A line is parsed, printed again and compared, so that a second spelling cannot be forgotten.

use std::collections::BTreeSet;

use aegis_crypto::{HybridPublicKey, KeyId};
use base64ct::{Base64, Encoding};
use jiff::Timestamp;

use super::read::ReadBackupError;
use crate::record::{DekRecord, DekState, KekRecord, KekState, NewWrapping, Usage};
use crate::scope::Scope;
use crate::store::MAX_SEALED_LEN;
use crate::version::DekVersion;

/// The first line.
const FORMAT: &str = "aegis-keyring 1";
/// Most KEKs: one a day for ten years.
pub(super) const MAX_KEKS: usize = 4096;
/// Most wrappings of one DEK: there are never more live KEKs in practice than a handful.
const MAX_WRAPPINGS: usize = 64;
/// Most bytes of a line, without its end: a wrapping of the greatest length, in base64, and room for the rest.
const MAX_LINE_LEN: usize = MAX_SEALED_LEN / 3 * 4 + 512;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Made(Timestamp),
    Kek(Box<KekRecord>),
    Dek(Box<DekRecord>),
    Wrapping { kek: KeyId, sealed: Vec<u8> },
    End { keks: u64, deks: u64, wrappings: u64 },
}

impl Line {
    /// The first two lines.
    pub(super) fn head(made_at: Timestamp) -> String {
        format!("{FORMAT}\n{}", Self::Made(made_at).print())
    }

    /// The line, with its end.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Made(made_at) => format!("made {made_at}\n"),
            Self::Kek(kek) => {
                let KekRecord { public_key, provider, state, created_at, changed_at, grace_until } = &**kek;
                let (id, public_key) = (public_key.key_id(), base64(public_key.as_bytes()));
                let grace_until = optional(*grace_until);
                format!("kek {id} {state} {provider} {created_at} {changed_at} {grace_until} {public_key}\n")
            }
            Self::Dek(dek) => {
                let DekRecord {
                    version,
                    scope,
                    state,
                    public_key,
                    created_at,
                    changed_at,
                    destroy_after,
                    usage: Usage { messages, bytes },
                } = &**dek;
                let (destroy_after, public_key) = (optional(*destroy_after), base64(public_key.as_bytes()));
                format!(
                    "dek {version} {scope} {state} {created_at} {changed_at} {destroy_after} {messages} {bytes} \
                     {public_key}\n"
                )
            }
            Self::Wrapping { kek, sealed } => format!("wrapping {kek} {}\n", base64(sealed)),
            Self::End { keks, deks, wrappings } => format!("end {keks} {deks} {wrappings}\n"),
        }
    }

    /// Reads a line without its end.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').take(16).collect();
        let line = match words.as_slice() {
            ["made", made_at] => Self::Made(made_at.parse().ok()?),
            ["kek", _, state, provider, created_at, changed_at, grace_until, public_key] => {
                Self::Kek(Box::new(KekRecord {
                    public_key: public_key_of(public_key)?,
                    provider: provider.parse().ok()?,
                    state: state.parse().ok()?,
                    created_at: created_at.parse().ok()?,
                    changed_at: changed_at.parse().ok()?,
                    grace_until: time_or_none(grace_until)?,
                }))
            }
            [
                "dek",
                version,
                scope,
                state,
                created_at,
                changed_at,
                destroy_after,
                messages,
                bytes,
                public_key,
            ] => Self::Dek(Box::new(DekRecord {
                version: version.parse().ok()?,
                scope: scope.parse().ok()?,
                state: state.parse().ok()?,
                public_key: public_key_of(public_key)?,
                created_at: created_at.parse().ok()?,
                changed_at: changed_at.parse().ok()?,
                destroy_after: time_or_none(destroy_after)?,
                usage: Usage { messages: messages.parse().ok()?, bytes: bytes.parse().ok()? },
            })),
            ["wrapping", kek, sealed] => {
                let sealed = Base64::decode_vec(sealed).ok()?;
                let fits = (1..=MAX_SEALED_LEN).contains(&sealed.len());
                Self::Wrapping { kek: kek.parse().ok()?, sealed: Some(sealed).filter(|_| fits)? }
            }
            ["end", keks, deks, wrappings] => Self::End {
                keks: keks.parse().ok()?,
                deks: deks.parse().ok()?,
                wrappings: wrappings.parse().ok()?,
            },
            _ => return None,
        };
        // One line, one spelling. This also compares the key id that is printed with the key.
        (line.print().strip_suffix('\n') == Some(text)).then_some(line)
    }
}

fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

fn public_key_of(text: &str) -> Option<HybridPublicKey> {
    HybridPublicKey::from_bytes(&Base64::decode_vec(text).ok()?).ok()
}

fn optional(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn time_or_none(text: &str) -> Option<Option<Timestamp>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

/// Where the plaintext comes from, a piece at a time.
pub(super) trait Pieces {
    /// Appends the next piece; `false` at the end, once it is certain that it is the end.
    fn next(&mut self, to: &mut Vec<u8>) -> Result<bool, ReadBackupError>;
}

/// Lines of pieces.
struct Lines<P> {
    pieces: P,
    buffer: Vec<u8>,
    start: usize,
    number: u64,
    ended: bool,
}

impl<P: Pieces> Lines<P> {
    const fn new(pieces: P) -> Self {
        Self { pieces, buffer: Vec::new(), start: 0, number: 0, ended: false }
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, ReadBackupError> {
        let mut looked_at = 0;
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let end = rest.iter().skip(looked_at).position(|byte| *byte == b'\n');
            if let Some(len) = end.map(|end| end.saturating_add(looked_at)) {
                self.number = self.number.saturating_add(1);
                let line = rest.get(..len).filter(|line| line.len() <= MAX_LINE_LEN);
                let text = line.and_then(|line| std::str::from_utf8(line).ok()).map(str::to_owned);
                self.start = self.start.saturating_add(len).saturating_add(1);
                return text.map(Some).ok_or_else(|| self.fault(RecordFault::NoRecord));
            }
            looked_at = rest.len();
            if looked_at > MAX_LINE_LEN {
                self.number = self.number.saturating_add(1);
                return Err(self.fault(RecordFault::NoRecord));
            }
            if self.ended {
                return if looked_at == 0 { Ok(None) } else { Err(self.fault(RecordFault::NoRecord)) };
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.ended = !self.pieces.next(&mut self.buffer)?;
        }
    }

    const fn fault(&self, fault: RecordFault) -> ReadBackupError {
        ReadBackupError::Record { line: self.number, fault }
    }
}

/// The records of a backup, each checked against those before it.
pub(super) struct Records<P> {
    lines: Lines<P>,
    made_at: Timestamp,
    active_kek: KeyId,
    keks: Vec<KekRecord>,
    key_ids: Vec<KeyId>,
    ahead: Option<Line>,
    last: Option<DekVersion>,
    // A name for each scope: far less than the file holds for each.
    active_scopes: BTreeSet<Scope>,
    deks: u64,
    wrappings: u64,
}

/// A DEK and its wrappings.
pub(super) type Entry = (DekRecord, Vec<NewWrapping>);

impl<P: Pieces> Records<P> {
    /// Reads up to the first DEK.
    pub(super) fn start(pieces: P) -> Result<Self, ReadBackupError> {
        let mut lines = Lines::new(pieces);
        if lines.next()?.as_deref() != Some(FORMAT) {
            return Err(lines.fault(RecordFault::Format));
        }
        let Some(Line::Made(made_at)) = parse_next(&mut lines)? else {
            return Err(lines.fault(RecordFault::Order));
        };
        let (mut keks, mut key_ids): (Vec<KekRecord>, Vec<KeyId>) = (Vec::new(), Vec::new());
        let ahead = loop {
            match parse_next(&mut lines)? {
                Some(Line::Kek(kek)) => {
                    let id = kek.key_id();
                    if keks.len() >= MAX_KEKS {
                        return Err(lines.fault(RecordFault::TooMany));
                    }
                    if key_ids.contains(&id) {
                        return Err(lines.fault(RecordFault::Twice));
                    }
                    keks.push(*kek);
                    key_ids.push(id);
                }
                other => break other,
            }
        };
        let in_state = |state: KekState| keks.iter().filter(move |kek| kek.state == state);
        let mut active = in_state(KekState::Active);
        let (Some(active_kek), None) = (active.next().map(KekRecord::key_id), active.next()) else {
            return Err(lines.fault(RecordFault::ActiveKek));
        };
        if in_state(KekState::Incoming).count() > 1 {
            return Err(lines.fault(RecordFault::ActiveKek));
        }
        let (last, active_scopes) = (None, BTreeSet::new());
        Ok(Self {
            lines,
            made_at,
            active_kek,
            keks,
            key_ids,
            ahead,
            last,
            active_scopes,
            deks: 0,
            wrappings: 0,
        })
    }

    pub(super) const fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// The one that is active. There is one.
    pub(super) const fn active_kek(&self) -> KeyId {
        self.active_kek
    }

    pub(super) fn keks(&self) -> &[KekRecord] {
        &self.keks
    }

    /// The next DEK; `None` once the end was found where it has to be.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ReadBackupError> {
        let dek = match self.ahead.take() {
            Some(Line::Dek(dek)) => *dek,
            Some(Line::End { keks, deks, wrappings }) => {
                self.check_end(keks, deks, wrappings)?;
                return Ok(None);
            }
            Some(_) => return Err(self.lines.fault(RecordFault::Order)),
            None => return Err(self.lines.fault(RecordFault::NoEnd)),
        };
        self.check_dek(&dek)?;
        let mut wrappings = Vec::new();
        let mut after = None;
        loop {
            match parse_next(&mut self.lines)? {
                Some(Line::Wrapping { kek, sealed }) => {
                    after = Some(self.check_wrapping(&dek, kek, after, wrappings.len())?);
                    wrappings.push(NewWrapping { version: dek.version, kek, sealed });
                }
                other => {
                    self.ahead = other;
                    self.wrappings = self.wrappings.saturating_add(wrappings.len() as u64);
                    return Ok(Some((dek, wrappings)));
                }
            }
        }
    }

    fn check_dek(&mut self, dek: &DekRecord) -> Result<(), ReadBackupError> {
        if self.last.is_some_and(|last| last >= dek.version) {
            return Err(self.lines.fault(RecordFault::Order));
        }
        self.last = Some(dek.version);
        self.deks = self.deks.saturating_add(1);
        if dek.state == DekState::Active && !self.active_scopes.insert(dek.scope.clone()) {
            return Err(self.lines.fault(RecordFault::ActiveDek));
        }
        match (dek.state, dek.destroy_after) {
            (DekState::Active | DekState::DecryptOnly, Some(_)) => Err(self.lines.fault(RecordFault::State)),
            _ => Ok(()),
        }
    }

    /// The place of the wrapping's KEK.
    fn check_wrapping(
        &self,
        dek: &DekRecord,
        kek: KeyId,
        after: Option<usize>,
        count: usize,
    ) -> Result<usize, ReadBackupError> {
        let fault = |fault| Err(self.lines.fault(fault));
        if dek.state == DekState::Destroyed {
            return fault(RecordFault::State);
        }
        if count >= MAX_WRAPPINGS {
            return fault(RecordFault::TooMany);
        }
        let place = self.key_ids.iter().position(|known| *known == kek);
        match place.and_then(|place| Some((place, self.keks.get(place)?))) {
            None => fault(RecordFault::UnknownKek),
            Some((_, record)) if !record.state.is_live() => fault(RecordFault::State),
            Some((place, _)) if after.is_some_and(|after| place <= after) => fault(RecordFault::Order),
            Some((place, _)) => Ok(place),
        }
    }

    fn check_end(&mut self, keks: u64, deks: u64, wrappings: u64) -> Result<(), ReadBackupError> {
        if (keks, deks, wrappings) != (self.keks.len() as u64, self.deks, self.wrappings) {
            return Err(self.lines.fault(RecordFault::Count));
        }
        match self.lines.next()? {
            None => Ok(()),
            Some(_) => Err(self.lines.fault(RecordFault::AfterEnd)),
        }
    }
}

fn parse_next<P: Pieces>(lines: &mut Lines<P>) -> Result<Option<Line>, ReadBackupError> {
    match lines.next()? {
        None => Ok(None),
        Some(text) => Line::parse(&text).map(Some).ok_or_else(|| lines.fault(RecordFault::NoRecord)),
    }
}

/// Checks the plaintext of a backup, and prints it anew from its records: the same bytes. For fuzzing, and for people
/// who have decrypted a backup with age.
///
/// # Errors
///
/// [`ReadBackupError::Record`].
pub fn check_plaintext(plaintext: &[u8]) -> Result<Vec<u8>, ReadBackupError> {
    struct Whole<'a>(&'a [u8]);
    impl Pieces for Whole<'_> {
        fn next(&mut self, to: &mut Vec<u8>) -> Result<bool, ReadBackupError> {
            // Short pieces, so that lines lie across them.
            let (piece, rest) = self.0.split_at(self.0.len().min(1000));
            to.extend_from_slice(piece);
            self.0 = rest;
            Ok(!piece.is_empty())
        }
    }
    let mut records = Records::start(Whole(plaintext))?;
    let mut printed = Line::head(records.made_at());
    for kek in records.keks() {
        printed.push_str(&Line::Kek(Box::new(kek.clone())).print());
    }
    while let Some((dek, wrappings)) = records.next()? {
        printed.push_str(&Line::Dek(Box::new(dek)).print());
        for NewWrapping { kek, sealed, .. } in wrappings {
            printed.push_str(&Line::Wrapping { kek, sealed }.print());
        }
    }
    let (keks, deks, wrappings) = (records.keks.len() as u64, records.deks, records.wrappings);
    printed.push_str(&Line::End { keks, deks, wrappings }.print());
    Ok(printed.into_bytes())
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Another format, or a later one.
    #[error("it does not begin with the line `{FORMAT}`")]
    Format,
    /// Not a record in its one spelling.
    #[error("it is no record")]
    NoRecord,
    /// Another record has to come here.
    #[error("it is not in its place")]
    Order,
    /// A KEK that was there already.
    #[error("the KEK was there already")]
    Twice,
    /// More than any keyring has.
    #[error("there are too many of its kind")]
    TooMany,
    /// Not one active KEK, or several that are being rotated to.
    #[error("a keyring has one active KEK, and one incoming at most")]
    ActiveKek,
    /// A second active DEK.
    #[error("the scope has an active DEK already")]
    ActiveDek,
    /// What the state of the DEK or the KEK rules out.
    #[error("a key in that state has no such thing")]
    State,
    /// A wrapping under a KEK that is not listed.
    #[error("the KEK is not listed")]
    UnknownKek,
    /// The counts at the end are not those of the records.
    #[error("the records before it are not as many as it says")]
    Count,
    /// It stops before its end.
    #[error("the end is missing after it")]
    NoEnd,
    /// It goes on after its end.
    #[error("it comes after the end")]
    AfterEnd,
}
