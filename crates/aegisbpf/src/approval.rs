//! `--approval FILE`: what custodians agreed to, for a command that needs it.

use std::path::{Path, PathBuf};

use aegis_approval::SignedRequest;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::approval::ApprovalFile;
use clap::Args;

/// What the option is called in messages.
const WHAT: &str = "cannot read the approval from standard input";

#[derive(Args)]
pub(crate) struct ApprovalArgument {
    /// The request that custodians of this host approved, `-` for standard input
    #[arg(long, value_name = "FILE")]
    approval: Option<PathBuf>,
}

impl ApprovalArgument {
    /// The file, not yet read: what cannot be read is refused and logged by the change that it is for.
    pub(crate) fn files(&self) -> Result<Vec<ApprovalFile>, Failure> {
        self.approval.iter().map(|path| approval_file(path)).collect()
    }
}

/// A file that the command line names.
pub(crate) fn approval_file(path: &Path) -> Result<ApprovalFile, Failure> {
    if !input::is_stdin(path) {
        return Ok(ApprovalFile::Path(path.to_owned()));
    }
    // One byte too many is refused later, and so logged like any other approval.
    let bytes = input::read_stdin(SignedRequest::MAX_LEN as u64)
        .map_err(|error| Failure::new(WHAT, &error, error.help()))?;
    Ok(ApprovalFile::Bytes { name: input::name(path), bytes })
}
