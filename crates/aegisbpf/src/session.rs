//! What every command needs: the host's paths, the host, who asks and when.

use std::path::PathBuf;

use aegis_terminal::audit::Program;
use aegis_terminal::failure::Failure;
use aegis_terminal::output::Output;
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

    /// Where this host's files are, from `--root` and the variables.
    pub(crate) fn paths(&self) -> Result<HostPaths, Failure> {
        HostPaths::from_environment(self.root.as_deref())
            .map_err(|error| Failure::new("cannot tell where this host's files are", &error, error.help()))
    }

    /// This host: its paths and its configuration.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        Host::open(self.paths()?)
            .map_err(|error| Failure::new("cannot read this host's configuration", &error, error.help()))
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
