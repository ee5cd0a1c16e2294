//! From one NATS stream into another.

use std::collections::BTreeSet;

use serde_json::json;
use test_services::authority::{Authority, Pair};
use test_services::nats::Nats;
use test_services::tools;

use super::service::{EndedService, Service, assert_sealed, event, opened, wait_until};
use crate::machine::Machine;

const PASSWORD: &str = "n4ts-p4ssword-of-the-pipeline";

fn server(test: &str) -> Option<Nats> {
    let server = Nats::with_password("gate", PASSWORD);
    match &server {
        None => drop(tools::skip(test, "nats-server is not installed")),
        Some(server) => {
            server.make_stream("RAW", &["raw.>"], &json!({}));
            server.make_stream("SEALED", &["sealed"], &json!({}));
        }
    }
    server
}

fn config(server: &Nats, more: &str) -> String {
    let login =
        format!("servers = [\"{}\"]\nuser = \"gate\"\npassword_variable = \"NATS_PASSWORD\"\n", server.url());
    format!(
        "[source]\nkind = \"nats\"\n{login}stream = \"RAW\"\nconsumer = \"sealers\"\nsubject = \"raw.events\"\nack_wait = \"2s\"\n{more}\
         [pipeline]\nworkers = 2\n[[enricher]]\nkind = \"pii\"\n[[sink]]\nkind = \"nats\"\n{login}subject = \"sealed\"\nstream = \
         \"SEALED\"\nretry_first = \"10ms\"\nretry_most = \"100ms\"\n"
    )
}

fn start(machine: &Machine, config: &str) -> Service {
    Service::start_with(machine, config, |command| {
        command.env("NATS_PASSWORD", PASSWORD);
    })
}

fn publish(server: &Nats, numbers: std::ops::RangeInclusive<u64>) {
    server.publish_all("raw.events", numbers.map(|number| event(number).into_bytes()));
}

fn pending(server: &Nats) -> u64 {
    let info = server.ask("$JS.API.CONSUMER.INFO.RAW.sealers", b"");
    info["num_pending"].as_u64().unwrap_or(u64::MAX) + info["num_ack_pending"].as_u64().unwrap_or(0)
}

fn found(machine: &Machine, server: &Nats) -> Vec<u64> {
    let sealed: Vec<u8> = server
        .messages("SEALED")
        .into_iter()
        .flat_map(|message| [message, b"\n".to_vec()].concat())
        .collect();
    opened(machine, &sealed)
}

#[track_caller]
fn assert_silent(ended: &EndedService) {
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    assert_sealed(ended.stderr.as_bytes());
}

#[test]
fn two_processes_share_a_stream_and_none_is_sealed_twice() {
    let Some(server) = server("two_processes_share_a_stream") else { return };
    let machine = Machine::set_up();
    let config = config(&server, "");
    let both = [start(&machine, &config), start(&machine, &config)];
    publish(&server, 1..=600);
    server.publish("raw.other", event(9999).as_bytes());
    wait_until("all is sealed", || server.count("SEALED") >= 600);
    let ended = both.map(Service::terminate);
    for ended in &ended {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_silent(ended);
    }
    assert_eq!(pending(&server), 0);
    let mut found = found(&machine, &server);
    found.sort_unstable();
    assert_eq!(found, (1..=600).collect::<Vec<_>>());
    let read: u64 = ended.iter().map(|ended| ended.counts()["events"].as_u64().unwrap()).sum();
    assert_eq!(read, 600);
}

#[test]
fn what_a_killed_process_had_taken_goes_to_another_one() {
    let Some(server) = server("what_a_killed_process_had_taken") else { return };
    let machine = Machine::set_up();
    let config = config(&server, "");
    publish(&server, 1..=200);
    for round in 0..4 {
        let service = start(&machine, &config);
        wait_until("it has begun", || {
            service.metric("aegis_telemetry_events_total") > 0 || pending(&server) == 0
        });
        service.kill();
        publish(&server, 201 + round * 50..=250 + round * 50);
    }
    let service = start(&machine, &config);
    wait_until("nothing is left", || pending(&server) == 0);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_silent(&ended);
    let found: BTreeSet<u64> = found(&machine, &server).into_iter().collect();
    assert_eq!(found, (1..=400).collect());
}

#[test]
fn a_server_that_goes_away_and_comes_back_costs_nothing() {
    let Some(mut server) = server("a_server_that_goes_away") else { return };
    let machine = Machine::set_up();
    let config = config(&server, "max_unacknowledged = 64\n")
        .replace("workers = 2\n", "workers = 2\nspool = \"spool\"\n");
    let service = start(&machine, &config);
    publish(&server, 1..=100);
    wait_until("all is sealed", || server.count("SEALED") >= 100);
    server.stop();
    server.start_again();
    publish(&server, 101..=200);
    wait_until("nothing is left", || pending(&server) == 0);
    wait_until("the spool is empty", || {
        service.metric("aegis_telemetry_sink_spool_events{sink=\"nats\"}") == 0
    });
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_silent(&ended);
    let found: BTreeSet<u64> = found(&machine, &server).into_iter().collect();
    assert_eq!(found, (1..=200).collect());
}

#[test]
fn a_consumer_that_would_lose_messages_is_refused() {
    let Some(server) = server("a_consumer_that_would_lose_messages") else { return };
    let machine = Machine::set_up();
    let text =
        config(&server, "").replace("password_variable = \"NATS_PASSWORD\"", "password_file = \"password\"");
    std::fs::write(machine.file("password"), PASSWORD).unwrap();
    std::fs::set_permissions(machine.file("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let cases = [
        (json!({ "ack_policy": "none" }), "does not want each message acknowledged"),
        (json!({ "ack_policy": "explicit", "max_deliver": 3 }), "after 3 deliveries"),
        (json!({ "ack_policy": "explicit", "filter_subject": "raw.other" }), "is for the subject"),
    ];
    for (at, (more, why)) in cases.into_iter().enumerate() {
        let name = format!("consumer{at}");
        let mut wanted = json!({ "durable_name": name });
        for (member, value) in more.as_object().unwrap() {
            wanted[member] = value.clone();
        }
        let made = server.ask(
            &format!("$JS.API.CONSUMER.DURABLE.CREATE.RAW.{name}"),
            json!({ "stream_name": "RAW", "config": wanted }).to_string().as_bytes(),
        );
        assert!(made.get("error").is_none(), "{made}");
        std::fs::write(machine.file("p.toml"), text.replace("\"sealers\"", &format!("\"{name}\""))).unwrap();
        machine.refused(&["pipeline", "run", "p.toml"], why);
    }
}

/// The nkey of the documentation of nkeys, and another one.
const NKEY: [&str; 2] = [
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "SUAAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBUCFM",
];
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

fn private(machine: &Machine, name: &str, text: &[u8]) {
    std::fs::write(machine.file(name), text).unwrap();
    std::fs::set_permissions(machine.file(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
}

#[test]
fn a_server_that_wants_a_certificate_and_an_nkey_gets_both_and_wrong_ones_are_named() {
    let test = "a_server_that_wants_a_certificate";
    let (Some(right), Some(other)) = (Authority::new(test), Authority::new(test)) else { return };
    let Pair { certificate, key } = right.server("IP:127.0.0.1");
    let config = format!(
        "allow_non_tls: true\ntls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {:?}, verify: true }}\n\
         authorization {{ users = [ {{ nkey: {PUBLIC} }}, {{ user: test, password: t3st-p4ss }} ] }}\n",
        right.certificate()
    );
    let Some(server) = Nats::with_config(&config, |_| json!({ "user": "test", "pass": "t3st-p4ss" })) else {
        tools::skip(test, "nats-server is not installed");
        return;
    };
    server.make_stream("RAW", &["raw.>"], &json!({}));
    server.make_stream("SEALED", &["sealed"], &json!({}));
    publish(&server, 1..=50);
    let machine = Machine::set_up();
    for (name, bytes) in [("right.ca", right.certificate()), ("other.ca", other.certificate())] {
        std::fs::copy(bytes, machine.file(name)).unwrap();
    }
    for (name, authority) in [("right", &right), ("other", &other)] {
        let Pair { certificate, key } = authority.client("gate");
        std::fs::copy(certificate, machine.file(&format!("{name}.crt"))).unwrap();
        private(&machine, &format!("{name}.key"), &std::fs::read(key).unwrap());
    }
    private(&machine, "right.nk", NKEY[0].as_bytes());
    private(&machine, "other.nk", NKEY[1].as_bytes());
    let url = server.url().replace("nats://", "tls://");
    let config = |ca: &str, own: &str, nkey: &str| {
        let login = format!(
            "servers = [\"{url}\"]\ntrusted_certificates = \"{ca}.ca\"\nclient_certificate = \"{own}.crt\"\n\
             client_key_file = \"{own}.key\"\nnkey_file = \"{nkey}.nk\"\ntimeout = \"5s\"\n"
        );
        format!(
            "[source]\nkind = \"nats\"\n{login}stream = \"RAW\"\nconsumer = \"sealers\"\nsubject = \"raw.events\"\n\
             [[enricher]]\nkind = \"pii\"\n[[sink]]\nkind = \"nats\"\n{login}subject = \"sealed\"\nstream = \"SEALED\"\n"
        )
    };
    for (ca, own, nkey, said, help) in [
        ("other", "right", "right", "invalid peer certificate", "check the trusted certificates"),
        ("right", "other", "right", "error", "check the trusted certificates"),
        ("right", "right", "other", "authorization violation", "check the login"),
    ] {
        let service = Service::start(&machine, &config(ca, own, nkey));
        service.wait_for_stderr("cannot read messages");
        let ended = service.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stderr.lines().find(|line| line.contains("cannot read messages")).unwrap();
        assert!(line.contains(said) && line.contains(help), "{line}");
        assert!(!ended.stderr.contains(NKEY[0]) && !ended.stderr.contains(NKEY[1]), "{}", ended.stderr);
    }
    assert_eq!((server.count("SEALED"), pending(&server)), (0, u64::MAX));
    let service = Service::start(&machine, &config("right", "right", "right"));
    wait_until("all is sealed", || server.count("SEALED") >= 50);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_silent(&ended);
    assert!(!ended.stderr.contains(NKEY[0]), "{}", ended.stderr);
    assert_eq!(found(&machine, &server), (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_password_that_is_wrong_is_named_as_such_by_source_and_sink() {
    let Some(server) = server("a_password_that_is_wrong") else { return };
    let machine = Machine::set_up();
    let service = Service::start_with(&machine, &config(&server, ""), |command| {
        command.env("NATS_PASSWORD", "an0ther-p4ssword");
    });
    service.wait_for_stderr("cannot read messages");
    let ended = service.terminate();
    let line = ended.stderr.lines().find(|line| line.contains("cannot read messages")).unwrap();
    assert!(line.contains("authorization violation") && line.contains("check the login"), "{line}");
    assert!(!ended.stderr.contains("an0ther-p4ssword"), "{}", ended.stderr);
    let text = config(&server, "");
    let sink = &text[text.find("[[enricher]]").unwrap()..];
    let service = Service::start_with(
        &machine,
        &format!("[source]\nkind = \"stdin\"\n[pipeline]\ndrain_timeout = \"1s\"\n{sink}"),
        |command| {
            command.env("NATS_PASSWORD", "an0ther-p4ssword");
        },
    );
    service.feed(format!("{}\n", event(1)).as_bytes());
    service.wait_for_stderr("the sink is down");
    let ended = service.terminate();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let line = ended.stderr.lines().find(|line| line.contains("the sink is down")).unwrap();
    assert!(line.contains("authorization violation") && line.contains("check the login"), "{line}");
    assert_sealed(ended.stderr.as_bytes());
}
