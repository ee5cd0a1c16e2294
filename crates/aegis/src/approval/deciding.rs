//! `sign`, `reject` and `use`.

use std::process::ExitCode;

use aegis_approval::{
    Decision, GivenSignature, Line, PersonId, RequestId, SignedRequest, Standing, State, sign_offline,
};
use aegis_terminal::Failure;
use jiff::Timestamp;
use serde_json::json;

use super::asking::write_file;
use super::files::read_signed;
use super::showing::{is_which, missing_in_words};
use super::{SignArguments, UseArguments, Which};
use crate::custodian::{key_of, signature_in};
use crate::session::Session;

pub(super) fn decide(
    arguments: SignArguments,
    decision: Decision,
    which: Which,
    session: &Session,
) -> Result<ExitCode, Failure> {
    if arguments.file.is_some() {
        return decide_offline(&arguments, decision, which, session);
    }
    let SignArguments { id, key, signature, person, role, key_id, at, .. } = arguments;
    // The command line asks for it.
    let Some(id) = id else { return Ok(ExitCode::FAILURE) };
    let what = cannot(decision, &id);
    let key = key.open()?;
    session.with_deployment(|deployment| {
        let approvals = deployment.approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let shown = approvals.show(&id, Timestamp::now());
        let shown = shown.map_err(|error| Failure::new(&what, &error, error.help()))?;
        is_which(&shown.record.request, which, &what)?;
        let now = Timestamp::now();
        let signed = match (&key, &signature) {
            (Some(key), _) => {
                if let Some(person) = &person {
                    let registry =
                        approvals.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
                    let holder = registry.holder(key.public_key().key_id());
                    if holder.is_none_or(|(custodian, _)| custodian.person != *person) {
                        let because = format!("the key that signs is not a key of {person}");
                        return Err(Failure::because(&what, because).with_help("leave --person out"));
                    }
                }
                approvals.sign(&id, decision, role.as_ref(), key, now)
            }
            (None, Some(path)) => {
                let signature = signature_in(path)?;
                // The command line asks for both.
                let (Some(person), Some(at)) = (&person, at) else { return Ok(ExitCode::FAILURE) };
                let registry =
                    approvals.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
                let key = key_of(&registry, person, key_id.as_ref(), &what)?;
                // Which role it was is found as it would have been chosen for signing.
                let chosen = approvals.statement(&id, decision, key, role.as_ref(), at);
                let (_, _, role, _) = chosen.map_err(|error| Failure::new(&what, &error, error.help()))?;
                let given =
                    GivenSignature { decision, person: person.clone(), role, key, signed: at, signature };
                approvals.add_signature(&id, given, now)
            }
            (None, None) => return Ok(ExitCode::FAILURE),
        };
        let signed = signed.map_err(|error| Failure::new(&what, &error, error.help()))?;
        report(&id, &signed.signature, &signed.standing, session)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn cannot(decision: Decision, id: &RequestId) -> String {
    match decision {
        Decision::Approve => format!("cannot sign {id}"),
        Decision::Reject => format!("cannot reject {id}"),
    }
}

fn report(
    id: &RequestId,
    given: &GivenSignature,
    standing: &Standing,
    session: &Session,
) -> Result<(), Failure> {
    let value = json!({
        "id": id.as_str(),
        "decision": given.decision.as_str(),
        "person": given.person.as_str(),
        "role": given.role.as_str(),
        "key_id": given.key,
        "signed_at": given.signed.to_string(),
        "state": standing.state.as_str(),
        "missing": standing.missing.iter().map(|(role, n)| (role.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "use_until": standing.use_until.map(|until| until.to_string()),
    });
    session.output.report(&value, |out| {
        let did = match given.decision {
            Decision::Approve => "approved",
            Decision::Reject => "rejected",
        };
        writeln!(out, "{did} by {} as {}", given.person, given.role)?;
        match (standing.state, standing.use_until) {
            (State::Approved, Some(until)) => {
                writeln!(out, "{id} is approved, and can be used once until {until}")
            }
            (State::Partial | State::Pending, _) => {
                writeln!(out, "{id} still needs {}", missing_in_words(&standing.missing))
            }
            (state, _) => writeln!(out, "{id} is {state}"),
        }
    })
}

/// On a machine that knows neither deployment nor registry.
fn decide_offline(
    arguments: &SignArguments,
    decision: Decision,
    which: Which,
    session: &Session,
) -> Result<ExitCode, Failure> {
    // The command line asks for all of them.
    let (Some(file), Some(out), Some(person), Some(role)) =
        (&arguments.file, &arguments.out, &arguments.person, &arguments.role)
    else {
        return Ok(ExitCode::FAILURE);
    };
    let mut signed: SignedRequest = read_signed(file)?;
    let what = cannot(decision, signed.request.id());
    is_which(&signed.request, which, &what)?;
    let Some(key) = arguments.key.open()? else { return Ok(ExitCode::FAILURE) };
    let given = sign_offline(&signed.request, decision, person, role, &key, Timestamp::now())
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    if signed.signatures.len() == SignedRequest::MAX_SIGNATURES {
        return Err(Failure::because(what, "the file has as many signatures as a file can have"));
    }
    signed.add(given.clone(), key.public_key());
    write_file(out, &signed.to_json(), session)?;
    let report = json!({
        "id": signed.request.id().as_str(),
        "decision": decision.as_str(),
        "person": given.person.as_str(),
        "role": given.role.as_str(),
        "key_id": given.key,
        "signed_at": given.signed.to_string(),
        "out": out.display().to_string(),
    });
    if !aegis_terminal::input::is_stdin(out) {
        session.output.report(&report, |stdout| {
            writeln!(stdout, "signed by {} as {}, in {}", given.person, given.role, out.display())
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn use_once(
    arguments: &UseArguments,
    which: Which,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let UseArguments { id, for_what, form: _ } = arguments;
    let what = format!("cannot use {id}");
    let used_for = match for_what.as_str() {
        "" => "nothing that was named",
        text => text,
    };
    let used_for: Line = used_for.parse().map_err(|error: aegis_approval::TextError| {
        let help = error.help();
        Failure::new(format!("{what}: --for-what cannot be used"), &error, help)
    })?;
    session.with_deployment(|deployment| {
        let approvals = deployment.approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let now = Timestamp::now();
        let shown = approvals.show(id, now).map_err(|error| Failure::new(&what, &error, error.help()))?;
        let request = &shown.record.request;
        is_which(request, which, &what)?;
        let used = approvals
            .use_approval(id, request.subject(), &used_for, now)
            .map_err(|error| Failure::new(&what, &error, error.help()))?;
        let people: Vec<&str> = used.approvals().keys().map(PersonId::as_str).collect();
        let report = json!({
            "id": id.as_str(),
            "kind": request.subject().kind().as_str(),
            "subject": request.subject().to_string(),
            "hash": used.hash().to_string(),
            "approved_by": people,
            "used_for": used_for.as_str(),
            "state": State::Consumed.as_str(),
        });
        session.output.report(&report, |out| {
            writeln!(
                out,
                "used: {} {}, approved by {}",
                request.subject().kind(),
                request.subject(),
                people.join(" and ")
            )
        })?;
        Ok(ExitCode::SUCCESS)
    })
}
