//! A custodian's key is in the wrong hands.

use std::sync::Arc;

use aegis_approval::{
    Approvals, Emergency, EmergencyError, EmergencyOrder, Finding, KeyState, Left, Line, NewKey, Remedy,
    ReportError, ReportFormat, Request, RotationStep, State,
};

use crate::failing::{Failing, Stop};
use crate::fixture::{Desk, Person, later, with_store};

fn reason() -> Line {
    "laptop stolen".parse().unwrap()
}

fn begin<'a>(approvals: &'a Approvals, person: &Person) -> Result<Emergency<'a>, EmergencyError> {
    let order = EmergencyOrder { old_key: person.key_id(), reason: &reason(), with_deks: false };
    approvals.emergency(order, later(10))
}

/// All steps, as a command takes them. Returns the requests that were reopened, and how long the report is.
fn run(
    approvals: &Approvals,
    person: &Person,
    new: NewKey<'_>,
) -> Result<(Vec<String>, usize), EmergencyError> {
    let mut emergency = begin(approvals, person)?;
    emergency.revoke(later(11))?;
    emergency.register(new, later(12))?;
    let mut reopened = Vec::new();
    emergency.reopen(later(13), &mut |finding| {
        reopened.push(finding.request.to_string());
        Ok(())
    })?;
    let mut written = Vec::new();
    emergency.report(later(14), |report| report.write_to(ReportFormat::Json, &mut written))?;
    if emergency.left() == Left::Finish {
        emergency.finish(later(15))?;
    }
    Ok((reopened, written.len()))
}

/// A request that the key and another one approved, one that it approved alone, and one that was used.
fn story(desk: &Desk) -> [Request; 3] {
    let [approved, partial, used] = [desk.approved(), desk.ask(), desk.approved()];
    desk.approve(&partial, &desk.sam, "security_lead").unwrap();
    let purpose = "deploy-7".parse().unwrap();
    desk.approvals.use_approval(used.id(), used.subject(), &purpose, later(2)).unwrap();
    desk.told.take();
    [approved, partial, used]
}

#[test]
fn goes_from_the_stolen_key_to_the_new_one() {
    let desk = Desk::new();
    let [approved, partial, used] = story(&desk);
    let new = desk.sam.again();
    let registration = new.registration_at(later(12));
    let (reopened, report) = run(&desk.approvals, &desk.sam, NewKey::Registration(&registration)).unwrap();
    assert_eq!(reopened, [approved.id().to_string(), partial.id().to_string()]);
    assert!(report > 500);
    assert_eq!(
        desk.told.take(),
        [
            "emergency begun",
            "revoke sam",
            "emergency key_revoked",
            "register sam",
            "emergency key_registered",
            "emergency requests_reopened",
            "emergency reported",
            "emergency done",
        ]
    );
    let registry = desk.approvals.registry().unwrap();
    let keys = &registry.custodian(&desk.sam.name).unwrap().keys;
    assert_eq!(keys[0].state, KeyState::Revoked { at: later(11) });
    assert_eq!((keys[1].public.key_id(), &keys[1].state), (new.key_id(), &KeyState::Active));
    // What dropped back is signed again; what was used stays used.
    assert_eq!((desk.state(&approved), desk.state(&partial)), (State::Partial, State::Pending));
    assert!(desk.approve(&approved, &new, "security_lead").unwrap().decided);
    assert_eq!((desk.state(&approved), desk.state(&used)), (State::Approved, State::Consumed));

    // Running it again does nothing, and says the same.
    desk.told.take();
    let (reopened, _) = run(&desk.approvals, &desk.sam, NewKey::Later).unwrap();
    assert_eq!(reopened, [partial.id().to_string()]);
    assert_eq!(desk.told.take(), [] as [&str; 0]);
    let rotations = desk.approvals.emergencies(false).unwrap();
    assert_eq!(rotations.len(), 1);
    assert_eq!((rotations[0].step, rotations[0].new_key), (RotationStep::Done, Some(new.key_id())));
    assert!(desk.approvals.emergencies(true).unwrap().is_empty());
}

#[test]
fn stopped_at_any_call_of_the_store_it_is_finished_by_the_next_run_and_nothing_is_done_twice() {
    let mut stops = 0;
    for stop in [Stop::Before, Stop::After] {
        for call in 0.. {
            let desk = Desk::new();
            let [approved, partial, _] = story(&desk);
            let (_, before) = desk.approvals.store().registry().unwrap();
            let new = desk.sam.again();
            let registration = new.registration_at(later(12));
            let failing = Failing::at(Arc::clone(desk.approvals.store()), call, stop);
            let first =
                run(&with_store(Arc::clone(&failing) as _), &desk.sam, NewKey::Registration(&registration));
            if !failing.has_stopped() {
                first.unwrap();
                break;
            }
            first.unwrap_err();
            stops += 1;
            let (reopened, report) =
                run(&desk.approvals, &desk.sam, NewKey::Registration(&registration)).unwrap();
            assert_eq!(reopened, [approved.id().to_string(), partial.id().to_string()], "{stop:?} {call}");
            assert!(report > 500);
            // One key ended, one was added, and nothing else.
            let (registry, after) = desk.approvals.store().registry().unwrap();
            assert_eq!(after, before + 2, "{stop:?} {call}");
            assert_eq!(registry.custodian(&desk.sam.name).unwrap().keys.len(), 2);
            let rotations = desk.approvals.emergencies(false).unwrap();
            assert_eq!((rotations.len(), rotations[0].step), (1, RotationStep::Done), "{stop:?} {call}");
            assert_eq!(rotations[0].new_key, Some(new.key_id()));
            // What was done before is not done by the second run.
            let told = desk.told.take();
            assert!(told.iter().all(|line| !line.contains(':')), "{stop:?} {call}: {told:?}");
        }
    }
    assert!(stops > 30, "{stops}");
}

#[test]
fn a_report_that_cannot_be_written_is_not_taken_for_written() {
    let desk = Desk::new();
    story(&desk);
    let mut emergency = begin(&desk.approvals, &desk.sam).unwrap();
    emergency.revoke(later(11)).unwrap();
    emergency.register(NewKey::None, later(12)).unwrap();
    emergency.reopen(later(13), &mut |_| Ok(())).unwrap();
    let full = || ReportError::Write(std::io::ErrorKind::StorageFull.into());
    emergency.report(later(14), |_| Err::<(), _>(full())).unwrap_err();
    assert_eq!(emergency.left(), Left::Report);
    assert!(matches!(emergency.finish(later(15)).unwrap_err(), EmergencyError::StepsLeft { .. }));
    let mut small = [0_u8; 64];
    let written =
        emergency.report(later(14), |report| report.write_to(ReportFormat::Text, &mut small.as_mut_slice()));
    assert!(matches!(written, Err(EmergencyError::Report(ReportError::Write(_)))));
    assert_eq!(emergency.left(), Left::Report);
    let reopened = emergency.reopen(later(13), &mut |_| Err(full()));
    assert!(reopened.is_err());
}

#[test]
fn waits_for_the_new_key_with_the_old_one_revoked_and_all_said_meanwhile() {
    let desk = Desk::new();
    let [approved, ..] = story(&desk);
    let (reopened, report) = run(&desk.approvals, &desk.sam, NewKey::Later).unwrap();
    assert_eq!(reopened.len(), 2);
    assert!(report > 500);
    let emergency = desk.approvals.resume_emergency(desk.sam.key_id()).unwrap();
    assert_eq!(emergency.left(), Left::NewKey);
    assert_eq!(desk.state(&approved), State::Partial);
    assert_eq!(desk.approvals.emergencies(true).unwrap().len(), 1);

    // Only the same person's key will do.
    let eve = Person::new("eve", &["security_lead"]);
    let other = eve.registration_at(later(12));
    let refused = run(&desk.approvals, &desk.sam, NewKey::Registration(&other)).unwrap_err();
    assert!(matches!(refused, EmergencyError::OfAnother { .. }), "{refused}");
    let refused = run(&desk.approvals, &desk.sam, NewKey::Registered(desk.bo.key_id())).unwrap_err();
    assert!(matches!(refused, EmergencyError::NotTheirs { .. }), "{refused}");
    let refused = run(&desk.approvals, &desk.sam, NewKey::Registered(desk.sam.key_id())).unwrap_err();
    assert!(matches!(refused, EmergencyError::NotTheirs { .. }), "{refused}");
    let old = desk.sam.registration_at(later(12));
    let refused = run(&desk.approvals, &desk.sam, NewKey::Registration(&old)).unwrap_err();
    assert!(matches!(refused, EmergencyError::Register(_)), "{refused}");

    // Registered like any other meanwhile.
    let new = desk.sam.again();
    desk.approvals.register(&new.registration_at(later(12)), later(12)).unwrap();
    run(&desk.approvals, &desk.sam, NewKey::Registered(new.key_id())).unwrap();
    assert!(desk.approvals.emergencies(true).unwrap().is_empty());
    let another = desk.sam.again().registration_at(later(12));
    let refused = run(&desk.approvals, &desk.sam, NewKey::Registration(&another)).unwrap_err();
    assert!(matches!(refused, EmergencyError::OtherNewKey { .. }), "{refused}");
}

#[test]
fn a_person_who_signs_no_more_gets_no_new_key() {
    let desk = Desk::new();
    story(&desk);
    run(&desk.approvals, &desk.sam, NewKey::None).unwrap();
    let rotations = desk.approvals.emergencies(false).unwrap();
    assert_eq!((rotations[0].step, rotations[0].new_key), (RotationStep::Done, None));
    let registration = desk.sam.again().registration_at(later(12));
    let refused = run(&desk.approvals, &desk.sam, NewKey::Registration(&registration)).unwrap_err();
    assert!(matches!(refused, EmergencyError::OtherNewKey { registered: None, .. }), "{refused}");
}

#[test]
fn is_begun_for_any_key_that_ever_was_registered_and_for_no_other() {
    let desk = Desk::new();
    let nobodys = begin(&desk.approvals, &desk.sam.again()).unwrap_err();
    assert!(matches!(nobodys, EmergencyError::NobodysKey { .. }), "{nobodys}");
    let not_begun = desk.approvals.resume_emergency(desk.sam.key_id()).unwrap_err();
    assert!(matches!(not_begun, EmergencyError::NotBegun { .. }), "{not_begun}");
    assert_eq!(desk.told.take(), ["emergency begun: refused"]);
    // Revoked by hand before, or replaced.
    desk.approvals.revoke_key(desk.sam.key_id(), later(1)).unwrap();
    desk.approvals.replace_key(desk.rita.key_id(), &desk.rita.again().registration(), later(1)).unwrap();
    for person in [&desk.sam, &desk.rita] {
        run(&desk.approvals, person, NewKey::None).unwrap();
    }
    let registry = desk.approvals.registry().unwrap();
    let state = |person: &Person| registry.holder(person.key_id()).unwrap().1.state.clone();
    assert_eq!(state(&desk.sam), KeyState::Revoked { at: later(1) });
    assert_eq!(state(&desk.rita), KeyState::Revoked { at: later(11) });
}

#[test]
fn deks_are_left_to_the_caller_and_may_be_asked_for_later() {
    let desk = Desk::new();
    let mut emergency = begin(&desk.approvals, &desk.sam).unwrap();
    emergency.revoke(later(11)).unwrap();
    let order =
        EmergencyOrder { old_key: desk.sam.key_id(), reason: &"again".parse().unwrap(), with_deks: true };
    let mut again = desk.approvals.emergency(order, later(20)).unwrap();
    assert_eq!(again.rotation().reason, "laptop stolen");
    assert!(again.rotation().with_deks && again.rotation().started == later(10));
    // The one that was begun first follows what became of it.
    assert!(emergency.register(NewKey::None, later(12)).unwrap());
    assert!(emergency.rotation().with_deks);
    assert!(again.register(NewKey::None, later(12)).unwrap());
    again.reopen(later(13), &mut |_| Ok(())).unwrap();
    again.report(later(14), |_| Ok(())).unwrap();
    assert_eq!(again.left(), Left::Deks);
    again.finish(later(15)).unwrap();
    assert_eq!(again.left(), Left::Nothing);
}

#[test]
fn two_who_run_it_at_once_do_each_step_once() {
    let desk = Desk::new();
    story(&desk);
    let new = desk.sam.again();
    let registration = new.registration_at(later(12));
    let (_, before) = desk.approvals.store().registry().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (approvals, registration) = (desk.opened_again(), &registration);
            let (desk, told) = (&desk, Arc::clone(&desk.told));
            scope.spawn(move || {
                let approvals = approvals.observed_by(told);
                // One that finds the key just registered by another run takes it as it is.
                while run(&approvals, &desk.sam, NewKey::Registration(registration)).is_err() {}
            });
        }
    });
    let (_, after) = desk.approvals.store().registry().unwrap();
    assert_eq!(after, before + 2);
    let mut told: Vec<_> = desk.told.take().into_iter().filter(|line| !line.contains(": ")).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "emergency begun",
            "emergency done",
            "emergency key_registered",
            "emergency key_revoked",
            "emergency reported",
            "emergency requests_reopened",
            "register sam",
            "revoke sam",
        ]
    );
}

#[test]
fn a_finding_of_an_open_request_says_what_is_missing() {
    let desk = Desk::new();
    let [approved, ..] = story(&desk);
    let mut emergency = begin(&desk.approvals, &desk.sam).unwrap();
    emergency.revoke(later(11)).unwrap();
    emergency.register(NewKey::Later, later(12)).unwrap();
    let mut found: Vec<Finding> = Vec::new();
    let reopened = emergency.reopen(later(13), &mut |finding| {
        found.push(finding.clone());
        Ok(())
    });
    assert_eq!(reopened.unwrap(), 2);
    let first = &found[0];
    assert_eq!((&first.request, first.then, first.now), (approved.id(), State::Approved, State::Partial));
    assert_eq!(first.missing, [("security_lead".parse().unwrap(), 1)].into());
    assert_eq!((first.remedy(), first.signed), (Remedy::SignAgain, later(1)));
    assert_eq!(first.others.iter().map(|other| other.person.as_str()).collect::<Vec<_>>(), ["rita"]);
    assert_eq!((found[1].then, found[1].now), (State::Partial, State::Pending));
}
