//! The report of what a key took part in is complete, and reads the same in each format.

use std::collections::BTreeMap;

use aegis_approval::{Finding, NewRequest, Remedy, Report, ReportFormat, Request, State, Subject};
use jiff::SignedDuration;

use crate::fixture::{Desk, later, new_override, noon};

/// One decision of each fate, with what is to be done about it when Sam's key is lost.
fn fates(desk: &Desk) -> Vec<(Request, Remedy, State)> {
    let purpose = || "deploy-7".parse().unwrap();
    let consume = |request: &Request| {
        desk.approvals.use_approval(request.id(), request.subject(), &purpose(), later(2)).unwrap();
    };
    let used = desk.approved();
    consume(&used);
    let used_with_three = desk.approved();
    desk.approve(&used_with_three, &desk.bo, "security_lead").unwrap();
    consume(&used_with_three);
    let host = NewRequest {
        subject: Subject::KeysAdd(desk.rita.key_id()),
        audience: "group:web".parse().unwrap(),
        failed_gates: Default::default(),
        ..new_override()
    };
    let host = desk.approvals.ask(host, noon()).unwrap();
    desk.approve_both(&host);
    let open = desk.ask();
    desk.approve(&open, &desk.sam, "security_lead").unwrap();
    let stands = desk.approved();
    desk.approve(&stands, &desk.bo, "security_lead").unwrap();
    let rejected = desk.ask();
    desk.reject(&rejected, &desk.sam).unwrap();
    let taken_back = desk.approved();
    desk.reject(&taken_back, &desk.sam).unwrap();
    let by_other = desk.approved();
    desk.reject(&by_other, &desk.rita).unwrap();
    let short = NewRequest { lifetime: SignedDuration::from_mins(5), ..new_override() };
    let expired =
        desk.approvals.ask(NewRequest { use_within: SignedDuration::from_mins(5), ..short }, noon()).unwrap();
    desk.approve_both(&expired);
    // Nothing that the key signed.
    let not_theirs = desk.ask();
    desk.approve(&not_theirs, &desk.rita, "risk_lead").unwrap();
    vec![
        (used, Remedy::Undo, State::Consumed),
        (used_with_three, Remedy::Review, State::Consumed),
        (host, Remedy::CheckHosts, State::Partial),
        (open, Remedy::SignAgain, State::Pending),
        (stands, Remedy::Nothing, State::Approved),
        (rejected, Remedy::AskAgain, State::Rejected),
        // Approved with the key, and taken back with it: two signatures.
        (taken_back.clone(), Remedy::Nothing, State::Revoked),
        (taken_back, Remedy::AskAgain, State::Revoked),
        (by_other, Remedy::Nothing, State::Revoked),
        (expired, Remedy::Nothing, State::Expired),
    ]
}

fn found(report: &Report<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    report
        .each(&mut |finding| {
            found.push(finding.clone());
            Ok(())
        })
        .unwrap();
    found
}

fn written(report: &Report<'_>, format: ReportFormat) -> String {
    let mut out = Vec::new();
    report.write_to(format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_decision_is_in_it_with_its_fate_and_what_is_to_be_done() {
    let desk = Desk::new();
    let fates = fates(&desk);
    desk.approvals.revoke_key(desk.sam.key_id(), later(20)).unwrap();
    let report = desk.approvals.report(desk.sam.key_id(), later(21)).unwrap();
    let found = found(&report);
    let seen: Vec<_> =
        found.iter().map(|finding| (finding.request.clone(), finding.remedy(), finding.now)).collect();
    let wanted: Vec<_> =
        fates.iter().map(|(request, remedy, now)| (request.id().clone(), *remedy, *now)).collect();
    assert_eq!(seen, wanted);
    assert_eq!(
        (found[0].then, found[0].stands_without, found[0].was_approved),
        (State::Consumed, false, true)
    );
    assert!(found[1].stands_without);
    assert_eq!((found[2].then, found[2].now), (State::Approved, State::Partial));
    assert_eq!((found[4].then, found[4].now), (State::Approved, State::Approved));

    let counts = report.each(&mut |_| Ok(())).unwrap();
    assert_eq!(counts.decisions, 10);
    let remedies: BTreeMap<_, _> = [
        (Remedy::Undo, 1),
        (Remedy::Review, 1),
        (Remedy::CheckHosts, 1),
        (Remedy::SignAgain, 1),
        (Remedy::AskAgain, 2),
        (Remedy::Nothing, 4),
    ]
    .into();
    assert_eq!(counts.remedies, remedies);
}

#[test]
fn a_co_signer_whose_key_was_replaced_since_still_counts_for_what_was_decided() {
    let desk = Desk::new();
    let request = desk.approved();
    desk.approve(&request, &desk.bo, "security_lead").unwrap();
    let purpose = "deploy-7".parse().unwrap();
    desk.approvals.use_approval(request.id(), request.subject(), &purpose, later(2)).unwrap();
    let of_sam = || found(&desk.approvals.report(desk.sam.key_id(), later(21)).unwrap()).pop().unwrap();
    desk.approvals.replace_key(desk.bo.key_id(), &desk.bo.again().registration(), later(3)).unwrap();
    desk.approvals.set_roles(&desk.rita.name, &crate::fixture::roles(&["counsel"])).unwrap();
    assert_eq!(of_sam().remedy(), Remedy::Review);
    // Two keys in the wrong hands are another thing.
    desk.approvals.revoke_key(desk.bo.key_id(), later(4)).unwrap();
    assert_eq!(of_sam().remedy(), Remedy::Undo);
    assert_eq!(of_sam().others[1].key_state, "revoked");
}

#[test]
fn each_format_has_every_decision() {
    let desk = Desk::new();
    let formula = NewRequest {
        subject: Subject::Override("=HYPERLINK(\"http://evil\",\"ok\")".parse().unwrap()),
        ..new_override()
    };
    let formula = desk.approvals.ask(formula, noon()).unwrap();
    desk.approve(&formula, &desk.sam, "security_lead").unwrap();
    let fates = fates(&desk);
    desk.approvals.revoke_key(desk.sam.key_id(), later(20)).unwrap();
    let report = desk.approvals.report(desk.sam.key_id(), later(21)).unwrap();

    let json: serde_json::Value = serde_json::from_str(&written(&report, ReportFormat::Json)).unwrap();
    assert_eq!(json["type"], "aegis-custodian-report-v1");
    assert_eq!(json["key"]["id"], desk.sam.key_id().to_string());
    assert_eq!(json["key"]["state"], "revoked");
    assert_eq!(json["counts"]["decisions"], 11);
    let decisions = json["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 11);
    for (decision, (request, remedy, now)) in decisions[1..].iter().zip(&fates) {
        assert_eq!(decision["request"], request.id().as_str());
        assert_eq!(decision["remedy"], remedy.as_str());
        assert_eq!(decision["now"], now.as_str());
    }
    assert_eq!(decisions[1]["ended"]["used_for"], "deploy-7");
    assert_eq!(decisions[1]["others"][0]["person"], "rita");

    let csv = written(&report, ReportFormat::Csv);
    let lines: Vec<_> = csv.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 12);
    assert!(lines[0].starts_with("request,kind,subject,"));
    assert!(lines[1].contains(",\"'=HYPERLINK(\"\"http://evil\"\",\"\"ok\"\")\","), "{}", lines[1]);
    for (line, (request, remedy, _)) in lines[2..].iter().zip(&fates) {
        assert!(line.starts_with(request.id().as_str()) && line.ends_with(remedy.as_str()), "{line}");
    }

    let text = written(&report, ReportFormat::Text);
    for (request, remedy, _) in &fates {
        assert!(text.contains(request.id().as_str()) && text.contains(remedy.in_words()));
    }
    assert!(text.contains("sam approved it as security_lead at 2026-11-26T12:01:00Z"));
    assert!(text.contains("it was used at 2026-11-26T12:02:00Z for deploy-7"));
    assert!(text.contains("without this key: 1 of security_lead missing"));
    assert!(text.contains("state: approved then, partial now"));
    assert!(text.is_ascii() && text.lines().all(|line| line.len() < 200), "{text}");

    let nobody = desk.approvals.report(desk.sam.again().key_id(), later(21)).unwrap_err();
    assert!(nobody.to_string().ends_with("is no custodian's"), "{nobody}");
}

#[test]
fn a_report_of_many_decisions_is_read_a_page_at_a_time() {
    let desk = Desk::new();
    let count = 503;
    let mut wanted = Vec::new();
    for _ in 0..count {
        let request = desk.ask();
        desk.approve(&request, &desk.sam, "security_lead").unwrap();
        wanted.push(request.id().clone());
    }
    let report = desk.approvals.report(desk.sam.key_id(), later(21)).unwrap();
    let seen: Vec<_> = found(&report).into_iter().map(|finding| finding.request).collect();
    assert_eq!(seen, wanted);
}
