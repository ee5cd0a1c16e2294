//! ArcSight Common Event Format, version 0: `CEF:0|vendor|product|version|class id|name|severity|extension`.
//!
//! In the header `\` and `|` are escaped; in the extension `\`, `=`, and line ends as `\n` and `\r`. Lengths are those
//! of the extension dictionary: a longer value is cut and ends in a mark.

use std::fmt::Write as _;

use crate::bounds;
use crate::event::{Action, Entry, Outcome};
use crate::line::json;

use super::text::{escape, is_detection, program, sentence};

/// The longest `msg` and `reason`.
const MESSAGE_LEN: usize = 1023;
/// The longest custom string.
const STRING_LEN: usize = 4000;
/// The longest header field.
const HEADER_LEN: usize = 512;

pub(super) fn line(entry: &Entry, host: &str) -> String {
    let mut line = String::from("CEF:0");
    let name = format!("{} {}", name(entry.action), entry.outcome);
    let severity = severity(entry).to_string();
    for field in ["Aegis", program(entry), env!("CARGO_PKG_VERSION"), entry.action.as_str(), &name, &severity]
    {
        line.push('|');
        escape(&bounds::cut(field, HEADER_LEN), &['|'], &mut line);
    }
    line.push('|');

    let mut extension = Extension { line, first: true };
    extension.put("rt", entry.time.as_millisecond());
    extension.put("externalId", entry.seq);
    extension.text("dvchost", host, 100);
    extension.put("suid", entry.actor.uid);
    extension.text("suser", entry.actor.user.as_deref().unwrap_or_default(), MESSAGE_LEN);
    extension.text("sproc", &entry.actor.program, MESSAGE_LEN);
    extension.put("spid", entry.actor.pid);
    extension.text("act", entry.action.as_str(), 63);
    extension.text("outcome", entry.outcome.as_str(), 63);
    extension.text("reason", entry.reason.as_deref().unwrap_or_default(), MESSAGE_LEN);
    extension.text("msg", &sentence(entry), MESSAGE_LEN);
    extension.labelled("cs1", "object", &entry.object);
    extension.labelled("cs2", "transaction", entry.transaction.as_deref().unwrap_or_default());
    extension.labelled("cs3", "keyId", entry.detail_str("key_id").unwrap_or_default());
    extension.labelled("cs4", "refusal", entry.detail_str("refusal").unwrap_or_default());
    if !entry.detail.is_empty() {
        extension.labelled("cs5", "detail", &String::from_utf8_lossy(&json(&entry.detail)));
    }
    extension.line
}

fn name(action: Action) -> &'static str {
    match action {
        Action::PolicyApply => "Policy apply",
        Action::PolicyRollback => "Policy rollback",
        Action::CounterRepair => "Version counter repair",
        Action::KeyAdd => "Trusted key addition",
        Action::KeyRemove => "Trusted key removal",
        Action::KeyRevoke => "Key revocation",
        Action::KeyDrill => "Key drill",
        Action::BackupCreate => "Backup",
        Action::BackupRestore => "Backup restore",
        Action::AuditRead => "Audit log read",
        Action::AuditHandOver => "Host key hand-over",
        Action::Recovery => "Recovery",
        Action::KekProvision => "KEK provisioning",
        Action::KekEnrol => "KEK enrolment",
        Action::KekLoad => "KEK load",
        Action::KekRotate => "KEK rotation",
        Action::KekRetire => "KEK retirement",
        Action::DekCreate => "DEK creation",
        Action::DekRotate => "DEK rotation",
        Action::DekRetire => "DEK retirement",
        Action::DekDestroy => "DEK destruction",
        Action::KeyringBackup => "Keyring backup",
        Action::KeyringRestore => "Keyring restore",
        Action::KeyRotate => "Trusted key rotation",
        Action::CustodiansInit => "Host custodians set up",
        Action::CustodiansSet => "Host custodians change",
        Action::CustodiansOff => "Host custodians turned off",
        Action::CustodianRegister => "Custodian registration",
        Action::CustodianRevoke => "Custodian key revocation",
        Action::CustodianReplace => "Custodian key replacement",
        Action::CustodianRoles => "Custodian role change",
        Action::ApprovalRequest => "Approval request",
        Action::ApprovalSign => "Approval signature",
        Action::ApprovalReject => "Approval rejection",
        Action::ApprovalDecide => "Approval decision",
        Action::ApprovalUse => "Approval use",
        Action::EmergencyRotate => "Emergency rotation",
        Action::EnforcementOff => "Enforcement turned off",
        Action::EnforcementOn => "Enforcement turned on",
        Action::PolicyConfirm => "Policy confirmation",
        Action::PolicyFallback => "Policy fallback",
    }
}

/// 0 to 3 low, 4 to 6 medium, 7 and 8 high, 9 and 10 very high.
fn severity(entry: &Entry) -> u8 {
    match entry.outcome {
        // What was denied no longer is, or not by the policy that somebody meant.
        Outcome::Accepted if matches!(entry.action, Action::EnforcementOff | Action::PolicyFallback) => 6,
        Outcome::Accepted => 3,
        Outcome::Refused if is_detection(entry) => 8,
        Outcome::Refused | Outcome::Failed => 5,
    }
}

/// The part after the header: `key=value` pairs between spaces.
struct Extension {
    line: String,
    first: bool,
}

impl Extension {
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.line.push(' ');
        }
        self.line.push_str(key);
        self.line.push('=');
    }

    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        let _ = write!(self.line, "{value}");
    }

    /// Writes a text, unless it is empty.
    fn text(&mut self, key: &str, value: &str, limit: usize) {
        if value.is_empty() {
            return;
        }
        self.key(key);
        let value = bounds::cut(value, limit);
        for (at, part) in value.split('\n').enumerate() {
            if at > 0 {
                self.line.push_str("\\n");
            }
            for (at, part) in part.split('\r').enumerate() {
                if at > 0 {
                    self.line.push_str("\\r");
                }
                escape(part, &['='], &mut self.line);
            }
        }
    }

    fn labelled(&mut self, key: &str, label: &str, value: &str) {
        if !value.is_empty() {
            self.text(&format!("{key}Label"), label, MESSAGE_LEN);
            self.text(key, value, STRING_LEN);
        }
    }
}
