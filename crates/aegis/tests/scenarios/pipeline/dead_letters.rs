//! Dead letters: listed without a key, opened with it, and sent again when what they were refused for is mended.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use test_services::http::Message;
use test_services::proxy::{Fate, Proxy};

use super::PII;
use super::service::{Service, assert_sealed, event, events, opened, secret, wait_until};
use crate::machine::{Machine, Run};
use crate::pii::filter::filter;

/// Refuses event 3, until that is mended; and keeps what it took.
struct Picky {
    proxy: Proxy,
    is_mended: Arc<AtomicBool>,
    taken: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Picky {
    fn start() -> Self {
        let (is_mended, taken) =
            (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Mutex::new(Vec::new())));
        let (mended, kept) = (Arc::clone(&is_mended), Arc::clone(&taken));
        let proxy = Proxy::before(([127, 0, 0, 1], 9).into(), move |_, request| {
            let has_it = request.body.windows(6).any(|window| window == b"\"n\":3,");
            if has_it && !mended.load(Ordering::SeqCst) {
                return Fate::Answer(Message::answer(400, "text/plain", b"no"));
            }
            kept.lock().unwrap().extend_from_slice(&request.body);
            Fate::Answer(Message::answer(200, "text/plain", b""))
        });
        Self { proxy, is_mended, taken }
    }

    fn config(&self, max_event: &str) -> String {
        format!(
            "[source]\nkind = \"stdin\"\n[pipeline]\nmax_event = \"{max_event}\"\ndead_letters = \"dead.jsonl\"{PII}\
             event_id_member = \"n\"\n[[sink]]\nkind = \"file\"\npath = \"archive.jsonl\"\n\
             [[sink]]\nkind = \"http\"\nname = \"picky\"\nurl = \"{}/\"\n",
            self.proxy.url()
        )
    }

    fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap().clone()
    }
}

const NO_ID: &str = "{\"actor_id\":\"person-without-id\"}";
const BROKEN: &str = "{\"n\":5,\"actor_id\":\"person-broken\"";

/// Five events: good ones, one that a sink refuses, one without an id, one that is no JSON, one that is too long.
fn refuse_some(machine: &Machine, picky: &Picky) {
    let service = Service::start(machine, &picky.config("4KiB"));
    service.feed(&events(1..=3));
    service.feed(format!("{NO_ID}\n{BROKEN}\n").as_bytes());
    service.feed(format!("{{\"n\":6,\"actor_id\":\"{}\"}}\n", "person-long".repeat(1000)).as_bytes());
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((&ended.counts()["refused"], &ended.counts()["dead_letters"]), (&4.into(), &4.into()));
}

/// Without any variable of a KEK.
fn list(machine: &Machine, arguments: &[&str]) -> Run {
    let mut command = machine.command(&[&["pipeline", "dead-letters", "list"], arguments].concat());
    for name in machine.variables.keys() {
        command.env_remove(name);
    }
    command.env("AEGIS_STATE_DIR", machine.file("nowhere"));
    Run::of(&mut command)
}

fn decrypted(machine: &Machine, sealed: &[u8]) -> Vec<u64> {
    let options = ["pii", "decrypt", "--event-id-member", "n"];
    let text = filter(machine, &options, sealed).done();
    String::from_utf8(text)
        .unwrap()
        .lines()
        .map(|line| {
            let number = line.strip_prefix("{\"n\":").unwrap().split(',').next().unwrap().parse().unwrap();
            assert_eq!(line, event(number));
            number
        })
        .collect()
}

#[test]
fn they_are_listed_without_a_key_and_show_nothing_of_their_events() {
    let machine = Machine::set_up();
    let picky = Picky::start();
    refuse_some(&machine, &picky);
    let text = list(&machine, &["dead.jsonl"]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    for part in
        ["TIME", "not_json at byte 33", "no_event_id", "over_limit", "sink_refused by picky", "4 letters, "]
    {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    let run = list(&machine, &["--json", "dead.jsonl"]);
    let letters = run.json()["letters"].as_array().unwrap().clone();
    let of = |reason: &str| letters.iter().find(|letter| letter["because"][0] == reason).unwrap().clone();
    let dek = machine.version(0);
    let broken = of("not_json");
    assert_eq!(
        (&broken["holds"], &broken["bytes"], &broken["dek"]),
        (&"event".into(), &BROKEN.len().into(), &dek.into())
    );
    assert_eq!(
        (&of("sink_refused")["holds"], &of("sink_refused")["sink"]),
        (&"sealed_event".into(), &"picky".into())
    );
    let long = of("over_limit");
    assert_eq!((&long["holds"], &long["bytes"]), (&"nothing".into(), &11_021.into()));
    assert_sealed(text.stdout.as_bytes());
    assert_sealed(run.stdout.as_bytes());
    // Compressed, and from a pipe.
    let bytes = std::fs::read(machine.file("dead.jsonl")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    std::fs::write(machine.file("dead.jsonl.gz"), encoder.finish().unwrap()).unwrap();
    assert_eq!(list(&machine, &["dead.jsonl.gz"]).stdout, text.stdout);
    assert_eq!(
        filter(&machine, &["pipeline", "dead-letters", "list", "-"], &bytes).done(),
        text.stdout.as_bytes()
    );
}

#[test]
fn they_open_to_the_events_as_they_came() {
    let machine = Machine::set_up();
    let picky = Picky::start();
    refuse_some(&machine, &picky);
    let open = ["pipeline", "dead-letters", "open", "dead.jsonl"];
    let run = machine.run(&[&open[..], &["-o", "refused.jsonl"]].concat());
    // One of them is nowhere.
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for part in ["1 letter without its event in the output", "dead.jsonl, line ", "does not hold its event"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    assert_eq!(run.stdout, "opened 2 events of 4 letters; 1 event left sealed, as a sink was to have it\n");
    let mode = std::fs::metadata(machine.file("refused.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(machine.file("refused.jsonl")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable_by_key(|line| line.len());
    assert_eq!(lines[..2], [NO_ID, BROKEN]);
    assert_eq!(decrypted(&machine, format!("{}\n", lines[2]).as_bytes()), [3]);
    // For programs, whatever is in it.
    let run = machine.run(&[&open[..], &["--records", "--json"]].concat());
    let records: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    use base64ct::{Base64, Encoding as _};
    let found = records.iter().find(|record| record["because"][0] == "not_json").unwrap();
    assert_eq!(Base64::decode_vec(found["event_base64"].as_str().unwrap()).unwrap(), BROKEN.as_bytes());
    let counts: Value = serde_json::from_str(run.stderr.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&counts["letters"], &counts["opened"], &counts["without_event"]),
        (&4.into(), &2.into(), &1.into())
    );
    // That the KEK was used is in the log.
    assert!(
        machine.log().iter().any(|entry| entry["action"] == "kek.load" && entry["outcome"] == "accepted")
    );
}

#[test]
fn damaged_and_foreign_letters_are_refused() {
    let machine = Machine::set_up();
    let picky = Picky::start();
    refuse_some(&machine, &picky);
    let text = std::fs::read_to_string(machine.file("dead.jsonl")).unwrap();
    let boxed = text.lines().find(|line| line.contains("not_json")).unwrap();
    let other = Machine::set_up();
    std::fs::write(other.file("dead.jsonl"), format!("{boxed}\n")).unwrap();
    other.refused(&["pipeline", "dead-letters", "open", "dead.jsonl"], "does not open");
    let bit = boxed.rfind("=\"").map_or(boxed.len() - 20, |end| end - 20);
    let flipped = if boxed.as_bytes()[bit] == b'A' { "B" } else { "A" };
    let changed = [
        format!("{}{flipped}{}", &boxed[..bit], &boxed[bit + 1..]),
        boxed.replace("not_json", "not_utf8"),
        boxed.replacen("\"at\":\"2", "\"at\":\"1", 1),
    ];
    for line in &changed {
        std::fs::write(machine.file("changed.jsonl"), format!("{line}\n")).unwrap();
        assert_eq!(list(&machine, &["changed.jsonl"]).code, Some(0));
        for command in [vec!["open"], vec!["replay", "p.toml"]] {
            std::fs::write(machine.file("p.toml"), picky.config("4KiB")).unwrap();
            let arguments = [&["pipeline", "dead-letters"], &command[..], &["changed.jsonl"]].concat();
            let run = machine.run(&arguments);
            assert_eq!(run.code, Some(1), "{line}");
            assert!(run.stderr.contains("line 1") && run.stderr.contains("does not open"), "{}", run.stderr);
            assert_sealed(run.stdout.as_bytes());
        }
    }
    // What is no letter, between two that are; nothing of it is repeated.
    let forged = r#"{"file":"a","line":1,"offset":0,"length":3,"because":["x"],"event_base64":"person-"}"#;
    let no_letters = [
        "person-who-is-no-letter",
        "{\"_dead_letter\":1,\"person-\":1}",
        "{\"_dead_letter\":2}",
        "[]",
        &boxed.replacen('{', "{\"more\":1,", 1),
        &boxed.replacen("\"at\":\"", "\"at\":\"person-", 1),
        &boxed.replacen("\"id\":\"", "\"id\":\"\\u001b[2J", 1),
        forged,
        &boxed[..boxed.len() / 2],
    ];
    for line in no_letters {
        std::fs::write(machine.file("changed.jsonl"), format!("{boxed}\n{line}\n{boxed}\n")).unwrap();
        let run = list(&machine, &["changed.jsonl"]);
        assert_eq!(run.code, Some(1), "{line}");
        assert!(
            run.stderr.contains("1 line is no dead letter") && run.stderr.contains("line 2"),
            "{}",
            run.stderr
        );
        assert_eq!(run.stdout.matches("not_json").count(), 2, "{}", run.stdout);
        assert_sealed(run.stdout.as_bytes());
        assert_sealed(run.stderr.as_bytes());
        // Nothing is sent if anything is wrong.
        machine.refused(&["pipeline", "dead-letters", "replay", "p.toml", "changed.jsonl"], "line 2");
    }
    std::fs::write(machine.file("changed.jsonl"), format!("{boxed}\n{}", &boxed[..40])).unwrap();
    let run = list(&machine, &["changed.jsonl"]);
    assert!(run.code == Some(1) && run.stderr.contains("half written"), "{}", run.stderr);
    // Longer than any, and not held.
    let long = [&vec![b'x'; (32 << 20) + 5][..], format!("\n{boxed}\n").as_bytes()].concat();
    std::fs::write(machine.file("changed.jsonl"), long).unwrap();
    let run = list(&machine, &["changed.jsonl"]);
    assert!(run.code == Some(1) && run.stderr.contains("the limit is 33554432"), "{}", run.stderr);
    assert!(run.stdout.contains("not_json"), "{}", run.stdout);
    assert_eq!(picky.taken().iter().filter(|byte| **byte == b'\n').count(), 2);
}

#[test]
fn what_is_mended_is_sent_again_each_to_whoever_lacks_it() {
    let machine = Machine::set_up();
    let picky = Picky::start();
    refuse_some(&machine, &picky);
    let mended = picky.config("64KiB").replace("event_id_member = \"n\"\n", "");
    std::fs::write(machine.file("p.toml"), &mended).unwrap();
    let replay =
        |more: &[&str]| machine.run(&[&["pipeline", "dead-letters", "replay", "p.toml"], more].concat());
    let own = replay(&["dead.jsonl"]);
    assert!(own.code == Some(1) && own.stderr.contains("mv dead.jsonl dead.jsonl.replay"), "{}", own.stderr);
    std::fs::rename(machine.file("dead.jsonl"), machine.file("old.jsonl")).unwrap();
    let before = std::fs::read(machine.file("old.jsonl")).unwrap();
    // Nothing is mended at the sink yet: the same comes back.
    let again = replay(&["old.jsonl", "--json"]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    let counts: Value =
        serde_json::from_str(again.stderr.lines().find(|line| line.starts_with("{\"letters\"")).unwrap())
            .unwrap();
    assert_eq!(
        (&counts["letters"], &counts["replayed"], &counts["without_event"], &counts["refused"]),
        (&4.into(), &3.into(), &1.into(), &2.into())
    );
    assert_sealed(again.stderr.as_bytes());
    let letters = list(&machine, &["dead.jsonl"]).stdout;
    assert!(
        letters.contains("sink_refused by picky")
            && letters.contains("not_json")
            && !letters.contains("no_event_id")
    );
    picky.is_mended.store(true, Ordering::SeqCst);
    std::fs::rename(machine.file("dead.jsonl"), machine.file("older.jsonl")).unwrap();
    let archived = std::fs::read(machine.file("archive.jsonl")).unwrap();
    let last = replay(&["older.jsonl"]);
    assert_eq!(last.code, Some(1), "{}", last.stderr);
    assert!(last.stderr.contains("sent 2 events of 2 letters again\n  1 refused again"), "{}", last.stderr);
    // The file had event 3 from the first, and has it once.
    assert_eq!(std::fs::read(machine.file("archive.jsonl")).unwrap(), archived);
    assert_eq!(std::fs::read(machine.file("old.jsonl")).unwrap(), before);
    let taken = picky.taken();
    assert_sealed(&taken);
    let bound: Vec<u8> = taken
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"{\"n\""))
        .flatten()
        .copied()
        .collect();
    assert_eq!(decrypted(&machine, &bound), [1, 2, 3]);
    // What had no id went everywhere, and opens to what it was.
    let without_id =
        taken.split_inclusive(|byte| *byte == b'\n').find(|line| line.starts_with(b"{\"actor_id\"")).unwrap();
    assert!(archived.windows(without_id.len()).any(|window| window == without_id));
    assert_eq!(filter(&machine, &["pii", "decrypt"], without_id).done(), format!("{NO_ID}\n").as_bytes());
}

#[test]
fn nothing_is_sent_while_a_pipeline_writes_letters_or_to_a_sink_that_is_not_there() {
    let machine = Machine::set_up();
    let picky = Picky::start();
    refuse_some(&machine, &picky);
    std::fs::copy(machine.file("dead.jsonl"), machine.file("copy.jsonl")).unwrap();
    let config = picky.config("4KiB");
    let service = Service::start(&machine, &config);
    // Another configuration, the same file of letters.
    std::fs::write(machine.file("p.toml"), config.replace("\"dead.jsonl\"", "\"other.jsonl\"")).unwrap();
    let replay = ["pipeline", "dead-letters", "replay", "p.toml"];
    machine.refused(&[&replay[..], &["dead.jsonl"]].concat(), "dead.jsonl is in use by a pipeline");
    // The archive has one writer.
    machine.refused(&[&replay[..], &["copy.jsonl"]].concat(), "in use");
    assert_eq!(service.terminate().code, Some(0));
    std::fs::write(machine.file("p.toml"), config.replace("\"picky\"", "\"other\"")).unwrap();
    machine.refused(&[&replay[..], &["copy.jsonl"]].concat(), "this pipeline has no sink \"picky\"");
    machine.refused(&[&replay[..], &["no-such-file"]].concat(), "no-such-file");
    machine.refused(&[&replay[..], &["state"]].concat(), "state is no regular file");
    assert_eq!(picky.taken().iter().filter(|byte| **byte == b'\n').count(), 2);
}

#[test]
fn letters_of_pii_encrypt_are_listed_opened_and_sent_too() {
    let machine = Machine::set_up();
    let input = format!("{}\n{BROKEN}\n", event(1));
    let arguments = ["pii", "encrypt", "--on-error", "dead-letter", "dead.jsonl", "--tenant", "acme"];
    filter(&machine, &arguments, input.as_bytes()).refused("1 event refused");
    let run = list(&machine, &["dead.jsonl"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("line 2 of standard input, at byte"), "{}", run.stdout);
    let letters = list(&machine, &["dead.jsonl", "--json"]).json();
    assert_eq!(
        (&letters["letters"][0]["of"], &letters["letters"][0]["number"]),
        (&"stream".into(), &2.into())
    );
    machine.refused(&["pipeline", "dead-letters", "open", "dead.jsonl"], "name it with --tenant");
    let opened_letter = machine.ok(&["pipeline", "dead-letters", "open", "dead.jsonl", "--tenant", "acme"]);
    assert_eq!(opened_letter.stdout, format!("{BROKEN}\n"));
    // One that was refused for no fault of its own goes through a pipeline.
    let arguments = ["pii", "encrypt", "--on-error", "dead-letter", "id.jsonl", "--event-id-member", "id"];
    filter(&machine, &arguments, format!("{}\n", event(7)).as_bytes()).refused("1 event refused");
    let config = format!("[source]\nkind = \"stdin\"{PII}[[sink]]\nkind = \"stdout\"\n");
    std::fs::write(machine.file("p.toml"), config).unwrap();
    let sent = machine.ok(&["pipeline", "dead-letters", "replay", "p.toml", "id.jsonl"]);
    assert_eq!(opened(&machine, sent.stdout.as_bytes()), [7]);
    assert!(!sent.stderr.contains(&secret(7)), "{}", sent.stderr);
    // A digest instead of the event: nothing to open.
    let sealed = filter(&machine, &["pii", "encrypt"], format!("{}\n", event(8)).as_bytes()).done();
    let broken = [&sealed[..200], b"\n"].concat();
    filter(&machine, &["pii", "decrypt", "--on-error", "dead-letter", "cut.jsonl"], &broken)
        .refused("1 event refused");
    assert!(list(&machine, &["cut.jsonl"]).stdout.contains("its SHA-256"));
    machine.refused(&["pipeline", "dead-letters", "open", "cut.jsonl"], "does not hold its event");
}

#[test]
fn a_letter_under_a_retired_dek_opens_by_name_only() {
    let machine = Machine::set_up();
    let picky = Picky::start();
    refuse_some(&machine, &picky);
    let first = machine.version(0);
    machine.ok(&["dek", "rotate"]);
    machine.ok(&["dek", "retire", &first]);
    let open = ["pipeline", "dead-letters", "open", "dead.jsonl"];
    machine.refused(&open, &format!("`--allow-retired {first}` opens it all the same"));
    let run = machine.run(&[&open[..], &["--allow-retired", &first]].concat());
    assert!(run.stdout.contains(BROKEN), "{}{}", run.stdout, run.stderr);
}

/// Takes the first so many events, one at a time, and from then on nothing, until that is mended.
struct Stuck {
    proxy: Proxy,
    has_room: Arc<AtomicBool>,
    taken: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Stuck {
    fn after(most: usize) -> Self {
        let (has_room, taken) =
            (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Mutex::new(Vec::new())));
        let (room, kept) = (Arc::clone(&has_room), Arc::clone(&taken));
        let proxy = Proxy::before(([127, 0, 0, 1], 9).into(), move |_, request| {
            let mut kept = kept.lock().unwrap();
            if kept.split(|byte| *byte == b'\n').count() > most && !room.load(Ordering::SeqCst) {
                return Fate::Answer(Message::answer(503, "text/plain", b"later"));
            }
            kept.extend_from_slice(&request.body);
            Fate::Answer(Message::answer(200, "text/plain", b""))
        });
        Self { proxy, has_room, taken }
    }

    fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.taken().iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Told to stop, and killed: in either case the next run goes on where events were settled.
#[test]
fn an_interrupted_replay_is_gone_on_with() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::TERM, Some(1)), (Signal::KILL, None)] {
        let machine = Machine::set_up();
        // No event has an id, so all are refused.
        let sink = Stuck::after(10);
        let config = |more: &str| {
            format!(
                "[source]\nkind = \"stdin\"\n[pipeline]\ndead_letters = \"dead.jsonl\"\ndrain_timeout = \"1s\"{PII}{more}\
                 [[sink]]\nkind = \"http\"\nname = \"stuck\"\nbatch_events = 1\nurl = \"{}/\"\n",
                sink.proxy.url()
            )
        };
        let service = Service::start(&machine, &config("event_id_member = \"id\"\n"));
        service.feed(&events(1..=30));
        assert_eq!(service.finish().counts()["dead_letters"], 30);
        std::fs::rename(machine.file("dead.jsonl"), machine.file("old.jsonl")).unwrap();
        std::fs::write(machine.file("p.toml"), config("")).unwrap();
        let arguments = ["pipeline", "dead-letters", "replay", "p.toml", "old.jsonl", "--json"];
        let mut command = machine.command(&arguments);
        let stderr = std::process::Stdio::piped();
        let mut child = command.stdout(std::process::Stdio::null()).stderr(stderr).spawn().unwrap();
        wait_until("ten events were taken", || sink.count() == 10);
        // A second replay of them would send what this one sends.
        machine.refused(&arguments, "in use by a pipeline or another replay");
        wait_until("that was put down", || {
            std::fs::read_to_string(machine.file("old.jsonl.sent"))
                .is_ok_and(|sent| sent.contains("\"line\":10}"))
        });
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);

        // What it says is for these letters alone.
        let letters = std::fs::read(machine.file("old.jsonl")).unwrap();
        std::fs::write(machine.file("old.jsonl"), [&letters[..], b"\n"].concat()).unwrap();
        machine.refused(&arguments, "old.jsonl.sent is about other letters");
        std::fs::write(machine.file("old.jsonl"), &letters).unwrap();
        assert_eq!(sink.count(), 10);

        sink.has_room.store(true, Ordering::SeqCst);
        let run = machine.run(&arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let counts: Value =
            serde_json::from_str(run.stderr.lines().find(|line| line.starts_with("{\"letters\"")).unwrap())
                .unwrap();
        assert_eq!(
            (&counts["letters"], &counts["sent_before"], &counts["replayed"]),
            (&30.into(), &10.into(), &20.into())
        );
        let mut numbers = opened(&machine, &sink.taken());
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=30).collect::<Vec<u64>>(), "each once");
        assert!(!machine.file("old.jsonl.sent").exists(), "nothing is left to go on with");
    }
}
