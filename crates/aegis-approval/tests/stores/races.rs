//! Threads and processes at once, and processes that are killed: of two that would both decide, one is first.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use aegis_approval::{Closed, ConflictKind, Decision, KeyState, RequestQuery, Store, StoreError};

use crate::child::{Helper, use_all};
use crate::fixture::*;
use crate::on::Place;

crate::on::on_every_store! {
    cases:
        of_two_final_signatures_one_is_last, of_eight_processes_one_uses_an_approval,
        of_a_signature_and_a_rejection_one_is_first, a_key_that_is_revoked_meanwhile_signs_nothing,
        of_two_changes_of_custodians_one_is_first, eight_processes_open_an_empty_place,
        what_was_said_is_there_after_a_kill;
}

/// How often two race.
const ROUNDS: i64 = 12;

/// Does two things at once, each with a store of its own.
fn at_once<A: Send, B: Send>(
    place: &Place,
    one: impl FnOnce(&dyn Store) -> A + Send,
    other: impl FnOnce(&dyn Store) -> B + Send,
) -> (A, B) {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            let store = place.open();
            start.wait();
            one(store.as_ref())
        });
        let store = place.open();
        start.wait();
        let other = other(store.as_ref());
        (one.join().unwrap(), other)
    })
}

/// Which of two was done. The other one has to be in conflict for this reason.
#[track_caller]
fn one_of(results: (Result<(), StoreError>, Result<(), StoreError>), reasons: &[ConflictKind]) -> usize {
    match results {
        (Ok(()), Err(StoreError::Conflict { what })) if reasons.contains(&what) => 0,
        (Err(StoreError::Conflict { what }), Ok(())) if reasons.contains(&what) => 1,
        other => panic!("{other:?}"),
    }
}

mod cases {
    use super::*;

    pub(super) fn of_two_final_signatures_one_is_last(place: &Place) {
        let store = place.open();
        let [rita, sam] = leads(store.as_ref());
        let third = Person::new("tom", "security_lead");
        third.join(store.as_ref());
        for _ in 0..ROUNDS {
            let request = asked(store.as_ref());
            sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
            let (record, registry) = now(store.as_ref(), &request);
            let add = |person: &Person| {
                let signature = person.approves(&request);
                let (id, revision) = (request.id().clone(), record.revision);
                move |store: &dyn Store| store.add_signature(&id, revision, registry, &signature)
            };
            let changed = ConflictKind::RequestChanged { id: request.id().clone() };
            let first = one_of(at_once(place, add(&sam), add(&third)), &[changed]);
            let (record, _) = now(store.as_ref(), &request);
            let signers: Vec<_> = record.signatures.iter().map(|signature| &signature.person).collect();
            assert_eq!(signers, [&rita.name, [&sam.name, &third.name][first]]);
            assert_eq!(record.revision, 3);
        }
    }

    pub(super) fn of_eight_processes_one_uses_an_approval(place: &Place) {
        let store = place.open();
        let requests = 10;
        for _ in 0..requests {
            asked(store.as_ref());
        }
        let mut helpers: Vec<_> = (0..7).map(|_| Helper::start("use all", &place.address)).collect();
        for helper in &mut helpers {
            helper.go();
        }
        let mut first = use_all(store.as_ref());
        for helper in helpers {
            first += helper.said()[0].parse::<usize>().unwrap();
        }
        assert_eq!(first, requests);
        let all = store.requests(&RequestQuery { limit: 99, ..RequestQuery::default() }).unwrap();
        assert!(all.iter().all(|record| record.revision == 2 && record.closed.is_some()));
    }

    pub(super) fn of_a_signature_and_a_rejection_one_is_first(place: &Place) {
        let store = place.open();
        let [rita, sam] = leads(store.as_ref());
        for _ in 0..ROUNDS {
            let request = asked(store.as_ref());
            let (record, registry) = now(store.as_ref(), &request);
            let (approval, rejection) = (rita.approves(&request), sam.gives(&request, Decision::Reject));
            let closed = Closed::Rejected { at: at(2), by: sam.name.clone() };
            let id = request.id();
            let results = at_once(
                place,
                |store| store.add_signature(id, record.revision, registry, &approval),
                |store| store.close(id, record.revision, registry, &closed, Some(&rejection)),
            );
            let changed = ConflictKind::RequestChanged { id: id.clone() };
            let is_closed = ConflictKind::RequestClosed { id: id.clone(), state: "rejected" };
            let first = one_of(results, &[changed, is_closed]);
            let (record, _) = now(store.as_ref(), &request);
            assert_eq!(record.revision, 2);
            if first == 0 {
                assert_eq!((record.signatures, record.closed), (vec![approval], None));
            } else {
                assert_eq!((record.signatures, record.closed), (vec![rejection], Some(closed)));
            }
        }
    }

    pub(super) fn a_key_that_is_revoked_meanwhile_signs_nothing(place: &Place) {
        let store = place.open();
        for _ in 0..ROUNDS {
            let rita = Person::new("rita", "risk_lead");
            rita.join(store.as_ref());
            let request = asked(store.as_ref());
            let (record, registry) = now(store.as_ref(), &request);
            let signature = rita.approves(&request);
            let (signed, revoked) = at_once(
                place,
                |store| store.add_signature(request.id(), record.revision, registry, &signature),
                |store| store.end_key(registry, &rita.name, rita.key_id(), &KeyState::Revoked { at: at(3) }),
            );
            revoked.unwrap();
            let (record, _) = now(store.as_ref(), &request);
            match signed {
                // It was there before.
                Ok(()) => assert_eq!(record.signatures, std::slice::from_ref(&signature)),
                Err(StoreError::Conflict { what: ConflictKind::RegistryChanged }) => {
                    assert_eq!((record.revision, record.signatures.len()), (1, 0));
                }
                Err(error) => panic!("{error:?}"),
            }
            // Whoever reads again learns that the key counts no longer, and that nothing is stored on the old word.
            let stale = store.add_signature(request.id(), record.revision, registry, &signature);
            assert!(
                matches!(conflict(stale), ConflictKind::RegistryChanged | ConflictKind::SignedAlready { .. }),
                "{record:?}"
            );
        }
    }

    pub(super) fn of_two_changes_of_custodians_one_is_first(place: &Place) {
        let store = place.open();
        leads(store.as_ref());
        for _ in 0..ROUNDS {
            let (registry, revision) = store.registry().unwrap();
            let add = |person: Person| {
                move |store: &dyn Store| {
                    store.add_key(revision, &person.name, &person.roles, &person.custodian_key())
                }
            };
            let [one, other] = ["rita", "sam"].map(|name| {
                let role = if name == "rita" { "risk_lead" } else { "security_lead" };
                Person::new(name, role)
            });
            one_of(at_once(place, add(one), add(other)), &[ConflictKind::RegistryChanged]);
            let keys = |registry: &aegis_approval::Registry| -> usize {
                registry.custodians().map(|custodian| custodian.keys.len()).sum()
            };
            let (after, next) = store.registry().unwrap();
            assert_eq!((keys(&after), next), (keys(&registry) + 1, revision + 1));
        }
    }

    pub(super) fn eight_processes_open_an_empty_place(place: &Place) {
        let mut helpers: Vec<_> = (0..8).map(|_| Helper::start("open", &place.address)).collect();
        for helper in &mut helpers {
            helper.go();
        }
        assert!(helpers.into_iter().all(|helper| helper.said() == ["0"]));
    }

    pub(super) fn what_was_said_is_there_after_a_kill(place: &Place) {
        let store = place.open();
        let (mut keys, mut requests) = (0, BTreeMap::<String, u64>::new());
        for nth in 1..=6 {
            for said in Helper::start("decide for ever", &place.address).killed_after(nth * 4) {
                let (what, object) = said.split_once(' ').unwrap();
                match what {
                    "key" => keys += 1,
                    "asked" => drop(requests.insert(object.to_owned(), 1)),
                    _ => *requests.get_mut(object).unwrap() += 1,
                }
            }
            store.check().unwrap();
            let (registry, revision) = store.registry().unwrap();
            let found: usize = registry.custodians().map(|custodian| custodian.keys.len()).sum();
            // The last one may have been committed without a chance to say so.
            assert!((keys..=keys + 1).contains(&found), "{found} keys, {keys} said");
            assert_eq!(revision, found as u64);
            keys = found;
            let all = store.requests(&RequestQuery { limit: 999, ..RequestQuery::default() }).unwrap();
            let found: BTreeMap<_, _> =
                all.iter().map(|record| (record.request.id().to_string(), record.revision)).collect();
            for (id, revision) in &requests {
                assert!((*revision..=revision + 1).contains(&found[id]), "{id}: {found:?}, {revision} said");
            }
            let unsaid: Vec<_> = found.iter().filter(|(id, _)| !requests.contains_key(*id)).collect();
            assert!(unsaid.len() <= 1, "{unsaid:?}");
            for record in &all {
                // Each step is whole: a revision is a signature more, or the end.
                let steps = record.signatures.len() as u64 + u64::from(record.closed.is_some());
                assert_eq!(record.revision, 1 + steps, "{record:?}");
            }
            requests = found;
        }
    }
}
