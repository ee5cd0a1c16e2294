//! `keys list` and `keys show`.

use std::io::{self, Write};
use std::process::ExitCode;

use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::output::table;
use aegis_trust::keys::{KeyDetails, KeyListing, ListedKey};
use jiff::Timestamp;

use crate::keys::ShowArguments;
use crate::session::Session;

pub(super) fn list(session: &Session) -> Result<ExitCode, Failure> {
    let listing = session
        .host()?
        .list_keys(session.caller().now)
        .map_err(|error| Failure::new("cannot list the trusted keys", &error, error.help()))?;
    session.output.report(&listing, |out| print_listing(out, &listing))?;
    Ok(ExitCode::SUCCESS)
}

fn print_listing(out: &mut dyn Write, listing: &KeyListing) -> io::Result<()> {
    if listing.trusted.is_empty() {
        writeln!(out, "no key is trusted in {}", Escaped(listing.keys_dir.display()))?;
    } else {
        let rows: Vec<[String; 5]> = listing
            .trusted
            .iter()
            .map(|key| {
                let ListedKey { id: _, fingerprint, name, path: _, added_at, age_days, .. } = key;
                [
                    fingerprint.clone(),
                    name.clone(),
                    day(*added_at),
                    format!("{age_days} days"),
                    use_of(key).to_owned(),
                ]
            })
            .collect();
        table(out, ["KEY", "NAME", "ADDED", "AGE", "USE"], &rows)?;
    }
    for id in &listing.missing {
        writeln!(out, "approved, but its file is gone: {id}")?;
    }
    if !listing.revoked.is_empty() {
        let rows: Vec<[String; 3]> = listing
            .revoked
            .iter()
            .map(|key| [key.id.fingerprint(), day(key.revoked_at), key.reason.clone()])
            .collect();
        writeln!(out)?;
        table(out, ["REVOKED", "ON", "REASON"], &rows)?;
    }
    Ok(())
}

/// The UTC date.
fn day(time: Timestamp) -> String {
    time.to_string().chars().take_while(|character| *character != 'T').collect()
}

fn use_of(key: &ListedKey) -> &'static str {
    match (key.revoked, key.approved, key.signs_applied) {
        (true, ..) => "revoked, and refused",
        (false, Some(false), _) => "not approved, and refused",
        (false, _, true) => "signs the applied policy",
        (false, _, false) => "trusted",
    }
}

pub(super) fn show(arguments: &ShowArguments, session: &Session) -> Result<ExitCode, Failure> {
    let details = session.host()?.show_key(&arguments.id, session.caller().now).map_err(|error| {
        Failure::new(format!("cannot show key {}", arguments.id.as_str()), &error, error.help())
    })?;
    let KeyDetails { listed, hex, openssh, pem } = &details;
    session.output.report(&details, |out| {
        writeln!(out, "key {}", listed.id)?;
        writeln!(out, "  name     {}", Escaped(&listed.name))?;
        writeln!(out, "  file     {}", Escaped(listed.path.display()))?;
        writeln!(out, "  added    {} ({} days ago)", day(listed.added_at), listed.age_days)?;
        writeln!(out, "  use      {}", use_of(listed))?;
        writeln!(out, "  hex      {hex}")?;
        writeln!(out, "  openssh  {}", Escaped(openssh.trim_end()))?;
        out.write_all(pem.as_bytes())
    })?;
    Ok(ExitCode::SUCCESS)
}
