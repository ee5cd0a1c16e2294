//! The password that the address does not name: `PGPASSWORD`, or a line of the file `PGPASSFILE`, else `~/.pgpass`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aegis_kek::{SecretText, Variables};
use postgres::Config;
use postgres::config::Host;
use zeroize::Zeroizing;

use super::address::{Refusal, fault, unreadable, variable};
use crate::error::AddressFault;

/// The most bytes of a password file.
const MAX_FILE_LEN: u64 = 1 << 16;

/// The password for this server; `None` if there is none, which is right where the server asks for none.
pub(super) fn find(config: &Config, variables: &Variables) -> Result<Option<SecretText>, Refusal> {
    let set = variables.get("PGPASSWORD");
    if let Some(password) =
        set.map_err(|_| fault(AddressFault::Variable { name: "PGPASSWORD".to_owned() }))?
    {
        return Ok(Some(password));
    }
    let (path, is_named) = match variable(variables, "PGPASSFILE")? {
        Some(path) => (PathBuf::from(path), true),
        None => match variable(variables, "HOME")? {
            Some(home) => (Path::new(&home).join(".pgpass"), false),
            None => return Ok(None),
        },
    };
    let unusable =
        |why: String| fault(AddressFault::File { path: path.clone(), purpose: "a password file", why });
    let read = aegis_durable::read_state_of(&path, MAX_FILE_LEN);
    let Some((bytes, metadata)) = read.map_err(|error| unusable(unreadable(&error)))? else {
        return if is_named { Err(unusable("it is not there".to_owned())) } else { Ok(None) };
    };
    let bytes = Zeroizing::new(bytes);
    let mode = metadata.permissions().mode() & 0o7777;
    let open = (mode & 0o077 != 0)
        .then(|| format!("can be read by others than its owner (mode {mode:04o}, not 0600)"));
    if let Some(why) = aegis_durable::insecure(&metadata).or(open) {
        return Err(Refusal::Insecure { path, why });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("it is no UTF-8 text".to_owned()))?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.as_str(),
        // As libpq calls it.
        _ => "localhost",
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let wanted =
        [host, &port, config.get_dbname().unwrap_or_default(), config.get_user().unwrap_or_default()];
    Ok(text.lines().find_map(|line| password_of(line, wanted)))
}

/// The password in a line `HOST:PORT:DATABASE:USER:PASSWORD`, if the line is for this server. A field may be `*`; a colon
/// or backslash in one has a backslash before it.
fn password_of(line: &str, wanted: [&str; 4]) -> Option<SecretText> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for value in wanted {
        let (field, after) = field(rest);
        if field.as_str() != "*" && field.as_str() != value {
            return None;
        }
        rest = after?;
    }
    Some(SecretText::new(&field(rest).0)).filter(|password| !password.expose().is_empty())
}

/// The text up to the next colon, and what stands behind it.
fn field(text: &str) -> (Zeroizing<String>, Option<&str>) {
    let mut field = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ':' => return (field, text.get(at + 1..)),
            '\\' => field.push(chars.next().map_or('\\', |(_, next)| next)),
            char => field.push(char),
        }
    }
    (field, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [&str; 4] = ["db.example", "5432", "aegis", "keeper"];

    #[test]
    fn reads_lines_as_libpq_does() {
        let cases = [
            ("db.example:5432:aegis:keeper:s3cret", Some("s3cret")),
            ("*:*:*:*:s3cret", Some("s3cret")),
            (r"db.example:5432:aegis:keeper:a\:b\\c", Some(r"a:b\c")),
            (r"db\.example:*:*:*:s3cret", Some("s3cret")),
            ("# *:*:*:*:s3cret", None),
            ("other:5432:aegis:keeper:s3cret", None),
            ("db.example:5433:aegis:keeper:s3cret", None),
            ("db.example:5432:aegis:other:s3cret", None),
            ("db.example:5432:aegis:keeper:", None),
            ("db.example:5432:aegis:keeper", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let found = password_of(line, WANTED);
            assert_eq!(found.as_ref().map(SecretText::expose), expected, "{line}");
        }
    }
}
