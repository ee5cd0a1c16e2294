//! Any bytes as the configuration of a pipeline.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::LazyLock;

use aegis_kek::Variables;

use super::{PipelineConfig, PipelineConfigError, StateDir};

/// What a configuration may name, and nobody may see.
const SECRET: &str = "s3cret-of-the-variable";
/// Nothing is beside it.
const FILE: &str = "/nonexistent/pipeline.toml";

static VARIABLES: LazyLock<Variables> = LazyLock::new(|| Variables::of_pairs([("A_SECRET", SECRET)]));

/// A configuration that is taken can be run, and one that is refused is refused in a line that it has. Neither shows a
/// secret.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if text.contains(SECRET) {
        return;
    }
    let state = StateDir::new("/nonexistent/state");
    match PipelineConfig::parse(Path::new(FILE), text, &VARIABLES, &state) {
        Ok(config) => {
            assert!(!format!("{config:?}").contains(SECRET), "a secret is shown");
            let names: BTreeSet<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
            assert!(
                !names.is_empty() && names.len() == config.sinks.len(),
                "sinks without a name of their own"
            );
            assert!(config.settings.workers > 0 && config.settings.queue_events > 0);
        }
        Err(error) => {
            assert!(!format!("{error:?}").contains(SECRET), "a secret is in an error");
            let mut cause: Option<&dyn Error> = Some(&error);
            while let Some(error) = cause {
                let said = error.to_string();
                assert!(said.len() < 16 * 1024 && !said.contains(SECRET), "a refusal without end");
                cause = error.source();
            }
            if let PipelineConfigError::At { line, .. } = error {
                let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
                assert!((1..=lines).contains(&line), "line {line} of {lines}");
            }
        }
    }
}
