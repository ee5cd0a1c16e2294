//! The kernel's own measurement of files: whether it hashes them, and whether it refuses by it.

use std::path::Path;

use aegis_durable::read_bounded;

use super::Answer;
use super::boot::{BuildConfig, CommandLine};

/// The most that is read of the policy in force.
const MAX_POLICY: u64 = 1 << 20;

/// Whether files are hashed. Any IMA that is there does so when it is asked, whatever its policy.
pub(super) fn hashes(root: &Path, securityfs: bool, config: &BuildConfig) -> Answer {
    if !securityfs {
        return config.lacks("CONFIG_IMA");
    }
    // The second is the older name; newer kernels keep it as the place that the first links to.
    let places = ["sys/kernel/security/ima", "sys/kernel/security/integrity/ima"];
    Answer::of(places.into_iter().any(|place| root.join(place).is_dir()))
}

/// Whether programs are refused by what IMA finds: there is a rule that says so, and nothing has weakened it.
pub(super) fn appraisal(
    root: &Path,
    hashes: Answer,
    config: &BuildConfig,
    command_line: &CommandLine,
) -> Answer {
    if hashes == Answer::No {
        return Answer::No;
    }
    // `log` and `fix` let everything through; `off` asks nothing.
    if command_line.values("ima_appraise").next_back().is_some_and(|mode| mode != "enforce") {
        return Answer::No;
    }
    let policy = root.join("sys/kernel/security/ima/policy");
    if let Ok(policy) = read_bounded(&policy, MAX_POLICY) {
        return Answer::of(String::from_utf8_lossy(&policy).lines().any(appraises_programs));
    }
    // Many kernels do not show it. If none may be written either but for the first time, after which the file goes, then
    // the one that was chosen at the start is in force; else it may be any.
    if policy.exists() && config.has("CONFIG_IMA_WRITE_POLICY") == Answer::No {
        let mut chosen = command_line.values("ima_policy").flat_map(|value| value.split('|'));
        return Answer::of(chosen.any(|policy| policy == "appraise_tcb"));
    }
    Answer::Unknown
}

/// `appraise func=BPRM_CHECK appraise_type=imasig`, or a rule without `func`, which is for all.
fn appraises_programs(rule: &str) -> bool {
    let mut words = rule.split_ascii_whitespace();
    if words.next() != Some("appraise") {
        return false;
    }
    match words.find_map(|word| word.strip_prefix("func=")) {
        Some(function) => matches!(function, "BPRM_CHECK" | "CREDS_CHECK"),
        None => true,
    }
}
