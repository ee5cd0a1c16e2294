//! Files that are not what they should be: refused by name, without waiting, without filling memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aegis_audit::{
    AppendError, AuditLog, Damage, EntryError, HostKeyError, KeyFileError, ReadError, StorageError,
    VerifyError,
};

use crate::sample::{Sample, event};

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts something in the place of each file in turn; an append must fail by naming it and write nothing.
fn in_place_of_each_file(make: impl Fn(&Path)) {
    for name in ["log.jsonl", "checkpoint", "host.key", "host.pub", "lock"] {
        let sample = Sample::with(3);
        let path = sample.path(name);
        let aside = sample.log.dir().with_extension(name);
        fs::rename(&path, &aside).unwrap();
        make(&path);
        let error = sample.log.append(&event(3)).expect_err(name);
        let text = format!("{error}");
        assert!(text.contains(name), "{name}: {text}");
        assert!(error.help().is_some(), "{name}");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert_eq!(sample.verify(&[]).unwrap().size, 3, "{name}");
    }
}

#[test]
fn refuses_a_link_in_the_place_of_a_file() {
    in_place_of_each_file(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        symlink(path.parent().unwrap().with_extension(name), path).unwrap();
    });
}

#[test]
fn refuses_a_fifo_without_waiting_for_its_other_end() {
    in_place_of_each_file(make_fifo);
}

#[test]
fn refuses_a_directory_in_the_place_of_a_file() {
    in_place_of_each_file(|path| fs::create_dir(path).unwrap());
}

#[test]
fn refuses_an_endless_device_behind_a_link() {
    in_place_of_each_file(|path| symlink("/dev/zero", path).unwrap());
}

#[test]
fn a_cache_that_is_no_file_is_replaced() {
    let sample = Sample::with(3);
    fs::remove_file(sample.path("frontier")).unwrap();
    make_fifo(&sample.path("frontier"));
    sample.log.quick_check().unwrap();
    sample.log.append(&event(3)).unwrap();
    assert!(fs::metadata(sample.path("frontier")).unwrap().is_file());
}

#[test]
fn refuses_a_folder_that_is_a_link_or_that_others_may_write_to() {
    let sample = Sample::with(1);
    let link = sample.log.dir().with_extension("link");
    symlink(sample.log.dir(), &link).unwrap();
    let error = AuditLog::new(&link).append(&event(1)).unwrap_err();
    assert!(matches!(error, AppendError::Storage(StorageError::NotADirectory { .. })), "{error:?}");

    fs::set_permissions(sample.log.dir(), Permissions::from_mode(0o770)).unwrap();
    let error = sample.log.append(&event(1)).unwrap_err();
    assert!(
        matches!(error, AppendError::Storage(StorageError::WritableByOthers { mode: 0o770, .. })),
        "{error:?}"
    );
    assert_eq!(error.help().unwrap(), format!("chmod go-w {}", sample.log.dir().display()));
    assert!(matches!(sample.verify(&[]), Err(VerifyError::Storage(_))));

    let file = sample.log.dir().with_extension("file");
    fs::write(&file, "").unwrap();
    let error = AuditLog::new(&file).append(&event(1)).unwrap_err();
    assert!(matches!(error, AppendError::Storage(StorageError::NotADirectory { .. })), "{error:?}");
}

#[test]
fn refuses_to_write_where_a_file_can_be_changed_by_others() {
    for name in ["log.jsonl", "checkpoint", "host.key", "host.pub", "lock", "frontier"] {
        let sample = Sample::with(1);
        fs::set_permissions(sample.path(name), Permissions::from_mode(0o622)).unwrap();
        let error = sample.log.append(&event(1)).expect_err(name);
        assert!(
            format!("{error:?}").contains("WritableByOthers") && format!("{error}").contains(name),
            "{name}: {error:?}"
        );
        // Reading takes what is there: a copy may have any mode.
        assert_eq!(sample.verify(&[]).unwrap().size, 1, "{name}");
    }
}

#[test]
fn refuses_to_write_to_what_belongs_to_somebody_else() {
    if std::os::unix::fs::chown(Sample::with(1).path("lock"), Some(1000), None).is_err() {
        return; // Only root may give a file away.
    }
    for name in ["log.jsonl", "checkpoint", "host.key", "host.pub", "lock", "."] {
        let sample = Sample::with(1);
        std::os::unix::fs::chown(sample.path(name), Some(1000), None).unwrap();
        let error = sample.log.append(&event(1)).expect_err(name);
        assert!(format!("{error:?}").contains("WrongOwner { path:"), "{name}: {error:?}");
        assert!(error.help().unwrap().contains("audit verify"));
        assert_eq!(sample.verify(&[]).unwrap().size, 1, "{name}");
        assert_eq!(sample.log.entries().unwrap().count(), 1, "{name}");
    }
}

#[test]
fn refuses_a_host_key_that_others_may_read_or_that_is_none() {
    let sample = Sample::with(1);
    fs::set_permissions(sample.path("host.key"), Permissions::from_mode(0o640)).unwrap();
    let error = sample.log.append(&event(1)).unwrap_err();
    assert!(matches!(error, AppendError::Key(KeyFileError::Exposed { mode: 0o640, .. })), "{error:?}");

    fs::set_permissions(sample.path("host.key"), Permissions::from_mode(0o600)).unwrap();
    for junk in ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let kept = fs::read(sample.path("host.key")).unwrap();
        fs::write(sample.path("host.key"), junk).unwrap();
        let error = sample.log.host_key().unwrap_err();
        assert!(
            matches!(error, HostKeyError::Append(AppendError::Key(KeyFileError::Private { .. }))),
            "{error:?}"
        );
        assert_eq!(fs::read_to_string(sample.path("host.key")).unwrap(), junk, "the file was replaced");
        fs::write(sample.path("host.key"), kept).unwrap();
    }
    sample.log.append(&event(1)).unwrap();
}

#[test]
fn refuses_files_that_are_too_long_without_reading_them() {
    let sample = Sample::with(1);
    for name in ["checkpoint", "host.key", "host.pub"] {
        let kept = fs::read(sample.path(name)).unwrap();
        fs::OpenOptions::new().write(true).open(sample.path(name)).unwrap().set_len(1 << 40).unwrap();
        let error = sample.log.append(&event(1)).expect_err(name);
        assert!(format!("{error}").contains("longer than"), "{error}");
        fs::write(sample.path(name), kept).unwrap();
    }
    sample.log.append(&event(1)).unwrap();
}

#[test]
fn a_line_without_end_costs_no_memory() {
    let sample = Sample::with(2);
    let log = fs::OpenOptions::new().write(true).open(sample.path("log.jsonl")).unwrap();
    // 64 MiB of zeros and no newline.
    log.set_len(64 << 20).unwrap();
    let error = sample.log.append(&event(2)).unwrap_err();
    let line =
        |error: &Damage| matches!(error, Damage::Line { seq: 2, source: EntryError::TooLong { .. }, .. });
    assert!(matches!(&error, AppendError::Damaged { source, .. } if line(source)), "{error:?}");
    let error = sample.verify(&[]).unwrap_err();
    assert!(matches!(&error, VerifyError::Damaged { source, .. } if line(source)), "{error:?}");
    let entries: Vec<_> = sample.log.entries().unwrap().collect();
    assert_eq!(entries.len(), 3);
    assert!(matches!(entries[2], Err(ReadError::Line { source: EntryError::TooLong { .. }, .. })));
}

#[test]
fn a_log_that_is_stretched_to_a_terabyte_is_refused_at_once() {
    let sample = Sample::with(3);
    let log = fs::OpenOptions::new().write(true).open(sample.path("log.jsonl")).unwrap();
    log.set_len(1 << 40).unwrap();
    let begun = Instant::now();
    sample.log.append(&event(3)).unwrap_err();
    sample.log.quick_check().unwrap_err();
    sample.verify(&[]).unwrap_err();
    sample.log.has_transaction("tx-none", 100).unwrap_err();
    sample.log.last_entries(1).unwrap().next().unwrap().unwrap_err();
    let first: Vec<_> = sample.log.entries().unwrap().take(4).map(|entry| entry.is_ok()).collect();
    assert_eq!(first, [true, true, true, false]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn reading_goes_on_after_a_damaged_line() {
    let sample = Sample::with(4);
    let files = sample.files();
    let mut lines = files.lines();
    lines[1] = b"junk\n".to_vec();
    lines[2] = [vec![b'x'; 200_000], b"\n".to_vec()].concat();
    fs::write(sample.path("log.jsonl"), lines.concat()).unwrap();
    let entries: Vec<_> = sample.log.entries().unwrap().collect();
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[0].as_ref().unwrap().seq, 0);
    assert!(matches!(entries[1], Err(ReadError::Line { source: EntryError::Malformed { .. }, .. })));
    assert!(matches!(entries[2], Err(ReadError::Line { source: EntryError::TooLong { .. }, .. })));
    assert_eq!(entries[3].as_ref().unwrap().seq, 3);
    assert!(sample.log.has_transaction("tx-3", 1).unwrap());
    sample.log.has_transaction("tx-none", 4).unwrap_err();

    lines.swap(0, 3);
    fs::write(sample.path("log.jsonl"), [lines[0].clone(), lines[3].clone()].concat()).unwrap();
    let entries: Vec<_> = sample.log.entries().unwrap().collect();
    assert!(matches!(entries[0], Err(ReadError::Sequence { expected: 0, found: 3, .. })));
    assert!(matches!(entries[1], Err(ReadError::Sequence { expected: 4, found: 0, .. })));
}

#[test]
fn an_event_with_hostile_text_is_logged_and_cut() {
    let sample = Sample::new();
    let hostile = "|=\\]\"\n\r\t\u{1b}[2J\0\u{9b}\u{202e}é\u{2028}";
    sample.log.append(&event(0).reason(hostile).detail(hostile, hostile).transaction(hostile)).unwrap();
    let huge = "\u{1b}".repeat(1 << 20);
    sample
        .log
        .append(&event(1).reason(huge.clone()).detail(huge.clone(), huge.clone()).transaction(huge))
        .unwrap();
    let entries: Vec<_> = sample.log.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries[0].reason.as_deref(), Some(hostile));
    assert_eq!(entries[0].detail[hostile], hostile);
    assert!(entries[1].reason.as_ref().unwrap().ends_with("…[cut]"));
    assert_eq!(sample.files().lines().len(), 2);
    sample.verify(&[]).unwrap();
}
