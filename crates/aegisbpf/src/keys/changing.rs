//! `keys add`, `keys remove` and `keys revoke`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use aegis_crypto::Signature;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::keys::{KeyRemoved, KeyRevoked, Lockout};

use crate::keys::{AddArguments, MAX_KEY_FILE_LEN, RemoveArguments, RevokeArguments};
use crate::session::Session;

/// A hex signature and a line break.
const MAX_PROOF_LEN: u64 = 256;

pub(super) fn add(arguments: &AddArguments, session: &Session) -> Result<ExitCode, Failure> {
    let source = input::name(&arguments.file);
    let what = format!("cannot add {source}");
    let proof = arguments.proof.as_deref().map(read_proof).transpose()?;
    let (host, name) = (session.host()?, arguments.name.as_deref());
    let caller = session.caller().with_approvals(arguments.approval.files()?);
    let added = if input::is_stdin(&arguments.file) {
        // One byte too many is refused below, and so logged like any other offer.
        let bytes =
            input::read_stdin(MAX_KEY_FILE_LEN).map_err(|error| Failure::new(&what, &error, error.help()))?;
        host.add_key(&caller, &bytes, &source, name, proof.as_ref())
    } else {
        host.add_key_file(&caller, &arguments.file, name, proof.as_ref())
    };
    session.warn_unlogged(&host);
    let added = added.map_err(|error| Failure::new(what, &error, error.help()))?;
    session.output.report(&added, |out| {
        let verb = if added.already { "already trusted:" } else { "trusted:" };
        writeln!(out, "{verb} key {} as {}", added.id, Escaped(added.path.display()))?;
        print_used(out, added.approval.as_deref())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The signature itself, or a file that holds it.
pub(super) fn read_proof(proof: &str) -> Result<Signature, Failure> {
    if let Ok(signature) = Signature::from_hex(proof) {
        return Ok(signature);
    }
    let what = format!("cannot use the proof {proof}");
    let bytes = input::read(Path::new(proof), MAX_PROOF_LEN, &what)
        .map_err(|failure| failure.with_help("give 128 hex characters, or a file that has them"))?;
    let text = str::from_utf8(&bytes).map_err(|error| Failure::new(&what, &error, None))?;
    Signature::from_hex(text.trim_ascii()).map_err(|error| Failure::new(what, &error, error.help()))
}

pub(super) fn remove(arguments: &RemoveArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let caller = session.caller().with_approvals(arguments.approval.files()?);
    let removed = host.remove_key(&caller, &arguments.id, lockout(arguments.force_lockout));
    session.warn_unlogged(&host);
    let removed = removed.map_err(|error| {
        Failure::new(format!("cannot remove key {}", arguments.id.as_str()), &error, error.help())
    })?;
    let KeyRemoved { id, names, usable_left, approval } = &removed;
    session.output.report(&removed, |out| {
        match names.is_empty() {
            true => writeln!(out, "no longer trusted: key {id}")?,
            false => writeln!(out, "no longer trusted: key {id} ({})", Escaped(names.join(", ")))?,
        }
        writeln!(out, "  usable keys left: {usable_left}")?;
        print_used(out, approval.as_deref())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn revoke(arguments: &RevokeArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RevokeArguments { id, reason, force_lockout, approval, form: _ } = arguments;
    let host = session.host()?;
    let caller = session.caller().with_approvals(approval.files()?);
    let revoked = host.revoke_key(&caller, id, reason, lockout(*force_lockout));
    session.warn_unlogged(&host);
    let revoked = revoked
        .map_err(|error| Failure::new(format!("cannot revoke key {}", id.as_str()), &error, error.help()))?;
    let KeyRevoked { id, reason, names: _, usable_left, already, signed_applied, keys_unreadable, approval } =
        &revoked;
    session.output.report(&revoked, |out| {
        let verb = if *already { "revoked before:" } else { "revoked for ever:" };
        writeln!(out, "{verb} key {id} ({})", Escaped(reason))?;
        writeln!(out, "  usable keys left: {usable_left}")?;
        if let Some(why) = keys_unreadable {
            writeln!(out, "  a file of it may still be there, and is refused: {}", Escaped(why))?;
        }
        if *signed_applied {
            writeln!(out, "  the policy in force carries its signature: apply one that another key signed")?;
        }
        print_used(out, approval.as_deref())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print_used(out: &mut dyn Write, approval: Option<&str>) -> io::Result<()> {
    match approval {
        Some(id) => writeln!(out, "  used: {}", Escaped(id)),
        None => Ok(()),
    }
}

fn lockout(force: bool) -> Lockout {
    if force { Lockout::Force } else { Lockout::Refuse }
}
