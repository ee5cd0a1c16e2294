//! This program once more, in a process of its own, with something to do.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aegis_crypto::HybridPublicKey;
use aegis_pii::create_pii_enricher;
use aegis_telemetry::{
    BodyForm, FileSettings, FileSink, HttpSink, PipelineSettings, Rotation, Sink, SinkSettings, Spool,
    SpoolError, SpoolSettings, SyncPolicy, TelemetryPipeline, WebSettings,
};

use crate::fixture::{self, DEK, LONG, Ring, event, quick_with_spool};

const TASK: &str = "AEGIS_PIPELINE_TASK";
const DIR: &str = "AEGIS_PIPELINE_DIR";
const URL: &str = "AEGIS_PIPELINE_URL";
const KEY: &str = "AEGIS_PIPELINE_KEY";
const FIRST: &str = "AEGIS_PIPELINE_FIRST";

/// Batches that the tasks `spool` and `file` have.
pub(crate) const BATCHES: u64 = 6;

/// The command that runs a task in a directory.
pub(crate) fn command(task: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::does_what_its_parent_asks", "--nocapture", "--test-threads=1", "-q"]);
    command.env(TASK, task).env(DIR, dir);
    command
}

/// The command that emits events from a number on, until it is killed.
pub(crate) fn emitting(dir: &Path, url: &str, key: &HybridPublicKey, first: u64) -> Command {
    let mut command = command("emit", dir);
    command.env(URL, url).env(KEY, hex(key.as_bytes())).env(FIRST, first.to_string());
    command
}

/// What a task said, without what the test runner says.
pub(crate) fn said(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("said: ")).map(str::to_owned).collect()
}

/// The numbers behind a word that a task said.
pub(crate) fn numbers_said(text: &str, word: &str) -> Vec<u64> {
    let said = said(text);
    said.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok()).collect()
}

fn say(text: impl std::fmt::Display) {
    println!("said: {text}");
}

/// Where a process begins that a test has started. In the run of all tests there is nothing for it to do.
#[test]
fn does_what_its_parent_asks() {
    let Ok(task) = std::env::var(TASK) else { return };
    let dir = std::env::var_os(DIR).unwrap();
    let dir = Path::new(&dir);
    match task.as_str() {
        "spool" => use_spool(dir),
        "file" => write_file(dir),
        "letters" => crate::dead_letters::keep_some(dir),
        "emit" => emit(dir),
        other => panic!("no task {other}"),
    }
}

/// Small segments, so that a few batches fill some.
pub(crate) fn small_spool(dir: &Path) -> SpoolSettings {
    SpoolSettings { segment_bytes: 20_000, ..SpoolSettings::in_dir(dir.join("spool")) }
}

fn use_spool(dir: &Path) {
    let batches = fixture::batches(&Ring::new(), &[BATCHES]);
    let open = || Spool::open(small_spool(dir));
    let mut spool = match open() {
        Ok(spool) => spool,
        Err(error) => {
            say(format!("refused {error}"));
            open().unwrap()
        }
    };
    for (number, batch) in batches.iter().enumerate() {
        while let Err(error) = spool.append(batch) {
            say(format!("refused {error}"));
            assert!(matches!(error, SpoolError::Io { .. } | SpoolError::Prepare(_)), "{error:?}");
            // It is as it was: a segment of which there is only the header is no damage, and nothing waits in it.
            let waits = spool.head().unwrap().is_some();
            assert_eq!((spool.is_empty(), spool.events() == 0), (!waits, !waits));
        }
        say(format!("appended {}", number + 1));
        if number % 3 == 2 {
            deliver_one(&mut spool);
        }
    }
    deliver_one(&mut spool);
    deliver_one(&mut spool);
}

fn deliver_one(spool: &mut Spool) {
    let number = spool.head().unwrap().unwrap().events()[0].id().number();
    say(format!("delivered {number}"));
    // A segment that could not be removed is still there after the next start, and delivered again.
    if let Err(error) = spool.advance() {
        say(format!("refused {error}"));
    }
}

/// A file that is put aside after two lines.
pub(crate) fn small_file(dir: &Path) -> FileSettings {
    FileSettings {
        path: dir.join("events.jsonl"),
        rotation: Rotation { max_bytes: Some(16_000), max_age: None, keep: Some(10) },
        sync: SyncPolicy::EachBatch,
    }
}

fn write_file(dir: &Path) {
    let batches = fixture::batches(&Ring::new(), &[BATCHES]);
    let open = || FileSink::open(small_file(dir));
    let mut sink = open().or_else(|error| {
        say(format!("refused {error}"));
        open()
    });
    let sink = sink.as_mut().unwrap();
    for (number, batch) in batches.iter().enumerate() {
        while let Err(error) = sink.deliver(batch) {
            say(format!("refused {}", error.fault()));
        }
        say(format!("took {}", number + 1));
    }
}

fn emit(dir: &Path) {
    let key = HybridPublicKey::from_bytes(&from_hex(&std::env::var(KEY).unwrap())).unwrap();
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let enricher = create_pii_enricher(key, DEK).unwrap();
    let sink = HttpSink::new(&WebSettings::of_url(std::env::var(URL).unwrap()), BodyForm::Lines).unwrap();
    let settings = SinkSettings { batch_events: 5, ..quick_with_spool(small_spool(dir)) };
    let pipeline = TelemetryPipeline::builder()
        .settings(PipelineSettings { workers: 2, ..PipelineSettings::default() })
        .add_enricher(enricher)
        .add_sink("http", sink, settings)
        .start()
        .unwrap();
    let pipeline = Arc::new(pipeline);
    say("started");
    for number in first.. {
        pipeline.emit(event(number).0).unwrap();
        if number % 7 == 0 {
            pipeline.flush(LONG).unwrap();
            say(format!("acknowledged {number}"));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
