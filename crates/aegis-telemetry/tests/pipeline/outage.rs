//! Sinks that go down and come back, with a spool in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_telemetry::{
    BodyForm, HttpSink, PipelineSettings, Position, SinkSettings, SpoolSettings, WebSettings, WhenFull,
};
use test_services::scratch;

use crate::child::small_spool;
use crate::fixture::{LONG, Reader, Ring, Taken, builder, event, quick_with_spool, wait_until, workers};
use crate::receiver::{Answer, Receiver, key_of, status};

struct Switch(Arc<AtomicBool>);

impl Switch {
    fn down() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    fn set_down(&self, is_down: bool) {
        self.0.store(is_down, Ordering::SeqCst);
    }

    fn looks(&self) -> impl Fn() -> bool + Send + Sync + 'static + use<> {
        let own = Arc::clone(&self.0);
        move || own.load(Ordering::SeqCst)
    }
}

#[test]
fn a_spool_takes_over_and_drains_in_order() {
    let (ring, taken, dir, switch) = (Ring::new(), Taken::default(), scratch::dir(), Switch::down());
    let settings = SinkSettings { batch_events: 8, ..quick_with_spool(small_spool(dir.path())) };
    // Far less than is emitted while the sink is down.
    let queue = PipelineSettings { queue_events: 20, ..workers(4) };
    let pipeline =
        builder(&ring, queue).add_sink("out", taken.sink_unless(switch.looks()), settings).start().unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    let mut number = 0;
    for round in 0..6 {
        switch.set_down(round % 2 == 0);
        for _ in 0..100 {
            number += 1;
            pipeline.emit(event(number).0).unwrap();
        }
        assert_eq!(pipeline.flush(LONG).unwrap().through, Position(number));
        if round % 2 == 0 {
            assert!(metrics.sinks()[0].spool_events.value() >= 100);
        }
    }
    wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    // And straight again.
    let spooled = metrics.sinks()[0].spooled.value();
    pipeline.emit(event(601).0).unwrap();
    pipeline.flush(LONG).unwrap();
    assert_eq!(metrics.sinks()[0].spooled.value(), spooled);
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=601).collect::<Vec<_>>());
}

#[test]
fn a_long_outage_under_load_costs_nothing_while_deks_rotate() {
    let (ring, taken, dir, switch) = (Ring::new(), Taken::default(), scratch::dir(), Switch::down());
    let settings = SinkSettings { batch_events: 50, ..quick_with_spool(small_spool(dir.path())) };
    let queue = PipelineSettings { queue_events: 64, ..workers(4) };
    let pipeline =
        builder(&ring, queue).add_sink("out", taken.sink_unless(switch.looks()), settings).start().unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    let (emitters, each) = (4_u64, 1000_u64);
    let emitted = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for emitter in 0..emitters {
            let (pipeline, emitted) = (&pipeline, &emitted);
            scope.spawn(move || {
                for number in 1..=each {
                    pipeline.emit(event(emitter * each + number).0).unwrap();
                    emitted.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Down for half of all, then up and down in short spells; a new DEK in each.
        let mut spell = 0;
        loop {
            let done = emitted.load(Ordering::SeqCst);
            if done >= emitters * each {
                break;
            }
            if done > emitters * each / 2 {
                switch.set_down(spell % 2 == 0);
            }
            ring.rotate(&format!("dek-v1-20260401-{}", spell + 2));
            spell += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // All of it is acknowledged while the sink is away.
    switch.set_down(true);
    assert_eq!(pipeline.flush(LONG).unwrap().through, Position(emitters * each));
    assert!(metrics.sinks()[0].spooled.value() >= emitters * each / 4);
    switch.set_down(false);
    wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    pipeline.close(LONG).unwrap();
    // Each is what was emitted; none is missing or there twice, and those of one thread are in their order.
    let found = taken.numbers(&ring);
    for emitter in 0..emitters {
        let own = found.iter().copied().filter(|number| (number - 1) / each == emitter);
        assert!(own.eq(emitter * each + 1..=(emitter + 1) * each), "those of thread {emitter}");
    }
    assert_eq!(metrics.all_refused(), 0);
}

#[test]
fn what_is_left_in_a_spool_is_delivered_by_the_next_run_before_its_own() {
    let (ring, taken, dir) = (Ring::new(), Taken::default(), scratch::dir());
    for run in 0..3_u64 {
        let settings = quick_with_spool(small_spool(dir.path()));
        let pipeline =
            builder(&ring, workers(2)).add_sink("out", taken.sink_unless(|| true), settings).start().unwrap();
        for number in 1..=10 {
            pipeline.emit(event(run * 10 + number).0).unwrap();
        }
        // All is acknowledged, and nothing delivered.
        assert_eq!(pipeline.close(LONG).unwrap().through, Position(10));
        assert!(taken.texts().is_empty());
    }
    let settings = quick_with_spool(small_spool(dir.path()));
    let pipeline = builder(&ring, workers(2)).add_sink("out", taken.sink(), settings).start().unwrap();
    for number in 31..=40 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_batch_whose_answer_was_lost_comes_again_under_the_same_key_even_after_a_restart() {
    let (ring, dir, switch) = (Ring::new(), scratch::dir(), Switch::down());
    let looks = switch.looks();
    let receiver = Receiver::start(move |_, _| if looks() { Answer::TakeAndReset } else { Answer::Take });
    let start = || {
        let sink = HttpSink::new(&WebSettings::of_url(receiver.url()), BodyForm::Lines).unwrap();
        let settings = SinkSettings { batch_events: 4, ..quick_with_spool(small_spool(dir.path())) };
        builder(&ring, workers(1)).add_sink("http", sink, settings).start().unwrap()
    };
    let pipeline = start();
    for number in 1..=10 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.close(LONG).unwrap();
    switch.set_down(false);
    let pipeline = start();
    let metrics = Arc::clone(pipeline.metrics());
    wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    pipeline.close(LONG).unwrap();
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for request in receiver.taken() {
        let key = key_of(&request);
        match kept.iter().find(|(other, _)| *other == key) {
            Some((_, body)) => assert_eq!(*body, request.body, "{key}"),
            None => kept.push((key, request.body)),
        }
    }
    let bodies: Vec<u8> = kept.into_iter().flat_map(|(_, body)| body).collect();
    assert_eq!(Reader::new(&ring).numbers(&bodies), (1..=10).collect::<Vec<_>>());
    assert!(receiver.taken().len() > 3);
}

#[test]
fn a_full_spool_makes_emit_wait_and_loses_nothing() {
    let (ring, taken, dir, switch) = (Ring::new(), Taken::default(), scratch::dir(), Switch::down());
    let spool = SpoolSettings { max_bytes: 60_000, ..small_spool(dir.path()) };
    let settings = SinkSettings { batch_events: 1, ..quick_with_spool(spool) };
    let queue = PipelineSettings { queue_events: 5, ..workers(2) };
    let pipeline =
        builder(&ring, queue).add_sink("out", taken.sink_unless(switch.looks()), settings).start().unwrap();
    std::thread::scope(|scope| {
        let emitter = scope.spawn(|| {
            for number in 1..=60 {
                pipeline.emit(event(number).0).unwrap();
            }
        });
        let metrics = pipeline.metrics();
        wait_until("queue and spool are full", || {
            metrics.queue_events.value() == 5 && metrics.sinks()[0].spool_bytes.value() > 40_000
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!emitter.is_finished());
        switch.set_down(false);
    });
    pipeline.close(LONG).unwrap();
    assert_eq!(taken.numbers(&ring), (1..=60).collect::<Vec<_>>());
}

#[test]
fn a_full_spool_that_sheds_counts_exactly_what_is_lost() {
    let (ring, taken, dir, switch) = (Ring::new(), Taken::default(), scratch::dir(), Switch::down());
    let spool = SpoolSettings { max_bytes: 60_000, when_full: WhenFull::Shed, ..small_spool(dir.path()) };
    let settings = SinkSettings { batch_events: 1, ..quick_with_spool(spool) };
    let pipeline = builder(&ring, workers(2))
        .add_sink("out", taken.sink_unless(switch.looks()), settings)
        .start()
        .unwrap();
    for number in 1..=60 {
        pipeline.emit(event(number).0).unwrap();
    }
    let settled = pipeline.flush(LONG).unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    let (spooled, shed) = (metrics.sinks()[0].spooled.value(), metrics.sinks()[0].shed.value());
    assert!(spooled >= 4 && shed > 0, "{spooled} {shed}");
    assert_eq!((spooled + shed, settled.shed_by_spools), (60, shed));
    switch.set_down(false);
    wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    pipeline.close(LONG).unwrap();
    // What was acknowledged as being in the spool was not pushed out by what came later.
    assert_eq!(taken.numbers(&ring), (1..=spooled).collect::<Vec<_>>());
}

#[test]
fn one_sink_that_is_down_holds_up_no_other_that_has_a_spool_between_them() {
    let (ring, up, dir) = (Ring::new(), Taken::default(), scratch::dir());
    let receiver = Receiver::start(|_, _| status(503));
    let sink = HttpSink::new(&WebSettings::of_url(receiver.url()), BodyForm::Lines).unwrap();
    let queue = PipelineSettings { queue_events: 10, ..workers(2) };
    let pipeline = builder(&ring, queue)
        .add_sink("up", up.sink(), crate::fixture::quick())
        .add_sink("down", sink, quick_with_spool(small_spool(dir.path())))
        .start()
        .unwrap();
    for number in 1..=100 {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline.flush(LONG).unwrap();
    assert_eq!(up.numbers(&ring), (1..=100).collect::<Vec<_>>());
    assert_eq!(pipeline.metrics().sinks()[1].spool_events.value(), 100);
    pipeline.close(LONG).unwrap();
}
