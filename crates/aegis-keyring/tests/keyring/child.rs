//! Jobs in processes of their own, which can be killed at any call of the store.

use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aegis_crypto::HybridPrivateKey;
use aegis_kek::{Kek, ProviderKind};
use aegis_keyring::{
    BackupKey, BackupRecipient, DEFAULT_MAX_AGE, DekRotator, Grace, KekRotation, Keyring, RotationPolicy,
    RotatorOutcome, Scope,
};

use crate::fixture::{TestClock, open, options, version};
use crate::hooked::{Hooked, When};

const JOB: &str = "AEGIS_TEST_JOB";
const DIR: &str = "AEGIS_TEST_DIR";
const NUMBER: &str = "AEGIS_TEST_NUMBER";
const KILL: &str = "AEGIS_TEST_KILL";

/// Kills the process around its so manyth call of the store, from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) at: u32,
    pub(crate) when: When,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    Killed,
}

/// Stores a KEK where a child finds it.
pub(crate) fn give_kek(dir: &Path, name: &str, kek: &Kek) {
    std::fs::write(dir.join(name), kek.private_key().dangerous_expose()).unwrap();
}

fn take_kek(dir: &Path, name: &str) -> Kek {
    Kek::new(HybridPrivateKey::import(&std::fs::read(dir.join(name)).unwrap()).unwrap())
}

/// Starts a job on the keyring in `dir`. `number` tells those that run at once apart.
pub(crate) fn start(dir: &Path, job: &str, number: u32, kill: Option<Kill>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::a_job_in_a_process_of_its_own", "--ignored", "--quiet"])
        .env(JOB, job)
        .env(DIR, dir)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(Kill { at, when }) = kill {
        command.env(KILL, format!("{at} {when:?}"));
    }
    command.spawn().unwrap()
}

/// Waits for the end of a job.
#[track_caller]
pub(crate) fn wait(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    match output.status.signal() {
        Some(9) => Ended::Killed,
        None if output.status.success() => Ended::Done,
        _ => panic!(
            "{:?}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[track_caller]
pub(crate) fn run(dir: &Path, job: &str, kill: Option<Kill>) -> Ended {
    wait(start(dir, job, 0, kill))
}

/// What a job had to say when it ended.
pub(crate) fn said(dir: &Path, number: u32) -> String {
    std::fs::read_to_string(said_file(dir, number)).unwrap()
}

fn said_file(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("said.{number}"))
}

#[test]
#[ignore = "other tests run it, each in a process of its own"]
fn a_job_in_a_process_of_its_own() {
    let Ok(job) = std::env::var(JOB) else { return };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let number: u32 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let clock = TestClock::at("2026-01-15T12:00:00Z");
    let store = Hooked::new(open(&dir)).on_call(killer());
    let keyring = Keyring::new(Arc::new(store), clock.clone());
    std::fs::write(said_file(&dir, number), perform(&keyring, &clock, &dir, &job, number)).unwrap();
}

fn killer() -> impl Fn(&'static str, When) -> Result<(), aegis_keyring::StoreError> + Send + Sync {
    let kill = std::env::var(KILL).ok();
    let kill = kill.as_deref().and_then(|kill| kill.split_once(' '));
    let kill = kill.map(|(at, when)| (at.parse::<u32>().unwrap(), when.to_owned()));
    let calls = AtomicU32::new(0);
    move |_, when| {
        if let Some((at, kill_when)) = &kill
            && *kill_when == format!("{when:?}")
            && calls.fetch_add(1, Ordering::SeqCst) + 1 == *at
        {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            // The signal is on its way; nothing more may happen here.
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        Ok(())
    }
}

fn perform(keyring: &Keyring, clock: &TestClock, dir: &Path, job: &str, number: u32) -> String {
    let go_on = &mut |_| ControlFlow::Continue(());
    let first = version("dek-v1-20260115");
    match job {
        "rotate the DEK" => keyring.rotate(&Scope::default()).unwrap().active.version.to_string(),
        "rotate the DEK five times" => (0..5)
            .map(|_| format!("{}\n", keyring.rotate(&Scope::default()).unwrap().active.version))
            .collect(),
        "rotate the DEK if it is due" => {
            clock.forward(DEFAULT_MAX_AGE);
            let policy = RotationPolicy::default();
            let rotator = DekRotator::new(keyring.clone(), Scope::default(), policy);
            match rotator.run_once().unwrap() {
                RotatorOutcome::Rotated { .. } => "rotated".to_owned(),
                RotatorOutcome::RotatedElsewhere { .. } | RotatorOutcome::NotDue { .. } => {
                    "not due".to_owned()
                }
                outcome @ RotatorOutcome::ClockWentBack { .. } => panic!("{outcome:?}"),
            }
        }
        "rotate the KEK" | "rotate to a KEK of its own" => {
            let old = take_kek(dir, "old.kek");
            let own = format!("own.{number}.kek");
            let new = take_kek(dir, if job == "rotate the KEK" { "new.kek" } else { &own });
            let rotation = KekRotation::new(keyring, &old, &new, ProviderKind::Environment, options());
            match rotation.run(go_on) {
                Ok(rotated) if rotated.switched_now => "switched".to_owned(),
                Ok(_) => "found it switched".to_owned(),
                Err(error) => format!("refused: {error} {error:?}"),
            }
        }
        "retire the old KEK" => {
            let (old, new) = (take_kek(dir, "old.kek"), take_kek(dir, "new.kek"));
            match keyring.retire_kek(old.key_id(), &new, Grace::CutShort, &options(), go_on) {
                Ok(()) => "retired".to_owned(),
                Err(error) => format!("refused: {error}"),
            }
        }
        "destroy the first DEK" => {
            let _ = keyring.mark_for_destruction(first, std::time::Duration::ZERO);
            match keyring.destroy(first) {
                Ok(_) => "destroyed".to_owned(),
                Err(error) => format!("refused: {error}"),
            }
        }
        "back up" => {
            let path = dir.join("backup");
            let made = keyring.backup_to_file(&BackupRecipient::ActiveKek, &path);
            made.map_or_else(|error| format!("refused: {error}"), |_| "made".to_owned())
        }
        "restore" => {
            let kek = take_kek(dir, "old.kek");
            let backup = std::fs::read(dir.join("backup")).unwrap();
            let restored = keyring.restore(&mut backup.as_slice(), BackupKey::Kek(&kek), None);
            restored.map_or_else(|error| format!("refused: {error}"), |_| "restored".to_owned())
        }
        job => panic!("no job {job}"),
    }
}
