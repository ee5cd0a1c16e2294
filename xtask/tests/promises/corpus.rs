//! Replays every stored fuzz corpus, and every input that ever broke a target, through the same functions as the fuzzer.

use std::path::{Path, PathBuf};

// What entries know by these names, wherever they are built.
use aegis_deployment::{Letter, LetterOrigin, PipelineConfig, PipelineConfigError, StateDir};
use aegis_enforce::event;

use super::program;

#[path = "../../../fuzz/entry/approval.rs"]
mod approval;
#[path = "../../../fuzz/entry/audit_log.rs"]
mod audit_log;
#[path = "../../../fuzz/entry/backup.rs"]
mod backup;
#[path = "../../../fuzz/entry/bip322_signature.rs"]
mod bip322_signature;
#[path = "../../../fuzz/entry/bundle.rs"]
mod bundle;
#[path = "../../../fuzz/entry/counter.rs"]
mod counter;
#[path = "../../../fuzz/entry/dead_letter.rs"]
mod dead_letter;
#[path = "../../../fuzz/entry/event_record.rs"]
mod event_record;
#[path = "../../../fuzz/entry/hybrid_key.rs"]
mod hybrid_key;
#[path = "../../../fuzz/entry/kek_container.rs"]
mod kek_container;
#[path = "../../../fuzz/entry/kek_file.rs"]
mod kek_file;
#[path = "../../../fuzz/entry/key_file.rs"]
mod key_file;
#[path = "../../../fuzz/entry/keyring_backup.rs"]
mod keyring_backup;
#[path = "../../../fuzz/entry/pii_event.rs"]
mod pii_event;
#[path = "../../../fuzz/entry/pipeline_config.rs"]
mod pipeline_config;
#[path = "../../../fuzz/entry/policy.rs"]
mod policy;
#[path = "../../../fuzz/entry/sealed_box.rs"]
mod sealed_box;
#[path = "../../../fuzz/entry/variables_file.rs"]
mod variables_file;

#[test]
fn the_corpus_of_approvals_holds() {
    replay("approval", approval::run);
}

#[test]
fn the_corpus_of_bundles_holds() {
    replay("bundle", bundle::run);
}

#[test]
fn the_corpus_of_key_files_holds() {
    replay("key_file", key_file::run);
}

#[test]
fn the_corpus_of_policies_holds() {
    replay("policy", policy::run);
}

#[test]
fn the_corpus_of_counters_holds() {
    replay("counter", counter::run);
}

#[test]
fn the_corpus_of_audit_logs_holds() {
    replay("audit_log", audit_log::run);
}

#[test]
fn the_corpus_of_backups_holds() {
    replay("backup", backup::run);
}

#[test]
fn the_corpus_of_hybrid_keys_holds() {
    replay("hybrid_key", hybrid_key::run);
}

#[test]
fn the_corpus_of_sealed_boxes_holds() {
    replay("sealed_box", sealed_box::run);
}

#[test]
fn the_corpus_of_wrapped_keks_holds() {
    replay("kek_container", kek_container::run);
}

#[test]
fn the_corpus_of_kek_files_holds() {
    replay("kek_file", kek_file::run);
}

#[test]
fn the_corpus_of_variables_files_holds() {
    replay("variables_file", variables_file::run);
}

#[test]
fn the_corpus_of_keyring_backups_holds() {
    replay("keyring_backup", keyring_backup::run);
}

#[test]
fn the_corpus_of_events_holds() {
    replay("pii_event", pii_event::run);
}

#[test]
fn the_corpus_of_pipelines_holds() {
    replay("pipeline_config", pipeline_config::run);
}

#[test]
fn the_corpus_of_dead_letters_holds() {
    replay("dead_letter", dead_letter::run);
}

#[test]
fn the_corpus_of_custodians_signatures_holds() {
    replay("bip322_signature", bip322_signature::run);
}

#[test]
fn the_corpus_of_records_of_events_holds() {
    replay("event_record", event_record::run);
}

fn replay(target: &str, run: fn(&[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() >= 10, "{target} has {} inputs", inputs.len());
    for input in inputs {
        let bytes = std::fs::read(&input).unwrap();
        // A panic names no file, so the file is said first; the test runner shows it only for a failure.
        println!("{}", input.display());
        run(&bytes);
        // An input that was cut off or continued must be as harmless.
        run(bytes.get(..bytes.len() / 2).unwrap());
        run(&[bytes.as_slice(), b"\n"].concat());
    }
}

/// The files of `fuzz/corpus/TARGET`, and of `fuzz/artifacts/TARGET` where a fuzzer left some.
fn inputs(target: &str) -> Vec<PathBuf> {
    let files = |directory: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let fuzz = program::root().join("fuzz");
    let mut all = files(&fuzz.join("corpus").join(target));
    all.extend(files(&fuzz.join("artifacts").join(target)));
    all.sort();
    all
}
