//! Where a request stands as time goes on, keys end, and people say no; and what an approval is good for offline.

use jiff::SignedDuration;

use super::fixture::*;
use crate::*;

fn approved(team: &Team) -> SignedRequest {
    let request = asked();
    let signatures = vec![
        team.risk.approves(&request, "risk_lead", 1),
        team.security.approves(&request, "security_lead", 2),
    ];
    SignedRequest::new(request, signatures)
}

#[test]
fn a_request_ends_with_its_time() {
    let team = Team::new();
    let signed = approved(&team);
    let state = |signatures: &[GivenSignature], minutes| {
        standing(&signed.request, signatures, None, &team.registry(), later(minutes)).state
    };
    let day = 24 * 60;
    for (count, minutes, expected) in [
        (0, day, State::Pending),
        (0, day + 1, State::Expired),
        (1, day, State::Partial),
        (1, day + 1, State::Expired),
        (2, 122, State::Approved),
        (2, 123, State::Expired),
    ] {
        assert_eq!(
            state(&signed.signatures[..count], minutes),
            expected,
            "{count} signatures, minute {minutes}"
        );
    }
    // Approved in the last minute, it can still be used in its window.
    let late = [
        team.risk.approves(&signed.request, "risk_lead", day),
        team.security.approves(&signed.request, "security_lead", day),
    ];
    assert_eq!(state(&late, day + 119), State::Approved);
}

#[test]
fn an_approval_falls_with_a_key_of_it() {
    let team = Team::new();
    let SignedRequest { request, mut signatures, .. } = approved(&team);
    let revoked = team.without(&team.risk, &KeyState::Revoked { at: later(3) });
    let stands = standing(&request, &signatures, None, &revoked, later(4));
    assert_eq!((stands.state, stands.approved_at), (State::Partial, None));
    // With a new key, the same person signs again.
    let again = Person::new("rita", &["risk_lead"]);
    let custodians = revoked.custodians().cloned().map(|mut custodian| {
        if custodian.person == again.name {
            custodian.keys.extend(again.custodian().keys);
        }
        custodian
    });
    let registry = Registry::new(custodians.collect::<Vec<_>>()).unwrap();
    signatures.push(again.approves(&request, "risk_lead", 5));
    let stands = standing(&request, &signatures, None, &registry, later(6));
    assert_eq!((stands.state, stands.approved_at), (State::Approved, Some(later(5))));
}

#[test]
fn one_no_is_enough_and_final_states_stay() {
    let team = Team::new();
    let SignedRequest { request, mut signatures, .. } = approved(&team);
    let (by, at) = (team.both.name.clone(), later(3));
    for (closed, state) in [
        (Closed::Rejected { at, by: by.clone() }, State::Rejected),
        (Closed::Revoked { at, by }, State::Revoked),
        (Closed::Consumed { at, used_for: "a change".to_owned() }, State::Consumed),
    ] {
        for minutes in [4, 100_000] {
            let stands = standing(&request, &signatures, Some(&closed), &team.registry(), later(minutes));
            assert_eq!(stands.state, state);
        }
    }
    let no = team.both.gives(&request, Decision::Reject, "risk_lead", 3);
    signatures.push(no.clone());
    assert_eq!(standing(&request, &signatures, None, &team.registry(), later(4)).state, State::Rejected);
    // Of somebody who may not decide, it means nothing.
    signatures.pop();
    signatures.push(GivenSignature { person: team.risk.name.clone(), ..no });
    assert_eq!(standing(&request, &signatures, None, &team.registry(), later(4)).state, State::Approved);
}

#[test]
fn an_approval_holds_for_one_thing_in_one_place_at_its_time() {
    let team = Team::new();
    let key = team.risk.key.public_key().key_id();
    let mut new = new_override();
    new.subject = Subject::KeysAdd(key);
    new.audience = "host:web-1".parse().unwrap();
    new.failed_gates.clear();
    let request = Request::new(new, noon()).unwrap();
    let signatures = vec![
        team.risk.approves(&request, "risk_lead", 1),
        team.security.approves(&request, "security_lead", 2),
    ];
    let signed = SignedRequest::new(request.clone(), signatures);
    let here: [Audience; 2] = ["host:web-1", "group:web"].map(|name| name.parse().unwrap());
    let check = |subject: &Subject, here: &[Audience], rule: &Quorum, minutes| {
        verify(&signed, subject, here, &team.registry(), rule, later(minutes))
    };
    let rule = Quorum::classic();
    let subject = Subject::KeysAdd(key);
    let verified = check(&subject, &here, &rule, 3).unwrap();
    assert_eq!((verified.id(), verified.hash()), (request.id(), request.hash()));
    assert_eq!(verified.approvals().len(), 2);
    assert_eq!(verified.use_until(), later(122));

    let other = team.security.key.public_key().key_id();
    for subject in [Subject::KeysAdd(other), Subject::KeysRemove(key), Subject::KeysRevoke(key)] {
        assert!(matches!(check(&subject, &here, &rule, 3), Err(ApprovalRefused::OtherSubject { .. })));
    }
    let elsewhere: [Audience; 1] = ["host:web-2".parse().unwrap()];
    assert!(matches!(check(&subject, &elsewhere, &rule, 3), Err(ApprovalRefused::OtherAudience { .. })));
    assert!(matches!(check(&subject, &[], &rule, 3), Err(ApprovalRefused::OtherAudience { .. })));
    assert!(matches!(check(&subject, &here, &rule, -6), Err(ApprovalRefused::NotYet { .. })));
    assert!(matches!(check(&subject, &here, &rule, 123), Err(ApprovalRefused::UseOver { .. })));
    let larger = Quorum::new([("security_lead".parse().unwrap(), 2)]).unwrap();
    assert!(matches!(check(&subject, &here, &larger, 3), Err(ApprovalRefused::BelowRule { .. })));
    let revoked = team.without(&team.security, &KeyState::Revoked { at: later(1) });
    let refused = verify(&signed, &subject, &here, &revoked, &rule, later(3)).unwrap_err();
    assert!(matches!(&refused, ApprovalRefused::NotEnough { faults, .. } if faults.len() == 1), "{refused}");
    assert!(refused.help().unwrap().contains("revoked"), "{:?}", refused.help());
    let late = verify(&signed, &subject, &here, &revoked, &rule, later(3000)).unwrap_err();
    assert!(matches!(late, ApprovalRefused::Expired { .. }));
}

#[test]
fn the_classic_pair_is_told_which_check_failed() {
    let team = Team::new();
    let pair = |risk: &Person, security: &Person| {
        DualSignatureValidator::new(
            (risk.name.clone(), risk.key.public_key().clone()),
            (security.name.clone(), security.key.public_key().clone()),
        )
    };
    assert!(pair(&team.risk, &team.risk).is_err());
    let namesake = Person { name: team.security.name.clone(), ..Person::new("x", &["risk_lead"]) };
    assert!(pair(&namesake, &team.security).is_err());
    let validator = pair(&team.risk, &team.security).unwrap();
    let SignedRequest { request, signatures, .. } = approved(&team);
    assert!(validator.validate(&request, &signatures, later(3)).is_valid());
    let failed = |signatures: &[GivenSignature], minutes| {
        validator.validate(&request, signatures, later(minutes)).failed()
    };
    assert_eq!(failed(&[], 3), ["risk_lead", "security_lead"]);
    assert_eq!(failed(&signatures[..1], 3), ["security_lead"]);
    assert_eq!(failed(&signatures, 24 * 60 + 1), ["request"]);
    assert_eq!(failed(&signatures, -6), ["request", "risk_lead", "security_lead"]);
    let swapped = [
        GivenSignature { signature: signatures[1].signature.clone(), ..signatures[0].clone() },
        signatures[1].clone(),
    ];
    assert_eq!(failed(&swapped, 3), ["risk_lead"]);
    let twice = [signatures[0].clone(), signatures[0].clone(), signatures[1].clone()];
    assert_eq!(failed(&twice, 3), ["risk_lead"]);
    let no = team.security.gives(&request, Decision::Reject, "security_lead", 2);
    assert_eq!(failed(&[signatures[0].clone(), no], 3), ["security_lead"]);
}

#[test]
fn refuses_requests_that_break_a_rule() {
    let rule = |change: &dyn Fn(&mut NewRequest)| {
        let mut new = new_override();
        change(&mut new);
        match Request::new(new, noon()) {
            Err(NewRequestError::Rule(rule)) => rule,
            other => panic!("{other:?}"),
        }
    };
    let gates = |names: &[String]| names.iter().map(|name| name.parse().unwrap()).collect();
    let final_gate = rule(&|new| {
        new.failed_gates.insert("complexity".parse().unwrap());
    });
    assert!(matches!(final_gate, RequestRule::FinalGate { .. }));
    let many: Vec<_> = (0..17).map(|n| format!("g{n}")).collect();
    assert!(matches!(rule(&|new| new.failed_gates = gates(&many)), RequestRule::TooManyGates { .. }));
    let of_hosts = rule(&|new| new.audience = "host:web-1".parse().unwrap());
    assert!(matches!(of_hosts, RequestRule::Audience { .. }));
    let gates_of_key = rule(&|new| {
        new.subject = Subject::PolicyEpoch(2);
        new.audience = "group:web".parse().unwrap();
    });
    assert!(matches!(gates_of_key, RequestRule::GatesOfOther { .. }));
    assert!(matches!(rule(&|new| new.algorithms.clear()), RequestRule::NoAlgorithm));
    for duration in [
        SignedDuration::ZERO,
        SignedDuration::from_secs(59),
        SignedDuration::from_secs(-86_400),
        SignedDuration::from_millis(60_500),
        SignedDuration::from_hours(30 * 24 + 1),
        SignedDuration::MAX,
    ] {
        assert!(matches!(rule(&|new| new.lifetime = duration), RequestRule::Lifetime { .. }), "{duration}");
        assert!(matches!(rule(&|new| new.use_within = duration), RequestRule::Lifetime { .. }), "{duration}");
    }
    let early = Request::new(new_override(), jiff::Timestamp::MIN);
    assert!(matches!(early, Err(NewRequestError::Rule(RequestRule::Clock { .. }))));
    let late = Request::new(new_override(), jiff::Timestamp::MAX);
    assert!(late.is_err());
}
