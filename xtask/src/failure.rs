//! Why a developer command stopped.

use std::fmt;

/// What most functions here return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A message for a developer, and whether the command was used wrongly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense: exit 2.
    Usage(String),
    /// Something that should have held did not: exit 1.
    Failed(String),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Wraps an error of the operating system with what was being done.
    pub(crate) fn of(doing: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Failed(format!("cannot {doing}: {source}"))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => formatter.write_str(message),
        }
    }
}
