//! Reads the commands out of a document and runs them as they stand.
//!
//! | in the text | what it means |
//! |---|---|
//! | ` ```console ` | lines with `$ ` are commands (`> ` continues one); lines after them must be in the output, in order |
//! | ` ```sh ` | a script that must end with 0 |
//! | ` ```text `, `json`, `toml`, `conf` | not run |
//! | `# refused` after a command | it must end with 1; `# exit N` with N |
//! | `…` in a line of output | any text |
//! | `needs=A,B` after the language | the block is skipped, aloud, where one of these programs is missing |
//! | `needs=aws-kms` | the same for an emulator of AWS KMS with a key `alias/aegis-kek`; the variables of AWS lead to it |
//!
//! Nothing in the text is changed. `sudo` and `aegisbpf` are scripts on the `PATH` that put `/etc/aegisbpf`,
//! `/var/lib/aegisbpf` and `/srv` below a private directory, in arguments as well as in the variables of `aegisbpf`.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use test_services::kms::{Kms, REGION};

use super::program;

/// One command with what the text says of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) exit: i32,
    pub(crate) output: Vec<String>,
    /// A script ends at its first failing line.
    pub(crate) script: bool,
    pub(crate) needs: Vec<String>,
}

/// The commands of a document, in order.
pub(crate) fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default().to_owned();
        let needs = words.find_map(|word| word.strip_prefix("needs=")).unwrap_or_default();
        let needs: Vec<String> =
            needs.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let block: Vec<(usize, &str)> = lines
            .by_ref()
            .take_while(|(_, line)| line.trim_end() != "```")
            .map(|(n, line)| (n + 1, line))
            .collect();
        match language.as_str() {
            "console" => console(&block, &needs, &mut steps)?,
            "sh" => steps.push(Step {
                line: number + 1,
                command: block.iter().map(|(_, line)| format!("{line}\n")).collect(),
                exit: 0,
                output: Vec::new(),
                script: true,
                needs,
            }),
            "text" | "json" | "toml" | "conf" => {}
            other => {
                return Err(format!("line {}: a block of the language {other:?} is not known", number + 1));
            }
        }
    }
    Ok(steps)
}

fn console(block: &[(usize, &str)], needs: &[String], steps: &mut Vec<Step>) -> Result<(), String> {
    let mut current: Option<Step> = None;
    for (number, line) in block {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.extend(current.take());
            current = Some(Step {
                line: *number,
                command: format!("{command}\n"),
                exit: 0,
                output: Vec::new(),
                script: false,
                needs: needs.to_vec(),
            });
        } else if let Some(step) = &mut current {
            match line.strip_prefix("> ").or_else(|| (*line == ">").then_some("")) {
                Some(more) if step.output.is_empty() => {
                    let _ = writeln!(step.command, "{more}");
                }
                _ if line.trim().is_empty() => {}
                _ => step.output.push((*line).to_owned()),
            }
        } else {
            return Err(format!("line {number}: output without a command"));
        }
    }
    steps.extend(current);
    for step in steps {
        step.exit = annotated_exit(&step.command).map_err(|error| format!("line {}: {error}", step.line))?;
    }
    Ok(())
}

/// What the comment at the end of a command says of its exit code.
fn annotated_exit(command: &str) -> Result<i32, String> {
    let last = command.lines().next_back().unwrap_or_default();
    let Some((_, comment)) = last.rsplit_once(" # ") else { return Ok(0) };
    let comment = comment.trim();
    if comment.starts_with("refused") {
        return Ok(1);
    }
    match comment.strip_prefix("exit ") {
        Some(rest) => {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().map_err(|_| format!("no exit code in {comment:?}"))
        }
        None => Ok(0),
    }
}

/// What `needs=` calls the emulator of AWS KMS.
pub(crate) const AWS_KMS: &str = "aws-kms";

/// A machine for one document.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    kms: Option<Kms>,
}

impl Machine {
    /// A host that was never used, and a working directory with a policy and our scripts.
    pub(crate) fn new() -> Self {
        let machine = Self { directory: program::scratch(), kms: None };
        for directory in ["bin", "work", "host/etc/aegisbpf", "host/var/lib", "host/srv"] {
            std::fs::create_dir_all(machine.at(directory)).unwrap();
        }
        let policy = program::root().join("examples/policies/web-server.conf");
        std::fs::copy(&policy, machine.at("work/policy.conf")).unwrap();
        std::fs::copy(&policy, machine.at("host/etc/aegisbpf/policy.conf")).unwrap();
        let incident = program::root().join("examples/policies/web-server-incident.conf");
        std::fs::copy(incident, machine.at("work/policy-incident.conf")).unwrap();
        for (name, events) in [("events.jsonl", "governance.jsonl"), ("approvals.json", "approvals.json")] {
            let events = program::root().join("examples/events").join(events);
            std::fs::copy(events, machine.at("work").join(name)).unwrap();
        }
        std::os::unix::fs::symlink(program::root().join("scripts"), machine.at("work/scripts")).unwrap();
        machine.script("sudo", &format!("{REWRITE}exec \"${{arguments[@]}}\"\n"));
        let aegisbpf = program::aegisbpf().display();
        machine.script("aegisbpf", &format!("{REWRITE}{VARIABLES}exec '{aegisbpf}' \"${{arguments[@]}}\"\n"));
        machine
            .script("aegis", &format!("#!/usr/bin/env bash\nexec '{}' \"$@\"\n", program::aegis().display()));
        std::fs::write(machine.at("state"), "").unwrap();
        machine
    }

    /// Starts the emulator of AWS KMS, and whether it could be. The variables of AWS are those of the steps to come.
    pub(crate) fn has_kms(&mut self) -> bool {
        if self.kms.is_none() {
            let Some(kms) = Kms::moto() else { return false };
            kms.alias(REGION, "alias/aegis-kek", &kms.key(REGION));
            let variables = [
                ("AWS_ENDPOINT_URL", kms.url().as_str()),
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ]
            .map(|(name, value)| format!("export {name}='{value}'\n"));
            let mut state = std::fs::read_to_string(self.at("state")).unwrap();
            state.push_str(&variables.concat());
            std::fs::write(self.at("state"), state).unwrap();
            self.kms = Some(kms);
        }
        true
    }

    /// Runs one step; the variables and the directory that it leaves are those of the next.
    pub(crate) fn run(&self, step: &Step) -> Result<(), String> {
        // Every variable is exported, so that the next step has it.
        let shell = if step.script { "set -euo pipefail" } else { "set -o pipefail" };
        std::fs::write(self.at("command"), &step.command).unwrap();
        let command = format!(
            "cd '{work}'; . '{state}'; {shell}; set -o allexport\n. '{command}'\nended=$?\nexport -p > '{state}'; exit $ended",
            work = self.at("work").display(),
            state = self.at("state").display(),
            command = self.at("command").display(),
        );
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        let output = Command::new("timeout")
            .args([
                "--kill-after=5",
                "120",
                "bash",
                "--noprofile",
                "--norc",
                "-c",
                &format!("exec 2>&1; umask 022; {command}"),
            ])
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.at("work"))
            .env("LC_ALL", "C.UTF-8")
            .env("AEGIS_DOCUMENT_HOST", self.at("host"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = format!("line {}: {}", step.line, step.command.trim_end());
        // Shown if the test fails: what was done before.
        println!("{place}\n{said}");
        if output.status.code() != Some(step.exit) {
            return Err(format!(
                "{place}\nended with {}, not with exit code {}:\n{said}",
                output.status, step.exit
            ));
        }
        let mut rest = said.lines();
        for expected in &step.output {
            if !rest.any(|line| matches(expected, line)) {
                return Err(format!(
                    "{place}\nthe output has no line (or not in this place) like:\n{expected}\nit is:\n{said}"
                ));
            }
        }
        Ok(())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path: &Path = &self.at("bin").join(name);
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Puts the paths of a host below the private directory.
const REWRITE: &str = r#"#!/usr/bin/env bash
set -euo pipefail
arguments=()
for argument in "$@"; do
    case $argument in
        /etc/aegisbpf | /etc/aegisbpf/* | /var/lib/aegisbpf | /var/lib/aegisbpf/* | /srv/*) argument=$AEGIS_DOCUMENT_HOST$argument ;;
    esac
    arguments+=("$argument")
done
"#;

/// Tells `aegisbpf` where the host is, unless the text names a root of its own.
const VARIABLES: &str = r#"
if [[ " $* " != *" --root"* ]]; then
    export AEGIS_CONFIG_DIR=$AEGIS_DOCUMENT_HOST/etc/aegisbpf AEGIS_KEYS_DIR=$AEGIS_DOCUMENT_HOST/etc/aegisbpf/keys
    export AEGIS_STATE_DIR=$AEGIS_DOCUMENT_HOST/var/lib/aegisbpf
    export AEGIS_VERSION_COUNTER_PATH=$AEGIS_DOCUMENT_HOST/var/lib/aegisbpf/version_counter
fi
"#;

/// Whether a line of output is what the text shows, where `…` stands for any text.
fn matches(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => line.trim_end() == expected.trim_end(),
        Some((start, rest)) => {
            line.strip_prefix(start).is_some_and(|line| matches_after_ellipsis(rest, line))
        }
    }
}

fn matches_after_ellipsis(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => line.trim_end().ends_with(expected.trim_end()),
        Some((middle, rest)) => {
            line.split_once(middle).is_some_and(|(_, line)| matches_after_ellipsis(rest, line))
        }
    }
}

#[test]
fn reads_commands_exit_codes_and_output() {
    let text = "a\n```console needs=tool,other\n$ one \\\n>   two  # refused: old\nerror: …\n$ three\n```\n```sh\nfour\n```\n```text\n$ five\n```\n";
    let steps = steps(text).unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!(steps[0].command, "one \\\n  two  # refused: old\n");
    assert_eq!((steps[0].exit, steps[0].output.as_slice()), (1, ["error: …".to_owned()].as_slice()));
    assert_eq!((steps[0].line, steps[0].needs.join(" ")), (3, "tool other".to_owned()));
    assert_eq!((steps[1].command.as_str(), steps[1].exit, steps[1].script), ("three\n", 0, false));
    assert_eq!((steps[2].command.as_str(), steps[2].script), ("four\n", true));
}

#[test]
fn refuses_a_block_that_would_be_passed_over() {
    assert!(super::document::steps("```\naegisbpf health\n```\n").is_err());
    assert!(super::document::steps("```console\naegisbpf health\n```\n").is_err());
}

#[test]
fn an_ellipsis_stands_for_any_text_and_nothing_else_does() {
    assert!(matches("key … is in force", "key 3f9a is in force"));
    assert!(matches("trusted: key …", "trusted: key 3f9a as b"));
    assert!(matches("…as b", "trusted: key 3f9a as b"));
    assert!(!matches("trusted: key", "trusted: key 3f9a"));
    assert!(!matches("key … is in force", "key 3f9a is out"));
}

#[test]
fn a_command_that_ends_otherwise_than_the_text_says_is_found() {
    let machine = Machine::new();
    let run = |text: &str| steps(text).unwrap().iter().try_for_each(|step| machine.run(step));
    run("```console\n$ name=one\n$ export name; sudo ls /etc/aegisbpf\npolicy.conf\n$ echo \"$name\"\none\n```").unwrap();
    assert!(run("```console\n$ false\n```").is_err());
    assert!(run("```console\n$ true  # refused\n```").is_err());
    assert!(run("```console\n$ echo one\ntwo\n```").is_err());
    assert!(run("```sh\nfalse\ntrue\n```").is_err());
    assert!(run("```console\n$ (exit 2)  # exit 2: degraded\n```").is_ok());
}
