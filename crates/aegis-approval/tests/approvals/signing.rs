//! Signatures: whose counts, and when.

use aegis_approval::{
    Closed, Decision, NewRequest, SignError, SignatureFault, State, sign_offline, statement,
};
use jiff::SignedDuration;

use crate::fixture::{Desk, Person, later, new_override, noon};

#[test]
fn the_second_of_two_people_decides() {
    let desk = Desk::new();
    let request = desk.ask();
    let first = desk.approve(&request, &desk.rita, "risk_lead").unwrap();
    assert_eq!((first.standing.state, first.decided), (State::Partial, false));
    let second = desk.approve(&request, &desk.sam, "security_lead").unwrap();
    assert_eq!((second.standing.state, second.decided), (State::Approved, true));
    assert_eq!(second.standing.use_until, Some(later(121)));
    // A further one makes it no more decided.
    let third = desk.approve(&request, &desk.bo, "risk_lead").unwrap();
    assert_eq!((third.standing.state, third.decided), (State::Approved, false));
    assert_eq!(desk.told.take(), ["request", "sign rita", "sign sam, decided", "sign bo"]);
}

#[test]
fn without_a_role_one_signs_in_the_one_that_is_missing() {
    let desk = Desk::new();
    let request = desk.ask();
    desk.approve(&request, &desk.rita, "risk_lead").unwrap();
    let sign =
        |person: &Person| desk.approvals.sign(request.id(), Decision::Approve, None, &person.key, later(1));
    assert_eq!(sign(&desk.bo).unwrap().signature.role.as_str(), "security_lead");
    let counsel = Person::new("cara", &["counsel"]);
    desk.approvals.register(&counsel.registration(), noon()).unwrap();
    assert!(matches!(sign(&counsel).unwrap_err(), SignError::NoRole { .. }));
}

#[test]
fn what_is_shown_is_what_is_signed() {
    let desk = Desk::new();
    let request = desk.ask();
    let key = desk.rita.key_id();
    let (text, person, role, signed) =
        desk.approvals.statement(request.id(), Decision::Approve, key, None, later(1)).unwrap();
    assert_eq!((person.as_str(), role.as_str(), signed), ("rita", "risk_lead", later(1)));
    let algorithm = desk.rita.key.algorithm();
    assert_eq!(text, statement(&request, Decision::Approve, &person, &role, algorithm, signed));
    // A wallet signs the text; the signature is added with what the text names.
    let signature = desk.rita.key.sign(&text).unwrap();
    let given =
        aegis_approval::GivenSignature { decision: Decision::Approve, person, role, key, signed, signature };
    desk.approvals.add_signature(request.id(), given, later(2)).unwrap();
    assert_eq!(desk.state(&request), State::Partial);
}

#[test]
fn refuses_every_signature_that_must_not_count() {
    let desk = Desk::new();
    let (request, other) = (desk.ask(), desk.ask());
    desk.approve(&request, &desk.bo, "risk_lead").unwrap();
    let by = |person: &Person, role: &str, minutes: i64| {
        let role = role.parse().unwrap();
        let now = later(minutes);
        sign_offline(&request, Decision::Approve, &person.name, &role, &person.key, now).unwrap()
    };
    let stranger = Person::new("eve", &["risk_lead"]);
    let alias = Person { name: desk.sam.name.clone(), ..desk.sam.again() };
    let rita = |role: &str| role.parse().unwrap();
    let for_other = sign_offline(
        &other,
        Decision::Approve,
        &desk.rita.name,
        &rita("risk_lead"),
        &desk.rita.key,
        later(1),
    );
    let mut as_rejection = by(&desk.rita, "risk_lead", 1);
    as_rejection.decision = Decision::Reject;
    let mut earlier = by(&desk.rita, "risk_lead", 5);
    earlier.signed = later(4);
    let mut as_sam = by(&desk.rita, "risk_lead", 1);
    as_sam.person = desk.sam.name.clone();
    let mut in_role = by(&desk.bo, "risk_lead", 1);
    in_role.role = rita("security_lead");
    for (name, given) in [
        ("another person's name", as_sam),
        ("an unknown person", by(&stranger, "risk_lead", 1)),
        ("an unknown key", by(&alias, "security_lead", 1)),
        ("a role not held", by(&desk.rita, "security_lead", 1)),
        ("for another request", for_other.unwrap()),
        ("an approval as a rejection", as_rejection),
        ("another time", earlier),
        ("the same person twice", by(&desk.bo, "risk_lead", 2)),
        ("the same key in two roles", by(&desk.bo, "security_lead", 2)),
        ("the same signature in another role", in_role),
        ("in the future", by(&desk.rita, "risk_lead", 13)),
    ] {
        let refused = desk.approvals.add_signature(request.id(), given, later(6)).unwrap_err();
        assert!(matches!(refused, SignError::Fault(_)), "{name}: {refused}");
        assert_eq!(desk.standing(&request, 6).approvals.len(), 1, "{name}");
    }
    // Who asked does not sign; not even offline.
    let own = desk.approve(&request, &desk.ann, "risk_lead").unwrap_err();
    assert!(matches!(own, SignError::Fault(SignatureFault::Requester { .. })), "{own}");
    let nobodys = desk.approve(&request, &stranger, "risk_lead").unwrap_err();
    assert!(matches!(nobodys, SignError::NobodysKey { .. }), "{nobodys}");
    let unknown = "req-00000000000000000000000000000000".parse().unwrap();
    let refused = desk.approvals.sign(&unknown, Decision::Approve, None, &desk.rita.key, later(1));
    assert!(matches!(refused.unwrap_err(), SignError::NoSuchRequest { .. }));
    // Each was told.
    assert_eq!(desk.told.take().iter().filter(|line| line.ends_with(": refused")).count(), 14);
}

#[test]
fn nothing_is_signed_before_or_after_its_time() {
    let desk = Desk::new();
    let new = NewRequest { lifetime: SignedDuration::from_mins(10), ..new_override() };
    let request = desk.approvals.ask(new, noon()).unwrap();
    let sign =
        |minutes| desk.approvals.sign(request.id(), Decision::Approve, None, &desk.rita.key, later(minutes));
    // The clock was set back to before the request.
    let early = sign(-6).unwrap_err();
    assert!(matches!(early, SignError::Fault(SignatureFault::BeforeRequest { .. })), "{early}");
    let late = sign(11).unwrap_err();
    assert!(matches!(late, SignError::Expired { .. }), "{late}");
    // Within what clocks differ, one signs at the time of the request.
    assert_eq!(sign(-4).unwrap().signature.signed, noon());
    // One that was made in time and comes too late is too late.
    let role = "security_lead".parse().unwrap();
    let in_time =
        sign_offline(&request, Decision::Approve, &desk.sam.name, &role, &desk.sam.key, later(9)).unwrap();
    let late = desk.approvals.add_signature(request.id(), in_time.clone(), later(11)).unwrap_err();
    assert!(matches!(late, SignError::Expired { .. }), "{late}");
    assert!(desk.approvals.add_signature(request.id(), in_time, later(10)).unwrap().decided);
    // Approved, it is expired when its time for use is over.
    let over = desk.approvals.sign(request.id(), Decision::Approve, None, &desk.bo.key, later(130));
    assert!(matches!(over.unwrap_err(), SignError::UseOver { .. }));
}

#[test]
fn one_rejection_is_enough_and_nothing_is_signed_after_it() {
    let desk = Desk::new();
    let request = desk.ask();
    desk.approve(&request, &desk.rita, "risk_lead").unwrap();
    desk.reject(&request, &desk.bo).unwrap();
    assert_eq!(desk.state(&request), State::Rejected);
    assert!(matches!(desk.closed(request.id()), Some(Closed::Rejected { by, .. }) if by == desk.bo.name));
    for refused in [
        desk.approve(&request, &desk.sam, "security_lead").unwrap_err(),
        desk.reject(&request, &desk.sam).unwrap_err(),
    ] {
        assert!(matches!(refused, SignError::Closed { closed: Closed::Rejected { .. }, .. }), "{refused}");
    }
    assert_eq!(
        desk.told.take(),
        ["request", "sign rita", "reject bo", "sign nobody: refused", "reject nobody: refused"]
    );
}

#[test]
fn an_approval_is_taken_back_also_with_the_key_that_gave_it() {
    let desk = Desk::new();
    let request = desk.approved();
    desk.reject(&request, &desk.rita).unwrap();
    assert_eq!(desk.state(&request), State::Revoked);
    assert!(matches!(desk.closed(request.id()), Some(Closed::Revoked { by, .. }) if by == desk.rita.name));
    // Nobody rejects what they asked for, and nobody without a role that was asked.
    let request = desk.ask();
    let own = desk.reject(&request, &desk.ann).unwrap_err();
    assert!(matches!(own, SignError::Fault(SignatureFault::Requester { .. })), "{own}");
    assert_eq!(desk.state(&request), State::Pending);
}

#[test]
fn however_many_approve_there_is_room_to_say_no() {
    let desk = Desk::new();
    let request = desk.ask();
    for number in 0..39 {
        let person = Person::new(&format!("p{number}"), &["risk_lead"]);
        desk.approvals.register(&person.registration(), noon()).unwrap();
        desk.approve(&request, &person, "risk_lead").unwrap();
    }
    let full = desk.approve(&request, &desk.sam, "security_lead").unwrap_err();
    assert!(matches!(full, SignError::TooManySignatures { .. }), "{full}");
    desk.reject(&request, &desk.sam).unwrap();
    assert_eq!(desk.state(&request), State::Rejected);
}
