//! The configuration of a pipeline: one TOML file, read strictly.
//!
//! A key that means nothing is refused, with its line; so is a secret that is written down, a path into the state
//! directory of the keys, and whatever could not work. All keys: `docs/guides/telemetry-pipeline.md`.

mod enricher;
mod error;
mod nats;
mod secrets;
mod section;
mod sinks;

pub use enricher::DekChoice;
pub use error::{ConfigFault, PipelineConfigError};
pub use sinks::{SinkConfig, SinkKind, SpoolConfig};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_kek::Variables;
use aegis_pii::EncryptorOptions;
use aegis_telemetry::inlet::{NatsSourceSettings, StartAt, TailSettings};
use aegis_telemetry::{DeadLetterFile, PipelineSettings, WhenQueueFull};

use crate::state_dir::StateDir;
use nats::Wildcards;
use section::Section;

/// A pipeline as its file describes it.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Where events come from.
    pub source: SourceConfig,
    /// Under which DEK they are sealed.
    pub dek: DekChoice,
    /// Which fields, and how.
    pub pii: EncryptorOptions,
    /// Where they go.
    pub sinks: Vec<SinkConfig>,
    /// Workers and queue.
    pub settings: PipelineSettings,
    /// The directory that has a spool for each sink.
    pub spool: Option<PathBuf>,
    /// Where refused events are kept, and how many bytes of them.
    pub dead_letters: Option<(PathBuf, u64)>,
    /// Where metrics are asked for.
    pub metrics: Option<SocketAddr>,
    /// How long it may take to end.
    pub drain_timeout: Duration,
}

/// Where events come from.
#[derive(Debug)]
pub enum SourceConfig {
    /// The standard input.
    Stdin,
    /// A file that is followed.
    File(TailSettings),
    /// Messages of NATS JetStream.
    Nats(NatsSourceSettings),
}

impl PipelineConfig {
    /// The most bytes of a file.
    pub const MAX_LEN: u64 = 1 << 20;

    /// Reads a file. Secrets that it names are read too; nothing else is opened but the catalogue.
    ///
    /// # Errors
    ///
    /// A [`PipelineConfigError`].
    pub fn read(path: &Path, variables: &Variables, state: &StateDir) -> Result<Self, PipelineConfigError> {
        let bytes = aegis_durable::read_bounded(path, Self::MAX_LEN).map_err(PipelineConfigError::Read)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| PipelineConfigError::NotUtf8)?;
        Self::parse(path, text, variables, state)
    }

    /// Parses a text. `file` is what it is called, and beside it are its relative paths.
    ///
    /// # Errors
    ///
    /// A [`PipelineConfigError`].
    pub fn parse(
        file: &Path,
        text: &str,
        variables: &Variables,
        state: &StateDir,
    ) -> Result<Self, PipelineConfigError> {
        let source = section::Source { file, text };
        let parsed = source.parse()?;
        let root = Section::new(source, String::new(), 1, parsed.get_ref());

        let section = root.section("source")?.ok_or_else(|| root.error("source", ConfigFault::Missing))?;
        let (source_config, mut places) = source_of(section, variables)?;

        let mut settings = PipelineSettings::default();
        let mut own =
            Own { spool: None, dead_letters: None, metrics: None, drain_timeout: Duration::from_secs(30) };
        if let Some(section) = root.section("pipeline")? {
            own = own_of(section, &mut settings, &mut places)?;
        }
        if let Some(section) = root.section("queue")? {
            queue(section, &mut settings, matches!(source_config, SourceConfig::Stdin))?;
        }

        let mut enrichers = root.sections("enricher")?.into_iter();
        let section = enrichers.next().ok_or_else(|| root.error("enricher", ConfigFault::Missing))?;
        let (dek, mut pii) = enricher::read(section, variables)?;
        pii.limits.max_event_len = settings.max_event_len;
        if let Some(second) = enrichers.next() {
            return Err(second.error("kind", ConfigFault::Twice { other: "enricher[1]".to_owned() }));
        }

        let mut sinks = Vec::new();
        for section in root.sections("sink")? {
            let name = section.name().to_owned();
            let sink = sinks::read(section, own.spool.is_some(), variables)?;
            if let SinkKind::File(file) = &sink.kind {
                places.put(&file.path, format!("{name}.path"), sink.line);
            }
            sinks.push((name, sink));
        }
        if sinks.is_empty() {
            return Err(root.error("sink", ConfigFault::Missing));
        }
        root.finish()?;
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for (section, sink) in &sinks {
            if let Some(other) = names.insert(&sink.name, section) {
                let fault = ConfigFault::Twice { other: other.to_owned() };
                return Err(source.error(sink.line, &format!("{section}.name"), fault));
            }
        }
        places.check(&source, state)?;
        let Own { spool, dead_letters, metrics, drain_timeout } = own;
        let sinks = sinks.into_iter().map(|(_, sink)| sink).collect();
        Ok(Self {
            source: source_config,
            dek,
            pii,
            sinks,
            settings,
            spool,
            dead_letters,
            metrics,
            drain_timeout,
        })
    }
}

/// Files that are written to or followed: each has one use, and none is where the keys are.
#[derive(Default)]
struct Places(Vec<(PathBuf, String, usize)>);

impl Places {
    fn put(&mut self, path: &Path, key: String, line: usize) {
        self.0.push((path.to_owned(), key, line));
    }

    fn check(&self, source: &section::Source<'_>, state: &StateDir) -> Result<(), PipelineConfigError> {
        for (at, (path, key, line)) in self.0.iter().enumerate() {
            if state.reserves(path) {
                return Err(source.error(*line, key, ConfigFault::Reserved));
            }
            if let Some((_, other, _)) = self.0.iter().take(at).find(|(other, _, _)| is_same(other, path)) {
                return Err(source.error(*line, key, ConfigFault::Twice { other: other.clone() }));
            }
        }
        Ok(())
    }
}

/// Whether both lead to one file, which need not be there.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        std::fs::canonicalize(path).unwrap_or_else(|_| {
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let parent = std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
            path.file_name().map_or_else(|| parent.clone(), |name| parent.join(name))
        })
    };
    real(one) == real(other)
}

#[derive(Clone, Copy)]
enum SourceWord {
    Stdin,
    File,
    Nats,
}

fn source_of(
    section: Section<'_>,
    variables: &Variables,
) -> Result<(SourceConfig, Places), PipelineConfigError> {
    let kinds = [SourceWord::Stdin, SourceWord::File, SourceWord::Nats];
    let kind = section.choice("kind", &["stdin", "file", "nats"], &kinds)?;
    let kind = section.required("kind", kind)?;
    let mut places = Places::default();
    let config = match kind.value {
        SourceWord::Stdin => SourceConfig::Stdin,
        SourceWord::File => {
            let path = section.file("path")?;
            let path = section.required("path", path)?;
            let state = section.file("state")?;
            let state = section.required("state", state)?;
            places.put(&path.value, path.key.clone(), path.line);
            places.put(&state.value, state.key.clone(), state.line);
            let mut settings = TailSettings::of(path.value, state.value);
            let start = section.choice("start_at", &["start", "end"], &[StartAt::Start, StartAt::End])?;
            settings.start_at = start.map(|at| at.value).unwrap_or_default();
            settings.poll = section.duration("poll")?.unwrap_or(settings.poll);
            settings.rotate_wait = section.duration("rotate_wait")?.unwrap_or(settings.rotate_wait);
            SourceConfig::File(settings)
        }
        SourceWord::Nats => {
            let stream = nats::nats_name(&section, "stream")?;
            let consumer = nats::nats_name(&section, "consumer")?;
            let subject = section.text("subject")?;
            if let Some(at) = subject.as_ref().filter(|at| !nats::is_subject(&at.value, Wildcards::Taken)) {
                return Err(section.error_at(at, ConfigFault::NatsName));
            }
            SourceConfig::Nats(NatsSourceSettings {
                server: nats::nats_server(&section, variables)?,
                stream: stream.ok_or_else(|| section.error("stream", ConfigFault::Missing))?,
                consumer: consumer.ok_or_else(|| section.error("consumer", ConfigFault::Missing))?,
                subject: subject.map(|at| at.value),
                ack_wait: section.duration("ack_wait")?.unwrap_or(Duration::from_secs(30)),
                max_unacknowledged: section.count("max_unacknowledged", 1, 100_000)?.unwrap_or(4096),
            })
        }
    };
    section.finish()?;
    Ok((config, places))
}

/// What concerns the pipeline itself.
struct Own {
    spool: Option<PathBuf>,
    dead_letters: Option<(PathBuf, u64)>,
    metrics: Option<SocketAddr>,
    drain_timeout: Duration,
}

fn own_of(
    section: Section<'_>,
    settings: &mut PipelineSettings,
    places: &mut Places,
) -> Result<Own, PipelineConfigError> {
    settings.workers = section.count("workers", 1, 256)?.unwrap_or(settings.workers);
    // No longer than what decryption takes when it is sealed.
    let most = u64::try_from(settings.max_event_len).unwrap_or(u64::MAX);
    if let Some(max) = section.size("max_event", 2, most)? {
        settings.max_event_len = usize::try_from(max).unwrap_or(settings.max_event_len);
    }
    let spool = section.file("spool")?;
    let dead_letters = section.file("dead_letters")?;
    for at in spool.iter().chain(&dead_letters) {
        places.put(&at.value, at.key.clone(), at.line);
    }
    let limit = section.size("dead_letters_max", 4096, 1 << 50)?;
    if limit.is_some() && dead_letters.is_none() {
        return Err(section.error("dead_letters_max", ConfigFault::Needs { other: "dead_letters" }));
    }
    let own = Own {
        spool: spool.map(|at| at.value),
        dead_letters: dead_letters.map(|at| (at.value, limit.unwrap_or(DeadLetterFile::DEFAULT_LIMIT))),
        metrics: section.loopback("metrics")?,
        drain_timeout: section.duration("drain_timeout")?.unwrap_or(Duration::from_secs(30)),
    };
    section.finish()?;
    Ok(own)
}

fn queue(
    section: Section<'_>,
    settings: &mut PipelineSettings,
    may_shed: bool,
) -> Result<(), PipelineConfigError> {
    settings.queue_events = section.count("events", 1, 10_000_000)?.unwrap_or(settings.queue_events);
    if let Some(bytes) = section.size("bytes", 1024, 1 << 40)? {
        settings.queue_bytes = usize::try_from(bytes).unwrap_or(settings.queue_bytes);
    }
    let policies = [WhenQueueFull::Block, WhenQueueFull::Shed];
    if let Some(at) = section.choice("when_full", &["block", "shed"], &policies)? {
        if at.value == WhenQueueFull::Shed && !may_shed {
            return Err(section.error_at(&at, ConfigFault::ShedNeedsStdin));
        }
        settings.when_full = at.value;
    }
    section.finish()
}
