//! Installs what the build needs, and the programs that tests compare ours with: `cargo xtask setup`.
//!
//! Nothing that only tests need is needed to build or use `aegisbpf`. A test whose program is missing says that it was
//! skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::checkout;
use crate::failure::{Failure, Outcome};

/// What must be there, the Debian 12 package that has it, and what wants it.
struct Tool {
    needs: Needs,
    package: &'static str,
    purpose: &'static str,
}

/// How a package shows that it is installed.
enum Needs {
    /// On the `PATH`.
    Program(&'static str),
    /// Where the C compiler looks for it.
    Header(&'static str),
}

impl Needs {
    fn name(&self) -> &'static str {
        match self {
            Self::Program(name) | Self::Header(name) => name,
        }
    }

    fn is_here(&self) -> bool {
        match self {
            // The build takes another one if it is named.
            Self::Program("clang") if std::env::var_os("CLANG").is_some() => true,
            Self::Program(name) => checkout::on_path(name).is_some(),
            Self::Header(name) => Command::new("cc")
                .args(["-E", "-x", "c", "-include", name, "/dev/null"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
        }
    }
}

/// Without these the workspace does not build: C in our dependencies, and the programs that run inside the kernel.
const BUILD: &[Tool] = &[
    Tool { needs: Needs::Program("cc"), package: "gcc", purpose: "C in libraries" },
    Tool { needs: Needs::Header("stdlib.h"), package: "libc6-dev", purpose: "C in libraries" },
    Tool { needs: Needs::Program("clang"), package: "clang", purpose: "the programs that run in the kernel" },
    Tool { needs: Needs::Program("make"), package: "make", purpose: "building libbpf" },
    Tool { needs: Needs::Program("pkg-config"), package: "pkg-config", purpose: "building libbpf" },
    Tool { needs: Needs::Header("gelf.h"), package: "libelf-dev", purpose: "building libbpf" },
    Tool { needs: Needs::Header("zlib.h"), package: "zlib1g-dev", purpose: "building libbpf" },
];

/// What tests run. What the virtual machines need is known to `vm/run-in-vm`, which installs it.
const TESTS: &[Tool] = &[
    Tool {
        needs: Needs::Program("openssl"),
        package: "openssl",
        purpose: "keys and signatures made by another implementation",
    },
    Tool { needs: Needs::Program("ssh-keygen"), package: "openssh-client", purpose: "OpenSSH keys" },
    Tool {
        needs: Needs::Program("strace"),
        package: "strace",
        purpose: "killing a command at each of its system calls",
    },
    Tool {
        needs: Needs::Program("softhsm2-util"),
        package: "softhsm2",
        purpose: "signing and wrapping inside a PKCS#11 token",
    },
    Tool {
        needs: Needs::Program("pkcs11-tool"),
        package: "opensc",
        purpose: "making keys inside a PKCS#11 token",
    },
    Tool {
        needs: Needs::Program("certutil"),
        package: "libnss3-tools",
        purpose: "a PKCS#11 token of another maker",
    },
    Tool { needs: Needs::Program("python3"), package: "python3", purpose: "an independent DSSE verifier" },
    Tool { needs: Needs::Program("faketime"), package: "faketime", purpose: "a host whose clock is wrong" },
    Tool {
        needs: Needs::Program("shellcheck"),
        package: "shellcheck",
        purpose: "checking the shell scripts",
    },
    Tool { needs: Needs::Program("g++"), package: "g++", purpose: "building the fuzz targets" },
    Tool {
        needs: Needs::Program("java"),
        package: "openjdk-17-jre-headless",
        purpose: "Spark, in local mode",
    },
];

/// The kernels that tests boot, as `vm/run-in-vm` calls them: the oldest that is supported, and the newest there is.
const KERNELS: &[&str] = &["6.1", "newest"];
/// The longest that fetching one of them may take, in seconds.
const KERNEL_LIMIT_SECS: &str = "900";
/// The longest that one call of pip may take, in seconds: PySpark is 300 MB, and is built.
const PIP_LIMIT_SECS: &str = "600";

/// What a set-up left behind.
pub(crate) struct Ready {
    /// A Python with the packages of `xtask/requirements.txt`, and PySpark if it could be had; tests get it as
    /// `AEGIS_TEST_PYTHON`.
    pub(crate) python: Option<PathBuf>,
    /// What could not be installed, a sentence each.
    pub(crate) missing: Vec<String>,
}

/// Sets up and fails if something is still missing.
pub(crate) fn run() -> Outcome {
    let ready = prepare();
    if let Some(python) = &ready.python {
        println!("python for the tests: {}", python.display());
    }
    if ready.missing.is_empty() {
        println!("everything that the build and the tests need is here");
        Ok(())
    } else {
        Err(Failure::new(ready.missing.join("\n       ")))
    }
}

/// Installs what the build needs, and nothing else; fails if something is still missing. Takes no time if all is here.
pub(crate) fn for_build() -> Outcome {
    let packages: Vec<&str> = missing(BUILD).map(|tool| tool.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let installed = apt_install(&packages);
    let mut sentences: Vec<String> = missing(BUILD).map(sentence).collect();
    if sentences.is_empty() {
        return Ok(());
    }
    sentences.extend(installed.err().map(|failure| failure.to_string()));
    Err(Failure::new(sentences.join("\n       ")))
}

/// Installs what is missing and can be installed, for the build and for the tests.
pub(crate) fn prepare() -> Ready {
    let tools = || missing(BUILD).chain(missing(TESTS));
    let mut packages: Vec<&str> = tools().map(|tool| tool.package).collect();
    if !has_venv() {
        packages.push("python3-venv");
    }
    let wants_postgres = !has_postgres();
    if wants_postgres {
        keep_postgres_from_running();
        packages.push("postgresql");
    }
    let mut missing = Vec::new();
    if !packages.is_empty() {
        if let Err(failure) = apt_install(&packages) {
            missing.push(failure.to_string());
        }
        missing.extend(tools().map(sentence));
        if wants_postgres && !has_postgres() {
            missing.push("PostgreSQL is missing, for keyrings on a server".to_owned());
        }
    }
    missing.extend(KERNELS.iter().filter(|kernel| !fetch_kernel(kernel)).map(|kernel| {
        format!("there is no VM with kernel {kernel}, for what the kernel enforces; why is said above")
    }));
    let python = match python_environment() {
        Ok(python) => {
            missing.extend(add_spark(&python).err().map(|failure| failure.to_string()));
            Some(python)
        }
        Err(failure) => {
            missing.push(failure.to_string());
            None
        }
    };
    Ready { python, missing }
}

fn missing(tools: &'static [Tool]) -> impl Iterator<Item = &'static Tool> {
    tools.iter().filter(|tool| !tool.needs.is_here())
}

fn sentence(tool: &'static Tool) -> String {
    format!("{} (package {}) is missing, for {}", tool.needs.name(), tool.package, tool.purpose)
}

/// Fetches a kernel for the VM and installs QEMU, unless both are here. Tests themselves download nothing: many run at
/// once, and none may wait for an archive.
fn fetch_kernel(kernel: &str) -> bool {
    succeeds(
        Command::new("timeout")
            .args(["--kill-after=10", KERNEL_LIMIT_SECS, "bash"])
            .arg(checkout::root().join("vm/run-in-vm"))
            .args(["--prepare", "--kernel", kernel]),
    )
}

/// Debian ships `python3` without the module that fills a virtual environment.
fn has_venv() -> bool {
    succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

/// Debian puts the server on no path, so that several versions can be there.
fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
        || checkout::on_path("initdb").is_some()
}

/// Tests start servers of their own. The package would make and start one for the machine, unless it is told not to; what
/// somebody has told it already stays.
fn keep_postgres_from_running() {
    let directory = Path::new("/etc/postgresql-common");
    let file = directory.join("createcluster.conf");
    if rustix::process::geteuid().is_root() && !file.exists() && std::fs::create_dir_all(directory).is_ok() {
        let _ = std::fs::write(file, "create_main_cluster = false\n");
    }
}

/// Installs Debian packages as root; anybody else is told what root should do.
fn apt_install(packages: &[&str]) -> Outcome {
    let line = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(format!("not root, so not run: {line}")));
    }
    if checkout::on_path("apt-get").is_none() {
        return Err(Failure::new(format!("no apt-get here, so not run: {line}")));
    }
    println!("installing: {}", packages.join(" "));
    if apt_get(&["install", "--yes", "--quiet=2", "--no-install-recommends"], packages)
        || (apt_get(&["update", "--quiet=2"], &[])
            && apt_get(&["install", "--yes", "--quiet=2", "--no-install-recommends"], packages))
    {
        Ok(())
    } else {
        Err(Failure::new(format!("failed: {line}")))
    }
}

fn apt_get(options: &[&str], packages: &[&str]) -> bool {
    succeeds(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(options)
            .args(packages),
    )
}

/// Makes `target/python`, unless it already holds what `requirements.txt` lists.
fn python_environment() -> Outcome<PathBuf> {
    let requirements = checkout::root().join("xtask/requirements.txt");
    let wanted =
        std::fs::read(&requirements).map_err(Failure::of(format_args!("read {}", requirements.display())))?;
    let directory = checkout::target_dir().join("python");
    let python = directory.join("bin/python");
    let installed = directory.join("installed-requirements.txt");
    if std::fs::read(&installed).is_ok_and(|found| found == wanted)
        && succeeds(Command::new(&python).arg("-V"))
    {
        return Ok(python);
    }
    println!("making {}", directory.display());
    let made = succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory));
    if !made || !pip_install(&python, &["--only-binary", ":all:"], &requirements) {
        return Err(Failure::new(format!(
            "cannot install {} into {}",
            requirements.display(),
            directory.display()
        )));
    }
    std::fs::write(&installed, wanted).map_err(Failure::of(format_args!("write {}", installed.display())))?;
    Ok(python)
}

/// Adds PySpark and what it needs, half a gigabyte, to `target/python`. Apart from the rest: where it cannot be had, the
/// test of Spark alone is skipped.
fn add_spark(python: &Path) -> Outcome {
    let wheels = checkout::root().join("xtask/requirements-spark.txt");
    let source = checkout::root().join("xtask/requirements-pyspark.txt");
    let mut wanted = Vec::new();
    for file in [&wheels, &source] {
        wanted.extend(std::fs::read(file).map_err(Failure::of(format_args!("read {}", file.display())))?);
    }
    // Made anew, the environment has neither the packages nor this file.
    let installed = checkout::target_dir().join("python/installed-spark.txt");
    if std::fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("adding PySpark to {}", python.display());
    let added = pip_install(python, &["--only-binary", ":all:"], &wheels)
        // Built by the setuptools that has just been installed, so that nothing without a digest is fetched.
        && pip_install(python, &["--no-build-isolation", "--no-deps"], &source);
    if !added {
        return Err(Failure::new(format!("cannot install {} and {}", wheels.display(), source.display())));
    }
    std::fs::write(&installed, wanted).map_err(Failure::of(format_args!("write {}", installed.display())))
}

/// Installs what a file lists. The digests in it make sure that only the reviewed releases are taken.
fn pip_install(python: &Path, options: &[&str], requirements: &Path) -> bool {
    succeeds(
        Command::new("timeout")
            .args(["--kill-after=10", PIP_LIMIT_SECS])
            .arg(python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"])
            .args(options)
            .arg("-r")
            .arg(requirements),
    )
}

fn succeeds(command: &mut Command) -> bool {
    // A closed stdin: no installer may wait for an answer.
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_is_installed_and_what_is_not() {
        assert!(Needs::Program("cargo").is_here() && Needs::Header("stdlib.h").is_here());
        assert!(!Needs::Program("no-such-program").is_here() && !Needs::Header("no-such-header.h").is_here());
    }

    #[test]
    fn fetches_the_kernels_that_tests_boot() {
        assert_eq!(KERNELS, test_services::vm::Kernel::ALL.map(test_services::vm::Kernel::name));
    }
}
