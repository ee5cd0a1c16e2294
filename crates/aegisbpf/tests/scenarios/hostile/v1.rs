//! The older format, in which digits could move between fields under one signature.

use super::refuses_bytes;
use crate::host::Host;

/// A host that has accepted nothing yet, and a version 1 bundle for it.
fn host(expires: &str) -> (Host, String) {
    let host = Host::with_key();
    host.ok(&[
        "policy",
        "sign",
        "policy.conf",
        "-o",
        "old.signed",
        "--policy-version",
        "7",
        "--expires",
        expires,
        "--key",
        "signer/first.key",
        "--format",
        "v1",
    ]);
    let text = std::fs::read_to_string(host.file("old.signed")).unwrap();
    (host, text)
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap()
}

#[track_caller]
fn refuses(host: &Host, name: &str, text: &str, because: &str) {
    std::fs::write(host.file("offered.signed"), text).unwrap();
    let apply = || host.run(&["policy", "apply", "offered.signed", "--require-signature", "--allow-v1"]);
    host.refuses_run(apply, name, because);
}

#[test]
fn is_read_only_when_asked_for_and_never_after_version_2() {
    let (host, old) = host("never");
    refuses_bytes(&host, "not asked for", old.as_bytes(), "version 1 bundle");
    host.ok(&["policy", "apply", "old.signed", "--require-signature", "--allow-v1"]);
    assert_eq!(host.counter(), Some(7));
    host.sign(8, "first");
    host.ok(&["policy", "apply", "v8.signed", "--require-signature"]);
    host.ok(&[
        "policy",
        "sign",
        "policy.conf",
        "-o",
        "later.signed",
        "--policy-version",
        "9",
        "--key",
        "signer/first.key",
        "--format",
        "v1",
    ]);
    let later = std::fs::read_to_string(host.file("later.signed")).unwrap();
    refuses(&host, "after version 2", &later, "this host has accepted a version 2 bundle before");
    refuses(&host, "the old one again", &old, "this host has accepted a version 2 bundle before");
}

#[test]
fn refuses_digits_moved_between_fields_in_every_way() {
    for expires in ["never", "90d"] {
        let (host, text) = host(expires);
        let [version, timestamp, expiry] =
            ["policy_version: ", "timestamp: ", "expires: "].map(|name| field(&text, name));
        let digits = format!("{version}{timestamp}{expiry}");
        let with = |a: &str, b: &str, c: &str| {
            text.replacen(&format!("policy_version: {version}\n"), &format!("policy_version: {a}\n"), 1)
                .replacen(&format!("timestamp: {timestamp}\n"), &format!("timestamp: {b}\n"), 1)
                .replacen(&format!("expires: {expiry}\n"), &format!("expires: {c}\n"), 1)
        };
        assert_eq!(with(version, timestamp, expiry), text);
        let mut moved = 0;
        for first in 0..=digits.len() {
            for second in first..=digits.len() {
                let (a, b, c) = (&digits[..first], &digits[first..second], &digits[second..]);
                if (a, b, c) != (version, timestamp, expiry) {
                    refuses(&host, &format!("{a} {b} {c}"), &with(a, b, c), "");
                    moved += 1;
                }
            }
        }
        assert_eq!(moved, (digits.len() + 1) * (digits.len() + 2) / 2 - 1);
        // From the end of the digest into the version, and back.
        let digest = field(&text, "policy_sha256: ").to_owned();
        for count in 1..=3 {
            let (rest, tail) = digest.split_at(digest.len() - count);
            let changed = with(&format!("{tail}{version}"), timestamp, expiry).replacen(&digest, rest, 1);
            refuses(&host, "from the digest", &changed, "");
        }
        let changed = with("", timestamp, expiry).replacen(&digest, &format!("{digest}{version}"), 1);
        refuses(&host, "into the digest", &changed, "");
        host.ok(&["policy", "apply", "old.signed", "--require-signature", "--allow-v1"]);
    }
}

#[test]
fn refuses_headers_out_of_order_repeated_or_bent() {
    let (host, text) = host("90d");
    let line = |name: &str| format!("{name}{}\n", field(&text, name));
    let (version, timestamp) = (line("policy_version: "), line("timestamp: "));
    let bend = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let signature = field(&text, "signature: ").to_owned();
    for (name, changed) in [
        ("swapped", bend(&format!("{version}{timestamp}"), &format!("{timestamp}{version}"))),
        ("repeated", bend(&version, &format!("{version}{version}"))),
        ("missing", bend(&version, "")),
        ("leading zero", bend("policy_version: 7", "policy_version: 07")),
        ("plus", bend("policy_version: 7", "policy_version: +7")),
        ("zero", bend("policy_version: 7", "policy_version: 0")),
        ("ten digits", bend("policy_version: 7", "policy_version: 7000000000")),
        ("two spaces", bend("policy_version: ", "policy_version:  ")),
        ("trailing space", bend("policy_version: 7", "policy_version: 7 ")),
        ("another format", bend("format_version: 1", "format_version: 2")),
        ("separator among the headers", bend(&timestamp, &format!("---\n{timestamp}"))),
        ("CRLF", text.replace('\n', "\r\n")),
        ("NUL", bend("policy_version: 7", "policy_version: 7\0")),
        ("signature in capitals", bend(&signature, &signature.to_uppercase())),
        ("signature cut", bend(&signature, &signature[..126])),
        ("policy grown", format!("{text}/etc/passwd\n")),
        ("policy cut", text.trim_end().to_owned()),
    ] {
        refuses(&host, name, &changed, "");
    }
    host.ok(&["policy", "apply", "old.signed", "--require-signature", "--allow-v1"]);
}
