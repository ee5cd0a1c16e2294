//! `keys rotate`: one key after another.

use std::io::{self, Write};
use std::process::ExitCode;

use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::rotation::{Awaited, Canary, RotateRequest, RotationReport, RotationStep};

use crate::approval::approval_file;
use crate::keys::{RotateArguments, changing::read_proof};
use crate::session::Session;

pub(super) fn rotate(arguments: &RotateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RotateArguments { new, old, name, proof, approval, canary, bundle, signer, status, abandon, form: _ } =
        arguments;
    let host = session.host()?;
    if *status {
        let report = host
            .rotation_status()
            .map_err(|error| Failure::new("cannot tell how the rotation stands", &error, error.help()))?;
        session.output.report(&report, |out| match &report {
            Some(report) => print_report(out, report),
            None => writeln!(out, "no rotation is under way"),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if *abandon {
        let abandoned = host.abandon_rotation(&session.caller());
        session.warn_unlogged(&host);
        let report =
            abandoned.map_err(|error| Failure::new("cannot give the rotation up", &error, error.help()))?;
        session.output.report(&report, |out| print_report(out, &report))?;
        return Ok(ExitCode::SUCCESS);
    }
    let proof = proof.as_deref().map(read_proof).transpose()?;
    let approvals = approval.iter().map(|path| approval_file(path)).collect::<Result<_, _>>()?;
    let signer = signer.open()?;
    let request = RotateRequest {
        new: new.as_deref(),
        old: old.as_ref(),
        name: name.as_deref(),
        proof: proof.as_ref(),
        canary: match (canary, &signer) {
            (Some(file), _) => Canary::File(file),
            (None, Some(signer)) => Canary::Signer(&**signer),
            (None, None) => Canary::None,
        },
        bundle: bundle.as_deref(),
    };
    let rotated = host.rotate(&session.caller().with_approvals(approvals), &request);
    session.warn_unlogged(&host);
    let what = match new {
        Some(new) => format!("cannot rotate to {}", input::name(new)),
        None => "cannot go on with the rotation".to_owned(),
    };
    let report = rotated.map_err(|error| Failure::new(what, &error, error.help()))?;
    session.output.report(&report, |out| print_report(out, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn print_report(out: &mut dyn Write, report: &RotationReport) -> io::Result<()> {
    let RotationReport { old, new, started_at: _, step, awaits, policy_version, policy_signed_by } = report;
    let stands = match step {
        RotationStep::Begun => "begun",
        RotationStep::Added => "the new key is trusted",
        RotationStep::Proved => "the new key is proved",
        RotationStep::CutOver => "the policy in force does without the old key",
        RotationStep::Done => "done: the old key is not trusted any more",
        RotationStep::Abandoned => "given up; what was done stays",
    };
    writeln!(out, "{stands}")?;
    writeln!(out, "  from    {old}")?;
    writeln!(out, "  to      {new}")?;
    if let Some(version) = policy_version {
        let signers: Vec<String> = policy_signed_by
            .iter()
            .map(|id| match id {
                id if id == old => format!("{} (the old key)", id.fingerprint()),
                id if id == new => format!("{} (the new key)", id.fingerprint()),
                id => id.fingerprint(),
            })
            .collect();
        writeln!(out, "  policy  version {version}, signed by {}", signers.join(", "))?;
    }
    match awaits {
        Some(awaited) => writeln!(out, "  next    {}", in_words(*awaited, report)),
        None => Ok(()),
    }
}

fn in_words(awaited: Awaited, report: &RotationReport) -> String {
    match awaited {
        Awaited::ApprovalToAdd => format!("--approval FILE, of keys.add {}", report.new),
        Awaited::Canary => {
            "--canary FILE or --bundle FILE, signed by the new key; or its signer (--key, --sign-command, --pkcs11-module)"
                .to_owned()
        }
        Awaited::Bundle => "--bundle FILE, the next policy, signed by the new key".to_owned(),
        Awaited::ApprovalToRemove => format!("--approval FILE, of keys.remove {}", report.old),
    }
}
