//! Signing where nothing is known but the file.

use aegis_approval::{
    Decision, ImportError, LookupError, OfflineSignError, SignError, SignatureFault, SignedRequest, State,
    sign_offline, verify,
};

use crate::fixture::{Desk, Person, later, limit, rules};

fn signed_by(file: &str, person: &Person, role: &str) -> String {
    let mut file = SignedRequest::parse(file.as_bytes()).unwrap();
    let role = role.parse().unwrap();
    let given =
        sign_offline(&file.request, Decision::Approve, &person.name, &role, &person.key, later(1)).unwrap();
    file = SignedRequest::new(file.request, vec![given]);
    file.to_json()
}

#[test]
fn a_file_goes_out_and_signatures_come_back() {
    let desk = Desk::new();
    let request = desk.ask();
    let out = desk.approvals.export(request.id(), later(1)).unwrap().to_json();
    for (person, role, decided) in [(&desk.rita, "risk_lead", false), (&desk.sam, "security_lead", true)] {
        let back = SignedRequest::parse(signed_by(&out, person, role).as_bytes()).unwrap();
        let mut imported = desk.approvals.import(&back, later(5)).unwrap();
        let signed = imported.pop().unwrap().result.unwrap().unwrap();
        assert_eq!(signed.decided, decided);
        // Once more changes nothing.
        let again = desk.approvals.import(&back, later(6)).unwrap().pop().unwrap().result.unwrap();
        assert_eq!(again, None);
    }
    assert_eq!(desk.state(&request), State::Approved);
    let whole = desk.approvals.export(request.id(), later(6)).unwrap();
    assert_eq!(SignedRequest::parse(whole.to_json().as_bytes()).unwrap(), whole);
    assert_eq!((whole.signatures.len(), whole.keys.len()), (2, 2));
    let registry = desk.approvals.registry().unwrap();
    let here = ["deployment:production".parse().unwrap()];
    verify(&whole, &limit(), &here, &registry, rules().least(limit().kind()), later(7)).unwrap();
}

#[test]
fn signatures_that_do_not_count_are_neither_taken_nor_exported() {
    let desk = Desk::new();
    let request = desk.approved();
    desk.approvals.revoke_key(desk.sam.key_id(), later(2)).unwrap();
    let exported = desk.approvals.export(request.id(), later(3)).unwrap();
    assert_eq!(exported.signatures.iter().map(|given| given.person.as_str()).collect::<Vec<_>>(), ["rita"]);

    let out = exported.to_json();
    let stranger = Person::new("eve", &["security_lead"]);
    let back = SignedRequest::parse(signed_by(&out, &stranger, "security_lead").as_bytes()).unwrap();
    let result = desk.approvals.import(&back, later(3)).unwrap().pop().unwrap().result;
    assert!(matches!(result, Err(SignError::Fault(SignatureFault::UnknownPerson { .. }))), "{result:?}");
}

#[test]
fn refuses_a_file_of_another_request() {
    let (desk, other) = (Desk::new(), Desk::new());
    let request = desk.ask();
    let foreign = other.ask();
    let file = other.approvals.export(foreign.id(), later(1)).unwrap();
    let refused = desk.approvals.import(&file, later(1)).unwrap_err();
    assert!(matches!(refused, ImportError::Lookup(LookupError::NoSuchRequest { .. })), "{refused}");
    // The id of ours, and what theirs says.
    let text = file.to_json().replace(foreign.id().as_str(), request.id().as_str());
    let file = SignedRequest::parse(text.as_bytes()).unwrap();
    let refused = desk.approvals.import(&file, later(1)).unwrap_err();
    assert!(matches!(refused, ImportError::OtherRequest { .. }), "{refused}");
    assert_eq!(desk.told.take()[1..], ["import of 0: refused", "import of 0: refused"]);
}

#[test]
fn whoever_cannot_sign_is_told_so_offline() {
    let desk = Desk::new();
    let request = desk.ask();
    let sign = |person: &Person, role: &str, minutes: i64| {
        let role = role.parse().unwrap();
        sign_offline(&request, Decision::Approve, &person.name, &role, &person.key, later(minutes))
            .unwrap_err()
    };
    for (error, wanted) in [
        (sign(&desk.ann, "risk_lead", 1), "ann made the request"),
        (sign(&desk.rita, "counsel", 1), "nobody is asked as counsel"),
        (sign(&desk.rita, "risk_lead", -6), "it was signed at 2026-11-26T11:54:00Z, before"),
        (sign(&desk.rita, "risk_lead", 24 * 60 + 1), "it was signed at 2026-11-27T12:01:00Z, after"),
    ] {
        assert!(matches!(error, OfflineSignError::Fault(_)));
        assert!(error.to_string().starts_with(wanted), "{error}");
    }
}
