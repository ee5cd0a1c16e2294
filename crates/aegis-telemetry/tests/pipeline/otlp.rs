//! OTLP logs, taken and decoded by another implementation of HTTP and protobuf. A collector that could be installed as a
//! package was not to be had; its receiver is generated from the same schema.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use aegis_telemetry::{OtlpSettings, OtlpSink, Reason, SinkSettings, WebSettings};
use serde_json::Value;
use tempfile::TempDir;
use test_services::guarded::{Guarded, free_port};
use test_services::http::Message;
use test_services::{scratch, tools};

use crate::fixture::{LONG, Reader, Ring, builder, event, quick, wait_until, workers};

struct Collector {
    port: u16,
    how: PathBuf,
    out: PathBuf,
    _server: Guarded,
    _dir: TempDir,
}

impl Collector {
    fn start(test: &str) -> Option<Self> {
        let Some(python) = tools::python() else {
            tools::skip(test, "the test Python is not set up");
            return None;
        };
        let dir = scratch::dir();
        let (how, out, port) = (dir.path().join("how"), dir.path().join("out"), free_port());
        fs::write(&how, "ok").unwrap();
        fs::write(&out, "").unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pipeline/otlp_receiver.py");
        let mut command = Command::new(python);
        command.arg(script).arg(port.to_string()).arg(&how).arg(&out);
        let mut server = Guarded::start(&command, &dir.path().join("log"));
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        server.wait_until("the OTLP receiver", || {
            let request = Message::request("GET", "/", "localhost", &[], b"");
            request.send(address).is_ok_and(|answer| answer.status() == 200)
        });
        Some(Self { port, how, out, _server: server, _dir: dir })
    }

    fn sink(&self) -> OtlpSink {
        let resource = [("service.name", "gate"), ("deployment.environment", "test")];
        OtlpSink::new(&OtlpSettings {
            web: WebSettings::of_url(format!("http://127.0.0.1:{}/v1/logs", self.port)),
            resource: resource.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        })
        .unwrap()
    }

    fn answer(&self, how: &str) {
        fs::write(&self.how, how).unwrap();
    }

    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_record_an_event_as_the_schema_has_it() {
    let Some(collector) = Collector::start("a_record_an_event_as_the_schema_has_it") else { return };
    let ring = Ring::new();
    let settings = SinkSettings { batch_events: 4, linger: LONG, ..quick() };
    let pipeline = builder(&ring, workers(2)).add_sink("otlp", collector.sink(), settings).start().unwrap();
    for number in 1..=10 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.close(LONG).unwrap();
    let (mut reader, mut numbers, mut uids) = (Reader::new(&ring), Vec::new(), Vec::new());
    let requests = collector.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request["path"], "/v1/logs");
        assert_eq!(request["type"], "application/x-protobuf");
        let resource = &request["logs"]["resourceLogs"][0];
        assert_eq!(resource["resource"]["attributes"][0]["key"], "service.name");
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "gate");
        let scope = &resource["scopeLogs"][0];
        assert_eq!(scope["scope"]["name"], "aegis-telemetry");
        for record in scope["logRecords"].as_array().unwrap() {
            numbers.push(reader.number(record["body"]["stringValue"].as_str().unwrap().as_bytes()));
            assert!(record["observedTimeUnixNano"].as_str().unwrap().len() == 19, "{record}");
            assert_eq!(record["attributes"][0]["key"], "log.record.uid");
            uids.push(record["attributes"][0]["value"]["stringValue"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 10);
}

#[test]
fn a_partial_success_is_not_sent_again_and_what_was_in_it_is_kept() {
    let Some(collector) = Collector::start("a_partial_success") else { return };
    collector.answer("partial 2");
    let ring = Ring::new();
    let settings = SinkSettings { batch_events: 4, linger: LONG, ..quick() };
    let pipeline = builder(&ring, workers(1)).add_sink("otlp", collector.sink(), settings).start().unwrap();
    for number in 1..=4 {
        pipeline.emit(event(number).0).unwrap();
    }
    let metrics = Arc::clone(pipeline.metrics());
    let settled = pipeline.close(LONG).unwrap();
    assert_eq!(collector.requests().len(), 1);
    // Which two, it did not say: all four are dead letters, of which two are counted as taken.
    assert_eq!((settled.refused, metrics.refused(Reason::SinkTookSome)), (4, 4));
    assert_eq!((metrics.sinks()[0].refused.value(), metrics.sinks()[0].events.value()), (2, 2));
}

#[test]
fn a_success_of_something_else_and_an_outage_are_tried_again() {
    let Some(collector) = Collector::start("a_success_of_something_else") else { return };
    let ring = Ring::new();
    for how in ["html", "status 503", "status 429", "status 502"] {
        collector.answer(how);
        let pipeline =
            builder(&ring, workers(1)).add_sink("otlp", collector.sink(), quick()).start().unwrap();
        let before = collector.requests().len();
        pipeline.emit(event(1).0).unwrap();
        wait_until("it was tried twice", || collector.requests().len() >= before + 2);
        assert_eq!(pipeline.acknowledged().0, 0, "{how}");
        collector.answer("ok");
        pipeline.close(LONG).unwrap();
        let requests = collector.requests().split_off(before);
        assert!(requests.iter().all(|request| request["key"] == requests[0]["key"]), "{how}");
        assert_eq!(requests.last().unwrap()["how"], "ok");
    }
}
