//! What every command needs: the deployment, where results go, and what is said when the log cannot be written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_deployment::{Deployment, StateDir};
use aegis_terminal::audit::Program;
use aegis_terminal::destination::Destinations;
use aegis_terminal::{Failure, Output};
use clap::Args;

/// This program.
#[derive(Debug)]
pub(crate) enum Aegis {}

impl Program for Aegis {
    const NAME: &'static str = "aegis";
    const CALLED: &'static str = "aegis";
    const ACTION: &'static str = "kek.rotate";
}

// Where a passphrase is read from; commands that may need the KEK's private half have it. (Doc comments would become
// their help.)
#[derive(Args)]
pub(crate) struct PassphraseArgument {
    /// Read the passphrase of the KEK's key file from the first line of F, mode 0600
    #[arg(long, value_name = "F")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgument {
    pub(crate) fn file(&self) -> Option<&Path> {
        self.passphrase_file.as_deref()
    }
}

/// One run of the program. Nothing is opened before a command asks for it.
pub(crate) struct Session {
    pub(crate) output: Output,
}

impl Session {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    /// Where this deployment keeps its state.
    pub(crate) fn state_dir(&self) -> Result<StateDir, Failure> {
        StateDir::of_process()
            .map_err(|error| Failure::new("cannot tell where the state directory is", &error, error.help()))
    }

    /// Runs `work` on this deployment, and says what of it is not in the log.
    pub(crate) fn with_deployment(
        &self,
        work: impl FnOnce(&Deployment) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let deployment = Deployment::new(self.state_dir()?, Aegis::NAME);
        let done = work(&deployment);
        let unlogged = deployment.change_log().take_unlogged();
        match (done, unlogged.first()) {
            (done, None) => done,
            // A refusal stands all the same.
            (Err(failure), Some(error)) => {
                self.output.warn(&format!("this is not in the log: {error}"));
                Err(failure)
            }
            (Ok(_), Some(error)) => {
                Err(Failure::new("it was done, but is not in the log", error, error.help()))
            }
        }
    }

    /// Refuses `-`, where a file of that name would be made and nobody expects one.
    pub(crate) fn refuse_stdout(&self, path: &Path, help: &str) -> Result<(), Failure> {
        match aegis_terminal::input::is_stdin(path) {
            true => Err(Failure::because(
                "cannot write to standard output",
                "this is only ever written to a file",
            )
            .with_help(help)),
            false => Ok(()),
        }
    }

    /// Refuses to write where this deployment keeps its own files.
    pub(crate) fn refuse_reserved(&self, path: &Path) -> Result<(), Failure> {
        let state = self.state_dir()?;
        Destinations::new(&self.output, &|path| state.reserves(path)).refuse_reserved(path)
    }
}
