//! What is told to whoever keeps the log: each thing that is about to be done, and how it ended.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;

use aegis_crypto::{CustodianAlgorithm, Digest, KeyId};
use jiff::Timestamp;

use crate::approvals::Shown;
use crate::name::{Audience, PersonId, RequestId, Role};
use crate::request::Request;
use crate::standing::Closed;
use crate::store::RotationStep;
use crate::subject::{Kind, Subject};

/// Is told of everything that is done or refused. The programs give one that writes to the audit log.
pub trait Observer: Send + Sync {
    /// It was judged and is about to be stored. If it cannot be noted, it is not done. Told again, with what is true then,
    /// if others changed something meanwhile.
    ///
    /// # Errors
    ///
    /// Why not.
    fn before(&self, act: &Act) -> io::Result<()>;

    /// It was done, or was not. What was done stands, whatever becomes of the note.
    fn observe(&self, act: &Act, ended: Ended<'_>);
}

/// How an act ended.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    /// It was done.
    Done,
    /// A rule said no. Nothing was done.
    Refused(&'a (dyn Error + 'static)),
    /// A store, a key or a file failed. Seldom, a store does not know whether it was done.
    Failed(&'a (dyn Error + 'static)),
}

impl<'a> Ended<'a> {
    pub(crate) fn of<T, E: MayFail + 'static>(result: &'a Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) if error.is_failure() => Self::Failed(error),
            Err(error) => Self::Refused(error),
        }
    }
}

/// An error that says whether something failed, or a rule said no.
pub(crate) trait MayFail: Error {
    fn is_failure(&self) -> bool;
}

/// What is done, with everything that an entry in a log needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A person is given a key.
    RegisterKey {
        /// Who.
        person: PersonId,
        /// In which roles.
        roles: BTreeSet<Role>,
        /// The key.
        key: KeyId,
        /// Its algorithm.
        algorithm: CustodianAlgorithm,
    },
    /// A person is given other roles.
    SetRoles {
        /// Who.
        person: PersonId,
        /// The roles from now on.
        roles: BTreeSet<Role>,
    },
    /// A key's signatures are no longer to count.
    RevokeKey {
        /// Whose; nobody's, if that is why it was refused.
        person: Option<PersonId>,
        /// The key.
        key: KeyId,
    },
    /// A person signs with another key from now on.
    ReplaceKey {
        /// Who.
        person: PersonId,
        /// The key until now.
        old: KeyId,
        /// The key from now on.
        new: KeyId,
    },
    /// Something is asked for.
    Request(Box<Asked>),
    /// A custodian approves.
    Sign {
        /// The request.
        request: RequestRef,
        /// The signature.
        by: SignedBy,
        /// Whether it is the signature that was still needed: then every key that approved.
        decides: Option<Vec<KeyId>>,
    },
    /// A custodian says no.
    Reject {
        /// The request.
        request: RequestRef,
        /// The signature.
        by: SignedBy,
        /// How the request ends by that; `None` if that was not judged.
        closed: Option<Closed>,
    },
    /// A file with signatures was refused as a whole. Told of nothing else: what is taken is told one by one.
    Import {
        /// The request that it names.
        request: RequestRef,
        /// The keys that signed.
        keys: Vec<KeyId>,
    },
    /// An approval is used.
    Use {
        /// The request.
        request: RequestRef,
        /// When.
        at: Timestamp,
        /// What for.
        used_for: String,
        /// Every key that approved.
        signers: Vec<KeyId>,
    },
    /// An emergency rotation comes one step further.
    Emergency(Box<EmergencyAct>),
}

impl Act {
    /// The use of an approval, told again from what is stored: for a log in which it is missing.
    pub fn of_use(shown: &Shown, at: Timestamp, used_for: &str) -> Self {
        Self::Use {
            request: RequestRef::of(&shown.record.request),
            at,
            used_for: used_for.to_owned(),
            signers: shown.signers(),
        }
    }
}

/// What is asked for, as far as a log needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The request, if one was made.
    pub request: Option<RequestRef>,
    /// What is asked for.
    pub subject: Subject,
    /// For where.
    pub audience: Audience,
    /// By whom.
    pub requester: PersonId,
    /// Who has to agree, in words.
    pub quorum: String,
}

/// Which request; of one that there is not, the id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRef {
    /// Its id.
    pub id: RequestId,
    /// Its kind, what it is about, and its hash.
    pub about: Option<(Kind, String, Digest)>,
}

impl RequestRef {
    pub(crate) fn of(request: &Request) -> Self {
        let subject = request.subject();
        Self { id: request.id().clone(), about: Some((subject.kind(), subject.to_string(), request.hash())) }
    }
}

/// Whose signature, with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// Who; nobody, if the key is nobody's.
    pub person: Option<PersonId>,
    /// In which role, if that was found.
    pub role: Option<Role>,
    /// With which key.
    pub key: KeyId,
    /// When, as the signature says.
    pub signed: Timestamp,
}

/// A step of an emergency rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmergencyAct {
    /// Whose key; nobody's, if that is why it was refused.
    pub person: Option<PersonId>,
    /// The key that goes.
    pub old_key: KeyId,
    /// The key that comes, once it is known.
    pub new_key: Option<KeyId>,
    /// Why.
    pub reason: String,
    /// The step.
    pub step: RotationStep,
    /// How many requests the step is about.
    pub count: Option<u64>,
    /// Those requests, at most [`EmergencyAct::MAX_NAMED`] of them.
    pub requests: Vec<RequestId>,
}

impl EmergencyAct {
    /// How many requests are named in one entry.
    pub const MAX_NAMED: usize = 100;
}
