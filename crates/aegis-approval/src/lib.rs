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
//! | `store` | what a store of all this does |

mod canonical;
mod dual;
#[cfg(feature = "key-file")]
mod key_file;
mod name;
mod quorum;
mod registration;
mod registry;
mod request;
mod signed;
mod standing;
mod statement;
mod store;
mod subject;
mod text;
mod verify;

#[cfg(test)]
mod tests;

pub use dual::{DualChecks, DualFault, DualSignatureValidator, RequestFault};
#[cfg(feature = "key-file")]
pub use key_file::{
    CustodianKeyFile, KeyFileError, KeyFileFault, MAX_KEY_FILE_LEN, OpenKeyFileError, WriteKeyFileError,
};
pub use name::{Audience, Gate, NameError, NameKind, PersonId, RequestId, Role};
pub use quorum::{Quorum, QuorumError};
pub use registration::{NewRegistrationError, ReadRegistrationError, Registration, proof_statement};
pub use registry::{Custodian, CustodianKey, KeyState, Registry, RegistryError};
pub use request::{
    DEFAULT_LIFETIME, DEFAULT_USE_WITHIN, LIFETIME_RANGE, Lifetime, NewRequest, NewRequestError,
    ReadRequestError, Request, RequestRule,
};
pub use signed::{GivenSignature, ReadSignedError, SignedRequest};
pub use standing::{CLOCK_TOLERANCE, Closed, SignatureFault, Standing, State, check_signature, standing};
pub use statement::{Decision, statement};
pub use store::{
    ConflictKind, Involvement, RequestQuery, RequestRecord, Rotation, RotationStep, Store, StoreError,
};
pub use subject::{Kind, Subject, SubjectError, UnknownKind};
pub use text::{Justification, Line, TextError};
pub use verify::{ApprovalRefused, VerifiedApproval, verify};
