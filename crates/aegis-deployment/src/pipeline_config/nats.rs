//! Servers of NATS, how we prove who we are to them, and names that they take.

use std::sync::Arc;
use std::time::Duration;

use aegis_kek::Variables;
use aegis_telemetry::{NatsIdentity, NatsLogin, NatsServer};

use super::error::{ConfigFault, PipelineConfigError};
use super::secrets;
use super::section::Section;
use super::sinks::{authority, client_certificate, key_of};

/// The server that `section` names, for a source or a sink.
pub(super) fn nats_server(
    section: &Section<'_>,
    variables: &Variables,
) -> Result<NatsServer, PipelineConfigError> {
    let urls = section.texts("servers")?;
    let urls = section.required("servers", urls)?;
    let login = nats_login(section, variables)?;
    let trusted_certificates = section.file("trusted_certificates")?.map(|at| at.value);
    let client_certificate = client_certificate(section)?;
    // Whoever names certificates wants TLS, which is insisted upon whatever the address begins with.
    let wants_tls = trusted_certificates.is_some() || client_certificate.is_some();
    for url in &urls.value {
        let Some((scheme, _)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "nats" | "tls"))
        else {
            return Err(section.error_at(&urls, ConfigFault::NatsUrl));
        };
        let authority = authority(url);
        if authority.contains('@') {
            return Err(section.error_at(&urls, ConfigFault::CredentialsInUrl));
        }
        if authority.is_empty() || authority.contains(char::is_whitespace) {
            return Err(section.error_at(&urls, ConfigFault::NatsUrl));
        }
        let host = host_of(authority);
        if login.is_some() && scheme == "nats" && !wants_tls && !is_this_host(host) {
            return Err(section.error_at(&urls, ConfigFault::LoginInTheClear { host: host.to_owned() }));
        }
    }
    let server = NatsServer {
        urls: urls.value,
        login,
        trusted_certificates,
        client_certificate,
        timeout: section.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
    };
    server.check().map_err(|error| section.error(key_of(&error), ConfigFault::Certificate(error)))?;
    Ok(server)
}

/// How we prove who we are to NATS, in one of four ways.
fn nats_login(
    section: &Section<'_>,
    variables: &Variables,
) -> Result<Option<NatsLogin>, PipelineConfigError> {
    let user = section.text("user")?;
    let password = secrets::read(section, &secrets::PASSWORD, variables)?;
    let token = secrets::read_at(section, &secrets::TOKEN, variables)?;
    let nkey = secrets::read_at(section, &secrets::NKEY, variables)?;
    let credentials = section.file("credentials_file")?;
    let places = [
        user.as_ref().map(|at| (at.line, &at.key)),
        token.as_ref().map(|at| (at.line, &at.key)),
        nkey.as_ref().map(|at| (at.line, &at.key)),
        credentials.as_ref().map(|at| (at.line, &at.key)),
    ];
    let names = ["user", "token", "nkey", "credentials_file"];
    let chosen: Vec<_> =
        names.into_iter().zip(places).filter_map(|(name, place)| Some((name, place?))).collect();
    if let [(_, (line, key)), (other, _), ..] = chosen.as_slice() {
        return Err(section.error_in(*line, key, ConfigFault::Excludes { other }));
    }
    let identity = |identity| Some(NatsLogin::Identity(Arc::new(identity)));
    if let Some(at) = token {
        return Ok(Some(NatsLogin::Token(at.value)));
    }
    if let Some(at) = nkey {
        let read = NatsIdentity::of_seed(at.value.expose());
        return read.map(identity).map_err(|error| section.error_at(&at, ConfigFault::NatsIdentity(error)));
    }
    if let Some(at) = credentials {
        let bytes = secrets::private(&at.value).map_err(|fault| section.error_at(&at, fault))?;
        let read = NatsIdentity::of_credentials(&bytes);
        return read.map(identity).map_err(|error| section.error_at(&at, ConfigFault::NatsIdentity(error)));
    }
    match (user, password) {
        (Some(user), Some(password)) => Ok(Some(NatsLogin::Password { user: user.value, password })),
        (Some(at), None) => Err(section.error_at(&at, secrets::PASSWORD.needed())),
        (None, Some(_)) => Err(section.error("user", ConfigFault::Missing)),
        (None, None) => Ok(None),
    }
}

fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A stream's or a consumer's name.
pub(super) fn nats_name(
    section: &Section<'_>,
    key: &'static str,
) -> Result<Option<String>, PipelineConfigError> {
    let Some(at) = section.text(key)? else { return Ok(None) };
    let is_name = at.value.len() <= 255
        && !at.value.chars().any(|char| char.is_whitespace() || matches!(char, '.' | '*' | '>' | '/' | '\\'));
    if is_name { Ok(Some(at.value)) } else { Err(section.error_at(&at, ConfigFault::NatsName)) }
}

/// Whether `*` and `>` may be in a subject.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcards {
    Taken,
    Refused,
}

pub(super) fn is_subject(subject: &str, wildcards: Wildcards) -> bool {
    let parts: Vec<&str> = subject.split('.').collect();
    parts.iter().enumerate().all(|(at, part)| match *part {
        "" => false,
        "*" => wildcards == Wildcards::Taken,
        ">" => wildcards == Wildcards::Taken && at + 1 == parts.len(),
        part => !part.chars().any(|char| char.is_whitespace() || matches!(char, '*' | '>')),
    })
}
