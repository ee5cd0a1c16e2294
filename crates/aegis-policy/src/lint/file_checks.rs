//! Warnings about a policy as a whole and its sections.

use super::{Found, WarningKind};
use crate::line::Lines;
use crate::parse::Limits;
use crate::policy::Policy;
use crate::section::Section;

pub(super) fn check(policy: &Policy<'_>, limits: &Limits, found: &mut Found) {
    near_limit("bytes", policy.source().len(), limits.max_bytes, found);
    near_limit("rules", policy.rule_count(), limits.max_rules, found);
    for section in policy.sections() {
        let line = policy.first_line(section).unwrap_or(1);
        let about = |found: &mut Found, kind| found.at(line, 1, header_len(section), kind);
        if !section.is_flag() && policy.count(section) == 0 {
            about(found, WarningKind::EmptySection { section });
        }
        if section.is_network() && policy.version() == 1 {
            about(found, WarningKind::NetworkInVersion1 { section });
        }
        let hashes = policy.count(Section::DenyBinaryHash) + policy.count(Section::AllowBinaryHash);
        if section == Section::ScanPaths && hashes == 0 {
            about(found, WarningKind::ScanPathsUnused);
        }
    }
    lines(policy, found);
}

/// Warns from nine tenths of a limit on.
fn near_limit(what: &'static str, used: usize, limit: usize, found: &mut Found) {
    if used > limit / 10 * 9 {
        found.at(1, 1, 1, WarningKind::NearLimit { what, used, limit });
    }
}

fn lines(policy: &Policy<'_>, found: &mut Found) {
    let mut ascii = policy.source().is_ascii();
    for line in Lines::all(policy.source(), 0) {
        let column = u32::try_from(line.indent + 1).unwrap_or(u32::MAX);
        if line.is_comment() {
            if !ascii && !line.text.is_ascii() {
                ascii = true;
                let length = u32::try_from(line.text.len()).unwrap_or(u32::MAX);
                found.at(line.number, column, length, WarningKind::CommentNotAscii);
            }
            continue;
        }
        let name = line.text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        let section = name.and_then(|name| std::str::from_utf8(name).ok()).and_then(Section::from_name);
        if let Some(section) = section
            && let Some(first_line) = policy.first_line(section)
            && first_line != line.number
        {
            let kind = WarningKind::RepeatedSection { section, first_line };
            found.at(line.number, column, header_len(section), kind);
        }
    }
}

fn header_len(section: Section) -> u32 {
    u32::try_from(section.name().len() + 2).unwrap_or(u32::MAX)
}
