//! Tamper-evident log: append, verify, query, export to SIEM formats.
//!
//! Entries are JSON lines; each is a leaf of a Merkle tree (RFC 6962) whose head is a checkpoint (C2SP
//! `tlog-checkpoint`, a signed note) that the host key signs. A checkpoint that was kept elsewhere proves later that
//! nothing it covers was edited, removed, reordered or replaced.
//!
//! | module | what |
//! |---|---|
//! | [`log`](AuditLog) | the log, as other crates see it |
//! | `event`, `bounds`, `stamp`, `line` | an event, its bounds, its one spelling |
//! | [`merkle`], `note`, `checkpoint` | hashing and signing; no I/O |
//! | `hand_over` | how one host key gives way to the next |
//! | `folder`, `walk`, `host_key` | the files |
//! | `append`, `read`, `verify`, `kept`, `proof`, `query` | one operation each |
//! | [`export`] | JSON, OCSF, CEF, syslog |

mod append;
mod bounds;
mod checkpoint;
mod damage;
mod event;
pub mod export;
mod folder;
mod hand_over;
mod host_key;
mod kept;
mod line;
mod log;
pub mod merkle;
mod note;
mod proof;
mod query;
mod read;
mod stamp;
mod verify;
mod walk;

pub use append::{AppendError, Appended};
pub use checkpoint::{Checkpoint, CheckpointError, parse_checkpoint};
pub use damage::Damage;
pub use event::{Action, Actor, Entry, Event, Outcome, UnknownName};
pub use folder::StorageError;
pub use hand_over::HandOverError;
pub use host_key::{HostKeyError, KeyFileError};
pub use kept::KeptError;
pub use line::{EntryError, is_dangerous, parse_entry, print_entry};
pub use log::AuditLog;
pub use note::{Note, NoteError};
pub use proof::{ConsistencyProof, InclusionProof};
pub use query::Query;
pub use read::{Entries, ReadError};
pub use verify::{QuickCheck, VerifyError, VerifyReport};
