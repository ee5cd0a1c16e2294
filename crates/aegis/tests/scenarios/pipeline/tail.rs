//! A file that is followed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::service::{Service, assert_sealed, event, events, opened, wait_until};
use crate::machine::Machine;

/// Without patience: the tests' writers open a file anew for each write, so none is left behind.
const CONFIG: &str = "[source]\nkind = \"file\"\npath = \"events.jsonl\"\nstate = \"position\"\npoll = \"10ms\"\nrotate_wait = \"50ms\"\n\
    [[enricher]]\nkind = \"pii\"\n[[sink]]\nkind = \"file\"\npath = \"sealed/out.jsonl\"\n";

fn machine() -> Machine {
    let machine = Machine::set_up();
    std::fs::create_dir(machine.file("sealed")).unwrap();
    machine
}

fn append(machine: &Machine, bytes: &[u8]) {
    let mut file = OpenOptions::new().create(true).append(true).open(machine.file("events.jsonl")).unwrap();
    file.write_all(bytes).unwrap();
}

fn rotate(machine: &Machine, to: &str) {
    std::fs::rename(machine.file("events.jsonl"), machine.file(to)).unwrap();
}

fn sealed(machine: &Machine) -> Vec<u8> {
    std::fs::read(machine.file("sealed/out.jsonl")).unwrap_or_default()
}

fn lines(machine: &Machine) -> usize {
    sealed(machine).iter().filter(|byte| **byte == b'\n').count()
}

fn wait_for_lines(machine: &Machine, count: usize) {
    wait_until("all lines are delivered", || lines(machine) >= count);
}

fn offset(machine: &Machine) -> u64 {
    let state: Value = serde_json::from_slice(&std::fs::read(machine.file("position")).unwrap()).unwrap();
    state["offset"].as_u64().unwrap()
}

#[test]
fn a_file_is_followed_through_rotations_and_restarts_each_event_once() {
    let machine = machine();
    let service = Service::start(&machine, CONFIG);
    // It is not there yet; then half a line is.
    append(&machine, &events(1..=10));
    let eleventh = event(11);
    let (first, second) = eleventh.split_at(20);
    append(&machine, first.as_bytes());
    wait_for_lines(&machine, 10);
    append(&machine, format!("{second}\n").as_bytes());
    wait_for_lines(&machine, 11);
    // Renamed, and written to after that by one who has it open still.
    let mut late = OpenOptions::new().append(true).open(machine.file("events.jsonl")).unwrap();
    rotate(&machine, "events.jsonl.1");
    late.write_all(&events(12..=15)).unwrap();
    drop(late);
    append(&machine, &events(16..=20));
    wait_for_lines(&machine, 20);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(offset(&machine), std::fs::metadata(machine.file("events.jsonl")).unwrap().len());
    // While nobody reads: more, rotated twice, more, and the last line of a file without its end.
    append(&machine, &events(21..=25));
    append(&machine, event(26).as_bytes());
    rotate(&machine, "events.jsonl-20260131");
    append(&machine, &events(27..=30));
    rotate(&machine, "events.jsonl.2026-02-01");
    append(&machine, &events(31..=40));
    // Files of other kinds beside it are nobody's events.
    for name in ["events.jsonl.gz", "events.jsonl.old", "events.jsonl.1.tmp", "events.jsonl2"] {
        std::fs::write(machine.file(name), "{\"actor_id\":\"person-other\"}\n").unwrap();
    }
    let service = Service::start(&machine, CONFIG);
    wait_for_lines(&machine, 40);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Rotated twice, and nobody has begun a new one yet.
    append(&machine, &events(41..=42));
    rotate(&machine, "events.jsonl.3");
    append(&machine, &events(43..=44));
    rotate(&machine, "events.jsonl.4");
    let service = Service::start(&machine, CONFIG);
    wait_for_lines(&machine, 44);
    append(&machine, &events(45..=46));
    wait_for_lines(&machine, 46);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Nothing new: nothing comes.
    let ended = Service::start(&machine, CONFIG).terminate();
    assert_eq!((ended.code, &ended.counts()["events"]), (Some(0), &0.into()), "{}", ended.stderr);
    assert_eq!(opened(&machine, &sealed(&machine)), (1..=46).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_cut_off_or_written_anew_is_read_from_its_start() {
    let machine = machine();
    let service = Service::start(&machine, CONFIG);
    append(&machine, &events(1..=20));
    wait_for_lines(&machine, 20);
    // copytruncate.
    std::fs::copy(machine.file("events.jsonl"), machine.file("copy")).unwrap();
    File::options().write(true).open(machine.file("events.jsonl")).unwrap().set_len(0).unwrap();
    append(&machine, &events(21..=25));
    wait_for_lines(&machine, 25);
    // At once as long as before: only its content tells.
    File::create(machine.file("events.jsonl")).unwrap().write_all(&events(26..=90)).unwrap();
    wait_for_lines(&machine, 90);
    // And while nobody reads.
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    File::create(machine.file("events.jsonl")).unwrap().write_all(&events(91..=95)).unwrap();
    let service = Service::start(&machine, CONFIG);
    wait_for_lines(&machine, 95);
    let ended = service.terminate();
    assert!(ended.stderr.contains("read from its start"), "{}", ended.stderr);
    assert_eq!(opened(&machine, &sealed(&machine)), (1..=95).collect::<Vec<_>>());
}

#[test]
fn reading_may_begin_at_the_end_and_then_passes_nothing_over() {
    let machine = machine();
    append(&machine, &events(1..=10));
    append(&machine, b"{\"half\":");
    let config = CONFIG.replace("[[enricher]]", "start_at = \"end\"\n[[enricher]]");
    let service = Service::start(&machine, &config);
    wait_until("the position is put down", || machine.file("position").exists());
    service.kill();
    append(&machine, b"1}\n");
    append(&machine, &events(11..=20));
    let service = Service::start(&machine, &config);
    wait_for_lines(&machine, 11);
    assert_eq!(service.terminate().code, Some(0));
    let text = sealed(&machine);
    let rest = text.strip_prefix(b"{\"half\":1}\n").unwrap();
    assert_eq!(opened(&machine, rest), (11..=20).collect::<Vec<_>>());
}

#[test]
fn a_position_is_moved_only_when_a_sink_or_its_spool_has_the_events() {
    let machine = machine();
    let nobody = test_services::guarded::free_port();
    let config = CONFIG.replace(
        "kind = \"file\"\npath = \"sealed/out.jsonl\"",
        &format!("kind = \"http\"\nurl = \"http://127.0.0.1:{nobody}/\""),
    );
    let stuck = format!("{config}[queue]\nevents = 5\n[pipeline]\ndrain_timeout = \"200ms\"\n");
    append(&machine, &events(1..=50));
    let service = Service::start(&machine, &stuck);
    service.wait_for_metric("aegis_telemetry_sealed_events_total", 5);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(offset(&machine), 0);
    // The same with a spool: all is acknowledged.
    let service = Service::start(&machine, &format!("{config}[pipeline]\nspool = \"spool\"\n"));
    service.wait_for_metric("aegis_telemetry_sink_spool_events{sink=\"http\"}", 50);
    let ended = service.terminate();
    assert_eq!(
        (ended.code, &ended.counts()["sinks"][0]["spooled"]),
        (Some(0), &50.into()),
        "{}",
        ended.stderr
    );
    assert_eq!(offset(&machine), std::fs::metadata(machine.file("events.jsonl")).unwrap().len());
}

#[test]
fn one_file_has_one_pipeline_and_a_damaged_position_is_not_guessed() {
    let machine = machine();
    append(&machine, &events(1..=3));
    let service = Service::start(&machine, CONFIG);
    let config = CONFIG.replace("out.jsonl", "other.jsonl");
    std::fs::write(machine.file("second.toml"), config).unwrap();
    machine.refused(&["pipeline", "run", "second.toml"], "is in use");
    wait_for_lines(&machine, 3);
    assert_eq!(service.terminate().code, Some(0));
    let good = std::fs::read_to_string(machine.file("position")).unwrap();
    let other = good.replace("/v1", "/v2");
    let more = good.replace("\"offset\"", "\"more\":1,\"offset\"");
    let long = format!("{good}{}", " ".repeat(5000));
    for bad in ["", "{}", "17", &good[..20], &other, &more, &long, &good.replace("offset\":", "offset\":-")] {
        std::fs::write(machine.file("position"), bad).unwrap();
        machine.refused(&["pipeline", "run", "second.toml"], "position");
    }
    // Nor is a pipe or a directory followed, which would never end.
    std::fs::write(machine.file("position"), &good).unwrap();
    std::fs::remove_file(machine.file("events.jsonl")).unwrap();
    std::fs::create_dir(machine.file("events.jsonl")).unwrap();
    machine.refused(&["pipeline", "run", "second.toml"], "is not a regular file");
}

/// Ends when it is told to; gives how many events it wrote.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    /// Adds events in portions of any size, cut anywhere, and rotates now and then.
    fn start(path: PathBuf) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (own, count) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = std::thread::spawn(move || {
            let mut rotations = 0;
            let mut number = 0;
            while !own.load(Ordering::SeqCst) {
                let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
                for _ in 0..7 {
                    let text = events(number + 1..=number + 5);
                    number += 5;
                    let (first, second) = text.split_at(text.len() * 2 / 3);
                    file.write_all(first).unwrap();
                    std::thread::sleep(Duration::from_millis(3));
                    file.write_all(second).unwrap();
                }
                count.store(number, Ordering::SeqCst);
                drop(file);
                if number % 3 == 0 {
                    rotations += 1;
                    let mut aside = path.clone().into_os_string();
                    aside.push(format!(".{rotations}"));
                    std::fs::rename(&path, aside).unwrap();
                }
            }
        });
        Self { stop, written, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.written.load(Ordering::SeqCst)
    }
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_shows_nothing() {
    let machine = machine();
    let writer = Writer::start(machine.file("events.jsonl"));
    let mut random: u64 = u64::from(std::process::id()) | 1;
    for _ in 0..12 {
        let service = Service::start(&machine, CONFIG);
        // xorshift: any moment, also before it has opened anything.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % 700));
        service.kill();
        assert_sealed(&sealed(&machine));
    }
    let written = writer.stop();
    let service = Service::start(&machine, CONFIG);
    let last = format!("\"n\":{written},");
    wait_until("the last event is there", || String::from_utf8_lossy(&sealed(&machine)).contains(&last));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let found = opened(&machine, &sealed(&machine));
    let missing: Vec<u64> = {
        let found: BTreeSet<u64> = found.iter().copied().collect();
        (1..=written).filter(|number| !found.contains(number)).collect()
    };
    assert!(missing.is_empty(), "of {written} these are missing: {missing:?}");
    // None twice that was not on its way when it was killed.
    assert!(found.len() as u64 <= written * 4, "{} of {written}", found.len());
}
