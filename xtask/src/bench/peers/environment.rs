//! Where the peers live: a virtual environment of Python with the releases of `peers/requirements.txt`, and liboqs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::checkout;
use crate::failure::{Failure, Outcome};

pub(super) struct Environment {
    /// Everything below is in it.
    pub(super) directory: PathBuf,
    pub(super) python: PathBuf,
    /// Has `lib/liboqs.so`, if it could be built.
    pub(super) liboqs: PathBuf,
}

/// The scripts and lists that are part of this repository.
pub(super) fn sources() -> PathBuf {
    checkout::root().join("xtask/peers")
}

/// Installs what can be installed. The peer of a package that is missing says so itself when it is imported.
pub(super) fn prepare() -> Outcome<Environment> {
    let directory = checkout::target_dir().join("bench-peers");
    std::fs::create_dir_all(&directory)
        .map_err(Failure::of(format_args!("make the directory {}", directory.display())))?;
    let python = directory.join("python/bin/python");
    let liboqs = directory.join("liboqs");
    let environment = Environment { directory, python, liboqs };
    environment.install()?;
    if !environment.liboqs.join("lib/liboqs.so").is_file() {
        println!("building liboqs");
        if let Err(failure) = environment.build_liboqs() {
            println!("note: {failure}");
        }
    }
    Ok(environment)
}

impl Environment {
    fn install(&self) -> Outcome {
        let list = sources().join("requirements.txt");
        let wanted =
            std::fs::read_to_string(&list).map_err(Failure::of(format_args!("read {}", list.display())))?;
        // In the directory that is cleared, so that it never speaks of what was there before.
        let root = self.directory.join("python");
        let installed = root.join("installed.txt");
        let works = succeeds(Command::new(&self.python).arg("-V").stdout(Stdio::null()));
        if works && std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        println!("installing the peers into {}", self.directory.display());
        if !succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&root)) {
            return Err(Failure::new(format!("python3 makes no virtual environment in {}", root.display())));
        }
        if self.pip_install(&list) {
            return std::fs::write(&installed, wanted)
                .map_err(Failure::of(format_args!("write {}", installed.display())));
        }
        // One by one: what is missing then is missing for its own peer alone, and is tried again next time.
        let one = self.directory.join("one.txt");
        for requirement in requirements(&wanted) {
            std::fs::write(&one, &requirement)
                .map_err(Failure::of(format_args!("write {}", one.display())))?;
            if !self.pip_install(&one) {
                println!(
                    "note: cannot install {}",
                    requirement.split_whitespace().next().unwrap_or_default()
                );
            }
        }
        Ok(())
    }

    /// The list names every package, so none is looked for. The digests make sure that only the listed releases are taken.
    fn pip_install(&self, list: &Path) -> bool {
        succeeds(
            Command::new(&self.python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
                .args(["--only-binary", ":all:", "--require-hashes", "-r"])
                .arg(list),
        )
    }

    /// The C library, from the source that its Rust binding carries, and of its algorithms ML-KEM-768 alone.
    fn build_liboqs(&self) -> Outcome {
        let [vendored, build] = ["liboqs-source", "liboqs-build"].map(|name| self.directory.join(name));
        let log = self.directory.join("liboqs.log");
        let said = File::create(&log).map_err(Failure::of(format_args!("make {}", log.display())))?;
        let mut vendor = checkout::cargo();
        vendor.args(["vendor", "--locked", "--quiet", "--manifest-path"]);
        vendor.arg(sources().join("liboqs/Cargo.toml")).arg(&vendored);
        let tools = self.directory.join("python/bin");
        let mut configure = Command::new(tools.join("cmake"));
        configure.args(["-G", "Ninja", "-S"]).arg(vendored.join("oqs-sys/liboqs")).arg("-B").arg(&build);
        configure.arg(format!("-DCMAKE_MAKE_PROGRAM={}", tools.join("ninja").display()));
        configure.arg(format!("-DCMAKE_INSTALL_PREFIX={}", self.liboqs.display()));
        configure.args([
            "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_INSTALL_LIBDIR=lib",
            "-DBUILD_SHARED_LIBS=ON",
        ]);
        configure.args(["-DOQS_BUILD_ONLY_LIB=ON", "-DOQS_DIST_BUILD=ON", "-DOQS_USE_OPENSSL=OFF"]);
        configure.arg("-DOQS_MINIMAL_BUILD=KEM_ml_kem_768");
        // liboqs-python looks this up when it is imported. It is about signatures, came after this source, and is not used.
        configure
            .arg("-DCMAKE_SHARED_LINKER_FLAGS=-Wl,--defsym=OQS_SIG_supports_ctx_str=OQS_SIG_alg_is_enabled");
        let mut install = Command::new(tools.join("cmake"));
        install.arg("--build").arg(&build).args(["--target", "install"]);
        for command in [&mut vendor, &mut configure, &mut install] {
            let [out, err] = [said.try_clone(), said.try_clone()];
            let [out, err] = [out, err].map(|file| file.map_err(Failure::of("write the log of liboqs")));
            if !succeeds(command.stdout(out?).stderr(err?)) {
                return Err(Failure::new(format!("cannot build liboqs, see {}", log.display())));
            }
        }
        Ok(())
    }
}

/// Each package of a list that pip-compile made, with its digests.
fn requirements(list: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in list.lines() {
        if line.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            all.push(String::new());
        }
        if let Some(last) = all.last_mut().filter(|_| !line.trim_start().starts_with('#')) {
            last.push_str(line);
            last.push('\n');
        }
    }
    all
}

fn succeeds(command: &mut Command) -> bool {
    // A closed stdin: no installer may wait for an answer.
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_the_list_has_a_version_and_digests_of_its_own() {
        let list = std::fs::read_to_string(sources().join("requirements.txt")).unwrap();
        let all = requirements(&list);
        assert_eq!(all.len(), list.matches("==").count());
        for requirement in &all {
            let (first, digests) = requirement.split_once('\n').unwrap();
            assert!(first.contains("==") && first.ends_with('\\'), "{first}");
            assert!(
                !digests.is_empty() && digests.lines().all(|line| line.trim().starts_with("--hash=sha256:"))
            );
        }
    }
}
