//! Any bytes as an entry, as a checkpoint, and as the whole log of a host whose checkpoint is known.

use std::path::Path;

use aegis_audit::export::{self, Format};
use aegis_audit::{AuditLog, parse_checkpoint, parse_entry, print_entry};

const LOG: &[u8] = include_bytes!("../fixtures/audit/log.jsonl");
const CHECKPOINT: &[u8] = include_bytes!("../fixtures/audit/checkpoint");
const HOST_KEY: &[u8] = include_bytes!("../fixtures/audit/host.pub");

pub(crate) fn run(bytes: &[u8]) {
    as_entry(bytes);
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    as_log(bytes, directory.path());
    as_kept_checkpoint(bytes, directory.path());
}

/// One entry, one spelling; and however an entry is exported, it is one line that no terminal obeys.
fn as_entry(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n').take(16) {
        let Ok(entry) = parse_entry(line) else { continue };
        assert_eq!(print_entry(&entry), line);
        for format in [Format::Json, Format::Ocsf, Format::Cef, Format::Rfc5424] {
            let mut exported = Vec::new();
            export::write(&entry, format, "host", &mut exported).expect("writing to memory does not fail");
            let text = std::str::from_utf8(&exported).expect("an exported line is UTF-8");
            let line = text.strip_suffix('\n').expect("an exported line ends in a line feed");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

/// Only what the host signed verifies. What follows the signed part may be what a crash left, and is never lost.
fn as_log(bytes: &[u8], directory: &Path) {
    let log = lay_out(directory, bytes);
    if log.verify(&[], &mut |_, _| {}).is_ok() {
        assert!(bytes.starts_with(LOG), "a log that was changed verifies");
    }
    // The cheap look of `health` reads the end of the log only; it must survive anything, and so must reading.
    let _ = log.quick_check();
    if let Ok(entries) = log.entries() {
        let read = entries.take(1_000).take_while(Result::is_ok).count();
        assert!(read <= bytes.len(), "more entries than bytes");
    }
}

/// A checkpoint that somebody kept is believed only if the host signed it.
fn as_kept_checkpoint(bytes: &[u8], directory: &Path) {
    let Ok(parsed) = parse_checkpoint(bytes) else { return };
    let log = lay_out(directory, LOG);
    let verified = log.verify(&[bytes.to_vec()], &mut |_, _| {});
    if verified.is_ok() {
        assert!(parsed.size() <= 4, "a checkpoint that is none was believed");
    }
    if bytes == CHECKPOINT {
        assert!(verified.is_ok(), "the host's own checkpoint is refused");
    }
}

fn lay_out(directory: &Path, log: &[u8]) -> AuditLog {
    for (name, bytes) in [("log.jsonl", log), ("checkpoint", CHECKPOINT), ("host.pub", HOST_KEY)] {
        std::fs::write(directory.join(name), bytes).expect("there is room for a log");
    }
    AuditLog::new(directory)
}
