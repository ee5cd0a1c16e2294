//! Why a database did not do what it was asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::contents::{Contents, Place};

/// Why a database did not do what it was asked. Nothing of the call was done, but for
/// [`OutcomeUnknown`](Self::OutcomeUnknown). No message has a password in it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A text that names no database.
    #[error("the address of the {} cannot be used", contents.name)]
    Address {
        /// What should be in it.
        contents: &'static Contents,
        /// What is wrong with it.
        #[source]
        fault: AddressFault,
    },
    /// Its directory, or its database on the server, does not exist.
    #[error("there is no place for the {place}")]
    NoPlace {
        /// The database.
        place: Place,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// No answer. Trying again later may help.
    #[error("the {place} cannot be reached")]
    Unavailable {
        /// The database.
        place: Place,
        /// The answer, or that there was none.
        #[source]
        answer: Answer,
    },
    /// Others were writing all the time.
    #[error("the {place} was busy for {} seconds", waited.as_secs())]
    Busy {
        /// The database.
        place: Place,
        /// How long it was tried.
        waited: Duration,
    },
    /// The system or the server said no.
    #[error("access to the {place} was denied")]
    Denied {
        /// The database.
        place: Place,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// No room is left.
    #[error("there is no room left for the {place}")]
    Full {
        /// The database.
        place: Place,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// It can be read only.
    #[error("the {place} can only be read")]
    ReadOnly {
        /// The database.
        place: Place,
    },
    /// What is stored is not what was ever written.
    #[error("the {place} is damaged")]
    Damaged {
        /// The database.
        place: Place,
        /// Where, and what.
        #[source]
        damage: Damage,
    },
    /// A sound database, but of some other program.
    #[error("{} holds something else, not {}", place.location, place.contents.one)]
    Foreign {
        /// The database.
        place: Place,
    },
    /// A later release of this program has changed its schema.
    #[error("the {place} has schema {found}, this program knows {known} and older ones")]
    Newer {
        /// The database.
        place: Place,
        /// Its schema.
        found: i64,
        /// The newest one that is known here.
        known: i64,
    },
    /// Others could read or change the file, or its directory.
    #[error("{} {why}", path.display())]
    Insecure {
        /// Of which database.
        contents: &'static Contents,
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
    #[error("whether the {place} was changed is not known")]
    OutcomeUnknown {
        /// The database.
        place: Place,
        /// How the connection ended.
        #[source]
        answer: Answer,
    },
    /// This process was forked while the file was open. SQLite keeps its locks in memory that the fork copied, so the
    /// copy believes that it holds locks which it does not, and so would a second opening in the same process.
    #[error("the {place} was open when this process was forked, and cannot be used in the copy")]
    Forked {
        /// The database.
        place: Place,
    },
    /// Since it was opened, its file was removed, or another one was put in its place. What was changed in the last call
    /// is lost with it.
    #[error("the file of the {place} is not the one that was opened")]
    Replaced {
        /// The database.
        place: Place,
    },
    /// The database gave an error that nothing here expects.
    #[error("the {place} failed")]
    Failed {
        /// The database.
        place: Place,
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

/// What is damaged in a database.
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

/// Why a text names no database. The text is never repeated: it may hold a password.
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

impl DatabaseError {
    /// Whether the same call may succeed later, with nothing else done.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy { .. })
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Address { contents, fault } => return fault.help(contents),
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
            Self::Damaged { place, .. } => {
                format!("change nothing in it; keep a copy, then {}", place.contents.restore)
            }
            Self::Foreign { .. } => "name another file or database; nothing was changed in this one".to_owned(),
            Self::Newer { .. } => "use the release of this program that wrote it, or a later one".to_owned(),
            Self::Insecure { contents, path, .. } => insecure_help(contents, path),
            Self::NotAFile { .. } => "name the file itself".to_owned(),
            Self::OutcomeUnknown { place, .. } => format!(
                "look at the {} again, as soon as it can be reached, before repeating the command",
                place.contents.name
            ),
            Self::Forked { place } => format!(
                "open the {} after the fork, in each process, or start processes by running a program",
                place.contents.name
            ),
            Self::Replaced { place } => format!("open the {} again: restart the program", place.contents.name),
            Self::Failed { .. } => return None,
        })
    }
}

fn insecure_help(contents: &Contents, path: &Path) -> String {
    let (before, mode) = if path.is_dir() {
        (String::new(), "700")
    } else {
        (format!("name another file if this is no {} of yours; else ", contents.name), "600")
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

impl AddressFault {
    /// What to do next.
    fn help(&self, contents: &Contents) -> Option<String> {
        Some(match self {
            Self::NoFile => format!("name the {}'s file, such as {}", contents.name, contents.example),
            Self::Scheme | Self::Malformed => {
                "write sqlite:PATH or postgres://USER@HOST:PORT/DATABASE; special characters of a password as %XX, or the \
                 password in PGPASSWORD or PGPASSFILE"
                    .to_owned()
            }
            Self::NotBuilt { .. } => "name another kind of store, or use a build that has this one".to_owned(),
            Self::Incomplete { .. } | Self::Parameter | Self::File { .. } | Self::Variable { .. } => return None,
        })
    }
}

impl Answer {
    /// The most characters of a message that are kept.
    const MAX_CHARS: usize = 400;

    /// The message without control characters, and cut where it is far too long.
    pub fn new(text: &str, code: Option<String>) -> Self {
        let clean = |char: char| if char.is_control() { ' ' } else { char };
        Self { text: text.chars().take(Self::MAX_CHARS).map(clean).collect(), code }
    }

    /// What the system said.
    pub fn of_io(error: &std::io::Error) -> Self {
        Self::new(&error.to_string(), None)
    }
}
