//! Why a store did not do what it was asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_crypto::KeyId;

use crate::version::DekVersion;

/// Why a store did not do what it was asked. Nothing of the call was done, but for
/// [`OutcomeUnknown`](Self::OutcomeUnknown). No message has a password in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something has changed since it was read, or was never so. Reading again and deciding anew is right.
    #[error("the keyring is not as it was thought to be")]
    Conflict {
        /// What was not as expected.
        #[source]
        what: ConflictKind,
    },
    /// A KEK cannot be switched to, or the one before it retired, while DEKs are not proven to open with it.
    #[error("{missing} of {deks} DEKs have no verified wrapping under KEK {}", kek.fingerprint())]
    NotVerified {
        /// The KEK.
        kek: KeyId,
        /// DEKs without one.
        missing: u64,
        /// DEKs in all.
        deks: u64,
    },
    /// A text that names no store.
    #[error("the address of the keyring cannot be used")]
    Address {
        /// What is wrong with it.
        #[source]
        fault: AddressFault,
    },
    /// Its directory, or its database on the server, does not exist.
    #[error("there is no place for the keyring {location}")]
    NoPlace {
        /// The store.
        location: String,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// No answer. Trying again later may help.
    #[error("the keyring {location} cannot be reached")]
    Unavailable {
        /// The store.
        location: String,
        /// The answer, or that there was none.
        #[source]
        answer: Answer,
    },
    /// Others were writing all the time.
    #[error("the keyring {location} was busy for {} seconds", waited.as_secs())]
    Busy {
        /// The store.
        location: String,
        /// How long it was tried.
        waited: Duration,
    },
    /// The system or the server said no.
    #[error("access to the keyring {location} was denied")]
    Denied {
        /// The store.
        location: String,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// No room is left.
    #[error("there is no room left for the keyring {location}")]
    Full {
        /// The store.
        location: String,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// It can be read only.
    #[error("the keyring {location} can only be read")]
    ReadOnly {
        /// The store.
        location: String,
    },
    /// What is stored is not what was ever written.
    #[error("the keyring {location} is damaged")]
    Damaged {
        /// The store.
        location: String,
        /// Where, and what.
        #[source]
        damage: Damage,
    },
    /// A sound database, but of some other program.
    #[error("{location} holds something else, not a keyring")]
    Foreign {
        /// The database.
        location: String,
    },
    /// A later release of this program has changed its schema.
    #[error("the keyring {location} has schema {found}, this program knows {known} and older ones")]
    Newer {
        /// The store.
        location: String,
        /// Its schema.
        found: i64,
        /// The newest one that is known here.
        known: i64,
    },
    /// Others could read or change the file, or its directory.
    #[error("{} {why}", path.display())]
    Insecure {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something else has the file's name: a link, a directory, a device.
    #[error("{} is {kind}, not a regular file", path.display())]
    NotAFile {
        /// The object.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The connection was lost while the server was finishing, and could not be made again to ask how it ended.
    #[error("whether the keyring {location} was changed is not known")]
    OutcomeUnknown {
        /// The store.
        location: String,
        /// How the connection ended.
        #[source]
        answer: Answer,
    },
    /// This process was forked while the file was open. SQLite keeps its locks in memory that the fork copied, so the
    /// copy believes that it holds locks which it does not, and so would a second opening in the same process.
    #[error("the keyring {location} was open when this process was forked, and cannot be used in the copy")]
    Forked {
        /// The store.
        location: String,
    },
    /// Since it was opened, its file was removed, or another one was put in its place. What was changed in the last call
    /// is lost with it.
    #[error("the file of the keyring {location} is not the one that was opened")]
    Replaced {
        /// The store.
        location: String,
    },
    /// A box that no store takes.
    #[error("the sealed box of {version} has {len} bytes, not 1 to {}", crate::MAX_SEALED_LEN)]
    BoxLength {
        /// Whose.
        version: DekVersion,
        /// Its length in bytes.
        len: usize,
    },
    /// The iterator that [`Store::restore`](crate::Store::restore) reads ended before its end; the one who made it
    /// knows why.
    #[error("what was to be stored came to an end too soon")]
    SourceFailed,
    /// The database gave an error that nothing here expects.
    #[error("the keyring {location} failed")]
    Failed {
        /// The store.
        location: String,
        /// The error.
        #[source]
        answer: Answer,
    },
}

/// What the system or a database said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub struct Answer {
    /// The message.
    pub text: String,
    /// Its code, if it has one: SQLSTATE, or SQLite's extended result code.
    pub code: Option<String>,
}

/// What is damaged in a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not the format of a database at all.
    #[error("it is not a SQLite database")]
    NotADatabase,
    /// The database finds its own structure broken.
    #[error("its structure is broken: {found}")]
    Structure {
        /// The database's words.
        found: String,
    },
    /// A row that no record can be made of.
    #[error("{column} of {row} in table {table} is {found}")]
    Row {
        /// The table.
        table: &'static str,
        /// Which row: a version, a key id, or a number.
        row: String,
        /// The column.
        column: &'static str,
        /// What is in it.
        found: String,
    },
}

/// Why a text names no store. The text is never repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Nothing, or no name of a file.
    #[error("it names no file")]
    NoFile,
    /// Another scheme than those that are known.
    #[error("its scheme is none of sqlite:, postgres:// and postgresql://")]
    Scheme,
    /// The program was built without that kind of store.
    #[error("this program was built without {store}")]
    NotBuilt {
        /// Which.
        store: &'static str,
    },
    /// Not of the form `postgres://USER@HOST:PORT/DATABASE?PARAMETERS`.
    #[error("it is not of the form postgres://USER@HOST:PORT/DATABASE")]
    Malformed,
    /// No host, no user or no database in it, nor in the variables.
    #[error("it names no {what}, and neither does {variable}")]
    Incomplete {
        /// What is missing.
        what: &'static str,
        /// The variable that could name it.
        variable: &'static str,
    },
    /// A parameter that is not known, or has a value that is not.
    #[error(
        "a parameter is not known, or has an unknown value; known are sslmode (disable, prefer, require, verify-ca, \
         verify-full), sslrootcert, connect_timeout, application_name, host, port, user, password, dbname, keepalives, \
         target_session_attrs and channel_binding"
    )]
    Parameter,
    /// A file that it refers to, such as that of `sslrootcert`, cannot be read as what it should be.
    #[error("{} cannot be used as {purpose}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What for.
        purpose: &'static str,
        /// What was found instead; nothing of its content.
        why: String,
    },
    /// A variable holds what is no text.
    #[error("the variable {name} is not valid UTF-8")]
    Variable {
        /// The variable.
        name: String,
    },
}

/// What was not as a caller of [`Store`](crate::Store) expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// A KEK is enrolled already.
    #[error("a KEK is enrolled there already")]
    KekEnrolled,
    /// Another KEK is being rotated to.
    #[error("another KEK rotation is under way")]
    RotationUnderWay,
    /// There is no active KEK to rotate from.
    #[error("no KEK is active there")]
    NoActiveKek,
    /// Another KEK is active than the caller thought.
    #[error("another KEK has become active")]
    ActiveKekChanged,
    /// The KEK is not the incoming one.
    #[error("that KEK is not being rotated to")]
    KekNotIncoming,
    /// The KEK is not in grace.
    #[error("that KEK is not in its grace period")]
    KekNotInGrace,
    /// The KEK is retired or was never enrolled.
    #[error("that KEK is not in use")]
    KekNotLive,
    /// Another DEK has the version.
    #[error("the version is taken")]
    VersionTaken,
    /// Another DEK is active in the scope than the caller thought.
    #[error("another DEK has become active in that scope")]
    ActiveChanged,
    /// The live KEKs are not those that the DEK was wrapped for.
    #[error("a KEK has come or gone")]
    LiveKeksChanged,
    /// The DEK's state, or its time of destruction, is another one than the caller thought, or allows no such change.
    #[error("the state of that DEK is another one now")]
    DekChanged,
    /// The DEK is not retired, not marked for destruction, or its waiting time is not over.
    #[error("that DEK is not due to be destroyed")]
    NotDue,
    /// There is no DEK of that version.
    #[error("there is no DEK of that version")]
    UnknownVersion,
    /// The DEK has a wrapping under that KEK already, or it is the wrapping of another DEK.
    #[error("that wrapping is there already, or is of another DEK")]
    WrappingMisplaced,
    /// The store to be filled holds something.
    #[error("there is a keyring in it already")]
    NotEmpty,
}

impl StoreError {
    /// A conflict.
    pub const fn conflict(what: ConflictKind) -> Self {
        Self::Conflict { what }
    }

    /// Whether the same call may succeed later, with nothing else done.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy { .. })
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Conflict { what } => return what.help().map(str::to_owned),
            Self::NotVerified { .. } => "resume the KEK rotation: `aegis kek rotate`".to_owned(),
            Self::Address { fault } => return fault.help().map(str::to_owned),
            Self::NoPlace { answer, .. } if answer.code.is_some() => {
                "create the database on the server (`createdb`), or check its name in the address".to_owned()
            }
            Self::NoPlace { .. } => "create it, or check the address; `aegis init` makes the directory".to_owned(),
            Self::Unavailable { .. } => "see that it is running and can be reached, then run it again".to_owned(),
            Self::Busy { .. } => "wait for the other program to finish, then run it again".to_owned(),
            Self::Denied { answer, .. } if answer.code.is_none() && answer.text.contains("TLS") => tls_help(&answer.text),
            Self::Denied { .. } => "check the user, the password and what that user may do there".to_owned(),
            Self::Full { .. } => "make room on that file system, then run it again".to_owned(),
            Self::ReadOnly { .. } => {
                "make the file and its file system writable for this user, or name the primary server, not a replica"
                    .to_owned()
            }
            Self::Damaged { .. } => {
                "change nothing in it; keep a copy, then restore the last backup: `aegis backup restore`".to_owned()
            }
            Self::Foreign { .. } => "name another file or database; nothing was changed in this one".to_owned(),
            Self::Newer { .. } => "use the release of this program that wrote it, or a later one".to_owned(),
            Self::Insecure { path, .. } => insecure_help(path),
            Self::NotAFile { .. } => "name the file itself".to_owned(),
            Self::OutcomeUnknown { .. } => {
                "look at the keyring again, as soon as it can be reached, before repeating the command".to_owned()
            }
            Self::Forked { .. } => {
                "open the keyring after the fork, in each process, or start processes by running a program".to_owned()
            }
            Self::Replaced { .. } => "open the keyring again: restart the program".to_owned(),
            Self::BoxLength { .. } | Self::SourceFailed | Self::Failed { .. } => return None,
        })
    }
}

fn insecure_help(path: &Path) -> String {
    let (before, mode) = if path.is_dir() {
        ("", "700")
    } else {
        ("name another file if this is no keyring of yours; else ", "600")
    };
    format!(
        "{before}find out who could change it, then: chown it to yourself and chmod {mode} {}",
        path.display()
    )
}

/// The handshake is before every password.
fn tls_help(answer: &str) -> String {
    if answer.contains("does not support") {
        "switch TLS on at the server (`ssl = on`); sslmode=disable in the address does without, where nobody else can listen"
    } else {
        "see that the server's certificate is for the host in the address, has not expired, and is of an authority of this \
         system or of sslrootcert"
    }
    .to_owned()
}

impl ConflictKind {
    /// What to do next.
    pub const fn help(self) -> Option<&'static str> {
        match self {
            Self::KekEnrolled => Some("this keyring has its KEK; to change it: `aegis kek rotate`"),
            Self::RotationUnderWay => Some("finish or abandon it first: `aegis kek status` shows it"),
            Self::NoActiveKek => Some("the keyring is empty: `aegis init`"),
            Self::NotEmpty => Some("restore into a new store; this one is left as it is"),
            Self::NotDue => Some("`aegis dek show` says from when on it can be destroyed"),
            Self::UnknownVersion => Some("`aegis dek list` prints every version"),
            Self::ActiveKekChanged
            | Self::KekNotIncoming
            | Self::KekNotInGrace
            | Self::KekNotLive
            | Self::VersionTaken
            | Self::ActiveChanged
            | Self::LiveKeksChanged
            | Self::DekChanged => Some("somebody else was faster: look again, then decide anew"),
            Self::WrappingMisplaced => None,
        }
    }
}

impl AddressFault {
    /// What to do next.
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoFile => Some("name the keyring's file, such as /var/lib/aegis/keyring.db"),
            Self::Scheme | Self::Malformed => Some(
                "write sqlite:PATH or postgres://USER@HOST:PORT/DATABASE; special characters of a password as %XX, or the \
                 password in PGPASSWORD or PGPASSFILE",
            ),
            Self::NotBuilt { .. } => Some("name another kind of store, or use a build that has this one"),
            Self::Incomplete { .. } | Self::Parameter | Self::File { .. } | Self::Variable { .. } => None,
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Answer {
    /// The most characters of a message that are kept.
    const MAX_CHARS: usize = 400;

    pub(crate) fn new(text: &str, code: Option<String>) -> Self {
        let clean = |char: char| if char.is_control() { ' ' } else { char };
        Self { text: text.chars().take(Self::MAX_CHARS).map(clean).collect(), code }
    }

    pub(crate) fn of_io(error: &std::io::Error) -> Self {
        Self::new(&error.to_string(), None)
    }
}
