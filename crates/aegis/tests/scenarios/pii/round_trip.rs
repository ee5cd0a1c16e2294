//! There and back.

use std::fs;
use std::io::{Read as _, Write as _};

use super::*;

#[test]
fn the_sample_events_have_all_twelve_fields_and_come_back_to_the_byte_in_every_form() {
    let machine = Machine::set_up();
    let events = sample_text();
    for field in FIELDS {
        assert!(memchr_find(&events, format!("\"{field}\"").as_bytes()), "{field} is in no sample");
    }
    fs::write(machine.file("token.key"), format!("{}\n", "5a".repeat(32))).unwrap();
    private(&machine.file("token.key"));
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["--threads", "3"], &["--threads", "2"]),
        (&["--envelope", "compact"], &[]),
        (&["--name-catalogue"], &[]),
        (&["--envelope", "full", "--bind", "name"], &[]),
        (
            &["--tenant", "acme", "--event-id-member", "event_id"],
            &["--tenant", "acme", "--event-id-member", "event_id"],
        ),
        (&["--token", "actor_id,signer_id", "--token-key", "token.key", "--token-epoch", "7"], &[]),
        (&["--plaintext-hash", "sha256"], &[]),
        (&["--also", "title,/session/device,/load/*", "--without", "signer_id"], &[]),
        (&["--scope", "default"], &[]),
    ];
    for (there, back) in cases {
        let sealed = filter(&machine, &[&["pii", "encrypt"], *there].concat(), &events);
        assert_eq!(sealed.code, Some(0), "{there:?}: {}", sealed.stderr);
        let is_weaker = there.contains(&"--token") || there.contains(&"sha256");
        assert_eq!(sealed.stderr.starts_with("warning: "), is_weaker, "{there:?}: {}", sealed.stderr);
        if !there.contains(&"--without") {
            nothing_personal(&events, &sealed.stdout, &format!("{there:?}"));
        }
        same(&decrypt(&machine, back, &sealed.stdout), &events, &format!("{there:?}"));
        // What is sealed is not sealed again.
        let again = filter(&machine, &[&["pii", "encrypt"], *there].concat(), &sealed.stdout);
        same(&again.stdout, &sealed.stdout, &format!("{there:?}, twice"));
    }
    // All forms in one stream.
    let mixed =
        [encrypt(&machine, &[], &events), encrypt(&machine, &["--envelope", "compact"], &events)].concat();
    same(&decrypt(&machine, &[], &mixed), &events.repeat(2), "mixed");
}

#[test]
fn ten_thousand_generated_events_come_back_to_the_byte() {
    let machine = Machine::set_up();
    let events = generated(10_000);
    let sealed = encrypt(&machine, &["--envelope", "compact", "--threads", "2"], &events);
    same(&decrypt(&machine, &["--threads", "2"], &sealed), &events, "compact");
    same(&encrypt(&machine, &["--threads", "2"], &sealed), &sealed, "twice");
    let events = generated(500);
    let sealed = encrypt(&machine, &[], &events);
    same(&decrypt(&machine, &[], &sealed), &events, "full");
    let events = generated(100);
    let sealed = encrypt(&machine, &["--envelope", "compact"], &events);
    nothing_personal(&events, &sealed, "generated");
    let names = filter(&machine, &["pii", "inspect"], &sealed).done();
    assert!(String::from_utf8(names).unwrap().contains("with personal fields in the clear: 0"));
}

#[test]
fn threads_keep_the_order_and_write_the_same_events() {
    let machine = Machine::set_up();
    let events = generated(3_000);
    for threads in ["1", "2", "8"] {
        let sealed = encrypt(&machine, &["--threads", threads, "--envelope", "compact"], &events);
        same(&decrypt(&machine, &["--threads", threads], &sealed), &events, threads);
    }
}

#[test]
fn one_array_stays_one_array() {
    let machine = Machine::set_up();
    let array = fs::read(samples().with_file_name("approvals.json")).unwrap();
    let sealed = encrypt(&machine, &["--array"], &array);
    let value: Value = serde_json::from_slice(&sealed).unwrap();
    assert_eq!(value.as_array().unwrap().len(), 3);
    same(&decrypt(&machine, &["--array", "--threads", "2"], &sealed), &array, "array");
    // On one line, an array is an event as any other.
    let line = br#"[{"actor_id":"somebody"},{"actor_id":"else"}]"#;
    same(&decrypt(&machine, &[], &encrypt(&machine, &[], line)), line, "a line");
    // What is refused is left out with its comma.
    let broken = br#"[{"actor_id":tru},{"actor_id":1},{"b":}, {"c":2} ,]"#;
    let skipped = filter(&machine, &["pii", "encrypt", "--array", "--on-error", "skip"], broken);
    let skipped =
        skipped.refused("3 events refused, and not in the output\n  because: the first is element 1 of");
    assert_eq!(decrypt(&machine, &["--array"], &skipped), br#"[{"actor_id":1}, {"c":2} ]"#);
}

#[test]
fn files_are_compressed_if_their_names_say_so() {
    let machine = Machine::set_up();
    let events = sample_text();
    for name in ["s.jsonl", "s.jsonl.gz", "s.jsonl.zst", "S.JSONL.GZ"] {
        let samples = samples();
        let report = machine.ok(&["pii", "encrypt", samples.to_str().unwrap(), "-o", name]).stdout;
        assert!(report.starts_with("sealed 31 fields of 12 events under dek-v1-"), "{report}");
        let magic: &[u8] = match name.to_lowercase() {
            name if name.ends_with("gz") => b"\x1f\x8b",
            name if name.ends_with("zst") => b"\x28\xb5\x2f\xfd",
            _ => b"{",
        };
        let sealed = fs::read(machine.file(name)).unwrap();
        assert!(sealed.starts_with(magic), "{name}");
        same(&filter(&machine, &["pii", "decrypt", name], b"").done(), &events, name);
        // Members of gzip and frames of Zstandard may follow one another.
        fs::write(machine.file(name), sealed.repeat(3)).unwrap();
        same(&filter(&machine, &["pii", "decrypt", name], b"").done(), &events.repeat(3), name);
    }
    // Several files, compressed or not, and standard input among them, make one stream.
    machine.ok(&["pii", "decrypt", "s.jsonl.zst", "-o", "back.jsonl.gz"]);
    let sealed = encrypt(&machine, &[], &events);
    let all = filter(&machine, &["pii", "decrypt", "s.jsonl", "-", "s.jsonl.gz"], &sealed).done();
    same(&all, &events.repeat(7), "several");
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(machine.file("back.jsonl.gz")).unwrap())
        .read_to_end(&mut text)
        .unwrap();
    same(&text, &events.repeat(3), "back");
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let machine = Machine::set_up();
    let gz = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let whole = gz(&sample_text());
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("plain.gz", b"{}\n".to_vec(), "cannot read plain.gz"),
        ("plain.zst", b"{}\n".to_vec(), "cannot read plain.zst"),
        ("cut.gz", whole[..whole.len() - 9].to_vec(), "cannot read cut.gz"),
        ("after.gz", [whole.as_slice(), b"more"].concat(), "cannot read after.gz"),
        ("packed.jsonl", whole.clone(), "if its name ends in .gz or .zst"),
        // A bomb: 256 members, and all of them one line of 256 MB.
        ("bomb.gz", gz(&vec![b' '; 1 << 20]).repeat(256), "it has more than 4194304 bytes"),
        // A frame that wants a window of 2 GiB (RFC 8878, §3.1.1.1.2).
        ("window.zst", b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec(), "larger than 8 MiB"),
        ("missing.jsonl", Vec::new(), "No such file"),
    ];
    for (name, bytes, why) in cases {
        if !name.starts_with("missing") {
            fs::write(machine.file(name), bytes).unwrap();
        }
        filter(&machine, &["pii", "encrypt", name, "-o", "out"], b"").refused(why);
        assert!(!machine.file("out").exists(), "{name}");
    }
    filter(&machine, &["pii", "encrypt", "state"], b"").refused("it is a directory");
}

#[test]
fn the_use_of_a_dek_is_counted() {
    let machine = Machine::set_up();
    encrypt(&machine, &[], &sample_text());
    encrypt(&machine, &["--threads", "2"], &sample_text());
    let dek = machine.deks()[0].clone();
    // Ten of the twelve events have something to seal.
    assert_eq!(dek["messages"], 20);
    assert!(dek["bytes"].as_u64().unwrap() > 1000);
}

#[test]
fn what_was_done_is_printed_where_no_events_are() {
    let machine = Machine::set_up();
    let samples = samples();
    let samples = samples.to_str().unwrap();
    let report = machine.ok(&["pii", "encrypt", "--json", samples, "-o", "s.jsonl"]).json();
    assert_eq!(
        (&report["events"], &report["sealed"], &report["refused"]),
        (&12.into(), &31.into(), &0.into())
    );
    let report = machine.ok(&["pii", "decrypt", "--json", "s.jsonl", "-o", "back.jsonl"]).json();
    assert_eq!((&report["events"], &report["opened"]), (&12.into(), &31.into()));
    let piped = machine.ok(&["pii", "decrypt", "--json", "s.jsonl"]);
    assert_eq!(piped.stdout.as_bytes(), sample_text());
    let report: Value = serde_json::from_str(&piped.stderr).unwrap();
    assert_eq!((&report["opened"], piped.stderr.lines().count()), (&31.into(), 1));
}

#[test]
fn somebody_who_watches_sees_how_far_it_is() {
    if !test_services::tools::need("somebody_who_watches_sees_how_far_it_is", &["script"]) {
        return;
    }
    let machine = Machine::set_up();
    fs::write(machine.file("events.jsonl"), sample_text().repeat(200)).unwrap();
    let line = format!("{} pii encrypt events.jsonl -o out", crate::machine::PROGRAM);
    // The terminal is that of `script`, which has the variables of the machine.
    let mut command = std::process::Command::new("script");
    let aegis = machine.command(&[]);
    command.args(["-qec", &line, "/dev/null"]).current_dir(machine.path());
    for (name, value) in aegis.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let shown = filter::of(command.env("TERM", "xterm"), b"");
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.code, Some(0), "{text}");
    assert!(text.contains("encrypt [") && text.contains("B/s"), "{text}");
    assert!(text.contains("sealed 6200 fields of 2400 events"), "{text}");
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
