//! `policy test`, natively: with rules for the network, which a control group enforces on any kernel.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_enforce::group_mount;
use test_services::tools;

use crate::program::{VARIABLES, run};

const POLICY: &str = "version=1\n[deny_ip]\n192.0.2.77\n";

/// Whether a command can be tried here at all.
#[track_caller]
fn supported(test: &str, dir: &Path) -> bool {
    fs::write(dir.join("policy.conf"), POLICY).unwrap();
    let output = run(dir, &["policy", "test", "policy.conf", "--", "true"]);
    output.status.success() || tools::skip(test, &String::from_utf8_lossy(&output.stderr).replace('\n', ";"))
}

#[test]
fn standard_output_has_the_report_alone_in_json() {
    let dir = tempfile::tempdir().unwrap();
    if !supported("standard_output_has_the_report_alone_in_json", dir.path()) {
        return;
    }
    let arguments = ["policy", "test", "policy.conf", "--json", "--", "sh", "-c", "echo hello; exit 7"];
    let output = run(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(7));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["exit_code"], &report["denied"]), (&7.into(), &0.into()));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "hello\n");
    let output = run(dir.path(), &["policy", "test", "policy.conf", "--", "echo", "hello"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "hello\n");
}

#[test]
fn a_signal_ends_the_command_too_and_leaves_no_control_group() {
    let dir = tempfile::tempdir().unwrap();
    if !supported("a_signal_ends_the_command_too_and_leaves_no_control_group", dir.path()) {
        return;
    }
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        // It ignores both, and its child outlives it.
        let script = "trap '' INT TERM; sleep 600 & echo $! >started.new; mv started.new started; wait";
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegisbpf"));
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.args(["policy", "test", "policy.conf", "--", "sh", "-c", script]).current_dir(dir.path());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = dir.path().join("started");
        wait_until(&mut child, || started.exists());
        let sleeper = fs::read_to_string(&started).unwrap();
        fs::remove_file(&started).unwrap();
        let group = group_mount().unwrap().join(format!("aegisbpf-test-{}", child.id()));
        assert!(group.exists());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!group.exists(), "{}", group.display());
        // Gone, or a corpse that nobody has buried yet.
        let state = fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}

fn wait_until(child: &mut Child, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end && child.try_wait().unwrap().is_none(), "it did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where nothing but fanotify enforces a section, one command cannot be tried under it; and that is not kept quiet.
#[test]
fn what_is_enforced_for_the_whole_host_is_not_tried_on_one_command() {
    let test = "what_is_enforced_for_the_whole_host_is_not_tried_on_one_command";
    let dir = tempfile::tempdir().unwrap();
    if !supported(test, dir.path()) {
        return;
    }
    fs::write(dir.path().join("secret"), "").unwrap();
    let secret = dir.path().join("secret");
    fs::write(dir.path().join("files.conf"), format!("{POLICY}[deny_path]\n{}\n", secret.display())).unwrap();
    let command = ["--", "cat", "secret"];
    let output = run(dir.path(), &[&["policy", "test", "files.conf"], &command[..]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "either the policy or the program says no: {stderr}");
    if stderr.contains("denied open of") {
        return; // BPF-LSM has it.
    }
    assert!(stderr.contains("[deny_path] cannot be tried on one command"), "{stderr}");
    let arguments = [&["policy", "test", "files.conf", "--audit-unenforced"], &command[..]].concat();
    let output = run(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr).unwrap().contains("warning: [deny_path] is not tried"));
}
