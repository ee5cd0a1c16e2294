//! `export`, `import` and `verify`.

use std::path::Path;
use std::process::ExitCode;

use aegis_approval::{
    Quorum, ReadRegistrationError, ReadSignedError, Registration, Registry, SignedRequest, State, standing,
    verify as verify_approval,
};
use aegis_deployment::OfferedFile;
use aegis_terminal::{Failure, input};
use jiff::Timestamp;
use serde_json::json;

use super::asking::write_file;
use super::showing::{is_which, missing_in_words, request_to_json, signature_to_json};
use super::{ExportArguments, ImportArguments, VerifyArguments, Which};
use crate::custodian::registry_of;
use crate::session::Session;

pub(super) fn export(
    arguments: &ExportArguments,
    which: Which,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let ExportArguments { id, out } = arguments;
    let what = format!("cannot export {id}");
    session.with_deployment(|deployment| {
        let reader =
            deployment.read_approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let shown =
            reader.show(id, Timestamp::now()).map_err(|error| Failure::new(&what, &error, error.help()))?;
        is_which(&shown.record.request, which, &what)?;
        let registry = reader.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
        write_file(out, &shown.to_signed().with_keys(&registry).to_json(), session)?;
        if !input::is_stdin(out) {
            session.output.progress(&format!(
                "{id}, which is {}, is in {}",
                shown.standing.state,
                out.display()
            ));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads a file as `export` writes it.
pub(super) fn read_signed(path: &Path) -> Result<SignedRequest, Failure> {
    read_signed_or(path, |_, _| ())
}

/// The same; `refused` is told if it is none.
fn read_signed_or(path: &Path, refused: impl Fn(&str, &ReadSignedError)) -> Result<SignedRequest, Failure> {
    let name = input::name(path);
    let what = format!("cannot use the approval in {name}");
    let limit = u64::try_from(SignedRequest::MAX_LEN).unwrap_or(u64::MAX);
    let bytes = input::read(path, limit, &what)?;
    SignedRequest::parse(&bytes).map_err(|error| {
        refused(&name, &error);
        Failure::new(&what, &error, error.help())
    })
}

pub(super) fn import(arguments: &ImportArguments, session: &Session) -> Result<ExitCode, Failure> {
    session.with_deployment(|deployment| {
        let file = read_signed_or(&arguments.file, |name, error| {
            deployment.log_refused_file(OfferedFile::Approval, name, error);
        })?;
        let id = file.request.id().clone();
        let what = format!("cannot take the signatures of {id}");
        let approvals = deployment.approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let imported = approvals
            .import(&file, Timestamp::now())
            .map_err(|error| Failure::new(&what, &error, error.help()))?;
        let mut refused = 0;
        let mut added = 0;
        let mut report = Vec::new();
        for one in &imported {
            let (result, because) = match &one.result {
                Ok(None) => ("present", None),
                Ok(Some(_)) => {
                    added += 1;
                    ("added", None)
                }
                Err(error) => {
                    refused += 1;
                    session
                        .output
                        .warn(&format!("the signature of {} was not taken: {error}", one.signature.person));
                    ("refused", Some(error.to_string()))
                }
            };
            let mut value = signature_to_json(&one.signature, None);
            if let Some(members) = value.as_object_mut() {
                members.insert("result".to_owned(), result.into());
                members.insert("because".to_owned(), because.into());
            }
            report.push(value);
        }
        let shown = approvals.show(&id, Timestamp::now());
        let shown = shown.map_err(|error| Failure::new(&what, &error, error.help()))?;
        let report =
            json!({ "id": id.as_str(), "signatures": report, "state": shown.standing.state.as_str() });
        session.output.report(&report, |out| {
            let noun = if added == 1 { "signature" } else { "signatures" };
            writeln!(out, "{added} {noun} added; {id} is {}", shown.standing.state)
        })?;
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

pub(super) fn verify(
    arguments: &VerifyArguments,
    which: Which,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let VerifyArguments { file, custodians, require, audience, at, form: _ } = arguments;
    let signed = read_signed(file)?;
    let request = &signed.request;
    let what = format!("{} does not hold", request.id());
    is_which(request, which, &what)?;
    let now = at.unwrap_or_else(Timestamp::now);
    let trusted = !custodians.is_empty();
    let registry: Registry = match trusted {
        true => registry_of(&registrations(custodians)?, &what)?,
        false => signed.claimed_registry().map_err(|error| Failure::new(&what, &error, error.help()))?,
    };
    let least = match require.is_empty() {
        true => request.quorum().clone(),
        false => {
            Quorum::new(require.iter().cloned()).map_err(|error| Failure::new(&what, &error, error.help()))?
        }
    };
    let here = audience.clone().unwrap_or_else(|| request.audience().clone());
    let stands = standing(request, &signed.signatures, None, &registry, now);
    let outcome = verify_approval(&signed, request.subject(), &[here], &registry, &least, now);
    let signatures: Vec<_> = signed
        .signatures
        .iter()
        .enumerate()
        .map(|(index, given)| {
            let fault = stands.void.iter().find(|(void, _)| *void == index).map(|(_, fault)| fault);
            signature_to_json(given, fault)
        })
        .collect();
    let report = json!({
        "request": request_to_json(request),
        "state": stands.state.as_str(),
        "holds": outcome.is_ok(),
        "custodians": if trusted { "given" } else { "as_the_file_claims" },
        "signatures": signatures,
        "use_until": stands.use_until.map(|until| until.to_string()),
    });
    let text = |out: &mut dyn std::io::Write| -> std::io::Result<()> {
        writeln!(out, "{} {} for {}", request.subject().kind(), request.subject(), request.audience())?;
        writeln!(out, "hash {}", request.hash())?;
        for (index, given) in signed.signatures.iter().enumerate() {
            let fault = stands.void.iter().find(|(void, _)| *void == index);
            let result =
                fault.map_or_else(|| "good".to_owned(), |(_, fault)| format!("does not count: {fault}"));
            let decision = given.decision.as_str();
            writeln!(
                out,
                "{decision} by {} as {}, key {}: {result}",
                given.person,
                given.role,
                given.key.fingerprint()
            )?;
        }
        Ok(())
    };
    match outcome {
        Ok(approval) => {
            session.output.report(&report, |out| {
                text(out)?;
                writeln!(out, "approved; can be used once until {}", approval.use_until())
            })?;
            if !trusted {
                session.output.warn(
                    "whose the keys in the file are was not checked; name the custodians you trust with --custodian",
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            session.output.report(&report, |out| {
                text(out)?;
                match stands.state {
                    State::Pending | State::Partial => {
                        writeln!(out, "not approved: {} missing", missing_in_words(&stands.missing))
                    }
                    // The file is right; that it does not hold here is the error that follows.
                    State::Approved => Ok(()),
                    state => writeln!(out, "not approved: {state}"),
                }
            })?;
            Err(Failure::new(what, &error, error.help()))
        }
    }
}

pub(crate) fn registrations(paths: &[std::path::PathBuf]) -> Result<Vec<Registration>, Failure> {
    registrations_or(paths, |_, _| ())
}

/// The same; `refused` is told of the first one that is no registration.
pub(crate) fn registrations_or(
    paths: &[std::path::PathBuf],
    refused: impl Fn(&str, &ReadRegistrationError),
) -> Result<Vec<Registration>, Failure> {
    paths
        .iter()
        .map(|path| {
            let name = input::name(path);
            let what = format!("cannot use the registration in {name}");
            let limit = u64::try_from(Registration::MAX_LEN).unwrap_or(u64::MAX);
            let bytes = input::read(path, limit, &what)?;
            Registration::parse(&bytes).map_err(|error| {
                refused(&name, &error);
                Failure::new(&what, &error, error.help())
            })
        })
        .collect()
}
