//! Events with personal values, pipelines that seal them, and what opens them again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::{Duration, Instant};

use aegis_crypto::HybridPrivateKey;
use aegis_pii::{
    DecryptorOptions, DekName, DekUnavailable, EncryptorOptions, OpeningDekSource, PiiDecryptor,
    PiiEncryptor, SealingDek, SealingDekSource,
};
use aegis_telemetry::{
    Backoff, Batch, CallbackSink, Delivered, PipelineBuilder, PipelineSettings, Sink, SinkError, SinkFault,
    SinkSettings, Spool, SpoolSettings, TelemetryPipeline,
};

pub(crate) const DEK: &str = "dek-v1-20260101";
/// Long enough that only a hang passes it.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Made once; importing a key takes milliseconds.
pub(crate) static KEY: LazyLock<Arc<HybridPrivateKey>> =
    LazyLock::new(|| Arc::new(HybridPrivateKey::generate().unwrap()));

/// A keyring as small as can be, whose active DEK changes or is away.
#[derive(Default)]
pub(crate) struct Ring {
    active: Mutex<Option<Arc<SealingDek>>>,
    keys: Mutex<HashMap<DekName, Arc<HybridPrivateKey>>>,
}

impl Ring {
    /// With one DEK.
    pub(crate) fn new() -> Arc<Self> {
        let ring = Self::default();
        ring.use_key(DEK, Arc::clone(&KEY));
        Arc::new(ring)
    }

    pub(crate) fn rotate(&self, version: &str) {
        self.use_key(version, Arc::new(HybridPrivateKey::generate().unwrap()));
    }

    pub(crate) fn use_key(&self, version: &str, key: Arc<HybridPrivateKey>) {
        let name: DekName = version.parse().unwrap();
        let dek = SealingDek { public_key: key.public_key().clone(), name: name.clone() };
        self.keys.lock().unwrap().insert(name, key);
        *self.active.lock().unwrap() = Some(Arc::new(dek));
    }

    /// No DEK is active any more; those that were still open.
    pub(crate) fn go_away(&self) -> Option<Arc<SealingDek>> {
        self.active.lock().unwrap().take()
    }

    pub(crate) fn come_back(&self, dek: Option<Arc<SealingDek>>) {
        *self.active.lock().unwrap() = dek;
    }
}

impl SealingDekSource for Ring {
    fn active(&self) -> Result<Arc<SealingDek>, DekUnavailable> {
        self.active.lock().unwrap().clone().ok_or(DekUnavailable::Unreachable)
    }
}

impl OpeningDekSource for Ring {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        self.keys.lock().unwrap().get(name).cloned().ok_or(DekUnavailable::Unknown)
    }
}

pub(crate) fn enricher(ring: &Arc<Ring>) -> PiiEncryptor {
    PiiEncryptor::new(Arc::clone(ring) as _, EncryptorOptions::default()).unwrap()
}

/// A pipeline in the making, with the guide's enricher.
pub(crate) fn builder(ring: &Arc<Ring>, settings: PipelineSettings) -> PipelineBuilder {
    capture_logs();
    TelemetryPipeline::builder().settings(settings).add_enricher(enricher(ring))
}

pub(crate) fn workers(workers: usize) -> PipelineSettings {
    PipelineSettings { workers, ..PipelineSettings::default() }
}

/// Tries again soon.
pub(crate) fn quick() -> SinkSettings {
    SinkSettings {
        backoff: Backoff { first: Duration::from_millis(5), most: Duration::from_millis(40) },
        ..SinkSettings::default()
    }
}

pub(crate) fn quick_with_spool(settings: SpoolSettings) -> SinkSettings {
    SinkSettings { spool: Some(Spool::open(settings).unwrap()), ..quick() }
}

/// An event with personal values, and those values. Each has the number in it, so that it is found nowhere by chance.
pub(crate) fn event(number: u64) -> (String, Vec<String>) {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let person = format!("person-{mix:016x}@example.org");
    let rationale = format!("rationale-{mix:016x} because");
    let justification = format!("justified-{mix:016x}");
    let mut text = String::new();
    write!(
        text,
        concat!(
            "{{\"n\":{number},\"service\":\"gate\",\"actor_id\":\"{person}\",\"score\":0.10,",
            "\"decision_rationale\":\"{rationale}\",\"tags\":[1e2,null],",
            "\"proposal\":{{\"requested_by\":\"{person}\",\"override_justification\":\"{justification}\"}}}}",
        ),
        number = number,
        person = person,
        rationale = rationale,
        justification = justification,
    )
    .unwrap();
    (text, vec![person, rationale, justification])
}

/// Opens sealed events and says their numbers; each has to be what was emitted under that number.
pub(crate) struct Reader(PiiDecryptor);

impl Reader {
    pub(crate) fn new(ring: &Arc<Ring>) -> Self {
        Self(PiiDecryptor::new(Arc::clone(ring) as _, DecryptorOptions::default()))
    }

    pub(crate) fn number(&mut self, sealed: &[u8]) -> u64 {
        let mut plain = Vec::new();
        self.0.decrypt_event(sealed, &mut plain).unwrap();
        let plain = String::from_utf8(plain).unwrap();
        let number = plain.strip_prefix("{\"n\":").unwrap().split(',').next().unwrap().parse().unwrap();
        assert_eq!(plain, event(number).0);
        number
    }

    /// Those of JSON lines, of which the last one is complete.
    pub(crate) fn numbers(&mut self, lines: &[u8]) -> Vec<u64> {
        assert!(lines.is_empty() || lines.ends_with(b"\n"));
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| self.number(line))
            .collect()
    }
}

/// Whether any personal value of these events is anywhere in some bytes.
pub(crate) fn assert_no_plaintext(what: &str, bytes: &[u8], numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        for value in event(number).1 {
            let found = memchr::memmem::find(bytes, value.as_bytes()).is_some();
            assert!(!found, "{what}: a value of event {number} is in the clear");
        }
    }
}

/// What a sink was given.
#[derive(Clone, Default)]
pub(crate) struct Taken(pub(crate) Arc<Mutex<Vec<Batch>>>);

impl Taken {
    pub(crate) fn sink(&self) -> impl Sink + use<> {
        let taken = Arc::clone(&self.0);
        CallbackSink::new(move |batch: &Batch| {
            taken.lock().unwrap().push(batch.clone());
            Ok(Delivered::All)
        })
    }

    /// A sink that fails as long as `is_down` says so.
    pub(crate) fn sink_unless<F: Fn() -> bool + Send + 'static>(&self, is_down: F) -> impl Sink + use<F> {
        let taken = Arc::clone(&self.0);
        CallbackSink::new(move |batch: &Batch| {
            if is_down() {
                return Err(down());
            }
            taken.lock().unwrap().push(batch.clone());
            Ok(Delivered::All)
        })
    }

    pub(crate) fn texts(&self) -> Vec<Vec<u8>> {
        let taken = self.0.lock().unwrap();
        taken.iter().flat_map(Batch::events).map(|event| event.text().to_vec()).collect()
    }

    pub(crate) fn numbers(&self, ring: &Arc<Ring>) -> Vec<u64> {
        let mut reader = Reader::new(ring);
        self.texts().iter().map(|text| reader.number(text)).collect()
    }
}

pub(crate) fn down() -> SinkError {
    SinkError::retry(SinkFault::Callback { reason: "down".to_owned() })
}

pub(crate) fn refused() -> SinkError {
    SinkError::Refused { fault: SinkFault::Callback { reason: "no".to_owned() } }
}

/// Waits until something is so; only a hang takes long.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Batches of sealed events, by way of a pipeline, since nothing else makes any.
pub(crate) fn batches(ring: &Arc<Ring>, sizes: &[u64]) -> Vec<Batch> {
    let taken = Taken::default();
    let pipeline = builder(ring, workers(1)).add_sink("out", taken.sink(), quick()).start().unwrap();
    let mut number = 0;
    for size in sizes {
        // One event a batch, put together by the spool's users as they like.
        for _ in 0..*size {
            number += 1;
            pipeline.emit(event(number).0).unwrap();
            pipeline.flush(LONG).unwrap();
        }
    }
    pipeline.close(LONG).unwrap();
    let taken = taken.0.lock().unwrap();
    taken.clone()
}

static LOGS: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

struct Capture;

impl std::io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGS.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From now on everything that anybody logs in this process, at any level, is kept.
pub(crate) fn capture_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
            .with_writer(|| Capture)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

pub(crate) fn logs() -> Vec<u8> {
    LOGS.lock().unwrap().clone()
}
