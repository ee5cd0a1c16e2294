//! What every command needs: the host's paths, the host, who asks and when.

use std::path::{Path, PathBuf};

use aegis_enforce::{HostEnforcer, Terms};
use aegis_terminal::audit::Program;
use aegis_terminal::failure::Failure;
use aegis_terminal::output::Output;
use aegis_trust::config::{Config, ConfigError, EnforcementSetting};
use aegis_trust::enforce::{Enforcer, RecordingEnforcer};
use aegis_trust::{Caller, Host, HostPaths};

/// This program.
#[derive(Debug)]
pub(crate) enum AegisBpf {}

impl Program for AegisBpf {
    const NAME: &'static str = "aegisbpf";
    const CALLED: &'static str = "sudo aegisbpf";
    const ACTION: &'static str = "keys.revoke";
}

/// One run of the program. Nothing is opened before a command asks for it.
pub(crate) struct Session {
    root: Option<PathBuf>,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) fn new(root: Option<PathBuf>, output: Output) -> Self {
        Self { root, output }
    }

    /// The directory below which every path of this host is, if it was moved there.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Where this host's files are, from `--root` and the variables.
    pub(crate) fn paths(&self) -> Result<HostPaths, Failure> {
        HostPaths::from_environment(self.root.as_deref())
            .map_err(|error| Failure::new("cannot tell where this host's files are", &error, error.help()))
    }

    /// This host: its paths and its configuration.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        self.host_on(None)
    }

    /// This host, with the terms on which the kernel is to take a policy.
    pub(crate) fn host_on(&self, terms: Option<Terms>) -> Result<Host, Failure> {
        let paths = self.paths()?;
        let unread =
            |error: ConfigError| Failure::new("cannot read this host's configuration", &error, error.help());
        let config = Config::load(&paths.config_file()).map_err(unread)?;
        let enforcer: Box<dyn Enforcer> = match self.kernel_enforces(&paths, &config) {
            true => Box::new(HostEnforcer::new(&paths, terms)),
            false => Box::new(RecordingEnforcer::new(&paths)),
        };
        Host::with_enforcer(paths, enforcer).map_err(unread)
    }

    /// Whether policies of this host go into the kernel. A rehearsal below another root must never reach it.
    pub(crate) fn kernel_enforces(&self, paths: &HostPaths, config: &Config) -> bool {
        self.root.is_none()
            && match config.enforcement {
                EnforcementSetting::Kernel => true,
                EnforcementSetting::Record => false,
                EnforcementSetting::Auto => paths.state_dir == Path::new("/var/lib/aegisbpf"),
            }
    }

    /// Says which refusals are missing from the log. They stand all the same.
    pub(crate) fn warn_unlogged(&self, host: &Host) {
        for error in host.take_unlogged() {
            self.output.warn(&format!("this refusal is not in the log: {error}"));
        }
    }

    /// Who asks, and the time that every check of this run uses.
    pub(crate) fn caller(&self) -> Caller {
        Caller::current(AegisBpf::NAME)
    }
}
