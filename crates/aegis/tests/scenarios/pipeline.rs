//! `aegis pipeline`: the service as it runs for months: its input is rotated, its sinks go away, its keys change, and
//! somebody kills it.
//!
//! | module | what it shows |
//! |---|---|
//! | [`configs`] | every configuration that could not work is refused, with its line |
//! | [`dead_letters`] | what was refused: listed, opened, sent again |
//! | [`service`] | the running program, and what a test reads of it |
//! | [`tail`] | a file that is followed: rotated, cut off, and read again after a kill |
//! | [`nats`] | a consumer group from one stream into another |

mod configs;
mod dead_letters;
mod nats;
mod service;
mod tail;

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use test_services::guarded::free_port;
use test_services::http::Message;
use test_services::proxy::{Fate, Proxy};

use crate::machine::Machine;
use service::{Service, assert_sealed, event, events, opened, secret, wait_until};

const PII: &str = "\n[[enricher]]\nkind = \"pii\"\n";

#[test]
fn what_comes_in_goes_out_sealed_and_what_is_refused_becomes_a_dead_letter() {
    let machine = Machine::set_up();
    let service = Service::start(
        &machine,
        &format!(
            "[source]\nkind = \"stdin\"\n[pipeline]\nworkers = 2\ndead_letters = \"dead.jsonl\"\nmax_event = \"4KiB\"{PII}\
             [[sink]]\nkind = \"stdout\"\n[[sink]]\nkind = \"file\"\npath = \"sealed.jsonl\"\n"
        ),
    );
    service.feed(&events(1..=500));
    service.feed(b"\n  \n{\"actor_id\":\"person-broken@example.org\n");
    service.feed(format!("{{\"actor_id\":\"{}\"}}\n", "person-long".repeat(1000)).as_bytes());
    // The last line has no end.
    service.feed(event(501).as_bytes());
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let counts = ended.counts();
    assert_eq!((&counts["events"], &counts["sealed"]), (&502.into(), &501.into()), "{counts}");
    assert_eq!(
        (&counts["refused"], &counts["dead_letters"], &counts["lost"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!(counts["sinks"][1]["delivered"], 501);
    for sealed in [ended.stdout.clone(), std::fs::read(machine.file("sealed.jsonl")).unwrap()] {
        assert_eq!(opened(&machine, &sealed), (1..=501).collect::<Vec<_>>());
    }
    assert_sealed(&std::fs::read(machine.file("dead.jsonl")).unwrap());
    assert_sealed(ended.stderr.as_bytes());
}

#[test]
fn the_options_of_the_enricher_are_those_of_pii_encrypt() {
    let machine = Machine::set_up();
    machine.ok(&["dek", "create", "--scope", "billing"]);
    let service = Service::start(
        &machine,
        "[source]\nkind = \"stdin\"\n[[enricher]]\nkind = \"pii\"\nscope = \"billing\"\nenvelope = \"compact\"\ntenant = \"acme\"\n\
         also = [\"email\"]\nmin_priority = \"high\"\nwithout = [\"decision_rationale\"]\n[[sink]]\nkind = \"stdout\"\n",
    );
    let input =
        br#"{"actor_id":"person-a","email":"person-b","decision_rationale":"open","requested_by":"medium"}"#;
    service.feed(input);
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = String::from_utf8(ended.stdout.clone()).unwrap();
    assert!(text.contains("_aegis") && !text.contains("person-"), "{text}");
    assert!(text.contains("\"open\"") && text.contains("\"medium\""), "{text}");
    let billing = machine.deks().into_iter().find(|dek| dek["scope"] == "billing").unwrap();
    assert_eq!(ended.counts()["deks"][0], billing["version"]);
    // What was sealed is counted in the keyring.
    assert_eq!(billing["messages"], 1);
    std::fs::write(machine.file("sealed"), &ended.stdout).unwrap();
    let right = machine.ok(&["pii", "decrypt", "--tenant", "acme", "sealed"]);
    assert_eq!(right.stdout.trim_end().as_bytes(), input);
    machine.refused(&["pii", "decrypt", "--tenant", "other", "sealed"], "");
}

#[test]
fn tokens_event_ids_and_the_catalogue_are_as_pii_encrypt_writes_them() {
    let machine = Machine::set_up();
    let key = machine.file("token.key");
    std::fs::write(&key, format!("{}\n", "5c".repeat(32))).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let service = Service::start(
        &machine,
        "[source]\nkind = \"stdin\"\n[[enricher]]\nkind = \"pii\"\ntenant = \"acme\"\nevent_id_member = \"n\"\nname_catalogue = \
         true\nplaintext_hash = \"sha256\"\ntoken = [\"actor_id\"]\ntoken_key_file = \"token.key\"\ntoken_epoch = 7\n\
         [[sink]]\nkind = \"stdout\"\n",
    );
    let input = [events(1..=2), events(1..=1)].concat();
    service.feed(&input);
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for warning in ["search tokens: whoever reads", "whoever guesses a value can check the guess"] {
        assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("5c5c5c"), "{}", ended.stderr);
    let options = [
        "pii",
        "encrypt",
        "--tenant",
        "acme",
        "--event-id-member",
        "n",
        "--name-catalogue",
        "--plaintext-hash",
        "sha256",
        "--token",
        "actor_id",
        "--token-key",
        "token.key",
        "--token-epoch",
        "7",
    ];
    let filtered = crate::pii::filter::filter(&machine, &options, &input);
    let of = |sealed: &[u8], member: &str| -> Vec<String> {
        let text = String::from_utf8(sealed.to_vec()).unwrap();
        let before = format!("\"{member}\":\"");
        let parts = text.split(&before).skip(1);
        parts.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    for member in ["_token", "_plaintext_hash", "_catalogue"] {
        let found = of(&ended.stdout, member);
        assert_eq!(found, of(&filtered.stdout, member), "{member}");
        assert!(found.len() >= 3, "{member}: {found:?}");
    }
    let tokens = of(&ended.stdout, "_token");
    assert!(tokens[0].starts_with("7:") && tokens[0] == tokens[2] && tokens[0] != tokens[1], "{tokens:?}");
    std::fs::write(machine.file("sealed"), &ended.stdout).unwrap();
    let right = machine.ok(&["pii", "decrypt", "--tenant", "acme", "--event-id-member", "n", "sealed"]);
    assert_eq!(right.stdout.as_bytes(), input);
    // Bound to its event: the field of one does not open in another.
    let moved = String::from_utf8(ended.stdout).unwrap().replacen("{\"n\":1,", "{\"n\":3,", 1);
    std::fs::write(machine.file("moved"), moved).unwrap();
    machine.refused(
        &["pii", "decrypt", "--tenant", "acme", "--event-id-member", "n", "moved"],
        "moved from where it was",
    );
}

#[test]
fn a_machine_with_a_public_key_and_no_keyring_seals_and_one_named_dek_stays_the_one() {
    let machine = Machine::set_up();
    let version = machine.version(0);
    let shown = machine.ok(&["dek", "show", &version, "--json"]).json();
    std::fs::write(machine.file("dek.pub"), format!("{}\n", shown["public_key"].as_str().unwrap())).unwrap();
    let config = |keys: &str| {
        format!(
            "[source]\nkind = \"stdin\"\n[pipeline]\ndead_letters = \"dead.jsonl\"{PII}dek_version = \"{version}\"\n{keys}[[sink]]\n\
             kind = \"stdout\"\n"
        )
    };
    // Nothing of the deployment is there, or reached for.
    let elsewhere = Machine::empty();
    std::fs::copy(machine.file("dek.pub"), elsewhere.file("dek.pub")).unwrap();
    let service = Service::start(&elsewhere, &config("public_key_file = \"dek.pub\"\n"));
    service.feed(&events(1..=20));
    service.feed(b"{broken person-\n");
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        (&ended.counts()["sealed"], &ended.counts()["deks"][0]),
        (&20.into(), &version.clone().into())
    );
    assert!(!elsewhere.file("state").exists());
    assert_eq!(opened(&machine, &ended.stdout), (1..=20).collect::<Vec<_>>());
    std::fs::copy(elsewhere.file("dead.jsonl"), machine.file("dead.jsonl")).unwrap();
    let letters = machine.ok(&["pipeline", "dead-letters", "open", "dead.jsonl"]);
    assert_eq!(letters.stdout, "{broken person-\n");
    // With a keyring, it has to be the active one, and rotation is not followed.
    let service = Service::start(&machine, &config(""));
    service.feed(&events(1..=5));
    service.wait_for_metric("aegis_telemetry_sealed_events_total", 5);
    machine.ok(&["dek", "rotate"]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    service.feed(&events(6..=10));
    let ended = service.finish();
    assert_eq!(ended.counts()["deks"], serde_json::json!([version]));
    assert_eq!(opened(&machine, &ended.stdout), (1..=10).collect::<Vec<_>>());
    std::fs::write(machine.file("p.toml"), config("")).unwrap();
    machine.refused(&["pipeline", "run", "p.toml"], "is not the active DEK of scope default");
}

#[test]
fn a_signal_drains_what_was_read_and_ends_with_0() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let machine = Machine::set_up();
        let notify = UnixDatagram::bind(machine.file("notify")).unwrap();
        let config = format!(
            "[source]\nkind = \"stdin\"{PII}[[sink]]\nkind = \"file\"\npath = \"sealed.jsonl\"\nlinger = \"1h\"\nbatch_events = 100000\n"
        );
        let path = machine.file("notify");
        let service = Service::start_with(&machine, &config, |command| {
            command.env("NOTIFY_SOCKET", path);
        });
        let mut state = [0; 64];
        let said = notify.recv(&mut state).unwrap();
        assert_eq!(&state[..said], b"READY=1");
        service.feed(&events(1..=300));
        // Read, sealed, and waiting for an hour; the pipe stays open.
        service.wait_for_metric("aegis_telemetry_sealed_events_total", 300);
        service.signal(signal);
        let ended = service.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.counts()["sinks"][0]["delivered"], 300);
        let said = notify.recv(&mut state).unwrap();
        assert_eq!(&state[..said], b"STOPPING=1");
        let sealed = std::fs::read(machine.file("sealed.jsonl")).unwrap();
        assert_eq!(opened(&machine, &sealed), (1..=300).collect::<Vec<_>>());
    }
}

#[test]
fn a_sink_that_never_comes_is_not_waited_for_longer_than_it_is_said() {
    let machine = Machine::set_up();
    let nobody = free_port();
    let sink = format!("[[sink]]\nkind = \"http\"\nurl = \"http://127.0.0.1:{nobody}/\"\n");
    // Its time is over.
    let source = "[source]\nkind = \"stdin\"\n[pipeline]\ndrain_timeout = \"300ms\"\n";
    let service = Service::start(&machine, &format!("{source}{PII}{sink}"));
    service.feed(&events(1..=3));
    service.wait_for_metric("aegis_telemetry_sealed_events_total", 3);
    service.signal(rustix::process::Signal::TERM);
    let ended = service.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("3 events are not acknowledged yet, for http"), "{}", ended.stderr);
    // A second signal; without it this would take an hour. What is spooled stays.
    let source = "[source]\nkind = \"stdin\"\n[pipeline]\ndrain_timeout = \"1h\"\nspool = \"spool\"\n";
    let other = sink.replace("[[sink]]\n", "[[sink]]\nname = \"stuck\"\nspool = false\n");
    let service = Service::start(&machine, &format!("{source}{PII}{sink}{other}"));
    service.feed(&events(1..=3));
    service.wait_for_metric("aegis_telemetry_sink_spool_events{sink=\"http\"}", 3);
    service.signal(rustix::process::Signal::TERM);
    service.wait_for_stderr("draining");
    service.signal(rustix::process::Signal::TERM);
    let ended = service.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("ended by a second signal"), "{}", ended.stderr);
    let spool = service::all_bytes(&machine.file("spool"));
    assert_eq!(spool.windows(12).filter(|twelve| twelve == b"_dek_version").count(), 6);
    assert_sealed(&spool);
}

/// A receiver that can be away, and what it took.
struct Receiver {
    proxy: Proxy,
    is_up: Arc<AtomicBool>,
    taken: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Receiver {
    fn start() -> Self {
        let (is_up, taken) = (Arc::new(AtomicBool::new(true)), Arc::new(std::sync::Mutex::new(Vec::new())));
        let (up, kept) = (Arc::clone(&is_up), Arc::clone(&taken));
        let proxy = Proxy::before(([127, 0, 0, 1], 9).into(), move |_, request| {
            if !up.load(Ordering::SeqCst) {
                return Fate::Answer(Message::answer(503, "text/plain", b"away"));
            }
            kept.lock().unwrap().extend_from_slice(&request.body);
            Fate::Answer(Message::answer(200, "text/plain", b""))
        });
        Self { proxy, is_up, taken }
    }

    fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap().clone()
    }
}

#[test]
fn a_sink_that_is_away_gets_everything_in_order_when_it_is_back() {
    let machine = Machine::set_up();
    let receiver = Receiver::start();
    let config = format!(
        "[source]\nkind = \"stdin\"\n[pipeline]\nspool = \"spool\"\n[queue]\nevents = 50{PII}[[sink]]\nkind = \"http\"\nname = \
         \"collector\"\nurl = \"{}/\"\nbatch_events = 20\nretry_first = \"5ms\"\nretry_most = \"40ms\"\n",
        receiver.proxy.url()
    );
    let service = Service::start(&machine, &config);
    service.feed(&events(1..=100));
    wait_until("it is delivered", || opened(&machine, &receiver.taken()).len() == 100);
    receiver.is_up.store(false, Ordering::SeqCst);
    // Far more than the queue holds: nobody waits for the sink.
    service.feed(&events(101..=600));
    service.wait_for_metric("aegis_telemetry_events_total", 600);
    service.wait_for_metric("aegis_telemetry_sink_spool_events{sink=\"collector\"}", 400);
    receiver.is_up.store(true, Ordering::SeqCst);
    wait_until("the spool is drained", || {
        service.metric("aegis_telemetry_sink_spool_events{sink=\"collector\"}") == 0
    });
    // Away again, and the service ends in the meantime.
    receiver.is_up.store(false, Ordering::SeqCst);
    service.feed(&events(601..=700));
    service.wait_for_metric("aegis_telemetry_sink_spooled_events_total{sink=\"collector\"}", 1);
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let waiting = ended.counts()["sinks"][0]["spooled"].as_u64().unwrap();
    assert!((1..=100).contains(&waiting), "{waiting}");
    let spool = service::all_bytes(&machine.file("spool"));
    assert!(!spool.is_empty());
    assert_sealed(&spool);
    // The next one brings what is left.
    receiver.is_up.store(true, Ordering::SeqCst);
    let service = Service::start(&machine, &config);
    service.feed(&events(701..=710));
    let ended = service.finish();
    assert_eq!(
        (ended.code, &ended.counts()["sinks"][0]["spooled"]),
        (Some(0), &0.into()),
        "{}",
        ended.stderr
    );
    assert_eq!(opened(&machine, &receiver.taken()), (1..=710).collect::<Vec<_>>());
}

#[test]
fn a_dek_and_a_kek_that_are_rotated_meanwhile_cost_no_event() {
    let mut machine = Machine::set_up();
    let config =
        format!("[source]\nkind = \"stdin\"{PII}[[sink]]\nkind = \"file\"\npath = \"sealed.jsonl\"\n");
    let service = Service::start(&machine, &config);
    let emitted = AtomicUsize::new(0);
    let feed = |count: usize| {
        let first = emitted.fetch_add(count, Ordering::SeqCst) + 1;
        service.feed(&events(first as u64..=(first + count - 1) as u64));
    };
    let feed_until_sealed_under = |version: &str| {
        wait_until("the new DEK seals", || {
            feed(20);
            let sealed = std::fs::read(machine.file("sealed.jsonl")).unwrap_or_default();
            String::from_utf8(sealed).unwrap().contains(version)
        });
    };
    feed(100);
    machine.ok(&["dek", "rotate"]);
    feed_until_sealed_under(&machine.version(1));
    machine.ok(&["kek", "rotate", "--to", "b.env"]);
    feed(100);
    assert_eq!(machine.run_as("b.env", &["dek", "rotate"]).code, Some(0));
    feed_until_sealed_under(&machine.version(2));
    feed(100);
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let emitted = emitted.load(Ordering::SeqCst) as u64;
    assert_eq!(ended.counts()["deks"].as_array().unwrap().len(), 3);
    assert_eq!((&ended.counts()["sealed"], &ended.counts()["refused"]), (&emitted.into(), &0.into()));
    let sealed = std::fs::read(machine.file("sealed.jsonl")).unwrap();
    machine.take("b.env");
    assert_eq!(opened(&machine, &sealed), (1..=emitted).collect::<Vec<_>>());
}

#[test]
fn no_secret_is_in_anything_that_it_says_or_keeps() {
    let machine = Machine::set_up();
    let secrets = ["t0ken-of-the-collector", "passw0rd-of-the-archive", "passw0rd-of-nats"];
    for (name, secret) in ["archive", "nats"].iter().zip(&secrets[1..]) {
        let file = machine.file(name);
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let receiver = Receiver::start();
    receiver.is_up.store(false, Ordering::SeqCst);
    let url = receiver.proxy.url();
    let nobody = free_port();
    let config = format!(
        "[source]\nkind = \"stdin\"\n[pipeline]\nspool = \"spool\"\ndead_letters = \"dead\"\ndrain_timeout = \"2s\"{PII}\
         [[sink]]\nkind = \"http\"\nname = \"collector\"\nurl = \"{url}/\"\nbearer_variable = \"COLLECTOR_TOKEN\"\n\
         [[sink]]\nkind = \"otlp\"\nname = \"archive\"\nurl = \"{url}/v1/logs\"\nuser = \"u\"\npassword_file = \"archive\"\n\
         [[sink]]\nkind = \"nats\"\nservers = [\"nats://127.0.0.1:{nobody}\"]\nsubject = \"a\"\nuser = \"u\"\npassword_file = \"nats\"\n"
    );
    let service = Service::start_with(&machine, &config, |command| {
        command.env("AEGIS_LOG", "trace").env("COLLECTOR_TOKEN", secrets[0]).env("RUST_BACKTRACE", "full");
    });
    service.feed(&events(1..=20));
    service.feed(b"{broken person-\n");
    service.wait_for_metric("aegis_telemetry_sink_spooled_events_total{sink=\"nats\"}", 20);
    let arguments = service.arguments();
    let metrics = service.metrics();
    let ended = service.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // It is the log at its loudest, with what was done in it.
    for span in ["pipeline{workers=", "seal{first=", "deliver{sink=\"collector\"", "spool{sink=\"nats\""] {
        assert!(ended.stderr.contains(span), "{span}");
    }
    // The receiver got them, so they were used.
    let seen = receiver.proxy.seen();
    assert!(
        seen.iter()
            .any(|request| request.header("Authorization").is_some_and(|value| value.contains(secrets[0])))
    );
    let mut kept = service::all_bytes(&machine.file("spool"));
    kept.extend(std::fs::read(machine.file("dead")).unwrap());
    for (what, bytes) in [
        ("the log", ended.stderr.as_bytes()),
        ("the output", &ended.stdout),
        ("the arguments", &arguments),
        ("the metrics", metrics.as_bytes()),
        ("the files", &kept),
    ] {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {what}");
        }
        assert_sealed(bytes);
    }
}

#[test]
fn the_reader_of_the_standard_output_may_leave() {
    let machine = Machine::set_up();
    std::fs::write(
        machine.file("p.toml"),
        format!("[source]\nkind = \"stdin\"{PII}[[sink]]\nkind = \"stdout\"\n"),
    )
    .unwrap();
    let mut command = machine.command(&["pipeline", "run", "p.toml"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // Until it has noticed, and gone.
    while std::io::Write::write_all(&mut input, &events(1..=100)).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("is gone"), "{stderr}");
    assert_sealed(stderr.as_bytes());
}

#[test]
fn metrics_are_given_to_prometheus_and_to_nobody_else() {
    let machine = Machine::set_up();
    let service =
        Service::start(&machine, &format!("[source]\nkind = \"stdin\"{PII}[[sink]]\nkind = \"stdout\"\n"));
    service.feed(&events(1..=7));
    service.wait_for_metric("aegis_telemetry_sealed_events_total", 7);
    let ask = |method: &str, path: &str| service.ask(method, path);
    let page = ask("GET", "/metrics");
    assert_eq!(page.status(), 200);
    assert!(page.header("Content-Type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(ask("GET", "/metrics?x=1").status(), 200);
    assert_eq!(ask("GET", "/secrets").status(), 404);
    assert_eq!(ask("POST", "/metrics").status(), 405);
    // One who says nothing, and one who says too much, keep nobody from asking.
    let silent = std::net::TcpStream::connect(service.metrics_address()).unwrap();
    let mut endless = std::net::TcpStream::connect(service.metrics_address()).unwrap();
    let _ = std::io::Write::write_all(&mut endless, &vec![b'x'; 1 << 20]);
    assert_eq!(ask("GET", "/metrics").status(), 200);
    drop(silent);
    assert_eq!(service.finish().code, Some(0));
    // Where nobody can listen, nothing begins.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!(
        "[source]\nkind = \"stdin\"\n[pipeline]\nmetrics = \"127.0.0.1:{port}\"{PII}[[sink]]\nkind = \"stdout\"\n"
    );
    std::fs::write(machine.file("p.toml"), config).unwrap();
    machine.refused(&["pipeline", "run", "p.toml"], "cannot listen on 127.0.0.1");
}

#[test]
fn values_of_events_are_what_the_test_looks_for() {
    assert!(event(7).contains(&secret(7)));
    assert!(std::panic::catch_unwind(|| assert_sealed(event(7).as_bytes())).is_err());
}
