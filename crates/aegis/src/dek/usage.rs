//! `dek usage`: what was sealed under each DEK, and what streams still hold.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use aegis_deployment::{Occurrences, StreamUsage};
use aegis_keyring::{DekQuery, DekVersion, Keyring, Scope, Usage};
use aegis_terminal::input::{is_stdin, name};
use aegis_terminal::{Escaped, Failure};
use serde::Serialize;

use super::UsageArguments;
use super::showing::Pages;
use crate::progress::Progress;
use crate::session::Session;

pub(super) fn usage(arguments: &UsageArguments, session: &Session) -> Result<ExitCode, Failure> {
    let UsageArguments { files, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let what = "cannot count what is sealed under the DEKs";
        let keyring = deployment.keyring().map_err(|error| Failure::new(what, &error, error.help()))?;
        let mut streams = StreamUsage::default();
        for file in files {
            count(&mut streams, file)?;
        }
        let known = known(&keyring, &streams, files.is_empty())?;
        let report = Report::new(&streams, &known, files.is_empty());
        session.output.report(&report, |out| print(out, &report))?;
        if let Some(line) = streams.first_unreadable {
            let because = format!(
                "{} of {} lines cannot be read, the first of them line {line}",
                streams.unreadable, streams.events
            );
            return Err(Failure::because("the counts are not complete", because)
                .with_help("these lines could hold anything: destroy no DEK before you know what they are"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn count(streams: &mut StreamUsage, file: &Path) -> Result<(), Failure> {
    let what = || format!("cannot count what is in {}", name(file));
    let progress = Progress::new("counting");
    let mut told = |done| progress.bytes(done);
    let counted = if is_stdin(file) {
        streams.count(&mut io::stdin().lock(), &mut told)
    } else {
        let opened = File::open(file).map_err(|error| Failure::new(what(), &error, None))?;
        streams.count(&mut BufReader::with_capacity(256 * 1024, opened), &mut told)
    };
    counted.map_err(|error| Failure::new(what(), &error, error.help()))
}

/// The DEKs that are to be printed: all of them, or those that occur.
fn known(
    keyring: &Keyring,
    streams: &StreamUsage,
    all: bool,
) -> Result<BTreeMap<DekVersion, Known>, Failure> {
    let what = "cannot read the counters of the keyring";
    let failed = Cell::new(None);
    let query = DekQuery { scope: None, state: None, after: None, limit: 1 };
    let deks = Pages::new(keyring, query, &failed)
        .filter(|dek| all || streams.versions.contains_key(&dek.version))
        .map(|dek| (dek.version, Known { scope: dek.scope, state: dek.state.as_str(), usage: dek.usage }))
        .collect();
    match failed.into_inner() {
        Some(error) => Err(Failure::new(what, &error, error.help())),
        None => Ok(deks),
    }
}

/// What is printed of a DEK; its record has a public key, too, which would add up.
struct Known {
    scope: Scope,
    state: &'static str,
    usage: Usage,
}

#[derive(Serialize)]
struct Report {
    deks: Vec<Row>,
    unknown: Vec<Found>,
    not_versions: Vec<Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<Streams>,
}

/// A DEK of the keyring.
#[derive(Serialize)]
struct Row {
    version: String,
    scope: String,
    state: &'static str,
    /// By the counters of the keyring.
    messages: u64,
    bytes: u64,
    /// In the streams.
    events: u64,
    fields: u64,
}

/// What no DEK of this keyring has as its version.
#[derive(Serialize)]
struct Found {
    version: String,
    events: u64,
    fields: u64,
}

#[derive(Serialize)]
struct Streams {
    events: u64,
    unreadable: u64,
    first_unreadable_line: Option<u64>,
    complete: bool,
}

impl Report {
    fn new(streams: &StreamUsage, known: &BTreeMap<DekVersion, Known>, counters_only: bool) -> Self {
        let found = |version: String, Occurrences { events, fields }| Found { version, events, fields };
        let rows = known.iter().map(|(version, dek)| {
            let Occurrences { events, fields } = streams.versions.get(version).copied().unwrap_or_default();
            Row {
                version: version.to_string(),
                scope: dek.scope.to_string(),
                state: dek.state,
                messages: dek.usage.messages,
                bytes: dek.usage.bytes,
                events,
                fields,
            }
        });
        let unknown = streams.versions.iter().filter(|(version, _)| !known.contains_key(*version));
        Self {
            deks: rows.collect(),
            unknown: unknown.map(|(version, count)| found(version.to_string(), *count)).collect(),
            not_versions: streams.foreign.iter().map(|(name, count)| found(name.clone(), *count)).collect(),
            streams: (!counters_only).then(|| Streams {
                events: streams.events,
                unreadable: streams.unreadable,
                first_unreadable_line: streams.first_unreadable,
                complete: streams.is_complete(),
            }),
        }
    }
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let Report { deks, unknown, not_versions, streams } = report;
    match streams {
        None => {
            let rows: Vec<_> = deks
                .iter()
                .map(|row| {
                    let Row { version, scope, state, messages, bytes, .. } = row;
                    [
                        version.clone(),
                        scope.clone(),
                        (*state).to_owned(),
                        messages.to_string(),
                        bytes.to_string(),
                    ]
                })
                .collect();
            aegis_terminal::output::table(out, ["VERSION", "SCOPE", "STATE", "MESSAGES", "BYTES"], &rows)
        }
        Some(Streams { events, .. }) => {
            let rows: Vec<_> = deks
                .iter()
                .map(|row| {
                    let Row { version, scope, state, events, fields, .. } = row;
                    [
                        version.clone(),
                        scope.clone(),
                        (*state).to_owned(),
                        events.to_string(),
                        fields.to_string(),
                    ]
                })
                .collect();
            aegis_terminal::output::table(out, ["VERSION", "SCOPE", "STATE", "EVENTS", "FIELDS"], &rows)?;
            for Found { version, events, fields } in unknown {
                writeln!(out, "{version}: not in this keyring: events {events}, fields {fields}")?;
            }
            for Found { version, events, fields } in not_versions {
                writeln!(out, "\"{}\": no DEK version: events {events}, fields {fields}", Escaped(version))?;
            }
            writeln!(out, "events read: {events}")
        }
    }
}
