//! The guide to enforcement, line by line, in a machine whose kernel has BPF-LSM.

use std::path::Path;
use std::time::Duration;

use test_services::scratch;
use test_services::vm::{self, Kernel, Machine};

const GUIDE: &str = include_str!("../../../../docs/guides/enforce-on-a-host.md");

/// The agent that the guide has a unit start.
const AGENT: &str = "aegisbpf run >/tmp/agent 2>&1 &\n\
    for _ in $(seq 100); do grep -q 'reading events' /tmp/agent && break; usleep 100000; done\n";

/// The commands, and whether each must fail.
fn commands() -> Vec<(&'static str, bool)> {
    let mut console = false;
    let mut found = Vec::new();
    for line in GUIDE.lines() {
        match line {
            "```console" => console = true,
            "```" => console = false,
            _ if console => {
                let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("not a command: {line}"));
                let refused = command.strip_suffix("  # refused");
                found.push((refused.unwrap_or(command), refused.is_some()));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_guide_works_on_the_newest_kernel() {
    if !vm::need("every_command_of_the_guide_works_on_the_newest_kernel", Kernel::New) {
        return;
    }
    let commands = commands();
    assert!(commands.len() > 20, "{commands:?}");
    let mut script =
        "mkdir -p /srv /etc/aegisbpf /var/lib /w\ncd /w || exit 1\necho secret >/srv/secret\n".to_owned();
    for (number, (command, refused)) in commands.iter().enumerate() {
        script.push_str(&format!("{{ {command}\n}} >/tmp/out 2>&1\n"));
        let failed = format!("echo failed: {number}; cat /tmp/out");
        let held = format!("echo held: {number}");
        let (good, bad) = if *refused { (failed, held) } else { (held, failed) };
        script.push_str(&format!("if [ $? = 0 ]; then {good}; else {bad}; fi\n"));
        if command.ends_with("--mode audit") {
            script.push_str(AGENT);
        }
        // What a command of the guide is shown for.
        if *command == "cat /srv/secret" && *refused {
            script.push_str("grep -q 'not permitted' /tmp/out || echo failed: not denied\n");
        }
        if *command == "cat /srv/secret" && !*refused {
            script.push_str("usleep 2500000\n");
        }
        if command.starts_with("aegisbpf events") {
            script.push_str("grep -q /srv/secret /tmp/out || echo failed: no event\n");
        }
    }
    script.push_str("echo done\n");
    let dir = scratch::dir();
    let file = dir.path().join("guide.sh");
    std::fs::write(&file, script).unwrap();
    let outcome = Machine::new(Kernel::New)
        .file(Path::new(env!("CARGO_BIN_EXE_aegisbpf")), "/usr/sbin/aegisbpf")
        .file(&file, "/t/guide.sh")
        .timeout(Duration::from_secs(300))
        .run(&["sh", "/t/guide.sh"]);
    let said = outcome.success();
    assert!(!said.contains("failed: ") && said.ends_with("done\n"), "{commands:#?}\n{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("held: ")).count(), commands.len(), "{said}");
}
