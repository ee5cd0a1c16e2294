//! Events over HTTP: what is sent, what is sent again, and what an answer means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_kek::SecretText;
use aegis_telemetry::{
    Authorization, BodyForm, CertificateError, Certificates, ClientCertificate, FlushError, HttpSink, Reason,
    SinkSettings, WebSettings, WebSettingsError,
};
use test_services::authority::{Authority, Pair};
use test_services::http::Message;
use test_services::proxy::Proxy;

use crate::fixture::{LONG, Reader, Ring, builder, event, logs, quick, wait_until, workers};
use crate::receiver::{Answer, Receiver, key_of, status};

fn sink(url: impl Into<String>) -> HttpSink {
    HttpSink::new(&WebSettings::of_url(url), BodyForm::Lines).unwrap()
}

fn batches_of(events: usize) -> SinkSettings {
    SinkSettings { batch_events: events, linger: LONG, ..quick() }
}

#[test]
fn posts_batches_as_lines_or_as_an_array() {
    let ring = Ring::new();
    let receiver = Receiver::start(|_, _| Answer::Take);
    let mut settings = WebSettings::of_url(format!("{}/lines?a=b", receiver.url()));
    settings.headers = vec![("X-Source".to_owned(), "gate".to_owned())];
    let lines = HttpSink::new(&settings, BodyForm::Lines).unwrap();
    let array =
        HttpSink::new(&WebSettings::of_url(format!("{}/array", receiver.url())), BodyForm::Array).unwrap();
    let pipeline = builder(&ring, workers(2))
        .add_sink("lines", lines, batches_of(4))
        .add_sink("array", array, batches_of(4))
        .start()
        .unwrap();
    for number in 1..=10 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.close(LONG).unwrap();
    let (lines, array): (Vec<_>, Vec<_>) =
        receiver.taken().into_iter().partition(|request| request.target().1 == "/lines?a=b");
    assert_eq!((lines.len(), array.len()), (3, 3));
    let mut reader = Reader::new(&ring);
    let mut numbers = Vec::new();
    for request in &lines {
        assert_eq!(request.target().0, "POST");
        assert_eq!(request.header("Content-Type"), Some("application/x-ndjson"));
        assert_eq!(request.header("X-Source"), Some("gate"));
        numbers.extend(reader.numbers(&request.body));
    }
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    let mut numbers = Vec::new();
    for request in &array {
        assert_eq!(request.header("Content-Type"), Some("application/json"));
        let events: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&request.body).unwrap();
        numbers.extend(events.iter().map(|event| reader.number(event.get().as_bytes())));
    }
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_request_that_failed_is_sent_again_as_it_was_under_its_key() {
    let ring = Ring::new();
    let receiver = Receiver::start(|number, _| match number {
        0 | 4 => status(503),
        1 => Answer::Reset,
        2 => status(500),
        3 | 6 => Answer::TakeAndReset,
        7 => status(429),
        _ => Answer::Take,
    });
    let pipeline =
        builder(&ring, workers(2)).add_sink("http", sink(receiver.url()), batches_of(3)).start().unwrap();
    for number in 1..=9 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.close(LONG).unwrap();
    let mut by_key: Vec<(String, Vec<u8>)> = Vec::new();
    for request in receiver.seen() {
        let (key, body) = (key_of(&request), request.body);
        assert!(key.starts_with('"') && key.ends_with('"'), "{key}");
        match by_key.last() {
            Some((last, before)) if *last == key => assert_eq!(*before, body, "{key}"),
            _ => {
                assert!(by_key.iter().all(|(other, _)| *other != key), "{key} came back later");
                by_key.push((key, body));
            }
        }
    }
    // A receiver that heeds the keys has every event once.
    let bodies: Vec<u8> = by_key.into_iter().flat_map(|(_, body)| body).collect();
    assert_eq!(Reader::new(&ring).numbers(&bodies), (1..=9).collect::<Vec<_>>());
}

#[test]
fn waits_as_long_as_the_receiver_asks() {
    let ring = Ring::new();
    let receiver = Receiver::start(|number, _| {
        if number > 0 {
            return Answer::Take;
        }
        let mut answer = Message::answer(503, "text/plain", b"");
        answer.set("Retry-After", "1");
        Answer::Say(answer)
    });
    let pipeline =
        builder(&ring, workers(1)).add_sink("http", sink(receiver.url()), quick()).start().unwrap();
    let began = Instant::now();
    pipeline.emit(event(1).0).unwrap();
    pipeline.close(LONG).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn what_is_refused_for_good_is_found_and_all_else_arrives() {
    for refusal in [400, 413, 415, 422] {
        let ring = Ring::new();
        let receiver = Receiver::start(move |_, request| {
            // Of all events, one has this member.
            let is_bad = String::from_utf8_lossy(&request.body).contains("\"n\":5,");
            if is_bad { status(refusal) } else { Answer::Take }
        });
        let pipeline =
            builder(&ring, workers(1)).add_sink("http", sink(receiver.url()), batches_of(8)).start().unwrap();
        for number in 1..=8 {
            pipeline.emit(event(number).0).unwrap();
        }
        let metrics = Arc::clone(pipeline.metrics());
        assert_eq!(pipeline.close(LONG).unwrap().refused, 1, "{refusal}");
        assert_eq!(metrics.refused(Reason::SinkRefused), 1);
        let numbers = Reader::new(&ring).numbers(&receiver.lines());
        assert_eq!(numbers, [1, 2, 3, 4, 6, 7, 8], "{refusal}");
        let mut keys: Vec<_> = receiver.seen().iter().map(key_of).collect();
        let requests = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), requests, "halves have keys of their own");
    }
}

#[test]
fn a_receiver_that_is_not_set_up_right_costs_no_event() {
    for answer in [301, 302, 307, 401, 403, 404, 405, 408, 501, 502, 504] {
        let ring = Ring::new();
        let elsewhere = Receiver::start(|_, _| Answer::Take);
        let (is_right, url) = (Arc::new(AtomicBool::new(false)), elsewhere.url());
        let looks = Arc::clone(&is_right);
        let receiver = Receiver::start(move |_, _| {
            if looks.load(Ordering::SeqCst) {
                return Answer::Take;
            }
            let mut said = Message::answer(answer, "text/plain", b"");
            said.set("Location", &url);
            Answer::Say(said)
        });
        let pipeline =
            builder(&ring, workers(1)).add_sink("http", sink(receiver.url()), quick()).start().unwrap();
        pipeline.emit(event(1).0).unwrap();
        wait_until("it was tried twice", || receiver.seen().len() >= 2);
        assert_eq!(pipeline.metrics().all_refused(), 0, "{answer}");
        is_right.store(true, Ordering::SeqCst);
        pipeline.close(LONG).unwrap();
        assert_eq!(Reader::new(&ring).numbers(&receiver.lines()), [1], "{answer}");
        assert!(elsewhere.seen().is_empty(), "{answer}: it went where it was sent");
    }
}

#[test]
fn a_yes_is_a_yes_however_much_is_said_besides() {
    let ring = Ring::new();
    let receiver = Receiver::start(|_, _| Answer::TakeAndTalk);
    let pipeline =
        builder(&ring, workers(1)).add_sink("http", sink(receiver.url()), batches_of(1)).start().unwrap();
    for number in 1..=3 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.close(LONG).unwrap();
    assert_eq!(Reader::new(&ring).numbers(&receiver.lines()), [1, 2, 3]);
    assert_eq!(receiver.seen().len(), 3);
}

#[test]
fn speaks_tls_with_whom_it_trusts_and_shows_its_credentials_to_nobody_else() {
    let authorities = [(); 3].map(|()| Authority::new("http over TLS"));
    let [Some(right), Some(other), Some(wrong_host)] = authorities else { return };
    let ring = Ring::new();
    let secret = "t0p-s3cret-t0ken";
    let receiver = Receiver::start(|_, _| Answer::Take);
    let target = receiver.url().strip_prefix("http://").unwrap().parse().unwrap();
    let connect = |by: &Authority, name: &str, trusted: &Authority| {
        let Pair { certificate, key } = by.server(name);
        let proxy = Proxy::with_tls(target, &certificate, &key);
        let mut settings = WebSettings::of_url(proxy.url());
        settings.trusted_certificates = Some(trusted.certificate());
        settings.authorization = Some(Authorization::Bearer(SecretText::new(secret)));
        let sink = HttpSink::new(&settings, BodyForm::Lines).unwrap();
        let pipeline = builder(&ring, workers(1)).add_sink("tls", sink, quick()).start().unwrap();
        pipeline.emit(event(1).0).unwrap();
        let retries = Arc::clone(pipeline.metrics());
        wait_until("it is there, or was refused", || {
            pipeline.acknowledged().0 == 1 || retries.sinks()[0].retries.value() > 1
        });
        pipeline.close(Duration::from_millis(10))
    };
    let here = "IP:127.0.0.1";
    connect(&right, here, &right).unwrap();
    let [request] = receiver.taken().try_into().unwrap();
    assert_eq!(request.header("Authorization"), Some(&*format!("Bearer {secret}")));
    for (by, name, trusted) in [(&other, here, &right), (&wrong_host, "DNS:elsewhere.example", &wrong_host)] {
        let error = connect(by, name, trusted).unwrap_err();
        assert!(matches!(error, FlushError::TimedOut { .. }), "{error:?}");
    }
    assert_eq!(receiver.seen().len(), 1);
    assert!(!String::from_utf8_lossy(&logs()).contains(secret));

    let mut settings = WebSettings::of_url("https://127.0.0.1/");
    settings.trusted_certificates = Some(right.server(here).key);
    let error = HttpSink::new(&settings, BodyForm::Lines).unwrap_err();
    let WebSettingsError::Certificate(error) = error else { panic!("{error:?}") };
    assert!(matches!(*error, CertificateError::None { what: Certificates::Trusted, .. }), "{error:?}");
}

#[test]
fn shows_its_own_certificate_to_whoever_wants_one() {
    let authorities = [(); 2].map(|()| Authority::new("http with a client certificate"));
    let [Some(authority), Some(other)] = authorities else { return };
    let ring = Ring::new();
    let receiver = Receiver::start(|_, _| Answer::Take);
    let target = receiver.url().strip_prefix("http://").unwrap().parse().unwrap();
    let server = authority.server("IP:127.0.0.1");
    let proxy = Proxy::with_tls_for(target, &server.certificate, &server.key, &authority.certificate());
    let connect = |client: Option<Pair>| {
        let mut settings = WebSettings::of_url(proxy.url());
        settings.trusted_certificates = Some(authority.certificate());
        settings.client_certificate =
            client.map(|Pair { certificate, key }| ClientCertificate { certificate, key });
        let sink = HttpSink::new(&settings, BodyForm::Lines).unwrap();
        let pipeline = builder(&ring, workers(1)).add_sink("tls", sink, quick()).start().unwrap();
        pipeline.emit(event(1).0).unwrap();
        let metrics = Arc::clone(pipeline.metrics());
        wait_until("it is there, or was refused", || {
            pipeline.acknowledged().0 == 1 || metrics.sinks()[0].retries.value() > 1
        });
        pipeline.close(Duration::from_millis(10))
    };
    connect(Some(authority.client("gate"))).unwrap();
    connect(None).unwrap_err();
    connect(Some(other.client("gate"))).unwrap_err();
    assert_eq!(receiver.seen().len(), 1);
}
