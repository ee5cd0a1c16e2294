//! `emergency rotate-custodian`.

use std::path::Path;
use std::process::ExitCode;

use aegis_approval::{EmergencyOrder, Left, NewKey, ReportError};
use aegis_deployment::{CustodianRotated, RotateCustodian};
use aegis_terminal::{Failure, input};
use serde_json::json;

use super::RotateArguments;
use super::showing::{needs, to_json, write};
use crate::approval::registrations;
use crate::custodian::key_named;
use crate::session::Session;

pub(super) fn rotate(arguments: &RotateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RotateArguments { key, reason, registration, new_key, no_new_key, rotate_deks, report, .. } =
        arguments;
    let what = format!("the emergency rotation of the key {key} is not finished");
    // A file that cannot be read must not keep a key in force that may be in the wrong hands: first the key goes.
    let (registration, unread) = match registration {
        None => (None, None),
        Some(path) => match registrations(std::slice::from_ref(path)) {
            Ok(mut read) => (read.pop(), None),
            Err(failure) => (None, Some(failure)),
        },
    };
    let out = report.as_deref().unwrap_or(Path::new("-"));
    // Standard output has one document: with --json, that of this command.
    let is_printed = !(input::is_stdin(out) && session.output.is_json());
    session.with_deployment(|deployment| {
        let (old_key, registered) = {
            let reader =
                deployment.read_approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
            let registry = reader.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
            let old_key = key_named(&registry, key, None, &format!("cannot rotate the key {key}"))?;
            let person = registry.holder(old_key).map(|(custodian, _)| &custodian.person);
            let registered = new_key.as_ref().map(|prefix| key_named(&registry, prefix, person, &what));
            (old_key, registered.transpose()?)
        };
        let new_key = match (&registration, registered, no_new_key) {
            (Some(registration), ..) => NewKey::Registration(registration),
            (None, Some(key), _) => NewKey::Registered(key),
            (None, None, true) => NewKey::None,
            (None, None, false) => NewKey::Later,
        };
        let order = EmergencyOrder { old_key, reason, with_deks: *rotate_deks };
        let mut to_sign = Vec::new();
        let mut refused = None;
        let done = deployment.rotate_custodian(
            RotateCustodian { order, new_key },
            &mut |finding| {
                session.output.progress(&format!("to be signed again: {}", finding.request));
                to_sign.push(finding.request.to_string());
                Ok(())
            },
            |report| {
                if !is_printed {
                    return Ok(());
                }
                write(report, arguments.format, out, session).map_err(|failure| {
                    refused = Some(failure);
                    ReportError::Write(std::io::ErrorKind::Other.into())
                })
            },
        );
        if let Some(failure) = refused {
            return Err(failure);
        }
        let CustodianRotated { rotation, left, deks, .. } =
            done.map_err(|error| Failure::new(&what, &error, error.help()))?;
        for version in &deks {
            session.output.progress(&format!("active from now on: {version}"));
        }
        let mut value = to_json(&rotation);
        if let Some(members) = value.as_object_mut() {
            members.insert("to_sign_again".to_owned(), json!(to_sign));
            members.insert("deks".to_owned(), json!(deks));
        }
        if session.output.is_json() {
            session.output.document(&value)?;
        }
        if let Some(failure) = unread {
            session
                .output
                .warn("the old key is revoked, and the registration of the new one could not be read");
            return Err(failure);
        }
        if left == Left::Nothing {
            session.output.progress(&format!("the emergency rotation of {} is done", rotation.person));
            return Ok(ExitCode::SUCCESS);
        }
        let needs = needs(&rotation).unwrap_or("to be run again");
        Err(Failure::because(what, format!("the old key is revoked; it needs {needs}")))
    })
}
