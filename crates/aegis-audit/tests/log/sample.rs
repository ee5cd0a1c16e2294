//! A log in a folder of its own, and events for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aegis_audit::{Action, Actor, AuditLog, Event, Outcome, VerifyError, VerifyReport};
use jiff::Timestamp;
use tempfile::TempDir;

pub(crate) fn actor() -> Actor {
    Actor { uid: 0, user: Some("alice".into()), program: "aegisbpf".into(), pid: 4242 }
}

pub(crate) fn event(number: u64) -> Event {
    let time: Timestamp = "2026-03-01T12:00:00.250Z".parse().unwrap();
    let action = Action::ALL[usize::try_from(number).unwrap() % Action::ALL.len()];
    // A hand-over that nobody signed would be damage; only `rotate_host_key` writes one.
    let action = if action == Action::AuditHandOver { Action::PolicyApply } else { action };
    let outcome = Outcome::ALL[usize::try_from(number).unwrap() % 3];
    Event::new(time, actor(), action, format!("object-{number}"))
        .outcome(outcome)
        .detail("key_id", format!("{number:064x}"))
        .transaction(format!("tx-{number}"))
}

/// A log that goes with its folder.
pub(crate) struct Sample {
    _keep: TempDir,
    pub(crate) log: AuditLog,
}

impl Sample {
    /// An empty folder's log.
    pub(crate) fn new() -> Self {
        let keep = TempDir::new().unwrap();
        let log = AuditLog::new(keep.path().join("audit"));
        Self { _keep: keep, log }
    }

    /// A log of `count` entries.
    pub(crate) fn with(count: u64) -> Self {
        let sample = Self::new();
        for number in 0..count {
            assert_eq!(sample.log.append(&event(number)).unwrap().seq, number);
        }
        sample
    }

    /// Another folder with these files, permissions included.
    pub(crate) fn of(files: &Files) -> Self {
        let sample = Self::new();
        files.write(sample.log.dir());
        sample
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.log.dir().join(name)
    }

    pub(crate) fn files(&self) -> Files {
        Files::read(self.log.dir())
    }

    pub(crate) fn checkpoint(&self) -> Vec<u8> {
        self.log.checkpoint().unwrap().unwrap()
    }

    pub(crate) fn verify(&self, kept: &[Vec<u8>]) -> Result<VerifyReport, VerifyError> {
        self.log.verify(kept, &mut |_, _| {})
    }
}

/// Every file of a folder: its content and its permission bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Files(pub(crate) BTreeMap<String, (Vec<u8>, u32)>);

impl Files {
    pub(crate) fn read(dir: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            files.insert(entry.file_name().into_string().unwrap(), (fs::read(entry.path()).unwrap(), mode));
        }
        Self(files)
    }

    pub(crate) fn write(&self, dir: &Path) {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
        for (name, (bytes, mode)) in &self.0 {
            fs::write(dir.join(name), bytes).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(*mode)).unwrap();
        }
    }

    pub(crate) fn get(&self, name: &str) -> &[u8] {
        &self.0[name].0
    }

    pub(crate) fn set(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let mode = self.0.get(name).map_or(0o600, |(_, mode)| *mode);
        self.0.insert(name.to_owned(), (bytes.into(), mode));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name).unwrap();
        self
    }

    /// The log's lines, newlines included.
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        self.get("log.jsonl").split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

/// A note as C2SP `signed-note` describes it, made without the crate's own code.
pub(crate) fn signed_note(text: &str, name: &str, key: &aegis_crypto::SigningKey) -> Vec<u8> {
    use base64ct::{Base64, Encoding as _};
    let id = aegis_crypto::sha256(&[name.as_bytes(), b"\n\x01", key.public_key().as_bytes()].concat());
    let raw = [&id.as_bytes()[..4], key.sign(text.as_bytes()).as_bytes()].concat();
    format!("{text}\n\u{2014} {name} {}\n", Base64::encode_string(&raw)).into_bytes()
}
