//! The twelve fields of the key management guide, in its order.

use super::{Field, Priority, Selector};

const GUIDE: [(&str, &str, Priority); 12] = [
    ("actor_assignments", "Role-to-actor mapping for workflow", Priority::Critical),
    ("override_justification", "Why override was requested", Priority::Critical),
    ("risk_lead_signature", "Risk Lead's cryptographic signature", Priority::Critical),
    ("security_lead_signature", "Security Lead's cryptographic signature", Priority::Critical),
    ("decision_actor", "Actor who made the governance decision", Priority::Critical),
    ("decision_rationale", "Rationale behind the governance decision", Priority::Critical),
    ("workflow_id", "Workflow instance identifier", Priority::High),
    ("author_id", "Proposal author identifier", Priority::High),
    ("actor_id", "Actor/caller identifier", Priority::High),
    ("combined_hash", "Combined signature hash", Priority::High),
    ("requested_by", "Override requestor", Priority::Medium),
    ("signer_id", "Cryptographic signer identifier", Priority::Medium),
];

pub(super) fn guide() -> Vec<Field> {
    GUIDE
        .iter()
        .map(|(name, description, priority)| Field {
            selector: Selector::Name((*name).to_owned()),
            description: (*description).to_owned(),
            priority: *priority,
        })
        .collect()
}
