//! `dek list` and `show`.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::process::ExitCode;

use aegis_crypto::KeyId;
use aegis_keyring::{DekQuery, DekRecord, DekState, DekVersion, Keyring, StoreError};
use aegis_terminal::{Failure, json};
use base64ct::{Base64, Encoding as _};
use serde::{Serialize, Serializer};

use super::{ListArguments, ShowArguments};
use crate::session::Session;

/// DEKs that are held in memory at once.
const PAGE: usize = 500;

pub(super) fn list(arguments: ListArguments, session: &Session) -> Result<ExitCode, Failure> {
    let ListArguments { scope, state, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let what = "cannot list the DEKs";
        let keyring = deployment.keyring().map_err(|error| Failure::new(what, &error, error.help()))?;
        let query = DekQuery { scope, state, after: None, limit: PAGE };
        let failed = Cell::new(None);
        let mut deks = Pages::new(&keyring, query, &failed);
        session.output.stream(|out| {
            if session.output.is_json() {
                return json::write_pretty(out, &Listing { deks: Stream(RefCell::new(deks)) });
            }
            write_row(out, ["VERSION", "SCOPE", "STATE", "CREATED", "MESSAGES", "BYTES", "KEY"])?;
            deks.try_for_each(|dek| print_line(out, &dek))
        })?;
        match failed.into_inner() {
            Some(error) => Err(Failure::new(what, &error, error.help())),
            None => Ok(ExitCode::SUCCESS),
        }
    })
}

/// A row of a table whose end is not known when its beginning is printed: the widths are those of ordinary values.
fn write_row(out: &mut dyn Write, cells: [&str; 7]) -> io::Result<()> {
    let [version, scope, state, created, messages, bytes, key] = cells;
    let line =
        format!("{version:17}  {scope:12}  {state:12}  {created:20}  {messages:>9}  {bytes:>12}  {key}");
    writeln!(out, "{}", line.trim_end())
}

fn print_line(out: &mut dyn Write, dek: &DekRecord) -> io::Result<()> {
    let state = match (dek.state, dek.destroy_after) {
        (DekState::Retired, Some(_)) => "marked",
        (state, _) => state.as_str(),
    };
    write_row(
        out,
        [
            &dek.version.to_string(),
            dek.scope.as_str(),
            state,
            &format!("{:.0}", dek.created_at),
            &dek.usage.messages.to_string(),
            &dek.usage.bytes.to_string(),
            &dek.key_id().fingerprint(),
        ],
    )
}

pub(super) fn show(arguments: &ShowArguments, session: &Session) -> Result<ExitCode, Failure> {
    let version = arguments.version;
    session.with_deployment(|deployment| {
        let what = format!("cannot show {version}");
        let keyring = deployment.keyring().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let failed = |error: StoreError| Failure::new(&what, &error, error.help());
        let Some(record) = keyring.show(version).map_err(failed)? else {
            return Err(Failure::because(&what, format!("there is no DEK {version} in this keyring"))
                .with_help("`aegis dek list` prints every version"));
        };
        let mut wrapped_under = Vec::new();
        for kek in keyring.store().keks().map_err(failed)? {
            if keyring.store().wrapping(version, kek.key_id()).map_err(failed)?.is_some() {
                wrapped_under.push(kek.key_id());
            }
        }
        let public_key = Base64::encode_string(record.public_key.as_bytes());
        let shown = Shown { dek: Dek::from(&record), wrapped_under: &wrapped_under, public_key };
        session.output.report(&shown, |out| print(out, &record, &wrapped_under))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn print(out: &mut dyn Write, dek: &DekRecord, wrapped_under: &[KeyId]) -> io::Result<()> {
    writeln!(out, "{}: {}", dek.version, dek.state)?;
    writeln!(out, "  scope     {}", dek.scope)?;
    writeln!(out, "  key       {}", dek.key_id())?;
    writeln!(out, "  created   {:.0}", dek.created_at)?;
    writeln!(out, "  changed   {:.0}", dek.changed_at)?;
    if let (DekState::Retired, Some(after)) = (dek.state, dek.destroy_after) {
        writeln!(out, "  marked    may be destroyed after {after:.0}, refused until then")?;
    }
    writeln!(out, "  messages  {}", dek.usage.messages)?;
    writeln!(out, "  bytes     {}", dek.usage.bytes)?;
    for kek in wrapped_under {
        writeln!(out, "  under     KEK {kek}")?;
    }
    Ok(())
}

/// A DEK for programs.
#[derive(Serialize)]
pub(super) struct Dek {
    version: String,
    scope: String,
    state: &'static str,
    key_id: KeyId,
    created_at: String,
    changed_at: String,
    destroy_after: Option<String>,
    messages: u64,
    bytes: u64,
}

impl From<&DekRecord> for Dek {
    fn from(record: &DekRecord) -> Self {
        let DekRecord { version, scope, state, public_key, created_at, changed_at, destroy_after, usage } =
            record;
        Self {
            version: version.to_string(),
            scope: scope.to_string(),
            state: state.as_str(),
            key_id: public_key.key_id(),
            created_at: created_at.to_string(),
            changed_at: changed_at.to_string(),
            destroy_after: destroy_after.map(|time| time.to_string()),
            messages: usage.messages,
            bytes: usage.bytes,
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    dek: Dek,
    wrapped_under: &'a [KeyId],
    /// For whoever seals without a keyring.
    public_key: String,
}

/// DEKs a page at a time. An error ends them, and is kept for afterwards.
pub(super) struct Pages<'a> {
    keyring: &'a Keyring,
    query: DekQuery,
    page: std::vec::IntoIter<DekRecord>,
    ended: bool,
    failed: &'a Cell<Option<StoreError>>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(keyring: &'a Keyring, query: DekQuery, failed: &'a Cell<Option<StoreError>>) -> Self {
        Self {
            keyring,
            query: DekQuery { limit: PAGE, ..query },
            page: Vec::new().into_iter(),
            ended: false,
            failed,
        }
    }
}

impl Iterator for Pages<'_> {
    type Item = DekRecord;

    fn next(&mut self) -> Option<DekRecord> {
        if let Some(dek) = self.page.next() {
            return Some(dek);
        }
        if self.ended {
            return None;
        }
        match self.keyring.list(&self.query) {
            Ok(page) => {
                // A page shorter than its limit is the last one.
                self.ended = page.len() < PAGE;
                let last: Option<DekVersion> = page.last().map(|dek| dek.version);
                self.query.after = last.or(self.query.after);
                self.page = page.into_iter();
            }
            Err(error) => {
                self.ended = true;
                self.failed.set(Some(error));
            }
        }
        self.page.next()
    }
}

/// `{"deks": […]}`, written while the keyring is read.
#[derive(Serialize)]
struct Listing<'a> {
    deks: Stream<'a>,
}

struct Stream<'a>(RefCell<Pages<'a>>);

impl Serialize for Stream<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.borrow_mut().by_ref().map(|record| Dek::from(&record)))
    }
}
