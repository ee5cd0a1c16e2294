//! What people use today to encrypt fields, on the same events: `cargo xtask bench peers`, only if asked for by name.
//!
//! It installs the peers from the Python registry into `target/bench-peers`, which needs a network. Each is measured by
//! `peers/peers.py` in a process of its own, between runs of our library (`examples/fields.rs`) on the same file, so that a
//! slow moment of the machine hits both. What the rows mean, and what a peer gives that ours does not: `docs/benchmarks.md`.

mod environment;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::environment::Environment;
use super::table::Table;
use super::{Effort, example, pii};
use crate::failure::{Failure, Outcome};

/// A scheme of `peers/schemes.py`.
struct Peer {
    /// Its function.
    name: &'static str,
    what: &'static str,
    /// How many times the events that it encrypts ours has to encrypt.
    least: Option<f64>,
}

const PEERS: &[Peer] = &[
    Peer { name: "naive_liboqs", what: "one hybrid KEM a field, liboqs", least: Some(250.0) },
    Peer { name: "naive_cryptography", what: "one hybrid KEM a field, cryptography", least: Some(250.0) },
    Peer { name: "hpke_cryptography", what: "HPKE MLKEM768-X25519, cryptography", least: Some(220.0) },
    Peer { name: "hpke_tink", what: "HPKE X-Wing, Tink", least: Some(220.0) },
    Peer { name: "tink_kms_envelope", what: "Tink KMS envelope, the KMS a key in memory", least: None },
    Peer { name: "tink_aead", what: "Tink AEAD", least: None },
    Peer { name: "aws_esdk", what: "AWS Encryption SDK, raw AES, default", least: None },
    Peer { name: "aws_esdk_caching", what: "AWS Encryption SDK, caching, no signing", least: None },
    Peer { name: "aws_esdk_mpl", what: "AWS Encryption SDK, MPL keyring", least: None },
    Peer { name: "mongodb_csfle", what: "MongoDB CSFLE, explicit, local key", least: Some(130.0) },
    Peer { name: "pyrage", what: "age (pyrage)", least: None },
    Peer { name: "nacl_sealed_box", what: "PyNaCl sealed box", least: None },
    Peer { name: "jwe_a256kw", what: "JWE A256KW + A256GCM, jwcrypto", least: None },
    Peer { name: "fernet", what: "Fernet", least: Some(40.0) },
    Peer { name: "aes_gcm", what: "bare AES-256-GCM, cryptography", least: Some(18.0) },
    Peer { name: "json_alone", what: "json.loads + json.dumps, nothing sealed", least: None },
    Peer { name: "orjson_alone", what: "orjson, nothing sealed", least: None },
];

/// What people also use, and why it is not a row with a figure.
const NOT_MEASURED: &[(&str, &str)] = &[
    ("SOPS", "a program that seals whole files: a process and a data key for each event"),
    ("age, the program", "a process for each value; the library is measured above"),
    ("HashiCorp Vault Transit", "a server: a request for each event or batch, on more than one core"),
];

/// Longer than the slowest peer takes to be imported, verified and measured.
const LIMIT: Duration = Duration::from_secs(600);

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    let environment = environment::prepare()?;
    let events = environment.directory.join("events.jsonl");
    write_events(&events)?;
    let (count, rounds) = if effort == Effort::Full { (60_000, 7) } else { (15_000, 3) };
    let program = pii::whole_program_rates(count, rounds)?;
    table.information("`aegis pii encrypt`, whole program", format!("{:.0}/s", program.encrypt));
    table.information("`aegis pii decrypt`, whole program", format!("{:.0}/s", program.decrypt));
    let mut lines = Vec::new();
    for peer in PEERS {
        let line = run(peer, &environment, &events, effort)?;
        rows(peer, &line, &program, table);
        lines.push(line);
    }
    for verb in ["encrypt", "decrypt"] {
        let mut rates: Vec<f64> =
            lines.iter().filter_map(|line| number(line, &format!("ours_{verb}"))).collect();
        rates.sort_by(f64::total_cmp);
        let middle = rates.get(rates.len() / 2).copied().unwrap_or_default();
        table.information(&format!("our library beside them: {verb}"), format!("{middle:.0}/s"));
    }
    for (what, reason) in NOT_MEASURED {
        table.information(what, format!("not measured: {reason}"));
    }
    Ok(())
}

/// Those of the other rows: `examples/pii_speed.rs` makes them.
fn write_events(to: &Path) -> Outcome {
    let file = File::create(to).map_err(Failure::of(format_args!("make {}", to.display())))?;
    let status = Command::new(example("pii_speed")).args(["--events", "32"]).stdout(file).status();
    match status.map_err(Failure::of("run pii_speed"))?.success() {
        true => Ok(()),
        false => Err(Failure::new("pii_speed printed no events")),
    }
}

/// The line of JSON that the script prints of a peer; in the same form what kept it from that.
fn run(peer: &Peer, environment: &Environment, events: &Path, effort: Effort) -> Outcome<String> {
    let (rounds, seconds) = if effort == Effort::Full { ("5", "0.6") } else { ("2", "0.2") };
    let log = environment.directory.join(format!("{}.log", peer.name));
    let said = File::create(&log).map_err(Failure::of(format_args!("make {}", log.display())))?;
    let mut child = Command::new(&environment.python)
        .arg(environment::sources().join("peers.py"))
        .args([peer.name, "--rounds", rounds, "--seconds", seconds, "--events"])
        .arg(events)
        .arg("--ours")
        .arg(example("fields"))
        .env("OQS_INSTALL_PATH", &environment.liboqs)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said)
        .spawn()
        .map_err(Failure::of("run the script of the peers"))?;
    let deadline = Instant::now() + LIMIT;
    // It prints one line, which fits into the pipe: it never waits for a reader.
    while child.try_wait().map_err(Failure::of("wait for a peer"))?.is_none() {
        if Instant::now() > deadline {
            child.kill().map_err(Failure::of("end a peer"))?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().map_err(Failure::of("read what a peer printed"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let line = match printed.lines().next_back() {
        Some(line) if output.status.success() => line.to_owned(),
        _ => format!("{{\"not_measured\": \"ended with {}, see {}\"}}", output.status, log.display()),
    };
    println!("{line}");
    Ok(line)
}

fn rows(peer: &Peer, line: &str, program: &pii::WholeProgram, table: &mut Table) {
    let Peer { what, least, .. } = peer;
    if let Some(reason) = text(line, "not_measured") {
        table.information(what, format!("not measured: {reason}"));
        return;
    }
    let of = |key: &str| Some((number(line, key)?, number(line, &format!("{key}_times"))?));
    if let Some((rate, times)) = of("envelope_encrypt") {
        table.peer(&format!("{what}: encrypt"), rate, times, program.encrypt / rate, *least);
    }
    if let Some((rate, times)) = of("envelope_decrypt") {
        table.peer(&format!("  {what}: decrypt"), rate, times, program.decrypt / rate, None);
    }
    let short = |(rate, times): (f64, f64)| format!("{times:.1}x ({rate:.0}/s)");
    if let (Some(encrypt), Some(decrypt)) = (of("token_encrypt"), of("token_decrypt")) {
        let measured = format!("{}, {}", short(encrypt), short(decrypt));
        table.information(&format!("  {what}, bare token: encrypt, decrypt"), measured);
    }
    if let Some(copy) = of("copy_encrypt") {
        table.information(&format!("{what} (ours: encrypt)"), short(copy));
    }
}

/// A member of the script's line. It writes no escapes, and a space after each colon.
fn text<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\": \""))?;
    rest.split('"').next()
}

fn number(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{name}\": "))?;
    let number: f64 = rest.split([',', '}']).next()?.trim().parse().ok()?;
    (number > 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scheme_of_the_script_has_a_row() {
        let script = std::fs::read_to_string(environment::sources().join("schemes.py")).unwrap();
        let (_, listed) = script.split_once("for scheme in (").unwrap();
        let listed: BTreeSet<&str> = listed.split(')').next().unwrap().split(',').map(str::trim).collect();
        let rows: BTreeSet<&str> = PEERS.iter().map(|peer| peer.name).chain([""]).collect();
        assert_eq!(listed, rows);
    }

    #[test]
    fn reads_the_line_of_the_script() {
        let line =
            r#"{"peer": "fernet", "packages": "a 1, b 2", "token_encrypt": 3284.1, "token_decrypt": 0.0}"#;
        assert_eq!(text(line, "packages"), Some("a 1, b 2"));
        assert_eq!(text(line, "not_measured"), None);
        assert_eq!(number(line, "token_encrypt"), Some(3284.1));
        assert_eq!(number(line, "token_decrypt"), None, "nothing is done in no time");
        assert_eq!(number(line, "envelope_encrypt"), None);
    }
}
