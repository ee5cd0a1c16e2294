//! Several at once, each with a connection of their own.

use std::sync::Barrier;
use std::thread;

use aegis_approval::{Decision, NewRequest, Quorum, SignError, Signed, State, UseError};

use crate::fixture::{Desk, Person, later, limit, new_override, noon};

#[test]
fn of_final_signatures_that_race_exactly_one_decides() {
    let desk = Desk::new();
    for round in 0..6 {
        let request = desk.ask();
        desk.approve(&request, &desk.rita, "risk_lead").unwrap();
        let barrier = Barrier::new(2);
        let role = "security_lead".parse().unwrap();
        let signed: Vec<Result<Signed, SignError>> = thread::scope(|scope| {
            let threads: Vec<_> = [&desk.sam, &desk.bo]
                .map(|person: &Person| {
                    let (request, barrier, role) = (&request, &barrier, &role);
                    let approvals = desk.opened_again();
                    scope.spawn(move || {
                        barrier.wait();
                        approvals.sign(request.id(), Decision::Approve, Some(role), &person.key, later(1))
                    })
                })
                .into();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let decided = signed.into_iter().filter(|signed| signed.as_ref().unwrap().decided).count();
        assert_eq!(decided, 1, "round {round}");
        assert_eq!(desk.standing(&request, 2).approvals.len(), 3);
    }
}

#[test]
fn a_rejection_that_races_with_the_final_signature_wins_or_comes_after_it() {
    let desk = Desk::new();
    for _ in 0..6 {
        let request = desk.ask();
        desk.approve(&request, &desk.rita, "risk_lead").unwrap();
        let barrier = Barrier::new(2);
        let (signed, rejected) = thread::scope(|scope| {
            let sign = |decision, person: &'static str| {
                let (request, barrier, approvals, desk) = (&request, &barrier, desk.opened_again(), &desk);
                scope.spawn(move || {
                    let person = if person == "sam" { &desk.sam } else { &desk.bo };
                    barrier.wait();
                    approvals.sign(request.id(), decision, None, &person.key, later(1))
                })
            };
            let (one, two) = (sign(Decision::Approve, "sam"), sign(Decision::Reject, "bo"));
            (one.join().unwrap(), two.join().unwrap())
        });
        rejected.unwrap();
        let expected = if signed.is_ok() { State::Revoked } else { State::Rejected };
        assert_eq!(desk.state(&request), expected);
    }
}

#[test]
fn of_those_who_use_it_at_once_one_does() {
    let desk = Desk::new();
    for round in 0..4 {
        let request = desk.approved();
        let barrier = Barrier::new(4);
        let used: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    let (request, barrier, approvals) = (&request, &barrier, desk.opened_again());
                    scope.spawn(move || {
                        let purpose = format!("deploy-{number}").parse().unwrap();
                        barrier.wait();
                        approvals.use_approval(request.id(), &limit(), &purpose, later(2))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refused = used.iter().filter(|used| matches!(used, Err(UseError::Closed { .. }))).count();
        assert_eq!((used.iter().filter(|used| used.is_ok()).count(), refused), (1, 3), "round {round}");
    }
}

#[test]
fn everybody_who_signs_at_once_gets_through() {
    let desk = Desk::new();
    let people: Vec<_> = (0..12).map(|n| Person::new(&format!("p{n}"), &["risk_lead"])).collect();
    for person in &people {
        desk.approvals.register(&person.registration(), noon()).unwrap();
    }
    let quorum = Quorum::new([("risk_lead".parse().unwrap(), 12), ("security_lead".parse().unwrap(), 1)]);
    let new = NewRequest { quorum: quorum.unwrap(), ..new_override() };
    let request = desk.approvals.ask(new, noon()).unwrap();
    let role = "risk_lead".parse().unwrap();
    thread::scope(|scope| {
        for person in &people {
            let (request, approvals, role) = (&request, desk.opened_again(), &role);
            scope.spawn(move || {
                let signed =
                    approvals.sign(request.id(), Decision::Approve, Some(role), &person.key, later(1));
                assert!(!signed.unwrap().decided);
            });
        }
    });
    assert_eq!(desk.state(&request), State::Partial);
    assert!(desk.approve(&request, &desk.sam, "security_lead").unwrap().decided);
}
