//! Installs the programs that tests compare ours with: `cargo xtask setup`.
//!
//! Nothing here is needed to build or use `aegisbpf`. A test whose program is missing says that it was skipped.

use std::path::PathBuf;
use std::process::Command;

use crate::checkout;
use crate::failure::{Failure, Outcome};

/// A program, the Debian 12 package that has it, and which tests want it.
struct Tool {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "openssl",
        package: "openssl",
        purpose: "keys and signatures made by another implementation",
    },
    Tool { program: "ssh-keygen", package: "openssh-client", purpose: "OpenSSH keys" },
    Tool { program: "strace", package: "strace", purpose: "killing a command at each of its system calls" },
    Tool {
        program: "softhsm2-util",
        package: "softhsm2",
        purpose: "signing and wrapping inside a PKCS#11 token",
    },
    Tool { program: "pkcs11-tool", package: "opensc", purpose: "making keys inside a PKCS#11 token" },
    Tool { program: "certutil", package: "libnss3-tools", purpose: "a PKCS#11 token of another maker" },
    Tool { program: "python3", package: "python3", purpose: "an independent DSSE verifier" },
    Tool { program: "faketime", package: "faketime", purpose: "a host whose clock is wrong" },
    Tool { program: "shellcheck", package: "shellcheck", purpose: "checking the shell scripts" },
    Tool { program: "g++", package: "g++", purpose: "building the fuzz targets" },
];

/// What a set-up left behind.
pub(crate) struct Ready {
    /// A Python with the packages of `xtask/requirements.txt`; tests get it as `AEGIS_TEST_PYTHON`.
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
        println!("everything that the tests need is here");
        Ok(())
    } else {
        Err(Failure::new(ready.missing.join("\n       ")))
    }
}

/// Installs what is missing and can be installed.
pub(crate) fn prepare() -> Ready {
    let mut packages: Vec<&str> = missing_tools().map(|tool| tool.package).collect();
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
        missing
            .extend(missing_tools().map(|tool| format!("{} is missing, for {}", tool.program, tool.purpose)));
        if wants_postgres && !has_postgres() {
            missing.push("PostgreSQL is missing, for keyrings on a server".to_owned());
        }
    }
    let python = match python_environment() {
        Ok(python) => Some(python),
        Err(failure) => {
            missing.push(failure.to_string());
            None
        }
    };
    Ready { python, missing }
}

fn missing_tools() -> impl Iterator<Item = &'static Tool> {
    TOOLS.iter().filter(|tool| checkout::on_path(tool.program).is_none())
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
    let directory = std::path::Path::new("/etc/postgresql-common");
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
    // The digests in the file make sure that only the reviewed releases are taken.
    let filled = made
        && succeeds(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", ":all:", "--require-hashes", "-r"])
                .arg(&requirements),
        );
    if !filled {
        return Err(Failure::new(format!(
            "cannot install {} into {}",
            requirements.display(),
            directory.display()
        )));
    }
    std::fs::write(&installed, wanted).map_err(Failure::of(format_args!("write {}", installed.display())))?;
    Ok(python)
}

fn succeeds(command: &mut Command) -> bool {
    // A closed stdin: no installer may wait for an answer.
    command.stdin(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}
