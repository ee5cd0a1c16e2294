//! Files that the command line asks to be written, unless this host keeps its own files there.

use std::path::Path;

use aegis_terminal::destination::Destinations;
use aegis_terminal::failure::Failure;
use aegis_terminal::input::is_stdin as is_stdout;

use crate::session::Session;

pub(crate) use aegis_terminal::destination::give_to;

/// Writes `bytes` to `path`, or to standard output if it is `-`.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32, session: &Session) -> Result<(), Failure> {
    if is_stdout(path) {
        return session.output.bytes(bytes);
    }
    let paths = session.paths()?;
    Destinations::new(&session.output, &|path| paths.reserves(path)).write(path, bytes, mode)
}

/// Refuses a place that only the commands for it may fill: trusted keys, log, counter, policy in force.
pub(crate) fn refuse_reserved(path: &Path, session: &Session) -> Result<(), Failure> {
    let paths = session.paths()?;
    Destinations::new(&session.output, &|path| paths.reserves(path)).refuse_reserved(path)
}
