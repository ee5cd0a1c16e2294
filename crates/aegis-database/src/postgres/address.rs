//! `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`, read strictly, and never repeated: it may hold a password.

use std::path::PathBuf;
use std::time::Duration;

use aegis_kek::Variables;
use postgres::Config;
use postgres::config::{Host, SslMode};

use super::password;
use crate::error::AddressFault;

/// How long one attempt to connect may take, unless the address says so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Parameters that are passed on to the client. The others would change what is relied on here.
const PASSED_ON: [&str; 10] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "connect_timeout",
    "application_name",
    "keepalives",
    "target_session_attrs",
    "channel_binding",
];

/// Where the server is, and how to talk to it.
pub(super) struct Address {
    /// Everything but the way to encrypt.
    pub(super) config: Config,
    /// For messages: no user, no password, no parameters.
    pub(super) location: String,
    /// How the connection is encrypted.
    pub(super) tls: Tls,
}

/// Why an address cannot be used, before it is known what should be there.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The address itself, or what completes it.
    Address { fault: AddressFault },
    /// Others could read the password file.
    Insecure { path: PathBuf, why: String },
}

/// How the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tls {
    /// Not at all: it does not leave the machine, or the address says so.
    None,
    /// With a certificate for the host's name, from one of these authorities or else from one that the system trusts.
    Verified { authorities: Option<PathBuf> },
}

impl Address {
    /// Reads an address; what it does not say, variables may: `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD`,
    /// `PGPASSFILE`, `PGSSLMODE`, `PGSSLROOTCERT`.
    pub(super) fn parse(address: &str, variables: &Variables) -> Result<Self, Refusal> {
        let (main, query) = address.split_once('?').unwrap_or((address, ""));
        let parameters = Parameters::parse(query)?;
        let mut config: Config = format!("{main}?{}", parameters.passed_on).parse().map_err(|_| {
            if query.is_empty() { fault(AddressFault::Malformed) } else { fault(AddressFault::Parameter) }
        })?;
        complete(&mut config, variables)?;
        let location = location(&config)?;
        if config.get_password().is_none()
            && let Some(password) = password::find(&config, variables)?
        {
            config.password(password.expose());
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("aegis");
        }
        // A server that vanished without a word is noticed within a minute.
        config.keepalives_idle(Duration::from_secs(30));
        config.keepalives_interval(Duration::from_secs(10));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(30));
        let tls = parameters.tls(&config, variables)?;
        config.ssl_mode(if tls == Tls::None { SslMode::Disable } else { SslMode::Require });
        Ok(Self { config, location, tls })
    }
}

/// What stands after the question mark.
struct Parameters {
    passed_on: String,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut parameters = Self { passed_on: String::new(), sslmode: None, sslrootcert: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(|| fault(AddressFault::Parameter))?;
            match name {
                "sslmode" => parameters.sslmode = Some(decoded(value)?),
                "sslrootcert" => parameters.sslrootcert = Some(decoded(value)?),
                name if PASSED_ON.contains(&name) => {
                    let between = if parameters.passed_on.is_empty() { "" } else { "&" };
                    parameters.passed_on.push_str(between);
                    parameters.passed_on.push_str(parameter);
                }
                _ => return Err(fault(AddressFault::Parameter)),
            }
        }
        Ok(parameters)
    }

    /// As libpq reads `sslmode`, but stricter: with TLS the certificate is always verified, and no connection to another
    /// machine goes without it, unless `disable` is written out.
    fn tls(self, config: &Config, variables: &Variables) -> Result<Tls, Refusal> {
        let mode = match self.sslmode {
            Some(mode) => Some(mode),
            None => variable(variables, "PGSSLMODE")?,
        };
        let is_local = config.get_hosts().iter().all(is_local);
        let is_socket = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let authorities = match self.sslrootcert {
            Some(path) => Some(path),
            None => variable(variables, "PGSSLROOTCERT")?,
        };
        // libpq's word for the authorities of the system.
        let authorities = authorities.filter(|path| path != "system").map(PathBuf::from);
        match mode.as_deref() {
            Some("disable") => Ok(Tls::None),
            Some("prefer" | "require" | "verify-ca" | "verify-full") | None if is_socket => Ok(Tls::None),
            Some("prefer") | None if is_local => Ok(Tls::None),
            Some("prefer" | "require" | "verify-ca" | "verify-full") | None => {
                Ok(Tls::Verified { authorities })
            }
            Some(_) => Err(fault(AddressFault::Parameter)),
        }
    }
}

fn complete(config: &mut Config, variables: &Variables) -> Result<(), Refusal> {
    let missing = |what, variable| fault(AddressFault::Incomplete { what, variable });
    if config.get_hosts().is_empty() {
        let hosts = variable(variables, "PGHOST")?.ok_or_else(|| missing("host", "PGHOST"))?;
        for host in hosts.split(',') {
            config.host(host);
        }
    }
    if config.get_ports().is_empty()
        && let Some(port) = variable(variables, "PGPORT")?
    {
        config.port(port.parse().map_err(|_| fault(AddressFault::Malformed))?);
    }
    if config.get_user().is_none_or(str::is_empty) {
        config.user(&variable(variables, "PGUSER")?.ok_or_else(|| missing("user", "PGUSER"))?);
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        config.dbname(&variable(variables, "PGDATABASE")?.ok_or_else(|| missing("database", "PGDATABASE"))?);
    }
    Ok(())
}

pub(super) fn variable(variables: &Variables, name: &str) -> Result<Option<String>, Refusal> {
    match variables.get(name) {
        Ok(value) => Ok(value.map(|value| value.expose().to_owned())),
        Err(_) => Err(fault(AddressFault::Variable { name: name.to_owned() })),
    }
}

/// Host, port and database. An address that was cut in the wrong place, at an `@` of a password, has a host that is none.
fn location(config: &Config) -> Result<String, Refusal> {
    let mut hosts = Vec::new();
    for (nth, host) in config.get_hosts().iter().enumerate() {
        let name = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let is_name = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%' | b'/')
        };
        if name.is_empty() || name.len() > 255 || !name.bytes().all(is_name) {
            return Err(fault(AddressFault::Malformed));
        }
        let port =
            config.get_ports().get(nth).or_else(|| config.get_ports().first()).copied().unwrap_or(5432);
        hosts.push(if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") });
    }
    let database = config.get_dbname().unwrap_or_default();
    if database.contains(['@', '?', '/']) || database.chars().any(char::is_control) {
        return Err(fault(AddressFault::Malformed));
    }
    Ok(format!("postgres://{}/{database}", hosts.join(",")))
}

/// Whether what is sent there stays on this machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Undoes `%XX`.
fn decoded(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let digits = rest.next().zip(rest.next()).map(|(high, low)| [high, low]);
            let digit = digits
                .as_ref()
                .and_then(|digits| hex::decode(digits).ok())
                .and_then(|byte| byte.first().copied());
            digit.ok_or_else(|| fault(AddressFault::Parameter))?
        } else {
            byte
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| fault(AddressFault::Parameter))
}

/// Why a file was not read, in one line.
pub(super) fn unreadable(error: &aegis_durable::ReadError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// An address that cannot be used.
pub(super) const fn fault(fault: AddressFault) -> Refusal {
    Refusal::Address { fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(address: &str) -> Result<Address, Refusal> {
        Address::parse(address, &Variables::of_pairs([]))
    }

    fn refusal(address: &str) -> AddressFault {
        match parsed(address) {
            Err(Refusal::Address { fault }) => fault,
            Err(error) => panic!("{address}: {error:?}"),
            Ok(address) => panic!("taken: {}", address.location),
        }
    }

    #[test]
    fn nothing_leaves_the_machine_in_the_clear_unless_it_is_asked_for() {
        let verified = Tls::Verified { authorities: None };
        let ours = Tls::Verified { authorities: Some("/etc/ours.pem".into()) };
        let cases = [
            ("postgres://u@db.example/d", &verified),
            ("postgres://u@db.example/d?sslmode=prefer", &verified),
            ("postgres://u@db.example/d?sslmode=require", &verified),
            ("postgres://u@db.example/d?sslmode=verify-ca", &verified),
            ("postgres://u@db.example/d?sslmode=verify-full&sslrootcert=system", &verified),
            ("postgres://u@db.example/d?sslrootcert=%2Fetc%2Fours.pem", &ours),
            ("postgres://u@db.example/d?sslmode=disable", &Tls::None),
            ("postgres://u@192.0.2.1/d", &verified),
            ("postgres://u@localhost.example/d", &verified),
            ("postgres://u@localhost/d", &Tls::None),
            ("postgres://u@127.0.0.1/d?sslmode=prefer", &Tls::None),
            ("postgres://u@[::1]/d", &Tls::None),
            ("postgres://u@localhost/d?sslmode=require", &verified),
            ("postgres://u@127.0.0.1,db.example/d", &verified),
            ("postgres://u@%2Frun%2Fpostgresql/d?sslmode=require", &Tls::None),
            ("postgres:///d?host=/run/postgresql&user=u", &Tls::None),
        ];
        for (address, expected) in cases {
            let found = parsed(address).unwrap();
            assert_eq!(&found.tls, expected, "{address}");
            let mode = if *expected == Tls::None { SslMode::Disable } else { SslMode::Require };
            assert_eq!(found.config.get_ssl_mode(), mode, "{address}");
        }
    }

    #[test]
    fn a_location_has_no_user_password_or_parameter() {
        let cases = [
            ("postgres://me:s3cret@db.example:5433/d?application_name=x", "postgres://db.example:5433/d"),
            ("postgresql://me:s3c%40ret@db.example/d", "postgres://db.example:5432/d"),
            ("postgres://me@a.example,b.example:9/d", "postgres://a.example:5432,b.example:9/d"),
            ("postgres://me@[::1]:7/d", "postgres://[::1]:7/d"),
            ("postgres:///d?host=/run/x&user=me&password=s3cret", "postgres:///run/x:5432/d"),
        ];
        for (address, expected) in cases {
            assert_eq!(parsed(address).unwrap().location, expected);
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let cases = [
            ("postgres://u:a@b@db.example/d", AddressFault::Malformed),
            ("postgres://u:12/34@db.example:x/d", AddressFault::Malformed),
            ("postgres://u@db.example:99999/d", AddressFault::Malformed),
            ("postgres://u@db example/d", AddressFault::Malformed),
            ("postgres://u@db.example/d/e", AddressFault::Malformed),
            ("postgres://u:pa?ss@db.example/d", AddressFault::Parameter),
            ("postgres://u@db.example/d?sslmode=allow", AddressFault::Parameter),
            ("postgres://u@db.example/d?sslmode=%zz", AddressFault::Parameter),
            ("postgres://u@db.example/d?options=-csearch_path%3Dpublic", AddressFault::Parameter),
            ("postgres://u@db.example/d?connect_timeout=soon", AddressFault::Parameter),
            ("postgres:///d?user=u", AddressFault::Incomplete { what: "host", variable: "PGHOST" }),
            ("postgres://db.example/d", AddressFault::Incomplete { what: "user", variable: "PGUSER" }),
            (
                "postgres://u@db.example",
                AddressFault::Incomplete { what: "database", variable: "PGDATABASE" },
            ),
        ];
        for (address, expected) in cases {
            assert_eq!(refusal(address), expected, "{address}");
        }
    }

    #[test]
    fn variables_complete_an_address_and_never_overrule_it() {
        let variables = Variables::of_pairs([
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "me"),
            ("PGDATABASE", "aegis"),
            ("PGPASSWORD", "s3cret"),
            ("PGSSLMODE", "disable"),
        ]);
        let found = Address::parse("postgres://", &variables).unwrap();
        assert_eq!(found.location, "postgres://db.example:5433/aegis");
        assert_eq!(found.config.get_user(), Some("me"));
        assert_eq!(found.config.get_password(), Some(&b"s3cret"[..]));
        assert_eq!(found.tls, Tls::None);
        let found = Address::parse("postgres://you:pw@other.example/d?sslmode=require", &variables).unwrap();
        assert_eq!(found.location, "postgres://other.example:5432/d");
        assert_eq!(found.config.get_user(), Some("you"));
        assert_eq!(found.config.get_password(), Some(&b"pw"[..]));
        assert_ne!(found.tls, Tls::None);
    }
}
