//! `pipeline dead-letters open`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aegis_deployment::{Compression, EventWriter, Letter, LetterContent, LetterFile, LetterOpener};
use aegis_terminal::destination::{Destinations, NewFile};
use aegis_terminal::input::name;
use aegis_terminal::{Failure, json};
use base64ct::{Base64, Encoding as _};
use serde::Serialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::list::Row;
use super::{Missed, OpenArguments, OpeningArguments, counted};
use crate::session::Session;

#[derive(Serialize, Default)]
struct Report {
    letters: u64,
    opened: u64,
    sealed: u64,
    without_event: u64,
    failed: u64,
}

/// What is printed of a letter with `--records`.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    row: Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_base64: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
}

pub(super) fn open(arguments: &OpenArguments, session: &Session) -> Result<ExitCode, Failure> {
    let OpenArguments { files, out, records, opening, json: _ } = arguments;
    let OpeningArguments { allow_retired, tenant, passphrase } = opening;
    let mut opened = Vec::new();
    for path in files {
        let file = LetterFile::open(path)
            .map_err(|error| Failure::new(format!("cannot read {}", name(path)), &error, None))?;
        opened.push((path.as_path(), file));
    }
    session.with_deployment(|deployment| {
        let retired = allow_retired.iter().copied().collect();
        let deks = deployment
            .open_deks(passphrase.file(), retired)
            .map_err(|error| Failure::new("cannot open anything", &error, error.help()))?;
        let mut opener = LetterOpener::new(Arc::new(deks), tenant.clone());
        let mut output = Output::open(session, out.as_deref())?;
        let mut work = Work {
            records: *records,
            report: Report::default(),
            failed: Missed::default(),
            empty: Missed::default(),
        };
        for (path, file) in &mut opened {
            while let Some(letter) = file.next() {
                let written = match letter {
                    Ok(letter) => work.letter(path, file.number(), &letter, &mut opener, &mut output.writer),
                    Err(error) => {
                        work.report.failed += 1;
                        work.failed.line(&error);
                        Ok(())
                    }
                };
                match written {
                    Ok(()) => {}
                    // Whoever reads has seen enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                    Err(error) => return Err(output.cannot_write(&error)),
                }
            }
        }
        output.finish()?;
        let Work { report, failed, empty, .. } = work;
        print_report(&report, out.as_deref(), session)?;
        // What can be helped is said first.
        failed
            .and(empty)
            .check(|count| format!("{} without its event in the output", counted(count, "letter")))
    })
}

struct Work {
    records: bool,
    report: Report,
    failed: Missed,
    empty: Missed,
}

impl Work {
    fn letter(
        &mut self,
        path: &Path,
        line: u64,
        letter: &Letter,
        opener: &mut LetterOpener,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.report.letters += 1;
        let place = || format!("{}, line {line}", name(path));
        match opener.open(letter) {
            Ok(LetterContent::Event(event)) if self.records => {
                self.report.opened += 1;
                let text = Zeroizing::new(Base64::encode_string(&event));
                let row = Row::new(path, line, letter);
                json::write_line(out, &Record { row, event_base64: Some(&text), event: None })
            }
            Ok(LetterContent::Event(event)) => {
                let event = event.trim_ascii();
                if event.contains(&b'\n') {
                    self.report.failed += 1;
                    let because = vec![place(), "its event is more than one line".to_owned()];
                    self.failed
                        .add(because, Some("`--records` prints it all the same, in base64".to_owned()));
                    return Ok(());
                }
                self.report.opened += 1;
                out.write_all(event)?;
                out.write_all(b"\n")
            }
            Ok(LetterContent::SealedEvent(event)) => {
                self.report.sealed += 1;
                if !self.records {
                    out.write_all(&event)?;
                    return out.write_all(b"\n");
                }
                let event = serde_json::from_slice::<&RawValue>(&event).map_err(io::Error::other)?;
                let row = Row::new(path, line, letter);
                json::write_line(out, &Record { row, event_base64: None, event: Some(event) })
            }
            Ok(LetterContent::Nothing) => {
                self.report.without_event += 1;
                let because = vec![place(), "the letter does not hold its event".to_owned()];
                self.empty.add(
                    because,
                    Some("it was longer than an event may be, or refused by `aegis pii decrypt`".to_owned()),
                );
                Ok(())
            }
            Err(fault) => {
                self.report.failed += 1;
                let because = [vec![place()], crate::pii::reasons(&fault)].concat();
                self.failed.add(because, fault.help());
                Ok(())
            }
        }
    }
}

/// Where no events are.
fn print_report(report: &Report, out: Option<&Path>, session: &Session) -> Result<(), Failure> {
    let Report { letters, opened, sealed, .. } = report;
    if out.is_some_and(|out| out.as_os_str() != "-") {
        return session.output.report(report, |out| {
            write!(out, "opened {} of {}", counted(*opened, "event"), counted(*letters, "letter"))?;
            match sealed {
                0 => writeln!(out),
                sealed => {
                    writeln!(out, "; {} left sealed, as a sink was to have it", counted(*sealed, "event"))
                }
            }
        });
    }
    if session.output.is_json() {
        let mut line = Vec::new();
        // Into memory, where nothing can fail.
        let _ = json::write_line(&mut line, report);
        session.output.diagnostics(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// Where events go in the clear.
struct Output {
    name: String,
    writer: EventWriter,
    new_file: Option<NewFile>,
}

impl Output {
    fn open(session: &Session, out: Option<&Path>) -> Result<Self, Failure> {
        let (name, new_file, compression) = match out.filter(|out| out.as_os_str() != "-") {
            None => ("to standard output".to_owned(), None, Compression::None),
            Some(path) => {
                let state = session.state_dir()?;
                let is_reserved = |path: &Path| state.reserves(path);
                let file = Destinations::new(&session.output, &is_reserved).create(path, 0o600)?;
                (path.display().to_string(), Some(file), Compression::of(path))
            }
        };
        let file = match &new_file {
            Some(file) => file.writer(),
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        };
        let cannot = |error| Failure::new(format!("cannot write {name}"), &error, None);
        let writer = file.and_then(|file| EventWriter::new(file, compression)).map_err(cannot)?;
        Ok(Self { name, writer, new_file })
    }

    fn finish(self) -> Result<(), Failure> {
        let Self { name, writer, new_file } = self;
        let cannot = |error: io::Error| Failure::new(format!("cannot write {name}"), &error, None);
        writer.finish().map_err(cannot)?;
        new_file.map_or(Ok(()), NewFile::finish).map_err(cannot)
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        Failure::new(format!("cannot write {}", self.name), error, None)
    }
}
