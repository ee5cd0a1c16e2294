//! The few lines that a custodian reads and signs.

use aegis_crypto::{CustodianAlgorithm, Statement};
use jiff::Timestamp;

use crate::name::{PersonId, Role};
use crate::request::Request;

/// Which way a custodian decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// For it.
    Approve,
    /// Against it. One is enough.
    Reject,
}

impl Decision {
    /// The word in statements and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        [Self::Approve, Self::Reject].into_iter().find(|decision| decision.as_str() == word)
    }
}

/// The statement by which `signer`, in `role`, decides on `request` at the time `signed`.
///
/// It is at most [`Statement::MAX_LEN`] bytes of printable ASCII, and names everything that the decision depends on;
/// the last line is the request's hash, which covers the justification and all gates as well.
pub fn statement(
    request: &Request,
    decision: Decision,
    signer: &PersonId,
    role: &Role,
    algorithm: CustodianAlgorithm,
    signed: Timestamp,
) -> Statement {
    let text = format!(
        "aegis-approval-v1\n\
         decision: {decision}\n\
         kind: {kind}\n\
         subject: {subject}\n\
         for: {audience}\n\
         requested by: {requester}\n\
         signer: {signer}\n\
         role: {role}\n\
         signed: {signed}\n\
         expires: {expires}\n\
         risk: {risk}\n\
         {algorithm}\n\
         request: {id}\n\
         hash: {hash}",
        decision = decision.as_str(),
        kind = request.subject().kind(),
        subject = request.subject(),
        audience = request.audience(),
        requester = request.requester(),
        expires = request.expires(),
        risk = request.risk(),
        algorithm = Statement::algorithm_line(algorithm),
        id = request.id(),
        hash = request.hash(),
    );
    Statement::new(text)
        .expect("every part is bounded printable ASCII in one line, and one line names the algorithm")
}
