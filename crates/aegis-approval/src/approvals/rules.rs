//! The rules of a deployment: how many people at least, and for which deployment it is.

use std::collections::BTreeMap;

use crate::name::Audience;
use crate::quorum::{Quorum, QuorumError};
use crate::subject::Kind;

/// The least quorum of each kind of request, and the name of the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRules {
    deployment: Audience,
    otherwise: Quorum,
    least: BTreeMap<Kind, Quorum>,
}

impl ApprovalRules {
    /// Rules for `deployment`: of each kind `least`, or else `otherwise`.
    ///
    /// # Errors
    ///
    /// [`RulesError`] if that is the name of a host or a group of hosts.
    pub fn new(
        deployment: Audience,
        otherwise: Quorum,
        least: BTreeMap<Kind, Quorum>,
    ) -> Result<Self, RulesError> {
        if deployment.is_of_hosts() {
            return Err(RulesError::OfHosts { audience: deployment });
        }
        Ok(Self { deployment, otherwise, least })
    }

    /// One risk lead and one security lead for every kind.
    ///
    /// # Errors
    ///
    /// [`RulesError`].
    pub fn classic(deployment: Audience) -> Result<Self, RulesError> {
        Self::new(deployment, Quorum::classic(), BTreeMap::new())
    }

    /// `deployment:NAME`, for which requests of a deployment have to be.
    pub const fn deployment(&self) -> &Audience {
        &self.deployment
    }

    /// The fewest people who may decide over that.
    pub fn least(&self, kind: Kind) -> &Quorum {
        self.least.get(&kind).unwrap_or(&self.otherwise)
    }

    /// What somebody asks for, raised to what the rules ask for.
    ///
    /// # Errors
    ///
    /// A [`QuorumError`] if that is more than can be asked for.
    pub fn raise(&self, kind: Kind, asked: &Quorum) -> Result<Quorum, QuorumError> {
        self.least(kind).and(asked)
    }
}

/// Why there cannot be such rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A host has rules of its own.
    #[error("{audience} is not the name of a deployment")]
    OfHosts {
        /// The name.
        audience: Audience,
    },
}
