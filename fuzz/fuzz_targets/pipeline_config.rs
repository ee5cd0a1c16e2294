#![no_main]
//! What may be said of any bytes is in `entry/pipeline_config.rs`; the ordinary tests replay the corpus through it too.

use libfuzzer_sys::fuzz_target;

#[path = "../entry/pipeline_config.rs"]
mod entry;
// The files themselves: their crate brings every KEK provider and store with it, which would take minutes to build.
#[allow(dead_code, unreachable_pub, reason = "not all of it is fuzzed")]
#[path = "../../crates/aegis-deployment/src"]
mod deployment {
    #[allow(unused_imports, reason = "what others use of it")]
    pub(crate) mod pipeline_config;
    pub(crate) mod state_dir;
}

use deployment::pipeline_config::{PipelineConfig, PipelineConfigError};
use deployment::state_dir;
use state_dir::StateDir;

fuzz_target!(|bytes: &[u8]| entry::run(bytes));
