//! What does not survive a fork: threads, and files that are locked.

use pyo3::prelude::*;

use crate::failure::Raised;

/// The process in which something was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home(u32);

impl Home {
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether this is still that process.
    pub(crate) fn is_here(self) -> bool {
        self == Self::here()
    }

    /// # Errors
    ///
    /// A `ForkedError` in a process that was forked since.
    pub(crate) fn check(self, py: Python<'_>, what: &str) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let message = format!("the {what} belongs to the process from which this one was forked");
        let help = format!("make a {what} of its own in each process, after the fork");
        Err(Raised::new("ForkedError", "Forked", message, &help).into_exception(py))
    }
}
