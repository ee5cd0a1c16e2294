//! A machine whose clock is years off: no key is made then, it is said, and what such a clock left can be replaced.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use test_services::tools;

use crate::program::{command, dir, expect, run};

/// Runs the program at another time.
fn at(dir: &Path, time: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let here = command(dir);
    let mut faked = Command::new("faketime");
    faked.args(["-f", time]).arg(here.get_program()).args(arguments).current_dir(dir);
    for (name, value) in here.get_envs() {
        match value {
            Some(value) => faked.env(name, value),
            None => faked.env_remove(name),
        };
    }
    let output = faked.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// The check of the clock: how it stands, and what is to be done.
fn clock(report: &str) -> (String, String) {
    let report: Value = serde_json::from_str(report).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "clock").unwrap();
    let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
    (text("status"), text("help"))
}

#[test]
fn a_clock_in_the_past_makes_no_dek_and_is_said() {
    if !tools::need("a_clock_in_the_past_makes_no_dek_and_is_said", &["faketime"]) {
        return;
    }
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    let before = expect(dir, 0, &["dek", "list", "--json"]);
    let past = "@1970-01-01 00:00:10";
    for arguments in [&["dek", "rotate"][..], &["dek", "create", "--scope", "billing"]] {
        let (code, said) = at(dir, past, arguments);
        assert_eq!(code, Some(1), "{arguments:?} {said}");
        assert!(said.contains("the clock says 1970-01-01") && said.contains("set the clock"), "{said}");
    }
    let (code, said) = at(dir, past, &["dek", "rotate", "--if-due"]);
    assert!(code == Some(0) && said.contains("the clock is behind"), "{said}");
    assert_eq!(expect(dir, 0, &["dek", "list", "--json"]), before);
    let (code, said) = at(dir, past, &["doctor", "--json"]);
    assert_eq!((code, clock(&said).0.as_str()), (Some(1), "failed"), "{said}");
    assert_eq!(clock(&expect(dir, 0, &["doctor", "--json"])).0, "ok");
}

#[test]
fn a_dek_made_in_the_future_is_said_and_can_be_replaced() {
    if !tools::need("a_dek_made_in_the_future_is_said_and_can_be_replaced", &["faketime"]) {
        return;
    }
    let dir = dir();
    let dir = dir.path();
    expect(dir, 0, &["init"]);
    let (code, said) = at(dir, "@2099-01-01 12:00:00", &["dek", "rotate"]);
    assert_eq!(code, Some(0), "{said}");
    let ahead = "dek-v1-20990101";
    assert!(expect(dir, 0, &["dek", "rotate", "--if-due", "--json"]).contains("clock_went_back"));
    let refused = run(dir, &["dek", "rotate"]);
    let remedy = format!("aegis dek rotate --scope default --replace {ahead}");
    assert!(String::from_utf8(refused.stderr).unwrap().contains(&remedy));
    let (status, help) = clock(&expect(dir, 1, &["doctor", "--json"]));
    assert!(status == "failed" && help.contains(&remedy), "{status} {help}");
    expect(dir, 1, &["dek", "rotate", "--replace", "dek-v1-20980101"]);
    expect(dir, 0, &remedy.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(clock(&expect(dir, 0, &["doctor", "--json"])).0, "ok");
    expect(dir, 0, &["dek", "rotate"]);
}
