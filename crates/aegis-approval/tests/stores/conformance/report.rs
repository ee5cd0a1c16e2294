//! What a key took part in.

use aegis_approval::{Closed, Decision, Involvement, Request, Signer, Store};
use aegis_crypto::KeyId;

use crate::fixture::*;
use crate::on::Place;

/// Every page after another.
fn all(store: &dyn Store, key: KeyId, limit: usize) -> Vec<Involvement> {
    let mut found: Vec<Involvement> = Vec::new();
    loop {
        let page = store.signed_by(key, found.last(), limit).unwrap();
        assert!(page.len() <= limit);
        let is_last = page.len() < limit;
        found.extend(page);
        if is_last {
            return found;
        }
    }
}

fn signer(person: &Person, decision: Decision) -> Signer {
    let role = person.roles.first().unwrap().clone();
    Signer { person: person.name.clone(), role, decision, key: person.key_id() }
}

pub(crate) fn gives_what_a_key_signed_page_by_page(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let requests: Vec<Request> = (0..6).map(|_| asked(store.as_ref())).collect();
    for (nth, request) in requests.iter().enumerate() {
        if nth % 2 == 0 {
            sign(store.as_ref(), request, &sam.approves(request)).unwrap();
        }
        if nth % 3 != 1 {
            sign(store.as_ref(), request, &rita.approves(request)).unwrap();
        }
    }
    for limit in [1, 2, 3, 4, 100] {
        let found = all(store.as_ref(), rita.key_id(), limit);
        assert_eq!(found.len(), 4);
        for (involvement, nth) in found.into_iter().zip([0, 2, 3, 5]) {
            let request = &requests[nth];
            let mut signers = vec![signer(&rita, Decision::Approve)];
            if nth % 2 == 0 {
                signers.insert(0, signer(&sam, Decision::Approve));
            }
            let expected = Involvement {
                number: nth as u64 + 1,
                place: signers.len() - 1,
                decision: Decision::Approve,
                role: "risk_lead".parse().unwrap(),
                signed: at(1),
                id: request.id().clone(),
                subject: request.subject().clone(),
                audience: request.audience().clone(),
                requester: request.requester().clone(),
                usable_until: request.expires() + request.use_within(),
                closed: None,
                quorum: request.quorum().clone(),
                signers,
            };
            assert_eq!(involvement, expected);
        }
    }
}

pub(crate) fn gives_a_key_that_decided_twice(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let request = asked(store.as_ref());
    for person in [&rita, &sam] {
        sign(store.as_ref(), &request, &person.approves(&request)).unwrap();
    }
    let revoked = Closed::Revoked { at: at(6), by: rita.name.clone() };
    let rejection = rita.gives(&request, Decision::Reject);
    store.close(request.id(), 3, 2, &revoked, Some(&rejection)).unwrap();
    let signers =
        [signer(&rita, Decision::Approve), signer(&sam, Decision::Approve), signer(&rita, Decision::Reject)];
    for limit in [1, 2, 3] {
        let found = all(store.as_ref(), rita.key_id(), limit);
        let decisions: Vec<_> = found.iter().map(|found| (found.place, found.decision)).collect();
        assert_eq!(decisions, [(0, Decision::Approve), (2, Decision::Reject)], "{limit}");
        for involvement in &found {
            assert_eq!(involvement.signers, signers);
            assert_eq!(involvement.closed, Some(revoked.clone()));
        }
    }
}

pub(crate) fn says_how_requests_ended(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let ends = [
        None,
        Some(Closed::Rejected { at: at(5), by: sam.name.clone() }),
        Some(Closed::Revoked { at: at(6), by: rita.name.clone() }),
        Some(Closed::Consumed { at: at(7), used_for: "a change".to_owned() }),
    ];
    for closed in &ends {
        let request = asked(store.as_ref());
        sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
        if let Some(closed) = closed {
            store.close(request.id(), 2, 2, closed, None).unwrap();
        }
    }
    let found = all(store.as_ref(), rita.key_id(), 9);
    assert_eq!(found.into_iter().map(|found| found.closed).collect::<Vec<_>>(), ends);
}

pub(crate) fn knows_nothing_of_a_key_that_signed_nothing(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let request = asked(store.as_ref());
    sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
    assert_eq!(all(store.as_ref(), sam.key_id(), 9), []);
    assert_eq!(all(store.as_ref(), Person::new("eve", "auditor").key_id(), 9), []);
    assert_eq!(store.signed_by(rita.key_id(), None, 0).unwrap(), []);
}
