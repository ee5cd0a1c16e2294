//! Hosts on which no single person can change the trusted keys.

mod directory;
mod refusals;
mod rotation;
mod story;

use std::fs;

use crate::host::Host;
use crate::people::Person;

/// Writes a directory with custodians, and gives the digest of their rule.
pub(crate) fn new_directory(
    host: &Host,
    name: &str,
    people: &[&Person],
    threshold: &str,
) -> aegis_crypto::Digest {
    let dir = host.file(name);
    fs::create_dir_all(&dir).unwrap();
    for person in people {
        fs::write(dir.join(format!("{}.custodian", person.name)), person.registration().to_json()).unwrap();
    }
    fs::write(dir.join("threshold"), threshold).unwrap();
    let verified = host.ok(&["custodians", "verify", name, "--json"]).json();
    verified["digest"].as_str().unwrap().parse().unwrap()
}
