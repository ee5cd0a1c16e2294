//! The configuration of a pipeline: one TOML file, read strictly.
//!
//! A key that means nothing is refused, with its line; so is a secret that is written down, a path into the state
//! directory of the keys, and whatever could not work. All keys: `docs/guides/telemetry-pipeline.md`.

mod error;
mod secrets;
mod section;
mod sinks;

pub use error::{ConfigFault, PipelineConfigError};
pub use sinks::{SinkConfig, SinkKind, SpoolConfig};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_kek::Variables;
use aegis_keyring::Scope;
use aegis_pii::{
    Catalogue, EncryptorOptions, EnvelopeForm, Field, FieldBinding, PiiEncryptor, PlaintextHash, Priority,
    Selector,
};
use aegis_telemetry::inlet::{NatsSourceSettings, StartAt, TailSettings};
use aegis_telemetry::{DeadLetterFile, PipelineSettings, WhenQueueFull};

use crate::state_dir::StateDir;
use section::Section;
use sinks::Wildcards;

/// A pipeline as its file describes it.
#[derive(Debug)]
pub struct PipelineConfig {
    /// Where events come from.
    pub source: SourceConfig,
    /// Under the active DEK of which scope they are sealed.
    pub scope: Scope,
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

    fn parse(
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
        let (scope, mut pii) = pii(section)?;
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
            scope,
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
            let stream = sinks::nats_name(&section, "stream")?;
            let consumer = sinks::nats_name(&section, "consumer")?;
            let subject = section.text("subject")?;
            if let Some(at) = subject.as_ref().filter(|at| !sinks::is_subject(&at.value, Wildcards::Taken)) {
                return Err(section.error_at(at, ConfigFault::NatsName));
            }
            SourceConfig::Nats(NatsSourceSettings {
                server: sinks::nats_server(&section, variables)?,
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

fn pii(section: Section<'_>) -> Result<(Scope, EncryptorOptions), PipelineConfigError> {
    let kind = section.choice("kind", &["pii"], &[()])?;
    section.required("kind", kind)?;
    let scope = match section.text("scope")? {
        None => Scope::default(),
        Some(at) => at.value.parse().map_err(|error| section.error_at(&at, ConfigFault::Scope(error)))?,
    };
    let forms = [EnvelopeForm::SelfContained, EnvelopeForm::Compact];
    let form = section.choice("envelope", &["full", "compact"], &forms)?;
    let hashes = [PlaintextHash::Keyed, PlaintextHash::BareSha256];
    let hash = section.choice("plaintext_hash", &["keyed", "sha256"], &hashes)?;
    let bind = section.choice("bind", &["pointer", "name"], &[FieldBinding::Pointer, FieldBinding::Name])?;
    let options = EncryptorOptions {
        catalogue: catalogue(&section)?,
        form: form.map_or(EnvelopeForm::SelfContained, |at| at.value),
        plaintext_hash: hash.map_or(PlaintextHash::Keyed, |at| at.value),
        bind_by: bind.map_or(FieldBinding::Pointer, |at| at.value),
        tenant: section.text("tenant")?.map(|at| at.value),
        event_id_member: section.text("event_id_member")?.map(|at| at.value),
        ..EncryptorOptions::default()
    };
    check(&options).map_err(|error| section.error("kind", ConfigFault::Options(error)))?;
    section.finish()?;
    Ok((scope, options))
}

/// Whether the options contradict one another, which an encryptor says when it is made; no DEK is looked up for that.
fn check(options: &EncryptorOptions) -> Result<(), aegis_pii::OptionsError> {
    #[derive(Debug)]
    struct NoDek;
    impl aegis_pii::SealingDekSource for NoDek {
        fn active(&self) -> Result<Arc<aegis_pii::SealingDek>, aegis_pii::DekUnavailable> {
            Err(aegis_pii::DekUnavailable::Unknown)
        }
    }
    PiiEncryptor::new(Arc::new(NoDek), options.clone()).map(drop)
}

/// In the order of the options of `aegis pii encrypt`.
fn catalogue(section: &Section<'_>) -> Result<Catalogue, PipelineConfigError> {
    let mut chosen = Catalogue::guide();
    if let Some(at) = section.file("catalogue")? {
        let bytes = aegis_durable::read_bounded(&at.value, Catalogue::MAX_CONFIG_LEN as u64)
            .map_err(|error| section.error_at(&at, ConfigFault::ReadCatalogue(error)))?;
        chosen = Catalogue::from_json(&bytes)
            .map_err(|error| section.error_at(&at, ConfigFault::CatalogueFile(error)))?;
    }
    if let Some(at) = section.texts("also")? {
        let fields = at.value.iter().map(|text| Field {
            selector: match text.starts_with('/') {
                true => Selector::Pointer(text.clone()),
                false => Selector::Name(text.clone()),
            },
            description: String::new(),
            // What somebody takes the trouble to add is not left out by a minimum.
            priority: Priority::Critical,
        });
        chosen = chosen
            .extended(fields.collect::<Vec<_>>())
            .map_err(|error| section.error_at(&at, ConfigFault::Catalogue(error)))?;
    }
    let priorities = [Priority::Critical, Priority::High, Priority::Medium];
    if let Some(at) = section.choice("min_priority", &["critical", "high", "medium"], &priorities)? {
        chosen = chosen
            .at_least(at.value)
            .map_err(|error| section.error_at(&at, ConfigFault::Catalogue(error)))?;
    }
    type Narrow = fn(Catalogue, &[&str]) -> Result<Catalogue, aegis_pii::CatalogueError>;
    let narrowings: [(&'static str, Narrow); 2] =
        [("fields", Catalogue::only), ("without", Catalogue::without)];
    for (key, narrow) in narrowings {
        if let Some(at) = section.texts(key)? {
            let words: Vec<&str> = at.value.iter().map(String::as_str).collect();
            chosen = narrow(chosen, &words)
                .map_err(|error| section.error_at(&at, ConfigFault::Catalogue(error)))?;
        }
    }
    Ok(chosen)
}
