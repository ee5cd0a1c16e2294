//! Dead letters, of a pipeline and of `aegis pii encrypt`: looked at without a key, opened with the KEK, and sent through a
//! pipeline again.
//!
//! | module | what it holds |
//! |---|---|
//! | `letter` | [`Letter`]: one line, of either kind |
//! | `file` | [`LetterFile`]: the lines of a file, one at a time |
//! | `opener` | [`LetterOpener`]: the events in them, with the DEKs that open |
//! | `replay` | [`Replay`]: all of them through the pipeline that a configuration describes |

mod file;
mod letter;
mod opener;
mod replay;

pub use file::{LetterFile, LetterFileError, LetterFileFault};
pub use letter::{Holds, Letter, LetterOrigin};
pub use opener::{LetterContent, LetterOpener, OpenLetterFault};
pub use replay::{Replay, ReplayCounts, ReplayError, ReplayProgressError, ReplayRun};
