//! Something is asked for.

use std::collections::BTreeMap;

use aegis_approval::{
    ApprovalRules, Approvals, ApprovalsReader, AskError, Kind, NewRequest, NewRequestError, Quorum,
    RequestQuery, RequestRule, Subject,
};
use aegis_crypto::CustodianAlgorithm;
use jiff::SignedDuration;
use std::sync::Arc;

use crate::fixture::{Desk, Person, later, new_override, noon};

fn quorum(groups: &[(&str, i64)]) -> Quorum {
    Quorum::new(groups.iter().map(|(role, needed)| (role.parse().unwrap(), *needed))).unwrap()
}

fn missing_of(error: AskError) -> BTreeMap<String, u8> {
    match error {
        AskError::TooFewCustodians { missing, .. } => {
            missing.into_iter().map(|(role, count)| (role.to_string(), count)).collect()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn refuses_a_quorum_above_the_number_of_custodians_and_says_who_is_missing() {
    let desk = Desk::new();
    // Rita, and Bo; Ann asks.
    let ask = |groups: &[(&str, i64)]| {
        desk.approvals.ask(NewRequest { quorum: quorum(groups), ..new_override() }, noon())
    };
    ask(&[("risk_lead", 2), ("security_lead", 1)]).unwrap();
    let refused = ask(&[("risk_lead", 3), ("security_lead", 1)]).unwrap_err();
    assert!(
        refused.to_string().starts_with(
            "the quorum of 3 of risk_lead and 1 of security_lead is above the number of custodians who can sign \
             without ann"
        ),
        "{refused}"
    );
    assert_eq!(missing_of(refused), [("risk_lead".to_owned(), 1)].into());
    // Bo is one person, whichever of both they are.
    let refused = ask(&[("risk_lead", 2), ("security_lead", 2)]).unwrap_err();
    assert_eq!(missing_of(refused).values().sum::<u8>(), 1);
    let refused = ask(&[("risk_lead", 1), ("security_lead", 1), ("counsel", 1)]).unwrap_err();
    assert_eq!(missing_of(refused), [("counsel".to_owned(), 1)].into());
    assert_eq!(desk.told.take(), ["request", "request: refused", "request: refused", "request: refused"]);
    let all = RequestQuery { limit: 10, ..RequestQuery::default() };
    assert_eq!(desk.approvals.list(&all, noon()).unwrap().len(), 1);
}

#[test]
fn whoever_has_no_key_that_counts_is_not_counted() {
    let desk = Desk::empty();
    let refused = desk.approvals.ask(new_override(), noon()).unwrap_err();
    assert_eq!(missing_of(refused).values().sum::<u8>(), 2);
    desk.approvals.register(&desk.rita.registration(), noon()).unwrap();
    desk.approvals.register(&desk.sam.registration(), noon()).unwrap();
    desk.approvals.ask(new_override(), noon()).unwrap();
    // The requester cannot sign, whatever their roles.
    let own = NewRequest { requester: desk.sam.name.clone(), ..new_override() };
    assert_eq!(
        missing_of(desk.approvals.ask(own, noon()).unwrap_err()),
        [("security_lead".to_owned(), 1)].into()
    );
    // Nobody here has a post-quantum key.
    let quantum = NewRequest { algorithms: [CustodianAlgorithm::Ed25519MlDsa65].into(), ..new_override() };
    let refused = desk.approvals.ask(quantum.clone(), noon()).unwrap_err();
    assert_eq!(missing_of(refused).values().sum::<u8>(), 2);
    for (name, role) in [("quentin", "risk_lead"), ("qi", "security_lead")] {
        let person = Person::with(CustodianAlgorithm::Ed25519MlDsa65, name, &[role]);
        desk.approvals.register(&person.registration(), noon()).unwrap();
    }
    desk.approvals.ask(quantum, noon()).unwrap();
    desk.approvals.revoke_key(desk.rita.key_id(), later(1)).unwrap();
    let bitcoin = NewRequest { algorithms: [CustodianAlgorithm::Bip322].into(), ..new_override() };
    assert_eq!(
        missing_of(desk.approvals.ask(bitcoin, later(2)).unwrap_err()),
        [("risk_lead".to_owned(), 1)].into()
    );
}

#[test]
fn a_quorum_is_raised_to_what_the_deployment_asks_for() {
    let desk = Desk::new();
    let least = [(Kind::DekDestroy, quorum(&[("risk_lead", 2)]))].into();
    let rules =
        ApprovalRules::new("deployment:production".parse().unwrap(), Quorum::classic(), least).unwrap();
    let strict = Approvals::new(ApprovalsReader::new(Arc::clone(desk.approvals.store()), rules));
    let destroy = NewRequest {
        subject: Subject::parse(Kind::DekDestroy, "dek-v1-20260101-2").unwrap(),
        failed_gates: Default::default(),
        quorum: quorum(&[("security_lead", 2)]),
        ..new_override()
    };
    let refused = strict.ask(destroy.clone(), noon()).unwrap_err();
    assert_eq!(missing_of(refused).values().sum::<u8>(), 1);
    let asked = strict.ask(NewRequest { quorum: Quorum::classic(), ..destroy }, noon()).unwrap();
    assert_eq!(asked.quorum().to_string(), "2 of risk_lead and 1 of security_lead");
    let weak = NewRequest { quorum: quorum(&[("risk_lead", 2)]), ..new_override() };
    assert_eq!(
        strict.ask(weak, noon()).unwrap().quorum().to_string(),
        "2 of risk_lead and 1 of security_lead"
    );
    let many: Vec<_> = (0..7).map(|n| (format!("role_{n}"), 1)).collect();
    let many: Vec<_> = many.iter().map(|(role, n)| (role.as_str(), *n)).collect();
    let refused = strict.ask(NewRequest { quorum: quorum(&many), ..new_override() }, noon()).unwrap_err();
    assert!(matches!(refused, AskError::Quorum(_)), "{refused}");
}

#[test]
fn refuses_what_is_for_another_deployment_and_what_nobody_may_override() {
    let desk = Desk::new();
    let ask = |new: NewRequest| desk.approvals.ask(new, noon()).unwrap_err();
    let elsewhere = NewRequest { audience: "deployment:staging".parse().unwrap(), ..new_override() };
    assert!(matches!(ask(elsewhere), AskError::OtherDeployment { .. }));
    let host = NewRequest { audience: "host:web-1".parse().unwrap(), ..new_override() };
    assert!(matches!(ask(host), AskError::OtherDeployment { .. }));
    for gate in ["complexity", "complexity_gate"] {
        let gates = ["drift", gate].map(|gate| gate.parse().unwrap()).into();
        let refused = ask(NewRequest { failed_gates: gates, ..new_override() });
        assert!(
            matches!(&refused, AskError::Request(NewRequestError::Rule(RequestRule::FinalGate { .. }))),
            "{refused}"
        );
    }
    let long = NewRequest { lifetime: SignedDuration::from_hours(24 * 31), ..new_override() };
    assert!(matches!(ask(long), AskError::Request(NewRequestError::Rule(RequestRule::Lifetime { .. }))));
    assert_eq!(desk.told.take(), ["request: refused"; 5]);
}
