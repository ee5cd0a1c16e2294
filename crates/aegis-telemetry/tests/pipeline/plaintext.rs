//! The search for personal values in everything that a pipeline writes or says.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_pii::{EncryptorOptions, EnvelopeForm, PiiEncryptor};
use aegis_telemetry::{
    BodyForm, DeadLetterFile, FileSettings, FileSink, HttpSink, Rotation, SinkSettings, SyncPolicy,
    TelemetryPipeline, WebSettings, WriterSink,
};
use test_services::scratch;

use crate::child::small_spool;
use crate::fixture::{
    LONG, Ring, assert_no_plaintext, capture_logs, event, logs, quick, quick_with_spool, workers,
};
use crate::receiver::{Answer, Receiver, status};

fn all_files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn no_personal_value_is_in_outputs_spools_dead_letters_requests_metrics_or_logs() {
    capture_logs();
    for form in [EnvelopeForm::SelfContained, EnvelopeForm::Compact] {
        let (ring, dir) = (Ring::new(), scratch::dir());
        let is_down = Arc::new(AtomicBool::new(false));
        let looks = Arc::clone(&is_down);
        let receiver = Receiver::start(move |number, _| match () {
            () if looks.load(Ordering::SeqCst) => status(503),
            () if number == 1 => status(400),
            () => Answer::Take,
        });
        let options = EncryptorOptions { form, ..EncryptorOptions::default() };
        let file = FileSink::open(FileSettings {
            path: dir.path().join("events.jsonl"),
            rotation: Rotation { max_bytes: Some(100_000), ..Rotation::default() },
            sync: SyncPolicy::EachBatch,
        });
        let stream = fs::File::create(dir.path().join("stream")).unwrap();
        let http = HttpSink::new(&WebSettings::of_url(receiver.url()), BodyForm::Lines).unwrap();
        let small = SinkSettings { batch_events: 5, ..quick_with_spool(small_spool(dir.path())) };
        let pipeline = TelemetryPipeline::builder()
            .settings(workers(4))
            .add_enricher(PiiEncryptor::new(Arc::clone(&ring) as _, options).unwrap())
            .add_sink("file", file.unwrap(), quick())
            .add_sink("stream", WriterSink::new(stream, "a file"), quick())
            .add_sink("http", http, small)
            .dead_letters(
                DeadLetterFile::open(&dir.path().join("dead.jsonl"), DeadLetterFile::DEFAULT_LIMIT).unwrap(),
                Arc::clone(&ring) as _,
            )
            .start()
            .unwrap();
        let numbers = 700_000..700_090_u64;
        for number in numbers.clone() {
            let mut text = event(number).0;
            match number % 9 {
                // Broken at the end, in a string, in an escape; and what JSON does not tell apart.
                1 => text.truncate(text.len() - 1),
                2 => text.push('}'),
                3 => text = text.replace("because", "be\u{1}cause"),
                4 => text = text.replace("because", "be\\cause"),
                5 => text = text.replace("actor_id", "actor\\u005fid"),
                _ => {}
            }
            is_down.store(number % 30 > 15, Ordering::SeqCst);
            pipeline.emit(text).unwrap();
            if number % 10 == 0 {
                pipeline.flush(LONG).unwrap();
            }
        }
        is_down.store(true, Ordering::SeqCst);
        for number in 700_090..700_100 {
            pipeline.emit(event(number).0).unwrap();
        }
        let metrics = pipeline.metrics().render();
        let shown = format!("{pipeline:?}");
        assert_eq!(pipeline.close(LONG).unwrap().letters_lost, 0);
        let mut found = Vec::new();
        all_files(dir.path(), &mut found);
        assert!(found.iter().any(|(name, bytes)| name.ends_with(".spool") && !bytes.is_empty()), "no spool");
        assert!(found.iter().any(|(name, bytes)| name.ends_with("dead.jsonl") && !bytes.is_empty()));
        for request in receiver.seen() {
            found.push(("a request".to_owned(), request.to_bytes()));
        }
        found.push(("the metrics".to_owned(), metrics.into_bytes()));
        found.push(("Debug".to_owned(), shown.into_bytes()));
        found.push(("the log".to_owned(), logs()));
        // The log is that of this process at TRACE, and has something in it.
        assert!(found.last().unwrap().1.len() > 1000);
        let all: Vec<u8> = found.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(all.windows(12).any(|window| window == b"_ciphertext\""));
        for (name, bytes) in &found {
            assert_no_plaintext(name, bytes, 700_000..700_100);
        }
    }
}
