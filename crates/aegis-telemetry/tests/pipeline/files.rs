//! Files of JSON lines: put aside, killed, refused room, shared.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_telemetry::{FileSettings, FileSink, FileSinkError, Rotation, Sink, SyncPolicy};
use test_services::faults::{Fault, Traced};
use test_services::{scratch, tools};

use crate::child::{self, BATCHES, numbers_said, small_file};
use crate::fixture::{LONG, Reader, Ring, batches, builder, event, quick, workers};

fn settings(dir: &Path) -> FileSettings {
    FileSettings {
        path: dir.join("events.jsonl"),
        rotation: Rotation::default(),
        sync: SyncPolicy::EachBatch,
    }
}

/// What was put aside, in order, and then the file itself.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let mut aside: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events.jsonl."))
        .collect();
    aside.sort();
    aside.extend(Some(dir.join("events.jsonl")).filter(|path| path.exists()));
    aside
}

/// The numbers of all lines in all parts. Every line is a whole one.
fn numbers(dir: &Path) -> Vec<u64> {
    let mut numbers = Vec::new();
    for path in parts(dir) {
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "{}", path.display());
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = str::from_utf8(line).unwrap();
            assert!(line.ends_with("}}"), "{line}");
            let number = line.strip_prefix("{\"n\":").unwrap().split(',').next().unwrap();
            numbers.push(number.parse().unwrap());
        }
    }
    numbers
}

#[test]
fn a_line_an_event_in_a_file_of_its_owners_own() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let path = dir.path().join("events.jsonl");
    // One that others can read, with half a line in it.
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut expected = Vec::new();
    for run in 0..3 {
        let sink = FileSink::open(settings(dir.path())).unwrap();
        let pipeline = builder(&ring, workers(2)).add_sink("file", sink, quick()).start().unwrap();
        for number in run * 100..run * 100 + 50 {
            pipeline.emit(event(number).0).unwrap();
            expected.push(number);
        }
        pipeline.close(LONG).unwrap();
    }
    assert_eq!(Reader::new(&ring).numbers(&fs::read(&path).unwrap()), expected);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn half_a_line_that_was_left_is_cut_off_and_whole_ones_stay() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let path = dir.path().join("events.jsonl");
    let batches = batches(&ring, &[3]);
    FileSink::open(settings(dir.path())).unwrap().deliver(&batches[0]).unwrap();
    let whole = fs::read(&path).unwrap();
    for left in [&b"{"[..], b"{\"n\":2", &vec![b'x'; 200_000]] {
        fs::write(&path, [&whole, left].concat()).unwrap();
        let mut sink = FileSink::open(settings(dir.path())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        sink.deliver(&batches[1]).unwrap();
        assert_eq!(Reader::new(&ring).numbers(&fs::read(&path).unwrap()), [1, 2]);
    }
    fs::write(&path, "no line feed at all").unwrap();
    FileSink::open(settings(dir.path())).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_file_is_put_aside_by_size_and_the_oldest_are_removed() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let rotation = Rotation { max_bytes: Some(20_000), max_age: None, keep: Some(2) };
    let foreign = ["events.jsonl.bak", "events.jsonl.20260131T235959Z-1", "other"];
    for name in foreign {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let mut sink = FileSink::open(FileSettings { rotation, ..settings(dir.path()) }).unwrap();
    for batch in batches(&ring, &[14]) {
        sink.deliver(&batch).unwrap();
        assert!(dir.path().join("events.jsonl").metadata().unwrap().len() <= 20_000);
    }
    for name in foreign {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let found = parts(dir.path());
    assert_eq!(found.len(), 3, "{found:?}");
    for path in &found {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let numbers = numbers(dir.path());
    assert!(numbers.ends_with(&[13, 14]) && numbers.is_sorted() && numbers.len() < 14, "{numbers:?}");
}

#[test]
fn a_file_is_put_aside_by_age() {
    let (ring, dir) = (Ring::new(), scratch::dir());
    let rotation = Rotation { max_bytes: None, max_age: Some(Duration::ZERO), keep: None };
    let mut sink = FileSink::open(FileSettings { rotation, ..settings(dir.path()) }).unwrap();
    for batch in batches(&ring, &[4]) {
        sink.deliver(&batch).unwrap();
    }
    assert_eq!(parts(dir.path()).len(), 4);
    assert_eq!(numbers(dir.path()), [1, 2, 3, 4]);
}

#[test]
fn every_policy_of_syncing_writes_the_same() {
    let ring = Ring::new();
    for sync in [SyncPolicy::EachBatch, SyncPolicy::Never, SyncPolicy::Interval(Duration::from_millis(1))] {
        let dir = scratch::dir();
        let sink = FileSink::open(FileSettings { sync, ..small_file(dir.path()) }).unwrap();
        let pipeline = builder(&ring, workers(2)).add_sink("file", sink, quick()).start().unwrap();
        for number in 0..40 {
            pipeline.emit(event(number).0).unwrap();
            if number % 10 == 0 {
                pipeline.flush(LONG).unwrap();
            }
        }
        pipeline.close(LONG).unwrap();
        assert!(numbers(dir.path()).ends_with(&[38, 39]), "{sync:?}");
    }
}

#[test]
fn one_file_has_one_writer() {
    let dir = scratch::dir();
    let first = FileSink::open(settings(dir.path())).unwrap();
    let error = FileSink::open(settings(dir.path())).unwrap_err();
    assert!(matches!(error, FileSinkError::InUse { .. }), "{error:?}");
    drop(first);
    FileSink::open(settings(dir.path())).unwrap();
}

#[test]
fn refuses_what_is_no_file() {
    let dir = scratch::dir();
    let path = dir.path().join("events.jsonl");
    let refused = |what: &str| {
        let error = FileSink::open(settings(dir.path())).unwrap_err();
        assert!(matches!(error, FileSinkError::Io { .. }), "{what}: {error:?}");
        assert!(error.help().is_some());
    };
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
    refused("a link");
    assert!(!dir.path().join("elsewhere").exists());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("a directory");
    fs::remove_dir(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    refused("a FIFO");
    let nowhere = FileSettings { path: dir.path().join("no/such/events.jsonl"), ..settings(dir.path()) };
    FileSink::open(nowhere).unwrap_err();
}

#[test]
fn a_kill_at_any_write_leaves_whole_lines_and_all_that_were_taken() {
    at_every_point("a file killed at any write", Fault::Kill);
}

#[test]
fn a_full_disk_at_any_write_is_tried_again_and_repeats_no_line() {
    at_every_point("a file on a full disk", Fault::Full);
}

fn at_every_point(test: &str, fault: Fault) {
    if !tools::need(test, &["strace"]) {
        return;
    }
    let traced = |dir: &Path| Traced { command: child::command("file", dir), trace: dir.join("trace") };
    let dir = scratch::dir();
    let points = traced(dir.path()).points();
    assert!(points.len() > 15, "{points:?}");
    for point in &points {
        if fault == Fault::Full && point.shown.starts_with("open") && !point.shown.contains("events.jsonl") {
            continue;
        }
        let dir = scratch::dir();
        let run = traced(dir.path()).run_with(point, fault);
        let taken = numbers_said(&run.stdout, "took");
        // The next start cuts off half a line.
        drop(FileSink::open(small_file(dir.path())).unwrap());
        let found = numbers(dir.path());
        assert!(found.starts_with(&taken), "{}: {found:?} for {taken:?}", point.shown);
        let expected = match fault {
            // The batch that was on its way, whole, or not.
            Fault::Kill => found.len() - taken.len() <= 1,
            Fault::Full => run.code == Some(0) && found == (1..=BATCHES).collect::<Vec<_>>(),
        };
        assert!(expected, "{}: {found:?} for {taken:?} {run:?}", point.shown);
    }
}
