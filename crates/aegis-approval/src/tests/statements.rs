//! What is signed fits on a screen and says everything.

use std::collections::BTreeSet;

use aegis_crypto::{CustodianAlgorithm, Statement};
use proptest::prelude::*;

use super::fixture::*;
use crate::*;

#[test]
fn a_statement_reads_like_this() {
    let request = asked();
    let shown = statement(
        &request,
        Decision::Approve,
        &"rita".parse().unwrap(),
        &"risk_lead".parse().unwrap(),
        CustodianAlgorithm::Bip322,
        later(1),
    );
    let expected = format!(
        "aegis-approval-v1\ndecision: approve\nkind: override\nsubject: PROP-7: raise the limit\n\
         for: deployment:production\nrequested by: ann\nsigner: rita\nrole: risk_lead\n\
         signed: 2026-11-26T12:01:00Z\nexpires: 2026-11-27T12:00:00Z\n\
         risk: this goes ahead although 2 gates failed: drift, risk\nalgorithm: bip322-p2tr\nrequest: {}\nhash: {}",
        request.id(),
        request.hash()
    );
    assert_eq!(shown.as_str(), expected);
}

#[test]
fn the_largest_statements_fit() {
    let longest = "x".repeat(64);
    let hash = "a".repeat(64);
    let subjects = [
        (Kind::Override, "y".repeat(Line::MAX_LEN)),
        (Kind::KeysAdd, hash.clone()),
        (Kind::KeysRemove, hash.clone()),
        (Kind::KeysRevoke, hash.clone()),
        (Kind::PolicyEpoch, u32::MAX.to_string()),
        (Kind::CustodiansSet, hash.clone()),
        (Kind::CustodiansOff, hash.clone()),
        (Kind::EnforcementOff, hash.clone()),
        (Kind::DekDestroy, "dek-v4294967295-99991231".to_owned()),
        (Kind::KekRetire, hash),
    ];
    assert_eq!(subjects.len(), Kind::ALL.len());
    for (kind, subject) in subjects {
        let place = if kind.is_of_hosts() { "group" } else { "deployment" };
        let gates: BTreeSet<Gate> = match kind {
            Kind::Override => (10..26).map(|n| format!("{}{n}", "g".repeat(46)).parse().unwrap()).collect(),
            _ => BTreeSet::new(),
        };
        let role: Role = "r".repeat(32).parse().unwrap();
        let new = NewRequest {
            subject: Subject::parse(kind, &subject).unwrap(),
            audience: format!("{place}:{longest}").parse().unwrap(),
            failed_gates: gates,
            requester: longest.parse().unwrap(),
            quorum: Quorum::new([(role.clone(), 2)]).unwrap(),
            ..new_override()
        };
        let request = Request::new(new, noon()).unwrap();
        for algorithm in CustodianAlgorithm::ALL {
            for decision in [Decision::Approve, Decision::Reject] {
                let signer = longest.parse().unwrap();
                let shown = statement(&request, decision, &signer, &role, algorithm, later(1));
                assert!(shown.as_str().len() <= Statement::MAX_LEN);
            }
        }
        assert!(request.to_json().len() <= Request::MAX_LEN);
    }
    // Nor is a proof of possession too long, whatever is put into it.
    let key = Person::with(CustodianAlgorithm::Ed25519MlDsa65, "x", &["x"]).key.public_key().clone();
    let roles: BTreeSet<Role> = (10..60).map(|n| format!("{}{n}", "r".repeat(30)).parse().unwrap()).collect();
    proof_statement(&longest.parse().unwrap(), &roles, &key, jiff::Timestamp::MIN);
    // A justification of the largest size is in the request.
    let justification = "\u{1F600}".repeat(Justification::MAX_LEN / 4).parse().unwrap();
    let request = Request::new(NewRequest { justification, ..new_override() }, noon()).unwrap();
    assert_eq!(Request::from_json(&request.to_json()).unwrap(), request);
}

proptest! {
    /// Two requests with one hash would be one request.
    #[test]
    fn any_difference_changes_the_hash(
        subject in "[!-~]{1,40}", justification in "[a-zäöü\n \"\\\\]{0,60}x", audience in "[a-z]{1,8}", secs in 60_i64..2_000_000
    ) {
        let Ok(justification) = justification.parse::<Justification>() else { return Ok(()) };
        let subject = Subject::Override(subject.parse().unwrap());
        let new = NewRequest {
            subject,
            justification,
            audience: format!("deployment:{audience}").parse().unwrap(),
            lifetime: jiff::SignedDuration::from_secs(secs),
            ..new_override()
        };
        let one = Request::new(new.clone(), noon()).unwrap();
        let read = Request::from_json(&one.to_json()).unwrap();
        prop_assert_eq!(&read, &one);
        prop_assert_eq!(read.hash(), one.hash());
        let again = Request::new(new, noon()).unwrap();
        prop_assert_ne!(again.hash(), one.hash());
    }
}
