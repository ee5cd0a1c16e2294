//! `audit show`, `query` and `export`. Whoever reads the log is in the log.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::ExitCode;

use aegis_audit::{Action, AuditLog, Entry, EntryError, Query, ReadError, export};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::audit::{ExportArguments, QueryArguments, Selection, Session, ShowArguments};
use crate::escape::Escaped;
use crate::failure::Failure;
use crate::json;
use crate::moment::Moment;

pub(super) fn show(
    arguments: &ShowArguments,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let end = log_reading(log, "show", session);
    // The entry of this very reading is the last one, and is not shown.
    let wanted = usize::try_from(arguments.lines).unwrap_or(usize::MAX);
    let entries =
        log.last_entries(wanted.saturating_add(1)).map_err(|error| unreadable(log, &error, session))?;
    let mut last: VecDeque<_> = before(end, entries).collect();
    while last.len() > wanted {
        last.pop_front();
    }
    print(last.into_iter(), log, session)
}

pub(super) fn query(
    arguments: &QueryArguments,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let query = arguments.selection.to_query()?;
    let end = log_reading(log, "query", session);
    let entries = log.query(&query).map_err(|error| unreadable(log, &error, session))?;
    print(before(end, entries), log, session)
}

pub(super) fn export(
    arguments: &ExportArguments,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let query = arguments.selection.to_query()?;
    let host = host_name();
    let end = log_reading(log, "export", session);
    let entries = log.query(&query).map_err(|error| unreadable(log, &error, session))?;
    let mut damage = Damaged::default();
    let mut entries = readable(before(end, entries), &mut damage);
    session.destinations.stream(&arguments.out, 0o600, |out| {
        entries.try_for_each(|entry| export::write(&entry, arguments.format, &host, out))
    })?;
    drop(entries);
    damage.finish(log, session)
}

/// Logs that the log is read, before anything of it is given away. Returns the number of that entry.
fn log_reading(log: &AuditLog, how: &str, session: &Session<'_>) -> u64 {
    if !log.exists() {
        session.output.warn(&format!("there is no log in {} yet", log.dir().display()));
        return u64::MAX;
    }
    let event = session.event(Action::AuditRead, log).detail("command", how);
    match log.append(&event) {
        Ok(appended) => appended.seq,
        // A reader without write permission, a full disk, a damaged log: what is there can still be read.
        Err(error) => {
            session.output.warn(&format!("this reading is not in the log: {error}"));
            u64::MAX
        }
    }
}

/// The entries that were there when the reading began.
fn before(
    end: u64,
    entries: impl Iterator<Item = Result<Entry, ReadError>>,
) -> impl Iterator<Item = Result<Entry, ReadError>> {
    // Not up to the first later number: an edited one would hide everything after it.
    entries.filter(move |entry| entry.as_ref().map_or(true, |entry| entry.seq < end))
}

/// Prints entries as they come. One that cannot be read is left out, and that is said after what was printed.
fn print(
    entries: impl Iterator<Item = Result<Entry, ReadError>>,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let mut damage = Damaged::default();
    let mut entries = readable(entries, &mut damage);
    session.output.stream(|out| {
        if session.output.is_json() {
            json::write_pretty(out, &Listing { entries: Stream(RefCell::new(entries)) })
        } else {
            entries.try_for_each(|entry| print_entry(out, &entry))
        }
    })?;
    damage.finish(log, session)
}

fn print_entry(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let Entry { seq, time, actor, action, object, outcome, reason, detail: _, transaction: _ } = entry;
    let user = actor.user.clone().unwrap_or_else(|| format!("uid {}", actor.uid));
    write!(out, "{seq:>6}  {time:.0}  {outcome:8}  {action:21}  {}  by {}", Escaped(object), Escaped(user))?;
    if let Some(reason) = reason {
        write!(out, ": {}", Escaped(reason))?;
    }
    writeln!(out)
}

/// What could not be read.
#[derive(Default)]
struct Damaged {
    lines: u64,
    first: Option<ReadError>,
}

impl Damaged {
    /// One damaged line must not keep what came after it from a SIEM, and must not go unsaid either.
    fn finish(self, log: &AuditLog, session: &Session<'_>) -> Result<ExitCode, Failure> {
        let Some(error) = self.first else { return Ok(ExitCode::SUCCESS) };
        let dir = log.dir().display();
        let what = match self.lines {
            1 => format!("cannot read the log {dir}"),
            lines => format!("cannot read {lines} places of the log {dir}; the first of them"),
        };
        Err(Failure::new(what, &error, session.help(error.help())))
    }
}

fn readable<'a>(
    entries: impl Iterator<Item = Result<Entry, ReadError>> + 'a,
    damage: &'a mut Damaged,
) -> impl Iterator<Item = Entry> + 'a {
    let readable = entries.map_while(move |entry| {
        let error = match entry {
            Ok(entry) => return Some(Some(entry)),
            Err(error) => error,
        };
        // Past a line without end, or on a disk that fails, there is nothing to go on to.
        let goes_on = match &error {
            ReadError::Line { source, .. } => !matches!(source, EntryError::TooLong { .. }),
            ReadError::Sequence { .. } => true,
            _ => false,
        };
        damage.lines += 1;
        damage.first.get_or_insert(error);
        goes_on.then_some(None)
    });
    readable.flatten()
}

fn unreadable(log: &AuditLog, error: &ReadError, session: &Session<'_>) -> Failure {
    Failure::new(format!("cannot read the log {}", log.dir().display()), error, session.help(error.help()))
}

/// What events of this host are labelled with; `-` (RFC 5424: not known) if it has no name.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}

/// `{"entries": […]}`, written while the log is read: the memory it takes does not grow with the log.
#[derive(Serialize)]
#[serde(bound = "")]
struct Listing<I: Iterator<Item = Entry>> {
    entries: Stream<I>,
}

struct Stream<I>(RefCell<I>);

impl<I: Iterator<Item = Entry>> Serialize for Stream<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&mut *self.0.borrow_mut())
    }
}

impl Selection {
    fn to_query(&self) -> Result<Query, Failure> {
        let Self { since, until, action, outcome, key, object, limit } = self;
        let now = Timestamp::now();
        Ok(Query {
            since: since.map(|moment| resolve(moment, now)).transpose()?,
            until: until.map(|moment| resolve(moment, now)).transpose()?,
            action: *action,
            outcome: *outcome,
            object: object.clone(),
            key: key.clone(),
            limit: *limit,
        })
    }
}

fn resolve(moment: Moment, now: Timestamp) -> Result<Timestamp, Failure> {
    moment
        .resolve(now)
        .ok_or_else(|| Failure::because("cannot search the log", "the age lies before all time"))
}
