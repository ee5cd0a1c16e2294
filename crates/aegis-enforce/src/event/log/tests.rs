use std::os::unix::fs::symlink;

use super::super::sample::Sample;
use super::super::{Operation, RuleSection};
use super::*;

fn events(pids: std::ops::Range<u32>) -> Vec<Event> {
    pids.map(|pid| Sample { pid, ..Sample::open(b"/etc/shadow") }.event()).collect()
}

/// What is read: the number of a process, or minus the number of a loss.
fn shown(lines: impl Iterator<Item = Result<Line, LineError>>) -> Vec<i64> {
    lines
        .map(|line| match line.unwrap() {
            Line::Event(event) => i64::from(event.process.pid),
            Line::Lost(lost) => -i64::try_from(lost.lost).unwrap(),
        })
        .collect()
}

fn all(dir: &Path) -> Vec<i64> {
    shown(read(dir, &Filter::default()).unwrap())
}

/// The length of one line.
fn line_len() -> u64 {
    let mut line = Vec::new();
    line::print(&events(100..101)[0], &mut line);
    u64::try_from(line.len()).unwrap()
}

#[test]
fn events_are_read_in_the_order_in_which_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/events");
    assert!(all(&dir).is_empty());
    let mut log = Log::open(&dir, Limits::default()).unwrap();
    log.append(&events(100..103)).unwrap();
    log.append_lost(5).unwrap();
    log.append(&events(103..104)).unwrap();
    log.append(&[]).unwrap();
    assert_eq!(all(&dir), [100, 101, 102, -5, 103]);
    let text = fs::read_to_string(dir.join(CURRENT)).unwrap();
    assert!(text.lines().nth(3).unwrap().ends_with("Z\",\"lost\":5}"), "{text}");
    for (path, mode) in [(dir.clone(), 0o700), (dir.join(CURRENT), 0o600), (dir.join(LOCK), 0o600)] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, mode);
    }
}

#[test]
fn a_log_keeps_to_its_limits_and_loses_the_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: 3 * line_len(), files: 3 };
    let mut log = Log::open(dir.path(), limits).unwrap();
    // In one piece and in several.
    log.append(&events(100..111)).unwrap();
    assert_eq!(all(dir.path()), [103, 104, 105, 106, 107, 108, 109, 110]);
    for event in events(111..114) {
        log.append(&[event]).unwrap();
    }
    assert_eq!(all(dir.path()), [106, 107, 108, 109, 110, 111, 112, 113]);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.metadata().unwrap().len() <= limits.file_bytes, "{entry:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "three files and the lock");
    drop(log);

    let mut log = Log::open(dir.path(), Limits { file_bytes: 1, files: 1 }).unwrap();
    log.append(&events(200..205)).unwrap();
    let current = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
    assert_eq!(current.lines().count(), 1, "a line that is longer than a file has a file of its own");
}

#[test]
fn a_line_that_a_kill_cut_is_removed_and_counted() {
    let whole = {
        let mut whole = Vec::new();
        events(100..102).iter().for_each(|event| line::print(event, &mut whole));
        whole
    };
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for (text, expected) in [
        (whole[..whole.len() - 1].to_vec(), vec![100, -1, 500]),
        (whole[..first + 1].to_vec(), vec![100, -1, 500]),
        (whole[..first].to_vec(), vec![100, 500]),
        (whole[..first - 1].to_vec(), vec![-1, 500]),
        // A block that never reached the disk.
        ([&whole[..], &[0; 100_000]].concat(), vec![100, 101, -1, 500]),
        (Vec::new(), vec![500]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CURRENT), &text).unwrap();
        let mut log = Log::open(dir.path(), Limits::default()).unwrap();
        log.append(&events(500..501)).unwrap();
        assert_eq!(all(dir.path()), expected);
    }
}

#[test]
fn a_reader_leaves_out_the_line_that_is_being_written_and_says_which_are_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    line::print(&events(100..101)[0], &mut text);
    text.extend(b"{}\n\n[1,2\n{\"time\":\"2026-01-01T00:00:00Z\"}\n\xff\n");
    text.extend(std::iter::repeat_n(b'x', 3 * LINE_LEN));
    text.push(b'\n');
    line::print(&events(101..102)[0], &mut text);
    text.extend(b"{\"time\":\"2026");
    fs::write(dir.path().join(CURRENT), &text).unwrap();
    for filter in [Filter::default(), Filter { last: Some(10), ..Filter::default() }] {
        let (good, bad): (Vec<_>, Vec<_>) = read(dir.path(), &filter).unwrap().partition(Result::is_ok);
        assert_eq!(shown(good.into_iter()), [100, 101]);
        let bad: Vec<String> = bad.into_iter().map(|error| error.unwrap_err().to_string()).collect();
        assert_eq!(bad.len(), 5, "{bad:?}");
        assert_eq!(bad[0], "line 2 is not an event");
        assert_eq!(bad[4], format!("line 7 has more than {LINE_LEN} bytes"));
    }
}

#[test]
fn filters_let_through_what_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), Limits::default()).unwrap();
    let second = 1_000_000_000;
    let sample = |pid| Sample { pid, time: u64::from(pid) * second, ..Sample::open(b"/x") };
    log.append(&[
        sample(10).event(),
        Sample { denied: 0, ..sample(11) }.event(),
        Sample { section: 1, ..sample(12) }.event(),
        Sample { operation: 3, ..sample(13) }.event(),
    ])
    .unwrap();
    let at = |seconds: i64| Some(Timestamp::from_second(1_772_366_400 + seconds).unwrap());
    let deny_inode = Some(RuleSection::Policy(aegis_policy::Section::DenyInode));
    for (filter, expected) in [
        (Filter::default(), vec![10, 11, 12, 13]),
        (Filter { since: at(11), ..Filter::default() }, vec![11, 12, 13]),
        (Filter { until: at(11), ..Filter::default() }, vec![10]),
        (Filter { section: deny_inode, ..Filter::default() }, vec![12]),
        (Filter { operation: Some(Operation::Exec), ..Filter::default() }, vec![13]),
        (Filter { denied_only: true, ..Filter::default() }, vec![10, 12, 13]),
        (Filter { pid: Some(11), ..Filter::default() }, vec![11]),
        (Filter { last: Some(2), ..Filter::default() }, vec![12, 13]),
        (Filter { last: Some(1), denied_only: true, until: at(13), ..Filter::default() }, vec![12]),
        (Filter { last: Some(0), ..Filter::default() }, vec![]),
    ] {
        assert_eq!(shown(read(dir.path(), &filter).unwrap()), expected, "{filter:?}");
    }
}

#[test]
fn a_follower_sees_each_line_once_through_rotations_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: 3 * line_len(), files: 4 };
    let mut follower = Follower::new(dir.path(), &Filter::default()).unwrap();
    assert!(follower.poll().unwrap().is_empty());
    let mut log = Log::open(dir.path(), limits).unwrap();
    let mut expected = Vec::new();
    let mut seen = Vec::new();
    let mut next = 100;
    // Up to two rotations between two looks.
    for count in [1, 2, 0, 3, 7, 1, 5, 8, 1, 1] {
        log.append(&events(next..next + count)).unwrap();
        expected.extend((next..next + count).map(i64::from));
        next += count;
        loop {
            let lines = follower.poll().unwrap();
            if lines.is_empty() {
                break;
            }
            seen.extend(shown(lines.into_iter()));
        }
        assert_eq!(seen, expected);
    }
    // A line whose end comes later; and one that a restart cuts off.
    let path = dir.path().join(CURRENT);
    let mut line = Vec::new();
    line::print(&events(900..901)[0], &mut line);
    let (head, tail) = line.split_at(100);
    let append =
        |bytes: &[u8]| OpenOptions::new().append(true).open(&path).unwrap().write_all(bytes).unwrap();
    append(head);
    assert!(follower.poll().unwrap().is_empty());
    append(tail);
    assert_eq!(shown(follower.poll().unwrap().into_iter()), [900]);
    append(head);
    assert!(follower.poll().unwrap().is_empty());
    drop(log);
    let mut log = Log::open(dir.path(), Limits::default()).unwrap();
    log.append(&events(901..902)).unwrap();
    let lines: Vec<_> = std::iter::repeat_with(|| follower.poll().unwrap()).take(3).flatten().collect();
    assert_eq!(shown(lines.into_iter()), [-1, 901]);

    let mut earliest = Follower::from_earliest(dir.path(), &Filter::default()).unwrap();
    let kept = all(dir.path());
    let seen: Vec<_> = std::iter::repeat_with(|| earliest.poll().unwrap()).take(20).flatten().collect();
    assert_eq!(shown(seen.into_iter()), kept);

    let mut late = Follower::new(dir.path(), &Filter { denied_only: true, ..Filter::default() }).unwrap();
    log.append(&events(902..903)).unwrap();
    assert_eq!(shown(late.poll().unwrap().into_iter()), [902]);
}

#[test]
fn a_follower_of_garbage_ends_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CURRENT);
    fs::write(&path, "").unwrap();
    let mut follower = Follower::new(dir.path(), &Filter::default()).unwrap();
    let mut text = vec![b'x'; 5 * LINE_LEN];
    text.extend(b"\n{}\n\n  \n");
    line::print(&events(100..101)[0], &mut text);
    fs::write(&path, &text).unwrap();
    let mut lines = Vec::new();
    for _ in 0..20 {
        lines.extend(follower.poll().unwrap());
    }
    let errors: Vec<bool> = lines.iter().map(Result::is_err).collect();
    assert_eq!(errors, [true, true, false]);
}

#[test]
fn a_follower_of_a_log_that_was_emptied_in_place_misses_nothing_and_sees_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CURRENT);
    let text = |pids| {
        let mut text = Vec::new();
        events(pids).iter().for_each(|event| line::print(event, &mut text));
        text
    };
    fs::write(&path, text(100..104)).unwrap();
    let mut follower = Follower::from_earliest(dir.path(), &Filter::default()).unwrap();
    let next = |follower: &mut Follower| shown(follower.poll().unwrap().into_iter());
    assert_eq!(next(&mut follower), [100, 101, 102, 103]);
    // Shorter than it was, and not empty any more when it is looked at again.
    fs::write(&path, text(200..202)).unwrap();
    assert_eq!(next(&mut follower), [200, 201]);
    // A line that is too long and has no end yet; whoever opens the log next cuts it off.
    let whole = text(300..301);
    fs::write(&path, [&text(200..202)[..], &whole, &vec![b'x'; 5 * LINE_LEN]].concat()).unwrap();
    assert!(matches!(follower.poll().unwrap().as_slice(), [Ok(_), Err(LineError::TooLong { .. })]));
    assert!(follower.poll().unwrap().is_empty());
    fs::write(&path, [&text(200..202)[..], &whole, &text(301..302)].concat()).unwrap();
    assert_eq!(next(&mut follower), [301]);
}

#[test]
fn only_one_agent_writes() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), Limits::default()).unwrap();
    let error = Log::open(dir.path(), Limits::default()).unwrap_err();
    assert!(matches!(error, LogError::InUse { .. }), "{error:?}");
    assert!(error.help().is_some());
    drop(log);
    Log::open(dir.path(), Limits::default()).unwrap();
}

#[test]
fn a_link_or_a_directory_in_place_of_the_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for make in
        [(|victim: &Path, path: &Path| symlink(victim, path).unwrap()) as fn(&Path, &Path), |_, path| {
            fs::create_dir(path).unwrap();
        }]
    {
        for name in [CURRENT, LOCK] {
            let log = tempfile::tempdir().unwrap();
            make(&victim, &log.path().join(name));
            Log::open(log.path(), Limits::default()).unwrap_err();
            if name == CURRENT {
                assert!(read(log.path(), &Filter::default()).is_err());
                assert!(Follower::new(log.path(), &Filter::default()).is_err());
            }
        }
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn what_could_not_be_written_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), Limits::default()).unwrap();
    log.append(&events(100..101)).unwrap();
    // A file that takes nothing, as a full disk does.
    let good = std::mem::replace(&mut log.file, File::open("/dev/null").unwrap());
    assert!(matches!(log.append(&events(101..104)), Err(LogError::Io { action: "write", .. })));
    assert!(log.append_lost(2).is_err());
    log.file = good;
    log.append(&events(104..105)).unwrap();
    assert_eq!(all(dir.path()), [100, -5, 104]);
}

#[test]
fn an_event_that_no_reader_would_take_is_counted_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), Limits::default()).unwrap();
    let mut long = events(101..102);
    long[0].process.comm = "x".repeat(LINE_LEN);
    log.append(&[events(100..101), long, events(102..103)].concat()).unwrap();
    log.append(&events(103..104)).unwrap();
    assert_eq!(all(dir.path()), [100, 102, -1, 103]);
}

#[test]
fn a_file_that_an_administrator_moved_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), Limits::default()).unwrap();
    log.append(&events(100..101)).unwrap();
    fs::remove_file(dir.path().join(CURRENT)).unwrap();
    log.look_after().unwrap();
    log.append(&events(101..102)).unwrap();
    assert_eq!(all(dir.path()), [101]);
}
