//! A stream of events from files to a file: what `encrypt` and `decrypt` have in common.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aegis_deployment::{Compression, EventFiles, EventWriter};
use aegis_pii::PiiEncryptor;
use aegis_pii::stream::{
    Counts, EventPlace, Framing, OnRefusal, RefusedEvents, StreamEnd, StreamError, StreamOptions, Transform,
    run,
};
use aegis_terminal::Failure;
use aegis_terminal::destination::{Destinations, NewFile};
use aegis_terminal::input::name;
use serde::Serialize;

use super::StreamArguments;
use super::dead_letters::{DeadLetters, reasons};
use super::event_size::help_of_longer;
use super::source::{OnError, Source};
use crate::progress::Progress;
use crate::session::Session;

/// What is done to a stream, and how it is called.
pub(super) struct Job<'a> {
    pub(super) session: &'a Session,
    pub(super) source: &'a Source,
    pub(super) streams: &'a StreamArguments,
    /// `encrypt`, in messages.
    pub(super) verb: &'static str,
    /// The mode of OUT.
    pub(super) mode: u32,
    pub(super) options: StreamOptions,
}

/// Why an event is refused, in words.
pub(super) struct Explained {
    pub(super) because: Vec<String>,
    pub(super) help: Option<String>,
}

/// How a stream ended.
pub(super) struct Ended {
    pub(super) counts: Counts,
    pub(super) refused: u64,
    first_refused: Option<EventPlace>,
}

impl Job<'_> {
    /// Runs it to its end. Refused events are in the result; what stops it is an error.
    pub(super) fn run<T: Transform>(
        &self,
        make: impl FnMut() -> T,
        letters_sealed_by: impl FnOnce() -> Result<Option<PiiEncryptor>, Failure>,
        explain: impl Fn(&T::Error) -> Explained,
    ) -> Result<Ended, Failure> {
        let Self { source, streams, .. } = self;
        let Source { files, on_error } = source;
        check_inputs(files)?;
        let framing = if streams.array { Framing::Array } else { Framing::Lines };
        let options = StreamOptions { framing, threads: streams.threads, ..self.options };
        let mut letters_file = None;
        let on_refusal = match on_error {
            OnError::Stop => OnRefusal::Stop,
            OnError::Skip => OnRefusal::Skip,
            OnError::DeadLetter(path) => {
                let encryptor = letters_sealed_by()?;
                let letters = {
                    let places = (files.as_slice(), streams.out.as_deref());
                    DeadLetters::open(path, places, streams.array, encryptor, self.session)?
                };
                let file = letters.file().map_err(|error| cannot_append(path, &error))?;
                letters_file = Some((path, file));
                OnRefusal::HandOver(Box::new(letters) as Box<dyn RefusedEvents<T::Error>>)
            }
        };
        let mut output = OutputFile::open(self.session, streams.out.as_deref(), self.mode)?;
        let progress = match output.new_file.is_none() && io::stdout().is_terminal() {
            true => Progress::hidden(),
            false => Progress::of_stream(self.verb, EventFiles::total_len(files)),
        };
        let inputs = EventFiles::new(files.clone(), progress.counter()).into_inputs();
        let writer = output.writer()?;
        let ended = run(inputs, writer, &options, on_refusal, make);
        drop(progress);
        let StreamEnd { output: writer, counts, refused, first_refused, reader_left } =
            ended.map_err(|error| self.failure(error, &output, explain))?;
        if let Some((path, file)) = letters_file {
            file.sync_data().map_err(|error| cannot_append(path, &error))?;
        }
        match writer.finish() {
            Err(_) if reader_left => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(output.cannot_write(&error)),
            Ok(_) => output.finish()?,
        }
        Ok(Ended { counts, refused, first_refused })
    }

    /// Whether what was done is printed to standard output, which has no events then.
    pub(super) fn reports_on_stdout(&self) -> bool {
        self.streams.out.as_deref().is_some_and(|out| !is_stdout(out))
    }

    /// Prints what was done: as JSON wherever that was asked for; the line only where no events are.
    pub(super) fn report<R: Serialize>(&self, report: &R, line: &str) -> Result<(), Failure> {
        let output = &self.session.output;
        if self.reports_on_stdout() {
            return output.report(report, |out| writeln!(out, "{line}"));
        }
        if output.is_json() {
            let mut json = Vec::new();
            aegis_terminal::json::write_line(&mut json, report)
                .map_err(|error| Failure::new("cannot print what was done", &error, None))?;
            output.diagnostics(&String::from_utf8_lossy(&json));
        }
        Ok(())
    }

    /// What is said of events that are not in the output.
    pub(super) fn check_complete(&self, ended: &Ended) -> Result<(), Failure> {
        let Some(first) = ended.first_refused else { return Ok(()) };
        let what = format!("{} refused, and not in the output", events(ended.refused));
        let because = format!(
            "the first is {} of {}, at byte {}",
            self.number(first),
            self.file_of(first),
            first.offset
        );
        let failure = Failure::because(what, because);
        Err(match &self.source.on_error {
            OnError::DeadLetter(path) => {
                failure.with_help(format!("{} says why each was refused", path.display()))
            }
            OnError::Stop | OnError::Skip => {
                failure.with_help("`--on-error dead-letter FILE` says why each is refused, and keeps it")
            }
        })
    }

    /// The first refused event, for programs.
    pub(super) fn first_refused(&self, ended: &Ended) -> Option<Place> {
        ended.first_refused.map(|place| Place {
            file: self.file_of(place),
            number: place.number,
            offset: place.offset,
        })
    }

    fn failure<E: Error + 'static>(
        &self,
        error: StreamError<E>,
        output: &OutputFile,
        explain: impl Fn(&E) -> Explained,
    ) -> Failure {
        use aegis_pii::stream::EventError;
        let cannot = |input| {
            let place = EventPlace { input, ..EventPlace::default() };
            format!("cannot {} {}", self.verb, self.file_of(place))
        };
        match error {
            StreamError::Read { input, source } => {
                let place = EventPlace { input, ..EventPlace::default() };
                let help = help_to_read(&source);
                Failure::new(format!("cannot read {}", self.file_of(place)), &source, help)
            }
            StreamError::Event { place, error } => {
                let Explained { because, help } = match &error {
                    EventError::TooLong { .. } => {
                        Explained { because: reasons(&error), help: Some(help_of_longer()) }
                    }
                    EventError::Refused(error) => explain(error),
                };
                let lines = [vec![self.place(place)], because].concat();
                Failure::new(cannot(place.input), &Chain::of(lines), help)
            }
            StreamError::Array { input, offset, fault } => {
                let because = format!("at byte {offset}: {fault}");
                let failure = Failure::because(cannot(input), because);
                match fault {
                    aegis_pii::stream::ArrayFault::NoArray => {
                        failure.with_help("leave `--array` out if there is an event a line")
                    }
                    _ => failure,
                }
            }
            StreamError::HandOver { place, source } => {
                let lines = vec![
                    format!("{}, and what was refused cannot be kept", self.place(place)),
                    source.to_string(),
                ];
                Failure::new(cannot(place.input), &Chain::of(lines), None)
            }
            StreamError::Write(error) => output.cannot_write(&error),
        }
    }

    fn file_of(&self, place: EventPlace) -> String {
        self.source.files.get(place.input).map(|path| name(path)).unwrap_or_default()
    }

    fn place(&self, place: EventPlace) -> String {
        format!("{}, at byte {}", self.number(place), place.offset)
    }

    fn number(&self, place: EventPlace) -> String {
        format!("{} {}", if self.streams.array { "element" } else { "line" }, place.number)
    }
}

/// Where an event stands, for programs.
#[derive(Serialize)]
pub(super) struct Place {
    file: String,
    number: u64,
    offset: u64,
}

/// `1 event`, `2 events`.
pub(super) fn events(count: u64) -> String {
    count_of(count, "event")
}

/// `1 field`, `2 fields`.
pub(super) fn fields(count: u64) -> String {
    count_of(count, "field")
}

fn count_of(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What is missing is said before anything is written.
pub(super) fn check_inputs(files: &[PathBuf]) -> Result<(), Failure> {
    for path in files.iter().filter(|path| path.as_os_str() != "-") {
        let what = || format!("cannot read {}", name(path));
        let metadata = std::fs::metadata(path).map_err(|error| Failure::new(what(), &error, None))?;
        if metadata.is_dir() {
            return Err(Failure::because(what(), "it is a directory").with_help("name the files in it"));
        }
    }
    Ok(())
}

pub(super) fn help_to_read(error: &io::Error) -> Option<String> {
    let text = error.to_string();
    text.contains("too much memory").then(|| {
        "its window is larger than 8 MiB: decompress it with `zstd -dc --long=31 FILE`, and pipe that here".to_owned()
    })
}

fn cannot_append(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot append to {}", name(path)), error, None)
}

/// Where the events go.
struct OutputFile {
    name: String,
    compression: Compression,
    new_file: Option<NewFile>,
}

impl OutputFile {
    fn open(session: &Session, out: Option<&Path>, mode: u32) -> Result<Self, Failure> {
        let Some(path) = out.filter(|path| !is_stdout(path)) else {
            return Ok(Self {
                name: "to standard output".to_owned(),
                compression: Compression::None,
                new_file: None,
            });
        };
        let state = session.state_dir()?;
        let is_reserved = |path: &Path| state.reserves(path);
        let new_file = Destinations::new(&session.output, &is_reserved).create(path, mode)?;
        Ok(Self {
            name: path.display().to_string(),
            compression: Compression::of(path),
            new_file: Some(new_file),
        })
    }

    fn writer(&mut self) -> Result<EventWriter, Failure> {
        let file = match &self.new_file {
            Some(file) => file.writer(),
            // Without a buffer: what is written is large, and is to arrive at once.
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        };
        file.and_then(|file| EventWriter::new(file, self.compression))
            .map_err(|error| self.cannot_write(&error))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        match self.new_file.take() {
            Some(file) => file.finish().map_err(|error| self.cannot_write(&error)),
            None => Ok(()),
        }
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        let help = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("make room on that file system, then run it again".to_owned())
            }
            _ => None,
        };
        Failure::new(format!("cannot write {}", self.name), error, help)
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Lines that were errors, and are printed like them.
#[derive(Debug)]
pub(crate) struct Chain {
    line: String,
    source: Option<Box<Self>>,
}

impl Chain {
    pub(crate) fn of(lines: Vec<String>) -> Self {
        let mut chain = None;
        for line in lines.into_iter().rev() {
            chain = Some(Self { line, source: chain.map(Box::new) });
        }
        chain.unwrap_or(Self { line: String::new(), source: None })
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Error for Chain {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
