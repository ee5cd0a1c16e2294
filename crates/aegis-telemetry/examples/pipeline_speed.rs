//! Events a second through a pipeline, beside the encryptor alone: what queue, order and acknowledgement cost.
//!
//! `cargo run --release -p aegis-telemetry --example pipeline_speed`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot set up fails, and says what it found"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{EncryptorOptions, EnvelopeForm, PiiEncryptor, SealingDek};
use aegis_telemetry::{
    Batch, CallbackSink, Delivered, FileSettings, FileSink, PipelineSettings, Rotation, Sink, SinkSettings,
    Spool, SpoolSettings, SyncPolicy, TelemetryPipeline,
};

const EVENTS: u64 = 100_000;

fn event(number: u64) -> String {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        concat!(
            "{{\"n\":{n},\"service\":\"gate\",\"region\":\"eu-central-1\",\"actor_id\":\"person-{m:016x}@example.org\",",
            "\"author_id\":\"person-{m:016x}\",\"workflow_id\":\"wf-{m:016x}\",\"decision_actor\":\"lead-{m:016x}\",",
            "\"decision_rationale\":\"accepted until {m:016x}\",\"requested_by\":\"person-{m:016x}\",",
            "\"signer_id\":\"s-{m:016x}\",\"combined_hash\":\"{m:016x}{m:016x}\",\"score\":0.10,\"pad\":\"{pad}\"}}",
        ),
        n = number,
        m = mix,
        pad = "x".repeat(500),
    )
}

fn main() {
    let key = HybridPrivateKey::generate().unwrap();
    let name = "dek-v1-20260101".parse().unwrap();
    let dek = Arc::new(SealingDek { public_key: key.public_key().clone(), name });
    let events: Vec<Vec<u8>> = (0..EVENTS).map(|number| event(number).into_bytes()).collect();
    for form in [EnvelopeForm::SelfContained, EnvelopeForm::Compact] {
        println!("{form:?}");
        let encryptor = || {
            let options = EncryptorOptions { form, ..EncryptorOptions::default() };
            PiiEncryptor::new(Arc::new(Arc::clone(&dek)), options).unwrap()
        };
        let mut alone = encryptor();
        let began = Instant::now();
        let mut out = Vec::new();
        for event in &events {
            out.clear();
            alone.encrypt_event(aegis_pii::Moment::now(), event, &mut out).unwrap();
        }
        report("encryptor alone", began.elapsed());
        let dir = std::env::temp_dir().join(format!("aegis-pipeline-speed-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for workers in [1, 2] {
            let settings = PipelineSettings { workers, ..PipelineSettings::default() };
            let run = |what: &str, sink: Box<dyn Sink>, how: SinkSettings| {
                let pipeline = TelemetryPipeline::builder()
                    .settings(settings)
                    .add_enricher(encryptor())
                    .add_boxed_sink("out", sink, how)
                    .start()
                    .unwrap();
                let began = Instant::now();
                for event in &events {
                    pipeline.emit(event.clone()).unwrap();
                }
                pipeline.close(Duration::from_secs(600)).unwrap();
                report(&format!("{workers} worker(s), {what}"), began.elapsed());
            };
            let nothing = || Box::new(CallbackSink::new(|_: &Batch| Ok(Delivered::All))) as Box<dyn Sink>;
            run("to nowhere", nothing(), SinkSettings::default());
            let file = |sync| {
                let path = dir.join("events.jsonl");
                let _ = std::fs::remove_file(&path);
                Box::new(FileSink::open(FileSettings { path, rotation: Rotation::default(), sync }).unwrap())
            };
            run("to a file", file(SyncPolicy::Never), SinkSettings::default());
            run("to a file, synced each batch", file(SyncPolicy::EachBatch), SinkSettings::default());
            let spool =
                Spool::open(SpoolSettings { max_bytes: 8 << 30, ..SpoolSettings::in_dir(dir.join("spool")) });
            let down = CallbackSink::new(|_: &Batch| {
                let reason = "down".to_owned();
                Err(aegis_telemetry::SinkError::retry(aegis_telemetry::SinkFault::Callback { reason }))
            });
            let how = SinkSettings { spool: Some(spool.unwrap()), ..SinkSettings::default() };
            run("into the spool", Box::new(down), how);
            std::fs::remove_dir_all(dir.join("spool")).unwrap();
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

fn report(what: &str, took: Duration) {
    println!("  {what:40} {:9.0} events/s", Duration::from_secs(EVENTS).as_secs_f64() / took.as_secs_f64());
}
