//! An approval is used, once.

use jiff::Timestamp;

use super::{
    Approvals, ApprovalsReader, LookupError, NO_SUCH_REQUEST, NotStored, Shown, Tried, until_stored,
};
use crate::canonical::to_second;
use crate::name::RequestId;
use crate::observer::{Act, MayFail, RequestRef};
use crate::registry::Registry;
use crate::signed::SignedRequest;
use crate::standing::Closed;
use crate::subject::Subject;
use crate::text::Line;
use crate::verify::{ApprovalRefused, VerifiedApproval, verify};

impl ApprovalsReader {
    /// Whether a request approves `subject` for this deployment, now. It is not used by that.
    ///
    /// # Errors
    ///
    /// A [`UseError`].
    pub fn check_approval(
        &self,
        id: &RequestId,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<VerifiedApproval, UseError> {
        let shown = self.show(id, now).map_err(UseError::of_lookup)?;
        let registry = self.registry().map_err(|error| UseError::NotStored(NotStored::Store(error)))?;
        self.judge_use(&shown, subject, &registry, now)
    }

    fn judge_use(
        &self,
        shown: &Shown,
        subject: &Subject,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<VerifiedApproval, UseError> {
        let record = &shown.record;
        if let Some(closed) = &record.closed {
            return Err(UseError::Closed { id: record.request.id().clone(), closed: closed.clone() });
        }
        let signed = SignedRequest::new(record.request.clone(), record.signatures.clone());
        let here = std::slice::from_ref(self.rules.deployment());
        let least = self.rules.least(subject.kind());
        verify(&signed, subject, here, registry, least, now)
            .map_err(|source| UseError::Refused { id: record.request.id().clone(), source: Box::new(source) })
    }
}

impl Approvals {
    /// Uses an approval of exactly `subject`, for this deployment. It is judged and closed under one and the same state of
    /// the custodians and of the request, so that of several who try at once one succeeds.
    ///
    /// # Errors
    ///
    /// A [`UseError`]; it was not used by this call.
    pub fn use_approval(
        &self,
        id: &RequestId,
        subject: &Subject,
        used_for: &Line,
        now: Timestamp,
    ) -> Result<VerifiedApproval, UseError> {
        let at = to_second(now);
        let used = |request, signers| Act::Use { request, at, used_for: used_for.to_string(), signers };
        let mut act = used(RequestRef { id: id.clone(), about: None }, Vec::new());
        let done = until_stored(|| {
            let (registry, registry_revision) = self.registry_now()?;
            let record = self.store.request(id).map_err(NotStored::Store)?;
            let record = record.ok_or_else(|| UseError::NoSuchRequest { id: id.clone() })?;
            let shown = super::judged(record, &registry, now);
            act = used(RequestRef::of(&shown.record.request), shown.signers());
            let approval = self.judge_use(&shown, subject, &registry, now)?;
            self.before(&act)?;
            let closed = Closed::Consumed { at, used_for: used_for.to_string() };
            let stored = self.store.close(id, shown.record.revision, registry_revision, &closed, None);
            Ok(Tried::of(stored, approval)?)
        });
        self.told(&act, done)
    }
}

/// Why an approval cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// There is none of that id.
    #[error("there is no request {id}")]
    NoSuchRequest {
        /// The id.
        id: RequestId,
    },
    /// It was used, rejected or taken back.
    #[error("the request {id} was {}", super::signing::ended(closed))]
    Closed {
        /// The request.
        id: RequestId,
        /// How it ended.
        closed: Closed,
    },
    /// It does not approve this, here, now.
    #[error("the request {id} cannot be used")]
    Refused {
        /// The request.
        id: RequestId,
        /// Why.
        source: Box<ApprovalRefused>,
    },
    /// It was not stored.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

impl MayFail for UseError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::NotStored(_))
    }
}

impl UseError {
    fn of_lookup(error: LookupError) -> Self {
        match error {
            LookupError::NoSuchRequest { id } => Self::NoSuchRequest { id },
            LookupError::Store(error) => Self::NotStored(NotStored::Store(error)),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoSuchRequest { .. } => Some(NO_SUCH_REQUEST.to_owned()),
            Self::Closed { .. } => Some("an approval is used once: make a new request".to_owned()),
            Self::Refused { source, .. } => source.help(),
            Self::NotStored(error) => error.help(),
        }
    }
}
