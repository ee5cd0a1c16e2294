//! What a log at DEBUG tells of a pipeline: how many, how long, what came of it; and nothing of any event.

use std::sync::Arc;

use aegis_telemetry::{
    Batch, CallbackSink, DeadLetterFile, Delivered, SinkSettings, SpoolSettings, TelemetryPipeline,
};
use test_services::scratch;

use crate::fixture::{
    LONG, Ring, Taken, assert_no_plaintext, builder, down, event, logs, quick_with_spool, refused, workers,
};

/// The lines of a span that ended, with a sink of this name in it or without any.
fn lines(span: &str, with: &str) -> Vec<String> {
    let text = String::from_utf8(logs()).unwrap();
    let begin = format!("{span}{{");
    let lines =
        text.lines().filter(|line| line.contains(&begin) && line.contains(with) && line.contains("close"));
    lines.map(str::to_owned).collect()
}

fn run(
    name: &str,
    dir: &std::path::Path,
    ring: &Arc<Ring>,
    numbers: std::ops::Range<u64>,
) -> TelemetryPipeline {
    let mut calls = 0;
    // Away, then picky, then content.
    let sink = CallbackSink::new(move |_: &Batch| {
        calls += 1;
        match calls {
            1 => Err(down()),
            2 => Err(refused()),
            _ => Ok(Delivered::All),
        }
    });
    let settings =
        SinkSettings { batch_events: 1, ..quick_with_spool(SpoolSettings::in_dir(dir.join("spool"))) };
    let pipeline = builder(ring, workers(1))
        .add_sink(name, sink, settings)
        .add_sink("other", Taken::default().sink(), crate::fixture::quick())
        .dead_letters(DeadLetterFile::open(&dir.join("dead"), 1 << 20).unwrap(), Arc::clone(ring) as _)
        .start()
        .unwrap();
    for number in numbers {
        pipeline.emit(event(number).0).unwrap();
    }
    pipeline
}

#[test]
fn spans_say_what_was_done_and_nothing_of_the_content() {
    let (ring, dir, name) = (Ring::new(), scratch::dir(), "sink-of-the-spans");
    let numbers = 910_000..910_007_u64;
    let pipeline = run(name, dir.path(), &ring, numbers.clone());
    // The last one is no JSON.
    pipeline.emit(event(910_007).0.replace("null]", "nul]")).unwrap();
    pipeline.flush(LONG).unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    crate::fixture::wait_until("the spool is drained", || metrics.sinks()[0].spool_events.value() == 0);
    pipeline.close(LONG).unwrap();

    let of_sink = format!("sink=\"{name}\"");
    let deliveries = lines("deliver", &of_sink);
    assert!(deliveries.len() >= 8, "{deliveries:?}");
    for outcome in ["outcome=\"not now\"", "outcome=\"refused\"", "outcome=\"taken\""] {
        assert!(deliveries.iter().any(|line| line.contains(outcome)), "{outcome}: {deliveries:?}");
    }
    for part in ["key=", "events=1", "bytes=", "time.busy="] {
        assert!(deliveries.iter().all(|line| line.contains(part)), "{part}: {deliveries:?}");
    }
    let spooled = lines("spool", &of_sink);
    assert!(!spooled.is_empty() && spooled.iter().all(|line| line.contains("held=")), "{spooled:?}");
    let sealed = lines("seal", "refused=1");
    for part in ["events=", "sealed=", "fields=", "contexts=", "bytes="] {
        assert!(sealed.iter().all(|line| line.contains(part)), "{part}: {sealed:?}");
    }
    assert!(!sealed.is_empty());
    assert!(!lines("flush", "acknowledged=8").is_empty());
    assert!(!lines("close", "acknowledged=8").is_empty());
    assert_no_plaintext("the log", &logs(), 910_000..910_008);
}
