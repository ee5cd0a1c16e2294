//! `pipeline dead-letters list`.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use aegis_deployment::{Holds, Letter, LetterFile, LetterOrigin};
use aegis_terminal::input::name;
use aegis_terminal::{Escaped, Failure, json};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{ListArguments, Missed, counted};
use crate::session::Session;

pub(super) fn list(arguments: &ListArguments, session: &Session) -> Result<ExitCode, Failure> {
    let ListArguments { files, form: _ } = arguments;
    let mut opened = Vec::new();
    for path in files {
        let file = LetterFile::open(path)
            .map_err(|error| Failure::new(format!("cannot read {}", name(path)), &error, None))?;
        opened.push((path.as_path(), file));
    }
    let missed = RefCell::new(Missed::default());
    let letters = opened.into_iter().flat_map(|(path, mut file)| {
        let missed = &missed;
        std::iter::from_fn(move || {
            loop {
                match file.next()? {
                    Ok(letter) => return Some((path, file.number(), letter)),
                    Err(error) => missed.borrow_mut().line(&error),
                }
            }
        })
    });
    session.output.stream(|out| {
        if session.output.is_json() {
            return json::write_pretty(out, &Listing { letters: Stream(RefCell::new(letters)) });
        }
        write_row(out, ["TIME", "BYTES", "HOLDS", "REASON"])?;
        let (mut count, mut bytes) = (0, 0_u64);
        for (_, _, letter) in letters {
            count += 1;
            bytes = bytes.saturating_add(letter.len);
            print(out, &letter)?;
        }
        writeln!(out, "{}, {bytes} bytes of events", counted(count, "letter"))
    })?;
    missed.into_inner().check(|count| match count {
        1 => "1 line is no dead letter".to_owned(),
        count => format!("{count} lines are no dead letters"),
    })
}

/// A row of a table whose end is not known when its beginning is printed: the widths are those of ordinary values.
fn write_row(out: &mut dyn Write, cells: [&str; 4]) -> io::Result<()> {
    let [time, bytes, holds, reason] = cells;
    writeln!(out, "{}", format!("{time:20}  {bytes:>8}  {holds:22}  {reason}").trim_end())
}

fn print(out: &mut dyn Write, letter: &Letter) -> io::Result<()> {
    // It was looked at when the letter was read.
    let time = letter.at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    let time = time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
    let holds = match &letter.holds {
        Holds::Boxed(dek) => dek.as_str(),
        Holds::SealedEvent => "the sealed event",
        Holds::Digest(_) => "its SHA-256",
        Holds::Nothing => "nothing",
    };
    let reason = letter.because.join(": ");
    let reason = match &letter.origin {
        LetterOrigin::Pipeline { id, sink, offset } => {
            let at = offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
            let by = sink.as_ref().map(|sink| format!(" by {sink}")).unwrap_or_default();
            format!("{reason}{at}{by}, event {id}")
        }
        LetterOrigin::Stream { file, unit, number, offset } => {
            format!("{unit} {number} of {file}, at byte {offset}: {reason}")
        }
    };
    write_row(out, [&time, &letter.len.to_string(), holds, &Escaped(&reason).to_string()])
}

/// `{"letters": […]}`, written while the files are read.
#[derive(Serialize)]
struct Listing<L: Serialize> {
    letters: L,
}

struct Stream<I>(RefCell<I>);

impl<'a, I: Iterator<Item = (&'a Path, u64, Letter)>> Serialize for Stream<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.borrow_mut().by_ref().map(|(path, line, letter)| Row::new(path, line, &letter)),
        )
    }
}

/// A letter for programs.
#[derive(Serialize)]
pub(super) struct Row {
    file: String,
    line: u64,
    of: &'static str,
    at: Option<String>,
    because: Vec<String>,
    bytes: u64,
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    holds: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dek: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl Row {
    pub(super) fn new(path: &Path, line: u64, letter: &Letter) -> Self {
        let (holds, dek, sha256) = match &letter.holds {
            Holds::Boxed(dek) => ("event", Some(dek.as_str().to_owned()), None),
            Holds::SealedEvent => ("sealed_event", None, None),
            Holds::Digest(digest) => ("sha256", None, Some(digest.clone())),
            Holds::Nothing => ("nothing", None, None),
        };
        let row = Self {
            file: name(path),
            line,
            of: "pipeline",
            at: letter.at.clone(),
            because: letter.because.clone(),
            bytes: letter.len,
            offset: None,
            id: None,
            sink: None,
            input: None,
            number: None,
            holds,
            dek,
            sha256,
        };
        match &letter.origin {
            LetterOrigin::Pipeline { id, sink, offset } => Self {
                id: Some(id.clone()),
                sink: sink.clone(),
                offset: offset.and_then(|offset| u64::try_from(offset).ok()),
                ..row
            },
            LetterOrigin::Stream { file, unit: _, number, offset } => Self {
                of: "stream",
                input: Some(file.clone()),
                number: Some(*number),
                offset: Some(*offset),
                ..row
            },
        }
    }
}
