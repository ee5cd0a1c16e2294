//! Compiles the BPF programs with clang, and leaves the object where the crate embeds it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "so does a build script speak to cargo and to whoever builds"
)]

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The oldest clang whose objects were loaded on every kernel that is tested.
const OLDEST_CLANG: &str = "14";

/// What is compiled: the programs that enforce, one that says which files a process has open, those that fill large maps, and
/// those that do nothing, for the benchmark.
const OBJECTS: [&str; 4] = ["aegis.bpf", "resolve.bpf", "fill.bpf", "empty.bpf"];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    let (Some(out), Some(headers)) = (env::var_os("OUT_DIR"), env::var_os("DEP_BPF_INCLUDE")) else {
        return fail("cargo did not say where to build, or where the headers of libbpf are");
    };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    for name in OBJECTS {
        let object = PathBuf::from(&out).join(format!("{name}.o"));
        let compile = Command::new(&clang)
            .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"])
            // BPF_PROG declares a context that most programs do not name.
            .args(["-Wno-unused-parameter", "-I"])
            .arg(&headers)
            .args(["-c", &format!("bpf/{name}.c"), "-o"])
            .arg(&object)
            .output();
        match compile {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                return fail(&format!(
                    "{clang} cannot compile bpf/{name}.c (version {OLDEST_CLANG} or newer is needed):\n{}",
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
            Err(error) => {
                return fail(&format!(
                    "cannot run {clang}: {error}\n\nThe BPF programs of aegis-enforce are C, compiled by clang {OLDEST_CLANG} or newer. \
                     Install it:\n\n    apt-get install clang libelf-dev zlib1g-dev pkg-config make      (Debian, Ubuntu)\n    \
                     dnf install clang elfutils-libelf-devel zlib-devel pkgconf make   (Fedora)\n\nor name another one in the \
                     variable CLANG. `cargo xtask setup` installs all that a build needs on Debian."
                ));
            }
        }
    }
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
