//! A policy for one command: in a control group of its own, and gone with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use aegis_policy::Policy;

use crate::compile::{Canary, Mode, compile};
use crate::coverage::{Backend as Chosen, Coverage, Unenforced};
use crate::error::KernelError;
use crate::event::{BootClock, Context, Event, KnownPolicy, PolicyText};
use crate::kernel::{Enforcement, Label, Options};
use crate::probe::Probe;
use crate::resolve::{HostResolver, group_mount};

/// How long what a command leaves behind may take to die.
const PATIENCE: Duration = Duration::from_secs(5);
/// What its control group is called, before the number of its process.
const NAME: &str = "aegisbpf-test-";
/// How long one wait for events lasts.
const ROUND: Duration = Duration::from_millis(50);

/// Why a trial did not begin.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No program can be loaded.
    #[error("this host can load no program of BPF, so a policy cannot be tried on one command")]
    NoPrograms,
    /// Of the policy, these sections are enforced for the whole host or not at all.
    #[error("{} cannot be tried on one command: fanotify enforces it here, and for the whole host", .sections.join(", "))]
    WholeHost {
        /// Their names, in brackets.
        sections: Vec<String>,
    },
    /// Somebody ended it.
    #[error("it was ended by a signal")]
    Ended,
    /// There is no place for a control group.
    #[error("control groups of version 2 are not mounted")]
    NoGroups,
    /// The control group cannot be made or entered.
    #[error("cannot {action} the control group {}", path.display())]
    Group {
        /// What was tried.
        action: &'static str,
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel did not take the policy.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The command cannot be run.
    #[error("cannot run {program}")]
    Command {
        /// Its program.
        program: String,
        /// Why. It may be the policy that forbids it.
        source: io::Error,
    },
}

impl TrialError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoPrograms => Some("`aegisbpf probe` says what is missing".to_owned()),
            Self::WholeHost { .. } => {
                Some("test it on a host with BPF-LSM, or give --audit-unenforced to try the rest".to_owned())
            }
            Self::Ended => None,
            Self::NoGroups => Some("mount -t cgroup2 none /sys/fs/cgroup".to_owned()),
            Self::Group { .. } => Some("run it as root".to_owned()),
            Self::Kernel(error) => error.help(),
            Self::Command { source, .. } if source.raw_os_error() == Some(1) => {
                Some("the policy itself denies it: see the events".to_owned())
            }
            Self::Command { .. } => Some("name a program that is there".to_owned()),
        }
    }
}

/// How a trial ended.
#[derive(Debug)]
pub struct Tried {
    /// Of the command; or why it could not be run, under the policy.
    pub ended: Result<ExitStatus, TrialError>,
}

/// A control group, gone with the value and everything in it.
struct Group {
    path: PathBuf,
    /// Where this process was before.
    before: PathBuf,
}

impl Group {
    fn new() -> Result<Self, TrialError> {
        let mount = group_mount().ok_or(TrialError::NoGroups)?;
        let before = own_group(&mount);
        tidy(&mount);
        let path = mount.join(format!("{NAME}{}", std::process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|source| TrialError::Group { action: "make", path: path.clone(), source })?;
        Ok(Self { path, before })
    }

    fn enter(path: &Path) -> Result<(), TrialError> {
        let entered = fs::write(path.join("cgroup.procs"), "0");
        entered.map_err(|source| TrialError::Group { action: "enter", path: path.to_owned(), source })
    }

    /// Starts the command inside. A child is born in its parent's group, so this process goes in for that moment: the
    /// command is never outside.
    fn spawn(&self, command: &mut Command) -> Result<Child, TrialError> {
        Self::enter(&self.path)?;
        let child = command.spawn();
        Self::enter(&self.before)?;
        let program = command.get_program().to_string_lossy().into_owned();
        child.map_err(|source| TrialError::Command { program, source })
    }
}

/// Takes away what trials left that were killed. A group in which something still runs stays.
fn tidy(mount: &Path) {
    for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse::<u32>().ok());
        if number.is_some_and(|pid| pid != std::process::id() && !Path::new(&format!("/proc/{pid}")).exists())
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Before Linux 5.14 there is no such file, and what is left has to end by itself.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let begun = Instant::now();
        while fs::remove_dir(&self.path).is_err() && begun.elapsed() < PATIENCE && self.path.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The control group of this process, by `/proc/self/cgroup`: `0::/path`.
fn own_group(mount: &Path) -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    path.map_or_else(|| mount.to_owned(), |path| mount.join(path))
}

/// The sections that fanotify enforces: whoever opens something, in any group.
pub fn whole_host(policy: &Policy<'_>, probe: &Probe) -> Vec<String> {
    let sections = Coverage::of(policy, probe).sections;
    let by_fanotify = sections.iter().filter(|section| section.backend() == Some(Chosen::Fanotify));
    by_fanotify.map(|section| format!("[{}]", section.section)).collect()
}

/// Runs `command` under `policy` and tells each event as it comes, until it ends or `stop` says so. Nothing else on the host
/// is touched.
///
/// `probe` is this host's kernel. Sections that only fanotify enforces on it are left out if `unenforced` accepts that.
///
/// # Errors
///
/// [`TrialError`] if it did not come to that.
pub fn try_command(
    policy: &Policy<'_>,
    probe: &Probe,
    (mode, unenforced): (Mode, Unenforced),
    command: &mut Command,
    stop: &dyn Fn() -> bool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Tried, TrialError> {
    let sections = whole_host(policy, probe);
    if !sections.is_empty() && unenforced == Unenforced::Refuse {
        return Err(TrialError::WholeHost { sections });
    }
    let lsm = Chosen::BpfLsm.is_available(probe);
    if !lsm && !Chosen::Cgroup.is_available(probe) {
        return Err(TrialError::NoPrograms);
    }
    let group = Group::new()?;
    let enforcement = Enforcement::load(&Options {
        scope: Some(group.path.clone()),
        lsm,
        group: (!lsm).then(|| group.path.clone()),
        ..Options::default()
    })?;
    let compiled = compile(policy, &HostResolver::new(), mode, &Canary { file: None });
    let sha256 = aegis_crypto::sha256(policy.source());
    enforcement.swap(&compiled, &Label { version: None, sha256: *sha256.as_bytes(), now: 0 }, None)?;
    let context = Context::of_host(BootClock::measure(), group_mount().as_deref());
    let text = Some(PolicyText::new(policy.source().to_vec()));
    context.remember(enforcement.generation()?, KnownPolicy { version: None, sha256: Some(sha256), text });
    let reader = enforcement.reader()?;
    let mut tell = |patience| {
        for event in reader.next(patience, &context).into_iter().flatten() {
            on_event(event);
        }
    };
    let ended = match group.spawn(command) {
        Err(error @ TrialError::Command { .. }) => Err(error),
        Err(error) => return Err(error),
        Ok(mut child) => loop {
            tell(ROUND);
            match child.try_wait() {
                Ok(None) if stop() => {
                    drop(group);
                    let _ = child.wait();
                    break Err(TrialError::Ended);
                }
                Ok(None) => {}
                Ok(Some(status)) => break Ok(status),
                Err(source) => {
                    let program = command.get_program().to_string_lossy().into_owned();
                    break Err(TrialError::Command { program, source });
                }
            }
        },
    };
    tell(Duration::ZERO);
    Ok(Tried { ended })
}
