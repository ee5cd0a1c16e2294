//! Entries for other people's tools: one line an entry, whatever the entry holds.

use std::io;
use std::str::FromStr;

use crate::bounds;
use crate::event::{Entry, UnknownName};
use crate::line::print_entry;

mod cef;
mod ocsf;
mod rfc5424;
mod text;

/// A format that a SIEM reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The line of the log, byte for byte.
    Json,
    /// An event of the Open Cybersecurity Schema Framework, version 1.3.0, as JSON.
    Ocsf,
    /// ArcSight Common Event Format, version 0.
    Cef,
    /// Syslog with structured data.
    Rfc5424,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Json, Self::Ocsf, Self::Cef, Self::Rfc5424];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Rfc5424 => "rfc5424",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or_else(|| UnknownName {
            kind: "format",
            name: bounds::printable(name),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// Writes an entry as one line with its newline. `host` is the host's name: at most 255 printable ASCII characters
/// of it are used.
///
/// # Errors
///
/// What `out` says.
pub fn write(entry: &Entry, format: Format, host: &str, out: &mut dyn io::Write) -> io::Result<()> {
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let mut line = match format {
        Format::Json => print_entry(entry),
        Format::Ocsf => ocsf::line(entry, &host),
        Format::Cef => cef::line(entry, &host).into_bytes(),
        Format::Rfc5424 => rfc5424::line(entry, &host),
    };
    line.push(b'\n');
    out.write_all(&line)
}
