//! `custodians list` and `custodians verify`.

use std::io::{self, Write};
use std::process::ExitCode;

use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::output::table;
use aegis_trust::custodians::listing::{CustodiansListing, ListedRule, verify_custodians};

use crate::custodians::VerifyArguments;
use crate::session::Session;

pub(super) fn list(session: &Session) -> Result<ExitCode, Failure> {
    let listing = session
        .host()?
        .list_custodians()
        .map_err(|error| Failure::new("cannot list the custodians of this host", &error, error.help()))?;
    session.output.report(&listing, |out| print_listing(out, &listing))?;
    Ok(ExitCode::SUCCESS)
}

fn print_listing(out: &mut dyn Write, listing: &CustodiansListing) -> io::Result<()> {
    let CustodiansListing { on: _, taken_up, host, rule, approved_keys, used_approvals } = listing;
    let (Some(rule), Some(host)) = (rule, host) else {
        return writeln!(out, "this host has no custodians: one person can change its keys");
    };
    print_rule(out, rule)?;
    writeln!(out)?;
    writeln!(out, "this host      {}", Escaped(host))?;
    match taken_up {
        true => {
            writeln!(out, "approved keys  {}", approved_keys.len())?;
            writeln!(out, "used           {used_approvals} approvals")
        }
        false => {
            writeln!(out, "not taken up   run `aegisbpf custodians init`, so that this host remembers them")
        }
    }
}

pub(super) fn verify(arguments: &VerifyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let rule = match &arguments.dir {
        Some(dir) => verify_custodians(dir).map_err(|error| {
            Failure::new(format!("cannot use the custodians in {}", dir.display()), &error, error.help())
        })?,
        None => {
            let what = "cannot trust the custodians of this host";
            let listing = session
                .host()?
                .list_custodians()
                .map_err(|error| Failure::new(what, &error, error.help()))?;
            listing.rule.ok_or_else(|| {
                Failure::because(what, "this host has no custodians")
                    .with_help("name them with `aegisbpf custodians init`")
            })?
        }
    };
    session.output.report(&rule, |out| print_rule(out, &rule))?;
    Ok(ExitCode::SUCCESS)
}

fn print_rule(out: &mut dyn Write, rule: &ListedRule) -> io::Result<()> {
    let ListedRule { digest, quorum, host, groups, custodians, indispensable } = rule;
    let quorum: Vec<String> = quorum.iter().map(|(role, count)| format!("{count} of {role}")).collect();
    writeln!(out, "digest         {digest}")?;
    writeln!(out, "needed         {}", quorum.join(" and "))?;
    let names: Vec<&str> = host.iter().chain(groups).map(String::as_str).collect();
    if !names.is_empty() {
        writeln!(out, "for            {}", Escaped(names.join(", ")))?;
    }
    if !indispensable.is_empty() {
        writeln!(out, "indispensable  {}", Escaped(indispensable.join(", ")))?;
    }
    writeln!(out)?;
    let mut rows: Vec<[String; 4]> = Vec::new();
    for custodian in custodians {
        for key in &custodian.keys {
            rows.push([
                custodian.person.clone(),
                custodian.roles.join(", "),
                key.fingerprint.clone(),
                key.algorithm.0.id().to_owned(),
            ]);
        }
    }
    table(out, ["PERSON", "ROLES", "KEY", "ALGORITHM"], &rows)
}
