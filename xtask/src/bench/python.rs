//! The Python package on the events of the other rows, beside the straightforward construction in Python and beside the
//! Rust library: `cargo xtask bench python`, only if asked for by name, as it wants the Python of `cargo xtask setup`.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::table::Table;
use super::{Effort, example};
use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};
use crate::scratch::{Keep, Scratch};
use crate::setup;

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    let python = setup::prepare().python.ok_or_else(|| Failure::new("there is no Python to measure with"))?;
    let scratch = Scratch::new("aegis-bench-python", Keep::No)?;
    let package = stage(scratch.path())?;
    let events = scratch.path().join("events.jsonl");
    let file = File::create(&events).map_err(Failure::of("make the file of events"))?;
    let printed = Command::new(example("pii_speed")).args(["--events", "32"]).stdout(file).status();
    if !printed.map_err(Failure::of("run pii_speed"))?.success() {
        return Err(Failure::new("pii_speed printed no events"));
    }
    let (rounds, seconds) = if effort == Effort::Full { ("7", "0.6") } else { ("3", "0.2") };
    let output = Command::new(python)
        .arg(checkout::root().join("xtask/peers/python_package.py"))
        .args(["--rounds", rounds, "--seconds", seconds, "--events"])
        .arg(&events)
        .arg("--ours")
        .arg(example("fields"))
        .env("PYTHONPATH", &package)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Failure::of("run the script that measures"))?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = |name: &str| {
        let number = line.split_once(&format!("\"{name}\": ")).map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split([',', '}']).next()?.trim().parse::<f64>().ok());
        number.ok_or_else(|| Failure::new(format!("the script measured no {name}: {line}")))
    };
    let json = rate("json_alone")?;
    for what in ["encrypt", "decrypt"] {
        let (naive, rust) = (rate(&format!("naive_{what}"))?, rate(&format!("rust_{what}"))?);
        let [bytes, batch, dict] = [
            rate(&format!("bytes_{what}"))?,
            rate(&format!("batch_{what}"))?,
            rate(&format!("dict_{what}"))?,
        ];
        table.information(&format!("Python package: {what}, bytes"), format!("{bytes:.0}/s"));
        let least = if what == "encrypt" { 150.0 } else { 100.0 };
        table.at_least_times(
            &format!("  {what}, bytes / one hybrid KEM a field in Python"),
            bytes / naive,
            least,
        );
        table.at_least_times(&format!("  {what}, bytes / the Rust library"), bytes / rust, 1.0 / 1.5);
        table.at_least_times(
            &format!("  {what}, a batch of bytes / the Rust library"),
            batch / rust,
            1.0 / 1.5,
        );
        table.at_least_times(&format!("  {what}, dict / json.loads + json.dumps alone"), dict / json, 1.0);
    }
    Ok(())
}

/// The package as it is installed, by links.
fn stage(dir: &Path) -> Outcome<PathBuf> {
    let package = dir.join("package");
    std::fs::create_dir(&package).map_err(Failure::of("make a directory"))?;
    let sources = checkout::root().join("bindings/python/python");
    link_tree(&sources.join("aegis_governance"), &package.join("aegis_governance"))?;
    let library = checkout::built(Profile::Release, "libaegis_native.so");
    symlink(library, package.join("aegis_governance/_native.abi3.so"))
        .map_err(Failure::of("link the library"))?;
    Ok(package)
}

fn link_tree(from: &Path, to: &Path) -> Outcome {
    let failed = || Failure::of(format!("link {} to {}", from.display(), to.display()));
    std::fs::create_dir(to).map_err(failed())?;
    for entry in std::fs::read_dir(from).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            link_tree(&source, &target)?;
        } else if source.extension().is_none_or(|extension| extension != "so") {
            symlink(&source, &target).map_err(failed())?;
        }
    }
    Ok(())
}
