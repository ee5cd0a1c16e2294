//! `list` and `show`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use aegis_approval::{
    Closed, Decision, Gate, GivenSignature, Kind, Request, RequestQuery, Role, Shown, SignatureFault, State,
    statement,
};
use aegis_terminal::output::table;
use aegis_terminal::{Escaped, Failure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ListArguments, ShowArguments, Which};
use crate::custodian::key_of;
use crate::session::Session;

/// The longest signature that is shown to people; one of BIP-322 has 93 characters.
const LONGEST_SHOWN: usize = 200;
/// How many requests are read at once.
const PAGE: usize = 500;

pub(super) fn list(arguments: ListArguments, which: Which, session: &Session) -> Result<ExitCode, Failure> {
    let ListArguments { state, requester, all, form: _ } = arguments;
    let what = "cannot list the requests";
    session.with_deployment(|deployment| {
        let reader = deployment.read_approvals().map_err(|error| Failure::new(what, &error, error.help()))?;
        let now = Timestamp::now();
        let mut query = RequestQuery {
            kind: (which == Which::Overrides).then_some(Kind::Override),
            open_at: (state.is_none() && !all).then_some(now),
            requester,
            after: None,
            limit: PAGE,
        };
        let mut rows = Vec::new();
        let mut values = Vec::new();
        loop {
            let page = reader.list(&query, now).map_err(|error| Failure::new(what, &error, error.help()))?;
            let Some(last) = page.last() else { break };
            query.after = Some(last.record.number);
            let is_last = page.len() < PAGE;
            let is_open = |state| matches!(state, State::Pending | State::Partial | State::Approved);
            let wanted = page.iter().filter(|shown| match state {
                Some(state) => shown.standing.state == state,
                None => all || is_open(shown.standing.state),
            });
            for shown in wanted {
                match session.output.is_json() {
                    true => values.push(to_json(shown)),
                    false => rows.push(row(shown)),
                }
            }
            if is_last {
                break;
            }
        }
        session.output.report(&json!({ "requests": values }), |out| {
            if rows.is_empty() {
                let which = match (state, all) {
                    (Some(state), _) => format!(" is {state}"),
                    (None, true) => String::new(),
                    (None, false) => " is open; --all lists the others".to_owned(),
                };
                return writeln!(out, "no request{which}");
            }
            table(out, ["ID", "KIND", "SUBJECT", "FOR", "STATE", "MISSING", "UNTIL"], &rows)
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn row(shown: &Shown) -> [String; 7] {
    let Shown { record, standing } = shown;
    let request = &record.request;
    let mut subject = request.subject().to_string();
    if subject.len() > 40 {
        // All of it is ASCII.
        subject.truncate(37);
        subject.push_str("...");
    }
    let (missing, until) = match standing.state {
        State::Pending | State::Partial => {
            (missing_in_words(&standing.missing), request.expires().to_string())
        }
        _ => (String::new(), standing.use_until.map_or_else(String::new, |until| until.to_string())),
    };
    [
        request.id().to_string(),
        request.subject().kind().to_string(),
        subject,
        request.audience().to_string(),
        standing.state.to_string(),
        missing,
        until,
    ]
}

pub(super) fn show(arguments: &ShowArguments, which: Which, session: &Session) -> Result<ExitCode, Failure> {
    let id = &arguments.id;
    let what = format!("cannot show {id}");
    session.with_deployment(|deployment| {
        let reader =
            deployment.read_approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let now = Timestamp::now();
        let shown = reader.show(id, now).map_err(|error| Failure::new(&what, &error, error.help()))?;
        is_which(&shown.record.request, which, &what)?;
        let Some(person) = &arguments.statement else {
            session.output.report(&to_json(&shown), |out| print(out, &shown))?;
            return Ok(ExitCode::SUCCESS);
        };
        let ShowArguments { key_id, role, at, reject, .. } = arguments;
        let decision = if *reject { Decision::Reject } else { Decision::Approve };
        let is_asked = at.is_none() && key_id.is_none() && role.is_none();
        let own = |given: &&GivenSignature| given.person == *person && given.decision == decision;
        let signed = shown.record.signatures.iter().rev().find(own).filter(|_| is_asked);
        let (text, time) = match signed {
            Some(given) => (signed_text(&shown.record.request, given), None),
            None => {
                let registry =
                    reader.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
                let key = key_of(&registry, person, key_id.as_ref(), &what)?;
                let made = reader.statement(id, decision, key, role.as_ref(), at.unwrap_or(now));
                let (text, _, _, time) = made.map_err(|error| Failure::new(&what, &error, error.help()))?;
                (text.as_str().to_owned(), Some(time))
            }
        };
        session.output.bytes(text.as_bytes())?;
        if let Some(time) = time {
            session
                .output
                .progress(&format!("\nto be signed as it stands; `sign --at {time}` takes the signature"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Exactly the bytes that were signed.
fn signed_text(request: &Request, given: &GivenSignature) -> String {
    // The algorithm is that of the signature; one of another kind would not have been taken.
    let algorithm = given.signature.algorithm();
    statement(request, given.decision, &given.person, &given.role, algorithm, given.signed).to_string()
}

/// Refuses what is no override, where overrides are meant.
pub(super) fn is_which(request: &Request, which: Which, what: &str) -> Result<(), Failure> {
    let kind = request.subject().kind();
    match which {
        Which::Overrides if kind != Kind::Override => {
            Err(Failure::because(what, format!("it is no override, but {kind}"))
                .with_help("use the same command of `aegis approval`"))
        }
        Which::Overrides | Which::All => Ok(()),
    }
}

pub(super) fn missing_in_words(missing: &BTreeMap<Role, u8>) -> String {
    missing.iter().map(|(role, count)| format!("{count} {role}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn print_request(out: &mut dyn Write, request: &Request) -> io::Result<()> {
    writeln!(out, "{}", request.id())?;
    writeln!(out, "  kind:       {}", request.subject().kind())?;
    writeln!(out, "  subject:    {}", request.subject())?;
    writeln!(out, "  for:        {}", request.audience())?;
    writeln!(out, "  requester:  {}", request.requester())?;
    writeln!(out, "  quorum:     {}", request.quorum())?;
    writeln!(out, "  risk:       {}", request.risk())?;
    if !request.failed_gates().is_empty() {
        let gates: Vec<_> = request.failed_gates().iter().map(Gate::as_str).collect();
        writeln!(out, "  gates:      {}", gates.join(", "))?;
    }
    writeln!(out, "  created:    {}", request.created())?;
    writeln!(out, "  expires:    {}", request.expires())?;
    writeln!(out, "  hash:       {}", request.hash())?;
    for (index, line) in request.justification().as_str().lines().enumerate() {
        let label = if index == 0 { "why:" } else { "" };
        writeln!(out, "  {label:10}  {}", Escaped(line))?;
    }
    if !request.justification().is_ascii() {
        writeln!(out, "  {:10}  (not all of it is ASCII: letters may look like others)", "")?;
    }
    Ok(())
}

fn print(out: &mut dyn Write, shown: &Shown) -> io::Result<()> {
    let Shown { record, standing } = shown;
    print_request(out, &record.request)?;
    writeln!(out, "  state:      {}", standing.state)?;
    match (&record.closed, standing.state, standing.use_until) {
        (Some(Closed::Rejected { at, by } | Closed::Revoked { at, by }), _, _) => {
            writeln!(out, "              by {by} at {at}")?;
        }
        (Some(Closed::Consumed { at, used_for }), _, _) => {
            writeln!(out, "              at {at} for {}", Escaped(used_for))?;
        }
        (None, State::Approved, Some(until)) => writeln!(out, "  use until:  {until}")?,
        (None, State::Pending | State::Partial, _) => {
            writeln!(out, "  missing:    {}", missing_in_words(&standing.missing))?;
        }
        _ => {}
    }
    for (index, given) in record.signatures.iter().enumerate() {
        let fault = standing.void.iter().find(|(void, _)| *void == index);
        let counts = fault.map_or_else(String::new, |(_, fault)| format!(" (does not count: {fault})"));
        let key = given.key.fingerprint();
        writeln!(out, "\n{} by {} with the key {key}{counts}:", given.decision.as_str(), given.person)?;
        writeln!(out, "{}", signed_text(&record.request, given))?;
        let signature = given.signature.to_string();
        match signature.len() {
            0..=LONGEST_SHOWN => writeln!(out, "signature: {signature}")?,
            length => writeln!(out, "signature: {length} characters, which --json shows")?,
        }
    }
    Ok(())
}

pub(super) fn request_to_json(request: &Request) -> Value {
    let mut value: Value = serde_json::from_str(&request.to_json()).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("hash".to_owned(), request.hash().to_string().into());
        members.insert("risk".to_owned(), request.risk().into());
    }
    value
}

pub(super) fn signature_to_json(given: &GivenSignature, fault: Option<&SignatureFault>) -> Value {
    json!({
        "decision": given.decision.as_str(),
        "person": given.person.as_str(),
        "role": given.role.as_str(),
        "key_id": given.key,
        "signed_at": given.signed.to_string(),
        "counts": fault.is_none(),
        "fault": fault.map(ToString::to_string),
    })
}

fn to_json(shown: &Shown) -> Value {
    let Shown { record, standing } = shown;
    let signatures = record.signatures.iter().enumerate().map(|(index, given)| {
        let fault = standing.void.iter().find(|(void, _)| *void == index).map(|(_, fault)| fault);
        let mut value = signature_to_json(given, fault);
        if let Some(members) = value.as_object_mut() {
            members.insert("statement".to_owned(), signed_text(&record.request, given).into());
            members.insert("signature".to_owned(), given.signature.to_string().into());
        }
        value
    });
    let closed = record.closed.as_ref().map(|closed| match closed {
        Closed::Rejected { at, by } | Closed::Revoked { at, by } => {
            json!({ "at": at.to_string(), "by": by.as_str(), "used_for": null })
        }
        Closed::Consumed { at, used_for } => {
            json!({ "at": at.to_string(), "by": null, "used_for": used_for })
        }
    });
    json!({
        "request": request_to_json(&record.request),
        "state": standing.state.as_str(),
        "missing": standing.missing.iter().map(|(role, n)| (role.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "approved_at": standing.approved_at.map(|at| at.to_string()),
        "use_until": standing.use_until.map(|until| until.to_string()),
        "closed": closed,
        "signatures": signatures.collect::<Vec<_>>(),
    })
}
