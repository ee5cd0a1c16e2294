//! The spool by itself: killed, refused room, damaged, and opened twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegis_telemetry::{Batch, Spool, SpoolError, SpoolSettings};
use test_services::faults::{Fault, Traced};
use test_services::{scratch, tools};

use crate::child::{self, BATCHES, numbers_said, small_spool};
use crate::fixture::{Ring, batches};

/// What is left, in order.
fn drained(spool: &mut Spool) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(batch) = spool.head().unwrap() {
        numbers.extend(batch.events().iter().map(|event| event.id().number()));
        spool.advance().unwrap();
    }
    numbers
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|path| path.extension().is_some_and(|found| found == "spool")).collect()
}

fn filled(dir: &Path, batches: &[Batch]) -> Spool {
    let mut spool = Spool::open(small_spool(dir)).unwrap();
    for batch in batches {
        spool.append(batch).unwrap();
    }
    spool
}

#[test]
fn batches_come_back_in_order_and_segments_go_when_they_are_delivered() {
    let dir = scratch::dir();
    let batches = batches(&Ring::new(), &[9]);
    let mut spool = filled(dir.path(), &batches);
    assert_eq!(spool.events(), 9);
    assert!(segments(&dir.path().join("spool")).len() >= 3);
    for path in files(&dir.path().join("spool")) {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(dir.path().join("spool").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for batch in &batches[..4] {
        assert_eq!(spool.head().unwrap(), Some(batch));
        spool.advance().unwrap();
    }
    // The very batches, with their keys, also after a restart in the middle.
    drop(spool);
    let mut spool = Spool::open(small_spool(dir.path())).unwrap();
    assert_eq!(spool.events(), 5);
    for batch in &batches[4..] {
        assert_eq!(spool.head().unwrap(), Some(batch));
        spool.advance().unwrap();
    }
    assert!(spool.is_empty());
    assert_eq!((spool.events(), spool.bytes()), (0, 0));
    assert_eq!(segments(&dir.path().join("spool")), Vec::<PathBuf>::new());
    // And once more from the beginning.
    spool.append(&batches[0]).unwrap();
    drop(spool);
    let mut spool = Spool::open(small_spool(dir.path())).unwrap();
    assert_eq!(spool.head().unwrap(), Some(&batches[0]));
}

#[test]
fn a_full_spool_refuses_and_stays_as_it_was() {
    let dir = scratch::dir();
    let batches = batches(&Ring::new(), &[6]);
    let settings = SpoolSettings { max_bytes: 30_000, ..small_spool(dir.path()) };
    let mut spool = Spool::open(settings).unwrap();
    let mut taken = 0;
    let error = loop {
        match spool.append(&batches[taken]) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Full { limit: 30_000, .. }), "{error:?}");
    assert!(error.help().is_some());
    assert!((2..6).contains(&taken));
    spool.head().unwrap();
    spool.advance().unwrap();
    while spool.append(&batches[taken]).is_err() {
        spool.head().unwrap();
        spool.advance().unwrap();
    }
    let left = drained(&mut spool);
    assert_eq!(left.last(), Some(&(taken as u64 + 1)));
    assert!(left.is_sorted());
}

#[test]
fn one_spool_has_one_user() {
    let dir = scratch::dir();
    let spool = Spool::open(small_spool(dir.path())).unwrap();
    let error = Spool::open(small_spool(dir.path())).unwrap_err();
    assert!(matches!(error, SpoolError::InUse { .. }), "{error:?}");
    drop(spool);
    Spool::open(small_spool(dir.path())).unwrap();
}

#[test]
fn a_frame_that_was_half_written_is_cut_off_at_every_length() {
    let dir = scratch::dir();
    let batches = batches(&Ring::new(), &[3]);
    let mut spool = Spool::open(SpoolSettings::in_dir(dir.path().join("spool"))).unwrap();
    for batch in &batches[..2] {
        spool.append(batch).unwrap();
    }
    let path = segments(&dir.path().join("spool")).pop().unwrap();
    let before = fs::read(&path).unwrap();
    spool.append(&batches[2]).unwrap();
    let after = fs::read(&path).unwrap();
    let cursor = dir.path().join("spool/cursor");
    drop(spool);
    // As it is when the process is killed within the write: the note of what is synced comes after it.
    let noted = fs::read(&cursor).unwrap();
    let step = ((after.len() - before.len()) / 60).max(1);
    for len in (before.len()..after.len()).step_by(step) {
        fs::write(&path, &after[..len]).unwrap();
        fs::write(&cursor, b"").unwrap();
        let mut spool = Spool::open(SpoolSettings::in_dir(dir.path().join("spool"))).unwrap();
        assert_eq!(spool.events(), 2, "{len}");
        // What is added afterwards stands behind the whole frames.
        spool.append(&batches[2]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), after, "{len}");
        drop(spool);
    }
    fs::write(&path, &after).unwrap();
    fs::write(&cursor, noted).unwrap();
    let mut spool = Spool::open(SpoolSettings::in_dir(dir.path().join("spool"))).unwrap();
    assert_eq!(drained(&mut spool), [1, 2, 3]);
}

#[test]
fn a_frame_that_was_on_the_disk_and_changed_is_an_error_and_nothing_is_skipped() {
    let dir = scratch::dir();
    let batches = batches(&Ring::new(), &[7]);
    drop(filled(dir.path(), &batches));
    let spool = dir.path().join("spool");
    let all = segments(&spool);
    assert!(all.len() >= 3);
    for (path, what) in [(&all[0], "the first segment"), (all.last().unwrap(), "the last segment")] {
        let bytes = fs::read(path).unwrap();
        for at in [0, 8, 16, 31, 32, 40, 50, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            fs::write(path, &changed).unwrap();
            let error = Spool::open(small_spool(dir.path())).unwrap_err();
            assert!(matches!(error, SpoolError::Damaged { .. }), "{what}, byte {at}: {error:?}");
            assert_eq!(fs::read(path).unwrap(), changed, "{what}: it is left as it is");
        }
        for len in [0, 7, 32, bytes.len() / 3, bytes.len() - 1] {
            fs::write(path, &bytes[..len]).unwrap();
            let error = Spool::open(small_spool(dir.path())).unwrap_err();
            assert!(matches!(error, SpoolError::Damaged { .. }), "{what}, cut to {len}: {error:?}");
        }
        // A whole frame, with nothing left of it.
        let frame = 44 - 32 + u32::from_be_bytes(bytes[32..36].try_into().unwrap()) as usize;
        fs::write(path, &bytes[..bytes.len() - frame]).unwrap();
        let error = Spool::open(small_spool(dir.path())).unwrap_err();
        assert!(matches!(error, SpoolError::Damaged { .. }), "{what}, a frame less: {error:?}");
        fs::write(path, &bytes).unwrap();
    }
    let mut opened = Spool::open(small_spool(dir.path())).unwrap();
    assert_eq!(drained(&mut opened), (1..=7).collect::<Vec<_>>());
}

#[test]
fn a_cursor_that_is_lost_or_torn_or_old_costs_repetitions_and_no_event() {
    let dir = scratch::dir();
    let batches = batches(&Ring::new(), &[7]);
    let mut spool = filled(dir.path(), &batches);
    let cursor = dir.path().join("spool/cursor");
    let old = fs::read(&cursor).unwrap();
    for _ in 0..3 {
        spool.head().unwrap();
        spool.advance().unwrap();
    }
    drop(spool);
    let now = fs::read(&cursor).unwrap();
    for (what, bytes) in [
        ("lost", None),
        ("torn", Some(now[..20].to_vec())),
        ("changed", Some(vec![0x55; 48])),
        ("old", Some(old)),
    ] {
        let copy = scratch::dir();
        scratch::copy_tree(dir.path(), copy.path());
        let path = copy.path().join("spool/cursor");
        match bytes {
            None => fs::remove_file(path).unwrap(),
            Some(bytes) => fs::write(path, bytes).unwrap(),
        }
        let mut spool = Spool::open(small_spool(copy.path())).unwrap();
        let left = drained(&mut spool);
        assert!(left.ends_with(&[4, 5, 6, 7]), "{what}: {left:?}");
        assert!(left.is_sorted(), "{what}: {left:?}");
    }
    let mut spool = Spool::open(small_spool(dir.path())).unwrap();
    assert_eq!(drained(&mut spool), [4, 5, 6, 7]);
}

#[test]
fn links_and_other_things_in_the_place_of_files_are_not_followed() {
    let dir = scratch::dir();
    let own = dir.path().join("spool");
    drop(filled(dir.path(), &batches(&Ring::new(), &[1])));
    let segment = segments(&own).pop().unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&segment, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &segment).unwrap();
    Spool::open(small_spool(dir.path())).unwrap_err();
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    Spool::open(small_spool(dir.path())).unwrap_err();
}

#[test]
fn a_kill_at_any_write_loses_nothing_that_was_acknowledged() {
    at_every_point("a spool killed at any write", Fault::Kill);
}

#[test]
fn a_full_disk_at_any_write_loses_nothing_and_is_said() {
    at_every_point("a spool on a full disk", Fault::Full);
}

fn at_every_point(test: &str, fault: Fault) {
    if !tools::need(test, &["strace"]) {
        return;
    }
    let traced = |dir: &Path| Traced { command: child::command("spool", dir), trace: dir.join("trace") };
    let dir = scratch::dir();
    let points = traced(dir.path()).points();
    assert!(points.len() > 20, "{points:?}");
    let mut refusals = 0;
    for point in &points {
        // The test runner opens files on a thread of its own.
        if fault == Fault::Full && point.shown.starts_with("open") && !point.shown.contains("spool") {
            continue;
        }
        let dir = scratch::dir();
        let run = traced(dir.path()).run_with(point, fault);
        let appended = numbers_said(&run.stdout, "appended");
        let delivered = numbers_said(&run.stdout, "delivered");
        refusals += child::said(&run.stdout).iter().filter(|line| line.starts_with("refused")).count();
        if fault == Fault::Full {
            assert_eq!(run.code, Some(0), "{}: {run:?}", point.shown);
            assert_eq!(appended.len() as u64, BATCHES, "{}: {run:?}", point.shown);
        }
        let mut spool = Spool::open(small_spool(dir.path())).unwrap_or_else(|error| {
            panic!("{}: {error:?}", point.shown);
        });
        let left = drained(&mut spool);
        assert!(left.is_sorted(), "{}: {left:?}", point.shown);
        for number in &appended {
            assert!(left.contains(number) || delivered.contains(number), "{}: {number} is lost", point.shown);
        }
        // Again only what may have been on its way, or what no cursor could be written for.
        if fault == Fault::Kill {
            let again = left.iter().filter(|number| delivered.contains(number)).count();
            assert!(again <= 1, "{}: {left:?} after {delivered:?}", point.shown);
        }
    }
    assert!(fault == Fault::Kill || refusals > 5, "{refusals}");
}
