//! No secret in anything that can be read, at any time: what the program prints, its arguments while it runs, the files
//! of the state directory, backups, what is left in a core file.
//!
//! The secrets are those that the test knows or can come by: the passphrase, a PIN, private halves of KEKs, and the
//! private halves of the DEKs, which it opens itself. Each is looked for raw, as hex in either case, and as base64 at
//! each of its three alignments.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use aegis_crypto::HybridPrivateKey;
use aegis_kek::Kek;
use aegis_keyring::clock::SystemClock;
use aegis_keyring::{Keyring, Retired, SqliteStore};
use base64ct::{Base64, Encoding as _};
use test_services::tools;

use crate::machine::{Machine, PASSPHRASE};

const PIN: &str = "4711-0815-pin-of-a-token";
/// Of a long secret, any piece of so many bytes counts.
const PIECE: usize = 24;

/// Secrets, and the forms in which they are looked for.
#[derive(Default)]
struct Secrets {
    needles: Vec<(String, Vec<u8>)>,
}

impl Secrets {
    fn add(&mut self, name: &str, secret: &[u8]) {
        // The first piece, the last, and one of each kilobyte between: X25519, then the parts of ML-KEM.
        let last = secret.len().saturating_sub(PIECE);
        let starts = (0..last).step_by(600).chain([last]);
        for start in starts {
            let piece = &secret[start..secret.len().min(start + PIECE)];
            let mut put = |form: &str, bytes: Vec<u8>| {
                self.needles.push((format!("{name} at {start}, {form}"), bytes));
            };
            put("raw", piece.to_vec());
            put("hex", hex::encode(piece).into_bytes());
            put("HEX", hex::encode_upper(piece).into_bytes());
            for skip in 0..3 {
                // Without the characters that depend on what stands before and after.
                let whole = &piece[skip..];
                let whole = &whole[..whole.len() / 3 * 3];
                put("base64", Base64::encode_string(whole).into_bytes());
            }
        }
    }

    /// A private key, without what is public in it: ML-KEM keeps its public half and the hash of that among the rest
    /// (FIPS 203, §7.1: dk = dk_PKE ‖ ek ‖ H(ek) ‖ z).
    fn add_private_key(&mut self, name: &str, key: &[u8]) {
        assert_eq!(key.len(), 32 + 1152 + 1184 + 32 + 32);
        self.add(&format!("X25519 of {name}"), &key[..32]);
        self.add(&format!("ML-KEM of {name}"), &key[32..32 + 1152]);
        self.add(&format!("z of {name}"), &key[2400..]);
    }

    /// What of them is in `bytes`.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let found = self.needles.iter().filter(|(_, needle)| {
            bytes.windows(needle.len()).any(|window| window[0] == needle[0] && window == needle.as_slice())
        });
        found.map(|(name, _)| name.as_str()).collect()
    }

    #[track_caller]
    fn not_in(&self, what: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{what} holds {found:?}");
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

/// The private half in a file of variables.
fn private_key(machine: &Machine, file: &str) -> Vec<u8> {
    let text = fs::read_to_string(machine.file(file)).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("AEGIS_MASTER_KEK_PRIVATE=")).unwrap();
    Base64::decode_vec(value.trim_matches('\'')).unwrap()
}

/// The private halves of all DEKs, opened with a KEK.
fn dek_private_keys(machine: &Machine, kek: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let store = SqliteStore::open(&machine.file("state/keyring.sqlite")).unwrap();
    let keyring = Keyring::new(Arc::new(store), Arc::new(SystemClock));
    let kek = Kek::new(HybridPrivateKey::import(kek).unwrap());
    let deks = machine.deks();
    let versions = deks.iter().map(|dek| dek["version"].as_str().unwrap());
    versions
        .map(|version| {
            let dek = keyring.open(version.parse().unwrap(), &kek, Retired::Allow).unwrap();
            (version.to_owned(), dek.private_key().dangerous_expose().to_vec())
        })
        .collect()
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let secret: Vec<u8> = (0..=255).cycle().take(2432).collect();
    let mut secrets = Secrets::default();
    secrets.add("key", &secret);
    for (shift, form) in [
        (0, Base64::encode_string(&secret)),
        (1, Base64::encode_string(&[&b"x"[..], &secret].concat())),
        (2, Base64::encode_string(&[&b"xy"[..], &secret].concat())),
        (3, hex::encode(&secret)),
    ] {
        assert!(!secrets.found_in(format!("before {form} after").as_bytes()).is_empty(), "{shift}");
    }
    assert!(!secrets.found_in(&[b"before", secret.as_slice()].concat()).is_empty());
    assert!(secrets.found_in(b"nothing of it").is_empty());
}

/// Arguments of a process of this test, as any other user of the machine sees them; none of one that is gone.
///
/// A process is born before its arguments are shown, so they are looked for until they are there or it ends.
fn arguments_of(child: &mut Child) -> Vec<u8> {
    loop {
        let shown = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
        if !shown.is_empty() || child.try_wait().unwrap().is_some() {
            return shown;
        }
        thread::yield_now();
    }
}

#[test]
fn no_secret_is_printed_passed_or_stored() {
    let mut machine = Machine::with_variables();
    machine.new_kek("b.env");
    let (first, second) = (private_key(&machine, "a.env"), private_key(&machine, "b.env"));
    let imported = [7_u8; 32];
    fs::write(machine.file("imported"), imported).unwrap();
    let mut secrets = Secrets::default();
    secrets.add("passphrase", PASSPHRASE.as_bytes());
    secrets.add("pin", PIN.as_bytes());
    secrets.add_private_key("first KEK", &first);
    secrets.add_private_key("second KEK", &second);
    secrets.add_private_key("imported KEK", HybridPrivateKey::import(&imported).unwrap().dangerous_expose());

    let file_kek = [
        "kek",
        "provision",
        "--provider",
        "file",
        "--kek-file",
        "other.age",
        "--passphrase-file",
        "passphrase",
    ];
    let import = ["kek", "provision", "--provider", "environment", "--import", "imported", "--out", "c.env"];
    let hsm = [
        "kek",
        "provision",
        "--provider",
        "hsm",
        "--hsm-lib",
        "/nowhere.so",
        "--hsm-token",
        "t",
        "--hsm-key",
        "k",
    ];
    let commands: [&[&str]; 21] = [
        &["init"],
        &["init", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["dek", "rotate"],
        &["dek", "create", "--scope", "billing"],
        &["dek", "list", "--json"],
        &["dek", "usage", "--json"],
        &["kek", "status", "--json"],
        &["kek", "verify"],
        &file_kek,
        &import,
        &hsm,
        &["kek", "rotate", "--to", "c.env.missing"],
        &["kek", "rotate", "--to", "b.env"],
        &["kek", "rotate", "--to", "b.env", "--json"],
        &["dek", "rotate"],
        &["backup", "create", "keyring.aegis"],
        &["backup", "verify", "keyring.aegis"],
        &["audit", "show", "-n", "1000", "--json"],
        &["audit", "export", "--format", "ocsf"],
    ];
    let mut printed = Vec::new();
    let mut seen_arguments = 0;
    for (at, arguments) in commands.into_iter().enumerate() {
        if arguments.starts_with(&["backup", "verify"]) {
            machine.take("b.env");
        }
        let mut command = machine.command(arguments);
        command.env("AEGIS_LOG", "trace").env("AEGIS_HSM_PIN_UNUSED", "").env("RUST_BACKTRACE", "full");
        if arguments == hsm {
            // A provider that is set goes before the environment, so the PIN is set for this one only.
            command.env("AEGIS_HSM_PIN", PIN);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let shown = arguments_of(&mut child);
        seen_arguments += usize::from(!shown.is_empty());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}");
        secrets.not_in(&format!("the command line of {arguments:?}"), &shown);
        printed.push((at, [output.stdout, output.stderr].concat()));
    }
    // One that runs for a millisecond on a busy machine may be gone before anybody could look.
    assert!(seen_arguments > 0, "no command line was seen");

    // Now that there are DEKs, their private halves are known too.
    for (version, private) in dek_private_keys(&machine, &second) {
        secrets.add_private_key(&version, &private);
    }
    for (at, bytes) in &printed {
        secrets.not_in(&format!("what {:?} printed", commands[*at]), bytes);
    }
    let kept = files(&machine.file("state")).into_iter();
    let kept: Vec<_> = kept.chain([machine.file("other.age"), machine.file("keyring.aegis")]).collect();
    assert!(kept.len() > 6, "{kept:?}");
    for file in kept {
        secrets.not_in(&file.display().to_string(), &fs::read(&file).unwrap());
    }
}

/// The WAL holds what was written last, also what is erased in the database itself.
#[test]
fn no_secret_is_in_the_write_ahead_log_of_a_killed_command() {
    if !tools::need("no_secret_is_in_the_write_ahead_log_of_a_killed_command", &["strace"]) {
        return;
    }
    let machine = Machine::set_up();
    let kek = private_key(&machine, "a.env");
    let points = machine.copy().traced(&["dek", "rotate"]).points();
    // Killed after the commit, before the WAL is taken into the database.
    let synced: Vec<_> = points.iter().filter(|point| point.shown.contains("-wal")).collect();
    assert!(synced.len() > 1, "{points:#?}");
    let mut in_wal = 0;
    for point in synced {
        let killed = machine.copy();
        killed.traced(&["dek", "rotate"]).run_with(point, test_services::faults::Fault::Kill);
        let wal = fs::read(killed.file("state/keyring.sqlite-wal")).unwrap_or_default();
        in_wal += usize::from(!wal.is_empty());
        let kept: Vec<_> = files(&killed.file("state"))
            .into_iter()
            .map(|file| (file.clone(), fs::read(file).unwrap()))
            .collect();
        let mut secrets = Secrets::default();
        secrets.add_private_key("KEK", &kek);
        for (version, private) in dek_private_keys(&killed, &kek) {
            secrets.add_private_key(&version, &private);
        }
        secrets.not_in("the WAL", &wal);
        for (file, bytes) in kept {
            secrets.not_in(&file.display().to_string(), &bytes);
        }
    }
    assert!(in_wal > 0, "no run left a WAL");
}

/// Aborted with a KEK in its memory, the program leaves no core file, whatever the limits of its shell.
#[test]
fn no_core_file_is_left_by_an_abort() {
    let name = "no_core_file_is_left_by_an_abort";
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let plain = !pattern.trim().starts_with('|') && !pattern.contains('/');
    if !plain && !tools::skip(name, "core files of this system do not go into the working directory") {
        return;
    }
    let machine = Machine::set_up();
    // Held up while it reads events from a pipe that nobody writes to. The KEK is in its memory: in a variable.
    let aborted = |program: &mut Command| -> bool {
        let mut child =
            program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Until it has started, and waits.
        while !fs::read_to_string(format!("/proc/{}/wchan", child.id())).is_ok_and(|at| at.contains("pipe"))
            && !fs::read_to_string(format!("/proc/{}/stat", child.id()))
                .is_ok_and(|stat| stat.contains(") S "))
        {
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(6));
        status.core_dumped()
    };
    let with_cores = |program: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("ulimit -c unlimited 2>/dev/null; exec {program}")])
            .current_dir(machine.path());
        shell
    };
    // That this system writes core files at all: another program leaves one.
    if !aborted(&mut with_cores("cat")) && !tools::skip(name, "this system writes no core files") {
        return;
    }
    let mut command = with_cores(&format!("{} dek usage -", crate::machine::PROGRAM));
    command.env("AEGIS_STATE_DIR", machine.file("state")).envs(&machine.variables);
    assert!(!aborted(&mut command), "the kernel says that it dumped core");
    for file in files(machine.path()) {
        let bytes = fs::read(&file).unwrap();
        let is_core =
            bytes.starts_with(b"\x7fELF") && file.file_name().unwrap().to_string_lossy().starts_with("core");
        // That of `cat` may be there.
        let mut secrets = Secrets::default();
        secrets.add_private_key("KEK", &private_key(&machine, "a.env"));
        if is_core {
            secrets.not_in(&file.display().to_string(), &bytes);
        }
    }
}
