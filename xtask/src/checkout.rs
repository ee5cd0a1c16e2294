//! Where the sources are, and how their programs are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Outcome};

/// How the compiler is asked to build.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// The root of the workspace: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(named) => root().join(named),
        None => root().join("target"),
    }
}

/// The cargo that runs this program, with the workspace as its directory.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds with `arguments` after `cargo build`.
pub(crate) fn build(profile: Profile, arguments: &[&str]) -> Outcome {
    let mut command = cargo();
    command.arg("build").args(arguments);
    match profile {
        Profile::Debug => {}
        Profile::Release => {
            command.arg("--release");
        }
    }
    let status = command.status().map_err(Failure::of("run cargo build"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("cargo build {} failed", arguments.join(" "))))
    }
}

/// A file that [`build`] made, such as `aegisbpf` or `examples/floor`.
pub(crate) fn built(profile: Profile, name: &str) -> PathBuf {
    target_dir().join(profile.directory()).join(name)
}

/// Looks for a program on the `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
