//! How the kernel was built, and with which words it was started.

use std::path::Path;

use aegis_durable::read_bounded;

use super::{Answer, line};

/// The most that is read of a build configuration; they have some 300 KiB.
const MAX_CONFIG: u64 = 4 << 20;

/// A kernel's build configuration, if it was left anywhere.
pub(super) struct BuildConfig(Option<String>);

impl BuildConfig {
    pub(super) fn read(root: &Path, release: Option<&str>) -> Self {
        // The release becomes part of a path.
        let release = release.filter(|release| !release.contains('/'));
        let places = release
            .map(|release| [format!("boot/config-{release}"), format!("lib/modules/{release}/config")]);
        Self(places.into_iter().flatten().find_map(|place| {
            let bytes = read_bounded(&root.join(place), MAX_CONFIG).ok()?;
            String::from_utf8(bytes).ok().filter(|text| text.contains("CONFIG_"))
        }))
    }

    /// Whether an option is built in.
    pub(super) fn has(&self, option: &str) -> Answer {
        match &self.0 {
            Some(config) => {
                let built_in = |line: &str| line.strip_prefix(option) == Some("=y");
                Answer::of(config.lines().any(built_in))
            }
            None => Answer::Unknown,
        }
    }

    /// For what is built in and may still be switched off: [`Answer::No`] or [`Answer::Unknown`].
    pub(super) fn lacks(&self, option: &str) -> Answer {
        match self.has(option) {
            Answer::No => Answer::No,
            Answer::Yes | Answer::Unknown => Answer::Unknown,
        }
    }
}

/// The words with which the kernel was started.
pub(super) struct CommandLine(Vec<String>);

impl CommandLine {
    pub(super) fn read(root: &Path) -> Self {
        let text = line(root, "proc/cmdline").unwrap_or_default();
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// The values given to a parameter, in order.
    pub(super) fn values<'a>(&'a self, parameter: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.0.iter().filter_map(move |word| word.strip_prefix(parameter)?.strip_prefix('='))
    }
}
