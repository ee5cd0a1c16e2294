//! The main jobs on a clean machine, from the first key to a refused one: `cargo xtask quickstart`.
//!
//! Every command is printed before it runs and must end as it says; the machines are private directories.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};
use crate::scratch::{Keep, Scratch};
use crate::setup;

/// The file that the passphrase is read from.
const PASSPHRASE: &str = "passphrase";
const POLICY: &str = "examples/policies/web-server.conf";
const EVENTS: &str = "examples/events/governance.jsonl";
const INCIDENT_POLICY: &str = "examples/policies/web-server-incident.conf";

/// How a command must end.
#[derive(Clone, Copy)]
enum Expect {
    /// Exit 0.
    Done,
    /// Exit 1, and standard error says this.
    Refused(&'static str),
    /// Exit 1 and a report on standard output that says this: a host that needs a look.
    Degraded(&'static str),
}

/// Builds the programs and runs all of it; fails at the first command that does not end as expected.
pub(crate) fn run(keep: Keep) -> Outcome {
    setup::for_build()?;
    checkout::build(Profile::Debug, &["--quiet", "--package", "aegisbpf", "--package", "aegis"])?;
    run_built(keep)
}

/// The same with the programs as they were built last.
pub(crate) fn run_built(keep: Keep) -> Outcome {
    let scratch = Scratch::new("aegis-quickstart", keep)?;
    let tour = Tour { directory: scratch.path().to_path_buf() };
    for (name, source) in
        [("policy.conf", POLICY), ("policy-incident.conf", INCIDENT_POLICY), ("events.jsonl", EVENTS)]
    {
        let bytes = std::fs::read(checkout::root().join(source))
            .map_err(Failure::of(format_args!("read {source}")))?;
        scratch.write(name, &bytes)?;
    }
    println!("The keyring is in {0}/aegis, and a host is played by {0}/host.", tour.directory.display());
    tour.data_keys()?;
    tour.policy_keys()?;
    println!("\nEverything ended as it should. More: docs/runbooks/");
    Ok(())
}

struct Tour {
    directory: PathBuf,
}

impl Tour {
    /// Keys that protect data: `aegis` with its embedded defaults.
    fn data_keys(&self) -> Outcome {
        title("Keys that protect data");
        say("1. A KEK under a passphrase, a keyring, a first DEK.");
        self.passphrase()?;
        self.aegis("init", Expect::Done)?;
        self.aegis("kek status", Expect::Done)?;

        say(
            "2. Telemetry, with its personal fields sealed. Sealing needs no passphrase, and looking needs no key.",
        );
        self.aegis("pii encrypt events.jsonl -o sealed.jsonl.zst", Expect::Done)?;
        self.aegis("pii inspect sealed.jsonl.zst --check", Expect::Done)?;

        say("3. A new DEK is active from now on; what was sealed under the one before stays readable.");
        self.aegis("dek rotate", Expect::Done)?;
        self.aegis("dek list", Expect::Done)?;
        self.aegis("pii decrypt sealed.jsonl.zst -o opened.jsonl", Expect::Done)?;
        self.same("events.jsonl", "opened.jsonl")?;

        say("4. The KEK moves to another provider: rewrapped, read back, verified, switched.");
        self.aegis("kek provision --provider environment --out new-kek.env", Expect::Done)?;
        self.aegis("kek rotate --to new-kek.env --grace 30d", Expect::Done)?;
        self.aegis("kek verify", Expect::Done)?;

        say("5. Nothing is taken away by accident.");
        let active = self.active_dek()?;
        self.aegis(&format!("dek destroy {active}"), Expect::Refused("active"))?;

        say("6. One encrypted file to bring all of it back, and a log in which any later change is found.");
        self.aegis("backup create keyring.backup", Expect::Done)?;
        self.aegis("audit verify", Expect::Done)
    }

    /// Keys that sign policy: `aegisbpf`, on a host and on the machine of a signer.
    fn policy_keys(&self) -> Outcome {
        title("Keys that sign policy");
        say("1. A key pair, made where policies are signed. The host gets the public half only.");
        self.signer("keys generate --out signer --name 2026-spring", Expect::Done)?;
        self.host("keys add signer/2026-spring.pub", Expect::Done)?;

        say("2. A policy: checked, signed as version 1, verified, put in force.");
        self.host("policy lint policy.conf", Expect::Done)?;
        self.host(
            "policy sign policy.conf -o v1.signed --policy-version 1 --expires 90d --key signer/2026-spring.key",
            Expect::Done,
        )?;
        self.host("policy verify v1.signed", Expect::Done)?;
        self.host("policy apply v1.signed --require-signature", Expect::Done)?;

        say("3. What is not signed, or was changed by one letter, is refused.");
        self.host("policy apply policy.conf --require-signature", Expect::Refused("not signed"))?;
        self.change_one_letter("v1.signed", "v1-changed.signed")?;
        self.host(
            "policy apply v1-changed.signed --require-signature",
            Expect::Refused("error: cannot apply"),
        )?;

        say("4. Rotation: a new key is trusted beside the old one, and the next policy is signed with it.");
        self.signer("keys generate --out signer --name 2026-summer", Expect::Done)?;
        self.host("keys add signer/2026-summer.pub", Expect::Done)?;
        self.host("policy diff policy.conf policy-incident.conf", Expect::Done)?;
        self.host(
            "policy sign policy-incident.conf -o v2.signed --policy-version auto --expires 90d --key signer/2026-summer.key",
            Expect::Done,
        )?;
        self.host("policy apply v2.signed --require-signature", Expect::Done)?;
        self.host("policy explain policy-incident.conf 203.0.113.67:443", Expect::Done)?;

        say("5. An old bundle does not come back, however well it is signed.");
        self.host("policy apply v1.signed --require-signature", Expect::Refused("older than 2"))?;

        say("6. The old key is stolen: it is revoked, and nothing that it signs is believed again.");
        let old = self.key_id("signer/2026-spring.pub")?;
        self.host(&format!("keys revoke {old} --reason stolen-laptop"), Expect::Done)?;
        self.host("keys add signer/2026-spring.pub", Expect::Refused("revoked"))?;
        self.signer(
            "policy sign policy.conf -o v3-thief.signed --policy-version 3 --expires 90d --key signer/2026-spring.key",
            Expect::Done,
        )?;
        self.host("policy apply v3-thief.signed --require-signature", Expect::Refused("revoked"))?;
        self.host("keys list", Expect::Done)?;

        say(
            "7. Health says what needs a look. Exit 1 means degraded: until the kernel backend exists, nothing is enforced.",
        );
        self.host("policy counter show", Expect::Done)?;
        self.host("health", Expect::Degraded("enforce"))?;

        say("8. The log has every one of these decisions, and any later change to it is found.");
        self.host("audit verify", Expect::Done)?;
        self.host("audit query --outcome refused", Expect::Done)
    }

    /// Runs a command that concerns the host: `--root` puts every path of it below the directory.
    fn host(&self, arguments: &str, expect: Expect) -> Outcome {
        self.run("aegisbpf", &format!("--root host {arguments}"), expect)
    }

    /// Runs a command of the machine on which policies are signed.
    fn signer(&self, arguments: &str, expect: Expect) -> Outcome {
        self.run("aegisbpf", arguments, expect)
    }

    /// Runs a command that concerns the keyring.
    fn aegis(&self, arguments: &str, expect: Expect) -> Outcome {
        self.run("aegis", arguments, expect)
    }

    fn run(&self, program: &str, arguments: &str, expect: Expect) -> Outcome {
        println!("\n$ {program} {arguments}");
        let output = self.output(program, arguments)?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        for line in stdout.lines().chain(stderr.lines()) {
            println!("  {line}");
        }
        let code = output.status.code();
        let (wanted, text, says) = match expect {
            Expect::Done => (0, &stdout, ""),
            Expect::Refused(says) => (1, &stderr, says),
            Expect::Degraded(says) => (1, &stdout, says),
        };
        if wanted == 1 {
            println!("  (exit {})", code.map_or_else(|| "by a signal".to_owned(), |code| code.to_string()));
        }
        if code != Some(wanted) {
            return Err(Failure::new(format!(
                "`{program} {arguments}` should have ended with exit code {wanted}"
            )));
        }
        if !text.contains(says) {
            return Err(Failure::new(format!("`{program} {arguments}` should have said: {says}")));
        }
        Ok(())
    }

    fn output(&self, program: &str, arguments: &str) -> Outcome<std::process::Output> {
        let path = checkout::built(Profile::Debug, program);
        let mut command = Command::new(&path);
        command.args(arguments.split(' ')).current_dir(&self.directory).stdin(Stdio::null());
        // The variables of the caller's own machine must not lead out of the directory.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AEGIS_") {
                command.env_remove(name);
            }
        }
        if program == "aegis" {
            command.env("AEGIS_STATE_DIR", self.directory.join("aegis"));
            command.env("AEGIS_PASSPHRASE_FILE", self.directory.join(PASSPHRASE));
        }
        command.output().map_err(Failure::of(format_args!("run {}", path.display())))
    }

    /// A passphrase in a file that nobody else can read. Nobody will type it again.
    fn passphrase(&self) -> Outcome {
        let path = self.directory.join(PASSPHRASE);
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_err(Failure::of("read /proc/sys/kernel/random/uuid"))?;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.and_then(|mut file| file.write_all(random.as_bytes()))
            .map_err(Failure::of(format_args!("write {}", path.display())))
    }

    /// Compares two files.
    fn same(&self, one: &str, other: &str) -> Outcome {
        println!("\n$ cmp {one} {other}");
        let read = |name: &str| {
            std::fs::read(self.directory.join(name)).map_err(Failure::of(format_args!("read {name}")))
        };
        match read(one)? == read(other)? {
            true => Ok(()),
            false => Err(Failure::new(format!("{one} and {other} differ"))),
        }
    }

    /// The version of the active DEK.
    fn active_dek(&self) -> Outcome<String> {
        let output = self.output("aegis", "dek list --state active")?;
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = listing.lines().nth(1).and_then(|line| line.split_whitespace().next());
        version
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("`dek list --state active` lists none:\n{listing}")))
    }

    /// The id of a key as the host lists it.
    fn key_id(&self, public_key: &str) -> Outcome<String> {
        let name = Path::new(public_key).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let output = self.output("aegisbpf", "--root host keys list --json")?;
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        // One key an object, its id before its name: the last id before the name is the one.
        let before = listing.split_once(&format!("\"{name}\"")).map_or("", |(before, _)| before);
        let id = before
            .rsplit_once("\"id\": \"")
            .and_then(|(_, rest)| rest.get(..64))
            .ok_or_else(|| Failure::new(format!("`keys list --json` does not list {name}:\n{listing}")))?;
        Ok(id.to_owned())
    }

    /// Copies a bundle with one letter of its last line changed.
    fn change_one_letter(&self, from: &str, to: &str) -> Outcome {
        let mut bytes =
            std::fs::read(self.directory.join(from)).map_err(Failure::of(format_args!("read {from}")))?;
        let last = bytes
            .iter_mut()
            .rev()
            .find(|byte| byte.is_ascii_lowercase())
            .ok_or_else(|| Failure::new(format!("{from} has no letter")))?;
        *last = if *last == b'x' { b'y' } else { b'x' };
        std::fs::write(self.directory.join(to), bytes).map_err(Failure::of(format_args!("write {to}")))
    }
}

fn title(text: &str) {
    println!("\n==== {text}");
}

fn say(text: &str) {
    println!("\n== {text}");
}
