//! What does not survive a fork: threads, and files that are locked.

use std::ops::Deref;

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

/// What has threads or open files of its own. It is dropped while the interpreter is free, since its threads may be
/// waiting for it; and in a process that was forked since, it is not dropped at all: its threads stayed in the parent,
/// and its files are the parent's.
pub(crate) struct Homebound<T: Send> {
    value: Option<T>,
    home: Home,
}

impl<T: Send> Homebound<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), home: Home::here() }
    }

    /// # Errors
    ///
    /// A `ForkedError` in a process that was forked since.
    pub(crate) fn get(&self, py: Python<'_>, what: &str) -> PyResult<&T> {
        self.home.check(py, what)?;
        Ok(self)
    }
}

impl<T: Send> Deref for Homebound<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is taken on drop only")
    }
}

impl<T: Send> Drop for Homebound<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        if !self.home.is_here() {
            std::mem::forget(value);
            return;
        }
        let mut value = Some(value);
        Python::try_attach(|py| {
            let value = value.take();
            py.detach(|| drop(value));
        });
    }
}
