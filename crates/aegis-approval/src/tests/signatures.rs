//! A signature counts for one person, key, role, time, decision and request, and for nothing else.

use aegis_crypto::CustodianAlgorithm;
use jiff::SignedDuration;

use super::fixture::*;
use crate::*;

fn state_of(request: &Request, signatures: &[GivenSignature], team: &Team, minutes: i64) -> Standing {
    standing(request, signatures, None, &team.registry(), later(minutes))
}

#[test]
fn two_people_in_two_roles_approve() {
    let (team, request) = (Team::new(), asked());
    let first = team.risk.approves(&request, "risk_lead", 1);
    let second = team.security.approves(&request, "security_lead", 2);
    assert_eq!(state_of(&request, &[], &team, 3).state, State::Pending);
    let partial = state_of(&request, std::slice::from_ref(&first), &team, 3);
    assert_eq!(partial.state, State::Partial);
    assert_eq!(
        partial.missing.iter().map(|(role, n)| (role.as_str(), *n)).collect::<Vec<_>>(),
        [("security_lead", 1)]
    );
    let approved = state_of(&request, &[second.clone(), first.clone()], &team, 3);
    assert_eq!(approved.state, State::Approved);
    assert_eq!(approved.approved_at, Some(later(2)));
    assert_eq!(approved.use_until, Some(later(2) + SignedDuration::from_hours(2)));
    assert!(approved.void.is_empty());
}

/// A person, not a signature, is counted: whoever signs twice, in two roles, or with two keys, is one.
#[test]
fn one_person_counts_once() {
    let (mut team, request) = (Team::new(), asked());
    let roles = [("risk_lead", "security_lead"), ("security_lead", "risk_lead"), ("risk_lead", "risk_lead")];
    for (one, other) in roles {
        let given = [team.both.approves(&request, one, 1), team.both.approves(&request, other, 2)];
        let stands = state_of(&request, &given, &team, 3);
        assert_eq!(stands.state, State::Partial, "{one} {other}");
        assert!(matches!(&stands.void[..], [(1, SignatureFault::SamePerson { .. })]), "{:?}", stands.void);
    }
    // Two keys of one person.
    let second = Person::new("bo", &["risk_lead", "security_lead"]);
    let given = [team.both.approves(&request, "risk_lead", 1), second.approves(&request, "security_lead", 2)];
    let mut bo = team.both.custodian();
    bo.keys.extend(second.custodian().keys);
    let registry = Registry::new([bo]).unwrap();
    assert_eq!(standing(&request, &given, None, &registry, later(3)).state, State::Partial);
    // The same key registered for two people is not even taken.
    team.security.key = Person::new("x", &["risk_lead"]).key;
    let mut other = team.security.custodian();
    other.keys = team.risk.custodian().keys;
    let shared = Registry::new([team.risk.custodian(), other]).unwrap_err();
    assert!(matches!(shared, RegistryError::SharedKey { .. }));
}

#[test]
fn refuses_a_signature_that_is_not_for_exactly_this() {
    let (team, request) = (Team::new(), asked());
    let registry = team.registry();
    let good = team.risk.approves(&request, "risk_lead", 10);
    assert_eq!(check_signature(&request, &good, &registry, later(11)), Ok(()));
    let is_forged = |given: &GivenSignature| {
        matches!(
            check_signature(&request, given, &registry, later(11)),
            Err(SignatureFault::NotAuthentic { .. })
        )
    };
    // For another request that differs in nothing but id and nonce, for another audience, of a role, time or decision that
    // was changed afterwards, by another key.
    assert!(is_forged(&team.risk.approves(&asked(), "risk_lead", 10)));
    let mut elsewhere = new_override();
    elsewhere.audience = "deployment:staging".parse().unwrap();
    let elsewhere = Request::new(elsewhere, noon()).unwrap();
    assert!(is_forged(&team.risk.approves(&elsewhere, "risk_lead", 10)));
    assert!(is_forged(&GivenSignature { signed: later(9), ..good.clone() }));
    assert!(is_forged(&GivenSignature { decision: Decision::Reject, ..good.clone() }));
    let both = team.both.approves(&request, "risk_lead", 10);
    assert!(is_forged(&GivenSignature { role: "security_lead".parse().unwrap(), ..both }));
    let other_key = team.security.approves(&request, "security_lead", 10);
    assert!(is_forged(&GivenSignature { signature: other_key.signature, ..good.clone() }));
    // The proof of possession is no approval.
    let registration =
        Registration::new(&team.risk.key, team.risk.name.clone(), team.risk.roles.clone(), later(10))
            .unwrap();
    let json: serde_json::Value = serde_json::from_str(&registration.to_json()).unwrap();
    let proof = json["proof"].as_str().unwrap().parse().unwrap();
    assert!(is_forged(&GivenSignature { signature: proof, ..good }));
}

#[test]
fn refuses_a_signature_of_somebody_who_may_not_decide() {
    let (team, request) = (Team::new(), asked());
    let stranger = Person::new("eve", &["risk_lead"]);
    let fault = |registry: &Registry, given: &GivenSignature, minutes| {
        check_signature(&request, given, registry, later(minutes)).unwrap_err()
    };
    let registry = team.registry();
    let by_requester = team.asking.approves(&request, "risk_lead", 1);
    assert!(matches!(fault(&registry, &by_requester, 2), SignatureFault::Requester { .. }));
    let by_stranger = stranger.approves(&request, "risk_lead", 1);
    assert!(matches!(fault(&registry, &by_stranger, 2), SignatureFault::UnknownPerson { .. }));
    let key_of_another = GivenSignature { person: team.risk.name.clone(), ..by_stranger };
    assert!(matches!(fault(&registry, &key_of_another, 2), SignatureFault::UnknownKey { .. }));
    let not_held = team.risk.approves(&request, "security_lead", 1);
    assert!(matches!(fault(&registry, &not_held, 2), SignatureFault::RoleNotHeld { .. }));
    let not_asked = team.risk.approves(&request, "auditor", 1);
    assert!(matches!(fault(&registry, &not_asked, 2), SignatureFault::RoleNotAsked { .. }));
    let good = team.risk.approves(&request, "risk_lead", 1);
    let revoked = team.without(&team.risk, &KeyState::Revoked { at: later(5) });
    assert!(matches!(fault(&revoked, &good, 6), SignatureFault::Revoked { .. }));
    let replaced = KeyState::Replaced { at: later(5), by: team.security.key.public_key().key_id() };
    assert!(matches!(fault(&team.without(&team.risk, &replaced), &good, 6), SignatureFault::Replaced { .. }));
    let mut one_algorithm = new_override();
    one_algorithm.algorithms = [CustodianAlgorithm::Ed25519MlDsa65].into();
    let request = Request::new(one_algorithm, noon()).unwrap();
    let by_wallet = team.risk.approves(&request, "risk_lead", 1);
    let refused = check_signature(&request, &by_wallet, &registry, later(2));
    assert!(matches!(refused, Err(SignatureFault::Algorithm { .. })));
}

#[test]
fn refuses_a_signature_of_another_time() {
    let (team, request) = (Team::new(), asked());
    let registry = team.registry();
    let at = |signed, now| {
        check_signature(&request, &team.risk.approves(&request, "risk_lead", signed), &registry, later(now))
    };
    assert!(matches!(at(-1, 0), Err(SignatureFault::BeforeRequest { .. })));
    assert_eq!(at(0, 0), Ok(()));
    let day = 24 * 60;
    assert_eq!(at(day, day), Ok(()));
    assert!(matches!(at(day + 1, day + 1), Err(SignatureFault::AfterExpiry { .. })));
    // Five minutes between two clocks are forgiven, six are not.
    assert_eq!(at(15, 10), Ok(()));
    assert!(matches!(at(16, 10), Err(SignatureFault::InFuture { .. })));
}

#[test]
fn a_post_quantum_custodian_signs_beside_a_wallet() {
    let team = Team {
        risk: Person::with(CustodianAlgorithm::Ed25519MlDsa65, "rita", &["risk_lead"]),
        ..Team::new()
    };
    let request = asked();
    let given =
        [team.risk.approves(&request, "risk_lead", 1), team.security.approves(&request, "security_lead", 2)];
    assert_eq!(state_of(&request, &given, &team, 3).state, State::Approved);
    let signed = SignedRequest::new(request, given.into()).with_keys(&team.registry());
    assert_eq!(signed.keys.len(), 2);
    assert_eq!(SignedRequest::parse(signed.to_json().as_bytes()).unwrap(), signed);
}
