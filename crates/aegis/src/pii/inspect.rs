//! `pii inspect`: what is sealed, without a key.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_deployment::EventFiles;
use aegis_pii::stream::{
    ArrayFault, Counts, EventPlace, Framing, OnRefusal, StreamEnd, StreamError, StreamOptions, Transform, run,
};
use aegis_pii::{Inspector, Limits, ScanError, Tally};
use aegis_terminal::input::name;
use aegis_terminal::{Escaped, Failure};
use serde::Serialize;

use super::InspectArguments;
use super::events::{check_inputs, help_to_read};
use crate::progress::Progress;
use crate::session::Session;

#[derive(Serialize)]
struct Report {
    events: Events,
    sealed_by_dek: BTreeMap<String, u64>,
    sealed_by_field: BTreeMap<String, u64>,
    clear_by_field: BTreeMap<String, u64>,
    catalogues: BTreeMap<String, u64>,
    malformed: u64,
    complete: bool,
}

#[derive(Serialize, Default, Clone, Copy)]
struct Events {
    read: u64,
    /// Every personal field is sealed, and there is one.
    sealed: u64,
    /// A personal field is in the clear.
    clear: u64,
    /// Nothing personal.
    impersonal: u64,
    unreadable: u64,
    first_unreadable: Option<u64>,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    tally: Tally,
    events: Events,
}

struct Looking {
    inspector: Inspector,
    seen: Arc<Mutex<Seen>>,
}

impl Transform for Looking {
    type Error = ScanError;

    fn transform(&mut self, event: &[u8], _: &mut Vec<u8>) -> Result<Counts, ScanError> {
        let found = self.inspector.inspect(event)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.tally.add(&found);
        let Events { sealed, clear, impersonal, .. } = &mut seen.events;
        let kind = match (found.clear.is_empty(), found.sealed.is_empty()) {
            (false, _) => clear,
            (true, false) => sealed,
            (true, true) => impersonal,
        };
        *kind += 1;
        Ok(Counts::default())
    }
}

fn look(arguments: &InspectArguments) -> Result<Report, Failure> {
    let InspectArguments { files, array, event_size, check: _, catalogue, form: _ } = arguments;
    let catalogue = catalogue.read()?;
    let files = if files.is_empty() { vec!["-".into()] } else { files.clone() };
    check_inputs(&files)?;
    let progress = Progress::of_stream("inspect", EventFiles::total_len(&files));
    let inputs = EventFiles::new(files.clone(), progress.counter()).into_inputs();
    let framing = if *array { Framing::Array } else { Framing::Lines };
    let max_event_len = event_size.or(Limits::for_decryption().max_event_len);
    let limits = Limits { max_event_len, ..Limits::for_decryption() };
    let options = StreamOptions { framing, max_event_len, ..StreamOptions::for_decryption() };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let make = || Looking { inspector: Inspector::new(catalogue.clone(), limits), seen: Arc::clone(&seen) };
    let ended = run(inputs, io::sink(), &options, OnRefusal::Skip, make);
    drop(progress);
    let file = |input: usize| files.get(input).map(|path| name(path)).unwrap_or_default();
    let StreamEnd { refused, first_refused, .. } = ended.map_err(|error| match error {
        StreamError::Read { input, source } => {
            let help = help_to_read(&source);
            Failure::new(format!("cannot read {}", file(input)), &source, help)
        }
        StreamError::Array { input, offset, fault } => {
            let failure = Failure::because(
                format!("cannot inspect {}", file(input)),
                format!("at byte {offset}: {fault}"),
            );
            match fault {
                ArrayFault::NoArray => failure.with_help("leave `--array` out if there is an event a line"),
                ArrayFault::UnexpectedEnd | ArrayFault::TrailingBytes => failure,
            }
        }
        error => Failure::new("cannot inspect the events", &error, None),
    })?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.events.read = seen.tally.events + refused;
    seen.events.unreadable = refused;
    seen.events.first_unreadable = first_refused.map(|EventPlace { number, .. }| number);
    Ok(Report::new(&seen))
}

pub(super) fn inspect(arguments: &InspectArguments, session: &Session) -> Result<ExitCode, Failure> {
    let report = look(arguments)?;
    session.output.report(&report, |out| print(out, &report))?;
    let Events { unreadable, first_unreadable, .. } = report.events;
    if let Some(first) = first_unreadable {
        let because = format!("{unreadable} cannot be read, the first of them number {first} in its file");
        return Err(Failure::because("not every event was inspected", because)
            .with_help("these could hold anything, in the clear or not"));
    }
    let clear: u64 = report.clear_by_field.values().sum();
    if arguments.check && (clear > 0 || report.malformed > 0) {
        let because = format!("{clear} personal fields are in the clear, {} are malformed", report.malformed);
        return Err(Failure::because("not everything is sealed", because)
            .with_help("`aegis pii encrypt` seals what is not, and copies what is"));
    }
    Ok(ExitCode::SUCCESS)
}

impl Report {
    fn new(seen: &Seen) -> Self {
        let Seen { tally, events } = seen;
        let Tally {
            events: _,
            sealed_by_dek,
            sealed_by_name,
            events_by_catalogue,
            clear_by_name,
            malformed,
            is_cut,
        } = tally;
        Self {
            events: *events,
            sealed_by_dek: sealed_by_dek.iter().map(|(dek, count)| (dek.to_string(), *count)).collect(),
            sealed_by_field: sealed_by_name.clone(),
            clear_by_field: clear_by_name.clone(),
            catalogues: events_by_catalogue.clone(),
            malformed: *malformed,
            complete: events.unreadable == 0 && !is_cut,
        }
    }
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let Report { events, sealed_by_dek, sealed_by_field, clear_by_field, catalogues, malformed, complete: _ } =
        report;
    let Events { read, sealed, clear, impersonal, unreadable, first_unreadable: _ } = events;
    writeln!(out, "events: {read}")?;
    writeln!(out, "  all personal fields sealed: {sealed}")?;
    writeln!(out, "  with personal fields in the clear: {clear}")?;
    writeln!(out, "  without personal fields: {impersonal}")?;
    if *unreadable > 0 {
        writeln!(out, "  that cannot be read: {unreadable}")?;
    }
    let sections = [
        ("sealed fields, by DEK", sealed_by_dek),
        ("sealed fields, by name", sealed_by_field),
        ("fields in the clear, by name", clear_by_field),
        ("events, by the catalogue that they name", catalogues),
    ];
    for (title, counts) in sections {
        if counts.is_empty() {
            continue;
        }
        writeln!(out, "{title}:")?;
        for (key, count) in counts {
            writeln!(out, "  {}: {count}", Escaped(key))?;
        }
    }
    if *malformed > 0 {
        writeln!(out, "fields that claim to be sealed and are not: {malformed}")?;
    }
    Ok(())
}
