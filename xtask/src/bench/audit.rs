//! The audit log: an append beside the bare system calls for the same bytes.

use std::process::Command;
use std::time::Duration;

use super::table::Table;
use super::{Effort, example};
use crate::checkout;
use crate::failure::{Failure, Outcome};

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    // Beside the build, not in memory: an fsync in tmpfs costs nothing.
    let directory = checkout::target_dir().join(format!("bench-audit-{}", std::process::id()));
    std::fs::create_dir_all(&directory)
        .map_err(Failure::of(format_args!("make the directory {}", directory.display())))?;
    let output = Command::new(example("append"))
        .arg(&directory)
        .arg(effort.rounds(200).to_string())
        .output()
        .map_err(Failure::of("run the append program"));
    std::fs::remove_dir_all(&directory)
        .map_err(Failure::of(format_args!("remove {}", directory.display())))?;
    let output = output?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let nanos: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [append, one_sync, all_syncs] = nanos.as_slice() else {
        return Err(Failure::new(format!("append: {}", String::from_utf8_lossy(&output.stderr))));
    };
    let [append, one_sync, all_syncs] =
        [append, one_sync, all_syncs].map(|nanos| Duration::from_nanos(*nanos));
    table.ratio("audit append / its two syncs alone, same bytes, by the clock", append, all_syncs, 2.0);
    table.ratio_for_information("  audit append / one fsync of the line", append, one_sync);
    Ok(())
}
