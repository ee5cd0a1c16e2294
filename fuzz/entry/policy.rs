//! Any bytes as a policy.

use aegis_policy::{Limits, diff, normalise, parse};

/// Accepted or refused, never a panic; what is accepted has one normal form, and that form means the same.
pub(crate) fn run(bytes: &[u8]) {
    let limits = Limits::default();
    match parse(bytes, &limits) {
        Ok(policy) => {
            let normal = normalise(&policy);
            let again = parse(&normal, &limits).expect("the normal form of a policy is a policy");
            assert_eq!(normalise(&again), normal, "normalising twice changes nothing");
            let diff = diff(&policy, &again);
            assert!(diff.added.is_empty() && diff.removed.is_empty(), "normalising changes no rule");
        }
        Err(errors) => assert!(errors.total > 0, "a refusal says why"),
    }
}
