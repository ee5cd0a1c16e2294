//! Every command line of the runbooks and guides is run, in order, on a machine of its own.

use std::collections::BTreeSet;
use std::process::Command;

use super::document::{AWS_KMS, Machine, steps};
use super::program;

const DOCUMENTS: &[&str] = &[
    "docs/guides/approvals.md",
    "docs/guides/audit-log.md",
    // Run in a virtual machine: crates/aegisbpf/tests/scenarios/enforcement_guide.rs.
    "docs/guides/enforce-on-a-host.md",
    "docs/guides/kek-providers.md",
    "docs/guides/migrate-from-format-1.md",
    "docs/guides/pii-encryption.md",
    "docs/guides/python.md",
    "docs/guides/sign-with-kms-or-hsm.md",
    "docs/guides/spark.md",
    "docs/guides/telemetry-pipeline.md",
    "docs/runbooks/keks-and-deks.md",
    "docs/runbooks/policy-signing-keys.md",
];

#[test]
fn every_document_with_commands_is_on_the_list() {
    let mut found = BTreeSet::new();
    for folder in ["docs/runbooks", "docs/guides"] {
        for entry in std::fs::read_dir(program::root().join(folder)).unwrap() {
            found.insert(format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()));
        }
    }
    assert_eq!(found, DOCUMENTS.iter().map(|&name| name.to_owned()).collect());
}

#[test]
fn the_signing_key_runbook_works_line_by_line() {
    run("docs/runbooks/policy-signing-keys.md");
}

#[test]
fn the_approvals_guide_works_line_by_line() {
    run("docs/guides/approvals.md");
}

#[test]
fn the_kms_and_hsm_guide_works_line_by_line() {
    run("docs/guides/sign-with-kms-or-hsm.md");
}

#[test]
fn the_kek_and_dek_runbook_works_line_by_line() {
    run("docs/runbooks/keks-and-deks.md");
}

#[test]
fn the_kek_provider_guide_works_line_by_line() {
    run("docs/guides/kek-providers.md");
}

#[test]
fn the_audit_log_guide_works_line_by_line() {
    run("docs/guides/audit-log.md");
}

#[test]
fn the_pii_encryption_guide_works_line_by_line() {
    run("docs/guides/pii-encryption.md");
}

#[test]
fn the_telemetry_pipeline_guide_works_line_by_line() {
    run("docs/guides/telemetry-pipeline.md");
}

#[test]
fn the_format_1_guide_works_line_by_line() {
    run("docs/guides/migrate-from-format-1.md");
}

/// `aegisbpf WORD WORD` and `aegis WORD WORD` in running text must be commands too.
#[test]
fn every_command_named_in_a_text_exists() {
    let mut texts: Vec<String> = DOCUMENTS.iter().map(|&name| name.to_owned()).collect();
    texts.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/formats.md", "docs/policy-language.md"]
            .map(str::to_owned),
    );
    let mut commands = BTreeSet::new();
    for name in texts {
        let text = std::fs::read_to_string(program::root().join(&name)).unwrap();
        for code in text.split('`').skip(1).step_by(2) {
            let code = code.strip_prefix("sudo ").unwrap_or(code);
            for program in ["aegisbpf", "aegis"] {
                let Some(rest) = code.strip_prefix(program).and_then(|rest| rest.strip_prefix(' ')) else {
                    continue;
                };
                let is_word = |word: &&str| {
                    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                        && !word.starts_with('-')
                };
                let words: Vec<String> =
                    rest.split_whitespace().take(2).take_while(is_word).map(str::to_owned).collect();
                commands.insert((name.clone(), program, words));
            }
        }
    }
    assert!(commands.len() > 20, "{commands:?}");
    for (name, program, mut words) in commands {
        words.push("--help".to_owned());
        let path = if program == "aegis" { program::aegis() } else { program::aegisbpf() };
        let output = Command::new(path).args(&words).output().unwrap();
        assert!(
            output.status.success(),
            "{name}: {program} {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn run(name: &str) {
    let text = std::fs::read_to_string(program::root().join(name)).unwrap();
    let steps = steps(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!steps.is_empty(), "{name} has no command");
    let mut machine = Machine::new();
    let mut missing = BTreeSet::new();
    for step in &steps {
        for need in &step.needs {
            let is_here = if need == AWS_KMS { machine.has_kms() } else { program::is_on_path(need) };
            if !is_here {
                missing.insert(need);
            }
        }
        if !step.needs.iter().any(|program| missing.contains(program)) {
            machine.run(step).unwrap_or_else(|error| panic!("{name}, {error}"));
        }
    }
    // The emulator says itself that it is missing.
    missing.retain(|need| *need != AWS_KMS);
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
        program::skip(&format!("a part of {name}: {} not installed", missing.join(" and ")));
    }
}
