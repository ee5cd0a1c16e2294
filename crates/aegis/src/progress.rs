//! A bar on a terminal while something takes long; nothing in a pipe.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that is gone when this is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar named `what`, if somebody is watching standard error.
    pub(crate) fn new(what: &'static str) -> Self {
        Self::start(what, None, None)
    }

    /// The style comes before the first tick, which would show another one.
    fn start(what: &'static str, total: Option<u64>, style: Option<ProgressStyle>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Some(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// A bar for a stream of `total` bytes, if that is known, with rate and remaining time.
    pub(crate) fn of_stream(what: &'static str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{prefix} [{wide_bar}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
            None => "{prefix} {spinner} {bytes} {binary_bytes_per_sec} {elapsed}",
        };
        // A constant text; one that did not parse would leave the default bar.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self::start(what, total, Some(style.progress_chars("=> ")))
    }

    /// What adds to the bytes that are done, for other threads.
    pub(crate) fn counter(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |bytes| bar.inc(bytes)
    }

    /// No bar.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Says how much is done of how much.
    pub(crate) fn at(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            self.0.set_length(total);
            // A constant text; one that did not parse would leave the default bar.
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{wide_bar}] {pos}/{len} {eta}") {
                self.0.set_style(style.progress_chars("=> "));
            }
        }
        self.0.set_position(done);
    }

    /// Says how many bytes are done of a stream that may have no known end.
    pub(crate) fn bytes(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Says what is being done now.
    pub(crate) fn step(&self, what: &'static str) {
        self.0.set_prefix(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
