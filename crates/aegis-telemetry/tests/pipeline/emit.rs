//! Order, acknowledgement, bounds, and what is refused.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aegis_pii::{DecryptorOptions, PiiDecryptor, create_pii_enricher};
use aegis_telemetry::{
    Backoff, CallbackSink, Delivered, Effect, EmitError, Emitted, Enriched, Enricher, Failure, FlushError,
    PipelineSettings, Position, Reason, Refusal, SinkError, SinkFault, SinkSettings, StartError,
    TelemetryPipeline, WhenQueueFull,
};

use crate::fixture::{
    DEK, KEY, LONG, Ring, Taken, builder, down, enricher, event, quick, refused, wait_until, workers,
};

#[test]
fn seals_as_the_guide_wires_it() {
    let taken = Taken::default();
    let enricher = create_pii_enricher(KEY.public_key().clone(), DEK).unwrap();
    let pipeline = TelemetryPipeline::builder()
        .add_enricher(enricher)
        .add_sink("out", taken.sink(), SinkSettings::default())
        .start()
        .unwrap();
    pipeline.emit(event(1).0).unwrap();
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&Ring::new()), [1]);
}

#[test]
fn every_sink_gets_every_event_once_and_in_order_from_any_number_of_workers() {
    let ring = Ring::new();
    for count in [1, 2, 4, 8] {
        let (one, two) = (Taken::default(), Taken::default());
        let small = SinkSettings { batch_events: 7, linger: Duration::from_millis(20), ..quick() };
        let pipeline = builder(&ring, workers(count))
            .add_sink("one", one.sink(), quick())
            .add_sink("two", two.sink(), small)
            .start()
            .unwrap();
        for number in 1..=500 {
            assert_eq!(pipeline.emit(event(number).0).unwrap(), Position(number));
        }
        let settled = pipeline.close(LONG).unwrap();
        assert_eq!(settled.through, Position(500));
        let expected: Vec<u64> = (1..=500).collect();
        assert_eq!(one.numbers(&ring), expected, "{count}");
        assert_eq!(two.numbers(&ring), expected, "{count}");
        assert!(two.0.lock().unwrap().iter().all(|batch| batch.events().len() <= 7));
    }
}

#[test]
fn events_of_many_threads_keep_the_order_of_each() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(4)).add_sink("out", taken.sink(), quick()).start().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                for number in 0..100 {
                    pipeline.emit(event(thread * 1000 + number).0).unwrap();
                }
            });
        }
    });
    pipeline.close(LONG).unwrap();
    let numbers = taken.numbers(&ring);
    assert_eq!(numbers.len(), 400);
    for thread in 0..4 {
        let own: Vec<u64> = numbers.iter().copied().filter(|number| number / 1000 == thread).collect();
        assert_eq!(own, (0..100).map(|number| thread * 1000 + number).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_acknowledged_before_every_sink_has_it() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let is_down = Arc::new(AtomicBool::new(true));
    let looks = Arc::clone(&is_down);
    let pipeline = builder(&ring, workers(2))
        .add_sink("up", Taken::default().sink(), quick())
        .add_sink("down", taken.sink_unless(move || looks.load(Ordering::SeqCst)), quick())
        .start()
        .unwrap();
    for number in 1..=20 {
        pipeline.emit(event(number).0).unwrap();
    }
    let error = pipeline.flush(Duration::from_millis(100)).unwrap_err();
    let FlushError::TimedOut { unsettled, waiting } = error else { panic!("{error:?}") };
    assert_eq!((unsettled, waiting), (20, vec!["down".to_owned()]));
    assert_eq!(pipeline.acknowledged(), Position(0));
    is_down.store(false, Ordering::SeqCst);
    assert_eq!(pipeline.flush(LONG).unwrap().through, Position(20));
    assert_eq!(pipeline.acknowledged(), Position(20));
    assert_eq!(taken.numbers(&ring), (1..=20).collect::<Vec<_>>());
    assert!(pipeline.metrics().sinks()[1].retries.value() > 0);
    pipeline.close(LONG).unwrap();
}

#[test]
fn flush_does_not_wait_for_a_batch_to_become_full() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let patient = SinkSettings { linger: Duration::from_secs(3600), ..quick() };
    let pipeline = builder(&ring, workers(1)).add_sink("out", taken.sink(), patient).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    pipeline.emit(event(2).0).unwrap();
    pipeline.flush(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), [1, 2]);
    pipeline.emit(event(3).0).unwrap();
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), [1, 2, 3]);
}

#[test]
fn a_slow_sink_makes_emit_wait_and_loses_nothing() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let settings = PipelineSettings { queue_events: 16, ..workers(2) };
    let gate = Arc::new(AtomicBool::new(false));
    let (open, kept) = (Arc::clone(&gate), taken.clone());
    let slow = CallbackSink::new(move |batch: &aegis_telemetry::Batch| {
        while !open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        kept.0.lock().unwrap().push(batch.clone());
        Ok(Delivered::All)
    });
    let pipeline = builder(&ring, settings).add_sink("slow", slow, quick()).start().unwrap();
    let emitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=100 {
                pipeline.emit(event(number).0).unwrap();
                emitted.fetch_add(1, Ordering::SeqCst);
            }
        });
        wait_until("the queue is full", || emitted.load(Ordering::SeqCst) == 16);
        std::thread::sleep(Duration::from_millis(50));
        // Nobody got past the bound.
        assert_eq!(emitted.load(Ordering::SeqCst), 16);
        assert_eq!(pipeline.metrics().queue_events.value(), 16);
        gate.store(true, Ordering::SeqCst);
    });
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=100).collect::<Vec<_>>());
}

#[test]
fn the_queue_is_bounded_by_bytes_too_and_one_event_always_has_room() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let settings = PipelineSettings { queue_bytes: 1000, when_full: WhenQueueFull::Shed, ..workers(1) };
    let gate = Arc::new(AtomicBool::new(true));
    let looks = Arc::clone(&gate);
    let sink = taken.sink_unless(move || looks.load(Ordering::SeqCst));
    let pipeline = builder(&ring, settings).add_sink("out", sink, quick()).start().unwrap();
    // Longer than the whole queue.
    pipeline.emit(format!("{{\"pad\":\"{}\"}}", "x".repeat(5000))).unwrap();
    assert_eq!(pipeline.emit("{}").unwrap_err(), EmitError::Shed);
    gate.store(false, Ordering::SeqCst);
    pipeline.flush(LONG).unwrap();
    pipeline.emit("{}").unwrap();
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.texts().len(), 2);
}

#[test]
fn an_event_for_which_there_is_no_room_in_time_comes_back() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let settings = PipelineSettings { queue_events: 2, ..workers(1) };
    let is_down = Arc::new(AtomicBool::new(true));
    let looks = Arc::clone(&is_down);
    let sink = taken.sink_unless(move || looks.load(Ordering::SeqCst));
    let pipeline = builder(&ring, settings).add_sink("out", sink, quick()).start().unwrap();
    for number in 1..=2 {
        let emitted = pipeline.emit_within(event(number).0, Duration::ZERO).unwrap();
        assert_eq!(emitted, Emitted::At(Position(number)));
    }
    for patience in [Duration::ZERO, Duration::from_millis(20)] {
        let emitted = pipeline.emit_within("{\"actor_id\":1}", patience).unwrap();
        assert_eq!(format!("{emitted:?}"), "NoRoom(..)", "its fields are in the clear");
        assert_eq!(emitted, Emitted::NoRoom(b"{\"actor_id\":1}".to_vec()));
    }
    assert_eq!(pipeline.emitted(), Position(2));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pipeline.emit_within("{}", LONG));
        std::thread::sleep(Duration::from_millis(20));
        pipeline.take_no_more();
        assert_eq!(waiting.join().unwrap(), Err(EmitError::Closed));
    });
    is_down.store(false, Ordering::SeqCst);
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), [1, 2]);
}

#[test]
fn shedding_counts_exactly_what_is_lost() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let settings = PipelineSettings { queue_events: 10, when_full: WhenQueueFull::Shed, ..workers(2) };
    let is_down = Arc::new(AtomicBool::new(true));
    let looks = Arc::clone(&is_down);
    let sink = taken.sink_unless(move || looks.load(Ordering::SeqCst));
    let pipeline = builder(&ring, settings).add_sink("out", sink, quick()).start().unwrap();
    let mut kept = Vec::new();
    for number in 1..=100 {
        match pipeline.emit(event(number).0) {
            Ok(_) => kept.push(number),
            Err(error) => assert_eq!(error, EmitError::Shed),
        }
    }
    assert_eq!(kept, (1..=10).collect::<Vec<_>>());
    is_down.store(false, Ordering::SeqCst);
    let settled = pipeline.flush(LONG).unwrap();
    assert_eq!((settled.shed, settled.through), (90, Position(10)));
    pipeline.emit(event(101).0).unwrap();
    kept.push(101);
    assert_eq!(pipeline.close(LONG).unwrap().shed, 90);
    assert_eq!(taken.numbers(&ring), kept);
    let logs = String::from_utf8(crate::fixture::logs()).unwrap();
    assert!(logs.contains("the queue is full: events are lost"));
}

/// What is wrong, where, and why it is refused.
#[test]
fn malformed_and_hostile_events_reach_no_sink_and_hold_up_nobody() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let settings = PipelineSettings { max_event_len: 4 << 20, ..workers(4) };
    let pipeline = builder(&ring, settings).add_sink("out", taken.sink(), quick()).start().unwrap();
    let deep = [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat();
    let many = format!("[{}]", vec!["{\"actor_id\":1}"; 1025].join(","));
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("nothing", b"".to_vec(), Reason::NotJson),
        ("white space", b" \n ".to_vec(), Reason::NotJson),
        ("half an object", b"{\"actor_id\":\"alice".to_vec(), Reason::NotJson),
        ("two values", b"{} {}".to_vec(), Reason::NotJson),
        ("two lines", b"{\"actor_id\":\"a\"}\n{\"actor_id\":\"b\"}".to_vec(), Reason::NotJson),
        ("a line feed in a string", b"{\"a\":\"x\ny\"}".to_vec(), Reason::NotJson),
        ("a NUL", b"{\"a\":\0}".to_vec(), Reason::NotJson),
        ("no UTF-8", b"{\"a\":\"\xff\"}".to_vec(), Reason::NotUtf8),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), Reason::NotJson),
        ("UTF-16", b"{\0\"\0a\0\"\0".to_vec(), Reason::NotJson),
        ("a million levels", deep, Reason::OverLimit),
        ("too many fields", many.into_bytes(), Reason::OverLimit),
        ("NaN", b"{\"a\":NaN}".to_vec(), Reason::NotJson),
    ];
    for (number, (name, bytes, reason)) in cases.iter().enumerate() {
        let before = pipeline.metrics().refused(*reason);
        pipeline.emit(bytes.clone()).unwrap();
        pipeline.emit(event(number as u64).0).unwrap();
        pipeline.flush(LONG).unwrap();
        assert_eq!(pipeline.metrics().refused(*reason), before + 1, "{name}");
    }
    let long = vec![b' '; (4 << 20) + 1];
    assert_eq!(pipeline.emit(long).unwrap_err(), EmitError::TooLong { found: (4 << 20) + 1, limit: 4 << 20 });
    pipeline.refuse_unread(1 << 30);
    let settled = pipeline.close(LONG).unwrap();
    assert_eq!(settled.refused, cases.len() as u64 + 2);
    assert_eq!(taken.numbers(&ring), (0..cases.len() as u64).collect::<Vec<_>>());
}

#[test]
fn an_event_is_one_line_whatever_white_space_was_in_it() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(1)).add_sink("out", taken.sink(), quick()).start().unwrap();
    pipeline.emit("\r\n {\n\t\"a\" :\r\n 1.0 ,\n\"b\":\"\\n\" }\n\n").unwrap();
    pipeline.close(LONG).unwrap();
    let texts = taken.texts();
    assert_eq!(String::from_utf8_lossy(&texts[0]), "{ \t\"a\" :   1.0 , \"b\":\"\\n\" }");
}

#[test]
fn an_event_of_several_lines_is_one_line_also_when_it_is_opened() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(1)).add_sink("out", taken.sink(), quick()).start().unwrap();
    let event = "{\r\n \"actor_assignments\": {\n  \"lead\\\\\": \"mara\\n\",\n  \"\\\"\": [\n1]\r\n }\n}";
    pipeline.emit(event).unwrap();
    pipeline.emit("{\"actor_id\":[\n\"x\ny\"]}").unwrap();
    assert_eq!(pipeline.close(LONG).unwrap().refused, 1);
    let opened = PiiDecryptor::new(ring, DecryptorOptions::default()).decrypt(&taken.texts()[0]).unwrap();
    assert_eq!(String::from_utf8(opened).unwrap(), event.replace(['\r', '\n'], " "));
}

#[test]
fn a_dek_that_rotates_in_the_middle_costs_no_event() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(4)).add_sink("out", taken.sink(), quick()).start().unwrap();
    for number in 1..=300 {
        if number == 100 {
            ring.rotate("dek-v1-20260401");
        }
        if number == 200 {
            ring.rotate("dek-v1-20260401-2");
        }
        pipeline.emit(event(number).0).unwrap();
    }
    let contexts = Arc::clone(pipeline.metrics());
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=300).collect::<Vec<_>>());
    assert!(contexts.contexts.value() >= 3);
    assert_eq!(contexts.fields.value(), 300 * 4);
}

#[test]
fn without_a_dek_events_wait_and_none_goes_out_in_the_clear() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(2)).add_sink("out", taken.sink(), quick()).start().unwrap();
    let dek = ring.go_away();
    for number in 1..=5 {
        pipeline.emit(event(number).0).unwrap();
    }
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("a worker stalls", || metrics.stalls.value() > 0);
    assert!(pipeline.flush(Duration::from_millis(50)).is_err());
    assert_eq!(taken.texts().len(), 0);
    ring.come_back(dek);
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), [1, 2, 3, 4, 5]);
    assert_eq!(metrics.all_refused(), 0);
}

#[test]
fn close_without_a_dek_or_a_sink_ends_in_time_and_says_what_is_not_acknowledged() {
    let ring = Ring::new();
    ring.go_away();
    let pipeline =
        builder(&ring, workers(2)).add_sink("out", Taken::default().sink(), quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    let error = pipeline.close(Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, FlushError::TimedOut { unsettled: 1, .. }), "{error:?}");

    let ring = Ring::new();
    let slow = SinkSettings {
        backoff: Backoff { first: Duration::from_secs(3600), most: Duration::from_secs(3600) },
        ..SinkSettings::default()
    };
    let pipeline = builder(&ring, workers(2))
        .add_sink("out", Taken::default().sink_unless(|| true), slow)
        .start()
        .unwrap();
    pipeline.emit(event(1).0).unwrap();
    pipeline.emit(event(2).0).unwrap();
    let error = pipeline.close(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.to_string(), "2 events are not acknowledged yet, for out");
}

#[test]
fn a_shutdown_in_the_middle_settles_all_that_was_emitted() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(4)).add_sink("out", taken.sink(), quick()).start().unwrap();
    let accepted = Mutex::new(0_u64);
    // Whoever still emits when it is closed is told so, and what was taken before arrives.
    for number in 1..=2000 {
        pipeline.emit(event(number).0).unwrap();
        *accepted.lock().unwrap() += 1;
    }
    let settled = pipeline.close(LONG).unwrap();
    assert_eq!(settled.through, Position(2000));
    assert_eq!(taken.texts().len(), 2000);
}

#[test]
fn a_refused_batch_is_halved_until_the_event_at_fault_stands_alone() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let (kept, attempts) = (taken.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&attempts);
    let picky = CallbackSink::new(move |batch: &aegis_telemetry::Batch| {
        counted.fetch_add(1, Ordering::SeqCst);
        let is_bad = |event: &aegis_telemetry::SealedEvent| event.id().number() == 37;
        if batch.events().iter().any(is_bad) {
            return Err(refused());
        }
        kept.0.lock().unwrap().push(batch.clone());
        Ok(Delivered::All)
    });
    // One batch of all of them.
    let patient = SinkSettings { batch_events: 64, linger: Duration::from_secs(3600), ..quick() };
    let pipeline = builder(&ring, workers(1)).add_sink("picky", picky, patient).start().unwrap();
    for number in 1..=64 {
        pipeline.emit(event(number).0).unwrap();
    }
    let settled = pipeline.wait_for(Position(64), LONG).unwrap();
    assert_eq!((settled.refused, pipeline.metrics().refused(Reason::SinkRefused)), (1, 1));
    assert_eq!(taken.numbers(&ring), (1..=64).filter(|number| *number != 37).collect::<Vec<_>>());
    // 64, 32, 16, 8, 4, 2 and 1, and the other half of each.
    assert!(attempts.load(Ordering::SeqCst) <= 13, "{attempts:?}");
    pipeline.close(LONG).unwrap();
}

#[test]
fn a_sink_that_is_gone_stops_the_pipeline_aloud() {
    let ring = Ring::new();
    let gone = CallbackSink::new(|_: &aegis_telemetry::Batch| {
        Err(SinkError::Gone { fault: SinkFault::Callback { reason: "hung up".to_owned() } })
    });
    let pipeline = builder(&ring, workers(1)).add_sink("pipe", gone, quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    let failure =
        Failure::SinkGone { sink: "pipe".to_owned(), why: "the callback failed: hung up".to_owned() };
    let error = pipeline.flush(LONG).unwrap_err();
    assert_eq!(error, FlushError::Failed { unsettled: 1, failure: failure.clone() });
    assert_eq!(pipeline.emit(event(2).0).unwrap_err(), EmitError::Failed(failure));
    assert!(matches!(pipeline.close(LONG).unwrap_err(), FlushError::Failed { unsettled: 1, .. }));
}

#[test]
fn a_sink_that_panics_is_a_failure_and_no_hang() {
    let ring = Ring::new();
    let panics = CallbackSink::new(|_: &aegis_telemetry::Batch| -> Result<Delivered, SinkError> {
        panic!("on purpose")
    });
    let pipeline = builder(&ring, workers(1)).add_sink("bad", panics, quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    let error = pipeline.flush(LONG).unwrap_err();
    let FlushError::Failed { failure: Failure::Panicked { thread }, .. } = error else { panic!("{error:?}") };
    assert_eq!(thread, "aegis-out-0");
}

#[test]
fn a_sink_that_hangs_does_not_hang_close() {
    let ring = Ring::new();
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let receive = Mutex::new(receive);
    let hangs = CallbackSink::new(move |_: &aegis_telemetry::Batch| {
        // Until the test is over.
        let _ = receive.lock().unwrap().recv();
        Err(down())
    });
    let pipeline = builder(&ring, workers(1)).add_sink("hung", hangs, quick()).start().unwrap();
    pipeline.emit(event(1).0).unwrap();
    assert!(matches!(
        pipeline.close(Duration::from_millis(50)).unwrap_err(),
        FlushError::TimedOut { unsettled: 1, .. }
    ));
    drop(send);
}

/// Adds a member before the events are sealed, or refuses them.
#[derive(Clone, Copy)]
struct Stamps {
    effect: Effect,
}

impl Enricher for Stamps {
    fn enrich(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Enriched, Refusal> {
        let Some(rest) = event.strip_prefix(b"{\"n\":") else {
            // Half of something, which must not be seen.
            out.extend_from_slice(b"leftover");
            return Err(Refusal::Event { reason: Reason::Enricher, offset: Some(0) });
        };
        out.extend_from_slice(b"{\"signer_id\":\"person-added\",\"n\":");
        out.extend_from_slice(rest);
        Ok(Enriched::default())
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn another(&self) -> Box<dyn Enricher> {
        Box::new(*self)
    }
}

#[test]
fn what_enrichers_add_is_sealed_with_the_rest() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = TelemetryPipeline::builder()
        .add_enricher(Stamps { effect: Effect::Changes })
        .add_enricher(enricher(&ring))
        .add_sink("out", taken.sink(), quick())
        .start()
        .unwrap();
    pipeline.emit(event(1).0).unwrap();
    pipeline.emit("{\"other\":1}").unwrap();
    assert_eq!(pipeline.close(LONG).unwrap().refused, 1);
    let texts = taken.texts();
    let text = String::from_utf8(texts[0].clone()).unwrap();
    assert_eq!(texts.len(), 1);
    assert!(text.starts_with("{\"signer_id\":{\"_encrypted\":true"), "{text}");
    assert!(!text.contains("person-added") && !text.contains("leftover"), "{text}");
}

#[test]
fn refuses_to_start_what_could_not_be_right() {
    let ring = Ring::new();
    let start = |builder: aegis_telemetry::PipelineBuilder| builder.start().map(|_| ()).unwrap_err();
    let sink = || Taken::default().sink();
    let cases = [
        (
            "no enricher",
            start(TelemetryPipeline::builder().add_sink("out", sink(), quick())),
            "the last enricher does not seal personal fields",
        ),
        (
            "an enricher behind the one that seals",
            start(builder(&ring, workers(1)).add_enricher(Stamps { effect: Effect::Changes }).add_sink(
                "out",
                sink(),
                quick(),
            )),
            "the last enricher does not seal personal fields",
        ),
        ("no sink", start(builder(&ring, workers(1))), "there is no sink"),
        (
            "a name for no label",
            start(builder(&ring, workers(1)).add_sink("a b", sink(), quick())),
            "\"a b\" cannot be the name of a sink",
        ),
        (
            "a name twice",
            start(builder(&ring, workers(1)).add_sink("a", sink(), quick()).add_sink("a", sink(), quick())),
            "two sinks have the name \"a\"",
        ),
        ("no worker", start(builder(&ring, workers(0)).add_sink("a", sink(), quick())), "workers is zero"),
        (
            "batches of nothing",
            start(builder(&ring, workers(1)).add_sink(
                "a",
                sink(),
                SinkSettings { batch_events: 0, ..quick() },
            )),
            "batch_events is zero",
        ),
    ];
    for (name, error, expected) in cases {
        assert_eq!(error.to_string(), expected, "{name}");
        let error: StartError = error;
        assert!(error.help().is_some(), "{name}");
    }
}

#[test]
fn metrics_are_prometheus_text_and_add_up() {
    let (ring, taken) = (Ring::new(), Taken::default());
    let pipeline = builder(&ring, workers(2)).add_sink("out", taken.sink(), quick()).start().unwrap();
    for number in 1..=10 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.emit("nonsense").unwrap();
    pipeline.flush(LONG).unwrap();
    let text = pipeline.metrics().render();
    for line in [
        "# TYPE aegis_telemetry_events_total counter",
        "aegis_telemetry_events_total 11",
        "aegis_telemetry_sealed_events_total 10",
        "aegis_telemetry_fields_total 40",
        "aegis_telemetry_refused_events_total{reason=\"not_json\"} 1",
        "aegis_telemetry_refused_events_total{reason=\"no_dek\"} 0",
        "aegis_telemetry_queue_events 0",
        "aegis_telemetry_queue_bytes 0",
        "aegis_telemetry_seal_seconds_bucket{le=\"+Inf\"} 10",
        "aegis_telemetry_seal_seconds_count 10",
        "aegis_telemetry_sink_events_total{sink=\"out\"} 10",
        "# TYPE aegis_telemetry_sink_deliver_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // Every line is a comment or `name{labels} number`; every bucket holds at least as much as the one before.
    let mut last = (String::new(), 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("aegis_telemetry_"), "{line}");
        let number: f64 = number.parse().unwrap();
        if let Some((family, _)) = name.split_once("_bucket{") {
            let count = number as u64;
            assert!(last.0 != family || count >= last.1, "{line}");
            last = (family.to_owned(), count);
        }
    }
    pipeline.close(LONG).unwrap();
}
