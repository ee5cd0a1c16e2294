//! Requests, signatures, and ends.

use aegis_approval::{
    Closed, ConflictKind, Decision, GivenSignature, Kind, NewRequest, Quorum, Request, RequestQuery,
    RequestRecord, SignedRequest, StoreError, Subject,
};
use aegis_crypto::CustodianAlgorithm;
use jiff::SignedDuration;

use crate::fixture::*;
use crate::on::Place;

pub(crate) fn keeps_every_field_of_a_request(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let post = Person::with(CustodianAlgorithm::Ed25519MlDsa65, "post", &["risk_lead"]);
    post.join(store.as_ref());
    let quorum =
        Quorum::new([("risk_lead".parse().unwrap(), 2), ("security_lead".parse().unwrap(), 13)]).unwrap();
    let hosts = NewRequest {
        subject: Subject::KeysRevoke(rita.key_id()),
        audience: "group:web".parse().unwrap(),
        justification: "x".repeat(4096).parse().unwrap(),
        failed_gates: [].into(),
        requester: person("a.b_c@d-e"),
        quorum,
        algorithms: [CustodianAlgorithm::Ed25519MlDsa65].into(),
        lifetime: SignedDuration::from_mins(1),
        use_within: SignedDuration::from_hours(24 * 30),
    };
    for (number, new) in (1..).zip([new_override(), hosts]) {
        let request = Request::new(new, at(0)).unwrap();
        store.insert_request(&request).unwrap();
        let mut expected =
            RequestRecord { number, revision: 1, request: request.clone(), signatures: vec![], closed: None };
        assert_eq!(now(store.as_ref(), &request).0, expected);
        for person in [&sam, &post, &rita] {
            let signature = person.approves(&request);
            sign(store.as_ref(), &request, &signature).unwrap();
            expected.signatures.push(signature);
            expected.revision += 1;
            assert_eq!(now(place.open().as_ref(), &request).0, expected);
        }
    }
}

pub(crate) fn refuses_a_second_request_of_an_id(place: &Place) {
    let store = place.open();
    let request = asked(store.as_ref());
    let exists = ConflictKind::RequestExists { id: request.id().clone() };
    assert_eq!(conflict(store.insert_request(&request)), exists);
    assert_eq!(now(store.as_ref(), &request).0.number, 1);
}

pub(crate) fn lists_requests_page_by_page(place: &Place) {
    let store = place.open();
    let [rita, _] = leads(store.as_ref());
    let mut ids = Vec::new();
    for nth in 0..7 {
        let mut new = new_override();
        if nth % 3 == 0 {
            new.subject = Subject::KekRetire(rita.key_id());
            new.failed_gates.clear();
        }
        if nth % 2 == 0 {
            new.requester = person("bob");
        }
        // Signed until then or used until two hours later, each an hour after the one before.
        new.lifetime = SignedDuration::from_hours(nth + 1);
        let request = Request::new(new, at(0)).unwrap();
        store.insert_request(&request).unwrap();
        ids.push(request.id().clone());
    }
    let (_, registry) = store.registry().unwrap();
    let used = Closed::Consumed { at: at(1), used_for: "a change".to_owned() };
    store.close(&ids[5], 1, registry, &used, None).unwrap();
    let found = |query: &RequestQuery| -> Vec<usize> {
        let mut query = query.clone();
        let mut found = Vec::new();
        loop {
            let page = store.requests(&query).unwrap();
            assert!(page.len() <= query.limit);
            query.after = page.last().map(|record| record.number);
            found.extend(
                page.iter().map(|record| ids.iter().position(|id| id == record.request.id()).unwrap()),
            );
            if page.len() < query.limit {
                return found;
            }
        }
    };
    for limit in [1, 2, 100] {
        let all = RequestQuery { limit, ..RequestQuery::default() };
        assert_eq!(found(&all), [0, 1, 2, 3, 4, 5, 6]);
        let of_kind = RequestQuery { kind: Some(Kind::KekRetire), ..all.clone() };
        assert_eq!(found(&of_kind), [0, 3, 6]);
        let of_bob = RequestQuery { requester: Some(person("bob")), ..all.clone() };
        assert_eq!(found(&of_bob), [0, 2, 4, 6]);
        // The first can be used for the last time at three o'clock, to the second.
        let open = |time| RequestQuery { open_at: Some(time), ..all.clone() };
        assert_eq!(found(&open(at(180))), [0, 1, 2, 3, 4, 6]);
        assert_eq!(found(&open(at(180) + SignedDuration::from_nanos(1))), [1, 2, 3, 4, 6]);
        assert_eq!(found(&open(at(300))), [2, 3, 4, 6]);
        let both =
            RequestQuery { kind: Some(Kind::Override), requester: Some(person("bob")), ..open(at(300)) };
        assert_eq!(found(&both), [2, 4]);
        assert_eq!(found(&open(at(10_000))), [0_usize; 0]);
    }
}

pub(crate) fn signs_only_what_was_read(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let request = asked(store.as_ref());
    let id = || request.id().clone();
    let signature = rita.approves(&request);
    let none = Request::new(new_override(), at(0)).unwrap();
    let unknown = store.add_signature(none.id(), 1, 2, &rita.approves(&none));
    assert_eq!(conflict(unknown), ConflictKind::NoSuchRequest { id: none.id().clone() });
    for stale in [0, 2, u64::MAX - 1] {
        let changed = store.add_signature(&id(), stale, 2, &signature);
        assert_eq!(conflict(changed), ConflictKind::RequestChanged { id: id() });
        let changed = store.add_signature(&id(), 1, stale + 1, &signature);
        assert_eq!(conflict(changed), ConflictKind::RegistryChanged, "{stale}");
        let used = Closed::Consumed { at: at(1), used_for: "a change".to_owned() };
        let changed = store.close(&id(), stale, 2, &used, None);
        assert_eq!(conflict(changed), ConflictKind::RequestChanged { id: id() });
        let changed = store.close(&id(), 1, stale + 1, &used, None);
        assert_eq!(conflict(changed), ConflictKind::RegistryChanged);
    }
    // Of a key that is nobody's, or somebody else's.
    let stranger = Person::new("eve", "risk_lead");
    let unknown = store.add_signature(&id(), 1, 2, &stranger.approves(&request));
    assert_eq!(conflict(unknown), ConflictKind::NoSuchKey { person: stranger.name.clone() });
    let borrowed = GivenSignature { person: sam.name.clone(), ..signature.clone() };
    let unknown = store.add_signature(&id(), 1, 2, &borrowed);
    assert_eq!(conflict(unknown), ConflictKind::NoSuchKey { person: sam.name.clone() });
    let (record, _) = now(store.as_ref(), &request);
    assert_eq!((record.revision, record.signatures.len(), record.closed), (1, 0, None));
    store.add_signature(&id(), 1, 2, &signature).unwrap();
}

pub(crate) fn takes_one_decision_of_each_key(place: &Place) {
    let store = place.open();
    let [rita, _] = leads(store.as_ref());
    let request = asked(store.as_ref());
    sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
    let again = sign(store.as_ref(), &request, &rita.approves(&request));
    let signed = ConflictKind::SignedAlready { id: request.id().clone(), key: rita.key_id() };
    assert_eq!(conflict(again), signed);
    assert_eq!(now(store.as_ref(), &request).0.signatures.len(), 1);
}

pub(crate) fn takes_no_more_signatures_than_can_be(place: &Place) {
    let store = place.open();
    let request = asked(store.as_ref());
    let mut signature = None;
    for nth in 0..=SignedRequest::MAX_SIGNATURES {
        let person = Person::new("rita", "risk_lead");
        person.join(store.as_ref());
        // A store does not judge them.
        let given = GivenSignature {
            key: person.key_id(),
            ..signature.get_or_insert_with(|| person.approves(&request)).clone()
        };
        let result = sign(store.as_ref(), &request, &given);
        if nth < SignedRequest::MAX_SIGNATURES {
            result.unwrap();
        } else {
            assert_eq!(conflict(result), ConflictKind::SignaturesFull { id: request.id().clone() });
        }
    }
    assert_eq!(now(store.as_ref(), &request).0.signatures.len(), SignedRequest::MAX_SIGNATURES);
}

pub(crate) fn ends_a_request_once(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let ends = [
        ("rejected", Closed::Rejected { at: at(5), by: sam.name.clone() }),
        ("revoked", Closed::Revoked { at: at(6), by: rita.name.clone() }),
        ("consumed", Closed::Consumed { at: at(7), used_for: "req-1 on host:web, ~once~".to_owned() }),
    ];
    for (state, closed) in &ends {
        let request = asked(store.as_ref());
        let rejection = (*state != "consumed").then(|| sam.gives(&request, Decision::Reject));
        store.close(request.id(), 1, 2, closed, rejection.as_ref()).unwrap();
        let (record, _) = now(store.as_ref(), &request);
        assert_eq!((record.revision, record.closed.as_ref()), (2, Some(closed)));
        assert_eq!(record.signatures, Vec::from_iter(rejection));
        let is_closed = ConflictKind::RequestClosed { id: request.id().clone(), state };
        for (_, other) in &ends {
            assert_eq!(conflict(store.close(request.id(), 2, 2, other, None)), is_closed);
        }
        assert_eq!(conflict(sign(store.as_ref(), &request, &rita.approves(&request))), is_closed);
        assert_eq!(now(store.as_ref(), &request).0, record);
    }
}

pub(crate) fn who_approved_may_take_it_back(place: &Place) {
    let store = place.open();
    let [rita, sam] = leads(store.as_ref());
    let request = asked(store.as_ref());
    sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
    sign(store.as_ref(), &request, &sam.approves(&request)).unwrap();
    let revoked = Closed::Revoked { at: at(6), by: rita.name.clone() };
    let rejection = rita.gives(&request, Decision::Reject);
    store.close(request.id(), 3, 2, &revoked, Some(&rejection)).unwrap();
    let (record, _) = now(store.as_ref(), &request);
    assert_eq!((record.closed, record.signatures.last()), (Some(revoked), Some(&rejection)));
}

pub(crate) fn refuses_words_that_cannot_be_shown(place: &Place) {
    let store = place.open();
    let request = asked(store.as_ref());
    for words in ["", "two\nlines", "\u{202e}txet", "nul \0", " around ", &"x".repeat(201)] {
        let used = Closed::Consumed { at: at(1), used_for: words.to_owned() };
        let refused = store.close(request.id(), 1, 0, &used, None);
        assert!(matches!(refused, Err(StoreError::Text { .. })), "{words:?}: {refused:?}");
    }
    let key = Person::new("rita", "risk_lead").key_id();
    for words in ["", "\u{202e}txet", "nul \0", &"x".repeat(4097)] {
        let mut wrong = rotation(key);
        wrong.reason = words.to_owned();
        let refused = store.begin_rotation(&wrong);
        assert!(matches!(refused, Err(StoreError::Text { .. })), "{words:?}: {refused:?}");
    }
    assert_eq!(now(store.as_ref(), &request).0.closed, None);
    assert_eq!(store.rotations(false).unwrap(), []);
}
