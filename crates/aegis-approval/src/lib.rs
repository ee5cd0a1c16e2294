//! Decisions that take two people: who may decide, what is asked, what was signed, and whether it holds.
//!
//! A custodian is a person with roles and public keys. A request says what is to be done, for where, why, and by whom it
//! has to be approved; one hash covers all of it. A custodian signs a short statement that ends in that hash. Nothing
//! here has a clock or a private key of its own: the time and the key come with each call.
//!
//! | module | what it holds |
//! |---|---|
//! | `name`, `text` | names and texts that cannot mislead |
//! | `subject`, `request` | what is asked for, in canonical JSON (RFC 8785), and its hash |
//! | `quorum` | how many people of which roles |
//! | `registry`, `registration` | custodians and their keys; a key on its way, with proof of possession |
//! | `key_file` | a custodian's private key under a passphrase; feature `key-file` |
//! | `statement`, `signed` | what is signed; a request with signatures, as a file |
//! | `standing` | which signatures count, and where a request stands |
//! | `verify` | an approval from its file alone, offline |
//! | `dual` | one risk lead and one security lead |
//! | `approvals` | [`Approvals`]: everything that is done with custodians and requests in a store, a call each |
//! | `emergency`, `report` | a key in the wrong hands: resumable rotation, and what the key took part in |
//! | `observer` | what is told to whoever keeps the log |
//! | `store` | what a store of all this does |
//! | `sqlite`, `postgres`, `database` | the stores; one of them from its address |
//! | `tables` | their tables, and each statement on them, once |

mod approvals;
mod canonical;
mod database;
mod dual;
mod emergency;
#[cfg(feature = "key-file")]
mod key_file;
mod name;
mod observer;
#[cfg(feature = "postgres")]
mod postgres;
mod quorum;
mod registration;
mod registry;
mod report;
mod request;
mod signed;
#[cfg(feature = "sqlite")]
mod sqlite;
mod standing;
mod statement;
mod store;
mod subject;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, reason = "a host verifies approvals, and has no store")
)]
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod tables;
mod text;
mod verify;

#[cfg(test)]
mod tests;

pub use approvals::{
    ApprovalRules, Approvals, ApprovalsReader, AskError, ChangeCustodianError, ImportError, Imported,
    LookupError, NotStored, OfflineSignError, RegisterError, RulesError, Shown, SignError, Signed, UseError,
    sign_offline,
};
pub use database::{FILE_NAME, open_store, open_store_beside_keyring};
pub use dual::{DualChecks, DualFault, DualSignatureValidator, RequestFault};
pub use emergency::{Emergency, EmergencyError, EmergencyOrder, Left, NewKey};
#[cfg(feature = "key-file")]
pub use key_file::{
    CustodianKeyFile, KeyFileError, KeyFileFault, MAX_KEY_FILE_LEN, OpenKeyFileError, WriteKeyFileError,
};
pub use name::{Audience, Gate, NameError, NameKind, PersonId, RequestId, Role};
pub use observer::{Act, Asked, EmergencyAct, Ended, Observer, RequestRef, SignedBy};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use quorum::{Quorum, QuorumError};
pub use registration::{NewRegistrationError, ReadRegistrationError, Registration, proof_statement};
pub use registry::{Custodian, CustodianKey, KeyState, Registry, RegistryError};
pub use report::{Finding, OtherSigner, Remedy, Report, ReportCounts, ReportError, ReportFormat, ReportHead};
pub use request::{
    DEFAULT_LIFETIME, DEFAULT_USE_WITHIN, LIFETIME_RANGE, Lifetime, NewRequest, NewRequestError,
    ReadRequestError, Request, RequestRule,
};
pub use signed::{GivenSignature, ReadSignedError, SignedRequest};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use standing::{CLOCK_TOLERANCE, Closed, SignatureFault, Standing, State, check_signature, standing};
pub use statement::{Decision, statement};
pub use store::{
    ConflictKind, Involvement, RequestQuery, RequestRecord, Rotation, RotationStep, Signer, Store, StoreError,
};
pub use subject::{Kind, Subject, SubjectError, UnknownKind};
pub use text::{Justification, Line, TextError};
pub use verify::{ApprovalRefused, VerifiedApproval, verify};
