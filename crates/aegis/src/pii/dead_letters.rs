//! Events that were refused, a line of JSON each, with no personal value in the clear.
//!
//! A line names the place, the length and the reason. Where it can be sealed, it has the event itself in `event_base64`, as
//! a sealed field that `aegis pii decrypt` opens; else its SHA-256. Not both: a digest would confirm what somebody guesses.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aegis_pii::stream::{RefusedEvent, RefusedEvents};
use aegis_pii::{Catalogue, EncryptorOptions, Field, Limits, PiiEncryptor, Priority, Selector};
use aegis_telemetry::{SharedLineFile, SharedLineFileError};
use aegis_terminal::Failure;
use aegis_terminal::input::name;
use base64ct::{Base64, Encoding as _};
use serde::Serialize;

use crate::session::Session;

/// The member that holds a refused event.
const EVENT: &str = "event_base64";

/// A file to which refused events are appended.
pub(super) struct DeadLetters {
    file: SharedLineFile,
    /// What the inputs are called.
    inputs: Vec<PathBuf>,
    is_array: bool,
    encryptor: Option<PiiEncryptor>,
}

#[derive(Serialize)]
struct Letter<'a> {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<u64>,
    offset: u64,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    because: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_base64: Option<&'a str>,
}

/// How a letter is sealed: its event, whatever the fields of events are.
pub(super) fn options(of_events: &EncryptorOptions) -> EncryptorOptions {
    let selector = Selector::Pointer(format!("/{EVENT}"));
    let field = Field { selector, description: String::new(), priority: Priority::Critical };
    // In base64 it is a third longer.
    let max_event_len = of_events.limits.max_event_len.saturating_mul(2);
    EncryptorOptions {
        catalogue: Catalogue::new(vec![field]).expect("one field, at a well-formed pointer"),
        tenant: of_events.tenant.clone(),
        limits: Limits { max_event_len, ..of_events.limits },
        ..EncryptorOptions::default()
    }
}

impl DeadLetters {
    /// Opens the file, which is made if it is not there.
    pub(super) fn open(
        path: &Path,
        (inputs, out): (&[PathBuf], Option<&Path>),
        is_array: bool,
        encryptor: Option<PiiEncryptor>,
        session: &Session,
    ) -> Result<Self, Failure> {
        session.refuse_reserved(path)?;
        let what = || format!("cannot append to {}", name(path));
        if out == Some(path) {
            return Err(is_other(what(), "OUT"));
        }
        let failed = |error: SharedLineFileError| Failure::new(what(), &error, error.help());
        let file = SharedLineFile::open(path).map_err(failed)?;
        let metadata = file.file().metadata().map_err(|error| Failure::new(what(), &error, None))?;
        let is_same = |other: &Path| {
            std::fs::metadata(other)
                .is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
        };
        if inputs.iter().any(|input| is_same(input)) {
            return Err(is_other(what(), "a FILE that is read"));
        }
        // It would be replaced when OUT gets its name.
        if out.is_some_and(is_same) {
            return Err(is_other(what(), "OUT"));
        }
        Ok(Self { file, inputs: inputs.to_vec(), is_array, encryptor })
    }

    /// The file, to be synced before the output counts as written.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.file().try_clone()
    }
}

impl<E: Error + 'static> RefusedEvents<E> for DeadLetters {
    fn take(&mut self, event: &RefusedEvent<'_, E>) -> io::Result<()> {
        let RefusedEvent { place, len, sha256, bytes, error } = event;
        let text = match (&self.encryptor, bytes) {
            (Some(_), Some(bytes)) => Some(Base64::encode_string(bytes)),
            _ => None,
        };
        let letter = Letter {
            file: self.inputs.get(place.input).map(|path| name(path)).unwrap_or_default(),
            line: (!self.is_array).then_some(place.number),
            element: self.is_array.then_some(place.number),
            offset: place.offset,
            length: *len,
            sha256: text.is_none().then(|| sha256.to_string()),
            because: reasons(error),
            event_base64: text.as_deref(),
        };
        let line = serde_json::to_vec(&letter)?;
        // It may be long, and is in the line now.
        drop(text);
        let mut line = match &mut self.encryptor {
            Some(encryptor) => encryptor.encrypt(&line).map_err(io::Error::other)?,
            None => line,
        };
        line.push(b'\n');
        // In one piece: others may append to the same file.
        self.file.append(&line)
    }
}

fn is_other(what: String, role: &str) -> Failure {
    Failure::because(what, format!("it is {role}")).with_help("name another file for what is refused")
}

/// The error and its causes, each once.
pub(crate) fn reasons(error: &dyn Error) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let reason = error.to_string();
        if reasons.last() != Some(&reason) {
            reasons.push(reason);
        }
        cause = error.source();
    }
    reasons
}
