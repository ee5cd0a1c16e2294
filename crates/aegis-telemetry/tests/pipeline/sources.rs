//! Where events come from: nothing is left out, whenever whoever reads is stopped or killed.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_telemetry::inlet::{
    Ended, FileTail, FileTailError, Intake, NatsSource, NatsSourceSettings, ReaderSource, Source, StartAt,
    Stop, TailSettings,
};
use aegis_telemetry::{FlushError, NatsServer, PipelineSettings, Reason, TelemetryPipeline};
use serde_json::json;
use test_services::scratch;

use crate::fixture::{LONG, Ring, Taken, builder, event, quick, wait_until, workers};
use crate::nats::nats;

fn settings() -> PipelineSettings {
    PipelineSettings { max_event_len: 100_000, ..workers(2) }
}

fn pipeline(ring: &Arc<Ring>, taken: &Taken) -> TelemetryPipeline {
    builder(ring, settings()).add_sink("out", taken.sink(), quick()).start().unwrap()
}

/// As a program does: reads until the end or `stop`, flushes, and puts down how far it is.
fn run(
    source: &mut dyn Source,
    pipeline: &TelemetryPipeline,
    stop: &Stop,
    drain: Duration,
) -> (Ended, Result<(), FlushError>) {
    let ended = source.run(&mut Intake::new(pipeline, settings(), stop)).unwrap();
    let flushed = pipeline.flush(drain).map(drop);
    source.remember(pipeline).unwrap();
    (ended, flushed)
}

/// Runs a source until something is so, and stops it.
fn run_until(source: &mut dyn Source, pipeline: &TelemetryPipeline, what: &str, is_so: impl Fn() -> bool) {
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        let stop = &stop;
        let running = scope.spawn(move || run(source, pipeline, stop, LONG).1.unwrap());
        wait_until(what, || is_so() || running.is_finished());
        stop.set();
    });
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(std::os::fd::OwnedFd::from(reader)), File::from(std::os::fd::OwnedFd::from(writer)))
}

#[test]
fn a_stream_is_read_to_its_end_line_by_line() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = pipeline(&ring, &taken);
    let (reader, mut writer) = pipe();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 1..=50 {
                writeln!(writer, "{}\r", event(number).0).unwrap();
                writeln!(writer, "  ").unwrap();
            }
            // Too long to be held, broken, and without a line feed.
            for _ in 0..100 {
                writer.write_all(&[b'x'; 10_000]).unwrap();
            }
            write!(writer, "\nbroken\n{}", event(51).0).unwrap();
        });
        let stop = Stop::new().unwrap();
        let (ended, flushed) = run(&mut ReaderSource::new(reader, "a pipe"), &pipeline, &stop, LONG);
        flushed.unwrap();
        assert_eq!(ended, Ended::Input);
    });
    assert_eq!(pipeline.metrics().refused(Reason::OverLimit), 1);
    assert_eq!(pipeline.metrics().refused(Reason::NotJson), 1);
    assert_eq!(pipeline.acknowledged().0, 53);
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=51).collect::<Vec<_>>());
}

#[test]
fn a_stream_that_says_nothing_is_left_when_that_is_asked_for() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = pipeline(&ring, &taken);
    let (reader, mut writer) = pipe();
    writeln!(writer, "{}", event(1).0).unwrap();
    let mut source = ReaderSource::new(reader, "a pipe");
    run_until(&mut source, &pipeline, "the event is there", || pipeline.acknowledged().0 == 1);
    drop(writer);
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), [1]);
}

struct Tailed {
    dir: tempfile::TempDir,
}

impl Tailed {
    fn new() -> Self {
        Self { dir: scratch::dir() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.log")
    }

    fn settings(&self) -> TailSettings {
        TailSettings {
            poll: Duration::from_millis(20),
            rotate_wait: Duration::from_millis(300),
            ..TailSettings::of(self.path(), self.dir.path().join("state"))
        }
    }

    fn write(&self, numbers: std::ops::RangeInclusive<u64>) {
        write_to(&self.path(), numbers);
    }

    fn put_aside(&self, name: &str) {
        fs::rename(self.path(), self.dir.path().join(name)).unwrap();
    }

    /// Runs until so many events of this run are acknowledged, and gives their numbers.
    fn read(&self, ring: &Arc<Ring>, settings: TailSettings, wanted: u64) -> Vec<u64> {
        let taken = Taken::default();
        let pipeline = pipeline(ring, &taken);
        let mut source = FileTail::open(settings).unwrap();
        run_until(&mut source, &pipeline, "all is read", || pipeline.acknowledged().0 >= wanted);
        pipeline.close(LONG).unwrap();
        taken.numbers(ring)
    }
}

fn write_to(path: &Path, numbers: std::ops::RangeInclusive<u64>) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    for number in numbers {
        writeln!(file, "{}", event(number).0).unwrap();
    }
}

#[test]
fn a_file_is_read_on_where_it_was_left() {
    let (ring, tailed) = (Ring::new(), Tailed::new());
    tailed.write(1..=20);
    assert_eq!(tailed.read(&ring, tailed.settings(), 20), (1..=20).collect::<Vec<_>>());
    tailed.write(21..=30);
    // Half a line is left until it is whole.
    let half = event(31).0;
    let mut file = OpenOptions::new().append(true).open(tailed.path()).unwrap();
    write!(file, "{}", &half[..40]).unwrap();
    assert_eq!(tailed.read(&ring, tailed.settings(), 10), (21..=30).collect::<Vec<_>>());
    writeln!(file, "{}", &half[40..]).unwrap();
    assert_eq!(tailed.read(&ring, tailed.settings(), 1), [31]);
}

#[test]
fn a_file_that_is_put_aside_is_read_to_its_end_before_the_next() {
    let (ring, tailed, taken) = (Ring::new(), Tailed::new(), Taken::default());
    let pipeline = pipeline(&ring, &taken);
    let mut source = FileTail::open(tailed.settings()).unwrap();
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        let (pipeline, source, stop) = (&pipeline, &mut source, &stop);
        let running = scope.spawn(move || run(source, pipeline, stop, LONG));
        let mut first = 1;
        for round in 0..4 {
            tailed.write(first..=first + 9);
            if round % 2 == 0 {
                wait_until("it is read", || pipeline.acknowledged().0 >= first);
            }
            tailed.put_aside(&format!("app.log.{round}"));
            // Whoever has it open goes on writing to it.
            write_to(&tailed.dir.path().join(format!("app.log.{round}")), first + 10..=first + 14);
            first += 15;
            tailed.write(first..=first + 4);
            wait_until("the next one is read", || pipeline.acknowledged().0 >= first + 4);
            first += 5;
        }
        stop.set();
        running.join().unwrap().1.unwrap();
    });
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=80).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_put_aside_while_nobody_read_is_found_again() {
    let (ring, tailed) = (Ring::new(), Tailed::new());
    tailed.write(1..=5);
    assert_eq!(tailed.read(&ring, tailed.settings(), 5), [1, 2, 3, 4, 5]);
    tailed.write(6..=8);
    tailed.put_aside("app.log.1");
    tailed.write(9..=10);
    assert_eq!(tailed.read(&ring, tailed.settings(), 5), [6, 7, 8, 9, 10]);
    // Gone for good.
    fs::remove_file(tailed.path()).unwrap();
    tailed.write(11..=12);
    assert_eq!(tailed.read(&ring, tailed.settings(), 2), [11, 12]);
    // Shorter than it was.
    fs::write(tailed.path(), format!("{}\n", event(13).0)).unwrap();
    assert_eq!(tailed.read(&ring, tailed.settings(), 1), [13]);
}

#[test]
fn a_file_can_be_read_from_its_end() {
    let (ring, tailed, taken) = (Ring::new(), Tailed::new(), Taken::default());
    tailed.write(1..=5);
    let pipeline = pipeline(&ring, &taken);
    let mut source = FileTail::open(TailSettings { start_at: StartAt::End, ..tailed.settings() }).unwrap();
    let stop = Stop::new().unwrap();
    let mut last = 5;
    std::thread::scope(|scope| {
        let (pipeline, source, stop) = (&pipeline, &mut source, &stop);
        let running = scope.spawn(move || run(source, pipeline, stop, LONG));
        // When it has come to the end, nobody says.
        while pipeline.acknowledged().0 < 3 {
            last += 1;
            tailed.write(last..=last);
            std::thread::sleep(Duration::from_millis(30));
        }
        stop.set();
        running.join().unwrap().1.unwrap();
    });
    pipeline.close(LONG).unwrap();
    let numbers = taken.numbers(&ring);
    let first = numbers[0];
    assert!(first > 5, "{numbers:?}");
    assert_eq!(numbers, (first..first + numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn what_is_not_acknowledged_is_read_again() {
    let (ring, tailed, taken) = (Ring::new(), Tailed::new(), Taken::default());
    tailed.write(1..=10);
    let down =
        builder(&ring, settings()).add_sink("out", taken.sink_unless(|| true), quick()).start().unwrap();
    let mut source = FileTail::open(tailed.settings()).unwrap();
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        let (down, source, stop) = (&down, &mut source, &stop);
        let running = scope.spawn(move || run(source, down, stop, Duration::from_millis(50)));
        wait_until("all is read", || down.metrics().events_in.value() == 10);
        stop.set();
        let error = running.join().unwrap().1.unwrap_err();
        assert!(matches!(error, FlushError::TimedOut { unsettled: 10, .. }), "{error:?}");
    });
    drop((source, down));
    assert_eq!(tailed.read(&ring, tailed.settings(), 10), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_state_file_that_is_none_is_an_error_and_not_a_new_beginning() {
    let tailed = Tailed::new();
    tailed.write(1..=1);
    for bytes in ["", "{}", "nonsense"] {
        fs::write(tailed.settings().state, bytes).unwrap();
        let error = FileTail::open(tailed.settings()).unwrap_err();
        assert!(matches!(error, FileTailError::BadState { .. }), "{bytes}: {error:?}");
        assert!(error.help().is_some());
    }
}

fn worker(server: &test_services::nats::Nats) -> NatsSource {
    NatsSource::new(NatsSourceSettings {
        server: NatsServer::at(server.url()),
        stream: "PLAIN".to_owned(),
        consumer: "sealers".to_owned(),
        subject: None,
        ack_wait: Duration::from_secs(3),
        max_unacknowledged: 64,
    })
    .unwrap()
}

#[test]
fn workers_of_one_group_share_a_stream_and_each_event_goes_to_one_of_them() {
    let Some(server) = nats("workers_of_one_group") else { return };
    server.make_stream("PLAIN", &["telemetry.plain"], &json!({}));
    server.publish_all("telemetry.plain", (1..=200).map(|number| event(number).0.into_bytes()));
    server.publish("telemetry.plain", b"broken");
    let ring = Ring::new();
    let taken: Vec<Taken> = (0..4).map(|_| Taken::default()).collect();
    let all = || taken.iter().map(|taken| taken.texts().len()).sum::<usize>();
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        for taken in &taken {
            let (stop, ring, server) = (&stop, &ring, &server);
            scope.spawn(move || {
                let pipeline = pipeline(ring, taken);
                run(&mut worker(server), &pipeline, stop, LONG).1.unwrap();
                pipeline.close(LONG).unwrap();
            });
        }
        wait_until("all is there", || all() >= 200);
        // What comes again would come now.
        server.publish_all("telemetry.plain", (201..=210).map(|number| event(number).0.into_bytes()));
        wait_until("the rest is there", || all() >= 210);
        stop.set();
    });
    let mut numbers: Vec<u64> = taken.iter().flat_map(|taken| taken.numbers(&ring)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=210).collect::<Vec<_>>());
    let info = server.ask("$JS.API.CONSUMER.INFO.PLAIN.sealers", b"");
    assert_eq!(
        (info["num_ack_pending"].as_u64(), info["num_pending"].as_u64()),
        (Some(0), Some(0)),
        "{info}"
    );
}

#[test]
fn what_a_worker_did_not_bring_through_goes_to_another() {
    let Some(server) = nats("what_a_worker_did_not_bring_through") else { return };
    server.make_stream("PLAIN", &["telemetry.plain"], &json!({}));
    server.publish_all("telemetry.plain", (1..=30).map(|number| event(number).0.into_bytes()));
    let (ring, nothing, taken) = (Ring::new(), Taken::default(), Taken::default());
    // This one takes messages and never gets them delivered.
    let down =
        builder(&ring, workers(1)).add_sink("out", nothing.sink_unless(|| true), quick()).start().unwrap();
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        let (stop, down, server) = (&stop, &down, &server);
        let running = scope.spawn(move || run(&mut worker(server), down, stop, Duration::from_millis(50)));
        wait_until("it has some", || down.metrics().events_in.value() > 0);
        stop.set();
        let error = running.join().unwrap().1.unwrap_err();
        assert!(matches!(error, FlushError::TimedOut { .. }), "{error:?}");
    });
    let pipeline = pipeline(&ring, &taken);
    run_until(&mut worker(&server), &pipeline, "all is there", || taken.texts().len() >= 30);
    pipeline.close(LONG).unwrap();
    let mut numbers = taken.numbers(&ring);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
}

#[test]
fn a_worker_outlives_its_server() {
    let Some(mut server) = nats("a_worker_outlives_its_server") else { return };
    server.make_stream("PLAIN", &["telemetry.plain"], &json!({}));
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = pipeline(&ring, &taken);
    let mut source = worker(&server);
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        let (stop, pipeline, source) = (&stop, &pipeline, &mut source);
        let running = scope.spawn(move || run(source, pipeline, stop, LONG));
        for round in 0..2 {
            let first = round * 10 + 1;
            server.publish_all(
                "telemetry.plain",
                (first..first + 10).map(|number| event(number).0.into_bytes()),
            );
            wait_until("all is there", || taken.texts().len() as u64 >= first + 9);
            server.stop();
            server.start_again();
        }
        stop.set();
        running.join().unwrap().1.unwrap();
    });
    pipeline.close(LONG).unwrap();
    let mut numbers = taken.numbers(&ring);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}
