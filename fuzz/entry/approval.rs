//! Any bytes as a request, as one with signatures, as one signature, or as the registration of a custodian.

use aegis_approval::{GivenSignature, Quorum, Registration, Request, SignedRequest, State, standing, verify};
use jiff::Timestamp;

/// An approval that two custodians signed.
const GOOD: &[u8] = include_bytes!("../corpus/approval/approved.json");

/// What is read prints back as it was, and what was changed approves nothing.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(signed) = SignedRequest::parse(bytes) {
        assert_eq!(signed.to_json().as_bytes(), bytes, "an approval has two spellings");
        let now: Timestamp = signed.request.created();
        let good = SignedRequest::parse(GOOD).expect("it was exported");
        let registry = good.claimed_registry().expect("it has the keys of two people");
        // By the people of the good one, at a time at which that one held.
        let at = good.signatures.iter().map(|given| given.signed).max().expect("it has two signatures");
        let here = [good.request.audience().clone()];
        let held = verify(&signed, good.request.subject(), &here, &registry, &Quorum::classic(), at);
        if held.is_ok() {
            assert_eq!(signed.request, good.request, "another request is approved by the same signatures");
        }
        if let Ok(claimed) = signed.claimed_registry() {
            let stands = standing(&signed.request, &signed.signatures, None, &claimed, now);
            assert!(stands.approvals.len() + stands.void.len() <= signed.signatures.len());
            assert!(stands.state != State::Approved || stands.approvals.len() >= 2, "one person decides");
        }
    }
    if let Ok(registration) = Registration::parse(bytes) {
        let again = Registration::parse(registration.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&registration), "a registration does not come back");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(request) = Request::from_json(text) {
        assert_eq!(request.to_json(), text, "a request has two spellings");
    }
    if let Ok(signature) = GivenSignature::from_json(text) {
        assert_eq!(signature.to_json(), text, "a signature has two spellings");
    }
}
