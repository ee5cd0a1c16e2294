//! An approval is used, once, for what it approves.

use std::sync::Arc;

use aegis_approval::{
    ApprovalRefused, ApprovalRules, Approvals, ApprovalsReader, Closed, KeyState, Line, NewRequest, Quorum,
    Request, State, Subject, UseError,
};
use jiff::SignedDuration;

use crate::failing::Failing;
use crate::fixture::{Desk, later, limit, new_override, noon, roles, with_store};

fn purpose() -> Line {
    "deploy-7".parse().unwrap()
}

fn use_at(desk: &Desk, request: &Request, minutes: i64) -> Result<(), UseError> {
    desk.approvals.use_approval(request.id(), &limit(), &purpose(), later(minutes)).map(drop)
}

fn refusal(error: UseError) -> ApprovalRefused {
    match error {
        UseError::Refused { source, .. } => *source,
        other => panic!("{other}"),
    }
}

#[test]
fn is_used_once() {
    let desk = Desk::new();
    let request = desk.approved();
    desk.approvals.check_approval(request.id(), &limit(), later(2)).unwrap();
    use_at(&desk, &request, 2).unwrap();
    assert_eq!(desk.state(&request), State::Consumed);
    let closed = Closed::Consumed { at: later(2), used_for: "deploy-7".to_owned() };
    assert_eq!(desk.closed(request.id()), Some(closed.clone()));
    let again = use_at(&desk, &request, 3).unwrap_err();
    assert!(matches!(&again, UseError::Closed { closed: found, .. } if *found == closed), "{again}");
    assert_eq!(
        desk.told.take(),
        ["request", "sign rita", "sign sam, decided", "use by 2", "use by 2: refused"]
    );
    // Nobody takes back what was used.
    assert!(desk.reject(&request, &desk.rita).is_err());
    assert_eq!(desk.state(&request), State::Consumed);
}

#[test]
fn is_used_for_exactly_what_it_approves() {
    let desk = Desk::new();
    let request = desk.approved();
    let other = Subject::Override("PROP-8: raise the limit".parse().unwrap());
    let refused = desk.approvals.use_approval(request.id(), &other, &purpose(), later(2)).unwrap_err();
    assert!(matches!(refusal(refused), ApprovalRefused::OtherSubject { .. }));
    // The same store, opened under the name of another deployment.
    let rules = ApprovalRules::classic("deployment:staging".parse().unwrap()).unwrap();
    let staging = Approvals::new(ApprovalsReader::new(Arc::clone(desk.approvals.store()), rules));
    let refused = staging.use_approval(request.id(), &limit(), &purpose(), later(2)).unwrap_err();
    assert!(matches!(refusal(refused), ApprovalRefused::OtherAudience { .. }));
    // What is for a host is used there.
    let key = Subject::KeysAdd(desk.rita.key_id());
    let for_host = NewRequest {
        subject: key.clone(),
        audience: "host:web-1".parse().unwrap(),
        failed_gates: Default::default(),
        ..new_override()
    };
    let for_host = desk.approvals.ask(for_host, noon()).unwrap();
    desk.approve_both(&for_host);
    let refused = desk.approvals.use_approval(for_host.id(), &key, &purpose(), later(2)).unwrap_err();
    assert!(matches!(refusal(refused), ApprovalRefused::OtherAudience { .. }));
    let unknown = "req-00000000000000000000000000000000".parse().unwrap();
    let refused = desk.approvals.use_approval(&unknown, &limit(), &purpose(), later(2)).unwrap_err();
    assert!(matches!(refused, UseError::NoSuchRequest { .. }));
    use_at(&desk, &request, 2).unwrap();
}

#[test]
fn is_used_in_its_time_whatever_became_of_the_clock() {
    let desk = Desk::new();
    let request = desk.approved();
    // Signed at 12:01, to be used within two hours.
    assert!(matches!(refusal(use_at(&desk, &request, 122).unwrap_err()), ApprovalRefused::UseOver { .. }));
    // Set back, so that it was signed in the future; or not even asked for.
    assert!(matches!(refusal(use_at(&desk, &request, -6).unwrap_err()), ApprovalRefused::NotYet { .. }));
    let late = desk.ask();
    let sign = |person: &crate::fixture::Person, minutes| {
        desk.approvals
            .sign(late.id(), aegis_approval::Decision::Approve, None, &person.key, later(minutes))
            .unwrap()
    };
    sign(&desk.rita, 30);
    sign(&desk.sam, 31);
    match refusal(use_at(&desk, &late, 20).unwrap_err()) {
        ApprovalRefused::NotEnough { faults, .. } => assert_eq!(faults.len(), 2),
        other => panic!("{other}"),
    }
    use_at(&desk, &late, 31).unwrap();
    // Never signed by enough people.
    let request = desk.ask();
    desk.approve(&request, &desk.rita, "risk_lead").unwrap();
    assert!(matches!(refusal(use_at(&desk, &request, 2).unwrap_err()), ApprovalRefused::NotEnough { .. }));
    let over = use_at(&desk, &request, 24 * 60 + 1).unwrap_err();
    assert!(matches!(refusal(over), ApprovalRefused::Expired { .. }));
    assert_eq!(desk.state(&request), State::Partial);
}

#[test]
fn falls_with_a_key_or_role_of_those_who_signed() {
    for change in ["revoked", "replaced", "no longer in the role"] {
        let desk = Desk::new();
        let request = desk.approved();
        match change {
            "revoked" => drop(desk.approvals.revoke_key(desk.sam.key_id(), later(2)).unwrap()),
            "replaced" => desk
                .approvals
                .replace_key(desk.sam.key_id(), &desk.sam.again().registration(), later(2))
                .unwrap(),
            _ => desk.approvals.set_roles(&desk.sam.name, &roles(&["counsel"])).unwrap(),
        }
        match refusal(use_at(&desk, &request, 3).unwrap_err()) {
            ApprovalRefused::NotEnough { faults, .. } => assert_eq!(faults.len(), 1, "{change}"),
            other => panic!("{change}: {other}"),
        }
        // Another security lead makes it good.
        assert!(desk.approve(&request, &desk.bo, "security_lead").unwrap().decided, "{change}");
        use_at(&desk, &request, 3).unwrap();
    }
}

#[test]
fn falls_also_in_the_instant_between_judging_and_using() {
    for change in ["revoked", "rejected", "used"] {
        let desk = Desk::new();
        let request = desk.approved();
        let (id, other) = (request.id().clone(), desk.opened_again());
        let key = aegis_crypto::CustodianPrivateKey::from_bytes(
            desk.sam.key.algorithm(),
            desk.sam.key.dangerous_bytes(),
        )
        .unwrap();
        let failing = Failing::between(Arc::clone(desk.approvals.store()), "close", move || match change {
            "revoked" => drop(other.revoke_key(key.public_key().key_id(), later(2)).unwrap()),
            "rejected" => {
                drop(other.sign(&id, aegis_approval::Decision::Reject, None, &key, later(2)).unwrap());
            }
            _ => drop(other.use_approval(&id, &limit(), &"deploy-6".parse().unwrap(), later(2)).unwrap()),
        });
        let raced = with_store(failing).use_approval(request.id(), &limit(), &purpose(), later(2));
        match (change, raced.unwrap_err()) {
            ("revoked", UseError::Refused { source, .. }) => {
                assert!(matches!(*source, ApprovalRefused::NotEnough { .. }));
            }
            ("rejected", UseError::Closed { closed: Closed::Revoked { .. }, .. }) => {}
            ("used", UseError::Closed { closed: Closed::Consumed { used_for, .. }, .. }) => {
                assert_eq!(used_for, "deploy-6");
            }
            (change, error) => panic!("{change}: {error}"),
        }
    }
}

#[test]
fn a_rule_that_was_tightened_since_holds_for_what_is_used_now() {
    let desk = Desk::new();
    let request = desk.approved();
    let more = Quorum::new([("risk_lead".parse().unwrap(), 2), ("security_lead".parse().unwrap(), 1)]);
    let rules = ApprovalRules::new(
        "deployment:production".parse().unwrap(),
        more.unwrap(),
        std::collections::BTreeMap::new(),
    );
    let strict = Approvals::new(ApprovalsReader::new(Arc::clone(desk.approvals.store()), rules.unwrap()));
    let refused = strict.use_approval(request.id(), &limit(), &purpose(), later(2)).unwrap_err();
    assert!(matches!(refusal(refused), ApprovalRefused::BelowRule { .. }));
    desk.approve(&request, &desk.bo, "risk_lead").unwrap();
    strict.use_approval(request.id(), &limit(), &purpose(), later(2)).unwrap();
}

#[test]
fn a_note_that_cannot_be_made_keeps_it_from_being_used() {
    struct Full;
    impl aegis_approval::Observer for Full {
        fn before(&self, _act: &aegis_approval::Act) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn observe(&self, _act: &aegis_approval::Act, ended: aegis_approval::Ended<'_>) {
            assert!(matches!(ended, aegis_approval::Ended::Failed(_)));
        }
    }
    let desk = Desk::new();
    let request = desk.approved();
    let full = desk.opened_again().observed_by(Arc::new(Full));
    full.use_approval(request.id(), &limit(), &purpose(), later(2)).unwrap_err();
    full.revoke_key(desk.sam.key_id(), later(2)).unwrap_err();
    full.register(&desk.sam.again().registration(), later(2)).unwrap_err();
    full.ask(new_override(), noon()).unwrap_err();
    full.set_roles(&desk.sam.name, &roles(&["counsel"])).unwrap_err();
    full.sign(request.id(), aegis_approval::Decision::Reject, None, &desk.sam.key, later(2)).unwrap_err();
    assert_eq!(desk.state(&request), State::Approved);
    let registry = desk.approvals.registry().unwrap();
    assert!(registry.holder(desk.sam.key_id()).is_some_and(|(_, key)| key.state == KeyState::Active));
    let long = NewRequest { lifetime: SignedDuration::from_hours(1), ..new_override() };
    desk.approvals.ask(long, noon()).unwrap();
}
