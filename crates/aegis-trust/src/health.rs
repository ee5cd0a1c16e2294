//! Whether this host can be trusted with signed policy now, check by check, each with what to do.

use aegis_audit::QuickCheck;
use aegis_crypto::{Digest, sha256};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    bundle::SignedBundle,
    durable,
    enforce::EnforcementMode,
    host::{Host, Search},
    journal::Journal,
    keys::{KeyListing, ROTATE_AFTER_DAYS},
    manifest::truncate_to_seconds,
    verify::{CLOCK_SKEW, Expiry, V1, VerifyError, clock_is_sane},
};

/// A drill older than this is overdue: a quarter.
pub const DRILL_AFTER_DAYS: i64 = 92;
/// Expiry is announced this many days ahead, and again, louder, at [`EXPIRY_SOON_DAYS`].
pub const EXPIRY_NOTICE_DAYS: i64 = 30;
/// See [`EXPIRY_NOTICE_DAYS`].
pub const EXPIRY_SOON_DAYS: i64 = 7;

/// A log of at most this many bytes is hashed anew, which takes less than a health check may.
const REHASH_UP_TO: u64 = 256 * 1024;

/// How one check, or the host, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works; somebody should do something.
    Degraded,
    /// The host cannot be trusted with signed policy.
    Failed,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its name, which stays the same over releases.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// The worst of the checks.
    pub status: Status,
    /// When it was made.
    pub checked_at: Timestamp,
    /// Every check, in a fixed order.
    pub checks: Vec<Check>,
}

impl Health {
    /// 0 ok, 1 degraded, 2 failed.
    pub fn exit_code(&self) -> u8 {
        match self.status {
            Status::Ok => 0,
            Status::Degraded => 1,
            Status::Failed => 2,
        }
    }
}

/// An error and its causes on one line, for a log or a report.
pub fn cause_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What is in force, as far as it can be read.
enum InForce {
    Nothing,
    Unsigned(Digest),
    Bundle(SignedBundle),
    Broken(String),
}

impl Host {
    /// Looks at everything that signed policy rests on. Nothing is changed, and nothing is waited for.
    pub fn health(&self, now: Timestamp) -> Health {
        let in_force = self.in_force();
        let mut checks = Vec::with_capacity(17);
        // Asked once: it waits for whoever writes to the log.
        let log = self.audit().exists().then(|| self.audit().quick_check());
        checks.push(clock(log.as_ref(), now));
        checks.extend(self.key_checks(now));
        checks.push(self.custodians_check());
        checks.push(self.rotation_check());
        checks.push(self.counter_check(&in_force));
        checks.push(self.policy_check(&in_force));
        checks.push(self.signer_check(&in_force, now));
        checks.push(expiry_check(&in_force, now));
        checks.push(self.rollback_check());
        checks.push(self.enforcement_check(&in_force));
        checks.push(self.journal_check());
        checks.push(self.audit_check(log));
        checks.push(self.drill_check(now));
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        Health { status, checked_at: truncate_to_seconds(now), checks }
    }

    fn in_force(&self) -> InForce {
        match durable::read_state(&self.paths().applied(), self.max_file_len()) {
            Ok(None) => InForce::Nothing,
            Ok(Some(file)) if !crate::bundle::is_bundle(&file) => InForce::Unsigned(sha256(&file)),
            Ok(Some(file)) => SignedBundle::parse(file)
                .map_or_else(|error| InForce::Broken(cause_chain(&error)), InForce::Bundle),
            Err(error) => InForce::Broken(cause_chain(&error)),
        }
    }

    fn key_checks(&self, now: Timestamp) -> Vec<Check> {
        let listing = match self.list_keys(now) {
            Ok(listing) => listing,
            Err(error) => return vec![bad("keys", Status::Failed, cause_chain(&error), error.help())],
        };
        let usable = listing
            .trusted
            .iter()
            .filter(|key| !key.revoked && key.approved != Some(false))
            .map(|key| key.id)
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        let required = self.config().required_signatures;
        let add = || Some("install a signer's public key with `aegisbpf keys add FILE`".to_owned());
        let count = match () {
            () if usable == 0 => bad(
                "keys",
                Status::Failed,
                "no usable trusted key: this host can accept no signed policy".to_owned(),
                add(),
            ),
            () if usable < usize::try_from(required).unwrap_or(usize::MAX) => bad(
                "keys",
                Status::Failed,
                format!("{usable} usable trusted keys, and {required} must sign"),
                add(),
            ),
            () => good("keys", format!("usable trusted keys: {usable}; revoked: {}", listing.revoked.len())),
        };
        let old: Vec<&str> = listing
            .trusted
            .iter()
            .filter(|key| !key.revoked && key.approved != Some(false) && key.age_days > ROTATE_AFTER_DAYS)
            .map(|key| key.name.as_str())
            .collect();
        let age = match old.is_empty() {
            true => good("key_age", format!("no trusted key is older than {ROTATE_AFTER_DAYS} days")),
            false => bad(
                "key_age",
                Status::Degraded,
                format!("older than {ROTATE_AFTER_DAYS} days: {}", old.join(", ")),
                Some("make a new key, and begin with `aegisbpf keys rotate NEW.pub`".to_owned()),
            ),
        };
        let stray: Vec<&str> =
            listing.trusted.iter().filter(|key| key.revoked).map(|key| key.name.as_str()).collect();
        let revoked = match stray.is_empty() {
            true => good("revoked_keys", "no revoked key lies among the trusted ones".to_owned()),
            false => bad(
                "revoked_keys",
                Status::Degraded,
                format!("revoked, but still in the key directory (and refused): {}", stray.join(", ")),
                Some("find out who put it back, then remove it with `aegisbpf keys remove ID`".to_owned()),
            ),
        };
        vec![count, age, revoked, approved_check(&listing)]
    }

    fn custodians_check(&self) -> Check {
        let name = "custodians";
        let custodians = match self.custodians() {
            Ok(custodians) => custodians,
            Err(error) => return bad(name, Status::Failed, cause_chain(&error), error.help()),
        };
        let Some(custodians) = custodians else {
            return good(name, "there are none: one person can change the trusted keys".to_owned());
        };
        let rule = custodians.rule();
        let people = rule.registry().custodians().count();
        let message = format!(
            "{}, out of {people}, for {}, digest {}",
            rule.quorum(),
            custodians.host(),
            custodians.digest()
        );
        if !custodians.is_taken_up() {
            return bad(
                name,
                Status::Degraded,
                format!("{message}; not taken up, so who takes their directory away turns the rule off"),
                Some("run `aegisbpf custodians init`".to_owned()),
            );
        }
        let needed: Vec<String> = rule.indispensable().iter().map(ToString::to_string).collect();
        good(
            name,
            match needed.is_empty() {
                true => message,
                false => format!("{message}; none can decide without {}", needed.join(" and ")),
            },
        )
    }

    fn rotation_check(&self) -> Check {
        let name = "rotation";
        match self.rotation_status() {
            Ok(None) => good(name, "no rotation is under way".to_owned()),
            Ok(Some(rotation)) => bad(
                name,
                Status::Degraded,
                format!(
                    "from key {} to key {}, begun at {}: {}",
                    rotation.old.fingerprint(),
                    rotation.new.fingerprint(),
                    rotation.started_at,
                    rotation.step.as_str()
                ),
                Some("see what is left with `aegisbpf keys rotate --status`".to_owned()),
            ),
            Err(error) => bad(name, Status::Failed, cause_chain(&error), error.help()),
        }
    }

    fn counter_check(&self, in_force: &InForce) -> Check {
        let name = "version_counter";
        match (self.counter_searching(Search::NewestEntries), in_force) {
            (Err(error), _) => bad(name, Status::Failed, cause_chain(&error), error.help()),
            (Ok(None), _) => good(name, "no signed policy was ever accepted here".to_owned()),
            (Ok(Some(counter)), InForce::Bundle(bundle)) => {
                let manifest = bundle.manifest();
                let at = counter.policy_version;
                match (manifest.epoch, manifest.policy_version).cmp(&counter.order()) {
                    std::cmp::Ordering::Equal if manifest.policy_sha256 == counter.policy_sha256 => {
                        good(name, format!("version {at}, as the policy in force"))
                    }
                    std::cmp::Ordering::Equal => bad(
                        name,
                        Status::Failed,
                        format!("version {at} was accepted with other content than the policy in force has"),
                        Some("one of the two files was changed outside this program: compare with a backup and the audit log".to_owned()),
                    ),
                    std::cmp::Ordering::Less => bad(
                        name,
                        Status::Degraded,
                        format!("version {at}, and the policy in force is version {}", manifest.policy_version),
                        Some(format!("apply version {at} again, or a newer policy")),
                    ),
                    std::cmp::Ordering::Greater => bad(
                        name,
                        Status::Failed,
                        format!("version {at} is older than the policy in force, version {}: it was lowered", manifest.policy_version),
                        Some("find out how, then run `aegisbpf policy counter repair --reason TEXT`".to_owned()),
                    ),
                }
            }
            (Ok(Some(counter)), InForce::Nothing | InForce::Unsigned(_) | InForce::Broken(_)) => bad(
                name,
                Status::Degraded,
                format!("version {} was accepted, but no signed policy is in force", counter.policy_version),
                Some("apply the signed policy again".to_owned()),
            ),
        }
    }

    fn policy_check(&self, in_force: &InForce) -> Check {
        let name = "policy";
        match in_force {
            InForce::Nothing => bad(
                name,
                Status::Degraded,
                "no policy was ever applied".to_owned(),
                Some("apply one with `aegisbpf policy apply FILE --require-signature`".to_owned()),
            ),
            InForce::Unsigned(_) => bad(
                name,
                Status::Degraded,
                "the policy in force is not signed".to_owned(),
                Some("sign it with `aegisbpf policy sign` and apply the bundle".to_owned()),
            ),
            InForce::Broken(why) => bad(
                name,
                Status::Failed,
                format!("the policy in force cannot be read: {why}"),
                Some("restore it from a backup, or apply the signed policy again".to_owned()),
            ),
            InForce::Bundle(bundle) => good(
                name,
                format!("version {} of epoch {}", bundle.manifest().policy_version, bundle.manifest().epoch),
            ),
        }
    }

    fn signer_check(&self, in_force: &InForce, now: Timestamp) -> Check {
        let name = "signer";
        let InForce::Bundle(bundle) = in_force else {
            return good(name, "no signed policy is in force".to_owned());
        };
        match self.verify_bundle(bundle.clone(), V1::Allow, now, Expiry::Ignored) {
            Ok(verified) => {
                let signers: Vec<String> = verified.signers().iter().map(aegis_crypto::KeyId::fingerprint).collect();
                good(name, format!("the policy in force is signed by {}", signers.join(", ")))
            }
            // The file is not the one that was verified when it was applied.
            Err(error @ (VerifyError::BadSignature { .. } | VerifyError::Mislabelled { .. } | VerifyError::Digest { .. })) => bad(
                name,
                Status::Failed,
                format!("the policy in force was changed since it was applied: {}", cause_chain(&error)),
                Some("keep the file as evidence, and apply the signed policy again from its source".to_owned()),
            ),
            Err(error) => bad(
                name,
                Status::Degraded,
                format!("the policy in force would not be accepted now: {}", cause_chain(&error)),
                Some("apply an emergency policy signed by a trusted key (`aegisbpf policy reissue` keeps the content)".to_owned()),
            ),
        }
    }

    fn rollback_check(&self) -> Check {
        match self.paths().rolled_back().symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                good("rollback", "no rollback stands".to_owned())
            }
            Ok(_) | Err(_) => bad(
                "rollback",
                Status::Degraded,
                "a rollback stands: an older policy than the newest accepted is in force".to_owned(),
                Some("sign and apply a corrected policy under a higher version".to_owned()),
            ),
        }
    }

    fn enforcement_check(&self, in_force: &InForce) -> Check {
        let name = "enforcement";
        let backend = self.enforcer().name();
        let enforcement = match self.enforcer().state() {
            Err(error) => return bad(name, Status::Failed, cause_chain(&error), error.help()),
            Ok(None) => {
                return bad(
                    name,
                    Status::Degraded,
                    "nothing is enforced: no policy was ever loaded".to_owned(),
                    None,
                );
            }
            Ok(Some(enforcement)) => enforcement,
        };
        let applied = match in_force {
            InForce::Bundle(bundle) => Some(bundle.manifest().policy_sha256),
            InForce::Unsigned(digest) => Some(*digest),
            InForce::Nothing | InForce::Broken(_) => None,
        };
        if applied.is_some_and(|applied| applied != enforcement.policy.policy_sha256) {
            return bad(
                name,
                Status::Failed,
                format!("the {backend} backend holds another policy than the one in force"),
                Some(
                    "apply the policy in force again: `aegisbpf policy apply` with policy.applied".to_owned(),
                ),
            );
        }
        let rules = enforcement.rules;
        if let Some(remark) = enforcement.remarks.iter().max_by_key(|remark| remark.failed) {
            let status = if remark.failed { Status::Failed } else { Status::Degraded };
            let message: Vec<&str> =
                enforcement.remarks.iter().map(|remark| remark.message.as_str()).collect();
            return bad(name, status, message.join("; "), remark.help.clone());
        }
        match (enforcement.enforced, enforcement.mode) {
            (true, Some(EnforcementMode::Audit)) => bad(
                name,
                Status::Degraded,
                format!(
                    "the {backend} backend tells what {rules} rules would deny, and denies nothing (audit mode)"
                ),
                Some(
                    "`aegisbpf events` shows it; apply the policy with --mode enforce when that is right"
                        .to_owned(),
                ),
            ),
            (true, _) => good(name, format!("{rules} rules are enforced by the {backend} backend")),
            (false, _) => bad(
                name,
                Status::Degraded,
                format!(
                    "nothing is enforced: the {backend} backend recorded {rules} rules and denies nothing"
                ),
                Some(
                    "below another root, or with `enforcement = \"record\"`, policies are only recorded"
                        .to_owned(),
                ),
            ),
        }
    }

    fn journal_check(&self) -> Check {
        let name = "interrupted_change";
        match Journal::load(self.paths()) {
            Ok(None) => good(name, "no change is under way".to_owned()),
            Ok(Some(journal)) => bad(
                name,
                Status::Degraded,
                format!(
                    "a change begun at {} was interrupted or is under way",
                    truncate_to_seconds(journal.started_at)
                ),
                Some("run it again; any command that changes this host finishes it first".to_owned()),
            ),
            Err(error) => bad(name, Status::Failed, cause_chain(&error), error.help()),
        }
    }

    fn audit_check(&self, log: Option<Result<QuickCheck, aegis_audit::VerifyError>>) -> Check {
        let name = "audit_log";
        if let Err(error) = std::fs::read_dir(self.audit().dir())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            // Hidden from this user, or no directory: that is not the same as gone.
            return bad(
                name,
                match error.kind() {
                    std::io::ErrorKind::PermissionDenied => Status::Degraded,
                    _ => Status::Failed,
                },
                format!("the audit log {} cannot be read: {error}", self.audit().dir().display()),
                Some("run it as root, or as the owner of the log".to_owned()),
            );
        }
        let Some(log) = log else {
            return match self.paths().applied().symlink_metadata() {
                Ok(_) => bad(
                    name,
                    Status::Degraded,
                    "there is no audit log, but a policy was applied here".to_owned(),
                    Some("if this host was not restored from a backup, find out who removed the log, and compare with the entries in your SIEM; the next change begins a new one".to_owned()),
                ),
                Err(_) => good(name, "nothing was logged yet".to_owned()),
            };
        };
        match log {
            Ok(check) if check.unsealed > 0 || check.torn_bytes > 0 => bad(
                name,
                Status::Degraded,
                format!("{} entries and {} bytes were written after its checkpoint", check.unsealed, check.torn_bytes),
                Some("a command was stopped while it logged, or somebody wrote to the log: read the last entries with `aegisbpf audit show`; the next change takes them in and says so".to_owned()),
            ),
            Ok(check) => self.rehash_check(name, check.size),
            Err(error) => bad(name, Status::Failed, cause_chain(&error), error.help()),
        }
    }

    /// Re-hashes the whole log while that is quick. A longer one is held against its checkpoint at its end alone, and
    /// the report says so.
    fn rehash_check(&self, name: &'static str, entries: u64) -> Check {
        let log = self.audit().dir().join("log.jsonl");
        if log.symlink_metadata().is_ok_and(|metadata| metadata.len() > REHASH_UP_TO) {
            return good(
                name,
                format!(
                    "{entries} entries, the last as its checkpoint says; `aegisbpf audit verify` hashes them all"
                ),
            );
        }
        match self.audit().verify(&[], &mut |_, _| {}) {
            Ok(report) => good(name, format!("{} entries, each as its checkpoint says", report.size)),
            Err(error) => bad(name, Status::Failed, cause_chain(&error), error.help()),
        }
    }

    fn drill_check(&self, now: Timestamp) -> Check {
        let name = "revocation_drill";
        let run = || Some("run `aegisbpf keys drill`".to_owned());
        match self.last_drill() {
            Ok(None) => {
                bad(name, Status::Degraded, "no revocation drill was ever run on this host".to_owned(), run())
            }
            Ok(Some(drill)) => {
                let days = now.duration_since(drill.finished_at).as_hours() / 24;
                match days > DRILL_AFTER_DAYS {
                    // Until then it would count as fresh, for years if the clock was wrong enough.
                    _ if drill.finished_at.duration_since(now) > CLOCK_SKEW => bad(
                        name,
                        Status::Degraded,
                        format!(
                            "the last revocation drill was at {}, which is in the future",
                            truncate_to_seconds(drill.finished_at)
                        ),
                        run(),
                    ),
                    true => bad(
                        name,
                        Status::Degraded,
                        format!("the last revocation drill was {days} days ago"),
                        run(),
                    ),
                    false => good(
                        name,
                        format!(
                            "the last revocation drill passed at {}",
                            truncate_to_seconds(drill.finished_at)
                        ),
                    ),
                }
            }
            Err(error) => bad(name, Status::Degraded, cause_chain(&error), run()),
        }
    }
}

/// Keys that nobody approved, and approved ones that are gone.
fn approved_check(listing: &KeyListing) -> Check {
    let name = "approved_keys";
    let stray: Vec<&str> = listing
        .trusted
        .iter()
        .filter(|key| key.approved == Some(false) && !key.revoked)
        .map(|key| key.name.as_str())
        .collect();
    if !stray.is_empty() {
        return bad(
            name,
            Status::Degraded,
            format!("in the key directory without an approval (and refused): {}", stray.join(", ")),
            Some(
                "find out who put it there, then remove the file, or have it approved and run `aegisbpf keys add FILE --approval FILE`"
                    .to_owned(),
            ),
        );
    }
    if !listing.missing.is_empty() {
        let missing: Vec<String> = listing.missing.iter().map(aegis_crypto::KeyId::fingerprint).collect();
        return bad(
            name,
            Status::Degraded,
            format!(
                "approved, but its file was removed without an approval (and not trusted): {}",
                missing.join(", ")
            ),
            Some(
                "put it back, or have its removal approved and run `aegisbpf keys remove ID --approval FILE`"
                    .to_owned(),
            ),
        );
    }
    match listing.trusted.iter().any(|key| key.approved.is_some()) {
        true => {
            good(name, "every installed key was approved, or trusted before there were custodians".to_owned())
        }
        false => good(name, "no key has to be approved here".to_owned()),
    }
}

fn clock(log: Option<&Result<QuickCheck, aegis_audit::VerifyError>>, now: Timestamp) -> Check {
    let name = "clock";
    let set = || Some("set the clock (`timedatectl`)".to_owned());
    if !clock_is_sane(now) {
        return bad(
            name,
            Status::Failed,
            format!("the clock says {now}, which cannot be: expiry cannot be judged"),
            set(),
        );
    }
    let last = log.and_then(|check| check.as_ref().ok()).and_then(|check| check.last_time);
    match last {
        Some(last) if last.duration_since(now) > SignedDuration::from_mins(5) => bad(
            name,
            Status::Degraded,
            format!(
                "the clock says {}, which is before the last audit entry, {last}",
                truncate_to_seconds(now)
            ),
            set(),
        ),
        None if log.is_some_and(Result::is_err) => bad(
            name,
            Status::Degraded,
            "whether it runs behind cannot be told: the audit log cannot be read".to_owned(),
            Some("see the check audit_log".to_owned()),
        ),
        _ => good(name, "it does not run behind what was logged".to_owned()),
    }
}

fn expiry_check(in_force: &InForce, now: Timestamp) -> Check {
    let name = "expiry";
    let InForce::Bundle(bundle) = in_force else {
        return good(name, "no signed policy is in force".to_owned());
    };
    let Some(expires_at) = bundle.manifest().expires_at else {
        return good(name, "the policy in force does not expire".to_owned());
    };
    let renew = || Some("sign it again with `aegisbpf policy reissue` and apply the bundle".to_owned());
    let hours = expires_at.duration_since(now).as_hours();
    match hours {
        _ if now >= expires_at => bad(
            name,
            Status::Degraded,
            format!(
                "the policy in force expired at {expires_at}; it stays in force, but no other host would take it"
            ),
            renew(),
        ),
        _ if hours < EXPIRY_SOON_DAYS * 24 => bad(
            name,
            Status::Degraded,
            format!("the policy in force expires within {EXPIRY_SOON_DAYS} days, at {expires_at}"),
            renew(),
        ),
        _ if hours < EXPIRY_NOTICE_DAYS * 24 => bad(
            name,
            Status::Degraded,
            format!("the policy in force expires within {EXPIRY_NOTICE_DAYS} days, at {expires_at}"),
            renew(),
        ),
        _ => good(name, format!("the policy in force expires at {expires_at}")),
    }
}

fn good(name: &'static str, message: String) -> Check {
    Check { name, status: Status::Ok, message, help: None }
}

fn bad(name: &'static str, status: Status, message: String, help: Option<String>) -> Check {
    Check { name, status, message, help }
}
