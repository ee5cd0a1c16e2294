//! NATS JetStream: a stream has every event once, whatever happens to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_kek::SecretText;
use aegis_telemetry::{NatsLogin, NatsServer, NatsSettings, NatsSink, Reason, SinkSettings, SpoolSettings};
use serde_json::json;
use test_services::nats::Nats;
use test_services::{scratch, tools};

use crate::fixture::{
    LONG, Reader, Ring, builder, event, logs, quick, quick_with_spool, wait_until, workers,
};

pub(crate) fn nats(test: &str) -> Option<Nats> {
    let server = Nats::start();
    if server.is_none() {
        tools::skip(test, "nats-server is not installed");
    }
    server
}

fn settings(server: &Nats) -> NatsSettings {
    let server = NatsServer { timeout: Duration::from_secs(2), ..NatsServer::at(server.url()) };
    NatsSettings { server, subject: "telemetry.sealed".to_owned(), stream: None }
}

fn sink(server: &Nats) -> NatsSink {
    NatsSink::new(settings(server)).unwrap()
}

fn numbers(server: &Nats, ring: &Arc<Ring>) -> Vec<u64> {
    let mut reader = Reader::new(ring);
    server.messages("SEALED").iter().map(|message| reader.number(message)).collect()
}

#[test]
fn a_message_an_event_acknowledged_by_the_stream() {
    let Some(server) = nats("a_message_an_event") else { return };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    let ring = Ring::new();
    let small = SinkSettings { batch_events: 16, ..quick() };
    let pipeline = builder(&ring, workers(4)).add_sink("nats", sink(&server), small).start().unwrap();
    for number in 1..=200 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.flush(LONG).unwrap();
    assert_eq!(server.count("SEALED"), 200);
    pipeline.close(LONG).unwrap();
    assert_eq!(numbers(&server, &ring), (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_server_that_is_stopped_and_started_again_has_every_event_once() {
    let Some(mut server) = nats("a_server_that_is_stopped") else { return };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    let (ring, dir) = (Ring::new(), scratch::dir());
    let spool = SpoolSettings::in_dir(dir.path().join("spool"));
    let settings = SinkSettings { batch_events: 10, ..quick_with_spool(spool) };
    let pipeline = builder(&ring, workers(2)).add_sink("nats", sink(&server), settings).start().unwrap();
    let emitted = AtomicU64::new(0);
    let emit = |count: u64| {
        for _ in 0..count {
            pipeline.emit(event(emitted.fetch_add(1, Ordering::SeqCst) + 1).0).unwrap();
        }
    };
    emit(50);
    pipeline.flush(LONG).unwrap();
    for _ in 0..2 {
        server.stop();
        emit(50);
        // Acknowledged while the server is down: the spool has them.
        pipeline.flush(LONG).unwrap();
        assert!(pipeline.metrics().sinks()[0].spool_events.value() > 0);
        server.start_again();
        emit(50);
        pipeline.flush(LONG).unwrap();
    }
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    pipeline.close(LONG).unwrap();
    // A batch whose acknowledgement was lost was published again, and the stream kept the first of each message.
    let mut found = numbers(&server, &ring);
    assert_eq!(found.len(), 250);
    found.sort_unstable();
    assert_eq!(found, (1..=250).collect::<Vec<_>>());
}

#[test]
fn events_wait_until_a_stream_has_the_subject() {
    let Some(server) = nats("events_wait_until_a_stream_has_the_subject") else { return };
    let ring = Ring::new();
    let pipeline = builder(&ring, workers(1)).add_sink("nats", sink(&server), quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("it was tried twice", || metrics.sinks()[0].retries.value() >= 2);
    assert_eq!(pipeline.acknowledged().0, 0);
    server.make_stream("SEALED", &["telemetry.>"], &json!({}));
    pipeline.close(LONG).unwrap();
    assert_eq!(numbers(&server, &ring), [1]);
}

#[test]
fn a_stream_other_than_the_configured_one_is_not_taken_for_it() {
    let Some(server) = nats("a_stream_other_than_the_configured_one") else { return };
    server.make_stream("OTHER", &["telemetry.sealed"], &json!({}));
    let ring = Ring::new();
    let sink =
        NatsSink::new(NatsSettings { stream: Some("SEALED".to_owned()), ..settings(&server) }).unwrap();
    let pipeline = builder(&ring, workers(1)).add_sink("nats", sink, quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("it was tried", || metrics.sinks()[0].retries.value() >= 1);
    assert!(pipeline.close(Duration::from_millis(50)).is_err());
}

#[test]
fn a_message_that_the_stream_will_never_take_is_found_and_all_else_arrives() {
    let Some(server) = nats("a_message_that_the_stream_will_never_take") else { return };
    // An event becomes about 7 KB; one of them is longer.
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({ "max_msg_size": 12_000 }));
    let ring = Ring::new();
    let patient = SinkSettings { linger: LONG, ..quick() };
    let pipeline = builder(&ring, workers(1)).add_sink("nats", sink(&server), patient).start().unwrap();
    for number in 1..=6 {
        pipeline.emit(event(number).0).unwrap();
        if number == 3 {
            pipeline.emit(format!("{{\"pad\":\"{}\"}}", "x".repeat(20_000))).unwrap();
            // Longer than the server itself takes.
            pipeline.emit(format!("{{\"pad\":\"{}\"}}", "x".repeat(1_200_000))).unwrap();
        }
    }
    let metrics = Arc::clone(pipeline.metrics());
    assert_eq!(pipeline.close(LONG).unwrap().refused, 2);
    assert_eq!(metrics.refused(Reason::SinkRefused), 2);
    assert_eq!(numbers(&server, &ring), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_login_is_used_and_shown_to_nobody() {
    let password = "n4ts-p4ssword-xyz";
    let Some(server) = Nats::with_password("gate", password) else {
        tools::skip("a_login_is_used", "nats-server is not installed");
        return;
    };
    server.make_stream("SEALED", &["telemetry.sealed"], &json!({}));
    let ring = Ring::new();
    let with = |password: &str| {
        let login = NatsLogin::Password { user: "gate".to_owned(), password: SecretText::new(password) };
        let mut settings = settings(&server);
        settings.server.login = Some(login);
        assert!(!format!("{settings:?}").contains(password));
        let sink = NatsSink::new(settings).unwrap();
        let pipeline = builder(&ring, workers(1)).add_sink("nats", sink, quick()).start().unwrap();
        pipeline.emit(event(1).0).unwrap();
        let metrics = Arc::clone(pipeline.metrics());
        wait_until("it is there, or was refused", || {
            pipeline.acknowledged().0 == 1 || metrics.sinks()[0].retries.value() >= 2
        });
        pipeline.close(Duration::from_millis(50))
    };
    with("wr0ng-p4ssword").unwrap_err();
    with(password).unwrap();
    assert_eq!(numbers(&server, &ring), [1]);
    let logs = String::from_utf8(logs()).unwrap();
    assert!(!logs.contains(password) && !logs.contains("wr0ng-p4ssword"));
}
