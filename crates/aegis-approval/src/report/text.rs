//! For people. Every part is printable: names, subjects and times have no other characters, and a reason is one line.

use std::io::{self, Write};

use super::finding::{Finding, OtherSigner, Remedy};
use super::{ReportCounts, ReportHead};
use crate::approvals::{ended, list_missing};
use crate::registry::KeyState;
use crate::statement::Decision;

pub(super) fn head(out: &mut dyn Write, head: &ReportHead) -> io::Result<()> {
    let ReportHead { key, person, key_state, rotation, made } = head;
    writeln!(out, "What a custodian's key took part in")?;
    writeln!(out, "key:     {key}")?;
    writeln!(out, "of:      {person}")?;
    match key_state {
        KeyState::Active => writeln!(out, "state:   active")?,
        KeyState::Revoked { at } => writeln!(out, "state:   revoked at {at}")?,
        KeyState::Replaced { at, by } => writeln!(out, "state:   replaced at {at} by {by}")?,
    }
    if let Some(rotation) = rotation {
        writeln!(out, "begun:   {}", rotation.started)?;
        writeln!(out, "reason:  {}", printable(&rotation.reason))?;
        match rotation.new_key {
            Some(new) => writeln!(out, "new key: {new}")?,
            None => writeln!(out, "new key: not registered yet")?,
        }
    }
    writeln!(out, "made:    {}", crate::canonical::to_second(*made))
}

pub(super) fn decision(out: &mut dyn Write, head: &ReportHead, finding: &Finding) -> io::Result<()> {
    let Finding { request, subject, audience, requester, role, signed, .. } = finding;
    writeln!(out, "\n{request}  {} {subject}", subject.kind())?;
    writeln!(out, "    for {audience}, asked for by {requester}")?;
    let did = match finding.decision {
        Decision::Approve => "approved",
        Decision::Reject => "rejected",
    };
    writeln!(out, "    {} {did} it as {role} at {signed}", head.person)?;
    for OtherSigner { person, role, decision, key, key_state } in &finding.others {
        let did = match decision {
            Decision::Approve => "approved",
            Decision::Reject => "rejected",
        };
        writeln!(out, "    {person} {did} it as {role} with {} ({key_state})", key.fingerprint())?;
    }
    writeln!(out, "    state: {} then, {} now", finding.then, finding.now)?;
    if let Some(closed) = &finding.closed {
        writeln!(out, "    it was {}", printable(&ended(closed)))?;
    }
    if finding.stands_without {
        writeln!(out, "    without this key: enough people approved it")?;
    } else {
        writeln!(out, "    without this key: {} missing", list_missing(&finding.missing))?;
    }
    writeln!(out, "    to do: {}", finding.remedy().in_words())
}

pub(super) fn end(out: &mut dyn Write, counts: &ReportCounts) -> io::Result<()> {
    writeln!(out, "\ndecisions: {}", counts.decisions)?;
    for remedy in Remedy::ALL {
        if let Some(count) = counts.remedies.get(&remedy) {
            writeln!(out, "{count:>9}  {}", remedy.in_words())?;
        }
    }
    Ok(())
}

/// What a store gave back, without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
