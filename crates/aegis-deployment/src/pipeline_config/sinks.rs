//! `[[sink]]`: where events go, and how.

use std::time::Duration;

use aegis_kek::Variables;
use aegis_telemetry::{
    Authorization, Backoff, BodyForm, CertificateError, Certificates, ClientCertificate, FileSettings,
    HttpSink, NatsSettings, OtlpSettings, OtlpSink, Rotation, SyncPolicy, WebSettings, WebSettingsError,
    WhenFull,
};

use super::error::{ConfigFault, PipelineConfigError};
use super::nats::{Wildcards, is_subject, nats_name, nats_server};
use super::secrets;
use super::section::{At, Section};

/// One sink, and how events reach it.
#[derive(Debug)]
pub struct SinkConfig {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where it is.
    pub kind: SinkKind,
    /// Most events in a batch.
    pub batch_events: usize,
    /// Most bytes in a batch.
    pub batch_bytes: usize,
    /// How long a batch waits to become full.
    pub linger: Duration,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// What its spool holds, and what happens when it is full; none if it has no spool.
    pub spool: Option<SpoolConfig>,
    pub(super) line: usize,
}

/// The spool of one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Most bytes.
    pub max_bytes: u64,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

/// Where a sink is.
#[derive(Debug)]
pub enum SinkKind {
    /// The standard output.
    Stdout,
    /// A file.
    File(FileSettings),
    /// A receiver of HTTP requests.
    Http(WebSettings, BodyForm),
    /// A receiver of OTLP logs.
    Otlp(OtlpSettings),
    /// A stream of NATS JetStream.
    Nats(NatsSettings),
}

#[derive(Clone, Copy)]
enum Word {
    Stdout,
    File,
    Http,
    Otlp,
    Nats,
}

const KINDS: &[&str] = &["stdout", "file", "http", "otlp", "nats"];

pub(super) fn read(
    section: Section<'_>,
    has_spool_dir: bool,
    variables: &Variables,
) -> Result<SinkConfig, PipelineConfigError> {
    let kind =
        section.choice("kind", KINDS, &[Word::Stdout, Word::File, Word::Http, Word::Otlp, Word::Nats])?;
    let kind = section.required("kind", kind)?;
    let name = section.text("name")?.unwrap_or_else(|| At {
        value: word(kind.value).to_owned(),
        line: kind.line,
        key: format!("{}.name", section.name()),
    });
    let is_name = (1..=64).contains(&name.value.len())
        && name.value.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if !is_name {
        return Err(section.error_at(&name, ConfigFault::NotOneOf { known: &["1 to 64 of a-z 0-9 - _"] }));
    }
    let default = Backoff::default();
    let backoff = Backoff {
        first: section.duration("retry_first")?.unwrap_or(default.first),
        most: section.duration("retry_most")?.unwrap_or(default.most),
    };
    let batch_events = section.count("batch_events", 1, 100_000)?.unwrap_or(512);
    let batch_bytes = section.size("batch_bytes", 1, 1 << 30)?.and_then(|bytes| usize::try_from(bytes).ok());
    let batch_bytes = batch_bytes.unwrap_or(4 << 20);
    let linger = section.duration("linger")?.unwrap_or_default();
    let spool = spool(&section, has_spool_dir, kind.value)?;
    let line = kind.line;
    let kind = match kind.value {
        Word::Stdout => SinkKind::Stdout,
        Word::File => SinkKind::File(file(&section)?),
        Word::Http => {
            let form = section.choice("form", &["lines", "array"], &[BodyForm::Lines, BodyForm::Array])?;
            let form = form.map(|at| at.value).unwrap_or_default();
            let web = web(&section, variables)?;
            HttpSink::new(&web, form)
                .map_err(|error| section.error(web_key(&error), ConfigFault::Web(error)))?;
            SinkKind::Http(web, form)
        }
        Word::Otlp => {
            let resource = section.pairs("resource")?.into_iter().map(|at| at.value).collect();
            let settings = OtlpSettings { web: web(&section, variables)?, resource };
            OtlpSink::new(&settings)
                .map_err(|error| section.error(web_key(&error), ConfigFault::Web(error)))?;
            SinkKind::Otlp(settings)
        }
        Word::Nats => {
            let subject = section.text("subject")?;
            let subject = section.required("subject", subject)?;
            if !is_subject(&subject.value, Wildcards::Refused) {
                return Err(section.error_at(&subject, ConfigFault::NatsName));
            }
            let stream = nats_name(&section, "stream")?;
            let server = nats_server(&section, variables)?;
            SinkKind::Nats(NatsSettings { server, subject: subject.value, stream })
        }
    };
    section.finish()?;
    Ok(SinkConfig { name: name.value, kind, batch_events, batch_bytes, linger, backoff, spool, line })
}

const fn word(kind: Word) -> &'static str {
    match kind {
        Word::Stdout => "stdout",
        Word::File => "file",
        Word::Http => "http",
        Word::Otlp => "otlp",
        Word::Nats => "nats",
    }
}

/// Every sink has a spool if there is a directory for them, except the standard output: it does not come back.
fn spool(
    section: &Section<'_>,
    has_dir: bool,
    kind: Word,
) -> Result<Option<SpoolConfig>, PipelineConfigError> {
    let wanted = section.flag("spool")?;
    let max_bytes = section.size("spool_max", 1 << 20, 1 << 50)?;
    let when_full =
        section.choice("spool_when_full", &["block", "shed"], &[WhenFull::Block, WhenFull::Shed])?;
    if wanted == Some(true) && !has_dir {
        return Err(section.error("spool", ConfigFault::Needs { other: "pipeline.spool" }));
    }
    if !wanted.unwrap_or(has_dir && !matches!(kind, Word::Stdout)) {
        let surplus = [("spool_max", max_bytes.is_some()), ("spool_when_full", when_full.is_some())];
        if let Some((key, _)) = surplus.into_iter().find(|(_, is_set)| *is_set) {
            return Err(section.error(key, ConfigFault::Needs { other: "a spool" }));
        }
        return Ok(None);
    }
    Ok(Some(SpoolConfig {
        max_bytes: max_bytes.unwrap_or(1 << 30),
        when_full: when_full.map(|at| at.value).unwrap_or_default(),
    }))
}

fn file(section: &Section<'_>) -> Result<FileSettings, PipelineConfigError> {
    let path = section.file("path")?;
    let path = section.required("path", path)?.value;
    let sync = section.choice("sync", &["batch", "never"], &[SyncPolicy::EachBatch, SyncPolicy::Never])?;
    let interval = section.duration("sync_interval")?;
    let sync = match (sync, interval) {
        (Some(at), Some(_)) => {
            return Err(section.error_at(&at, ConfigFault::Excludes { other: "sync_interval" }));
        }
        (Some(at), None) => at.value,
        (None, Some(interval)) => SyncPolicy::Interval(interval),
        (None, None) => SyncPolicy::EachBatch,
    };
    let rotation = Rotation {
        max_bytes: section.size("rotate_bytes", 4096, 1 << 50)?,
        max_age: section.duration("rotate_age")?,
        keep: section.count("rotate_keep", 1, 100_000)?,
    };
    if rotation.keep.is_some() && rotation.max_bytes.is_none() && rotation.max_age.is_none() {
        return Err(section.error("rotate_keep", ConfigFault::Needs { other: "rotate_bytes or rotate_age" }));
    }
    Ok(FileSettings { path, rotation, sync })
}

/// Headers that carry secrets.
fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "api-key",
        "apikey",
        "access-key",
        "credential",
    ]
    .iter()
    .any(|word| name.contains(word))
}

fn web(section: &Section<'_>, variables: &Variables) -> Result<WebSettings, PipelineConfigError> {
    let url = section.text("url")?;
    let url = section.required("url", url)?;
    if authority(&url.value).contains('@') {
        return Err(section.error_at(&url, ConfigFault::CredentialsInUrl));
    }
    let mut headers = Vec::new();
    for header in section.pairs("headers")? {
        if is_secret_header(&header.value.0) {
            let instead = "header_name and header_value_variable or header_value_file, or bearer_variable or bearer_file";
            return Err(section.error_at(&header, ConfigFault::LiteralSecret { instead }));
        }
        headers.push(header.value);
    }
    let user = section.text("user")?;
    let header_name = section.text("header_name")?;
    let bearer = secrets::read(section, &secrets::BEARER, variables)?;
    let password = secrets::read(section, &secrets::PASSWORD, variables)?;
    let header_value = secrets::read(section, &secrets::HEADER, variables)?;
    let ways = [
        ("user", user.is_some()),
        ("header_name", header_name.is_some()),
        ("bearer_variable", bearer.is_some()),
    ];
    let mut chosen = ways.into_iter().filter_map(|(key, is_set)| is_set.then_some(key));
    if let (Some(first), Some(second)) = (chosen.next(), chosen.next()) {
        return Err(section.error(first, ConfigFault::Excludes { other: second }));
    }
    let authorization = match (user, password, header_name, header_value, bearer) {
        (Some(user), Some(password), ..) => Some(Authorization::Basic { user: user.value, password }),
        (Some(at), None, ..) => {
            return Err(section.error_at(&at, secrets::PASSWORD.needed()));
        }
        (None, Some(_), ..) => return Err(section.error("user", ConfigFault::Missing)),
        (_, _, Some(name), Some(value), _) => Some(Authorization::Header { name: name.value, value }),
        (_, _, Some(at), None, _) => {
            return Err(section.error_at(&at, secrets::HEADER.needed()));
        }
        (_, _, None, Some(_), _) => return Err(section.error("header_name", ConfigFault::Missing)),
        (_, _, _, _, Some(bearer)) => Some(Authorization::Bearer(bearer)),
        (None, None, None, None, None) => None,
    };
    Ok(WebSettings {
        url: url.value,
        headers,
        authorization,
        timeout: section.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
        trusted_certificates: section.file("trusted_certificates")?.map(|at| at.value),
        client_certificate: client_certificate(section)?,
    })
}

/// The key that is at fault.
const fn web_key(error: &WebSettingsError) -> &'static str {
    match error {
        WebSettingsError::Certificate(error) => key_of(error),
        _ => "url",
    }
}

pub(super) const fn needs(other: &'static str) -> ConfigFault {
    ConfigFault::Needs { other }
}

/// What stands between `://` and the path.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The key that names the file at fault.
pub(super) const fn key_of(error: &CertificateError) -> &'static str {
    match error.what() {
        Certificates::Trusted => "trusted_certificates",
        Certificates::Own => "client_certificate",
        Certificates::OwnKey => "client_key_file",
    }
}

/// Our own certificate and its key, of which neither is of use without the other.
pub(super) fn client_certificate(
    section: &Section<'_>,
) -> Result<Option<ClientCertificate>, PipelineConfigError> {
    match (section.file("client_certificate")?, section.file("client_key_file")?) {
        (Some(certificate), Some(key)) => {
            Ok(Some(ClientCertificate { certificate: certificate.value, key: key.value }))
        }
        (Some(at), None) => Err(section.error_at(&at, needs("client_key_file"))),
        (None, Some(at)) => Err(section.error_at(&at, needs("client_certificate"))),
        (None, None) => Ok(None),
    }
}
