//! Bundles at the wrong time, and hosts that do not know the time.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use super::refuses_bytes;
use crate::forge::{Forgery, key, manifest_between};
use crate::host::{Host, PROGRAM, Run, clean};
use crate::tools;

fn between(host: &Host, version: u64, from_hours: i64, to_hours: i64) -> Vec<u8> {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let at = |hours: i64| now + SignedDuration::from_hours(hours);
    let mut forgery = Forgery::new(version);
    forgery.manifest = manifest_between(version, &forgery.policy, at(from_hours), at(to_hours));
    forgery.signed_by(&[&key(host, "first")])
}

#[test]
fn refuses_what_has_expired_or_is_not_yet_valid() {
    let host = Host::in_force(&[5]);
    refuses_bytes(&host, "expired an hour ago", &between(&host, 6, -48, -1), "it expired at");
    refuses_bytes(&host, "expires now", &between(&host, 6, -48, 0), "it expired at");
    refuses_bytes(&host, "from tomorrow", &between(&host, 6, 24, 48), "it was issued at");
    refuses_bytes(&host, "from 2200", &between(&host, 6, 24 * 365 * 170, 24 * 365 * 171), "it was issued at");
}

/// Runs the program as on a host whose clock says `time`.
fn at(host: &Host, time: &str, arguments: &[&str]) -> Run {
    let mut command = Command::new("faketime");
    clean(&mut command).env("NO_FAKE_STAT", "1").args(["-f", time, PROGRAM]);
    command.arg("--root").arg(host.rooted("")).args(arguments).current_dir(host.dir());
    Run::of(command)
}

#[test]
fn refuses_new_policy_while_the_clock_cannot_be_right() {
    if !tools::need("refuses_new_policy_while_the_clock_cannot_be_right", &["faketime"]) {
        return;
    }
    let host = Host::in_force(&[5]);
    host.sign(6, "first");
    let apply = ["policy", "apply", "v6.signed", "--require-signature"];
    for time in ["@1970-01-01 00:00:01", "@1980-01-01 00:00:00", "@2023-12-31 12:00:00"] {
        host.refuses_run(|| at(&host, time, &apply), time, "which cannot be");
    }
    let health = at(&host, "@1970-01-02 00:00:00", &["health", "--json"]);
    assert_eq!(health.code, Some(2), "{}", health.stdout);
    // A clock that is merely behind: the bundle seems to come from the future.
    host.refuses_run(|| at(&host, "@2025-01-01 00:00:00", &apply), "behind", "it was issued at");
    host.ok(&apply);
}

#[test]
fn expiry_never_takes_the_policy_in_force_out_of_it() {
    if !tools::need("expiry_never_takes_the_policy_in_force_out_of_it", &["faketime"]) {
        return;
    }
    let host = Host::in_force(&[5]);
    host.sign(6, "first");
    // 90 days are over: the policy in force is loaded again at start-up, a new one of that age is refused.
    let later = "+200d";
    let again = at(&host, later, &["policy", "apply", "v5.signed", "--require-signature"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let applied = host.rooted("var/lib/aegisbpf/policy.applied").display().to_string();
    let again = at(&host, later, &["policy", "apply", &applied, "--require-signature"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let new = || at(&host, later, &["policy", "apply", "v6.signed", "--require-signature"]);
    host.refuses_run(new, "expired", "it expired at");
    let health = at(&host, later, &["health", "--json"]);
    let checks = health.json()["checks"].as_array().unwrap().clone();
    let expiry = checks.iter().find(|check| check["name"] == "expiry").unwrap();
    assert_eq!(expiry["status"], "degraded", "{expiry}");
    let soon = at(&host, "+80d", &["health", "--json"]).json();
    let expiry =
        soon["checks"].as_array().unwrap().iter().find(|check| check["name"] == "expiry").unwrap().clone();
    assert_eq!(expiry["status"], "degraded", "announced ahead: {expiry}");
}
